//! The lock of the data directory: one server at a time works on its files.
//!
//! The lock is the kernel's (`flock`), so it is gone with the process that held it, whatever ended that
//! process. The file's content, the holder's process id, is only there to tell people whose it is. The
//! folder itself is locked too, so that deleting the file `lock` does not let a second server in.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, OFlags, flock};

use super::format::{self, FormatError};
use crate::disk::real::close_to_others;
use crate::disk::{self, Folder};

/// The name of the lock file in the data directory.
const LOCK_FILE: &str = "lock";
/// The mode bit of folders like `/tmp`, which must not be closed to others.
const STICKY: u32 = 0o1000;

/// The data directory, locked for as long as this lives.
#[derive(Debug)]
pub struct DataDirLock {
    _file: File,
    _folder: File,
    data: Arc<dyn Folder>,
}

/// Why the data directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process works on it.
    #[error(
        "the data directory {} is in use by another veche{}; stop that one first (`veche ctl shutdown`), or choose another directory with --data-dir",
        folder.display(),
        process(*holder)
    )]
    Held {
        /// The data directory.
        folder: PathBuf,
        /// The process id of its holder, as far as the holder has written it down.
        holder: Option<u32>,
    },
    /// The data directory is not there and cannot be made, or is no directory.
    #[error("cannot make the data directory {} ({error}); make it, or choose another with --data-dir", folder.display())]
    Make {
        /// The data directory.
        folder: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is there, but cannot be used.
    #[error(
        "cannot lock the data directory {} ({error}); it has to belong to the user that runs veche, on a file system with locks",
        folder.display()
    )]
    Use {
        /// The data directory.
        folder: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is of a format that this server does not know.
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl DataDirLock {
    /// Makes the data directory when it is not there, closes it to other users (mode 0700), locks it, and looks
    /// whether its format is one that this server knows.
    ///
    /// # Errors
    /// [`LockError::Held`] at once when another process holds it, which is how `veche account` finds out
    /// that a server runs; the others when the directory cannot be made or used.
    pub fn acquire(folder: &Path) -> Result<Self, LockError> {
        make_private(folder)?;
        let failed = |error| LockError::Use { folder: folder.to_owned(), error };
        let held = || LockError::Held { folder: folder.to_owned(), holder: read_holder(folder) };

        let mut file = open_lock_file(folder).map_err(failed)?;
        if !try_lock(&file).map_err(failed)? {
            return Err(held());
        }
        let folder_itself = File::open(folder).map_err(failed)?;
        if !try_lock(&folder_itself).map_err(failed)? {
            return Err(held());
        }
        force_name(folder).map_err(failed)?;
        let data = disk::real::hold(folder_itself.try_clone().map_err(failed)?, folder);
        format::settle(&*data)?;
        write_holder(&mut file).map_err(failed)?;
        Ok(DataDirLock { _file: file, _folder: folder_itself, data })
    }

    /// The folder that is locked: the one to write to, wherever its path leads later.
    pub fn folder(&self) -> &Arc<dyn Folder> {
        &self.data
    }
}

fn make_private(folder: &Path) -> Result<(), LockError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| LockError::Make { folder: folder.to_owned(), error })?;
    let close_to_others = || {
        let mode = folder.metadata()?.mode();
        if mode & STICKY != 0 {
            return Err(io::Error::other("it is a folder that all users share"));
        }
        if mode & 0o077 != 0 {
            std::fs::set_permissions(folder, Permissions::from_mode(0o700))?;
        }
        Ok(())
    };
    close_to_others().map_err(|error| LockError::Use { folder: folder.to_owned(), error })
}

/// Forces the folder's own name to the disk, and those of the folders above it: this process or one before it
/// may have made them. Those of another file system were there before.
fn force_name(folder: &Path) -> io::Result<()> {
    let folder = folder.canonicalize()?;
    let device = folder.metadata()?.dev();
    for above in folder.ancestors().skip(1) {
        match File::open(above) {
            Ok(above) if above.metadata()?.dev() != device => break,
            Ok(above) => above.sync_all()?,
            // Who may not open it did not make anything in it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn open_lock_file(folder: &Path) -> io::Result<File> {
    let path = folder.join(LOCK_FILE);
    let in_the_way = || {
        io::Error::other(format!("its file {LOCK_FILE} is a link, a folder, a pipe or a device; remove it"))
    };
    if path.symlink_metadata().is_ok_and(|there| !there.is_file()) {
        return Err(in_the_way());
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        // NONBLOCK, so that a pipe in its place cannot hold up the start.
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(in_the_way());
    }
    close_to_others(&file)?;
    Ok(file)
}

/// Whether the lock was free, and is ours now.
fn try_lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn write_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// The process id that the holder of this data directory has written down.
pub fn read_holder(folder: &Path) -> Option<u32> {
    let mut text = String::new();
    File::open(folder.join(LOCK_FILE)).ok()?.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// ` (process N)`, or nothing.
pub fn process(holder: Option<u32>) -> String {
    holder.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_whose_it_is_and_gets_it_when_the_first_is_gone() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("deep/data");
        let first = DataDirLock::acquire(&folder).unwrap();
        let refused = DataDirLock::acquire(&folder).unwrap_err();
        assert!(matches!(refused, LockError::Held { holder: Some(pid), .. } if pid == std::process::id()));
        assert!(refused.to_string().contains(&format!("(process {})", std::process::id())), "{refused}");

        drop(first);
        DataDirLock::acquire(&folder).unwrap();
    }

    #[test]
    fn folder_and_file_are_closed_to_others() {
        let place = tempfile::tempdir().unwrap();
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
        let made = place.path().join("made");
        let _lock = DataDirLock::acquire(&made).unwrap();
        assert_eq!(mode(&made), 0o700);
        assert_eq!(mode(&made.join("lock")), 0o600);

        let found = place.path().join("found");
        std::fs::create_dir(&found).unwrap();
        std::fs::set_permissions(&found, Permissions::from_mode(0o755)).unwrap();
        let _lock = DataDirLock::acquire(&found).unwrap();
        assert_eq!(mode(&found), 0o700);
    }

    #[test]
    fn deleting_the_lock_file_lets_nobody_in() {
        let place = tempfile::tempdir().unwrap();
        let _lock = DataDirLock::acquire(place.path()).unwrap();
        std::fs::remove_file(place.path().join("lock")).unwrap();
        assert!(matches!(DataDirLock::acquire(place.path()), Err(LockError::Held { holder: None, .. })));
    }

    #[test]
    fn what_is_no_directory_is_refused_with_a_sentence() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        std::fs::write(&file, "").unwrap();
        let refused = DataDirLock::acquire(&file).unwrap_err();
        assert!(refused.to_string().contains("--data-dir"), "{refused}");

        let linked = place.path().join("linked");
        std::fs::create_dir(&linked).unwrap();
        std::os::unix::fs::symlink(&file, linked.join("lock")).unwrap();
        assert!(
            matches!(DataDirLock::acquire(&linked), Err(LockError::Use { .. })),
            "a link is not followed"
        );
        assert_eq!(std::fs::read(&file).unwrap(), b"");
    }
}
