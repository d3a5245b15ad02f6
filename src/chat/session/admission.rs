//! What becomes of a frame: the contract's order of checks, from JSON to state, in one place.
//!
//! A wire has read the frame; its members are looked at only when session and token allow it. What passes is
//! begun, so that its reply has a place among the others.

use std::time::Duration;

use super::active::{ActiveSession, Death, SessionTypes};
use super::authorize::authorize;
use super::machine::{SessionMachine, State};
use super::replies::Concurrency;
use super::rules::SessionRules;
use crate::chat::limits::rate_limiter::{AccountRates, Rate, RateLimiter, too_fast};
use crate::model::{
    ByeReason, ErrorCode, Reference, Refusal, Request, RequestKind, RoomName, SessionId, Ticket, TokenHash,
};

/// A frame that a wire has read as a request, its members not yet looked at.
pub trait IncomingRequest {
    /// Which request it is.
    fn kind(&self) -> RequestKind;
    /// Its `ref`, when there is one that may be given back.
    fn reference(&self) -> Option<Reference>;
    /// The token that it shows, as a session's is kept.
    fn token(&self) -> Option<TokenHash>;
    /// Looks at the members.
    ///
    /// # Errors
    /// The refusal, when they are not what they have to be.
    fn request(&self) -> Result<Request, Refusal>;
}

/// A frame that was no request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoRequest {
    /// What it is refused with.
    pub refusal: Refusal,
    /// Its `ref`, when one was found all the same.
    pub reference: Option<Reference>,
}

/// What becomes of one frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// It cannot begin yet: look at it again when something was answered.
    Waits,
    /// The same, and the token before the fresh one of this session is to be put to death for it: what becomes of
    /// that goes to [`SessionMachine::previous_died`].
    WaitsForToken(SessionId),
    /// No reply is due.
    Done,
    /// It is to be answered with this refusal, on the spot.
    Refused(Ticket, Refusal),
    /// It is to be carried out, and answered.
    Begun(Ticket, Request),
}

/// How a request goes together with those under way.
fn concurrency(kind: RequestKind) -> Concurrency {
    match kind {
        RequestKind::Ping | RequestKind::Pong => Concurrency::Immediate,
        RequestKind::Say | RequestKind::Tell => Concurrency::Pipelined,
        _ => Concurrency::Exclusive,
    }
}

impl<T: SessionTypes> SessionMachine<T> {
    /// Takes one frame of so many bytes, when [`SessionMachine::readiness`] says that one may be looked at.
    pub fn admit(
        &mut self,
        frame: Result<impl IncomingRequest, NoRequest>,
        bytes: usize,
        rules: &SessionRules,
        now: Duration,
    ) -> Admission {
        let frame = match frame {
            Ok(frame) => frame,
            Err(NoRequest { refusal, reference }) => return self.bad_frame(refusal, reference, rules),
        };
        let kind = frame.kind();
        if kind == RequestKind::Pong {
            // It says that the peer lives, which reading it has told already, and has no reply.
            self.count(bytes, rules, now);
            return Admission::Done;
        }
        if !self.replies.may_begin(concurrency(kind)) {
            return Admission::Waits;
        }
        if !kind.needs_no_token()
            && !rules.stopping.get()
            && let Some(admission) = self.first_use(&frame)
        {
            return admission;
        }
        let checked = self.check(&frame, kind, bytes, rules, now);
        match checked.and_then(|request| self.check_state(&request, rules, now).map(|()| request)) {
            Ok(request) => {
                Admission::Begun(self.replies.begin(frame.reference(), concurrency(kind)), request)
            }
            Err(refusal) if refusal.code == ErrorCode::BadRequest => {
                self.bad_frame(refusal, frame.reference(), rules)
            }
            Err(refusal) => {
                if refusal.code == ErrorCode::RateLimited {
                    self.was_too_fast(now);
                }
                self.refuse(refusal, frame.reference())
            }
        }
    }

    /// Counts a frame of so many bytes that is no request and has no reply. It is never refused, but who sends too
    /// many stands behind the others.
    pub fn count(&mut self, bytes: usize, rules: &SessionRules, now: Duration) {
        if self.take_request(bytes, rules, now).is_err() {
            self.was_too_fast(now);
        }
    }

