//! The terms file, `history/terms.txt`: which terms this history has had, one for each start of the server.
//!
//! A row is a term: its name, the newest id that was stored when it began, and when that was. The file is
//! replaced whole at each start, before the term is named to anybody, so no crash leaves a part of it. A row
//! that is damaged takes those before it with it: which ids they had left depends on every later row.
//! It stands in the folder of the history so that who puts that back puts it back, too, and is no `.csv` so
//! that all files there with that ending are messages. See
//! [`crate::chat::journal::terms`] for what is made of it.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use crate::disk::append::replace;
use crate::disk::{Folder, read_whole};
use crate::model::{MessageId, StoredTerm, TermName, Timestamp};

/// The file's name in the folder of the history.
pub const FILE_NAME: &str = "terms.txt";
const HEADER: &str = "term,after,at,crc32";
/// Random bytes in a name.
const NAME_BYTES: usize = 16;
/// More than a file of ours ever has, in bytes.
const MOST_BYTES: u64 = 1 << 20;

/// A term that begins now, above the newest id that is stored.
///
/// # Errors
/// When the system has no random numbers.
pub fn fresh(after: Option<MessageId>, at: Timestamp) -> Result<StoredTerm, TermsError> {
    let mut bytes = [0; NAME_BYTES];
    getrandom::fill(&mut bytes).map_err(TermsError::Random)?;
    // A letter first, so that no program takes it for a number or a formula.
    let mut name = String::from("t");
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    Ok(StoredTerm { name: TermName::new(name), after, at })
}

/// Why a term could not be begun, in sentences that say what to do.
#[derive(Debug, thiserror::Error)]
pub enum TermsError {
    /// The file is there and cannot be read.
    #[error(
        "{} could not be read: {source}; make it readable for this user, or move it away: clients then read \
         what they missed anew",
        path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The term could not be stored.
    #[error(
        "{} could not be written: {source}; free space on its disk and see to the folder's owner, then start \
         again (without it clients could not tell this history from a copy of it)",
        path.display()
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No random numbers.
    #[error("the system gave no random numbers for a term: {0}; start again when it does")]
    Random(#[source] getrandom::Error),
}

/// What the file held.
#[derive(Debug, Default)]
pub struct FoundTerms {
    /// The terms behind the last damaged row, oldest first.
    pub terms: Vec<StoredTerm>,
    /// The last damaged row, by its line. It and those before it are forgotten.
    pub damaged_line: Option<usize>,
}

/// Reads the terms of the history in `folder`. A file that is not there holds none.
///
/// # Errors
/// [`TermsError::Read`].
pub fn read(folder: &dyn Folder) -> Result<FoundTerms, TermsError> {
    let bytes = read_whole(folder, FILE_NAME, MOST_BYTES)
        .map_err(|source| TermsError::Read { path: folder.path().join(FILE_NAME), source })?;
    Ok(decode(&bytes.unwrap_or_default()))
}

/// Replaces the terms of the history in `folder`, whole or not at all; they are on the disk when this
/// returns.
///
/// # Errors
/// [`TermsError::Write`].
pub fn write(folder: &dyn Folder, terms: &[StoredTerm]) -> Result<(), TermsError> {
    replace(folder, FILE_NAME, encode(terms).as_bytes())
        .map_err(|error| TermsError::Write { path: folder.path().join(FILE_NAME), source: error.into() })
}

fn encode(terms: &[StoredTerm]) -> String {
    let mut text = format!("{HEADER}\n");
    for term in terms {
        let cells = format!("{},{},{}", term.name, MessageId::or_zero(term.after), term.at);
        let _ = writeln!(text, "{cells},{}", checksum(&cells));
    }
    text
}

fn decode(bytes: &[u8]) -> FoundTerms {
    let mut found = FoundTerms::default();
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if at == 0 || line.is_empty() {
            continue;
        }
        match std::str::from_utf8(line).ok().and_then(decode_row) {
            Some(term) => found.terms.push(term),
            None => {
                found.terms.clear();
                found.damaged_line = Some(at + 1);
            }
        }
    }
    found
}

