//! What the operator asks, through the console or the control socket. Every one of these is answered; an
//! actor that is gone answers with a `MailboxError`, which the console tells as "the server is stopping".

use actix::Message;

use crate::model::{ErrorCode, MessageText, Receipt, RoomName, UserName};

/// ConsoleActor → ListenerActor: take connections (`true`) or let them wait (`false`). Answers whether that
/// changed anything.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub struct SetListening(pub bool);

/// ConsoleActor → ListenerActor: how things stand.
#[derive(Debug, Message)]
#[rtype(result = "ListenerStatus")]
pub struct AskListener;

/// The listener's part of `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerStatus {
    /// The addresses that are bound, `HOST:PORT`.
    pub addresses: Vec<String>,
    /// Whether connections are taken.
    pub listening: bool,
    /// Connections that are open.
    pub connections: usize,
}

/// ConsoleActor → DirectoryActor: a `notice` to every session. Answers how many there are.
#[derive(Debug, Message)]
#[rtype(result = "usize")]
pub struct Announce {
    /// The notice.
    pub text: MessageText,
}

/// ConsoleActor → DirectoryActor: a message of `server` in a room, stored like any other. Answers when it is
/// stored. Only people bring a room into being: one that is not `lobby`, and has neither a past nor somebody in
/// it, is a slip of the operator's finger.
#[derive(Debug, Message)]
#[rtype(result = "Result<Receipt, SayRefusal>")]
pub struct SayAsServer {
    /// The room.
    pub room: RoomName,
    /// The message.
    pub text: MessageText,
}

/// Why the operator's message was not said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SayRefusal {
    /// There is no such room.
    NoSuchRoom {
        /// One with somebody in it that may have been meant.
        nearest: Option<RoomName>,
    },
    /// It could not be stored or looked for.
    Code(ErrorCode),
}

impl From<ErrorCode> for SayRefusal {
    fn from(code: ErrorCode) -> Self {
        SayRefusal::Code(code)
    }
}

/// ConsoleActor → DirectoryActor: all accounts that are online, sorted.
#[derive(Debug, Message)]
#[rtype(result = "Vec<OnlineAccount>")]
pub struct AskOnline;

/// An account that is online.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnlineAccount {
    /// The account.
    pub name: UserName,
    /// How many sessions it has open.
    pub sessions: usize,
}

/// ConsoleActor → DirectoryActor: `lobby` and all rooms with someone in them, sorted, with their number of
/// accounts.
#[derive(Debug, Message)]
#[rtype(result = "Vec<(RoomName, usize)>")]
pub struct AskRooms;

/// ConsoleActor → JournalActor: how things stand.
#[derive(Debug, Message)]
#[rtype(result = "JournalStatus")]
pub struct AskJournal;

/// The journal's part of `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalStatus {
    /// Messages in the history.
    pub messages: u64,
    /// The newest id, 0 when there is none.
    pub newest_id: u64,
    /// Messages that wait to be stored.
    pub waiting: usize,
    /// Why nothing can be stored at the moment, when that is so.
    pub fault: Option<String>,
}
