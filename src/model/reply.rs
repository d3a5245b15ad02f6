//! What the server says: the reply to each request, and events that nobody asked for.

use std::net::IpAddr;
use std::sync::Arc;

use super::{
    ByeReason, HistoryOf, MessagePage, MessageText, Receipt, Refusal, RoomName, Timestamp, TokenText,
    UserName,
};

/// Which end of a page stays when a reply cannot hold all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The newest messages stay: the page ends where the reader is.
    Newest,
    /// The oldest messages stay: the page goes on from where the reader was.
    Oldest,
}

/// A session is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionGrant {
    /// Whose it is.
    pub account: UserName,
    /// The token that every request from now on carries.
    pub token: TokenText,
    /// For how many seconds the token is good if nothing more is heard from the client.
    pub expires_in_seconds: u64,
    /// Whether the account was made just now.
    pub new: bool,
    /// When and from where the account was last seen before.
    pub last_seen: Option<(Timestamp, IpAddr)>,
    /// A sentence for a person.
    pub greeting: String,
}

/// The reply to one request. Its `ref` is the connection's business, and its bytes are the wire's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It is done.
    Done,
    /// The message is stored.
    Receipt(Receipt),
    /// Whether a name is registered.
    Identified {
        /// The name.
        name: UserName,
        /// Whether it is.
        known: bool,
    },
    /// A session is open.
    Session(Box<SessionGrant>),
    /// The connection is in a room.
    Joined {
        /// The room.
        room: RoomName,
        /// How many accounts are in it.
        members: usize,
        /// Whether the client's id was of another history.
        reset: bool,
        /// Messages of the room.
        page: MessagePage,
        /// Which of them stay.
        keep: Keep,
    },
    /// A page of the past.
    History {
        /// Whose past.
        of: HistoryOf,
        /// Whether the client's id was of another history.
        reset: bool,
        /// The messages.
        page: MessagePage,
        /// Which of them stay.
        keep: Keep,
    },
    /// A page of direct messages, from the oldest that the client lacks.
    Inbox {
        /// Whether the client's id was of another history.
        reset: bool,
        /// The messages.
        page: MessagePage,
    },
    /// Rooms with someone in them, and how many accounts.
    Rooms {
        /// The rooms, sorted.
        rooms: Vec<(RoomName, usize)>,
        /// Whether there are more.
        more: bool,
    },
    /// Accounts that are online.
    Who {
        /// The accounts, sorted.
        names: Vec<UserName>,
        /// Whether there are more.
        more: bool,
    },
    /// The server lives.
    Pong,
    /// The session is over, as was asked for.
    Bye(ByeReason),
    /// It was not done.
    Refused(Refusal),
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Reply::Refused(refusal)
    }
}

/// An account came into a room or went out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceChange {
    /// The account.
    pub account: UserName,
    /// Whether it is in.
    pub is_in: bool,
    /// Since when.
    pub at: Timestamp,
}

/// What the server says of itself to a new connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// Name and version of the server.
    pub server: String,
    /// The longest payload that it takes, in bytes.
    pub max_frame_bytes: usize,
    /// A sentence from the operator.
    pub motd: String,
    /// The present term of the history.
    pub term: Arc<str>,
}

/// What nobody asked for. Stored messages are events, too, and come in batches of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The first word on a connection.
    Welcome(Welcome),
    /// A word of the operator's or the server's to everybody.
    Notice {
        /// What is said.
        text: MessageText,
        /// When.
        at: Timestamp,
    },
    /// Does this peer live?
    Ping,
    /// What went wrong, before a `bye`.
    Fault(Refusal),
    /// The last word on a connection.
    Bye {
        /// Why.
        reason: ByeReason,
        /// A sentence for a person.
        text: String,
    },
}
