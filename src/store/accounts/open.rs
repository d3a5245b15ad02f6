//! Opening the account file: with its key, and not when what it held cannot be read.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::rejected::{self, RejectedRow, kept, set_aside};
use super::rows::{Header, looks_like_header};
use super::scan::{ScannedAccounts, Sorted, repair};
use super::{AccountFile, FILE_NAME, StoreError, write_rows};
use crate::disk::append::AppendFile;
use crate::disk::{FileKind, Folder, read_whole};
use crate::model::AccountsByRow;
use crate::secrets::keys::{KeyError, Keys};
use crate::secrets::seal::{Sealer, fresh_epoch};
use crate::store::sessions;

/// Rejected lines that a report names; of more, it tells the number.
const MAX_REPORTED: usize = 1_000;
/// Rows that may be lost without a word of the operator, and their share of all.
const MAX_LOST_ROWS: usize = 10;
const MAX_LOST_PERCENT: usize = 1;

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
        "{} was sealed by another key than the one in {}; restore that key file, or move {} away and start with --accept-loss to have no accounts",
        file.display(), key.display(), file.display()
    )]
    WrongKey {
        /// The account file.
        file: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// There were accounts, and there is no file of them.
    #[error(
        "{} is {}, though {} shows that there were accounts; restore it from a copy, or start once with --accept-loss to have none, and every name free",
        file.display(), if *is_empty { "empty" } else { "missing" }, trace.display()
    )]
    Gone {
        /// The account file.
        file: PathBuf,
        /// Whether it is there, with nothing in it.
        is_empty: bool,
        /// What shows it.
        trace: PathBuf,
    },
    /// Too many rows cannot be read.
    #[error(
        "{lost} of {rows} rows in {} cannot be read: {why}; restore the file from a copy, or start once with --accept-loss: they are set aside in {} then, and their names stay taken",
        file.display(), rejected::FILE_NAME
    )]
    Unreadable {
        /// The account file.
        file: PathBuf,
        /// How many rows.
        lost: usize,
        /// Of how many.
        rows: usize,
        /// What is wrong with them.
        why: String,
    },
    /// Reading or writing failed.
    #[error(
        "the account file could not be opened: {0}; see to free space and the file's owner, then start again"
    )]
    Store(#[from] StoreError),
}

/// What was found on opening.
#[derive(Debug)]
pub struct OpenedAccounts {
    /// The file, for the thread that writes.
    pub file: AccountFile,
    /// The accounts there are.
    pub accounts: AccountsByRow,
    /// The largest account number that was given.
    pub highest_row: u64,
    /// The indexes of names that nobody may take: of rows that were set aside now or before.
    pub kept_names: HashSet<String>,
    /// The first lines that went to `clients.rejected`.
    pub rejected: Vec<RejectedRow>,
    /// How many there were in all.
    pub rejected_count: usize,
}

/// Reads the key `key_name` in `key_folder`, or makes one when nothing in `folder` was sealed yet.
///
/// # Errors
/// [`AccountsError::Key`], [`AccountsError::KeyMissing`], or when the folder cannot be read.
pub fn open_keys(
    folder: &dyn Folder,
    key_folder: &dyn Folder,
    key_name: &str,
) -> Result<Keys, AccountsError> {
    if let Some(keys) = Keys::read(key_folder, key_name)? {
        return Ok(keys);
    }
    match sealed_file(folder).map_err(|source| StoreError::Io { path: folder.path().to_owned(), source })? {
        Some(sealed) => Err(AccountsError::KeyMissing { key: key_folder.path().join(key_name), sealed }),
        None => Ok(Keys::create(key_folder, key_name)?),
    }
}

/// Whether this is the name of an account file: the one in use, a dated copy, or what was set aside.
fn holds_accounts(name: &str) -> bool {
    name.starts_with("clients") && (name.ends_with(".csv") || name == rejected::FILE_NAME)
}

/// A file of the folder that holds more than a header and that only the key can read.
fn sealed_file(folder: &dyn Folder) -> io::Result<Option<PathBuf>> {
    for name in folder.list()? {
        let is_sessions = name == sessions::FILE_NAME;
        let is_file = folder.stat(&name)?.is_some_and(|found| found.kind == FileKind::File);
        if is_file && (is_sessions || holds_accounts(&name)) {
            let bytes = read_whole(folder, &name, u64::MAX)?.unwrap_or_default();
            let mut lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
            let sealed = if is_sessions {
                lines.nth(1).is_some()
            } else {
                lines.any(|line| Header::parse(line).is_none())
            };
            if sealed {
                return Ok(Some(folder.path().join(name)));
            }
        }
    }
    Ok(None)
}

/// A file that shows that there were accounts.
fn trace_of_accounts(folder: &dyn Folder) -> io::Result<Option<PathBuf>> {
    let is_trace = |name: &String| {
        name == sessions::FILE_NAME || name == "devices.csv" || (holds_accounts(name) && name != FILE_NAME)
    };
    let traces = folder.list()?.into_iter().filter(is_trace);
    // What every server has comes first: it is known best.
    let best = traces.min_by_key(|name| name != sessions::FILE_NAME);
    Ok(best.map(|name| folder.path().join(name)))
}

