//! One FanoutActor for each I/O thread: a room sends it one batch, already encoded, once; it hands it to the
//! members that live on its thread and writes to their sockets itself.
//!
//! That is where Veche's speed comes from: a delivery is a reference to shared bytes and a share of one
//! vectored write, and passes no mailbox. The actor also keeps the thread's time: one tick for all of its
//! connections.

pub mod strangers;

use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll};

use actix::fut::ActorFuture;
use actix::{Actor, AsyncContext, Context, Handler, ResponseFuture};
use bytes::Bytes;
use log::{error, warn};
use tokio::sync::oneshot;

use self::strangers::{GiveTurns, Strangers};
use super::connection::{Connection, JoinedRoom, RoomHandle, Verdict};
use super::messages::chat::{
    Answer, AuthorReceipt, Broadcast, CloseAll, ConnectionClosed, Deliver, JoinAccepted, Leave,
    LeaveAccepted, NewConnection, PresenceUpdate, RoomCrashed, SessionAccepted, StopRequests, Unicast,
};
use super::panic_watch::Critical;
use super::session::{SessionActor, SessionContext};
use super::{Handles, session, yield_now};
use crate::chat::limits::fair_queue::FairQueue;
use crate::chat::limits::rate_limiter::Rate;
use crate::chat::session::deadlines::{TICK, Timeouts};
use crate::codec::FrameCodec;
use crate::model::{ByeReason, ConnectionId, ErrorCode, IoThread, RoomId};
use crate::wire::json::{FEATURES, PROTOCOL_VERSION, ServerFrame, encode};

/// Sockets that are written to before others of the thread have their turn: a quarter of a millisecond or so.
const WRITES_PER_TURN: usize = 64;

/// A room, as far as it is on this thread.
struct LocalRoom {
    door: Rc<RoomHandle>,
    /// In the order of their ids, which is mostly the order in which they come.
    members: Vec<Rc<Connection>>,
}

impl LocalRoom {
    fn place_of(&self, id: ConnectionId) -> Result<usize, usize> {
        self.members.binary_search_by_key(&id, |member| member.id)
    }

    fn enter(&mut self, connection: &Rc<Connection>) {
        if let Err(place) = self.place_of(connection.id) {
            self.members.insert(place, Rc::clone(connection));
        }
    }

    fn leave(&mut self, id: ConnectionId) {
        if let Ok(place) = self.place_of(id) {
            self.members.remove(place);
        }
    }
}

/// All connections of one I/O thread.
pub struct FanoutActor {
    _critical: Critical,
    thread: IoThread,
    handles: Handles,
    /// There from the moment that the actor runs on its thread.
    context: Option<Rc<SessionContext>>,
    timeouts: Timeouts,
    ping: Bytes,
    connections: HashMap<ConnectionId, Rc<Connection>>,
    rooms: HashMap<RoomId, LocalRoom>,
    /// Connections with a reply in their outbox that nobody has tried to write.
    unwritten: Vec<Rc<Connection>>,
    /// The same, by the rooms' batches.
    deliveries: FairQueue<Rc<Connection>>,
    dismissed: Option<oneshot::Sender<()>>,
}

impl FanoutActor {
    /// The fan-out of a thread.
    pub fn new(thread: IoThread, handles: Handles) -> Self {
        FanoutActor {
            _critical: handles.critical.of("a fan-out"),
            thread,
            timeouts: Timeouts::new(&handles.config.limits),
            handles,
            context: None,
            ping: encode::frame(&ServerFrame::Ping, None),
            connections: HashMap::new(),
            rooms: HashMap::new(),
            unwritten: Vec::new(),
            deliveries: FairQueue::default(),
            dismissed: None,
        }
    }

