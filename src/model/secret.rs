//! What nobody but its owner is to see. Neither type ever prints itself.

use std::fmt;

use super::{ErrorCode, Refusal};

/// The bounds of a chosen password, in bytes.
pub const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=256;

/// A chosen password is not of [`PASSWORD_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentence())]
pub struct PasswordLengthError;

impl PasswordLengthError {
    /// What is wrong, for a person.
    pub fn sentence(self) -> &'static str {
        ErrorCode::BadPassword.sentence()
    }
}

impl From<PasswordLengthError> for Refusal {
    fn from(_: PasswordLengthError) -> Self {
        ErrorCode::BadPassword.into()
    }
}

/// A secret as it came over the wire. It never shows itself, not even in a debug print, and its memory is
/// wiped when it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(zeroize::Zeroizing<String>);

impl Password {
    /// Takes any text, as a password that is *given* may be.
    pub fn given(text: impl Into<String>) -> Self {
        Password(zeroize::Zeroizing::new(text.into()))
    }

    /// Takes a password that is *chosen*.
    ///
    /// # Errors
    /// [`PasswordLengthError`] unless it has 8 to 256 bytes.
    pub fn chosen(text: impl Into<String>) -> Result<Self, PasswordLengthError> {
        let password = Password::given(text);
        if PASSWORD_BYTES.contains(&password.0.len()) { Ok(password) } else { Err(PasswordLengthError) }
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// A session's token as the client shows it. Like a [`Password`], it never prints itself.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(zeroize::Zeroizing<String>);

impl TokenText {
    /// Takes any text for a token; whether it is one is for the session to know.
    pub fn new(text: impl Into<String>) -> Self {
        TokenText(zeroize::Zeroizing::new(text.into()))
    }

    /// The token itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(…)")
    }
}
