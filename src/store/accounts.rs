//! The account file, `clients.csv`: a line an account; names, addresses and password hashes sealed.
//!
//! A new account is appended. Every other change is a rewrite of the whole file, atomically and under a
//! fresh *epoch*, a random text that all cells of the file are bound to: so a row of an older version is not
//! a row of this one, and within an epoch a row never changes. A line that is no row of this file goes to
//! `clients.rejected` with a note; nothing is ever dropped.
//!
//! [`AccountFile`] keeps what the file says in memory, to be able to write it anew: it belongs to one
//! thread, and whoever needs accounts elsewhere applies the same [`AccountChange`]s there.

mod found;
pub mod rows;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::found::{Found, set_aside};
use self::rows::{Header, RowFault};
use super::append::{AppendError, AppendFile, sync_dir, write_atomically_with};
use crate::names::{MessageId, Timestamp, UserName};
use crate::secrets::keys::{KeyError, Keys};
use crate::secrets::password::StoredPassword;
use crate::secrets::seal::{Sealer, fresh_epoch};

/// Addresses that an account was last opened from, at most.
pub const MAX_ADDRESSES: usize = 8;
/// Rejected lines that a report names; of more, it tells the number.
const MAX_REPORTED: usize = 1_000;

const FILE_NAME: &str = "clients.csv";
const REJECTED_NAME: &str = "clients.rejected";

/// An account, as its row has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The row's number. No other account has it while the server runs, nor does a session of another.
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
    pub first_id: Option<MessageId>,
    /// When it was last seen.
    pub last_seen_at: Option<Timestamp>,
    /// Whether the operator has banned it.
    pub banned: bool,
}

/// The accounts by their rows.
pub type Accounts = BTreeMap<u64, Arc<Account>>;

/// One change. Each touches only what it is about, so that two that cross do not undo each other.
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
    /// Banned, or not any more.
    Banned {
        /// The account.
        row: u64,
        /// Which of them.
        banned: bool,
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
            AccountChange::Password { row, password } => {
                edit(accounts, *row, &|account| account.password = password.clone());
            }
            AccountChange::Rehash { row, old, new } => edit(accounts, *row, &|account| {
                if account.password == *old {
                    account.password = new.clone();
                }
            }),
            AccountChange::Banned { row, banned } => {
                edit(accounts, *row, &|account| account.banned = *banned);
            }
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
            | AccountChange::Banned { row, .. }
            | AccountChange::Seen { row, .. }
            | AccountChange::Remove { row } => *row,
        }
    }

    /// Whether it can wait to be written, for a minute or the next change that cannot.
    pub fn can_wait(&self) -> bool {
        matches!(self, AccountChange::Seen { .. } | AccountChange::Rehash { .. })
    }
}

/// Why accounts or sessions could not be written. The outcome may be unknown; nothing was acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk did not take it.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Appending failed.
    #[error("{}: {source}", path.display())]
    Append {
        /// The file.
        path: PathBuf,
        /// What became of it.
        #[source]
        source: AppendError,
    },
    /// The system has no random numbers.
    #[error("the system gave no random numbers: {0}")]
    NoRandomness(#[from] getrandom::Error),
}

/// Why the account file could not be opened, in sentences that say what to do.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    /// The key file is not sound.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There is no key, and there are rows that one sealed.
    #[error(
        "the key file {} is missing, and {} holds what it sealed; restore the key file from a backup, or move that file away to start without it",
        key.display(), sealed.display()
    )]
    KeyMissing {
        /// Where the key should be.
        key: PathBuf,
        /// What it sealed.
        sealed: PathBuf,
    },
    /// Another key sealed the rows.
    #[error(
        "{} was sealed by another key than the one in {}; restore that key file, or move {} away to start without accounts",
        file.display(), key.display(), file.display()
    )]
    WrongKey {
        /// The account file.
        file: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// Reading or writing failed.
    #[error("the account file could not be opened: {0}")]
    Store(#[from] StoreError),
}

/// A line that is no row of this file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRow {
    /// Its line in `clients.csv`, from 1 for the header.
    pub line: usize,
    /// Why.
    pub fault: RowFault,
}

/// What was found on opening.
#[derive(Debug)]
pub struct OpenedAccounts {
    /// The file, for the thread that writes.
    pub file: AccountFile,
    /// The accounts there are.
    pub accounts: Accounts,
    /// The first lines that went to `clients.rejected`.
    pub rejected: Vec<RejectedRow>,
    /// How many there were in all.
    pub rejected_count: usize,
}

