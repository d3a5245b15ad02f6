//! The life of one connection as a state machine without I/O: what comes in goes in by a method, what has to be
//! done comes out as a value.
//!
//! ```text
//! Refused ────────────────────────────────────┐
//!                                             │ goodbye
//! Stranger ─→ Open ──────────── Finishing ────┴─→ Leaving → Draining → Over
//! ```
//!
//! It reads no clock and no socket, and knows no actor: the session's actor hands it what came
//! ([`SessionMachine::admit`]) and does what it says ([`SessionMachine::next_action`]), and whoever has an answer
//! puts it in ([`SessionMachine::answer`]). Its simulation runs through random lives.

use std::sync::Arc;
use std::time::Duration;

use super::active::{ActiveSession, Death, JoinedRoom, SessionTypes};
use super::authorize::BadFrames;
use super::deadlines::{Deadlines, Due, Timeouts};
use super::goodbye::{Farewell, Goodbye, LastWords};
use super::replies::{Concurrency, Replies};
use super::rules::SessionRules;
use crate::chat::limits::rate_limiter::{AccountRates, RateLimiter};
use crate::model::{ByeReason, ErrorCode, MessageId, Reference, RoomId, RoomName, Ticket};

/// How long a session stands behind the others when it was too fast.
const STANDS_BEHIND: Duration = Duration::from_secs(1);

/// Where a connection is in its life.
#[derive(Debug)]
pub(super) enum State<T: SessionTypes> {
    /// It may not stay, and is to be told so.
    Refused(ErrorCode),
    /// It has no session.
    Stranger,
    /// It has one.
    Open(Box<ActiveSession<T>>),
    /// It is to go. Requests under way are being answered, no others are taken.
    Finishing(Box<Finishing<T>>),
    /// Goodbye is said and on its way.
    Leaving,
    /// Goodbye is written; the peer may still be writing. Closing a socket with unread input would reset it and
    /// lose the goodbye, so it is read to its end.
    Draining,
    /// Nothing more will happen.
    Over,
}

#[derive(Debug)]
pub(super) struct Finishing<T: SessionTypes> {
    session: Option<Box<ActiveSession<T>>>,
    farewell: Farewell,
    /// Whether the session was ended for good, by `exit`.
    ended: bool,
}

/// Whether another frame may be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It may.
    Ready,
    /// When something is answered.
    WaitsForAnswer,
    /// When some of what waits to be written is written.
    WaitsForWrite,
}

/// What has to be done next.
#[derive(Debug)]
pub enum Action<T: SessionTypes> {
    /// Say the last words behind all that waits to be written, take nothing out after them, and give back what
    /// the connection had. Comes exactly once in a life.
    Goodbye(Goodbye<T>),
    /// Tell the peer that nothing more will come.
    CloseWriting,
    /// Drop the connection.
    Stop,
}

/// See the module.
#[derive(Debug)]
pub struct SessionMachine<T: SessionTypes> {
    pub(super) state: State<T>,
    /// Whether the peer has ended its side of the stream, and all that came before is handled.
    peer_has_ended: bool,
    /// Whether more is read from the peer at the moment, if it sends some.
    listening: bool,
    pub(super) bad_frames: BadFrames,
    pub(super) replies: Replies<T::Reply>,
    deadlines: Deadlines,
    /// The requests of the connection that count for themselves.
    pub(super) requests: RateLimiter,
    /// Until when it stands behind the others, for it was too fast.
    behind_until: Duration,
    /// How fast its account does things; there from the first session's reply on, to the end.
    pub(super) rates: Option<Arc<AccountRates>>,
}

impl<T: SessionTypes> SessionMachine<T> {
    /// A connection that has just been made; with a code, one that may not stay and is told so.
    pub fn new(refused: Option<ErrorCode>) -> Self {
        SessionMachine {
            state: refused.map_or(State::Stranger, State::Refused),
            peer_has_ended: false,
            listening: refused.is_none(),
            bad_frames: BadFrames::default(),
            replies: Replies::default(),
            deadlines: Deadlines::connected(),
            requests: RateLimiter::default(),
            behind_until: Duration::ZERO,
            rates: None,
        }
    }

