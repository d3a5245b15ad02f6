//! What `register`, `login` and `resume` have in common: somebody who wants in, and the session that they get.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::SessionOwner;
use super::state::{Auth, State};
use super::{login, register, resume};
use crate::actors::messages::auth::{HowToOpen, OpenSession, OpenedSession};
use crate::chat::accounts::login_throttle::greeting;
use crate::model::{
    Account, ErrorCode, Refusal, SessionEvent, SessionId, StoredSession, Timestamp, TokenHash, TokenText,
};

/// Somebody who wants in.
pub(super) struct Opening {
    pub(super) from: IpAddr,
    /// Their connection.
    pub(super) owner: SessionOwner,
}

/// A session, or a fresh token of one, that is being written.
pub(super) struct Fresh {
    pub(super) stored: StoredSession,
    pub(super) token: TokenText,
}

/// When and from where an account was last seen.
pub(super) type LastSeen = Option<(Timestamp, IpAddr)>;

/// Opens a session, or takes one over.
pub(super) async fn open_session(auth: Auth, message: OpenSession) -> Result<OpenedSession, Refusal> {
    let opening = Opening { from: message.from.to_canonical(), owner: message.end };
    auth.state().takes_more()?;
    match message.how {
        HowToOpen::Register { name, password } => register::register(auth, opening, name, password).await,
        HowToOpen::Login { name, password, device } => {
            login::login(auth, opening, name, password, device).await
        }
        HowToOpen::Resume { token } => resume::resume(auth, opening, token).await,
    }
}

/// The refusal when an account opens sessions faster than it may.
pub(super) fn too_often(wait: Duration) -> Refusal {
    Refusal::new(ErrorCode::RateLimited, "This account opens sessions too fast; wait a moment.")
        .retry_after(wait)
}

pub(super) fn last_seen(account: &Account) -> LastSeen {
    account.last_seen_at.zip(account.addresses.first().copied())
}

impl Opening {
    /// Whether the connection is still there.
    pub(super) fn is_wanted(&self) -> impl Fn() -> bool + Send + 'static {
        let owner = self.owner.clone();
        move || owner.connected()
    }
}

impl Fresh {
    pub(super) fn open(&self) -> SessionEvent {
        SessionEvent::Open(Box::new(self.stored.clone()))
    }

    pub(super) fn end(&self) -> SessionEvent {
        SessionEvent::End { number: self.stored.number }
    }
}

impl State {
    /// A session of this account that nobody has yet.
    pub(super) fn fresh_session(&mut self, account: u64, now: Timestamp) -> Result<Fresh, Refusal> {
        let (token, hash) = self.fresh_token()?;
        let number = self.next_session;
        self.next_session += 1;
        let stored = StoredSession {
            number,
            account,
            opened_at: now,
            token_at: now,
            token: hash,
            previous: None,
            seen_at: None,
        };
        Ok(Fresh { stored, token })
    }

    pub(super) fn fresh_token(&self) -> Result<(TokenText, TokenHash), Refusal> {
        self.tokens.fresh().map_err(|error| {
            log::error!("the system gave no random numbers for a token: {error}");
            ErrorCode::Internal.into()
        })
    }

    /// The session is durable and may be: gives it to the connection, if that is still there.
    pub(super) fn admit(
        &mut self,
        fresh: Fresh,
        last_seen: LastSeen,
        new: bool,
        opening: &Opening,
    ) -> Result<OpenedSession, Refusal> {
        if !opening.owner.connected() {
            // Nobody will ever have its token.
            self.note(vec![fresh.end()], Vec::new());
            return Err(ErrorCode::Internal.into());
        }
        let id = self.sessions.open(&fresh.stored, opening.owner.clone(), Instant::now());
        self.opened(id, fresh, last_seen, new)
    }

    /// What the connection hears of its session.
    pub(super) fn opened(
        &self,
        session: SessionId,
        fresh: Fresh,
        last_seen: LastSeen,
        new: bool,
    ) -> Result<OpenedSession, Refusal> {
        let account = self.accounts.row(fresh.stored.account).ok_or(ErrorCode::Internal)?;
        Ok(OpenedSession {
            session,
            account: account.name.clone(),
            visible_from: account.visible_from,
            token: fresh.token,
            token_hash: fresh.stored.token,
            previous: fresh.stored.previous,
            expires_in_seconds: self.sessions.expires_in_seconds(session, Instant::now()),
            new,
            last_seen,
            greeting: greeting(&account.name, new, last_seen),
        })
    }
}
