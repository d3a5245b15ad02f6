//! What to do about what the system says of a file, to go behind its words.

use std::io;

/// A clause that begins with a semicolon.
pub fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; it has to belong to the user that runs veche: chown it",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "; make space on its disk, or raise the limit on files (ulimit -f)"
        }
        io::ErrorKind::ReadOnlyFilesystem => "; make its disk writable",
        io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput => {
            "; move what is in its place away"
        }
        _ if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
            "; raise the limit on open files (ulimit -n, LimitNOFILE of a service)"
        }
        _ => "; it has to belong to the user that runs veche, on a disk that is sound and has space",
    }
}
