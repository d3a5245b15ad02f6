//! Changes of accounts: each touches only what it is about, so that two that cross do not undo each other.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Account, Accounts, MAX_ADDRESSES, SessionsFrom};
use crate::model::Timestamp;
use crate::secrets::password::StoredPassword;

/// One change.
#[derive(Debug, Clone)]
pub enum AccountChange {
    /// A new account.
    Add(Arc<Account>),
    /// Another password.
    Password {
        /// The account.
        row: u64,
        /// The new one.
        password: StoredPassword,
        /// Which sessions stay.
        sessions: SessionsFrom,
    },
    /// The account's sessions end.
    EndSessions {
        /// The account.
        row: u64,
        /// Which of them stay.
        sessions: SessionsFrom,
    },
    /// The same password, hashed anew; nothing when it was changed meanwhile.
    Rehash {
        /// The account.
        row: u64,
        /// The hash that was compared with.
        old: StoredPassword,
        /// The new hash.
        new: StoredPassword,
    },
    /// Banned, and its sessions end.
    Ban {
        /// The account.
        row: u64,
        /// Which of them stay: those from now on.
        sessions: SessionsFrom,
    },
    /// Not banned any more.
    Unban {
        /// The account.
        row: u64,
    },
    /// Seen just now.
    Seen {
        /// The account.
        row: u64,
        /// When.
        at: Timestamp,
        /// From where, when it was a session that was opened.
        from: Option<IpAddr>,
    },
    /// The account is no more.
    Remove {
        /// The account.
        row: u64,
    },
}

impl AccountChange {
    /// Makes the change in memory.
    pub fn apply(&self, accounts: &mut Accounts) {
        let edit = |accounts: &mut Accounts, row: u64, change: &dyn Fn(&mut Account)| {
            if let Some(account) = accounts.get_mut(&row) {
                change(Arc::make_mut(account));
            }
        };
        match self {
            AccountChange::Add(account) => {
                accounts.insert(account.row, Arc::clone(account));
            }
            AccountChange::Password { row, password, sessions } => edit(accounts, *row, &|account| {
                account.password = password.clone();
                account.sessions = *sessions;
            }),
            AccountChange::EndSessions { row, sessions } => {
                edit(accounts, *row, &|account| account.sessions = *sessions);
            }
            AccountChange::Rehash { row, old, new } => edit(accounts, *row, &|account| {
                if account.password == *old {
                    account.password = new.clone();
                }
            }),
            AccountChange::Ban { row, sessions } => edit(accounts, *row, &|account| {
                account.banned = true;
                account.sessions = *sessions;
            }),
            AccountChange::Unban { row } => edit(accounts, *row, &|account| account.banned = false),
            AccountChange::Seen { row, at, from } => edit(accounts, *row, &|account| {
                account.last_seen_at = Some(*at);
                if let Some(from) = from {
                    account.addresses.retain(|address| address != from);
                    account.addresses.insert(0, *from);
                    account.addresses.truncate(MAX_ADDRESSES);
                    account.addresses.shrink_to_fit();
                }
            }),
            AccountChange::Remove { row } => {
                accounts.remove(row);
            }
        }
    }

    /// The row that it is about.
    pub fn row(&self) -> u64 {
        match self {
            AccountChange::Add(account) => account.row,
            AccountChange::Password { row, .. }
            | AccountChange::Rehash { row, .. }
            | AccountChange::EndSessions { row, .. }
            | AccountChange::Ban { row, .. }
            | AccountChange::Unban { row }
            | AccountChange::Seen { row, .. }
            | AccountChange::Remove { row } => *row,
        }
    }

    /// Whether it can wait to be written, for a minute or the next change that cannot.
    pub fn can_wait(&self) -> bool {
        matches!(self, AccountChange::Seen { .. } | AccountChange::Rehash { .. })
    }
}
