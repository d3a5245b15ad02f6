//! Sessions, as they are kept, what happens to them, and the hashes by which their tokens are known.

use std::fmt;
use std::hash::{Hash, Hasher};

use subtle::ConstantTimeEq;

use super::Timestamp;

/// A session as one connection holds it. A `resume` keeps the session and changes the generation, so that what the
/// old connection still has to say (that it is gone, say) cannot touch the new one. Equal ids mean the same
/// session on the same connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    number: u64,
    generation: u32,
}

impl SessionId {
    /// The first generation of the session with this number, or a later one.
    pub fn new(number: u64, generation: u32) -> Self {
        SessionId { number, generation }
    }

    /// The session's number in the session file. It stays the same over every `resume`.
    pub fn number(self) -> u64 {
        self.number
    }

    /// How often the session has changed hands since the server started.
    pub fn generation(self) -> u32 {
        self.generation
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.number, self.generation)
    }
}

/// Bytes that are kept of a token's hash: 128 bits that nobody can work towards without the key.
pub const TOKEN_HASH_BYTES: usize = 16;

/// The keyed hash (HMAC-SHA256, its first 128 bits) of a token. Comparing two takes the same time wherever
/// they differ.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; TOKEN_HASH_BYTES]);

impl TokenHash {
    /// The hash with these bytes, as the session file has it.
    pub fn from_bytes(bytes: [u8; TOKEN_HASH_BYTES]) -> Self {
        TokenHash(bytes)
    }

    /// The bytes, for the session file.
    pub fn as_bytes(&self) -> &[u8; TOKEN_HASH_BYTES] {
        &self.0
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenHash {}

impl Hash for TokenHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// A session, as the file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// Its number.
    pub number: u64,
    /// The row of its account.
    pub account: u64,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When its token was made.
    pub token_at: Timestamp,
    /// Its token.
    pub token: TokenHash,
    /// The token before, until the fresh one is used.
    pub previous: Option<TokenHash>,
    /// When it lost its connection; `None` while it has one.
    pub seen_at: Option<Timestamp>,
}

impl StoredSession {
    /// Whether somebody who shows this token opens it.
    pub fn is_opened_by(&self, shown: Option<TokenHash>) -> bool {
        shown.is_some_and(|shown| self.token == shown || self.previous == Some(shown))
    }
}

/// A token that an account had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// The row of the account.
    pub account: u64,
    /// The number of the session that had the token.
    pub session: u64,
    /// The token.
    pub token: TokenHash,
    /// When it died.
    pub at: Timestamp,
}

/// Something that happens to sessions, as the session file has it.
#[derive(Debug, Clone)]
pub enum SessionEvent {
    /// A session was opened; it has a connection now.
    Open(Box<StoredSession>),
    /// A session was resumed by the token that is its previous one now; nothing when it has ended before, or
    /// that token has died.
    Resume(Box<StoredSession>),
    /// A session is to have again the tokens that it had; nothing when it has ended before.
    Restore(Box<StoredSession>),
    /// A session's fresh token was used: the one before it is dead; nothing when it has got another token
    /// meanwhile, whose own token before is this one perhaps.
    Used {
        /// The session's number.
        number: u64,
        /// The token that was used.
        token: TokenHash,
    },
    /// The session lost its connection.
    Seen {
        /// The session's number.
        number: u64,
        /// When.
        at: Timestamp,
    },
    /// Every session that had a connection still had it.
    Alive {
        /// When.
        at: Timestamp,
    },
    /// The session ended.
    End {
        /// The session's number.
        number: u64,
    },
}

impl SessionEvent {
    /// The session that it is about, `None` when it is about all.
    pub fn number(&self) -> Option<u64> {
        match self {
            SessionEvent::Open(session) | SessionEvent::Resume(session) | SessionEvent::Restore(session) => {
                Some(session.number)
            }
            SessionEvent::Used { number, .. }
            | SessionEvent::Seen { number, .. }
            | SessionEvent::End { number } => Some(*number),
            SessionEvent::Alive { .. } => None,
        }
    }
}
