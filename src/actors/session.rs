//! One SessionActor for each connection: it moves bytes and messages.
//!
//! It reads frames and hands them to the connection's state machine
//! ([`SessionMachine`]), asks the actors that know what the machine
//! lets through, and does what the machine says in the end. What takes time is answered later, through the
//! [`Connection`], which keeps the replies in order. A session stops reading while it has too many requests
//! unanswered, or too much unread by its peer: that is the only back-pressure that a sender feels.
//!
//! - this file: the actor, its life, and the loop that reads and writes;
//! - `reading`: its turns, and the frames that it reads in them;
//! - `requests`: what each request does;
//! - `pages`: the requests that read the past or list names.

mod observe;
mod pages;
mod reading;
mod requests;

use std::cell::RefMut;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::fut::ActorFuture;
use actix::{Actor, ActorContext, AsyncContext, Context, Handler};
use bytes::{Bytes, BytesMut};
use log::info;

use super::connection::{Connection, OfActors};
use super::messages::auth::Detach;
use super::messages::directory::Offline;
use super::messages::fanout::ConnectionClosed;
use super::messages::listener::Closed;
use super::messages::room::Leave;
use super::messages::session::EndSession;
use super::session_context::SessionContext;
use super::strangers::Strangers;
use crate::chat::session::active::ActiveSession;
use crate::chat::session::goodbye::{Goodbye, LastWords};
use crate::chat::session::machine::{Action, SessionMachine};
use crate::model::{ByeReason, Event, Member, Reply, UserName};
use crate::wire::WireState;
use crate::wire::json::encode;

/// One connection and its session.
pub struct SessionActor {
    connection: Rc<Connection>,
    context: Rc<SessionContext>,
    /// Whether the connection is one that may not stay.
    refused: bool,
    /// Bytes that no frame could be made of yet, or that had to wait.
    unread: BytesMut,
    /// What the wire remembers of the frames before those.
    wire_state: WireState,
    /// Room among the strangers' frames that is kept for both, in bytes.
    kept_bytes: usize,
    /// What it has read, in bytes, as long as it is new.
    read_bytes: usize,
}

/// A connection in the log.
struct Label {
    /// Whose doing it is that something is said: what comes too often from one is folded.
    by: String,
    /// Who it is, never more than an account's canonical name and an address.
    who: String,
}

impl SessionActor {
    /// The session for a connection, which may be one that may not stay. `received` is what has been read of it
    /// already.
    pub fn new(
        connection: Rc<Connection>,
        context: Rc<SessionContext>,
        refused: bool,
        received: Bytes,
    ) -> Self {
        SessionActor {
            connection,
            context,
            refused,
            unread: BytesMut::from(received),
            wire_state: WireState::default(),
            kept_bytes: 0,
            read_bytes: 0,
        }
    }

    /// Starts the session of a connection on the current thread; see [`SessionActor::new`].
    pub fn begin(connection: Rc<Connection>, context: Rc<SessionContext>, refused: bool, received: Bytes) {
        SessionActor::new(connection, context, refused, received).start();
    }