    fn refuse(&mut self, refusal: Refusal, reference: Option<Reference>) -> Admission {
        Admission::Refused(self.replies.begin(reference, Concurrency::Immediate), refusal)
    }

    /// Refuses a frame that was no request, and counts it.
    fn bad_frame(
        &mut self,
        refusal: Refusal,
        reference: Option<Reference>,
        rules: &SessionRules,
    ) -> Admission {
        if self.bad_frames.is_one_too_many(rules.limits.bad_frames) {
            self.let_go(ByeReason::Fault(ErrorCode::TooManyErrors), None);
            return Admission::Done;
        }
        self.refuse(refusal, reference)
    }

    /// The first use of a fresh token ends the one before it, which has to be stored first.
    fn first_use(&mut self, frame: &impl IncomingRequest) -> Option<Admission> {
        let State::Open(session) = &mut self.state else { return None };
        session.previous.as_ref()?;
        let shown = frame.token()?;
        if !session.has_token(shown) {
            return None;
        }
        let id = session.id;
        let previous = session.previous_mut()?;
        match previous.death {
            Death::Asked => Some(Admission::Waits),
            Death::NotYet => {
                previous.death = Death::Asked;
                Some(Admission::WaitsForToken(id))
            }
            Death::Refused(code) => {
                previous.death = Death::NotYet;
                Some(self.refuse(code.into(), frame.reference()))
            }
        }
    }

    /// The steps between `type` and state.
    fn check(
        &mut self,
        frame: &impl IncomingRequest,
        kind: RequestKind,
        bytes: usize,
        rules: &SessionRules,
        now: Duration,
    ) -> Result<Request, Refusal> {
        if !matches!(kind, RequestKind::Say | RequestKind::Tell) {
            self.take_request(bytes, rules, now)?;
        }
        let session = self.session();
        let token_is_good = || {
            let shown = frame.token();
            session.zip(shown).is_some_and(|(session, shown)| session.accepts_token(shown, now))
        };
        authorize(kind, session.is_some(), rules.stopping.get(), token_is_good)?;
        frame.request()
    }

    /// Takes a request of so many bytes from the connection's rate: a large one counts for several.
    fn take_request(&self, bytes: usize, rules: &SessionRules, now: Duration) -> Result<(), Refusal> {
        let Some(rate) = rules.request_rate else { return Ok(()) };
        let count = bytes.div_ceil(rules.limits.request_bytes);
        self.requests.take_several(rate, count, now).map_err(too_fast)
    }

    /// The last step, state: the account's rates, and the rooms that the session is in.
    fn check_state(&self, request: &Request, rules: &SessionRules, now: Duration) -> Result<(), Refusal> {
        let take = |rate: Option<Rate>, limiter: fn(&AccountRates) -> &RateLimiter| match (rate, &self.rates)
        {
            (Some(rate), Some(rates)) => limiter(rates).take(rate, now).map_err(too_fast),
            _ => Ok(()),
        };
        let is_in = |room: &RoomName| self.session().is_some_and(|session| session.room(room).is_some());
        match request {
            Request::Say { room, .. } => {
                take(rules.message_rate, |rates| &rates.messages)?;
                if is_in(room) { Ok(()) } else { Err(ErrorCode::NotInRoom.into()) }
            }
            Request::Tell { .. } => take(rules.message_rate, |rates| &rates.messages),
            Request::Join { room, .. } => {
                let most = rules.limits.rooms_per_session;
                let rooms = self.session().map_or(&[][..], ActiveSession::rooms);
                if most != 0 && rooms.len() >= most && !is_in(room) {
                    let text = format!("A session is in at most {most} rooms; leave one first.");
                    return Err(Refusal::new(ErrorCode::RateLimited, text).retry_after_ms(60_000));
                }
                take(rules.join_rate, |rates| &rates.joins)
            }
            Request::Leave { room } if !is_in(room) => Err(ErrorCode::NotInRoom.into()),
            Request::Passwd { .. } => take(rules.password_rate, |rates| &rates.password_changes),
            _ => Ok(()),
        }
    }
}
