//! What travels when people talk: session → directory → room → journal → room → fan-out.

use std::collections::HashMap;
use std::sync::Arc;

use actix::{Addr, Message, Recipient};
use bytes::Bytes;

use crate::actors::room::ChatRoomActor;
use crate::chat::limits::rate_limiter::AccountRates;
use crate::model::{
    ConnectionId, ErrorCode, Member, MessageId, MessageKey, MessageList, MessageText, Page, Receipt,
    Reference, Refusal, ReplyTo, RoomId, RoomName, StoredMessage, Target, Ticket, UserName,
};
use crate::transport::DetachedStream;
use crate::wire::json::encode::EncodedMessage;
use crate::wire::json::frame::RoomEntry;

// ---------------------------------------------------------------- session → directory

/// SessionActor → DirectoryActor: this session is open. The reply goes to the connection with [`SessionAccepted`], so
/// that it stands before every direct message.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Online {
    /// Who, and where.
    pub member: Member,
    /// The request that opened the session.
    pub reply_to: ReplyTo,
    /// The `session` reply.
    pub frame: Bytes,
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
    /// Its `ref`.
    pub reference: Option<Reference>,
}

/// SessionActor → DirectoryActor: which rooms have someone in them, sorted, after a name; and whether there
/// are more.
#[derive(Debug, Message)]
#[rtype(result = "(Vec<RoomEntry>, bool)")]
pub struct ListRooms {
    /// The name that the list begins behind.
    pub after: Option<RoomName>,
    /// How many at most.
    pub limit: usize,
}

/// SessionActor → DirectoryActor: who is online, sorted, after a name; and whether there are more.
#[derive(Debug, Message)]
#[rtype(result = "(Vec<String>, bool)")]
pub struct ListOnline {
    /// The name that the list begins behind.
    pub after: Option<UserName>,
    /// How many at most.
    pub limit: usize,
}

/// SessionActor → DirectoryActor: the room of this name, if someone is in it.
#[derive(Debug, Message)]
#[rtype(result = "Option<Addr<ChatRoomActor>>")]
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
    pub since: Option<MessageId>,
    /// The account that it goes to.
    pub to: UserName,
    /// What is said.
    pub text: MessageText,
    /// The sender's key for it.
    pub key: Option<MessageKey>,
    /// The request.
    pub reply_to: ReplyTo,
}

// ---------------------------------------------------------------- session → room

/// SessionActor → ChatRoomActor: leave. With `reply_to` when it was asked for, without when the connection is
/// gone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Leave {
    /// Who leaves.
    pub connection: ConnectionId,
    /// The request, and its `ref`.
    pub request: Option<(Ticket, Option<Reference>)>,
}

/// SessionActor → ChatRoomActor: say something. Answered with a receipt when it is stored.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Say {
    /// Who says it.
    pub member: Member,
    /// The newest message when the sender's account was made.
    pub since: Option<MessageId>,
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
#[rtype(result = "(Vec<String>, bool)")]
pub struct ListMembers {
    /// The name that the list begins behind.
    pub after: Option<UserName>,
    /// How many at most.
    pub limit: usize,
}

// ---------------------------------------------------------------- directory ↔ room

/// ChatRoomActor → DirectoryActor: how many accounts are in the room now.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct RoomCount {
    /// The room.
    pub room: RoomName,
    /// The accounts in it.
    pub accounts: usize,
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

/// ChatRoomActor → DirectoryActor: what became of a message of the operator's.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct OperatorSaid {
    /// The operator's request at the directory.
    pub ticket: Ticket,
    /// The receipt, or why it was refused.
    pub outcome: Result<Receipt, ErrorCode>,
}

