//! Accounts that are tried no more for now, because of wrong guesses: who is told, who is not concerned, and how
//! the operator lifts it. [`crate::chat::accounts::login_throttle`] decides.

use std::time::Instant;

use super::state::State;
use crate::actors::messages::auth::{LockedAccount, MOST_LOCKS, OperatorError, Unlock};
use crate::chat::accounts::login_throttle::{self, AccountLock};
use crate::chat::limits::address_key::AddressKey;
use crate::model::{Account, Timestamp, TokenText};

impl State {
    /// The session by which a device that shows a token was in before, when it is one that the account had.
    pub(super) fn device(&self, row: u64, shown: Option<&TokenText>) -> Option<u64> {
        let token = self.tokens.hash(shown?);
        match self.sessions.holder_of(&token) {
            Some((account, session)) => (account == row).then_some(session),
            None => self.devices.find(row, &token, Timestamp::now()),
        }
    }

    /// The operator hears of a lock in the log, and how to lift it.
    pub(super) fn tell_locked(&self, lock: &AccountLock) {
        let Some(account) = self.accounts.row(lock.row) else { return };
        log::warn!(
            "{:?} is locked for {} for {} min: too many wrong passwords; `unlock {}` lifts that",
            account.name,
            lock.whom,
            lock.wait.as_secs().div_ceil(60),
            account.name
        );
    }

    /// The accounts that are not tried for now, those that are for longest first.
    pub(super) fn locks(&self) -> Vec<LockedAccount> {
        let locks = self.throttle.locks(Instant::now()).filter_map(|AccountLock { row, whom, wait }| {
            let name = self.accounts.row(row)?.name.clone();
            Some(LockedAccount { name, whom, seconds: wait.as_secs() })
        });
        let mut locks: Vec<_> = locks.collect();
        locks.sort_by(|one, other| (other.seconds, &one.name).cmp(&(one.seconds, &other.name)));
        locks
    }

    /// The first addresses that may not log in, and those that may make no account, for a moment.
    pub(super) fn addresses_used_up(&self) -> (Vec<String>, Vec<String>) {
        let first = |mut addresses: Vec<AddressKey>| {
            addresses.sort_unstable();
            addresses.iter().take(MOST_LOCKS).map(AddressKey::to_string).collect()
        };
        let (logins, registrations) = self.throttle.used_up(Instant::now());
        (first(logins), first(registrations))
    }
}

/// An account, and the session by which a device shows that it was in, as the throttle sees them.
pub(super) fn as_tried(account: &Account, device: Option<u64>) -> login_throttle::TriedAccount<'_> {
    login_throttle::TriedAccount { row: account.row, addresses: &account.addresses, device }
}

impl State {
    /// Forgets the wrong guesses at an account.
    pub(super) fn unlock(&mut self, Unlock { name }: &Unlock) -> Result<u32, OperatorError> {
        let row = self.find(name)?.row;
        let guesses = self.throttle.forgive(row);
        log::info!("the operator has {guesses} wrong guesses at {name:?} forgotten");
        Ok(guesses)
    }
}
