//! What each request does: checks in the contract's order, then on to the actor that knows.

use std::future::Future;

use actix::fut::ActorFutureExt;
use actix::{AsyncContext, Context, MailboxError, WrapFuture};
use log::{info, warn};

use super::pages::Start;
use super::{Death, FirstUse, OpenSession, Phase, Previous, SessionActor, Taken};
use crate::actors::messages::auth::{
    ChangePassword, CloseSession, Detach, HowToOpen, Identify, OpenSession as Open, OpenedSession,
};
use crate::actors::messages::directory::{Join, Online, Tell};
use crate::actors::messages::room::{Leave, Say};
use crate::chat::limits::rate_limiter::{AccountRates, Rate, RateLimiter, too_fast};
use crate::chat::session::authorize;
use crate::chat::session::deadlines::Deadlines;
use crate::chat::session::replies::Concurrency;
use crate::model::{
    ByeReason, ErrorCode, Page, Reference, Refusal, Reply, Request, RequestKind, RoomName, SessionGrant,
    Ticket,
};
use crate::wire::json::{RawRequest, skim};

/// How a request goes together with those under way.
fn company(kind: RequestKind) -> Concurrency {
    match kind {
        RequestKind::Ping | RequestKind::Pong => Concurrency::Immediate,
        RequestKind::Say | RequestKind::Tell => Concurrency::Pipelined,
        _ => Concurrency::Exclusive,
    }
}

impl SessionActor {
    /// Handles one frame, in the contract's order: JSON, type, session, token, members, state.
    pub(super) fn take(&mut self, payload: &[u8], ctx: &mut Context<Self>) -> Taken {
        let raw = match RawRequest::parse(payload) {
            Ok(raw) => raw,
            Err(refusal) => return self.bad_frame(&refusal, skim::reference(payload)),
        };
        let reference = raw.reference();
        let kind = match raw.kind() {
            Ok(kind) => kind,
            Err(refusal) => return self.bad_frame(&refusal, reference),
        };
        if kind == RequestKind::Pong {
            // It says that the peer lives, which reading it has told already, and has no reply.
            if self.take_request_rate(payload.len()).is_err() {
                self.refused_at = Some(self.now());
            }
            return Taken::Done;
        }
        if !self.connection.may_begin(company(kind)) {
            return Taken::Waits;
        }
        if !kind.needs_no_token() && !self.context.stopping.get() {
            match self.first_use(raw.token(), ctx) {
                FirstUse::IsNone => {}
                FirstUse::Waits => return Taken::Waits,
                FirstUse::Refused(code) => {
                    let ticket = self.connection.begin(reference, Concurrency::Immediate);
                    self.refuse_code(ticket, code);
                    return Taken::Done;
                }
            }
        }
        match self.checked(&raw, kind, payload.len()) {
            Ok(request) => {
                let ticket = self.connection.begin(reference, company(kind));
                if let Err(refusal) = self.carry_out(request, ticket, ctx) {
                    self.was_refused(&refusal);
                    self.refuse(ticket, &refusal);
                }
                Taken::Done
            }
            Err(refusal) if refusal.code == ErrorCode::BadRequest => self.bad_frame(&refusal, reference),
            Err(refusal) => {
                self.was_refused(&refusal);
                let ticket = self.connection.begin(reference, Concurrency::Immediate);
                self.refuse(ticket, &refusal);
                Taken::Done
            }
        }
    }

    /// Who is refused for the rate stands behind the others for a moment.
    fn was_refused(&mut self, refusal: &Refusal) {
        if refusal.code == ErrorCode::RateLimited {
            self.refused_at = Some(self.now());
        }
    }

    /// The steps between `type` and state.
    fn checked(&mut self, raw: &RawRequest<'_>, kind: RequestKind, bytes: usize) -> Result<Request, Refusal> {
        if !matches!(kind, RequestKind::Say | RequestKind::Tell) {
            self.take_request_rate(bytes)?;
        }
        let stopping = self.context.stopping.get();
        authorize::authorize(kind, self.session.is_some(), stopping, || self.token_is_good(raw.token()))?;
        raw.to_request(kind, &self.context.spellings)
    }

    /// Takes a request of so many bytes from the connection's rate: a large one counts for several.
    pub(super) fn take_request_rate(&self, bytes: usize) -> Result<(), Refusal> {
        let Some(rate) = self.context.request_rate else { return Ok(()) };
        let count = bytes.div_ceil(self.context.limits.request_bytes);
        self.request_limiter.take_several(rate, count, self.now()).map_err(too_fast)
    }

    /// Refuses a frame that was no request, and counts it.
    fn bad_frame(&mut self, refusal: &Refusal, reference: Option<Reference>) -> Taken {
        if self.bad_frames.is_one_too_many(self.context.limits.bad_frames) {
            self.say_goodbye(ByeReason::Fault(ErrorCode::TooManyErrors), None);
            return Taken::Done;
        }
        let ticket = self.connection.begin(reference, Concurrency::Immediate);
        self.refuse(ticket, refusal);
        Taken::Done
    }