// ---------------------------------------------------------------- room, directory ↔ journal

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
    /// Where the message is said.
    pub target: Target,
    /// Who said it.
    pub from: UserName,
    /// The newest message when the sender's account was made; its keys do not reach back behind that.
    pub since: Option<MessageId>,
    /// What was said.
    pub text: MessageText,
    /// The sender's key for it.
    pub key: Option<MessageKey>,
    /// Who waits for it.
    pub author: Requester,
    /// An earlier message up to this id does not count as the one before (direct messages: the larger of the
    /// ids at which the two accounts began).
    pub floor: Option<MessageId>,
}

/// JournalActor → ChatRoomActor or DirectoryActor: what became of messages, in the order of their ids.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Committed {
    /// One for each message.
    pub outcomes: Vec<CommitResult>,
}

/// What became of one message.
#[derive(Debug)]
pub struct CommitResult {
    /// Who waits for it.
    pub author: Requester,
    /// The verdict.
    pub verdict: Verdict,
}

/// Stored, known already, or refused.
#[derive(Debug)]
pub enum Verdict {
    /// It is stored: deliver it.
    Stored(StoredMessage),
    /// It was stored before, under the same key: a receipt is all that is due.
    Known(Receipt),
    /// It is not stored, or nobody can tell.
    Refused(Refusal),
}

/// ChatRoomActor or SessionActor → JournalActor: a page of the past.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<PageOfMessages, ErrorCode>")]
pub struct ReadPage {
    /// Whose past.
    pub list: MessageList,
    /// Where the page lies.
    pub page: Page,
    /// How many messages at most.
    pub limit: usize,
    /// Messages up to this id do not exist for the reader.
    pub newer_than: Option<MessageId>,
    /// Messages beyond this id are left for later.
    pub up_to: Option<MessageId>,
}

/// A page of the past, oldest first.
#[derive(Debug)]
pub struct PageOfMessages {
    /// The messages.
    pub messages: Vec<EncodedMessage>,
    /// Whether others lie beyond the page, on the side that it is turned to.
    pub more: bool,
    /// The newest message of the list when the page was planned.
    pub newest: Option<MessageId>,
}

impl PageOfMessages {
    /// Adds the first `missing` messages of the page that lies beyond this one.
    pub fn add(&mut self, mut beyond: PageOfMessages, direction: Page, missing: usize) {
        let too_many = beyond.messages.len().saturating_sub(missing);
        self.more = beyond.more || too_many > 0;
        if matches!(direction, Page::After(_)) {
            beyond.messages.truncate(missing);
            self.messages.append(&mut beyond.messages);
        } else {
            beyond.messages.drain(..too_many);
            beyond.messages.append(&mut self.messages);
            self.messages = beyond.messages;
        }
    }
}

// ---------------------------------------------------------------- anyone → fan-out

/// ChatRoomActor → FanoutActor: what was stored for a room, encoded once, for all its members on this thread.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Deliver {
    /// The room.
    pub room: RoomId,
    /// The frames of the batch, one behind the other.
    pub frames: Bytes,
    /// Where each frame ends in `frames`.
    pub ends: Arc<[usize]>,
    /// What the authors on any thread get instead of their own frames.
    pub receipts: Arc<[AuthorReceipt]>,
}

/// The answer to a `say` or `tell`.
#[derive(Debug, Clone)]
pub struct AuthorReceipt {
    /// The request.
    pub reply_to: ReplyTo,
    /// The receipt, or why there is none.
    pub outcome: Result<Receipt, Refusal>,
    /// Which frame of the batch is the author's own; `None` when there is none.
    pub own_frame: Option<usize>,
}

impl AuthorReceipt {
    /// The connection that has a frame of its own in the batch.
    pub fn author_in_batch(&self) -> Option<ConnectionId> {
        self.own_frame.map(|_| self.reply_to.connection)
    }
}

/// DirectoryActor → FanoutActor: a direct message for these connections, and the receipts that go with it.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Unicast {
    /// Who gets it, on any thread.
    pub connections: Arc<[ConnectionId]>,
    /// The frame; `None` when only receipts are due.
    pub frame: Option<Bytes>,
    /// The author's receipt.
    pub receipt: Option<AuthorReceipt>,
}

