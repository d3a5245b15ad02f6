//! One FanoutActor for each I/O thread: a room sends it one batch, already encoded, once; it hands it to the
//! members that live on its thread and writes to their sockets itself.
//!
//! That is where Veche's speed comes from: a delivery is a reference to shared bytes and a share of one
//! vectored write, and passes no mailbox. The actor also keeps the thread's time: one tick for all of its
//! connections.

mod observe;
mod turns;

use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll};

use actix::fut::ActorFuture;
use actix::{Actor, AsyncContext, Context, Handler, ResponseFuture};
use log::{error, warn};
use tokio::sync::oneshot;

use self::turns::GiveTurns;
use super::connection::Connection;
use super::messages::fanout::{
    Answer, AuthorReceipt, Broadcast, CloseAll, ConnectionClosed, Deliver, FanoutHandle, JoinAccepted,
    LeaveAccepted, NewConnection, PresenceUpdate, RoomCrashed, SessionAccepted, StopRequests, Unicast,
};
use super::messages::listener::Closed;
use super::messages::room::{Leave, RoomHandle};
use super::panic_watch::Critical;
use super::session_context::{SessionContext, StartSession};
use super::strangers::Strangers;
use super::{Handles, yield_now};
use crate::chat::limits::fair_queue::FairQueue;
use crate::chat::session::deadlines::{TICK, Timeouts};
use crate::model::{ByeReason, ConnectionId, ErrorCode, Event, IoThread, Keep, Reply, RoomId};
use crate::wire::frames::{PerWire, SharedFrames};
use crate::wire::json::encode;

/// Sockets that are written to before others of the thread have their turn: a quarter of a millisecond or so.
const WRITES_PER_TURN: usize = 64;

/// A room, as far as it is on this thread.
struct LocalRoom {
    room: Rc<RoomHandle>,
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
    start_session: StartSession,
    /// There from the moment that the actor runs on its thread.
    context: Option<Rc<SessionContext>>,
    timeouts: Timeouts,
    ping: SharedFrames,
    connections: HashMap<ConnectionId, Rc<Connection>>,
    rooms: HashMap<RoomId, LocalRoom>,
    /// Connections with a reply in their outbox that nobody has tried to write.
    unwritten: Vec<Rc<Connection>>,
    /// The same, by the rooms' batches.
    deliveries: FairQueue<Rc<Connection>>,
    dismissed: Option<oneshot::Sender<()>>,
    /// Batches that rooms have sent, and how often one went to a member.
    batches: u64,
    delivered: u64,
}

impl FanoutActor {
    /// The fan-out of a thread.
    pub fn new(thread: IoThread, handles: Handles, start_session: StartSession) -> Self {
        FanoutActor {
            start_session,
            _critical: handles.critical.of("a fan-out"),
            thread,
            timeouts: Timeouts::new(&handles.config.limits),
            handles,
            context: None,
            ping: encode::event_for_all(&Event::Ping),
            connections: HashMap::new(),
            rooms: HashMap::new(),
            unwritten: Vec::new(),
            deliveries: FairQueue::default(),
            dismissed: None,
            batches: 0,
            delivered: 0,
        }
    }

    fn connection(&self, id: ConnectionId) -> Option<&Rc<Connection>> {
        self.connections.get(&id).filter(|connection| connection.machine().takes_frames())
    }

