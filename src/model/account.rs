//! AccountsByRow, as they are kept, and what changes of them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::{MessageId, Timestamp, UserName};

/// Addresses that an account was last opened from, at most.
pub const MAX_ADDRESSES: usize = 8;
/// What marks what is kept of a password when that was made from its MD5, which an older server left.
const IMPORTED_MARK: &str = "md5:";

/// An account, as its row has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The row's number. No other account ever has it, nor does a session of another.
    pub row: u64,
    /// The name.
    pub name: UserName,
    /// What is kept of the password.
    pub password: StoredPassword,
    /// Where it was opened from, newest first, at most [`MAX_ADDRESSES`].
    pub addresses: Vec<IpAddr>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The newest message of the server at that time.
    pub visible_from: Option<MessageId>,
    /// When it was last seen.
    pub last_seen_at: Option<Timestamp>,
    /// Which sessions it may have: the others have ended, whatever the session file says.
    pub sessions: SessionsFrom,
    /// Whether the operator has banned it.
    pub banned: bool,
}

/// Which sessions of an account have not been ended all together, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionsFrom {
    /// Those from this number on,
    pub number: u64,
    /// and this one.
    pub and: Option<u64>,
}

impl SessionsFrom {
    /// None of those that there ever were.
    pub const NONE: Self = SessionsFrom { number: u64::MAX, and: None };

    /// Whether a session with this number is one of them.
    pub fn admits(self, number: u64) -> bool {
        number >= self.number || self.and == Some(number)
    }
}

/// The accounts by their rows.
pub type AccountsByRow = BTreeMap<u64, Arc<Account>>;

/// What is kept of a password: the text of a hash, which only `secrets::password` makes and reads. It does
/// not print itself.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredPassword(Box<str>);

impl StoredPassword {
    /// What was made of a password.
    pub fn of_password(hash: &str) -> Self {
        StoredPassword(hash.into())
    }

    /// What was made of the MD5 of a password, which is all that an older server knew.
    pub fn of_md5(hash: &str) -> Self {
        StoredPassword(format!("{IMPORTED_MARK}{hash}").into())
    }

    /// Takes the text that [`StoredPassword::as_str`] gave.
    pub fn from_text(text: &str) -> Self {
        StoredPassword(text.into())
    }

    /// The text to keep, sealed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hash.
    pub fn hash(&self) -> &str {
        self.0.strip_prefix(IMPORTED_MARK).unwrap_or(&self.0)
    }

    /// Whether this is the hash of an MD5, from an import.
    pub fn is_imported(&self) -> bool {
        self.0.starts_with(IMPORTED_MARK)
    }
}

impl fmt::Debug for StoredPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredPassword(…)")
    }
}

/// One change of an account. Each touches only what it is about, so that two that cross do not undo each
/// other.
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
    pub fn apply(&self, accounts: &mut AccountsByRow) {
        let edit = |accounts: &mut AccountsByRow, row: u64, change: &dyn Fn(&mut Account)| {
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
