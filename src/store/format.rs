//! The number of the data directory's format, in the file `format`.
//!
//! A server reads every older format. A newer one it refuses, before it touches anything: it would take for
//! damage what it does not know.

use std::io;
use std::path::PathBuf;

use super::advice::advice;
use crate::disk::append::replace;
use crate::disk::{Folder, read_whole};

/// The format that this server writes. Directories from before there was a number are of format 1.
pub const FORMAT: u32 = 2;

const FILE_NAME: &str = "format";
/// What the number stands behind.
const MARK: &str = "veche-data-format:";
/// More than the file ever has, in bytes.
const MAX_FILE_BYTES: u64 = 256;

/// Why a data directory cannot be worked on.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// A newer server wrote it.
    #[error(
        "the data directory {} is of format {found}, and this veche knows formats up to {FORMAT}; start the newer veche that wrote it, or restore a copy from before",
        folder.display()
    )]
    Newer {
        /// The data directory.
        folder: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The file does not say.
    #[error(
        "the file {} does not tell the format of the data directory; it has to be one line, `{MARK} {FORMAT}` for this veche: restore it from a backup",
        .0.display()
    )]
    Unclear(PathBuf),
    /// It cannot be read or written.
    #[error("the file {} could not be used: {source}{}", file.display(), advice(source))]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Refuses a directory of a newer format, and has one of an older format, or a fresh one, say this one.
///
/// # Errors
/// [`FormatError`].
pub fn settle(data: &dyn Folder) -> Result<(), FormatError> {
    let file = data.path().join(FILE_NAME);
    let failed = |source| FormatError::Io { file: file.clone(), source };
    if let Some(bytes) = read_whole(data, FILE_NAME, MAX_FILE_BYTES).map_err(failed)? {
        let found = parse(&bytes).ok_or_else(|| FormatError::Unclear(file.clone()))?;
        if found > FORMAT {
            return Err(FormatError::Newer { folder: data.path().to_owned(), found });
        }
        if found == FORMAT {
            return Ok(());
        }
    }
    replace(data, FILE_NAME, format!("{MARK} {FORMAT}\n").as_bytes()).map_err(|error| failed(error.into()))
}

fn parse(bytes: &[u8]) -> Option<u32> {
    std::str::from_utf8(bytes).ok()?.strip_prefix(MARK)?.trim().parse().ok().filter(|format| *format > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::simulated::SimulatedDisk;

    fn says(disk: &SimulatedDisk) -> String {
        let bytes = read_whole(&*disk.root(), FILE_NAME, MAX_FILE_BYTES).expect("read").expect("there");
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn a_fresh_or_older_directory_is_told_the_format_and_a_newer_one_is_refused() {
        let disk = SimulatedDisk::new(1);
        settle(&*disk.root()).expect("fresh");
        assert_eq!(says(&disk), "veche-data-format: 2\n");
        for (text, outcome) in [
            ("veche-data-format: 1\n", Ok(())),
            ("veche-data-format: 2\r\n", Ok(())),
            ("veche-data-format: 3\n", Err("newer veche")),
            ("veche-data-format: 0\n", Err("backup")),
            ("", Err("backup")),
            ("\u{0}\u{0}", Err("backup")),
        ] {
            disk.tamper(FILE_NAME, |bytes| *bytes = text.into());
            let settled = settle(&*disk.root());
            match outcome {
                Ok(()) => {
                    assert!(settled.is_ok() && says(&disk).starts_with("veche-data-format: 2"), "{text:?}")
                }
                Err(advice) => {
                    let refused = settled.expect_err(text).to_string();
                    assert!(refused.contains(advice), "{refused}");
                    assert_eq!(says(&disk), text, "it is left as it is");
                }
            }
        }
    }
}