/// Reads the key at `key_path`, or makes one when nothing in `dir` was sealed yet.
///
/// # Errors
/// [`AccountsError::Key`], [`AccountsError::KeyMissing`], or when the folder cannot be read.
pub fn open_keys(dir: &Path, key_path: &Path) -> Result<Keys, AccountsError> {
    if let Some(keys) = Keys::read(key_path)? {
        return Ok(keys);
    }
    match sealed_file(dir).map_err(|source| StoreError::Io { path: dir.to_owned(), source })? {
        Some(sealed) => Err(AccountsError::KeyMissing { key: key_path.to_owned(), sealed }),
        None => Ok(Keys::create(key_path)?),
    }
}

/// A file of the folder that holds more than a header: `clients.csv`, a dated copy, or what was set aside.
fn sealed_file(dir: &Path) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let ours = name.starts_with("clients") && (name.ends_with(".csv") || name == REJECTED_NAME);
        if ours && entry.file_type()?.is_file() {
            let bytes = fs::read(entry.path())?;
            if bytes.split(|b| *b == b'\n').any(|line| !line.is_empty() && Header::parse(line).is_none()) {
                return Ok(Some(entry.path()));
            }
        }
    }
    Ok(None)
}

/// `clients.csv`, open for one writer.
#[derive(Debug)]
pub struct AccountFile {
    dir: PathBuf,
    path: PathBuf,
    sealer: Arc<Sealer>,
    header: Header,
    file: AppendFile,
    accounts: Accounts,
    /// Something that can wait has changed.
    dirty: bool,
    /// The file is not known to hold what it should: the next change writes it anew.
    distrusted: bool,
}

impl AccountFile {
    /// Reads `clients.csv` in `dir`, sets aside what is no row of it, and makes the file when there is none.
    ///
    /// # Errors
    /// [`AccountsError::WrongKey`] when no row was sealed by this key (`key_path` is for the sentence), or
    /// [`AccountsError::Store`].
    pub fn open(dir: &Path, sealer: Arc<Sealer>, key_path: &Path) -> Result<OpenedAccounts, AccountsError> {
        let path = dir.join(FILE_NAME);
        let io = |source| StoreError::Io { path: path.clone(), source };
        let bytes = read_file(&path).map_err(io)?;
        let found = Found::read(&sealer, &bytes);
        if found.is_of_another_key(sealer.key_id()) {
            return Err(AccountsError::WrongKey { file: path, key: key_path.to_owned() });
        }
        let (accounts, rejected) = found.sort_out(&sealer);
        set_aside(dir, &found.lines, &rejected)?;
        let sound = rejected.is_empty() && found.is_tidy(sealer.key_id());
        let header = match found.header.filter(|_| sound) {
            Some(header) => header,
            None => {
                Header { key_id: sealer.key_id().to_owned(), epoch: fresh_epoch().map_err(StoreError::from)? }
            }
        };
        if !sound {
            write_rows(&path, &sealer, &header, &accounts)?;
        }
        let file = AppendFile::open(&path, header.line().as_bytes()).map_err(io)?;
        let rejected_count = rejected.len();
        Ok(OpenedAccounts {
            accounts: accounts.clone(),
            rejected: rejected.into_iter().take(MAX_REPORTED).collect(),
            rejected_count,
            file: AccountFile {
                dir: dir.to_owned(),
                path,
                sealer,
                header,
                file,
                accounts,
                dirty: false,
                distrusted: false,
            },
        })
    }

    /// Makes the changes, all of them or none; but those that can wait ([`AccountChange::Seen`] and
    /// [`AccountChange::Rehash`]) are made in any case, and written by [`AccountFile::flush`] or with the
    /// next that cannot wait. The others are on the disk when this returns.
    ///
    /// # Errors
    /// [`StoreError`]; a later call may succeed.
    pub fn commit(&mut self, changes: &[AccountChange]) -> Result<(), StoreError> {
        let before: Vec<(u64, Option<Arc<Account>>)> = changes
            .iter()
            .filter(|change| !change.can_wait())
            .map(|change| (change.row(), self.accounts.get(&change.row()).cloned()))
            .collect();
        for change in changes {
            change.apply(&mut self.accounts);
            self.dirty |= change.can_wait();
        }
        if before.is_empty() {
            return Ok(());
        }
        let appended_only =
            changes.iter().all(|change| change.can_wait() || matches!(change, AccountChange::Add(_)));
        let result = if appended_only { self.append(changes) } else { self.rewrite() };
        if result.is_err() {
            for (row, account) in before.into_iter().rev() {
                match account {
                    Some(account) => self.accounts.insert(row, account),
                    None => self.accounts.remove(&row),
                };
            }
        }
        result
    }

