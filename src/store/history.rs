//! The history: every message, in CSV files of a month each, of which nothing acknowledged is ever lost.
//!
//! Plain blocking code, in the order in which a message meets it:
//! - [`row`]: a message as a line with a checksum, and back;
//! - [`writer`]: batches of rows into the month's file, one write and one fsync each;
//! - [`index`] and `postings`: where the rows of every room, pair and inbox lie, in memory;
//! - [`page`]: a page is *planned* from the index in microseconds, and *read* from the disk elsewhere;
//! - `scan` and `tail`: what [`open`] does: mends the newest file's end, reads everything, makes the index;
//! - `salvage`: the whole rows in what is damaged;
//! - `log`: all of it behind the trait that the journal knows, [`MessageLog`](super::log::MessageLog);
//! - [`segment`]: a file of rows, and what [`Damage`] in it looks like.
//!
//! The format is described in `docs/data-formats.md`.

pub mod index;
mod log;
pub mod page;
mod postings;
pub mod row;
mod salvage;
mod scan;
pub mod segment;
mod tail;
pub mod writer;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

pub use index::HistoryIndex;
pub use log::{CsvLog, CsvLogOptions};
pub use page::{PagePlan, PageRows};
pub use row::RowFault;
pub use segment::{Damage, DamageList, Place, Position};
pub use writer::{CommitError, HistoryWriter, require_in_place};

use super::advice::advice;
use crate::disk::Folder;
use crate::model::{MessageId, StoredMessage, Timestamp};

/// The folder of the history, in the data directory.
const FOLDER_NAME: &str = "history";

/// What opening a history needs to know.
#[derive(Debug, Clone, Copy)]
pub struct HistoryOptions {
    /// The time now, by the wall clock.
    pub now: Timestamp,
    /// How long a key is remembered, in seconds.
    pub key_seconds: u64,
    /// How many keys of one account are remembered.
    pub keys_per_account: usize,
}

/// A history that is ready to be read and written.
#[derive(Debug)]
pub struct Opened {
    /// Where the rows lie.
    pub index: HistoryIndex,
    /// The one writer.
    pub writer: HistoryWriter,
    /// The largest id that may have been used: that of the newest row, or more when rows behind it are
    /// damaged. New ids lie above it.
    pub last_id: Option<MessageId>,
    /// The rows with a key that is still to be remembered, in the order of their ids: each account's newest
    /// ones of the last `key_seconds`, and those that the clock puts into the future.
    pub recent_keyed: Vec<StoredMessage>,
    /// What was found damaged.
    pub damage: DamageList,
}

/// Why the history cannot be opened or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}: {source}{}", path.display(), advice(source))]
pub struct HistoryError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl HistoryError {
    fn io(doing: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        HistoryError { doing, path: path.into(), source }
    }
}

impl From<HistoryError> for io::Error {
    fn from(error: HistoryError) -> Self {
        io::Error::new(error.source.kind(), error.to_string())
    }
}

/// Opens the history in the data directory `data`; its folder is made when it is missing. Forces what a
/// predecessor left to the disk, sets aside what it left unfinished, reads every row once, and leaves damaged
/// rows where they are.
///
/// # Errors
/// [`HistoryError`] when the folder or a file in it cannot be read, or the newest one not be written. Damage
/// inside a file is no error.
pub fn open(data: &Arc<dyn Folder>, options: HistoryOptions) -> Result<Opened, HistoryError> {
    let path = data.path().join(FOLDER_NAME);
    let mut writer =
        HistoryWriter::new(data).map_err(|error| HistoryError::io("make the folder", path, error))?;
    let folder = Arc::clone(writer.folder());
    let mut scan = scan::Scan::new(options);
    let months = scan::months(&*folder, &mut scan)?;
    if let Some(month) = months.last() {
        let path = folder.path().join(month.to_string());
        let set_aside = writer.resume(*month).map_err(|error| HistoryError::io("open", path, error))?;
        set_aside.into_iter().for_each(|set_aside| scan.set_aside(set_aside));
    }
    for month in &months {
        scan.read(&*folder, *month)?;
    }
    scan.finish(writer)
}

/// A calendar month in UTC: one file of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Month {
    year: i16,
    month: i8,
}

impl Month {
    fn of(at: Timestamp) -> Self {
        let (year, month) = at.month();
        Month { year, month }
    }

    /// The month whose file has this name, `YYYY-MM.csv`.
    fn of_file(name: &str) -> Option<Self> {
        let (year, month) = name.strip_suffix(".csv")?.split_once('-')?;
        let month = Month { year: year.parse().ok()?, month: month.parse().ok()? };
        (month.to_string() == name && (1..=12).contains(&month.month)).then_some(month)
    }
}

/// The name of the month's file.
impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}.csv", self.year, self.month)
    }
}

#[cfg(test)]
#[path = "history/damage_tests.rs"]
mod damage_tests;
#[cfg(test)]
#[path = "history/lives_tests.rs"]
mod lives_tests;
#[cfg(test)]
#[path = "history/page_tests.rs"]
mod page_tests;
#[cfg(test)]
#[path = "history/tests.rs"]
mod tests;
