//! One SessionActor for each connection: it knows who speaks.
//!
//! It reads frames, checks them in the contract's order, and passes on what is allowed; see
//! [`crate::chat::session::authorize`] and [`crate::wire::json::request`] for the rules. What takes time is answered later,
//! through the [`Connection`], which keeps the replies in order. A session stops reading while it has too
//! many requests unanswered, or too much unread by its peer: that is the only back-pressure that a sender
//! feels.
//!
//! - this file: the actor, its life, and the loop that reads and writes;
//! - `reading`: its turns, and the frames that it reads in them;
//! - `requests`: what each request does;
//! - `pages`: the requests that read the past or list names.

mod observe;
mod pages;
mod reading;
mod requests;

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use actix::fut::{ActorFuture, ActorFutureExt};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, WrapFuture};
use bytes::{Bytes, BytesMut};
use log::info;

use super::connection::{Connection, Verdict};
use super::messages::auth::{Detach, PREVIOUS_TOKEN_SECONDS, TokenUsed};
use super::messages::directory::Offline;
use super::messages::fanout::ConnectionClosed;
use super::messages::listener::Closed;
use super::messages::room::Leave;
use super::messages::session::EndSession;
use super::session_context::SessionContext;
use super::strangers::Strangers;
use crate::chat::limits::rate_limiter::RateLimiter;
use crate::chat::session::authorize::BadFrames;
use crate::chat::session::deadlines::Deadlines;
use crate::model::{
    ByeReason, ErrorCode, Event, Member, MessageId, Refusal, SessionId, TokenHash, TokenText, UserName,
};
use crate::wire::WireState;
use crate::wire::json::encode;

/// The session of a connection, from `register`, `login` or `resume` on.
struct OpenSession {
    session: SessionId,
    account: UserName,
    first_id: Option<MessageId>,
    token: TokenHash,
    /// The token before a `resume`, good until the fresh one is used or its time is over. In a box, for it is
    /// seldom there.
    previous: Option<Box<Previous>>,
}

/// The token before a `resume`.
struct Previous {
    token: TokenHash,
    since: Instant,
    death: Death,
}

/// How far a previous token is on its way to die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    /// The fresh one was not used yet.
    NotYet,
    /// The fresh one was shown, and the AuthActor is asked to store it.
    Asked,
    /// It cannot be stored, and the request that showed the fresh one is refused.
    Refused(ErrorCode),
}

/// What becomes of a request that shows a token.
enum FirstUse {
    /// It is not the first one to show the fresh token.
    IsNone,
    /// It waits until the token before is dead.
    Waits,
    /// That could not be stored.
    Refused(ErrorCode),
}

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It talks.
    Talking,
    /// It is to go, and the last requests are being answered; no others are taken.
    Finishing,
    /// Goodbye is said and on its way.
    Leaving,
    /// Goodbye is written; the peer may still be writing. Closing a socket with unread input would reset it
    /// and lose the goodbye, so it is read to its end.
    Lingering,
}

/// What became of one frame.
enum Taken {
    /// It was handled.
    Done,
    /// It cannot begin yet.
    Waits,
}

/// How far reading got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Every whole frame that has come is handled.
    AllHandled,
    /// A frame has to wait until others are answered, or replies are read.
    Waits,
    /// It goes on in another turn; whoever gives it wakes the session.
    Later,
}

/// One connection and its session.
pub struct SessionActor {
    connection: Rc<Connection>,
    context: Rc<SessionContext>,
    phase: Phase,
    session: Option<Box<OpenSession>>,
    /// Bytes that no frame could be made of yet, or that had to wait.
    unread: BytesMut,
    /// What the wire remembers of the frames before those.
    wire_state: WireState,
    /// Room among the strangers' frames that is kept for both, in bytes.
    kept_bytes: usize,
    /// What it has read, in bytes, as long as it is new.
    read_bytes: usize,
    /// When a limit refused something last, by [`SessionActor::now`].
    refused_at: Option<Duration>,
    /// Whether the peer has ended its side of the stream.
    peer_is_done: bool,
    bad_frames: BadFrames,
    request_limiter: RateLimiter,
    refused: Option<ErrorCode>,
    /// What is said when the last requests are answered.
    farewell: Option<(ByeReason, Option<String>)>,
}