    /// Gives an author on this thread what became of its message.
    fn settle(&mut self, receipt: &AuthorReceipt) {
        let reply_to = receipt.reply_to;
        if reply_to.connection.thread() != self.thread {
            return;
        }
        let Some(connection) = self.connections.get(&reply_to.connection) else { return };
        let reply = match &receipt.outcome {
            Ok(receipt) => Reply::Receipt(*receipt),
            Err(refusal) => Reply::Refused(refusal.clone()),
        };
        connection.answer(reply_to.ticket, &reply);
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

impl Actor for FanoutActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let fanout = FanoutHandle::of(&ctx.address());
        self.context = Some(Rc::new(SessionContext::new(&self.handles, fanout)));
        ctx.spawn(WriteOut);
        ctx.spawn(GiveTurns::default());
        ctx.run_later(TICK, Self::tick);
        #[cfg(test)]
        ctx.spawn(super::invariants::CheckAfterEachStep);
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
        let room = self.rooms.get(&batch.room).filter(|_| !batch.messages.is_empty());
        if let Some(LocalRoom { members, .. }) = room {
            let frames = encode::messages(&*batch.messages);
            for author in batch.receipts.iter().filter_map(AuthorReceipt::author_in_batch) {
                if let Some(connection) = self.connections.get(&author) {
                    connection.spoke.set(true);
                }
            }
            for connection in members {
                if connection.spoke.take() {
                    let own = batch.receipts.iter().filter(|of| of.author_in_batch() == Some(connection.id));
                    let frames = frames.on(connection.wire);
                    frames.all_but(own.filter_map(|of| of.own), |piece| connection.push(piece));
                } else {
                    connection.push_shared(&frames);
                }
            }
            self.batches += 1;
            self.delivered += members.len() as u64;
            self.deliveries.push(members.clone());
        }
        for receipt in &*batch.receipts {
            self.settle(receipt);
        }
    }
}

impl Handler<Unicast> for FanoutActor {
    type Result = ();

    fn handle(&mut self, unicast: Unicast, _: &mut Context<Self>) {
        let frames = encode::messages([&unicast.message]);
        for id in &*unicast.connections {
            if let Some(connection) = self.connections.get(id) {
                connection.push_shared(&frames);
                self.unwritten.push(Rc::clone(connection));
            }
        }
    }
}

impl Handler<PresenceUpdate> for FanoutActor {
    type Result = ();

    fn handle(&mut self, update: PresenceUpdate, _: &mut Context<Self>) {
        let Some(LocalRoom { members, room }) = self.rooms.get(&update.room) else { return };
        let frames = encode::presence(&room.name, &update.changes);
        let most = PerWire::new();
        let mut told = Vec::with_capacity(members.len());
        for connection in members {
            let frames = frames.on(connection.wire);
            let instead = update.instead.get(&connection.id).map(|indexes| frames.only(indexes));
            let most = || most.get(connection.wire, || frames.only(&update.most));
            let pieces = instead.as_ref().unwrap_or_else(most);
            if !pieces.is_empty() {
                pieces.iter().for_each(|piece| connection.push(piece.clone()));
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
            connection.machine().left(room);
            connection.let_go(ByeReason::Fault(ErrorCode::Internal), None);
        }
    }
}

impl Handler<Broadcast> for FanoutActor {
    type Result = ();

    fn handle(&mut self, Broadcast { text, at }: Broadcast, _: &mut Context<Self>) {
        let notice = encode::event_for_all(&Event::Notice { text, at });
        let in_session = |connection: &&Rc<Connection>| connection.machine().was_accepted();
        let listeners: Vec<_> = self.connections.values().filter(in_session).cloned().collect();
        for connection in &listeners {
            connection.push_shared(&notice);
        }
        self.deliveries.push(listeners);
    }
}

// ---------------------------------------------------------------- replies

impl Handler<Answer> for FanoutActor {
    type Result = ();

    fn handle(&mut self, answer: Answer, _: &mut Context<Self>) {
        if let Some(connection) = self.connection(answer.reply_to.connection).cloned() {
            connection.answer(answer.reply_to.ticket, &answer.reply);
            self.unwritten.push(connection);
        }
    }
}

impl Handler<SessionAccepted> for FanoutActor {
    type Result = ();

    fn handle(&mut self, accepted: SessionAccepted, _: &mut Context<Self>) {
        if let Some(connection) = self.connection(accepted.reply_to.connection).cloned() {
            connection.machine().accepted(accepted.rates);
            connection.answer(accepted.reply_to.ticket, &Reply::Session(accepted.grant));
            self.unwritten.push(connection);
        }
    }
}

impl Handler<JoinAccepted> for FanoutActor {
    type Result = ();

