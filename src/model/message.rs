//! Messages: where they go, what a receipt says of them, and where a page of them lies.

use super::{MessageId, RoomName, Timestamp, UserName};

/// Where a message goes: to a room, or to one account.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// A room, and everybody in it.
    Room(RoomName),
    /// One account, online or not.
    Account(UserName),
}

/// What a receipt says of a stored message: its id, the id before it there, and when it was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The message's id.
    pub id: MessageId,
    /// The id of the message before it in that room or between those two accounts, `None` for the first.
    pub prev: Option<MessageId>,
    /// When it was stored, by the server's wall clock.
    pub at: Timestamp,
}

/// Where a page of messages lies. An id of `None` is the 0 of the wire: before the first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The newest messages.
    Newest,
    /// The newest that lie before this id.
    Before(Option<MessageId>),
    /// The oldest that follow this id.
    After(Option<MessageId>),
}
