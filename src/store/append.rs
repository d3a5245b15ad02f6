//! The folder calls of [`crate::disk`] by path, for those who do not hold their folder open yet.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

pub use crate::disk::append::AppendError;
use crate::disk::{self, Folder, append};

/// [`append::AppendFile`], opened by its path.
#[derive(Debug)]
pub struct AppendFile(append::AppendFile);

impl AppendFile {
    /// See [`append::AppendFile::open`].
    ///
    /// # Errors
    /// The same.
    pub fn open(path: &Path, header: &[u8]) -> io::Result<Self> {
        let (folder, name) = place(path)?;
        append::AppendFile::open(&*folder, &name, header).map(AppendFile)
    }
}

impl Deref for AppendFile {
    type Target = append::AppendFile;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for AppendFile {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// See [`append::replace`].
///
/// # Errors
/// The same.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_atomically_with(path, |file| file.write_all(bytes))
}

/// See [`append::replace_with`].
///
/// # Errors
/// The same.
pub fn write_atomically_with(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let (folder, name) = place(path)?;
    Ok(append::replace_with(&*folder, &name, fill)?)
}

fn place(path: &Path) -> io::Result<(Arc<dyn Folder>, String)> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    Ok((disk::real::open_folder(folder)?, name.to_owned()))
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
    disk::real::make_folder(path)?;
    if fs::metadata(path)?.mode() & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    Ok(())
}