    // ------------------------------------------------------------ what it is

    /// The session, while there is one.
    pub fn session(&self) -> Option<&ActiveSession<T>> {
        match &self.state {
            State::Open(session) => Some(session),
            State::Finishing(finishing) => finishing.session.as_deref(),
            _ => None,
        }
    }

    fn session_mut(&mut self) -> Option<&mut ActiveSession<T>> {
        match &mut self.state {
            State::Open(session) => Some(session),
            State::Finishing(finishing) => finishing.session.as_deref_mut(),
            _ => None,
        }
    }

    /// Whether it waits for its turns among those without a session: it has none, or was too fast a moment ago.
    /// When the server stops, nobody does: all are to go.
    pub fn is_stranger(&self, rules: &SessionRules, now: Duration) -> bool {
        (self.session().is_none() || now < self.behind_until) && !rules.stopping.get()
    }

    /// Whether it was ever told that it has a session.
    pub fn was_accepted(&self) -> bool {
        self.rates.is_some()
    }

    /// Whether more is read from the peer: it may ask for something, or say that it goes.
    pub fn reads(&self) -> bool {
        self.takes_requests() && !self.peer_has_ended
    }

    /// Whether requests are taken.
    pub fn takes_requests(&self) -> bool {
        matches!(self.state, State::Stranger | State::Open(_))
    }

    /// Whether anything may still be put out: replies, events and pings.
    pub fn takes_frames(&self) -> bool {
        match &self.state {
            State::Refused(_) | State::Stranger | State::Open(_) => true,
            State::Finishing(finishing) => !finishing.farewell.is_at_once(),
            State::Leaving | State::Draining | State::Over => false,
        }
    }

    /// Whether all that was written is all that there will be, and the peer's end is waited for.
    pub fn is_draining(&self) -> bool {
        matches!(self.state, State::Draining)
    }

    /// Whether the connection has to be looked at after something else than its own reading has changed it:
    /// whoever reads notices by itself.
    pub fn needs_driving(&self) -> bool {
        !self.listening
    }

    /// How many requests are unanswered.
    pub fn unanswered(&self) -> usize {
        self.replies.len()
    }

    // ------------------------------------------------------------ reading

    /// Whether another frame may be looked at: not while too many requests are unanswered, one must be alone, or
    /// the peer does not read its replies, of which `unread_bytes` wait.
    pub fn readiness(&self, rules: &SessionRules, unread_bytes: usize) -> Readiness {
        let limits = &rules.limits;
        let most = if self.session().is_some() { limits.outbox_bytes / 2 } else { limits.stranger_bytes };
        let may_begin = self.takes_requests()
            && self.replies.may_begin(Concurrency::Immediate)
            && self.replies.len() < limits.requests_in_flight;
        match may_begin {
            false => Readiness::WaitsForAnswer,
            true if unread_bytes > most => Readiness::WaitsForWrite,
            true => Readiness::Ready,
        }
    }

    /// Whether more is read from the peer from now on, as soon as it sends some. Silence that nobody listens to
    /// is no fault of the peer's.
    pub fn listen(&mut self, listening: bool) {
        self.listening = listening && self.reads();
    }

    /// The peer has sent something.
    pub fn heard(&mut self) {
        self.deadlines.heard();
    }

    /// Whether a frame is begun and not complete.
    pub fn frame_is_open(&mut self, open: bool) {
        self.deadlines.frame_is_open(open);
    }

    /// A frame is complete; what follows it is counted afresh.
    pub fn frame_completed(&mut self) {
        self.deadlines.frame_completed();
    }

    /// The peer has ended its side of the stream, and every frame that came before is handled.
    pub fn peer_ended(&mut self) {
        self.peer_has_ended = true;
        self.listening = false;
    }

    /// Who is refused for the rate stands behind the others for a moment.
    pub(super) fn was_too_fast(&mut self, now: Duration) {
        self.behind_until = now.saturating_add(STANDS_BEHIND);
    }

    // ------------------------------------------------------------ answers

