//! `passwd`, which takes the same care as `login`.

use std::net::IpAddr;
use std::time::Instant;

use super::disk::WriteRequest;
use super::hashing::{Hashed, Owner, Work};
use super::lockout::as_tried;
use super::login::Proven;
use super::state::{Auth, State};
use crate::actors::messages::auth::ChangePassword;
use crate::actors::messages::session::EndSession;
use crate::chat::accounts::login_throttle::Attempt;
use crate::model::{Account, AccountChange, ByeReason, ErrorCode, Refusal, SessionId, SessionsFrom};
use std::sync::Arc;

/// Changes an account's password, when the old one is right, and ends its other sessions.
pub(super) async fn change_password(auth: Auth, message: ChangePassword) -> Result<(), Refusal> {
    let ChangePassword { session, old, new, from } = message;
    auth.state().takes_more()?;
    let (account, attempt, proven) = auth.state().begin_change(session, from)?;

    let work = Work::Change { old, stored: account.password.clone(), new };
    let hashed = auth.hash(Owner::Account(account.row), work, || true).await;
    auth.state().settle(attempt, &hashed);
    let Hashed::Fresh(password) = hashed? else {
        log::info!(by:% = account.name; "failed change of the password of {:?} from {from}", account.name);
        return Err(ErrorCode::WrongPassword.into());
    };

    let row = auth.state().still(&proven)?.row;
    let sessions = SessionsFrom { and: Some(session.number()), ..auth.state().later_sessions() };
    let change = AccountChange::Password { row, password, sessions };
    let request = WriteRequest { accounts: vec![change], ..WriteRequest::default() };
    let applied = auth.store(request).await?;

    log::info!(by:% = row; "the password of session {session} was changed");
    let bye = EndSession {
        reason: ByeReason::Kicked,
        text: Some("The password of this account was changed; log in with the new one.".into()),
    };
    auth.state().tell_ended(applied.ended, &bye);
    Ok(())
}

impl State {
    /// The account of a session, and a guess at its password.
    fn begin_change(
        &mut self,
        session: SessionId,
        from: IpAddr,
    ) -> Result<(Arc<Account>, Attempt, Proven), Refusal> {
        let row = self.sessions.account_of(session);
        let account = row.and_then(|row| self.accounts.row(row)).cloned().ok_or(ErrorCode::BadToken)?;
        // Whoever is in is on a device of the account's own.
        let known = as_tried(&account, Some(session.number()));
        let attempt = self.throttle.change(from, known, &account.name, Instant::now())?;
        let password_changes = self.accounts.password_changes(account.row);
        let proven = Proven { row: account.row, password_changes };
        Ok((account, attempt, proven))
    }

    /// Those sessions that are opened from now on.
    pub(super) fn later_sessions(&self) -> SessionsFrom {
        SessionsFrom { number: self.next_session, and: None }
    }
}