impl AccountFile {
    /// Reads `clients.csv` in `folder`, sets aside what is no row of it, and makes the file when there never
    /// was one. With `accept_loss` also when there was, or when most of it cannot be read.
    ///
    /// # Errors
    /// [`AccountsError`] but for those about a key that is not sound; `key_path` is for the sentence.
    pub fn open(
        folder: Arc<dyn Folder>,
        sealer: Arc<Sealer>,
        key_path: PathBuf,
        accept_loss: bool,
    ) -> Result<OpenedAccounts, AccountsError> {
        let path = folder.path().join(FILE_NAME);
        let io = |source| StoreError::Io { path: path.clone(), source };
        let read = read_whole(&*folder, FILE_NAME, u64::MAX).map_err(io)?;
        let is_missing = read.is_none();
        let mut bytes = read.unwrap_or_default();
        let is_repaired = repair(&sealer, &mut bytes);
        let found = ScannedAccounts::read(&sealer, &bytes);
        let sorted = found.sort_out(&sealer);
        if is_of_another_key(&found, sealer.key_id()) {
            return Err(AccountsError::WrongKey { file: path, key: key_path });
        }
        if !accept_loss {
            let trace = trace_of_accounts(&*folder).map_err(io)?;
            refuse_loss(&path, is_missing, &bytes, &found, &sorted, trace)?;
        }
        set_aside(&*folder, &found.lines, &sorted.rejected)
            .map_err(|source| StoreError::Io { path: folder.path().join(rejected::FILE_NAME), source })?;
        let kept_names = kept(&*folder, &sealer).map_err(io)?;
        let is_sound = !is_repaired && found.is_tidy(sealer.key_id(), &sorted);
        let rows = found.lines.len();
        let Sorted { accounts, rejected, highest_row, change, .. } = sorted;
        let (header, rows, change) = match found.header.filter(|_| is_sound) {
            Some(header) => (header, rows, change),
            None => {
                let epoch = fresh_epoch().map_err(StoreError::from)?;
                let header = Header::fresh(sealer.key_id(), epoch, highest_row);
                write_rows(&*folder, &sealer, &header, &accounts)?;
                (header, accounts.len(), accounts.len() as u64)
            }
        };
        let file = AppendFile::open(&*folder, FILE_NAME, header.line().as_bytes()).map_err(io)?;
        let rejected_count = rejected.len();
        Ok(OpenedAccounts {
            accounts: accounts.clone(),
            highest_row,
            kept_names,
            rejected: rejected.into_iter().take(MAX_REPORTED).collect(),
            rejected_count,
            file: AccountFile {
                folder,
                sealer,
                header,
                file,
                accounts,
                change,
                highest_row,
                rows,
                dirty: Default::default(),
                distrusted: false,
            },
        })
    }
}

/// Not one of the rows was sealed by our key, and the header names another.
fn is_of_another_key(found: &ScannedAccounts<'_>, key_id: &str) -> bool {
    let other = found.header.as_ref().is_some_and(|header| header.key_id != key_id);
    other && !found.lines.is_empty() && found.sound_rows() == 0
}

/// What was there and cannot be read is not what was never there.
fn refuse_loss(
    path: &std::path::Path,
    is_missing: bool,
    bytes: &[u8],
    found: &ScannedAccounts<'_>,
    sorted: &Sorted,
    trace: Option<PathBuf>,
) -> Result<(), AccountsError> {
    let file = path.to_owned();
    let (rows, lost) = (found.lines.len(), sorted.lost);
    if rows == 0 && found.header.is_none() && !starts_with_header(bytes) {
        return match trace {
            Some(trace) => Err(AccountsError::Gone { file, is_empty: !is_missing, trace }),
            None => Ok(()),
        };
    }
    // A crash leaves zeros too, but behind a header.
    let is_foreign = rows > 0 && found.header.is_none() && found.sound_rows() == 0;
    if let Some(shape) = shape_of(bytes).filter(|_| is_foreign) {
        return Err(AccountsError::Unreadable { file, lost: rows, rows, why: shape.into() });
    }
    if lost > 0 && (sorted.accounts.is_empty() || is_too_much(lost, rows)) {
        let first = sorted.rejected.iter().find(|row| row.fault.is_damage());
        let why = first.map_or_else(String::new, |row| format!("line {}: {}", row.line, row.fault));
        return Err(AccountsError::Unreadable { file, lost, rows, why });
    }
    Ok(())
}

fn is_too_much(lost: usize, rows: usize) -> bool {
    lost > MAX_LOST_ROWS && lost * 100 > rows * MAX_LOST_PERCENT
}

fn starts_with_header(bytes: &[u8]) -> bool {
    bytes.split(|byte| *byte == b'\n').next().is_some_and(looks_like_header)
}

/// What another program has made of the file as a whole.
fn shape_of(bytes: &[u8]) -> Option<&'static str> {
    let zeros = bytes.iter().filter(|byte| **byte == 0).count();
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || zeros * 3 > bytes.len() {
        return Some("it is UTF-16 text, as some programs save it, and has to be UTF-8");
    }
    let first = bytes.split(|byte| *byte == b'\n').find(|line| !line.is_empty())?;
    let count = |separator: u8| first.iter().filter(|byte| **byte == separator).count();
    match () {
        () if count(b',') >= 8 => None,
        () if count(b';') >= 8 => {
            Some("semicolons stand between the cells, as some spreadsheets write them, and have to be commas")
        }
        () if count(b'\t') >= 8 => Some("tabs stand between the cells, and have to be commas"),
        () => None,
    }
}