/// DirectoryActor → FanoutActor: the session is known to the directory; its reply may go out.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SessionAccepted {
    /// The request that opened the session.
    pub reply_to: ReplyTo,
    /// The `session` reply.
    pub frame: Bytes,
    /// How fast the account does things, shared by all its sessions.
    pub rates: Arc<AccountRates>,
}

/// ChatRoomActor → FanoutActor: the connection is in the room from here on; its reply stands before the
/// room's next event.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct JoinAccepted {
    /// The request.
    pub reply_to: ReplyTo,
    /// The room.
    pub room: RoomId,
    /// Its name.
    pub name: RoomName,
    /// Where to say things.
    pub address: Addr<ChatRoomActor>,
    /// The `joined` reply.
    pub frame: Bytes,
    /// The newest message that the connection will not get as an event, when there are pages left to fetch
    /// before it.
    pub pages_up_to: Option<MessageId>,
}

/// ChatRoomActor → FanoutActor: the connection gets no more events of the room, from here on.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct LeaveAccepted {
    /// Who leaves.
    pub connection: ConnectionId,
    /// The room.
    pub room: RoomId,
    /// The request and the reply, when it was asked for.
    pub reply: Option<(Ticket, Bytes)>,
}

/// ChatRoomActor → FanoutActor: some came or went; the members on this thread are told, each what it does not
/// know.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct PresenceUpdate {
    /// The room.
    pub room: RoomId,
    /// The `presence` events for most members, as slices of one piece.
    pub frames: Arc<[Bytes]>,
    /// Those for the connections that are not like most: of an account that came itself, or that entered in
    /// between.
    pub instead: Arc<HashMap<ConnectionId, Vec<Bytes>>>,
}

/// DirectoryActor → FanoutActor: a frame for every session on this thread.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Broadcast {
    /// The `notice` event.
    pub frame: Bytes,
}

/// ChatRoomActor → FanoutActor and DirectoryActor, when it panics: the room is no more. Its members are let go
/// with `internal`, come back and join anew.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct RoomCrashed {
    /// The room.
    pub room: RoomId,
    /// Its name.
    pub name: RoomName,
}

/// Anyone → FanoutActor: the reply to one request.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Answer {
    /// The request.
    pub reply_to: ReplyTo,
    /// The reply.
    pub frame: Bytes,
}

// ---------------------------------------------------------------- starting and stopping

/// SessionActor → FanoutActor of its thread: the connection has ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ConnectionClosed {
    /// Which.
    pub connection: ConnectionId,
}

/// ListenerActor → FanoutActor: a connection that lives on this thread from now on.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct NewConnection {
    /// The stream, not yet registered with any runtime.
    pub stream: DetachedStream,
    /// The peer.
    pub peer: std::net::SocketAddr,
    /// Why it may not stay, if so.
    pub refused: Option<ErrorCode>,
}

/// SessionActor → ListenerActor: a connection has ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Closed {
    /// The peer.
    pub peer: std::net::SocketAddr,
    /// Whether it was one that might not stay.
    pub refused: bool,
}

/// Server → FanoutActor: answer every further request with `shutting_down`.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct StopRequests;

/// Server or AuthActor → DirectoryActor → every ChatRoomActor: everything that was said before this has been passed on.
/// Answers when that is so for every room.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Flush;

/// AuthActor → JournalActor: answers when everything that was handed over before this is stored or refused.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct CatchUp;

/// Server → JournalActor: store what is accepted, force it to the disk, and take nothing more. Answers when
/// it is done and the outcomes are on their way.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain;

/// Server → FanoutActor: say goodbye to everyone. Answers when all connections on this thread have ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct CloseAll;

/// Server → ListenerActor: take no more connections; those that wait are told that the server stops.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct StopListening;
