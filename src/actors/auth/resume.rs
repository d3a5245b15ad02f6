//! `resume`, and the rest of a session's life: the first use of its fresh token, the loss of its connection, and
//! its end.

use std::net::IpAddr;
use std::time::Instant;

use super::disk::WriteRequest;
use super::opening::{Fresh, LastSeen, Opening, last_seen, too_often};
use super::state::{Auth, State};
use crate::actors::messages::auth::{CloseSession, Detach, OpenedSession, TokenUsed};
use crate::actors::messages::session::EndSession;
use crate::model::{AccountChange, ByeReason, ErrorCode, Refusal, SessionEvent, Timestamp, TokenText};

/// Takes a session over for whoever shows its token.
pub(super) async fn resume(auth: Auth, opening: Opening, shown: TokenText) -> Result<OpenedSession, Refusal> {
    let from = opening.from;
    let (fresh, last_seen) = auth.state().begin_resume(&shown, from)?;

    let request = WriteRequest {
        accounts: vec![AccountChange::Seen {
            row: fresh.stored.account,
            at: fresh.stored.token_at,
            from: Some(from),
        }],
        sessions: vec![SessionEvent::Resume(Box::new(fresh.stored.clone()))],
        owner: Some(opening.owner.clone()),
    };
    let applied = auth.store(request).await?;

    let mut state = auth.state();
    match applied.resumed {
        Some(Ok((id, before))) => {
            if let Some(before) = before {
                before.do_send(EndSession { reason: ByeReason::Resumed, text: None });
            }
            let opened = state.opened(id, fresh, last_seen, false);
            if !opening.owner.connected() {
                // The token that was shown is still good for those who could not read the reply.
                state.sessions.detach(id, Instant::now());
            }
            opened
        }
        Some(Err(instead)) => {
            // It ended, or its token died, while this was written; the file is told what is.
            let event = instead.map_or_else(|| fresh.end(), |stored| SessionEvent::Restore(Box::new(stored)));
            state.note(vec![event], Vec::new());
            Err(ErrorCode::BadToken.into())
        }
        None => Err(ErrorCode::Internal.into()),
    }
}

/// The fresh token of a session is used for the first time: the one before it dies.
pub(super) async fn token_used(auth: Auth, TokenUsed { session }: TokenUsed) -> Result<(), Refusal> {
    let Some(token) = auth.state().sessions.unused_token(session) else { return Ok(()) };
    let used = SessionEvent::Used { number: session.number(), token };
    let request = WriteRequest { sessions: vec![used], ..WriteRequest::default() };
    auth.store(request).await?;
    Ok(())
}

/// Ends a session for good.
pub(super) async fn close(auth: Auth, CloseSession { session }: CloseSession) -> Result<(), Refusal> {
    let Some(row) = auth.state().sessions.account_of(session) else { return Ok(()) };
    let request = WriteRequest {
        accounts: vec![AccountChange::Seen { row, at: Timestamp::now(), from: None }],
        sessions: vec![SessionEvent::End { number: session.number() }],
        ..WriteRequest::default()
    };
    let applied = auth.store(request).await?;
    // Another connection may have taken the session over meanwhile; it has ended for that one, too.
    let elsewhere = applied.ended.into_iter().filter(|ended| ended.id != session);
    for owner in elsewhere.filter_map(|ended| ended.owner) {
        owner.do_send(EndSession { reason: ByeReason::Exit, text: None });
    }
    Ok(())
}

impl State {
    /// What a session is to be for whoever shows its token, and when its account was last seen.
    fn begin_resume(&mut self, shown: &TokenText, from: IpAddr) -> Result<(Fresh, LastSeen), Refusal> {
        let (now, at) = (Instant::now(), Timestamp::now());
        let (token, hash) = self.fresh_token()?;
        let Some(stored) = self.sessions.resumption(&self.tokens.hash(shown), hash, at, now) else {
            log::info!(by:% = from; "failed resume from {from}");
            self.throttle.wrong_token(from, now)?;
            return Err(ErrorCode::BadToken.into());
        };
        self.openings.take(stored.account, now).map_err(too_often)?;
        let last_seen = self.accounts.row(stored.account).and_then(|account| last_seen(account));
        Ok((Fresh { stored, token }, last_seen))
    }

    /// A connection is gone without `exit`; its session waits for a `resume`.
    pub(super) fn detach(&mut self, Detach { session }: Detach) {
        self.has_left(session);
        if let Some(row) = self.sessions.detach(session, Instant::now()) {
            let at = Timestamp::now();
            let seen = AccountChange::Seen { row, at, from: None };
            self.accounts.apply(&seen);
            self.note(vec![SessionEvent::Seen { number: session.number(), at }], vec![seen]);
        }
    }
}
