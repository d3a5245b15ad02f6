//! `clients.rejected`: lines of the account file that were no rows of it, and whose names they keep.
//!
//! A line in there keeps its name from being taken by somebody else, at every start, for as long as it lies
//! there: the name is told by its index, which only the key can make.

use std::collections::HashSet;
use std::io;

use super::rows::{AccountRowFault, indexes_in};
use crate::disk::{Access, Folder, read_whole};
use crate::model::Timestamp;
use crate::secrets::seal::Sealer;

/// The file's name.
pub const FILE_NAME: &str = "clients.rejected";
/// What stands before the indexes in a note.
const KEEPS: &str = " [keeps ";
/// What stands behind them.
const KEEPS_END: &str = "]: ";

/// A line that is no row of this file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRow {
    /// Its line in `clients.csv`, from 1 for the header.
    pub line: usize,
    /// Which of the pieces of the file it is.
    pub(super) at: usize,
    /// Why.
    pub fault: AccountRowFault,
    /// The indexes of the names that it may have held and that no account has.
    pub keeps: Vec<String>,
}

/// Appends the rejected lines to `clients.rejected`, on the disk when this returns: they are about to go from
/// `clients.csv`.
///
/// # Errors
/// What the system says.
pub(super) fn set_aside(
    folder: &dyn Folder,
    lines: &[(usize, &[u8])],
    rejected: &[RejectedRow],
) -> io::Result<()> {
    if rejected.is_empty() {
        return Ok(());
    }
    let now = Timestamp::now();
    let mut notes = String::new();
    for RejectedRow { line, at, fault, keeps } in rejected {
        let text = lines.get(*at).map_or(&b""[..], |(_, text)| text);
        let keeps = if keeps.is_empty() { "nothing".to_owned() } else { keeps.join(" ") };
        notes += &format!("{now} line {line}: {fault}{KEEPS}{keeps}{KEEPS_END}{}\n", text.escape_ascii());
    }
    let file = match folder.open(FILE_NAME, Access::Write) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => folder.open(FILE_NAME, Access::Create)?,
        other => other?,
    };
    file.write_all_at(notes.as_bytes(), file.stat()?.len)?;
    file.sync()?;
    folder.sync()
}

/// The indexes of the names that lines in `clients.rejected` keep.
///
/// # Errors
/// What the system says.
pub(super) fn kept(folder: &dyn Folder, sealer: &Sealer) -> io::Result<HashSet<String>> {
    let bytes = read_whole(folder, FILE_NAME, u64::MAX)?.unwrap_or_default();
    let mut kept = HashSet::new();
    for note in bytes.split(|byte| *byte == b'\n') {
        let note = String::from_utf8_lossy(note);
        if let Some((_, rest)) = note.split_once(KEEPS)
            && let Some((indexes, _)) = rest.split_once(KEEPS_END)
        {
            kept.extend(indexes.split(' ').filter(|index| index.starts_with("v1:")).map(str::to_owned));
        } else if let Some(line) = note.splitn(3, ": ").nth(2) {
            // A version before this one has written it.
            kept.extend(indexes_in(sealer, line.as_bytes()));
        }
    }
    Ok(kept)
}
