//! Files that only grow, and files that are replaced whole: the two ways in which Veche writes to a disk.
//!
//! [`AppendFile`] is under the history, the accounts and the sessions. It keeps one promise: after an error
//! the file is either exactly as it was before ([`AppendError::Refused`]) or is never written again
//! ([`AppendError::Poisoned`]). Whoever acknowledges something does so after [`AppendFile::sync`].
//!
//! What a predecessor left is not believed: it may have been killed before its fsync, or its fsync may have
//! failed, and what can be read is not on the disk then. So [`AppendFile::open`] forces what it finds, the end
//! of it by writing it anew.
//!
//! SIGXFSZ has to be ignored by the process, so that a file size limit shows as an error here.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use super::{Access, File, FileKind, Folder, not_a_regular_file};

/// The most that is ever appended between two fsyncs, in bytes: so the end of an inherited file that is written
/// anew is as long. (Without fsync for each batch nobody was promised anything about the end.)
pub const MAX_UNSYNCED_BYTES: usize = 2 << 20;
/// Written anew at once, in bytes.
const BLOCK_BYTES: usize = 64 * 1024;

/// Why bytes could not be appended, and what that means for the file.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The disk did not take the bytes (full, a quota, a size limit). The file is as it was before, and a
    /// later append may succeed.
    #[error("the disk did not take it: {0}")]
    Refused(#[source] io::Error),
    /// What the file holds can no longer be known: forcing it to the disk failed, or a part of an append
    /// could not be taken back. The text tells what happened, each time again. Nothing more is written to it.
    #[error("the file cannot be trusted any more: {0}")]
    Poisoned(Arc<str>),
}

impl From<AppendError> for io::Error {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Refused(error) => error,
            poisoned @ AppendError::Poisoned(_) => io::Error::other(poisoned),
        }
    }
}

/// One file that only grows. It has one writer; readers share [`AppendFile::file`].
#[derive(Debug)]
pub struct AppendFile {
    path: PathBuf,
    file: Arc<dyn File>,
    inode: (u64, u64),
    len: u64,
    poisoned: Option<Arc<str>>,
}

impl AppendFile {
    /// Opens the file `name` for appending. A file that is missing or empty is made with mode 0600 and
    /// `header`, which appears whole or not at all. When this returns, all that the file holds is on the disk,
    /// and its name.
    ///
    /// # Errors
    /// What the system says; also when `name` is no regular file.
    pub fn open(folder: &dyn Folder, name: &str, header: &[u8]) -> io::Result<Self> {
        match folder.stat(name)? {
            Some(found) if found.kind != FileKind::File => {
                return Err(not_a_regular_file(&folder.path().join(name)));
            }
            Some(found) if found.len > 0 => {}
            _ => replace(folder, name, header)?,
        }
        let file = folder.open(name, Access::Write)?;
        let stat = file.stat()?;
        force_inherited(&*file, stat.len)?;
        // Also when it was not made just now: whoever made it may not have come so far.
        folder.sync()?;
        let path = folder.path().join(name);
        Ok(AppendFile { path, file, inode: stat.inode, len: stat.len, poisoned: None })
    }

    /// The length in bytes, of what was there when it was opened and what was appended since.
    #[expect(clippy::len_without_is_empty, reason = "a file is never empty: it has its header")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Where the file was opened, for sentences.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Device and inode. While the file is open here, no other one gets them.
    pub fn inode(&self) -> (u64, u64) {
        self.inode
    }

    /// The file, for reading at an offset.
    pub fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// Appends all of `bytes` or nothing, and returns the offset of the first one. It is with the operating
    /// system then, not yet on the disk. At most [`MAX_UNSYNCED_BYTES`] come between two calls of
    /// [`AppendFile::sync`], where a promise depends on it.
    ///
    /// # Errors
    /// [`AppendError`]; after `Refused` the file has its old length.
    pub fn append(&mut self, bytes: &[u8]) -> Result<u64, AppendError> {
        self.check()?;
        let offset = self.len;
        match self.file.write_all_at(bytes, offset) {
            Ok(()) => {
                self.len += bytes.len() as u64;
                Ok(offset)
            }
            Err(error) => {
                match self.file.set_len(offset) {
                    Ok(()) => Err(AppendError::Refused(error)),
                    Err(undo) => Err(self
                        .poison(&format!("an append failed ({error}) and so did taking it back ({undo})"))),
                }
            }
        }
    }

    /// Cuts the file to `len` bytes and forces that to the disk. This is for setting a torn last line aside
    /// when a file is opened; a length that is not shorter changes nothing.
    ///
    /// # Errors
    /// [`AppendError::Poisoned`].
    pub fn cut(&mut self, len: u64) -> Result<(), AppendError> {
        self.check()?;
        if len >= self.len {
            return Ok(());
        }
        if let Err(error) = self.file.set_len(len) {
            return Err(self.poison(&format!("cutting it to {len} bytes failed: {error}")));
        }
        self.len = len;
        self.sync()
    }