    fn handle(&mut self, accepted: JoinAccepted, _: &mut Context<Self>) {
        let JoinAccepted { reply_to, room, members, reset, page, keep, events_begin_behind } = accepted;
        let (id, name) = (room.id, room.name.clone());
        let handle = self.rooms.get(&id).map_or_else(|| Rc::new(room), |local| Rc::clone(&local.room));
        let pages_up_to = events_begin_behind.filter(|_| keep == Keep::Oldest);
        let connection = self.connections.get(&reply_to.connection).cloned();
        let Some(connection) =
            connection.filter(|of| of.machine().joined(Rc::clone(&handle), pages_up_to).is_ok())
        else {
            // It went while the room was reading its page; the room thinks that it is in.
            handle.ways.do_send(Leave { connection: reply_to.connection, request: None });
            return;
        };
        let local = self.rooms.entry(id).or_insert_with(|| LocalRoom { room: handle, members: Vec::new() });
        local.enter(&connection);
        let joined = Reply::Joined { room: name.clone(), members, reset, page, keep };
        if !connection.answer(reply_to.ticket, &joined) {
            connection.machine().pages_are_fetched(&name);
        }
        self.unwritten.push(connection);
    }
}

impl Handler<LeaveAccepted> for FanoutActor {
    type Result = ();

    fn handle(&mut self, left: LeaveAccepted, _: &mut Context<Self>) {
        if let Some(room) = self.rooms.get_mut(&left.room) {
            room.leave(left.connection);
            if room.members.is_empty() {
                self.rooms.remove(&left.room);
            }
        }
        let Some(connection) = self.connection(left.connection).cloned() else { return };
        connection.machine().left(left.room);
        if let Some(ticket) = left.request {
            connection.answer(ticket, &Reply::Done);
            self.unwritten.push(connection);
        }
    }
}

// ---------------------------------------------------------------- coming and going

impl Handler<NewConnection> for FanoutActor {
    type Result = ();

    fn handle(&mut self, new: NewConnection, _: &mut Context<Self>) {
        match &self.context {
            // Coming is work, too.
            Some(context) => context.strangers.queue_newcomer(new),
            None => {
                self.handles.newcomers.fetch_sub(1, Ordering::Relaxed);
                error!("a connection came before the thread was ready; it is dropped");
            }
        }
    }
}

impl FanoutActor {
    /// Starts the session of a connection whose turn it is.
    fn take_over(&mut self, new: NewConnection) {
        let Some(context) = &self.context else { return };
        let start = Strangers::processor_time();
        self.handles.newcomers.fetch_sub(1, Ordering::Relaxed);
        let stream = match new.stream.attach() {
            Ok(stream) => stream,
            Err(why) => {
                warn!(by:% = new.peer.ip(); "the connection from {} could not be taken over: {why}", new.peer);
                context.handles.listener.do_send(Closed { peer: new.peer, refused: new.refused.is_some() });
                return;
            }
        };
        let id = ConnectionId::fresh(self.thread);
        let limits = Arc::clone(&context.rules.limits);
        let connection = Rc::new(Connection::new(id, new.peer, stream, new.wire, limits, new.refused));
        self.connections.insert(id, Rc::clone(&connection));
        (self.start_session)(connection, Rc::clone(context), new.refused.is_some(), new.received);
        context.strangers.charge(start);
    }
}

impl Handler<ConnectionClosed> for FanoutActor {
    type Result = ();

    fn handle(&mut self, ConnectionClosed { connection }: ConnectionClosed, _: &mut Context<Self>) {
        let start = Strangers::processor_time();
        if let Some(gone) = self.connections.remove(&connection)
            && let Some(context) = &self.context
            && !gone.machine().was_accepted()
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
            context.rules.stopping.set(true);
        }
    }
}

impl Handler<CloseAll> for FanoutActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: CloseAll, _: &mut Context<Self>) -> ResponseFuture<()> {
        let newcomers = self.context.as_ref().map(|context| context.strangers.take_newcomers());
        newcomers.into_iter().flatten().for_each(|new| self.take_over(new));
        for connection in self.connections.values() {
            connection.let_go(ByeReason::ShuttingDown, None);
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

#[cfg(test)]
#[path = "fanout/fanout_tests.rs"]
mod tests;
