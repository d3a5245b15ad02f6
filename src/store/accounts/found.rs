//! Opening the account file: telling its rows from what has got into it.

use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use super::rows::{self, BoundRow, Header, RowFault};
use super::{Accounts, REJECTED_NAME, RejectedRow, StoreError};
use crate::names::Timestamp;
use crate::secrets::seal::Sealer;
use crate::store::append::sync_dir;

/// What is in the file, before it is known which version of it this is.
pub(super) struct Found<'a> {
    pub(super) header: Option<Header>,
    /// The lines but a first one that is a header, with their numbers.
    pub(super) lines: Vec<(usize, &'a [u8])>,
    /// The lines in the same order, those that this key bound together.
    rows: Vec<Result<BoundRow<'a>, RowFault>>,
    /// Whether the bytes are exactly what this program writes, as far as line ends go.
    plain: bool,
}

impl<'a> Found<'a> {
    pub(super) fn read(sealer: &Sealer, bytes: &'a [u8]) -> Self {
        let mut header = None;
        let mut lines = Vec::new();
        let mut plain = bytes.last() == Some(&b'\n') && !bytes.starts_with(b"\xef\xbb\xbf");
        for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let stripped = line.strip_suffix(b"\r").unwrap_or(line);
            plain &= stripped.len() == line.len();
            if at == 0 {
                header = Header::parse(stripped);
            }
            let is_header = at == 0 && (header.is_some() || rows::looks_like_header(stripped));
            if !stripped.is_empty() && !is_header {
                lines.push((at + 1, stripped));
            }
        }
        let rows = lines.iter().map(|(_, line)| BoundRow::parse(sealer, line)).collect();
        Found { header, lines, rows, plain }
    }

    /// Not one of the rows was sealed by our key, and the header does not say that it was ours.
    pub(super) fn is_of_another_key(&self, key_id: &str) -> bool {
        let ours = self.header.as_ref().is_some_and(|header| header.key_id == key_id);
        !ours && !self.rows.is_empty() && self.rows.iter().all(Result::is_err)
    }

    pub(super) fn is_tidy(&self, key_id: &str) -> bool {
        self.plain
            && self
                .header
                .as_ref()
                .is_some_and(|header| header.key_id == key_id && header.epoch == self.epoch())
    }

    /// The version that the file is: the header's word, unless it is damaged and no row is of that version;
    /// then what most rows say.
    fn epoch(&self) -> String {
        let mut votes: HashMap<&str, usize> = HashMap::new();
        for row in self.rows.iter().flatten() {
            *votes.entry(row.epoch).or_default() += 1;
        }
        let header = self.header.as_ref().map(|header| header.epoch.as_str());
        let most = votes.iter().max_by_key(|(epoch, count)| (**count, **epoch)).map(|(epoch, _)| *epoch);
        match (header, most) {
            (Some(header), Some(_)) if votes.contains_key(header) => header.to_owned(),
            (Some(header), None) => header.to_owned(),
            (_, most) => most.unwrap_or_default().to_owned(),
        }
    }

    pub(super) fn sort_out(&self, sealer: &Sealer) -> (Accounts, Vec<RejectedRow>) {
        let epoch = self.epoch();
        let mut accounts = Accounts::new();
        let mut names = HashSet::new();
        let mut rejected = Vec::new();
        for ((line, _), row) in self.lines.iter().zip(&self.rows) {
            let account = match row {
                Err(fault) => Err(*fault),
                Ok(row) if row.epoch != epoch => Err(RowFault::OtherEpoch),
                Ok(row) => row.account(sealer),
            };
            match account {
                Ok(account) if accounts.contains_key(&account.row) || names.contains(&account.name) => {
                    rejected.push(RejectedRow { line: *line, fault: RowFault::Twice });
                }
                Ok(account) => {
                    names.insert(account.name.clone());
                    accounts.insert(account.row, Arc::new(account));
                }
                Err(fault) => rejected.push(RejectedRow { line: *line, fault }),
            }
        }
        (accounts, rejected)
    }
}

/// Appends the rejected lines to `clients.rejected`, on the disk when this returns: they are about to go from
/// `clients.csv`.
pub(super) fn set_aside(
    dir: &Path,
    lines: &[(usize, &[u8])],
    rejected: &[RejectedRow],
) -> Result<(), StoreError> {
    if rejected.is_empty() {
        return Ok(());
    }
    let numbers: HashMap<usize, RowFault> = rejected.iter().map(|row| (row.line, row.fault)).collect();
    let now = Timestamp::now();
    let mut notes = String::new();
    for (number, line) in lines {
        if let Some(fault) = numbers.get(number) {
            notes += &format!("{now} line {number}: {fault}: {}\n", line.escape_ascii());
        }
    }
    let path = dir.join(REJECTED_NAME);
    let write = || {
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        file.write_all(notes.as_bytes())?;
        file.sync_all()?;
        sync_dir(dir)
    };
    write().map_err(|source| StoreError::Io { path: path.clone(), source })
}