    fn session_context(&self, ctx: &Context<Self>) -> SessionContext {
        let config = &self.handles.config;
        let limits = &config.limits;
        let welcome = ServerFrame::Welcome {
            protocol: PROTOCOL_VERSION,
            server: concat!("veche/", env!("CARGO_PKG_VERSION")).into(),
            max_frame: limits.max_frame_bytes,
            motd: config.server.motd.clone(),
            features: FEATURES.iter().copied().map(Into::into).collect(),
            term: Some(self.handles.terms.present().to_string()),
        };
        SessionContext {
            limits: std::sync::Arc::new(limits.clone()),
            codec: FrameCodec::new(limits.max_frame_bytes),
            welcome: encode::frame(&welcome, None),
            terms: std::sync::Arc::clone(&self.handles.terms),
            newest_id: std::sync::Arc::clone(&self.handles.newest_id),
            hasher: self.handles.hasher.clone(),
            spellings: std::sync::Arc::clone(&self.handles.spellings),
            auth: self.handles.auth.clone(),
            directory: self.handles.directory.clone(),
            journal: self.handles.journal.clone(),
            listener: self.handles.listener.clone(),
            fanout: actix::AsyncContext::address(ctx),
            message_rate: burst_of_seconds(limits.messages_per_second, session::MESSAGE_BURST_SECONDS),
            join_rate: Rate::per_minute(limits.joins_per_minute)
                .map(|rate| rate.with_burst_of_at_least(limits.rooms_per_session)),
            password_rate: Rate::per_minute(limits.password_changes_per_minute),
            request_rate: burst_of_seconds(limits.requests_per_second, session::REQUEST_BURST_SECONDS),
            started: self.handles.started,
            stopping: std::cell::Cell::new(false),
            strangers: Strangers::new(limits),
            read_buffer: std::cell::RefCell::new(vec![0; limits.turn_bytes].into_boxed_slice()),
        }
    }

    fn connection(&self, id: ConnectionId) -> Option<&Rc<Connection>> {
        self.connections.get(&id).filter(|connection| connection.is_open())
    }

    /// Gives an author on this thread what became of its message.
    fn settle(&mut self, receipt: &AuthorReceipt) {
        let reply_to = receipt.reply_to;
        if reply_to.connection.thread() != self.thread {
            return;
        }
        let Some(connection) = self.connections.get(&reply_to.connection) else { return };
        connection.answer_with(reply_to.ticket, |reference| match &receipt.outcome {
            Ok(receipt) => encode::receipt(*receipt, reference),
            Err(refusal) => encode::refusal(refusal, reference),
        });
        self.unwritten.push(Rc::clone(connection));
    }

    /// One tick of the thread's time. The next one is asked for when this one is over: an interval would make
    /// up for the ticks of a time in which the whole server stood still, all at once.
    fn tick(&mut self, ctx: &mut Context<Self>) {
        for connection in self.connections.values() {
            if connection.tick(&self.timeouts, &self.ping) {
                connection.flush();
            }
        }
        ctx.run_later(TICK, Self::tick);
    }

    /// Writes to connections that something was put out for, the small batches soon; whether to all of them.
    fn write_out(&mut self) -> bool {
        let replies = std::mem::take(&mut self.unwritten);
        self.deliveries.push(replies);
        self.deliveries.work(WRITES_PER_TURN, |connection| connection.flush())
    }
}

fn burst_of_seconds(per_second: u32, seconds: u32) -> Option<Rate> {
    Rate::per_second(per_second).map(|rate| rate.with_burst(per_second.saturating_mul(seconds)))
}

impl Actor for FanoutActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.context = Some(Rc::new(self.session_context(ctx)));
        ctx.spawn(WriteOut);
        ctx.spawn(GiveTurns::default());
        ctx.run_later(TICK, Self::tick);
    }
}

/// Polled after the mailbox is empty, so that what several messages put into one outbox goes out in one
/// write.
struct WriteOut;

impl ActorFuture<FanoutActor> for WriteOut {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        fanout: &mut FanoutActor,
        _: &mut Context<FanoutActor>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        if !fanout.write_out() {
            // Others of the thread have their turn first.
            yield_now(task);
        }
        Poll::Pending
    }
}

// ---------------------------------------------------------------- deliveries

impl Handler<Deliver> for FanoutActor {
    type Result = ();

    fn handle(&mut self, batch: Deliver, _: &mut Context<Self>) {
        let room = self.rooms.get(&batch.room).filter(|_| !batch.frames.is_empty());
        if let Some(LocalRoom { members, .. }) = room {
            for author in batch.receipts.iter().filter_map(AuthorReceipt::author_in_batch) {
                if let Some(connection) = self.connections.get(&author) {
                    connection.spoke.set(true);
                }
            }
            for connection in members {
                if connection.spoke.take() {
                    push_without_own(connection, &batch);
                } else {
                    connection.push(batch.frames.clone());
                }
            }
            self.deliveries.push(members.clone());
        }
        for receipt in &*batch.receipts {
            self.settle(receipt);
        }
    }
}