    fn machine(&self) -> RefMut<'_, SessionMachine<OfActors>> {
        self.connection.machine()
    }

    fn member(&self, session: &ActiveSession<OfActors>) -> Member {
        Member { account: session.account.clone(), connection: self.connection.id }
    }

    /// The time since the thread started, for rates.
    fn now(&self) -> Duration {
        self.context.handles.started.elapsed()
    }

    /// Who this is, for the log.
    fn label(&self, account: Option<&UserName>) -> Label {
        let (id, peer) = (self.connection.id, self.connection.peer);
        match account {
            Some(account) => Label { by: account.to_string(), who: format!("{id} {account} ({peer})") },
            None => Label { by: peer.ip().to_string(), who: format!("{id} ({peer})") },
        }
    }

    // ------------------------------------------------------------ the loop

    /// Does what can be done now; `Ready` when the connection is over. What is done for a stranger is charged
    /// to all of them.
    fn drive(&mut self, ctx: &mut Context<Self>, task: &mut TaskContext<'_>) -> Poll<()> {
        self.connection.watch(task.waker());
        if !self.is_stranger() {
            return self.go_on(ctx, task);
        }
        let start = Strangers::processor_time();
        let over = self.go_on(ctx, task);
        self.context.strangers.charge(start);
        over
    }

    fn go_on(&mut self, ctx: &mut Context<Self>, task: &mut TaskContext<'_>) -> Poll<()> {
        let reads = self.machine().reads();
        let waits_for_write = reads && self.read_frames(ctx, task);
        // Writing comes after reading, so that what was just answered goes out.
        let mut written = self.connection.poll_flush(task).is_ready();
        if waits_for_write && written {
            // What it waited for was room in the outbox, and there is room now.
            task.waker().wake_by_ref();
        }
        loop {
            let action = self.machine().next_action(written);
            match action {
                Some(Action::Goodbye(goodbye)) => {
                    self.say_goodbye(goodbye);
                    written = self.connection.poll_flush(task).is_ready();
                }
                Some(Action::CloseWriting) => self.connection.shut_down_writing(),
                Some(Action::Stop) => return Poll::Ready(()),
                None => {
                    let is_draining = self.machine().is_draining();
                    if !is_draining || self.read_to_the_end(task).is_pending() {
                        return Poll::Pending;
                    }
                    self.machine().peer_ended();
                }
            }
        }
    }

    // ------------------------------------------------------------ the end

    /// Says the last words, goes out of every room and offline, and lets go of the session: it waits for a
    /// `resume`, unless it was ended for good.
    fn say_goodbye(&mut self, Goodbye { words, session, ended }: Goodbye<OfActors>) {
        let account = session.as_deref().map(|session| &session.account);
        let reason = words.as_ref().map(|words| words.reason);
        let Label { by, who } = self.label(account);
        match reason {
            None => info!(by:% = by; "{who} disconnected"),
            Some(ByeReason::Exit) => info!(by:% = by; "{who} exited"),
            Some(reason) => info!(by:% = by; "{who} let go: {}", reason.as_str()),
        }
        if let Some(session) = session {
            // When the server stops, everybody leaves: nobody is left to be told.
            for joined in session.rooms().iter().filter(|_| !self.context.rules.stopping.get()) {
                joined.room.ways.do_send(Leave { connection: self.connection.id, request: None });
            }
            self.context.handles.directory.do_send(Offline { member: self.member(&session) });
            if !ended {
                self.context.handles.auth.do_send(Detach { session: session.id });
            }
        }
        let drop_unsent = words.as_ref().is_some_and(LastWords::drop_unsent);
        let ending = self.connection.wire.ending(&self.wire_state, reason);
        let words = words.map(|words| self.encode(words)).into_iter().flatten();
        self.connection.push_last_words(words.chain(ending), drop_unsent);
        self.unread = BytesMut::new();
        self.wire_state = WireState::default();
        self.give_back_room();
    }

    /// What went wrong, if something did, and the `bye`.
    fn encode(&self, words: LastWords) -> impl Iterator<Item = Bytes> + use<> {
        let (wire, reason) = (self.connection.wire, words.reason);
        let fault = words.fault().map(|refusal| encode::event(wire, &Event::Fault(refusal)));
        let bye = match reason {
            ByeReason::Exit => {
                let (reference, limits) = (words.reference.as_ref(), &self.context.rules.limits);
                encode::reply(wire, &Reply::Bye(reason), reference, limits.max_frame_bytes).0
            }
            _ => encode::event(wire, &Event::Bye { reason, text: words.text.into_owned() }),
        };
        fault.into_iter().chain([bye])
    }
}

impl Actor for SessionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if !self.refused {
            let Label { by, who } = self.label(None);
            info!(by:% = by; "{who} connected");
            self.connection.push_shared(&self.context.welcome);
        }
        ctx.spawn(Drive);
    }
}

/// What has to happen however a session ends, a panic included.
impl Drop for SessionActor {
    fn drop(&mut self) {
        let abandoned = self.machine().abandon();
        if let Some(goodbye) = abandoned {
            self.say_goodbye(goodbye);
        }
        self.context.fanout.do_send(ConnectionClosed { connection: self.connection.id });
        self.context.handles.listener.do_send(Closed { peer: self.connection.peer, refused: self.refused });
    }
}

/// The AuthActor has ended the session.
impl Handler<EndSession> for SessionActor {
    type Result = ();

    fn handle(&mut self, EndSession { reason, text }: EndSession, _: &mut Context<Self>) {
        self.connection.let_go(reason, text);
    }
}

/// The loop of a session, polled whenever its actor is woken, after its mailbox.
struct Drive;

impl ActorFuture<SessionActor> for Drive {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        session: &mut SessionActor,
        ctx: &mut Context<SessionActor>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let over = session.drive(ctx, task);
        if over.is_ready() {
            ctx.stop();
        }
        over
    }
}

#[cfg(test)]
#[path = "session/session_tests.rs"]
mod tests;
