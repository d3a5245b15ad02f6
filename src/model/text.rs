//! What people say, and the marks that they put on it.

use std::sync::Arc;

use super::{ErrorCode, Refusal};

/// The longest `ref`, in bytes.
pub const MAX_REF_BYTES: usize = 64;
/// The longest `key`, in bytes.
pub const MAX_KEY_BYTES: usize = 64;
/// The longest `text`, in bytes.
pub const MAX_TEXT_BYTES: usize = 4_096;

/// A request's own mark, given back with its reply: at most 64 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference(Arc<str>);

impl Reference {
    /// The mark, unless it is too long.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() <= MAX_REF_BYTES).then(|| Reference(text.into()))
    }

    /// The mark.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The sender's own name for a message: 1 to 64 bytes, anything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageKey(Arc<str>);

impl MessageKey {
    /// The key, unless it is empty or too long.
    pub fn parse(text: &str) -> Option<Self> {
        (1..=MAX_KEY_BYTES).contains(&text.len()).then(|| MessageKey(text.into()))
    }

    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why nobody can say this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentence())]
pub enum TextError {
    /// There is nothing in it.
    Empty,
    /// It has a character that may not be sent.
    Forbidden,
    /// It is over [`MAX_TEXT_BYTES`].
    TooLong,
}

impl TextError {
    /// What is wrong, for a person.
    pub fn sentence(self) -> &'static str {
        self.code().sentence()
    }

    fn code(self) -> ErrorCode {
        match self {
            TextError::Empty | TextError::Forbidden => ErrorCode::BadText,
            TextError::TooLong => ErrorCode::TextTooLong,
        }
    }
}

impl From<TextError> for Refusal {
    fn from(error: TextError) -> Self {
        error.code().into()
    }
}

/// What someone says: 1 to 4 096 bytes without control characters but newline and tab, and without U+2028
/// and U+2029.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageText(Arc<str>);

impl MessageText {
    /// Checks a text.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn parse(text: &str) -> Result<Self, TextError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(TextError::TooLong);
        }
        let forbidden =
            |c: char| (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{2028}' | '\u{2029}');
        // The bytes of ASCII controls, and the first bytes of the others. Most texts have none of them, and
        // looking at all bytes, whatever the first ones say, looks at many at once.
        let suspect = |byte: u8| (byte < 0x20) | (byte == 0x7f) | (byte == 0xc2) | (byte == 0xe2);
        let is_suspect = text.bytes().fold(false, |found, byte| found | suspect(byte));
        if text.is_empty() {
            return Err(TextError::Empty);
        }
        if is_suspect && text.contains(forbidden) {
            return Err(TextError::Forbidden);
        }
        Ok(MessageText(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
