//! The calls of the system. Names are looked up in folders that are held open (`openat` and its kin).

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::{Access, File, FileKind, Folder, Stat, not_a_regular_file};

/// Every file is its owner's alone.
const FILE_MODE: u32 = 0o600;
/// Every folder too.
const FOLDER_MODE: u32 = 0o700;
/// The permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// Opens the folder at `path`, which is there. It may be a link to a folder.
///
/// # Errors
/// What the system says.
pub fn open_folder(path: &Path) -> io::Result<Arc<dyn Folder>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let held = retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))?;
    Ok(hold(held.into(), path))
}

/// Makes a folder that is open already the one that names are looked up in. `path` is for sentences, and to see
/// whether it stays in its place.
pub fn hold(folder: fs::File, path: &Path) -> Arc<dyn Folder> {
    Arc::new(RealFolder { held: folder, path: path.to_owned() })
}

/// Opens the folder at `path`, and makes it and those above it that are missing, for their owner alone (0700).
///
/// # Errors
/// What the system says.
pub fn make_folder(path: &Path) -> io::Result<Arc<dyn Folder>> {
    fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)?;
    open_folder(path)
}

/// Takes the rights of everybody but the owner away from a file that was found with some: a restored backup
/// often has them.
///
/// # Errors
/// What the system says.
pub fn close_to_others(file: &fs::File) -> io::Result<()> {
    let mode = file.metadata()?.mode();
    if mode & OTHERS == 0 { Ok(()) } else { file.set_permissions(fs::Permissions::from_mode(FILE_MODE)) }
}

#[derive(Debug)]
struct RealFolder {
    held: fs::File,
    path: PathBuf,
}

impl RealFolder {
    fn open_with(&self, name: &str, flags: OFlags) -> io::Result<fs::File> {
        // NONBLOCK, so that a pipe in the file's place cannot hold us up.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(FILE_MODE);
        match retry_on_intr(|| rustix::fs::openat(&self.held, name, flags, mode)) {
            Ok(file) => Ok(file.into()),
            Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => Err(not_a_regular_file(&self.path.join(name))),
            Err(error) => Err(error.into()),
        }
    }
}