impl SessionActor {
    /// The session for a connection; with `refused`, one that is told so and goes. `received` is what has been
    /// read of it already.
    pub fn new(
        connection: Rc<Connection>,
        context: Rc<SessionContext>,
        refused: Option<ErrorCode>,
        received: Bytes,
    ) -> Self {
        SessionActor {
            connection,
            context,
            phase: Phase::Talking,
            session: None,
            unread: BytesMut::from(received),
            wire_state: WireState::default(),
            kept_bytes: 0,
            read_bytes: 0,
            refused_at: None,
            peer_is_done: false,
            bad_frames: BadFrames::default(),
            request_limiter: RateLimiter::default(),
            refused,
            farewell: None,
        }
    }

    /// Starts the session of a connection on the current thread; see [`SessionActor::new`].
    pub fn begin(
        connection: Rc<Connection>,
        context: Rc<SessionContext>,
        refused: Option<ErrorCode>,
        received: Bytes,
    ) {
        SessionActor::new(connection, context, refused, received).start();
    }

    fn member(&self) -> Option<Member> {
        let session = self.session.as_ref()?;
        Some(Member { account: session.account.clone(), connection: self.connection.id })
    }

    /// The newest message when the session's account was made.
    fn account_since(&self) -> Option<MessageId> {
        self.session.as_ref()?.first_id
    }

    /// The time since the thread started, for rates.
    fn now(&self) -> Duration {
        self.context.started.elapsed()
    }

    /// Who this is, for the log: never more than an account's canonical name and an address.
    fn label(&self) -> String {
        let (id, peer) = (self.connection.id, self.connection.peer);
        match &self.session {
            Some(session) => format!("{id} {} ({peer})", session.account),
            None => format!("{id} ({peer})"),
        }
    }

    /// Whose doing it is when the log says something of this connection: it folds what comes too often.
    fn by(&self) -> String {
        self.session
            .as_ref()
            .map_or_else(|| self.connection.peer.ip().to_string(), |of| of.account.to_string())
    }

    /// Whether a token is this session's.
    fn token_is_good(&self, shown: Option<&str>) -> bool {
        let (Some(session), Some(shown)) = (&self.session, shown) else { return false };
        let shown = self.context.hasher.hash(&TokenText::new(shown));
        let lifetime = Duration::from_secs(PREVIOUS_TOKEN_SECONDS);
        let is_previous =
            |previous: &Previous| shown == previous.token && previous.since.elapsed() < lifetime;
        shown == session.token || session.previous.as_deref().is_some_and(is_previous)
    }

    /// The first use of a fresh token ends the one before it, which has to be stored first.
    fn first_use(&mut self, shown: Option<&str>, ctx: &mut Context<Self>) -> FirstUse {
        let Some(session) = &mut self.session else { return FirstUse::IsNone };
        let (Some(previous), Some(shown)) = (&mut session.previous, shown) else { return FirstUse::IsNone };
        if self.context.hasher.hash(&TokenText::new(shown)) != session.token {
            return FirstUse::IsNone;
        }
        match previous.death {
            Death::Asked => FirstUse::Waits,
            Death::Refused(code) => {
                previous.death = Death::NotYet;
                FirstUse::Refused(code)
            }
            Death::NotYet => {
                previous.death = Death::Asked;
                let used = self.context.auth.send(TokenUsed { session: session.session });
                ctx.spawn(used.into_actor(self).map(|died, act, _| {
                    act.previous_died(died.unwrap_or_else(|_| Err(ErrorCode::Internal.into())));
                }));
                FirstUse::Waits
            }
        }
    }

    fn previous_died(&mut self, died: Result<(), Refusal>) {
        if let Some(session) = &mut self.session {
            match (died, &mut session.previous) {
                (Err(refusal), Some(previous)) => previous.death = Death::Refused(refusal.code),
                (_, previous) => *previous = None,
            }
        }
        // The request that waits is looked at by the loop, which this does not wake.
        self.connection.wake();
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
        let read = if self.phase == Phase::Talking { self.read_frames(ctx, task) } else { Progress::Later };
        // Writing comes after reading, so that what was just answered goes out, and the fan-out's verdict is
        // looked at last, so that none waits for another wake.
        let mut written = self.connection.poll_flush(task).is_ready();
        if written
            && read == Progress::Waits
            && self.phase == Phase::Talking
            && self.connection.unanswered() == 0
        {
            // What it waited for was room in the outbox, and there is room now.
            task.waker().wake_by_ref();
        }
        match self.connection.take_verdict() {
            Some(Verdict::Drop) => return Poll::Ready(()),
            Some(Verdict::Dismiss { reason, text }) => self.say_goodbye(reason, text),
            None => {}
        }
        if self.connection.unanswered() == 0
            && let Some((reason, text)) = self.farewell.take()
        {
            self.say_last_words(reason, text);
        }
        let nothing_left =
            read == Progress::AllHandled && self.peer_is_done && self.connection.unanswered() == 0;
        if self.phase == Phase::Talking && nothing_left {
            info!(by:% = self.by(); "{} disconnected", self.label());
            let ending = self.ending(None);
            self.leave_everything();
            self.connection.push_last_words(ending, false);
            self.phase = Phase::Leaving;
        }
        if self.phase == Phase::Leaving {
            written = self.connection.poll_flush(task).is_ready();
        }
        if self.phase == Phase::Leaving && written {
            self.connection.shut_down_writing();
            self.phase = Phase::Lingering;
        }
        if self.phase == Phase::Lingering { self.read_to_the_end(task) } else { Poll::Pending }
    }

