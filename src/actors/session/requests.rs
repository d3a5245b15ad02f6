//! What each request does: past the machine's checks, on to the actor that knows.

use std::future::Future;
use std::time::Duration;

use actix::fut::ActorFutureExt;
use actix::{AsyncContext, Context, MailboxError, WrapFuture};
use log::{info, warn};

use super::pages::Start;
use super::{Label, SessionActor};
use crate::actors::messages::auth::{
    ChangePassword, CloseSession, Detach, HowToOpen, Identify, OpenSession, OpenedSession,
    PREVIOUS_TOKEN_SECONDS, TokenUsed,
};
use crate::actors::messages::directory::{Join, Online, Tell};
use crate::actors::messages::room::{Leave, Say};
use crate::actors::session_context::SessionContext;
use crate::chat::session::active::ActiveSession;
use crate::chat::session::admission::{Admission, IncomingRequest, NoRequest};
use crate::model::{
    ErrorCode, Member, MessageId, Page, Reference, Refusal, Reply, Request, RequestKind, SessionGrant,
    SessionId, Ticket, TokenHash, TokenText,
};
use crate::wire::json::{RawRequest, skim};

/// A frame that was read as a request of this kind, for the machine to look at.
struct JsonRequest<'a> {
    raw: RawRequest<'a>,
    kind: RequestKind,
    context: &'a SessionContext,
}

impl<'a> JsonRequest<'a> {
    fn read(payload: &'a [u8], context: &'a SessionContext) -> Result<Self, NoRequest> {
        let raw = RawRequest::parse(payload)
            .map_err(|refusal| NoRequest { refusal, reference: skim::reference(payload) })?;
        match raw.kind() {
            Ok(kind) => Ok(JsonRequest { raw, kind, context }),
            Err(refusal) => Err(NoRequest { refusal, reference: raw.reference() }),
        }
    }
}

impl IncomingRequest for JsonRequest<'_> {
    fn kind(&self) -> RequestKind {
        self.kind
    }

    fn reference(&self) -> Option<Reference> {
        self.raw.reference()
    }

    fn token(&self) -> Option<TokenHash> {
        Some(self.context.handles.hasher.hash(&TokenText::new(self.raw.token()?)))
    }

    fn request(&self) -> Result<Request, Refusal> {
        self.raw.to_request(self.kind, &self.context.handles.spellings)
    }
}

impl SessionActor {
    /// Handles one frame; whether that is done, or it has to wait.
    pub(super) fn take(&mut self, payload: &[u8], ctx: &mut Context<Self>) -> bool {
        let frame = JsonRequest::read(payload, &self.context);
        let admission = self.machine().admit(frame, payload.len(), &self.context.rules, self.now());
        match admission {
            Admission::Waits => return false,
            Admission::WaitsForToken(session) => {
                self.end_previous_token(session, ctx);
                return false;
            }
            Admission::Done => {}
            Admission::Refused(ticket, refusal) => self.refuse(ticket, &refusal),
            Admission::Begun(ticket, request) => {
                if let Err(code) = self.carry_out(request, ticket, ctx) {
                    self.refuse_code(ticket, code);
                }
            }
        }
        true
    }