/// Puts a batch out for one of its authors: all but its own frames, as slices of the same bytes.
fn push_without_own(connection: &Connection, batch: &Deliver) {
    let mut from = 0;
    let own = batch.receipts.iter().filter(|receipt| receipt.author_in_batch() == Some(connection.id));
    for frame in own.filter_map(|receipt| receipt.own_frame) {
        let start = if frame == 0 { 0 } else { batch.ends[frame - 1] };
        if start > from {
            connection.push(batch.frames.slice(from..start));
        }
        from = batch.ends[frame];
    }
    if from < batch.frames.len() {
        connection.push(batch.frames.slice(from..));
    }
}

impl Handler<Unicast> for FanoutActor {
    type Result = ();

    fn handle(&mut self, letter: Unicast, _: &mut Context<Self>) {
        if let Some(frame) = &letter.frame {
            for id in &*letter.connections {
                if let Some(connection) = self.connections.get(id) {
                    connection.push(frame.clone());
                    self.unwritten.push(Rc::clone(connection));
                }
            }
        }
        if let Some(receipt) = &letter.receipt {
            self.settle(receipt);
        }
    }
}

impl Handler<PresenceUpdate> for FanoutActor {
    type Result = ();

    fn handle(&mut self, presence_update: PresenceUpdate, _: &mut Context<Self>) {
        let Some(LocalRoom { members, .. }) = self.rooms.get(&presence_update.room) else { return };
        let mut told = Vec::with_capacity(members.len());
        for connection in members {
            let frames =
                presence_update.instead.get(&connection.id).map_or(&*presence_update.frames, Vec::as_slice);
            if !frames.is_empty() {
                frames.iter().for_each(|frames| connection.push(frames.clone()));
                told.push(Rc::clone(connection));
            }
        }
        self.deliveries.push(told);
    }
}

impl Handler<RoomCrashed> for FanoutActor {
    type Result = ();

    fn handle(&mut self, RoomCrashed { room, .. }: RoomCrashed, _: &mut Context<Self>) {
        for connection in self.rooms.remove(&room).into_iter().flat_map(|local| local.members) {
            connection.rooms.borrow_mut().retain(|joined| joined.door.id != room);
            connection.judge(Verdict::Dismiss { reason: ByeReason::Fault(ErrorCode::Internal), text: None });
        }
    }
}

impl Handler<Broadcast> for FanoutActor {
    type Result = ();

    fn handle(&mut self, notice: Broadcast, _: &mut Context<Self>) {
        let in_session = |connection: &&Rc<Connection>| connection.rates.borrow().is_some();
        let listeners: Vec<_> = self.connections.values().filter(in_session).cloned().collect();
        for connection in &listeners {
            connection.push(notice.frame.clone());
        }
        self.deliveries.push(listeners);
    }
}

// ---------------------------------------------------------------- replies

impl Handler<Answer> for FanoutActor {
    type Result = ();

    fn handle(&mut self, answer: Answer, _: &mut Context<Self>) {
        if let Some(connection) = self.connection(answer.reply_to.connection).cloned() {
            connection.answer(answer.reply_to.ticket, answer.frame);
            self.unwritten.push(connection);
        }
    }
}

impl Handler<SessionAccepted> for FanoutActor {
    type Result = ();

    fn handle(&mut self, admit: SessionAccepted, _: &mut Context<Self>) {
        if let Some(connection) = self.connection(admit.reply_to.connection).cloned() {
            *connection.rates.borrow_mut() = Some(admit.rates);
            connection.answer(admit.reply_to.ticket, admit.frame);
            self.unwritten.push(connection);
        }
    }
}

impl Handler<JoinAccepted> for FanoutActor {
    type Result = ();

    fn handle(&mut self, enter: JoinAccepted, _: &mut Context<Self>) {
        let id = enter.reply_to.connection;
        let Some(connection) = self.connection(id).cloned() else {
            // It went while the room was reading its page; the room thinks that it is in.
            enter.address.do_send(Leave { connection: id, request: None });
            return;
        };
        let JoinAccepted { room: id_of_room, name, address, pages_up_to, .. } = enter;
        let room = self.rooms.entry(id_of_room).or_insert_with(|| {
            let door = Rc::new(RoomHandle { id: id_of_room, name, address });
            LocalRoom { door, members: Vec::new() }
        });
        room.enter(&connection);
        {
            let mut rooms = connection.rooms.borrow_mut();
            rooms.retain(|joined| joined.door.id != id_of_room);
            // Most sessions are in one room, and thousands of them idle.
            rooms.reserve_exact(1);
            rooms.push(JoinedRoom { door: Rc::clone(&room.door), pages_up_to });
        }
        connection.answer(enter.reply_to.ticket, enter.frame);
        self.unwritten.push(connection);
    }
}