    // ------------------------------------------------------------ the end

    /// Takes no more requests, and says goodbye when those under way are answered. Who does not read gets no
    /// answers, and is let go at once.
    fn say_goodbye(&mut self, reason: ByeReason, text: Option<String>) {
        let too_slow = reason == ByeReason::Fault(ErrorCode::SlowConsumer);
        match self.phase {
            Phase::Talking if self.connection.unanswered() > 0 && !too_slow => {
                self.phase = Phase::Finishing;
                self.farewell = Some((reason, text));
                self.connection.reading.set(false);
                self.connection.with_deadlines(Deadlines::closing);
            }
            Phase::Talking => self.say_last_words(reason, text),
            Phase::Finishing if too_slow => self.say_last_words(reason, text),
            Phase::Finishing | Phase::Leaving | Phase::Lingering => {}
        }
    }

    fn say_last_words(&mut self, reason: ByeReason, text: Option<String>) {
        info!(by:% = self.by(); "{} let go: {}", self.label(), reason.as_str());
        let text = text.unwrap_or_else(|| reason.sentence().to_owned());
        let fault = reason.fault().map(|code| Event::Fault(Refusal::new(code, text.clone())));
        let events = fault.into_iter().chain([Event::Bye { reason, text }]);
        let wire = self.connection.wire;
        let last_words = events.map(|event| encode::event(wire, &event)).chain(self.ending(Some(reason)));
        let too_slow = reason == ByeReason::Fault(ErrorCode::SlowConsumer);
        self.leave_everything();
        self.connection.push_last_words(last_words, too_slow);
        self.phase = Phase::Leaving;
    }

    /// The last frame, on a wire that has one.
    fn ending(&self, reason: Option<ByeReason>) -> Option<Bytes> {
        self.connection.wire.ending(&self.wire_state, reason)
    }

    /// Goes out of every room and offline, at once. The session itself waits for a `resume`.
    fn leave_everything(&mut self) {
        // When the server stops, everybody leaves: nobody is left to be told.
        let rooms = self.connection.rooms.take();
        for room in rooms.into_iter().filter(|_| !self.context.stopping.get()) {
            room.room.ways.do_send(Leave { connection: self.connection.id, request: None });
        }
        if let Some(member) = self.member() {
            self.context.directory.do_send(Offline { member });
        }
        if let Some(session) = self.session.take() {
            self.context.auth.do_send(Detach { session: session.session });
        }
        self.unread = BytesMut::new();
        self.wire_state = WireState::default();
        self.give_back_room();
    }
}

impl Actor for SessionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        match self.refused {
            None => {
                info!(by:% = self.by(); "{} connected", self.label());
                self.connection.push_shared(&self.context.welcome);
            }
            Some(code) => self.say_goodbye(ByeReason::Fault(code), None),
        }
        ctx.spawn(Drive);
    }
}

/// What has to happen however a session ends, a panic included.
impl Drop for SessionActor {
    fn drop(&mut self) {
        if self.phase == Phase::Talking {
            info!(by:% = self.by(); "{} disconnected", self.label());
        }
        self.leave_everything();
        self.connection.push_last_words([], true);
        self.context.fanout.do_send(ConnectionClosed { connection: self.connection.id });
        self.context.listener.do_send(Closed { peer: self.connection.peer, refused: self.refused.is_some() });
    }
}

/// The AuthActor has ended the session.
impl Handler<EndSession> for SessionActor {
    type Result = ();

    fn handle(&mut self, EndSession { reason, text }: EndSession, _: &mut Context<Self>) {
        self.connection.judge(Verdict::Dismiss { reason, text });
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