    /// The `ref` of an unanswered request.
    pub fn reference(&self, ticket: Ticket) -> Option<&Reference> {
        self.replies.reference(ticket)
    }

    /// Takes the reply to a request; [`SessionMachine::next_reply`] gives it when those before it have left. A
    /// reply that nobody waits for is passed over.
    pub fn answer(&mut self, ticket: Ticket, reply: T::Reply) {
        self.replies.answer(ticket, reply);
    }

    /// The next reply whose turn it is.
    pub fn next_reply(&mut self) -> Option<T::Reply> {
        self.replies.pop_ready()
    }

    /// What was asked for is open. Its reply is due when others know of it.
    ///
    /// # Errors
    /// The session, when the connection has gone meanwhile and cannot have it.
    pub fn opened(&mut self, session: Box<ActiveSession<T>>) -> Result<(), Box<ActiveSession<T>>> {
        match &mut self.state {
            State::Stranger => {
                self.state = State::Open(session);
                self.deadlines.session_opened();
            }
            State::Finishing(finishing) if finishing.session.is_none() => finishing.session = Some(session),
            _ => return Err(session),
        }
        Ok(())
    }

    /// Others know of the session: it goes by these rates, and hears what is said to all.
    pub fn accepted(&mut self, rates: Arc<AccountRates>) {
        self.rates = Some(rates);
    }

    /// What became of the token before the fresh one, once that was shown: it is dead, or that could not be
    /// stored.
    pub fn previous_died(&mut self, died: Result<(), ErrorCode>) {
        let Some(session) = self.session_mut() else { return };
        match (died, &mut session.previous) {
            (Err(code), Some(previous)) => previous.death = Death::Refused(code),
            (_, previous) => *previous = None,
        }
    }

    /// The session has ended as `exit` asked, or there was none: the `bye` that says so is the reply.
    pub fn exited(&mut self, ticket: Ticket) {
        let farewell = Farewell::Exit(ticket);
        match &mut self.state {
            State::Finishing(finishing) => {
                finishing.ended = true;
                if !finishing.farewell.is_at_once() {
                    finishing.farewell = farewell;
                }
            }
            State::Stranger | State::Open(_) => self.finish(farewell, true),
            _ => {}
        }
    }

    // ------------------------------------------------------------ rooms

    /// It is in this room from here on.
    ///
    /// # Errors
    /// The room, when the connection has gone meanwhile and is to be taken out of it again.
    pub fn joined(&mut self, room: T::Room, pages_up_to: Option<MessageId>) -> Result<(), T::Room> {
        if !self.takes_frames() {
            return Err(room);
        }
        let Some(session) = self.session_mut() else { return Err(room) };
        let id = T::room(&room).0;
        session.rooms.retain(|joined| T::room(&joined.room).0 != id);
        // Most sessions are in one room, and thousands of them idle.
        session.rooms.reserve_exact(1);
        session.rooms.push(JoinedRoom { room, pages_up_to });
        Ok(())
    }

    /// It is not in this room any more.
    pub fn left(&mut self, room: RoomId) {
        if let Some(session) = self.session_mut() {
            session.rooms.retain(|joined| T::room(&joined.room).0 != room);
        }
    }

    /// The room of this name, if the session is in it.
    pub fn room(&self, name: &RoomName) -> Option<&JoinedRoom<T::Room>> {
        self.session()?.room(name)
    }

    /// All pages before the room's first event are fetched.
    pub fn pages_are_fetched(&mut self, name: &RoomName) {
        let rooms = self.session_mut().map(|session| &mut session.rooms);
        let joined = rooms.into_iter().flatten().find(|joined| T::room(&joined.room).1 == name);
        if let Some(joined) = joined {
            joined.pages_up_to = None;
        }
    }

    // ------------------------------------------------------------ writing and time

    /// The socket takes nothing more.
    pub fn write_blocked(&mut self) {
        self.deadlines.write_blocked();
    }

    /// The socket has taken something.
    pub fn write_moved(&mut self) {
        self.deadlines.write_moved();
    }

