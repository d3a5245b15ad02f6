//! What is said to a ChatRoomActor.

use actix::Message;
use serde::Serialize;

use super::directory::{Flush, Join};
use super::journal::Committed;
use super::observe::Observe;
use crate::model::{
    ConnectionId, Member, MessageId, MessageKey, MessageText, ReplyTo, RoomId, RoomName, Ticket, UserName,
};

handle! {
    /// The ways to a room.
    RoomWays, RoomRecipients {
        join: Join,
        leave: Leave,
        say: Say,
        say_by_operator: SayByOperator,
        members: ListMembers,
        committed: Committed,
        retire: Retire,
        flush: Flush,
        observe: Observe<RoomSnapshot>,
    }
}

/// A room, as those know it who are in it.
#[derive(Debug, Clone)]
pub struct RoomHandle {
    /// The room.
    pub id: RoomId,
    /// Its name.
    pub name: RoomName,
    /// Where to say things.
    pub ways: RoomWays,
}

/// SessionActor → ChatRoomActor: leave. With `request` when it was asked for, without when the connection is
/// gone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Leave {
    /// Who leaves.
    pub connection: ConnectionId,
    /// The request.
    pub request: Option<Ticket>,
}

/// SessionActor → ChatRoomActor: say something. Answered with a receipt when it is stored.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Say {
    /// Who says it.
    pub member: Member,
    /// The newest message when the sender's account was made.
    pub visible_from: Option<MessageId>,
    /// What is said.
    pub text: MessageText,
    /// The sender's key for it.
    pub key: Option<MessageKey>,
    /// The request.
    pub reply_to: ReplyTo,
}

/// SessionActor → ChatRoomActor: which accounts are in the room, sorted, after a name; and whether there are
/// more.
#[derive(Debug, Message)]
#[rtype(result = "(Vec<UserName>, bool)")]
pub struct ListMembers {
    /// The name that the list begins behind.
    pub after: Option<UserName>,
    /// How many at most.
    pub limit: usize,
}

/// DirectoryActor → ChatRoomActor: nobody has been in the room for a while. Answers whether the room is
/// empty still and has ended; if not it lives on.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub struct Retire;

/// DirectoryActor → ChatRoomActor: a message of the operator's. Answered through [`Committed`] to the directory.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SayByOperator {
    /// What is said.
    pub text: MessageText,
    /// The operator's request at the directory.
    pub ticket: Ticket,
}

/// What a room tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoomSnapshot {
    /// Its name.
    pub name: String,
    /// Accounts that are in.
    pub accounts: usize,
    /// Connections that are in, by I/O thread.
    pub connections: Vec<usize>,
    /// Newest messages that it keeps for those who join.
    pub recent_messages: usize,
    /// Joins that wait for their page.
    pub joins_waiting: usize,
    /// Messages that are at the journal.
    pub messages_at_journal: usize,
}