    /// The account in this row, as the file has it, or will have it after the next flush.
    pub fn account(&self, row: u64) -> Option<&Arc<Account>> {
        self.accounts.get(&row)
    }

    /// Whether [`AccountFile::flush`] has something to write.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Writes what could wait.
    ///
    /// # Errors
    /// [`StoreError`]; it goes on waiting then.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        if self.dirty { self.rewrite() } else { Ok(()) }
    }

    /// Empties the file, keeping a dated copy beside it. Returns the number of accounts there were, and the
    /// copy.
    ///
    /// # Errors
    /// [`StoreError`]; the accounts are still there then.
    pub fn clear(&mut self, now: Timestamp) -> Result<(usize, PathBuf), StoreError> {
        // Writes what could wait, so that the copy is complete, and makes sure that there is something to copy.
        self.rewrite()?;
        let copy = self.copy_dated(now).map_err(|source| self.io(source))?;
        let accounts = std::mem::take(&mut self.accounts);
        match self.rewrite() {
            Ok(()) => Ok((accounts.len(), copy)),
            Err(error) => {
                self.accounts = accounts;
                Err(error)
            }
        }
    }

    fn append(&mut self, changes: &[AccountChange]) -> Result<(), StoreError> {
        self.look_at_place()?;
        if self.distrusted {
            return self.rewrite();
        }
        let mut lines = String::new();
        for change in changes {
            if let AccountChange::Add(account) = change {
                lines += &rows::encode(&self.sealer, &self.header.epoch, account)?;
            }
        }
        let result = self.file.append(lines.as_bytes()).and_then(|_| self.file.sync());
        if result.is_err() {
            // What of it is in the file is not known, so it may not be appended to before it is written anew.
            self.distrusted = true;
        }
        result.map_err(|source| StoreError::Append { path: self.path.clone(), source })
    }

    fn rewrite(&mut self) -> Result<(), StoreError> {
        self.look_at_place()?;
        self.distrusted = true;
        let header = Header { key_id: self.sealer.key_id().to_owned(), epoch: fresh_epoch()? };
        write_rows(&self.path, &self.sealer, &header, &self.accounts)?;
        self.file =
            AppendFile::open(&self.path, header.line().as_bytes()).map_err(|source| self.io(source))?;
        self.header = header;
        self.dirty = false;
        self.distrusted = false;
        Ok(())
    }

    /// Notices that somebody deleted, moved or replaced the file: it is written anew then, and what stands
    /// in its place is kept.
    fn look_at_place(&mut self) -> Result<(), StoreError> {
        if self.distrusted || self.file.in_place().map_err(|source| self.io(source))? {
            return Ok(());
        }
        self.distrusted = true;
        let path = self.path.display();
        match self.copy_dated(Timestamp::now()) {
            Ok(copy) => log::error!(
                "{path} was changed by someone else while the server runs; their version is kept as {}, \
                 and the accounts are written anew",
                copy.display()
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                log::error!(
                    "{path} was deleted or moved while the server runs; the accounts are written anew"
                );
            }
            Err(error) => return Err(self.io(error)),
        }
        Ok(())
    }

    /// Copies what is at the file's path to a dated name that is free.
    fn copy_dated(&self, now: Timestamp) -> io::Result<PathBuf> {
        let bytes = fs::read(&self.path)?;
        let date = now.to_string();
        let date = date.split('.').next().unwrap_or(&date).replace(':', "-");
        for attempt in 1..1_000 {
            let suffix = if attempt == 1 { String::new() } else { format!("-{attempt}") };
            let copy = self.dir.join(format!("clients-{date}Z{suffix}.csv"));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&copy) {
                Ok(mut file) => {
                    file.write_all(&bytes)?;
                    file.sync_all()?;
                    sync_dir(&self.dir)?;
                    return Ok(copy);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn io(&self, source: io::Error) -> StoreError {
        StoreError::Io { path: self.path.clone(), source }
    }
}

/// The bytes of the file, none when there is no file.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => fs::read(path),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a link or no regular file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn write_rows(path: &Path, sealer: &Sealer, header: &Header, accounts: &Accounts) -> Result<(), StoreError> {
    write_atomically_with(path, |file| {
        file.write_all(header.line().as_bytes())?;
        for account in accounts.values() {
            let line = rows::encode(sealer, &header.epoch, account).map_err(io::Error::other)?;
            file.write_all(line.as_bytes())?;
        }
        Ok(())
    })
    .map_err(|source| StoreError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
#[path = "accounts_tests.rs"]
mod tests;