    pub(super) fn refuse(&self, ticket: Ticket, refusal: &Refusal) {
        self.connection.answer(ticket, &Reply::Refused(refusal.clone()));
    }

    pub(super) fn refuse_code(&self, ticket: Ticket, code: ErrorCode) {
        self.refuse(ticket, &Refusal::from(code));
    }

    pub(super) fn reply(&self, ticket: Ticket, reply: &Reply) {
        self.connection.answer(ticket, reply);
    }

    /// The last step, state, and the deed.
    fn carry_out(
        &mut self,
        request: Request,
        ticket: Ticket,
        ctx: &mut Context<Self>,
    ) -> Result<(), Refusal> {
        match request {
            Request::Identify { name } => self.identify(name, ticket, ctx),
            Request::Register { name, password } => {
                self.open(HowToOpen::Register { name, password }, ticket, ctx);
            }
            Request::Login { name, password, device } => {
                self.open(HowToOpen::Login { name, password, device }, ticket, ctx);
            }
            Request::Resume { token } => self.open(HowToOpen::Resume { token }, ticket, ctx),
            Request::Join { room, page, limit, term } => {
                let start = self.start(page, term.as_ref());
                self.join(room, start, limit, ticket)?;
            }
            Request::Leave { room } => self.leave(&room, ticket)?,
            Request::Say { room, text, key } => {
                self.take_rate(self.context.message_rate, |rates| &rates.messages)?;
                let member = self.member().ok_or(ErrorCode::Unauthenticated)?;
                let rooms = self.connection.rooms.borrow();
                let joined = rooms.iter().find(|joined| joined.room.name == room);
                let joined = joined.ok_or(ErrorCode::NotInRoom)?;
                let reply_to = self.connection.reply_to(ticket);
                let since = self.account_since();
                joined.room.ways.do_send(Say { member, since, text, key, reply_to });
            }
            Request::Tell { to, text, key } => {
                self.take_rate(self.context.message_rate, |rates| &rates.messages)?;
                let member = self.member().ok_or(ErrorCode::Unauthenticated)?;
                let (since, reply_to) = (self.account_since(), self.connection.reply_to(ticket));
                self.context.directory.do_send(Tell { member, since, to, text, key, reply_to });
            }
            Request::History { of, page, limit, term } => {
                let start = self.start(page, term.as_ref());
                self.history(of, start, limit, ticket, ctx);
            }
            Request::Inbox { after, limit, term } => {
                let reset = self.start(Page::After(after), term.as_ref()).reset;
                let after = after.filter(|_| !reset);
                self.inbox(after, reset, limit, ticket, ctx);
            }
            Request::Rooms { after, limit } => self.rooms(after, limit, ticket, ctx),
            Request::Who { room, after, limit } => self.who(room, after, limit, ticket, ctx),
            Request::Passwd { old, new } => {
                let session = self.session.as_ref().ok_or(ErrorCode::Unauthenticated)?;
                self.take_rate(self.context.password_rate, |rates| &rates.password_changes)?;
                let from = self.connection.peer.ip();
                let change = ChangePassword { session: session.session, old, new, from };
                self.ask(self.context.auth.send(change), ticket, ctx, move |act, changed, _| match changed {
                    Ok(()) => act.reply(ticket, &Reply::Done),
                    Err(refusal) => act.refuse(ticket, &refusal),
                });
            }
            Request::Ping => self.reply(ticket, &Reply::Pong),
            Request::Pong => {}
            Request::Exit => self.exit(ticket, ctx),
        }
        Ok(())
    }

