//! The few calls that touch what is kept, real and simulated.
//!
//! Everything in the data directory is read and written through a [`Folder`] that is held open: what was
//! locked at the start is what is written ever after, wherever its path leads meanwhile. No call follows a
//! link or waits for a pipe: what is no regular file is refused.
//!
//! - [`real`]: the calls of the system.
//! - `simulated` (for tests): a disk in memory that loses at a crash what a disk may lose, fails the calls
//!   that it is told to fail, and serves several lives of a server in a row.
//! - [`append`]: files that only grow and files that are replaced whole, with their promises, over either.

pub mod append;
#[cfg(test)]
pub mod lives;
pub mod real;
#[cfg(test)]
pub mod simulated;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A folder that is held open. Names are those of its entries, without any `/`.
///
/// Every call blocks, and gives what the system says as an error. After a crash of the machine only those
/// names are certain that stood when [`Folder::sync`] last succeeded.
pub trait Folder: fmt::Debug + Send + Sync {
    /// The path by which it was opened, for sentences.
    fn path(&self) -> &Path;

    /// Opens a regular file.
    ///
    /// # Errors
    /// Also `InvalidInput` when something else has that name: a link, a folder, a pipe, a device.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>>;

    /// Opens the folder of that name in this one, and makes it, for its owner alone (0700), when it is missing.
    fn folder(&self, name: &str) -> io::Result<Arc<dyn Folder>>;

    /// What has that name; a link is not followed. `None` when nothing has.
    fn stat(&self, name: &str) -> io::Result<Option<Stat>>;

    /// The names in it, sorted. Those that are not UTF-8 are none of ours, and left out.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Gives a file another name, in one step; a file that had that name is gone.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Takes a file's name away. Who has it open keeps it.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Forces the names to the disk. When it fails they are owed: a later success covers them, too.
    fn sync(&self) -> io::Result<()>;

    /// Whether its path still leads to this very folder. After a `false` (moved, unmounted, replaced) whoever
    /// looks for the files does not find what is written here.
    fn in_place(&self) -> io::Result<bool>;
}

/// A regular file that is held open.
pub trait File: fmt::Debug + Send + Sync {
    /// Reads some bytes at an offset; 0 only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes some of the bytes at an offset.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Cuts the file to this length in bytes, or fills it up with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Forces content and length to the disk. When it fails, nobody knows what the disk has of what was
    /// written since it last succeeded, and a later success proves nothing about it.
    fn sync(&self) -> io::Result<()>;

    /// What it is.
    fn stat(&self) -> io::Result<Stat>;

    /// What the path by which it was opened leads to by now; `None` when it leads nowhere.
    fn stat_by_path(&self) -> io::Result<Option<Stat>>;
}

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading, whoever may read it: the caller looks at [`Stat::mode`].
    Inspect,
    /// Reading. It is closed to other users, where we may do that.
    Read,
    /// Reading and writing. It is closed to other users.
    Write,
    /// Reading and writing, and it is not there yet. Made for its owner alone (0600).
    Create,
}

/// What has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Which kind of thing.
    pub kind: FileKind,
    /// Device and inode. While it is open, nothing else has them.
    pub inode: (u64, u64),
    /// Its length in bytes.
    pub len: u64,
    /// Its permission bits.
    pub mode: u32,
}

/// A kind of thing that can have a name in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A link, a pipe, a device, a socket.
    Other,
}

impl dyn File + '_ {
    /// Fills the buffer from an offset on, through short reads and interruptions.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before; what the system says.
    pub fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    buffer = &mut buffer[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of the bytes from an offset on, through short writes and interruptions.
    ///
    /// # Errors
    /// `WriteZero` when nothing is taken; what the system says. A part may be written then.
    pub fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    bytes = &bytes[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The whole of a file, `None` when there is none.
///
/// # Errors
/// What the system says; also when it is no regular file, or longer than `max_bytes`.
pub fn read_whole(folder: &dyn Folder, name: &str, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match folder.open(name, Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let len = file.stat()?.len;
    if len > max_bytes {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} has {len} bytes, and may have {max_bytes}", folder.path().join(name).display()),
        ));
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(Some(bytes))
}

/// What is said when something else than a regular file has a file's name.
fn not_a_regular_file(path: &Path) -> io::Error {
    let text = format!("{} is a link, a folder, a pipe or a device, and has to be a file", path.display());
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
