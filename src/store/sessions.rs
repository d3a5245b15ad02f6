//! The session file: which tokens are good, so that they outlive a restart.

use std::fmt;

/// A session as one connection holds it. A `resume` keeps the session and changes the hold, so that what the
/// old connection still has to say (that it is gone, say) cannot touch the new one. Equal ids mean the same
/// session on the same connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    number: u64,
    hold: u32,
}

impl SessionId {
    /// The first hold of the session with this number, or a later one.
    pub fn new(number: u64, hold: u32) -> Self {
        SessionId { number, hold }
    }

    /// The session's number in the session file. It stays the same over every `resume`.
    pub fn number(self) -> u64 {
        self.number
    }

    /// How often the session has changed hands since the server started.
    pub fn hold(self) -> u32 {
        self.hold
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.number, self.hold)
    }
}