    /// Forces everything appended so far to the disk.
    ///
    /// # Errors
    /// [`AppendError::Poisoned`], for good: the kernel may have dropped the pages that it could not write, so
    /// a second fsync that succeeds would prove nothing.
    pub fn sync(&mut self) -> Result<(), AppendError> {
        self.check()?;
        force(&*self.file).map_err(|error| self.poison(&format!("forcing it to the disk failed: {error}")))
    }

    /// Whether its path still leads to this very file, and nobody else has changed its length. After a `false`
    /// (deleted, moved, replaced, truncated) appending would write where nobody looks.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn in_place(&self) -> io::Result<bool> {
        let named = self.file.stat_by_path()?;
        Ok(named.is_some_and(|named| (named.inode, named.len) == (self.inode, self.len)))
    }

    /// An `AppendFile` over a device: see [`super::real::device`].
    #[cfg(test)]
    pub(crate) fn over_device(path: &str) -> Self {
        let file = super::real::device(path);
        let inode = file.stat().expect("a device").inode;
        AppendFile { path: path.into(), file, inode, len: 0, poisoned: None }
    }

    fn check(&self) -> Result<(), AppendError> {
        self.poisoned.clone().map_or(Ok(()), |why| Err(AppendError::Poisoned(why)))
    }

    fn poison(&mut self, why: &str) -> AppendError {
        let why = Arc::from(why);
        self.poisoned = Some(Arc::clone(&why));
        AppendError::Poisoned(why)
    }
}

/// Forces a file that was found to the disk. What an fsync has failed on is not tried again by the next one, so
/// the end, where that may be, is written anew.
fn force_inherited(file: &dyn File, len: u64) -> io::Result<()> {
    let mut block = vec![0; BLOCK_BYTES.min(usize::try_from(len).unwrap_or(BLOCK_BYTES))];
    let mut at = len.saturating_sub(MAX_UNSYNCED_BYTES as u64);
    while at < len {
        let part = &mut block[..(len - at).min(BLOCK_BYTES as u64) as usize];
        file.read_exact_at(part, at)?;
        file.write_all_at(part, at)?;
        at += part.len() as u64;
    }
    force(file)
}

fn force(file: &dyn File) -> io::Result<()> {
    loop {
        match file.sync() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Why a file could not be replaced.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// What had the name before has it still.
    #[error(transparent)]
    Untouched(io::Error),
    /// The new file has the name, but that is not certain to outlive a crash of the machine: which of the two
    /// is there after one, nobody knows. Only a later success of [`Folder::sync`] settles it.
    #[error("the name of the new file could not be forced to the disk: {0}")]
    NotForced(io::Error),
}

impl From<ReplaceError> for io::Error {
    fn from(error: ReplaceError) -> Self {
        match error {
            ReplaceError::Untouched(error) | ReplaceError::NotForced(error) => error,
        }
    }
}

/// Puts `bytes` at `name`, whole or not at all: see [`replace_with`].
///
/// # Errors
/// [`ReplaceError`].
pub fn replace(folder: &dyn Folder, name: &str, bytes: &[u8]) -> Result<(), ReplaceError> {
    replace_with(folder, name, |file| file.write_all(bytes))
}

/// Puts what `fill` writes at `name`, whole or not at all, with mode 0600: a temporary file in the same folder
/// (`.NAME.tmp`), fsync, rename, fsync of the folder. What had the name is replaced, a link is not followed.
///
/// # Errors
/// [`ReplaceError`].
pub fn replace_with(
    folder: &dyn Folder,
    name: &str,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), ReplaceError> {
    let temporary = format!(".{name}.tmp");
    let renamed = fill_and_rename(folder, &temporary, name, fill);
    if let Err(error) = renamed {
        // The first error is the one to tell; what stays of the temporary file goes the next time.
        let _ = folder.remove(&temporary);
        return Err(ReplaceError::Untouched(error));
    }
    folder.sync().map_err(ReplaceError::NotForced)
}

fn fill_and_rename(
    folder: &dyn Folder,
    temporary: &str,
    name: &str,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    match folder.remove(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = folder.open(temporary, Access::Create)?;
    let mut writer = BufWriter::with_capacity(BLOCK_BYTES, FromStart { file: &*file, at: 0 });
    fill(&mut writer)?;
    writer.flush()?;
    drop(writer);
    force(&*file)?;
    folder.rename(temporary, name)
}

/// Writes a file from its start to its end.
struct FromStart<'a> {
    file: &'a dyn File,
    at: u64,
}

impl Write for FromStart<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write_at(bytes, self.at)?;
        self.at += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "append_tests.rs"]
mod tests;