    /// One tick has passed; whether the peer is to be asked if it lives. What has run out shows in
    /// [`SessionMachine::takes_requests`].
    pub fn tick(&mut self, timeouts: &Timeouts) -> bool {
        match self.deadlines.tick(timeouts, self.listening) {
            Due::Nothing => {}
            Due::Ping => return true,
            Due::End(code) => self.let_go(ByeReason::Fault(code), None),
            Due::Drop => self.broken(),
        }
        false
    }

    // ------------------------------------------------------------ the end

    /// Takes no more requests, and says goodbye when those under way are answered. Who does not read gets no
    /// answers, and is let go at once. Who is going already goes.
    pub fn let_go(&mut self, reason: ByeReason, text: Option<String>) {
        let farewell = Farewell::LetGo(reason, text);
        match &mut self.state {
            State::Finishing(finishing)
                if farewell.is_at_once() && matches!(finishing.farewell, Farewell::LetGo(..)) =>
            {
                finishing.farewell = farewell;
            }
            State::Stranger | State::Open(_) => self.finish(farewell, false),
            _ => {}
        }
    }

    /// The stream is broken, or the time to go is over.
    pub fn broken(&mut self) {
        match &mut self.state {
            State::Finishing(finishing) => finishing.farewell = Farewell::Broken,
            State::Leaving | State::Draining | State::Over => self.state = State::Over,
            _ => self.finish(Farewell::Broken, false),
        }
    }

    /// The connection is dropped, whatever it was doing: what it had and has not given back yet.
    pub fn abandon(&mut self) -> Option<Goodbye<T>> {
        self.broken();
        match self.next_action(true) {
            Some(Action::Goodbye(goodbye)) => Some(goodbye),
            _ => None,
        }
    }

    fn finish(&mut self, farewell: Farewell, ended: bool) {
        let session = match std::mem::replace(&mut self.state, State::Over) {
            State::Open(session) => Some(session),
            _ => None,
        };
        self.state = State::Finishing(Box::new(Finishing { session, farewell, ended }));
        self.listening = false;
        self.deadlines.closing();
    }

    /// What has to be done now. `written` is whether nothing waits to be written.
    pub fn next_action(&mut self, written: bool) -> Option<Action<T>> {
        let unanswered = self.replies.len();
        match &mut self.state {
            State::Refused(code) => {
                let words = LastWords::new(ByeReason::Fault(*code), None);
                Some(self.goodbye(Some(words), None, false, State::Leaving))
            }
            State::Finishing(finishing) if finishing.farewell.is_due(unanswered) => {
                let (session, ended) = (finishing.session.take(), finishing.ended);
                let words = match &mut finishing.farewell {
                    Farewell::Broken => return Some(self.goodbye(None, session, ended, State::Over)),
                    Farewell::LetGo(reason, text) => LastWords::new(*reason, text.take()),
                    Farewell::Exit(ticket) => {
                        let reference = self.replies.reference(*ticket).cloned();
                        LastWords { reference, ..LastWords::new(ByeReason::Exit, None) }
                    }
                };
                Some(self.goodbye(Some(words), session, ended, State::Leaving))
            }
            State::Stranger | State::Open(_) if self.peer_has_ended && unanswered == 0 => {
                let session = match std::mem::replace(&mut self.state, State::Leaving) {
                    State::Open(session) => Some(session),
                    _ => None,
                };
                Some(self.goodbye(None, session, false, State::Leaving))
            }
            State::Leaving if written => {
                self.state = State::Draining;
                Some(Action::CloseWriting)
            }
            State::Draining if self.peer_has_ended => {
                self.state = State::Over;
                Some(Action::Stop)
            }
            State::Over => Some(Action::Stop),
            _ => None,
        }
    }

    /// The one place that says goodbye.
    fn goodbye(
        &mut self,
        words: Option<LastWords>,
        session: Option<Box<ActiveSession<T>>>,
        ended: bool,
        then: State<T>,
    ) -> Action<T> {
        self.state = then;
        self.listening = false;
        self.replies.close();
        self.deadlines.closing();
        Action::Goodbye(Goodbye { words, session, ended })
    }
}
