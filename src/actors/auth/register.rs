//! `register`: a name that is free, a hash, and the account with its first session in one write.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::disk::{WriteFault, WriteRequest};
use super::hashing::{Hashed, Owner, Work};
use super::login::Proven;
use super::opening::{Fresh, Opening};
use super::state::{Auth, State};
use crate::actors::messages::auth::OpenedSession;
use crate::chat::limits::address_key::AddressKey;
use crate::config::Registration;
use crate::model::{
    Account, AccountChange, ErrorCode, Password, Refusal, SessionsFrom, StoredPassword, Timestamp, UserName,
};

/// Makes an account, and opens its first session.
pub(super) async fn register(
    auth: Auth,
    opening: Opening,
    name: UserName,
    password: Password,
) -> Result<OpenedSession, Refusal> {
    let from = opening.from;
    auth.state().begin_account(&name, from)?;

    let owner = Owner::Stranger(AddressKey::of(from));
    let hashed = auth.hash(owner, Work::Hash(password), opening.is_wanted()).await;
    let made = match hashed {
        Ok(Hashed::Fresh(password)) => auth.state().new_account(&name, password, from),
        Ok(Hashed::Right(_) | Hashed::Wrong) => Err(ErrorCode::Internal.into()),
        Err(why) => Err(why.into()),
    };
    let (account, fresh) = made.inspect_err(|_| auth.state().give_up_account(&name, from))?;

    let row = account.row;
    let request = WriteRequest {
        accounts: vec![AccountChange::Add(Arc::new(account))],
        sessions: vec![fresh.open()],
        ..WriteRequest::default()
    };
    let written = auth.store(request).await;

    let mut state = auth.state();
    if let Err(fault) = written {
        // The name is the account's when that is there, though its session is not.
        if !matches!(fault, WriteFault::Refused { accounts_stored: true, .. }) {
            state.give_up_account(&name, from);
        }
        return Err(fault.into());
    }
    log::info!(by:% = from; "{name:?} registered from {from}");
    state.admit_if_still(&Proven { row, password_changes: 0 }, fresh, None, true, &opening)
}

impl State {
    /// Takes a free name and one of the address's registrations.
    fn begin_account(&mut self, name: &UserName, from: IpAddr) -> Result<(), Refusal> {
        if self.registration == Registration::Closed {
            return Err(ErrorCode::RegistrationClosed.into());
        }
        if !self.accounts.is_free(name) || self.is_kept(name) {
            return Err(ErrorCode::NameTaken.into());
        }
        self.throttle.register(from, Instant::now())?;
        self.accounts.reserve(name);
        Ok(())
    }

    /// An account that is not there yet, and its first session.
    fn new_account(
        &mut self,
        name: &UserName,
        password: StoredPassword,
        from: IpAddr,
    ) -> Result<(Account, Fresh), Refusal> {
        let now = Timestamp::now();
        let row = self.accounts.fresh_row();
        let account = Account {
            row,
            name: name.clone(),
            password,
            addresses: vec![from],
            created_at: now,
            visible_from: self.newest(),
            last_seen_at: Some(now),
            sessions: SessionsFrom::default(),
            banned: false,
        };
        Ok((account, self.fresh_session(row, now)?))
    }

    /// No account comes of this name.
    fn give_up_account(&mut self, name: &UserName, from: IpAddr) {
        self.accounts.release(name);
        self.throttle.not_registered(from);
    }
}
