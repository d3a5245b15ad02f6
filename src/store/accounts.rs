//! The account file, `clients.csv`: a line a change of an account; names, addresses and password hashes
//! sealed.
//!
//! Every change is appended as the account's whole row. The newest row of an account is what it is: rows are
//! numbered, so an older one that is copied behind it is known for what it is. When the file has grown, it is
//! rewritten with one row for each account, atomically and under a fresh *epoch*, a random text that all cells
//! of the file are bound to: so a row of an older file is not a row of this one. A line that is no row of this
//! file goes to `clients.rejected` with a note, and its name stays taken; nothing is ever dropped.
//!
//! [`AccountFile`] keeps what the file says in memory, to be able to write it anew: it belongs to one
//! thread, and whoever needs accounts elsewhere applies the same [`AccountChange`]s there.

mod open;
pub mod rejected;
pub mod rows;
mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

pub use self::open::{AccountsError, OpenedAccounts, open_keys};
pub use self::rejected::RejectedRow;
use self::rows::Header;
use crate::disk::append::{AppendError, AppendFile, replace_with};
use crate::disk::{Access, Folder, read_whole};
use crate::model::{Account, AccountChange, AccountsByRow, Timestamp};
use crate::secrets::seal::{Sealer, fresh_epoch};

/// Rows that the file may have besides one for each account before it is rewritten, whatever their number …
const SPARE_ROWS: usize = if cfg!(test) { 8 } else { 1_000 };
/// Rows that are appended with one fsync, at most: well below what may be unsynced at the end of a file.
const ROWS_AT_ONCE: usize = 2_000;

const FILE_NAME: &str = "clients.csv";

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

/// `clients.csv`, open for one writer.
#[derive(Debug)]
pub struct AccountFile {
    folder: Arc<dyn Folder>,
    sealer: Arc<Sealer>,
    header: Header,
    file: AppendFile,
    accounts: AccountsByRow,
    /// The number of the newest row that was written.
    change: u64,
    /// The largest account number that was given.
    highest_row: u64,
    /// Rows in the file.
    rows: usize,
    /// AccountsByRow in which something that can wait has changed.
    dirty: BTreeSet<u64>,
    /// The file is not known to hold what it should: the next change writes it anew.
    distrusted: bool,
}

impl AccountFile {
    /// Makes the changes, all of them or none; but those that can wait ([`AccountChange::Seen`] and
    /// [`AccountChange::Rehash`]) are made in any case, and written by [`AccountFile::flush`] or with the
    /// account's next that cannot wait. The others are on the disk when this returns.
    ///
    /// # Errors
    /// [`StoreError`]; a later call may succeed.
    pub fn commit(&mut self, changes: &[AccountChange]) -> Result<(), StoreError> {
        let mut before: BTreeMap<u64, Option<Arc<Account>>> = BTreeMap::new();
        let mut gone: BTreeMap<u64, Arc<Account>> = BTreeMap::new();
        for change in changes {
            let row = change.row();
            if let (AccountChange::Remove { .. }, Some(account)) = (change, self.accounts.get(&row)) {
                gone.insert(row, Arc::clone(account));
            }
            if change.can_wait() {
                if self.accounts.contains_key(&row) {
                    self.dirty.insert(row);
                }
            } else {
                before.entry(row).or_insert_with(|| self.accounts.get(&row).cloned());
                self.highest_row = self.highest_row.max(row);
            }
            change.apply(&mut self.accounts);
        }
        let rows: Vec<u64> = before.keys().copied().collect();
        let result = self.append(&rows, &gone);
        if result.is_err() {
            for (row, account) in before {
                match account {
                    Some(account) => self.accounts.insert(row, account),
                    None => self.accounts.remove(&row),
                };
            }
            // What was refused must not be found there by the next start. Its own fault is no news.
            let _ = self.settle();
        }
        result
    }

    /// The account in this row, as the file has it, or will have it after the next flush.
    pub fn account(&self, row: u64) -> Option<&Arc<Account>> {
        self.accounts.get(&row)
    }

    /// Whether [`AccountFile::flush`] has something to write that can wait.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Whether the file may hold what was refused, or lack what has happened.
    pub fn is_owed(&self) -> bool {
        self.distrusted
    }