    /// The fresh token of the session is in use, so the one before it is to die.
    fn end_previous_token(&self, session: SessionId, ctx: &mut Context<Self>) {
        let used = self.context.handles.auth.send(TokenUsed { session });
        ctx.spawn(used.into_actor(self).map(|died, act, _| {
            let died = died.unwrap_or_else(|_| Err(ErrorCode::Internal.into()));
            act.machine().previous_died(died.map_err(|refusal| refusal.code));
            // The request that waits is looked at by the loop, which this does not wake.
            act.connection.wake();
        }));
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

    /// Asks whoever knows. The machine has checked what can be checked, so an error is hardly to be had.
    fn carry_out(
        &mut self,
        request: Request,
        ticket: Ticket,
        ctx: &mut Context<Self>,
    ) -> Result<(), ErrorCode> {
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
                let Start { page, reset } = self.start(page, term.as_ref());
                let (member, reply_to) = (self.author()?.0, self.connection.reply_to(ticket));
                self.context.handles.directory.do_send(Join { member, room, page, reset, limit, reply_to });
            }
            Request::Leave { room } => {
                let leave = Leave { connection: self.connection.id, request: Some(ticket) };
                self.machine().room(&room).ok_or(ErrorCode::NotInRoom)?.room.ways.do_send(leave);
            }
            Request::Say { room, text, key } => {
                let (machine, reply_to) = (self.machine(), self.connection.reply_to(ticket));
                let session = machine.session().ok_or(ErrorCode::Unauthenticated)?;
                let (member, visible_from) = (self.member(session), session.visible_from);
                let joined = session.room(&room).ok_or(ErrorCode::NotInRoom)?;
                joined.room.ways.do_send(Say { member, visible_from, text, key, reply_to });
            }
            Request::Tell { to, text, key } => {
                let ((member, visible_from), reply_to) = (self.author()?, self.connection.reply_to(ticket));
                self.context.handles.directory.do_send(Tell {
                    member,
                    visible_from,
                    to,
                    text,
                    key,
                    reply_to,
                });
            }
            Request::History { of, page, limit, term } => {
                let start = self.start(page, term.as_ref());
                self.history(of, start, limit, ticket, ctx)?;
            }
            Request::Inbox { after, limit, term } => {
                let reset = self.start(Page::After(after), term.as_ref()).reset;
                let after = after.filter(|_| !reset);
                self.inbox(after, reset, limit, ticket, ctx)?;
            }
            Request::Rooms { after, limit } => self.rooms(after, limit, ticket, ctx),
            Request::Who { room, after, limit } => self.who(room, after, limit, ticket, ctx),
            Request::Passwd { old, new } => {
                let session = self.machine().session().ok_or(ErrorCode::Unauthenticated)?.id;
                let change = ChangePassword { session, old, new, from: self.connection.peer.ip() };
                self.ask(self.context.handles.auth.send(change), ticket, ctx, move |act, changed, _| {
                    match changed {
                        Ok(()) => act.reply(ticket, &Reply::Done),
                        Err(refusal) => act.refuse(ticket, &refusal),
                    }
                });
            }
            Request::Ping => self.reply(ticket, &Reply::Pong),
            Request::Pong => {}
            Request::Exit => self.exit(ticket, ctx),
        }
        Ok(())
    }

    /// Whoever says something, and since when the account is there.
    pub(super) fn author(&self) -> Result<(Member, Option<MessageId>), ErrorCode> {
        let machine = self.machine();
        let session = machine.session().ok_or(ErrorCode::Unauthenticated)?;
        Ok((self.member(session), session.visible_from))
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
                Err(_) if act.context.rules.stopping.get() => {
                    act.refuse_code(ticket, ErrorCode::ShuttingDown)
                }
                Err(gone) => {
                    let account = act.machine().session().map(|session| session.account.clone());
                    let Label { by, who } = act.label(account.as_ref());
                    warn!(by:% = by; "{who}: an actor did not answer: {gone}");
                    act.refuse_code(ticket, ErrorCode::Internal);
                }
            }
            // What the answer changed is looked at by the loop, which this future does not wake.
            act.connection.wake();
        }));
    }

    // ------------------------------------------------------------ who is who

    fn identify(&self, name: crate::model::UserName, ticket: Ticket, ctx: &mut Context<Self>) {
        let identified = name.clone();
        self.ask(self.context.handles.auth.send(Identify { name }), ticket, ctx, move |act, known, _| {
            act.reply(ticket, &Reply::Identified { name: identified, known });
        });
    }

    fn open(&self, how: HowToOpen, ticket: Ticket, ctx: &mut Context<Self>) {
        let open = OpenSession { how, from: self.connection.peer.ip(), end: ctx.address().recipient() };
        self.ask(self.context.handles.auth.send(open), ticket, ctx, move |act, opened, _| match opened {
            Ok(opened) => act.opened(opened, ticket),
            Err(refusal) => act.refuse(ticket, &refusal),
        });
    }

    /// A session is open: the reply goes by the directory, so that it stands before every direct message.
    fn opened(&mut self, opened: OpenedSession, ticket: Ticket) {
        let grant = grant_of(&opened);
        let until = self.now() + Duration::from_secs(PREVIOUS_TOKEN_SECONDS);
        let session = ActiveSession::new(
            opened.session,
            opened.account,
            opened.visible_from,
            opened.token_hash,
            opened.previous.map(|token| (token, until)),
        );
        let member = self.member(&session);
        let taken = self.machine().opened(Box::new(session));
        if let Err(session) = taken {
            self.context.handles.auth.do_send(Detach { session: session.id });
            return;
        }
        self.has_come_in();
        let Label { by, who } = self.label(Some(&member.account));
        info!(by:% = by; "{who} open");
        let reply_to = self.connection.reply_to(ticket);
        self.context.handles.directory.do_send(Online { member, reply_to, grant });
    }

    fn exit(&self, ticket: Ticket, ctx: &mut Context<Self>) {
        let session = self.machine().session().map(|session| session.id);
        let Some(session) = session else { return self.machine().exited(ticket) };
        let close = self.context.handles.auth.send(CloseSession { session });
        self.ask(close, ticket, ctx, move |act, closed, _| match closed {
            Ok(()) => act.machine().exited(ticket),
            Err(refusal) => act.refuse(ticket, &refusal),
        });
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