impl Handler<LeaveAccepted> for FanoutActor {
    type Result = ();

    fn handle(&mut self, depart: LeaveAccepted, _: &mut Context<Self>) {
        if let Some(room) = self.rooms.get_mut(&depart.room) {
            room.leave(depart.connection);
            if room.members.is_empty() {
                self.rooms.remove(&depart.room);
            }
        }
        let Some(connection) = self.connection(depart.connection).cloned() else { return };
        connection.rooms.borrow_mut().retain(|joined| joined.door.id != depart.room);
        if let Some((ticket, frame)) = depart.reply {
            connection.answer(ticket, frame);
            self.unwritten.push(connection);
        }
    }
}

// ---------------------------------------------------------------- coming and going

impl Handler<NewConnection> for FanoutActor {
    type Result = ();

    fn handle(&mut self, adopt: NewConnection, _: &mut Context<Self>) {
        match &self.context {
            // Coming is work, too.
            Some(context) => context.strangers.queue_newcomer(adopt),
            None => {
                self.handles.newcomers.fetch_sub(1, Ordering::Relaxed);
                error!("a connection came before the thread was ready; it is dropped");
            }
        }
    }
}

impl FanoutActor {
    /// Starts the session of a connection whose turn it is.
    fn take_over(&mut self, adopt: NewConnection) {
        let Some(context) = &self.context else { return };
        let start = Strangers::processor_time();
        self.handles.newcomers.fetch_sub(1, Ordering::Relaxed);
        let stream = match adopt.stream.attach() {
            Ok(stream) => stream,
            Err(why) => {
                warn!(by:% = adopt.peer.ip(); "the connection from {} could not be taken over: {why}", adopt.peer);
                context.listener.do_send(super::messages::chat::Closed {
                    peer: adopt.peer,
                    refused: adopt.refused.is_some(),
                });
                return;
            }
        };
        let id = ConnectionId::fresh(self.thread);
        let outbox_bytes = context.limits.outbox_bytes;
        let connection = Rc::new(Connection::new(id, adopt.peer, stream, outbox_bytes));
        self.connections.insert(id, Rc::clone(&connection));
        SessionActor::new(connection, Rc::clone(context), adopt.refused).start();
        context.strangers.charge(start);
    }
}

impl Handler<ConnectionClosed> for FanoutActor {
    type Result = ();

    fn handle(&mut self, ConnectionClosed { connection }: ConnectionClosed, _: &mut Context<Self>) {
        let start = Strangers::processor_time();
        if let Some(gone) = self.connections.remove(&connection)
            && let Some(context) = &self.context
            && gone.rates.take().is_none()
        {
            // The socket is closed with the last reference to it.
            drop(gone);
            context.strangers.charge(start);
        }
        if self.connections.is_empty()
            && let Some(dismissed) = self.dismissed.take()
        {
            // Who asked may have given up waiting.
            let _ = dismissed.send(());
        }
    }
}

impl Handler<StopRequests> for FanoutActor {
    type Result = ();

    fn handle(&mut self, _: StopRequests, _: &mut Context<Self>) {
        if let Some(context) = &self.context {
            context.stopping.set(true);
        }
    }
}

impl Handler<CloseAll> for FanoutActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: CloseAll, _: &mut Context<Self>) -> ResponseFuture<()> {
        let newcomers = self.context.as_ref().map(|context| context.strangers.take_newcomers());
        newcomers.into_iter().flatten().for_each(|adopt| self.take_over(adopt));
        for connection in self.connections.values() {
            connection.judge(Verdict::Dismiss { reason: ByeReason::ShuttingDown, text: None });
        }
        let (sender, receiver) = oneshot::channel();
        if self.connections.is_empty() {
            return Box::pin(async {});
        }
        self.dismissed = Some(sender);
        Box::pin(async move {
            // An end without a word is an end, too.
            let _ = receiver.await;
        })
    }
}
