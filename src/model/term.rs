//! Terms: a term is a stretch of the history's life between two starts of the server.

use std::fmt;

use super::{MessageId, Timestamp};

/// What a server calls a term, and what a client says of the id that it saw. Any text is one; which of them
/// mean anything is for [`crate::chat::journal::terms`] to know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TermName(Box<str>);

impl TermName {
    /// Takes any text for a term.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        TermName(text.into())
    }

    /// The name as the wire carries it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TermName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A term, as the file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTerm {
    /// Its name.
    pub name: TermName,
    /// The newest id that was stored when it began, `None` for none.
    pub after: Option<MessageId>,
    /// When it began, for the reader of the file.
    pub at: Timestamp,
}