fn decode_row(line: &str) -> Option<StoredTerm> {
    let unquoted = |cell: &'_ str| -> String {
        cell.strip_prefix('"').and_then(|cell| cell.strip_suffix('"')).unwrap_or(cell).to_owned()
    };
    let cells: Vec<String> = line.split(',').map(unquoted).collect();
    let [name, after, at, check] = cells.as_slice() else { return None };
    let sound = checksum(&format!("{name},{after},{at}")) == *check && !name.is_empty();
    let after = after.parse().ok().filter(|_| sound)?;
    Some(StoredTerm {
        name: TermName::new(name.as_str()),
        after: MessageId::new(after),
        at: at.parse().ok()?,
    })
}

fn checksum(cells: &str) -> String {
    format!("x{:08x}", crc32fast::hash(cells.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::simulated::{Faults, SimulatedDisk};

    fn terms(count: u64) -> Vec<StoredTerm> {
        let at = Timestamp::from_millis(1_795_284_321_311);
        (0..count).map(|n| fresh(MessageId::new(n * 10), at).expect("random numbers")).collect()
    }

    #[test]
    fn what_was_written_is_read() {
        let disk = SimulatedDisk::new(1);
        assert!(read(&*disk.root()).expect("nothing is no fault").terms.is_empty());
        let all = terms(3);
        write(&*disk.root(), &all).expect("space");
        let found = read(&*disk.root()).expect("our own file");
        assert_eq!((found.terms, found.damaged_line), (all.clone(), None));
        let by_hand = encode(&all)
            .replace('\n', "\r\n")
            .replace(&format!(",{}", all[2].at), ",\"2026-11-21T18:05:21.311Z\"");
        assert_eq!(decode(by_hand.as_bytes()).terms, all, "another program has written it");
    }

    #[test]
    fn a_changed_byte_makes_no_other_term_and_costs_the_rows_up_to_it() {
        let all = terms(3);
        let text = encode(&all).into_bytes();
        for at in HEADER.len() + 1..text.len() {
            for change in [1, 0x20, 0x80] {
                let mut changed = text.clone();
                changed[at] ^= change;
                let found = decode(&changed);
                assert!(all.ends_with(&found.terms), "byte {at}: {found:?}");
                assert!(found.terms.len() < 3 && found.damaged_line.is_some(), "byte {at}");
            }
        }
    }

    /// A server that dies at any step of a start, is killed or loses its power, four times in a row: a term that
    /// was named to anybody is known ever after, and no start finds damage.
    #[test]
    fn a_term_that_was_named_outlives_every_later_crash() {
        const LIVES: usize = 4;
        // Each digit is how one life goes: whole, or up to a change; every other one ends by a power cut.
        const WAYS: u64 = 12;
        for case in 0..WAYS.pow(LIVES as u32) {
            let mut disk = SimulatedDisk::new(case);
            let mut named: Vec<StoredTerm> = Vec::new();
            for life in 0..LIVES {
                let way = case / WAYS.pow(life as u32) % WAYS;
                disk.begin(Faults { dies_at_change: (way > 1).then(|| way / 2 - 1), ..Faults::default() });
                let at = Timestamp::from_millis(life as i64);
                let present = fresh(MessageId::new(life as u64), at).expect("random numbers");
                if let Ok(found) = read(&*disk.root()) {
                    assert_eq!(found.damaged_line, None, "case {case}");
                    let mut known = found.terms.iter();
                    assert!(named.iter().all(|term| known.any(|it| it == term)), "case {case}: {found:?}");
                    let all: Vec<_> = found.terms.into_iter().chain([present.clone()]).collect();
                    if write(&*disk.root(), &all).is_ok() {
                        named.push(present);
                    }
                } else {
                    assert!(disk.is_dead(), "case {case}");
                }
                disk = if way.is_multiple_of(2) {
                    disk.after_kill()
                } else {
                    disk.after_power_cut(case + life as u64)
                };
            }
        }
    }

    #[test]
    fn a_folder_in_its_place_is_a_sentence() {
        let disk = SimulatedDisk::new(1);
        disk.root().folder(FILE_NAME).expect("a folder in it");
        let error = read(&*disk.root()).expect_err("no file").to_string();
        assert!(error.contains("terms.txt could not be read"), "{error}");
    }
}
