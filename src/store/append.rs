//! Files that only grow, and files that are replaced whole: the two ways in which Veche writes to a disk.
//!
//! [`AppendFile`] is under the history, the accounts and the sessions. It keeps one promise: after an error
//! the file is either exactly as it was before ([`AppendError::Refused`]) or is never written again
//! ([`AppendError::Poisoned`]). Whoever acknowledges something does so after [`AppendFile::sync`].
//!
//! SIGXFSZ has to be ignored by the process, so that a file size limit shows as an error here.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

/// Every file is its owner's alone.
const FILE_MODE: u32 = 0o600;
/// Every folder too.
const DIR_MODE: u32 = 0o700;

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

/// One file that only grows. It has one writer; readers share [`AppendFile::file`].
#[derive(Debug)]
pub struct AppendFile {
    path: PathBuf,
    file: Arc<File>,
    /// Device and inode. While the file is open here, no other one gets them.
    inode: (u64, u64),
    len: u64,
    poisoned: Option<Arc<str>>,
}

impl AppendFile {
    /// Opens the file at `path` for appending. A file that is missing or empty is made with mode 0600 and
    /// `header`, which appears whole or not at all; it and its name are on the disk when this returns.
    ///
    /// # Errors
    /// What the system says; also when `path` is a link or no regular file.
    pub fn open(path: &Path, header: &[u8]) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(found) if !found.is_file() => return Err(not_a_regular_file(path)),
            Ok(found) if found.len() > 0 => {}
            Ok(_) => write_atomically(path, header)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => write_atomically(path, header)?,
            Err(error) => return Err(error),
        }
        let file = OpenOptions::new().read(true).write(true).custom_flags(no_follow()).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(not_a_regular_file(path));
        }
        close_to_others(&file)?;
        Ok(AppendFile {
            path: path.to_owned(),
            file: Arc::new(file),
            inode: (metadata.dev(), metadata.ino()),
            len: metadata.len(),
            poisoned: None,
        })
    }

    /// The length in bytes, of what was there when it was opened and what was appended since.
    #[expect(clippy::len_without_is_empty, reason = "a file is never empty: it has its header")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Where the file was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, for reading at an offset.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Appends all of `bytes` or nothing, and returns the offset of the first one. It is with the operating
    /// system then, not yet on the disk.
    ///
    /// # Errors
    /// [`AppendError`]; after `Refused` the file has its old length.
    pub fn append(&mut self, bytes: &[u8]) -> Result<u64, AppendError> {
        self.check()?;
        let offset = self.len;
        match write_all_at(&self.file, bytes, offset) {
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
        loop {
            match self.file.sync_data() {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.poison(&format!("forcing it to the disk failed: {error}"))),
            }
        }
    }

    /// Whether `path` still names this very file, and nobody else has changed its length. After a `false`
    /// (deleted, moved, replaced, truncated) appending would write where nobody looks.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn in_place(&self) -> io::Result<bool> {
        let named = match fs::symlink_metadata(&self.path) {
            Ok(named) => named,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        Ok(((named.dev(), named.ino()), named.len()) == (self.inode, self.len))
    }

    /// An `AppendFile` over a device, which [`AppendFile::open`] would refuse: `/dev/full` takes nothing and
    /// cannot be cut, `/dev/null` takes everything and cannot be synced.
    #[cfg(test)]
    pub(crate) fn over_device(path: &str) -> Self {
        let file = OpenOptions::new().read(true).write(true).open(path).expect("a device");
        let metadata = file.metadata().expect("a device");
        let inode = (metadata.dev(), metadata.ino());
        AppendFile { path: path.into(), file: Arc::new(file), inode, len: 0, poisoned: None }
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

/// Writes all of `bytes` at `offset`, through short writes and interruptions.
fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Puts `bytes` at `path`, whole or not at all: see [`write_atomically_with`].
///
/// # Errors
/// What the system says; what was at `path` is untouched then.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_atomically_with(path, |file| file.write_all(bytes))
}

/// Puts what `fill` writes at `path`, whole or not at all, with mode 0600: a temporary file in the same
/// folder (`.NAME.tmp`), fsync, rename, fsync of the folder. A link at `path` is replaced, not followed.
///
/// # Errors
/// What the system or `fill` says; what was at `path` is untouched then, unless the very last step failed.
pub fn write_atomically_with(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let (dir, temporary) = beside(path)?;
    remove_if_there(&temporary)?;
    let written = fill_and_rename(&temporary, path, fill);
    if written.is_err() {
        // The first error is the one to tell; what stays of the temporary file goes the next time.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    sync_dir(dir)
}

fn fill_and_rename(
    temporary: &Path,
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(temporary)?;
    let mut writer = BufWriter::new(file);
    fill(&mut writer)?;
    writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(temporary, path)
}

/// The folder of `path`, and the temporary name beside it.
fn beside(path: &Path) -> io::Result<(&Path, PathBuf)> {
    let name = path.file_name().ok_or_else(|| not_a_regular_file(path))?;
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(".tmp");
    Ok((dir, dir.join(temporary)))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Opens the regular file at `path` for reading, and closes it to other users.
///
/// # Errors
/// What the system says; also when `path` is a link or no regular file.
pub fn open_for_reading(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(no_follow()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(not_a_regular_file(path));
    }
    // A file that is only read may be another user's, in a backup say; reading it is no less possible then.
    let _ = close_to_others(&file);
    Ok(file)
}

/// Takes the rights of everybody but the owner away from a file that was found with some: a restored backup
/// often has them.
///
/// # Errors
/// What the system says.
pub fn close_to_others(file: &File) -> io::Result<()> {
    let mode = file.metadata()?.mode();
    if mode & 0o077 == 0 { Ok(()) } else { file.set_permissions(Permissions::from_mode(0o600)) }
}

/// Forces a folder's list of names to the disk: files made, renamed or removed in it.
///
/// # Errors
/// What the system says.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes the folder at `path`, and those above it that are missing, for its owner alone (0700). One that is
/// there already is closed to everybody else.
///
/// # Errors
/// What the system says; also when something else is at `path`.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        DirBuilder::new().recursive(true).mode(DIR_MODE).create(path)?;
        sync_dir(beside(path)?.0)?;
    }
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(DIR_MODE))?;
    }
    Ok(())
}

/// The flag with which opening a link fails.
fn no_follow() -> i32 {
    // `bits` is a u32 here and an i32 in the standard library; the flag itself is a small positive number.
    OFlags::NOFOLLOW.bits().cast_signed()
}

fn not_a_regular_file(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{} is not a regular file", path.display()))
}

#[cfg(test)]
#[path = "append_tests.rs"]
mod tests;
