//! What is said to the JournalActor, and what comes back of it.

use actix::{Message, Recipient};
use serde::Serialize;

use super::observe::Observe;
use crate::model::{
    Draft, ErrorCode, MessageId, MessagePage, PageQuery, Receipt, Refusal, ReplyTo, RoomId, RoomName,
    StoredMessage, Ticket,
};

handle! {
    /// Who stores.
    JournalHandle, JournalWays {
        subscribe: Subscribe,
        append: Append,
        read: ReadPage,
        catch_up: CatchUp,
        drain: Drain,
        observe: Observe<JournalSnapshot>,
    }
}

/// Who waits for a message to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requester {
    /// A session.
    Session(ReplyTo),
    /// The operator, by the ticket at the directory.
    Operator(Ticket),
}

/// Where a stored message goes on to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subscriber {
    /// To the room.
    Room(RoomId),
    /// To the directory, which knows who is online.
    Direct,
}

/// ChatRoomActor or DirectoryActor → JournalActor: this way for what is stored for that route; `None` when
/// the room ends.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Subscribe {
    /// The route.
    pub route: Subscriber,
    /// The room's name, for what other servers store.
    pub room: Option<RoomName>,
    /// Who takes it.
    pub to: Option<Recipient<Committed>>,
}

/// ChatRoomActor or DirectoryActor → JournalActor: store this message. What becomes of it comes back in
/// [`Committed`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Append {
    /// Where the outcome goes.
    pub route: Subscriber,
    /// Who waits for it.
    pub requester: Requester,
    /// What was stored up to this id is not the sender's: its keys do not reach back behind it.
    pub visible_from: Option<MessageId>,
    /// The message.
    pub draft: Draft,
}

/// JournalActor → ChatRoomActor or DirectoryActor: what became of messages, in the order of their ids.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Committed {
    /// One for each message.
    pub results: Vec<CommitResult>,
}

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitResult {
    /// Who waits for it; nobody on this server when another one has stored it.
    pub requester: Option<Requester>,
    /// What became of it.
    pub outcome: CommitOutcome,
}

/// Stored, known already, or refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It is stored: deliver it.
    Stored(StoredMessage),
    /// It was stored before, under the same key: a receipt is all that is due.
    Duplicate(Receipt),
    /// It is not stored, or nobody can tell.
    Refused(Refusal),
}

/// ChatRoomActor, DirectoryActor or SessionActor → JournalActor: a page of the past.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<PageAnswer, ErrorCode>")]
pub struct ReadPage(pub PageQuery);

/// A page of the past, and what there was beyond it.
#[derive(Debug)]
pub struct PageAnswer {
    /// The page.
    pub page: MessagePage,
    /// The newest message of the list when the page was planned.
    pub newest: Option<MessageId>,
}

impl From<PageAnswer> for MessagePage {
    fn from(answer: PageAnswer) -> Self {
        answer.page
    }
}

/// AuthActor → JournalActor: answers when everything that was handed over before this is stored or refused.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct CatchUp;

/// Server → JournalActor: store what is accepted, force it to the disk, and take nothing more. Answers when
/// it is done and the outcomes are on their way.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain;

/// What the journal tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JournalSnapshot {
    /// Messages in the history.
    pub messages: u64,
    /// The newest id, 0 when there is none.
    pub newest_id: u64,
    /// Messages that wait to be stored, those that are being written included.
    pub waiting: usize,
    /// Those of them that the log has not taken yet.
    pub queued: usize,
    /// Messages that were stored since the start, for someone here.
    pub stored: u64,
    /// Messages that the log has refused since the start.
    pub refused: u64,
    /// Rooms, and the directory, that what is stored goes on to.
    pub subscribers: usize,
    /// Pages of the past that are being read.
    pub page_reads: usize,
    /// Why nothing can be stored at the moment, when that is so.
    pub fault: Option<String>,
}
