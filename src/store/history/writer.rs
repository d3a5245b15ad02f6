//! The one writer of the history: a batch of rows becomes one write to the month's file and one fsync.
//!
//! A batch goes into one file as a whole, that of its newest row's month, so that all of it is stored or
//! nothing. The file is never an earlier month's than the one before, however the clock jumps.

use std::io;
use std::mem;
use std::sync::Arc;

use super::row::{self};
use super::scan;
use super::segment::{Damage, Place, Position, Segment};
use super::tail;
use super::{FOLDER_NAME, Month};
use crate::config::Durability;
use crate::disk::append::{AppendError, AppendFile};
use crate::disk::{FileKind, Folder};
use crate::model::{MessageId, StoredMessage, Timestamp};

/// What a line mostly fits into. The buffer of a CSV writer is 8 KiB otherwise, made and thrown away for each
/// batch.
const LINE_BYTES: usize = 256;
/// Notices that are kept for the caller; more are dropped.
const MAX_NOTICES: usize = 16;

/// Why a batch was not committed. Nobody may be told that any row of it is stored.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The disk did not take it (full, say), and nothing of it stays. A later commit may succeed.
    #[error("the history could not be written: {0}")]
    Refused(#[source] io::Error),
    /// What the file holds can no longer be known. Every later commit is refused; only a restart helps.
    #[error("the history can no longer be written: {0}; restart the server when the disk is sound")]
    Poisoned(Arc<str>),
}

/// Appends rows to the files of the history.
#[derive(Debug)]
pub struct HistoryWriter {
    /// The data directory.
    data: Arc<dyn Folder>,
    /// The folder of the history in it.
    folder: Arc<dyn Folder>,
    current: Option<Current>,
    poisoned: Option<Arc<str>>,
    notices: Vec<String>,
}

/// The file that is written.
#[derive(Debug)]
struct Current {
    month: Month,
    file: AppendFile,
    segment: Arc<Segment>,
    /// Whether it was changed since the last fsync.
    unsynced: bool,
    /// Whether it was found out of its place, and that was told.
    lost: bool,
}

impl HistoryWriter {
    pub(super) fn new(data: &Arc<dyn Folder>) -> io::Result<Self> {
        let (data, folder) = (Arc::clone(data), open_folder(&**data)?);
        Ok(HistoryWriter { data, folder, current: None, poisoned: None, notices: Vec::new() })
    }

    /// The data directory.
    pub fn data(&self) -> &Arc<dyn Folder> {
        &self.data
    }

    /// The folder of the history.
    pub fn folder(&self) -> &Arc<dyn Folder> {
        &self.folder
    }

    /// Goes on with the newest file there is. Tells what was set aside at its end.
    pub(super) fn resume(&mut self, month: Month) -> io::Result<Option<Damage>> {
        let name = month.to_string();
        let (file, unfinished) = tail::open_mended(&*self.folder, &name)?;
        let segment = Segment::new(&name, Arc::clone(file.file()));
        let set_aside =
            unfinished.map(|unfinished| segment.damage(Place::Byte(unfinished.from), unfinished.why));
        self.current = Some(Current { month, file, segment, unsynced: false, lost: false });
        Ok(set_aside)
    }

    /// Stores a batch, all of it or nothing, and tells where each row lies. With [`Durability::Fsync`] it is
    /// on the disk when this returns.
    ///
    /// # Errors
    /// [`CommitError`]; the batch is not stored then, or (`Poisoned`) nobody knows.
    pub fn commit(
        &mut self,
        rows: &[StoredMessage],
        durability: Durability,
    ) -> Result<Vec<Position>, CommitError> {
        self.check()?;
        let (Some(month), Some(first)) = (rows.iter().map(|row| Month::of(row.at)).max(), rows.first())
        else {
            return Ok(Vec::new());
        };
        let (bytes, lengths) = encode(rows).map_err(CommitError::Refused)?;
        self.prepare(month, first.id)?;
        let Some(current) = &mut self.current else {
            return Err(CommitError::Refused(io::ErrorKind::NotFound.into()));
        };
        let appended = current.file.append(&bytes);
        // Also when it was taken back: that is to be on the disk before another file is begun.
        current.unsynced = true;
        let segment = Arc::clone(&current.segment);
        let start = appended.map_err(|error| self.fail(error))?;
        if durability == Durability::Fsync {
            self.sync()?;
        }
        let ends = lengths.iter().scan(start, |offset, length| {
            let position = (*offset, *length);
            *offset += u64::from(*length) + 1;
            Some(position)
        });
        Ok(ends.map(|(offset, len)| Position { segment: Arc::clone(&segment), offset, len }).collect())
    }

    /// Forces what was committed to the disk.
    ///
    /// # Errors
    /// [`CommitError::Poisoned`].
    pub fn sync(&mut self) -> Result<(), CommitError> {
        self.check()?;
        let Some(current) = &mut self.current else { return Ok(()) };
        if current.unsynced {
            if let Err(error) = current.file.sync() {
                return Err(self.fail(error));
            }
            current.unsynced = false;
        }
        Ok(())
    }

    /// What happened to the files behind the server's back, in sentences for the log at level error. Ask
    /// after each commit, whether it succeeded or not.
    pub fn take_notices(&mut self) -> Vec<String> {
        mem::take(&mut self.notices)
    }