impl Folder for RealFolder {
    fn path(&self) -> &Path {
        &self.path
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let path = self.path.join(name);
        // To open a device can do something to it.
        if self.stat(name)?.is_some_and(|found| found.kind != FileKind::File) {
            return Err(not_a_regular_file(&path));
        }
        let file = self.open_with(
            name,
            match access {
                Access::Inspect | Access::Read => OFlags::RDONLY,
                Access::Write => OFlags::RDWR,
                Access::Create => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
            },
        )?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(not_a_regular_file(&path));
        }
        if access != Access::Inspect {
            let closed = close_to_others(&file);
            // One that is only read may be another user's, in a backup say; reading it is no less possible.
            if access != Access::Read {
                closed?;
            }
        }
        Ok(Arc::new(RealFile { file, path }))
    }

    fn folder(&self, name: &str) -> io::Result<Arc<dyn Folder>> {
        let mode = Mode::from_raw_mode(FOLDER_MODE);
        match retry_on_intr(|| rustix::fs::mkdirat(&self.held, name, mode)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let held = retry_on_intr(|| rustix::fs::openat(&self.held, name, flags, Mode::empty()))?;
        let held = fs::File::from(held);
        if held.metadata()?.mode() & OTHERS != 0 {
            held.set_permissions(fs::Permissions::from_mode(FOLDER_MODE))?;
        }
        Ok(hold(held, &self.path.join(name)))
    }

    fn stat(&self, name: &str) -> io::Result<Option<Stat>> {
        match retry_on_intr(|| rustix::fs::statat(&self.held, name, AtFlags::SYMLINK_NOFOLLOW)) {
            Ok(found) => {
                let (kind, mode) = (FileType::from_raw_mode(found.st_mode), found.st_mode & 0o7777);
                let kind = match kind {
                    FileType::RegularFile => FileKind::File,
                    FileType::Directory => FileKind::Folder,
                    _ => FileKind::Other,
                };
                let len = u64::try_from(found.st_size).unwrap_or(0);
                Ok(Some(Stat { kind, inode: (found.st_dev, found.st_ino), len, mode }))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.held)? {
            match entry?.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        names.sort();
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::renameat(&self.held, from, &self.held, to))?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::unlinkat(&self.held, name, AtFlags::empty()))?)
    }

    fn sync(&self) -> io::Result<()> {
        self.held.sync_all()
    }

    fn in_place(&self) -> io::Result<bool> {
        let held = self.held.metadata()?;
        match fs::metadata(&self.path) {
            Ok(there) => Ok((there.dev(), there.ino()) == (held.dev(), held.ino())),
            Err(error) if leads_nowhere(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[derive(Debug)]
struct RealFile {
    file: fs::File,
    path: PathBuf,
}

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn stat(&self) -> io::Result<Stat> {
        Ok(stat_of(&self.file.metadata()?))
    }

    fn stat_by_path(&self) -> io::Result<Option<Stat>> {
        match fs::symlink_metadata(&self.path) {
            Ok(found) => Ok(Some(stat_of(&found))),
            Err(error) if leads_nowhere(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn stat_of(found: &fs::Metadata) -> Stat {
    let kind = match found.file_type() {
        kind if kind.is_file() => FileKind::File,
        kind if kind.is_dir() => FileKind::Folder,
        _ => FileKind::Other,
    };
    Stat { kind, inode: (found.dev(), found.ino()), len: found.len(), mode: found.mode() & 0o7777 }
}

/// Whether a path could not be followed to its end because a part of it is not there, or is no folder.
fn leads_nowhere(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Over a device, which [`Folder::open`] would refuse: `/dev/full` takes nothing and cannot be cut, `/dev/null`
/// takes everything and cannot be synced.
#[cfg(test)]
pub(crate) fn device(path: &str) -> Arc<dyn File> {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).expect("a device");
    Arc::new(RealFile { file, path: path.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, Arc<dyn Folder>) {
        let place = tempfile::tempdir().expect("a temporary folder");
        let folder = make_folder(&place.path().join("data")).expect("made");
        (place, folder)
    }

    #[test]
    fn what_is_no_regular_file_is_refused_and_never_waited_for() {
        let (place, folder) = place();
        let data = place.path().join("data");
        fs::write(place.path().join("target"), "secret").expect("written");
        std::os::unix::fs::symlink(place.path().join("target"), data.join("link")).expect("linked");
        fs::create_dir(data.join("folder")).expect("made");
        rustix::fs::mknodat(rustix::fs::CWD, data.join("pipe"), FileType::Fifo, Mode::RUSR, 0).expect("made");
        let _socket = std::os::unix::net::UnixListener::bind(data.join("socket")).expect("bound");
        for name in ["link", "folder", "pipe", "socket"] {
            for access in [Access::Inspect, Access::Read, Access::Write] {
                let refused = folder.open(name, access).expect_err(name).to_string();
                assert!(refused.contains("has to be a file"), "{refused}");
            }
        }
        assert_eq!(fs::read_to_string(place.path().join("target")).expect("text"), "secret");
    }

    #[test]
    fn a_folder_that_is_moved_is_still_the_one_that_is_written() {
        let (place, folder) = place();
        assert!(folder.in_place().expect("told"));
        fs::rename(place.path().join("data"), place.path().join("moved")).expect("moved");
        assert!(!folder.in_place().expect("told"));
        let file = folder.open("file", Access::Create).expect("made");
        file.write_all_at(b"here", 0).expect("written");
        assert_eq!(fs::read_to_string(place.path().join("moved/file")).expect("text"), "here");
        assert_eq!(file.stat_by_path().expect("told"), None);
        fs::create_dir(place.path().join("data")).expect("made");
        assert!(!folder.in_place().expect("told"), "another folder has its name");
    }

    #[test]
    fn files_and_folders_are_closed_to_others() {
        let (place, folder) = place();
        let mode = |name: &str| folder.stat(name).expect("told").expect("there").mode;
        folder.open("made", Access::Create).expect("made");
        folder.folder("deep").expect("made");
        assert_eq!((mode("made"), mode("deep")), (0o600, 0o700));
        for (name, path) in [("made", "data/made"), ("deep", "data/deep")] {
            let path = place.path().join(path);
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("opened");
            assert_eq!(mode(name), 0o755);
        }
        folder.open("made", Access::Inspect).expect("opened");
        assert_eq!(mode("made"), 0o755);
        folder.open("made", Access::Read).expect("opened");
        folder.folder("deep").expect("opened");
        assert_eq!((mode("made"), mode("deep")), (0o600, 0o700));
        assert_eq!(folder.list().expect("told"), ["deep", "made"]);
    }
}