    /// Writes what could wait, and the whole file anew when it may not hold what it should.
    ///
    /// # Errors
    /// [`StoreError`]; it goes on waiting then.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        if self.distrusted || self.dirty.len() * 2 > self.accounts.len() {
            return self.settle_or_flush_all();
        }
        while !self.dirty.is_empty() {
            let some: Vec<u64> = self.dirty.iter().copied().take(ROWS_AT_ONCE).collect();
            self.append(&some, &BTreeMap::new())?;
        }
        Ok(())
    }

    fn settle_or_flush_all(&mut self) -> Result<(), StoreError> {
        if self.distrusted || !self.dirty.is_empty() { self.rewrite() } else { Ok(()) }
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        if self.distrusted { self.rewrite() } else { Ok(()) }
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
            Ok(()) => Ok((accounts.len(), self.folder.path().join(copy))),
            Err(error) => {
                self.accounts = accounts;
                let _ = self.settle(); // the first error is the one to tell
                Err(error)
            }
        }
    }

    /// Appends the present rows of these accounts; `gone` has what those were that are no more.
    fn append(&mut self, touched: &[u64], gone: &BTreeMap<u64, Arc<Account>>) -> Result<(), StoreError> {
        if touched.is_empty() {
            return Ok(());
        }
        self.look_at_place()?;
        if self.distrusted || self.rows + touched.len() > 2 * self.accounts.len() + SPARE_ROWS {
            return self.rewrite();
        }
        let mut lines = String::new();
        let synced = self.change;
        let mut change = synced;
        for row in touched {
            let (account, state) = match (self.accounts.get(row), gone.get(row)) {
                (Some(account), _) => (account, rows::RowState::of(account)),
                (None, Some(gone)) => (gone, rows::RowState::Removed),
                // It was gone before.
                (None, None) => continue,
            };
            change += 1;
            let version = rows::Version { change, synced };
            lines += &rows::encode(&self.sealer, &self.header.epoch, version, account, state)?;
        }
        match self.file.append(lines.as_bytes()).and_then(|_| self.file.sync()) {
            Ok(()) => {
                self.rows += usize::try_from(change - synced).unwrap_or(usize::MAX);
                self.change = change;
                for row in touched {
                    self.dirty.remove(row);
                }
                Ok(())
            }
            Err(source) => {
                // After a `Refused` the file is as it was, which has to outlive a power cut, too; else what of
                // it is there is not known, and it may not be appended to before it is written anew.
                self.distrusted |= matches!(source, AppendError::Poisoned(_)) || self.file.sync().is_err();
                Err(StoreError::Append { path: self.path(), source })
            }
        }
    }

    fn rewrite(&mut self) -> Result<(), StoreError> {
        self.look_at_place()?;
        self.distrusted = true;
        let header = Header::fresh(self.sealer.key_id(), fresh_epoch()?, self.highest_row);
        write_rows(&*self.folder, &self.sealer, &header, &self.accounts)?;
        self.file = AppendFile::open(&*self.folder, FILE_NAME, header.line().as_bytes())
            .map_err(|source| self.io(source))?;
        self.header = header;
        self.rows = self.accounts.len();
        self.change = self.accounts.len() as u64;
        self.dirty.clear();
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
        let path = self.path();
        let path = path.display();
        match self.copy_dated(Timestamp::now()) {
            Ok(copy) => log::error!(
                "{path} was changed by someone else while the server runs; their version is kept as {copy}, \
                 and the accounts are written anew"
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

    /// Copies what is at the file's place to a dated name that is free.
    fn copy_dated(&self, now: Timestamp) -> io::Result<String> {
        let bytes = read_whole(&*self.folder, FILE_NAME, u64::MAX)?.ok_or(io::ErrorKind::NotFound)?;
        let date = now.to_string();
        let date = date.split('.').next().unwrap_or(&date).replace(':', "-");
        for attempt in 1..1_000 {
            let suffix = if attempt == 1 { String::new() } else { format!("-{attempt}") };
            let copy = format!("clients-{date}Z{suffix}.csv");
            match self.folder.open(&copy, Access::Create) {
                Ok(file) => {
                    file.write_all_at(&bytes, 0)?;
                    file.sync()?;
                    self.folder.sync()?;
                    return Ok(copy);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(FILE_NAME)
    }

    fn io(&self, source: io::Error) -> StoreError {
        StoreError::Io { path: self.path(), source }
    }
}

fn write_rows(
    folder: &dyn Folder,
    sealer: &Sealer,
    header: &Header,
    accounts: &AccountsByRow,
) -> Result<(), StoreError> {
    replace_with(folder, FILE_NAME, |file| {
        file.write_all(header.line().as_bytes())?;
        for (account, change) in accounts.values().zip(1..) {
            let version = rows::Version { change, synced: 0 };
            let line = rows::encode(sealer, &header.epoch, version, account, rows::RowState::of(account))
                .map_err(io::Error::other)?;
            file.write_all(line.as_bytes())?;
        }
        Ok(())
    })
    .map_err(|error| StoreError::Io { path: folder.path().join(FILE_NAME), source: error.into() })
}

#[cfg(test)]
#[path = "accounts_tests.rs"]
mod tests;