    /// Sees to it that the current file is one that rows of `month`, from the id `first` on, may go to, and is
    /// in its place.
    fn prepare(&mut self, month: Month, first: MessageId) -> Result<(), CommitError> {
        let Some(current) = &mut self.current else { return self.turn_to(month, first) };
        if !current.file.in_place().map_err(CommitError::Refused)? {
            require_in_place(&*self.data).map_err(CommitError::Refused)?;
            require_not_moved(&*self.folder, &current.file).map_err(CommitError::Refused)?;
            if !mem::replace(&mut current.lost, true) {
                let notice = format!(
                    "{} was deleted, moved, replaced or changed by someone else while the server runs; \
                     a file is opened anew there, and what was in the old one is readable until a restart",
                    current.file.path().display()
                );
                self.notice(notice);
            }
        } else if current.month >= month {
            return Ok(());
        }
        let month = self.current.as_ref().map_or(month, |current| current.month.max(month));
        // Also with `Durability::Os` a file is on the disk before the next one is begun.
        self.sync()?;
        self.turn_to(month, first)
    }

    fn turn_to(&mut self, month: Month, first: MessageId) -> Result<(), CommitError> {
        require_in_place(&*self.data).map_err(CommitError::Refused)?;
        self.folder = open_folder(&*self.data).map_err(CommitError::Refused)?;
        self.make_way(month, first).map_err(CommitError::Refused)?;
        if let Some(set_aside) = self.resume(month).map_err(CommitError::Refused)? {
            self.notice(set_aside.to_string());
        }
        Ok(())
    }

    /// Moves a file that somebody has put there aside when it has ids from `first` on: rows behind those would
    /// be out of order, and not be read again.
    fn make_way(&mut self, month: Month, first: MessageId) -> io::Result<()> {
        let name = month.to_string();
        // What is no file is told when it is opened.
        if self.folder.stat(&name)?.is_none_or(|found| found.kind != FileKind::File) {
            return Ok(());
        }
        // What cannot be read now may be full of larger ids.
        let Some(largest) = scan::largest_id(&*self.folder, month)?.filter(|largest| *largest >= first)
        else {
            return Ok(());
        };
        let stamp = Timestamp::now().to_string().replace([':', '.'], "-");
        let aside = format!("{name}.replaced-{stamp}");
        // Opening the new file forces the folder, and with it this name.
        self.folder.rename(&name, &aside)?;
        self.notice(format!(
            "{} has ids up to {largest}, and the next one is {first}: it is moved to {aside}",
            self.folder.path().join(name).display(),
        ));
        Ok(())
    }

    fn notice(&mut self, notice: String) {
        if self.notices.len() < MAX_NOTICES {
            self.notices.push(notice);
        }
    }

    fn check(&self) -> Result<(), CommitError> {
        self.poisoned.clone().map_or(Ok(()), |why| Err(CommitError::Poisoned(why)))
    }

    /// Remembers across files what may not be forgotten.
    fn fail(&mut self, error: AppendError) -> CommitError {
        match error {
            AppendError::Refused(error) => CommitError::Refused(error),
            AppendError::Poisoned(why) => {
                self.poisoned = Some(Arc::clone(&why));
                CommitError::Poisoned(why)
            }
        }
    }
}

/// Opens the history's folder, made and with its name on the disk.
fn open_folder(data: &dyn Folder) -> io::Result<Arc<dyn Folder>> {
    let folder = data.folder(FOLDER_NAME)?;
    data.sync()?;
    Ok(folder)
}

/// Refuses to work on a data directory that whoever looks for it does not find.
///
/// # Errors
/// A sentence for the operator.
pub fn require_in_place(data: &dyn Folder) -> io::Result<()> {
    if data.in_place()? {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "the data directory {} was moved, unmounted or replaced while the server runs; put it back, or restart \
         the server where it is now",
        data.path().display()
    )))
}

/// Refuses to begin a history anew while the one that was written is whole somewhere else: whoever puts its
/// folder back would lose what is said meanwhile. A folder that was deleted has nothing in it.
fn require_not_moved(folder: &dyn Folder, file: &AppendFile) -> io::Result<()> {
    let name = file.path().file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if folder.in_place()? || folder.stat(name)?.is_none_or(|found| found.inode != file.inode()) {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "the folder {} was moved, unmounted or replaced while the server runs; put it back, or restart the server \
         to begin another history",
        folder.path().display()
    )))
}

/// The lines of a batch, and the length of each without its newline.
fn encode(rows: &[StoredMessage]) -> io::Result<(Vec<u8>, Vec<u32>)> {
    let mut lines = csv::WriterBuilder::new()
        .buffer_capacity(LINE_BYTES)
        .from_writer(Vec::with_capacity(rows.len() * LINE_BYTES));
    let mut lengths = Vec::with_capacity(rows.len());
    let mut start = 0;
    for row in rows {
        row::write(row, &mut lines)?;
        lines.flush()?;
        let end = lines.get_ref().len();
        lengths.push(u32::try_from(end - start - 1).map_err(io::Error::other)?);
        start = end;
    }
    let bytes = lines.into_inner().map_err(|error| error.into_error())?;
    Ok((bytes, lengths))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{dir, lobby_ids, lobby_row, reopen, store};
    use super::*;

    #[test]
    fn a_failed_fsync_ends_all_writing() {
        let dir = dir();
        let mut history = reopen(dir.path());
        store(&mut history, &[lobby_row(1, "one")]);
        // It takes the rows, and cannot be synced.
        history.writer.current.as_mut().expect("a file is open").file = AppendFile::over_device("/dev/null");
        for _ in 0..2 {
            let refused = history.writer.commit(&[lobby_row(2, "two")], Durability::Fsync);
            assert!(matches!(refused, Err(CommitError::Poisoned(_))), "{refused:?}");
        }
        assert!(matches!(history.writer.sync(), Err(CommitError::Poisoned(_))));
        assert_eq!(lobby_ids(&reopen(dir.path())), [1]);
    }
}
