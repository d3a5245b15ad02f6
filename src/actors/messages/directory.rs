//! What is said to the DirectoryActor.

use actix::Message;
use serde::Serialize;

use super::fanout::RoomCrashed;
use super::journal::Committed;
use super::observe::Observe;
use super::room::RoomWays;
use crate::model::{
    Member, MessageId, MessageKey, MessageText, Page, Receipt, Refusal, ReplyTo, RoomName, SessionGrant,
    Ticket, UserName,
};

handle! {
    /// Who knows rooms and who is online.
    DirectoryHandle, DirectoryWays {
        online: Online,
        offline: Offline,
        join: Join,
        list_rooms: ListRooms,
        list_online: ListOnline,
        find_room: FindRoom,
        tell: Tell,
        room_count: RoomCount,
        operator_said: OperatorSaid,
        announce: Announce,
        say_as_server: SayAsServer,
        ask_online: AskOnline,
        ask_rooms: AskRooms,
        room_crashed: RoomCrashed,
        committed: Committed,
        flush: Flush,
        observe: Observe<DirectorySnapshot>,
    }
}

/// SessionActor → DirectoryActor: this session is open. The reply goes to the connection with [`SessionAccepted`](super::fanout::SessionAccepted), so
/// that it stands before every direct message.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Online {
    /// Who, and where.
    pub member: Member,
    /// The request that opened the session.
    pub reply_to: ReplyTo,
    /// The `session` reply.
    pub grant: Box<SessionGrant>,
}

/// SessionActor → DirectoryActor: this session's connection is gone, or its session is.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Offline {
    /// Who it was.
    pub member: Member,
}

/// SessionActor → DirectoryActor → ChatRoomActor: enter a room. The directory makes the room when it is not
/// there, or refuses; the room answers through the fan-out, so that the reply and the room's events stand in
/// one order.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Join {
    /// Who enters.
    pub member: Member,
    /// Which room.
    pub room: RoomName,
    /// Where the page of messages lies: `Newest` or `After`.
    pub page: Page,
    /// Whether the id that was asked for is of another history, and `page` is in its place.
    pub reset: bool,
    /// How many messages.
    pub limit: usize,
    /// The request.
    pub reply_to: ReplyTo,
}

/// SessionActor → DirectoryActor: which rooms have someone in them, sorted, after a name; and whether there
/// are more.
#[derive(Debug, Message)]
#[rtype(result = "(Vec<(RoomName, usize)>, bool)")]
pub struct ListRooms {
    /// The name that the list begins behind.
    pub after: Option<RoomName>,
    /// How many at most.
    pub limit: usize,
}

/// SessionActor → DirectoryActor: who is online, sorted, after a name; and whether there are more.
#[derive(Debug, Message)]
#[rtype(result = "(Vec<UserName>, bool)")]
pub struct ListOnline {
    /// The name that the list begins behind.
    pub after: Option<UserName>,
    /// How many at most.
    pub limit: usize,
}

/// SessionActor → DirectoryActor: the room of this name, if someone is in it.
#[derive(Debug, Message)]
#[rtype(result = "Option<RoomWays>")]
pub struct FindRoom {
    /// The room.
    pub room: RoomName,
}

/// SessionActor → DirectoryActor: a direct message. Answered with a receipt when it is stored.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Tell {
    /// The sender.
    pub member: Member,
    /// The newest message when the sender's account was made.
    pub visible_from: Option<MessageId>,
    /// The account that it goes to.
    pub to: UserName,
    /// What is said.
    pub text: MessageText,
    /// The sender's key for it.
    pub key: Option<MessageKey>,
    /// The request.
    pub reply_to: ReplyTo,
}

/// ChatRoomActor → DirectoryActor: how many accounts are in the room now.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct RoomCount {
    /// The room.
    pub room: RoomName,
    /// The accounts in it.
    pub accounts: usize,
}

/// ChatRoomActor → DirectoryActor: what became of a message of the operator's.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct OperatorSaid {
    /// The operator's request at the directory.
    pub ticket: Ticket,
    /// The receipt, or why it was refused.
    pub outcome: Result<Receipt, Refusal>,
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
#[rtype(result = "Result<Receipt, SayError>")]
pub struct SayAsServer {
    /// The room.
    pub room: RoomName,
    /// The message.
    pub text: MessageText,
}

/// Why the operator's message was not said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SayError {
    /// There is no such room.
    NoSuchRoom {
        /// One with somebody in it that may have been meant.
        nearest: Option<RoomName>,
    },
    /// It could not be stored or looked for.
    Refused(Refusal),
}

impl From<Refusal> for SayError {
    fn from(refusal: Refusal) -> Self {
        SayError::Refused(refusal)
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

/// Server or AuthActor → DirectoryActor → every ChatRoomActor: everything that was said before this has been passed on.
/// Answers when that is so for every room.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Flush;

/// What the directory tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DirectorySnapshot {
    /// Accounts that are online.
    pub accounts_online: usize,
    /// Sessions that are online.
    pub sessions_online: usize,
    /// Rooms with somebody in them, and `lobby`.
    pub rooms_occupied: usize,
    /// Rooms that have an actor, those that nobody is in any more included.
    pub rooms_open: usize,
    /// Rooms that were asked whether they have ended.
    pub rooms_retiring: usize,
    /// Accounts whose rates are remembered.
    pub accounts_with_rates: usize,
    /// Direct messages whose recipient is being looked up.
    pub direct_messages_waiting: usize,
    /// Commands of the operator that wait for a receipt.
    pub operators_waiting: usize,
}