    /// Asks another actor; `then` runs when it has answered. An actor that is gone answers for the client as
    /// `internal`, or as `shutting_down` while the server stops.
    pub(super) fn ask<T: 'static>(
        &self,
        question: impl Future<Output = Result<T, MailboxError>> + 'static,
        ticket: Ticket,
        ctx: &mut Context<Self>,
        then: impl FnOnce(&mut Self, T, &mut Context<Self>) + 'static,
    ) {
        ctx.spawn(question.into_actor(self).map(move |answer, act, ctx| {
            match answer {
                Ok(answer) => then(act, answer, ctx),
                Err(_) if act.context.stopping.get() => act.refuse_code(ticket, ErrorCode::ShuttingDown),
                Err(gone) => {
                    warn!(by:% = act.by(); "{}: an actor did not answer: {gone}", act.label());
                    act.refuse_code(ticket, ErrorCode::Internal);
                }
            }
            // What the answer changed is looked at by the loop, which this future does not wake.
            act.connection.wake();
        }));
    }

    /// Takes one from a rate of the session's account.
    fn take_rate(
        &self,
        rate: Option<Rate>,
        limiter: impl FnOnce(&AccountRates) -> &RateLimiter,
    ) -> Result<(), Refusal> {
        let rates = self.connection.rates.borrow();
        let (Some(rate), Some(rates)) = (rate, &*rates) else { return Ok(()) };
        limiter(rates).take(rate, self.now()).map_err(too_fast)
    }

    // ------------------------------------------------------------ who is who

    fn identify(&self, name: crate::model::UserName, ticket: Ticket, ctx: &mut Context<Self>) {
        let identified = name.clone();
        self.ask(self.context.auth.send(Identify { name }), ticket, ctx, move |act, known, _| {
            act.reply(ticket, &Reply::Identified { name: identified, known });
        });
    }

    fn open(&self, how: HowToOpen, ticket: Ticket, ctx: &mut Context<Self>) {
        let open = Open { how, from: self.connection.peer.ip(), end: ctx.address().recipient() };
        self.ask(self.context.auth.send(open), ticket, ctx, move |act, opened, _| match opened {
            Ok(opened) => act.opened(opened, ticket),
            Err(refusal) => act.refuse(ticket, &refusal),
        });
    }

    /// A session is open: the reply goes by the directory, so that it stands before every direct message.
    fn opened(&mut self, opened: OpenedSession, ticket: Ticket) {
        if !matches!(self.phase, Phase::Talking | Phase::Finishing) {
            self.context.auth.do_send(Detach { session: opened.session });
            return;
        }
        let grant = grant_of(&opened);
        self.session = Some(Box::new(OpenSession {
            session: opened.session,
            account: opened.account,
            first_id: opened.visible_from,
            token: opened.token_hash,
            previous: opened.previous.map(|token| {
                Box::new(Previous { token, since: std::time::Instant::now(), death: Death::NotYet })
            }),
        }));
        self.connection.with_deadlines(Deadlines::session_opened);
        self.has_come_in();
        info!(by:% = self.by(); "{} open", self.label());
        if let Some(member) = self.member() {
            let reply_to = self.connection.reply_to(ticket);
            self.context.directory.do_send(Online { member, reply_to, grant });
        }
    }

    fn exit(&mut self, ticket: Ticket, ctx: &mut Context<Self>) {
        let Some(session) = self.session.as_ref().map(|session| session.session) else {
            return self.exited(ticket);
        };
        let close = self.context.auth.send(CloseSession { session });
        self.ask(close, ticket, ctx, move |act, closed, _| match closed {
            Ok(()) => act.exited(ticket),
            Err(refusal) => act.refuse(ticket, &refusal),
        });
    }

    /// The `bye` is the reply; nothing follows it.
    fn exited(&mut self, ticket: Ticket) {
        if !matches!(self.phase, Phase::Talking | Phase::Finishing) {
            return;
        }
        self.farewell = None;
        info!(by:% = self.by(); "{} exited", self.label());
        let reason = ByeReason::Exit;
        self.reply(ticket, &Reply::Bye(reason));
        self.leave_everything();
        self.connection.push_last_words(self.ending(Some(reason)), false);
        self.phase = Phase::Leaving;
    }

    // ------------------------------------------------------------ rooms

    fn join(&self, room: RoomName, start: Start, limit: usize, ticket: Ticket) -> Result<(), Refusal> {
        let member = self.member().ok_or(ErrorCode::Unauthenticated)?;
        let rooms = self.connection.rooms.borrow();
        let most = self.context.limits.rooms_per_session;
        if most != 0 && rooms.len() >= most && !rooms.iter().any(|joined| joined.room.name == room) {
            let text = format!("A session is in at most {most} rooms; leave one first.");
            return Err(Refusal::new(ErrorCode::RateLimited, text).retry_after_ms(60_000));
        }
        self.take_rate(self.context.join_rate, |rates| &rates.joins)?;
        let reply_to = self.connection.reply_to(ticket);
        let Start { page, reset } = start;
        self.context.directory.do_send(Join { member, room, page, reset, limit, reply_to });
        Ok(())
    }

    fn leave(&self, room: &RoomName, ticket: Ticket) -> Result<(), Refusal> {
        let rooms = self.connection.rooms.borrow();
        let joined = rooms.iter().find(|joined| joined.room.name == *room);
        let joined = joined.ok_or(ErrorCode::NotInRoom)?;
        joined.room.ways.do_send(Leave { connection: self.connection.id, request: Some(ticket) });
        Ok(())
    }
}

fn grant_of(opened: &OpenedSession) -> Box<SessionGrant> {
    Box::new(SessionGrant {
        account: opened.account.clone(),
        token: opened.token.clone(),
        expires_in_seconds: opened.expires_in_seconds,
        new: opened.new,
        last_seen: opened.last_seen,
        greeting: opened.greeting.clone(),
    })
}
