//! What is said to the FanoutActor of an I/O thread: what goes out to connections, and that they come and go.

use std::collections::HashMap;
use std::sync::Arc;

use actix::Message;
use bytes::Bytes;
use serde::Serialize;

use super::observe::Observe;
use super::room::RoomHandle;
use crate::chat::limits::rate_limiter::AccountRates;
use crate::model::{
    ConnectionId, ErrorCode, Keep, MessageId, MessagePage, MessageText, PresenceChange, Receipt, Refusal,
    Reply, ReplyTo, RoomId, RoomName, SessionGrant, StoredMessage, Ticket, Timestamp,
};
use crate::transport::DetachedStream;
use crate::wire::Wire;

handle! {
    /// Who has the connections of one I/O thread.
    FanoutHandle, FanoutWays {
        deliver: Deliver,
        unicast: Unicast,
        broadcast: Broadcast,
        presence: PresenceUpdate,
        answer: Answer,
        session_accepted: SessionAccepted,
        join_accepted: JoinAccepted,
        leave_accepted: LeaveAccepted,
        room_crashed: RoomCrashed,
        new_connection: NewConnection,
        connection_closed: ConnectionClosed,
        stop_requests: StopRequests,
        close_all: CloseAll,
        observe: Observe<FanoutSnapshot>,
    }
}

/// The fan-outs, by I/O thread.
pub type Fanouts = Arc<[FanoutHandle]>;

/// ChatRoomActor → FanoutActor: what was stored for a room, for all its members on this thread.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Deliver {
    /// The room.
    pub room: RoomId,
    /// The batch, in the order of the ids.
    pub messages: Arc<[StoredMessage]>,
    /// What the authors on any thread get instead of their own messages.
    pub receipts: Arc<[AuthorReceipt]>,
}

/// The answer to a `say`.
#[derive(Debug, Clone)]
pub struct AuthorReceipt {
    /// The request.
    pub reply_to: ReplyTo,
    /// The receipt, or why there is none.
    pub outcome: Result<Receipt, Refusal>,
    /// Which message of the batch is the author's own; `None` when there is none.
    pub own: Option<usize>,
}

impl AuthorReceipt {
    /// The connection that has a message of its own in the batch.
    pub fn author_in_batch(&self) -> Option<ConnectionId> {
        self.own.map(|_| self.reply_to.connection)
    }
}

/// DirectoryActor → FanoutActor: a direct message for these connections.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Unicast {
    /// Who gets it, on any thread.
    pub connections: Arc<[ConnectionId]>,
    /// The message.
    pub message: StoredMessage,
}

/// DirectoryActor → FanoutActor: the session is known to the directory; its reply may go out.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SessionAccepted {
    /// The request that opened the session.
    pub reply_to: ReplyTo,
    /// The `session` reply.
    pub grant: Box<SessionGrant>,
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
    pub room: RoomHandle,
    /// How many accounts are in it.
    pub members: usize,
    /// Whether the client's id was of another history.
    pub reset: bool,
    /// Messages of the room.
    pub page: MessagePage,
    /// Which of them stay where the reply cannot hold all.
    pub keep: Keep,
    /// The newest message that the connection will not get as an event.
    pub events_begin_behind: Option<MessageId>,
}

/// ChatRoomActor → FanoutActor: the connection gets no more events of the room, from here on.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct LeaveAccepted {
    /// Who leaves.
    pub connection: ConnectionId,
    /// The room.
    pub room: RoomId,
    /// The request, when it was asked for.
    pub request: Option<Ticket>,
}

/// ChatRoomActor → FanoutActor: some came or went; the members on this thread are told, each what it does not
/// know.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct PresenceUpdate {
    /// The room.
    pub room: RoomId,
    /// What is told.
    pub changes: Arc<[PresenceChange]>,
    /// Which of the changes most members are told.
    pub most: Arc<[usize]>,
    /// Which of them the connections are told that are not like most: of an account that came itself, or that
    /// entered in between.
    pub instead: Arc<HashMap<ConnectionId, Vec<usize>>>,
}

/// DirectoryActor → FanoutActor: a word for every session on this thread.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Broadcast {
    /// What is said.
    pub text: MessageText,
    /// When.
    pub at: Timestamp,
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
    pub reply: Reply,
}

/// SessionActor → FanoutActor of its thread: the connection has ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ConnectionClosed {
    /// Which.
    pub connection: ConnectionId,
}

/// ListenerActor, or any door → FanoutActor: a connection that lives on this thread from now on.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct NewConnection {
    /// The stream, not yet registered with any runtime.
    pub stream: DetachedStream,
    /// The peer.
    pub peer: std::net::SocketAddr,
    /// How its payloads are framed.
    pub wire: Wire,
    /// What has been read of it already, behind a request to upgrade say.
    pub received: Bytes,
    /// Why it may not stay, if so.
    pub refused: Option<ErrorCode>,
}

impl NewConnection {
    /// A connection of a program, from which nothing has been read.
    pub fn native(stream: DetachedStream, peer: std::net::SocketAddr, refused: Option<ErrorCode>) -> Self {
        NewConnection { stream, peer, wire: Wire::Native, received: Bytes::new(), refused }
    }
}

/// Server → FanoutActor: answer every further request with `shutting_down`.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct StopRequests;

/// Server → FanoutActor: say goodbye to everyone. Answers when all connections on this thread have ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct CloseAll;

/// What the fan-out of an I/O thread tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FanoutSnapshot {
    /// The number of its thread.
    pub thread: usize,
    /// Connections on the thread, those that are saying goodbye included.
    pub connections: usize,
    /// Connections with a session.
    pub sessions: usize,
    /// Rooms that somebody on the thread is in.
    pub rooms: usize,
    /// Places in those rooms: a connection that is in two counts twice.
    pub members: usize,
    /// What waits in all outboxes, in bytes, with what its bookkeeping takes.
    pub outbox_bytes: usize,
    /// Writes that are due.
    pub writes_waiting: usize,
    /// Batches of messages that rooms have sent since the start.
    pub batches: u64,
    /// Times that a batch went to a member since the start.
    pub deliveries: u64,
}
