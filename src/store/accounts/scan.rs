//! Reading the account file: telling its rows from what has got into it, and the newest from older ones.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::SPARE_ROWS;
use super::rejected::RejectedRow;
use super::rows::{self, AccountRowFault, BoundRow, Header, Version, indexes_in};
use crate::model::AccountsByRow;
use crate::secrets::seal::Sealer;

/// Bytes that are no text in a line that somebody has changed by accident, at most; a crash leaves more.
const MAX_STRANGE_BYTES: usize = 1;

/// What is in the file, before it is known which version of it this is.
pub(super) struct ScannedAccounts<'a> {
    pub(super) header: Option<Header>,
    /// The lines but a first one that is a header, with their numbers.
    pub(super) lines: Vec<(usize, &'a [u8])>,
    /// The lines in the same order, those that this key bound together.
    rows: Vec<Result<Bound<'a>, AccountRowFault>>,
    /// Whether the bytes are exactly what this program writes, as far as line ends go.
    plain: bool,
    /// Whether the last line is finished.
    is_finished: bool,
}

/// What is kept of a sound row until it is known which are the newest.
#[derive(Debug, Clone, Copy)]
struct Bound<'a> {
    row: u64,
    version: Version,
    epoch: &'a str,
}

impl<'a> Bound<'a> {
    fn of(sealer: &Sealer, line: &'a [u8]) -> Result<Self, AccountRowFault> {
        let BoundRow { row, version, epoch, .. } = BoundRow::parse(sealer, line)?;
        Ok(Bound { row, version, epoch })
    }
}

/// What the file holds.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    pub(super) accounts: AccountsByRow,
    /// The lines that are none of it, in their order.
    pub(super) rejected: Vec<RejectedRow>,
    /// How many of them held an account for all that is known.
    pub(super) lost: usize,
    /// The largest account number.
    pub(super) highest_row: u64,
    /// The newest change.
    pub(super) change: u64,
}

impl<'a> ScannedAccounts<'a> {
    pub(super) fn read(sealer: &Sealer, bytes: &'a [u8]) -> Self {
        let mut header = None;
        let (mut lines, mut rows) = (Vec::new(), Vec::new());
        let is_finished = bytes.last() == Some(&b'\n');
        let mut plain = is_finished && !bytes.starts_with(b"\xef\xbb\xbf");
        for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let stripped = line.strip_suffix(b"\r").unwrap_or(line);
            plain &= stripped.len() == line.len();
            let stripped = if at == 0 {
                header = Header::parse(stripped);
                stripped.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stripped)
            } else {
                stripped
            };
            if stripped.is_empty() || header.is_some() && at == 0 {
                continue;
            }
            let is_header = at == 0 && rows::looks_like_header(stripped);
            let row = Bound::of(sealer, stripped);
            if row.is_ok() && !is_header {
                lines.push((at + 1, stripped));
                rows.push(row);
                continue;
            }
            let pieces = pieces_of(sealer, stripped);
            plain &= pieces.len() == 1 && !is_header;
            for piece in pieces.into_iter().skip(usize::from(is_header)) {
                lines.push((at + 1, piece));
                rows.push(Bound::of(sealer, piece));
            }
        }
        ScannedAccounts { header, lines, rows, plain, is_finished }
    }

    /// How many lines this key bound together, whatever version of the file they are of.
    pub(super) fn sound_rows(&self) -> usize {
        self.rows.iter().filter(|row| row.is_ok()).count()
    }

    /// Whether nothing has to be written anew: as many rows as there may be, in our own hand.
    pub(super) fn is_tidy(&self, key_id: &str, sorted: &Sorted) -> bool {
        let is_ours =
            |header: &Header| header.key_id == key_id && header.epoch == self.epoch() && !header.is_old;
        self.plain
            && sorted.rejected.is_empty()
            && self.lines.len() <= 2 * sorted.accounts.len() + SPARE_ROWS
            && self.header.as_ref().is_some_and(is_ours)
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

    pub(super) fn sort_out(&self, sealer: &Sealer) -> Sorted {
        let mut sorting = Sorting::new(self, sealer);
        sorting.find_newest(&self.epoch());
        sorting.look_at_damage();
        sorting.open_newest();
        sorting.finish()
    }
}

/// Finding out what each line is.
struct Sorting<'f, 'a> {
    found: &'f ScannedAccounts<'a>,
    sealer: &'f Sealer,
    faults: HashMap<usize, (AccountRowFault, Vec<String>)>,
    /// Where the newest row of each account is, by its number.
    newest: HashMap<u64, usize>,
    /// Lines from here on are not known to have been on the disk.
    unsynced_from: usize,
    sorted: Sorted,
}

impl<'f, 'a> Sorting<'f, 'a> {
    fn new(found: &'f ScannedAccounts<'a>, sealer: &'f Sealer) -> Self {
        let highest_row = found.header.as_ref().map_or(0, |header| header.highest_row);
        Sorting {
            found,
            sealer,
            faults: HashMap::new(),
            newest: HashMap::new(),
            unsynced_from: 0,
            sorted: Sorted { highest_row, ..Sorted::default() },
        }
    }

    fn reject(&mut self, at: usize, fault: AccountRowFault, keeps: Vec<String>) {
        self.faults.insert(at, (fault, keeps));
    }

    fn find_newest(&mut self, epoch: &str) {
        let mut synced = 0;
        for (at, row) in self.found.rows.iter().enumerate() {
            let Ok(row) = row else { continue };
            self.sorted.highest_row = self.sorted.highest_row.max(row.row);
            if row.epoch != epoch {
                let keeps = indexes_in(self.sealer, self.found.lines[at].1);
                self.sorted.lost += 1;
                self.reject(at, AccountRowFault::OtherEpoch, keeps);
                continue;
            }
            synced = synced.max(row.version.synced);
            self.sorted.change = self.sorted.change.max(row.version.change);
            let before = self.newest.get(&row.row).map(|before| (*before, self.found.rows[*before]));
            match before {
                Some((_, Ok(before))) if before.version.change == row.version.change => {
                    self.reject(at, AccountRowFault::Twice, Vec::new());
                }
                Some((_, Ok(before))) if before.version.change > row.version.change => {
                    self.reject(at, AccountRowFault::Older, Vec::new());
                }
                _ => drop(self.newest.insert(row.row, at)),
            }
        }
        let is_synced = |row: &Result<Bound<'_>, AccountRowFault>| {
            row.is_ok_and(|row| row.epoch == epoch && row.version.change <= synced && synced > 0)
        };
        self.unsynced_from = self.found.rows.iter().rposition(is_synced).map_or(0, |at| at + 1);
    }

    /// A damaged line may have been the newest row of an account: an older one must not stand for it.
    fn look_at_damage(&mut self) {
        let mut rows_of: Option<HashMap<String, Vec<u64>>> = None;
        let mut blocked = HashSet::new();
        let mut line_before = None;
        for (at, row) in self.found.rows.iter().enumerate() {
            let Err(fault) = row else { continue };
            let line = self.found.lines[at].1;
            let follows: Option<usize> = line_before.replace(at);
            if at >= self.unsynced_from && self.is_left_by_a_crash(at) {
                self.reject(at, *fault, Vec::new());
                continue;
            }
            self.sorted.lost += 1;
            let mut keeps = indexes_in(self.sealer, line);
            if let Some(before) = follows.filter(|before| before + 1 == at) {
                // A newline may have got into a row.
                let whole = [self.found.lines[before].1, b"\n", line].concat();
                keeps.extend(indexes_in(self.sealer, &whole));
            }
            let rows_of = rows_of.get_or_insert_with(|| self.rows_by_index());
            for row in keeps.iter().filter_map(|index| rows_of.get(index)).flatten() {
                if self.newest.get(row).is_some_and(|newest| *newest < at) {
                    blocked.insert(*row);
                }
            }
            self.reject(at, *fault, keeps);
        }
        for row in blocked {
            if let Some(at) = self.newest.remove(&row) {
                let keeps = indexes_in(self.sealer, self.found.lines[at].1);
                self.reject(at, AccountRowFault::NewerDamaged, keeps);
            }
        }
    }

    fn is_left_by_a_crash(&self, at: usize) -> bool {
        // The header is there before any row is appended.
        let has_header = self.found.lines.first().is_some_and(|(number, _)| *number > 1);
        let line = self.found.lines[at].1;
        // One that was cut off lacks its end, and another program may leave out the last newline.
        let is_cut_off =
            at + 1 == self.found.lines.len() && !self.found.is_finished && !rows::has_an_end(line);
        let strange = |byte: &&u8| !matches!(**byte, b'\t' | b' '..=b'~');
        let is_strange = line.iter().filter(strange).count() > MAX_STRANGE_BYTES;
        has_header && (is_strange || is_cut_off)
    }

    fn rows_by_index(&self) -> HashMap<String, Vec<u64>> {
        let mut rows_of: HashMap<String, Vec<u64>> = HashMap::new();
        for (row, at) in &self.newest {
            if let Ok(bound) = BoundRow::parse(self.sealer, self.found.lines[*at].1) {
                rows_of.entry(bound.index().to_owned()).or_default().push(*row);
            }
        }
        rows_of
    }

    fn open_newest(&mut self) {
        let mut newest: Vec<usize> = self.newest.values().copied().collect();
        newest.sort_unstable();
        let mut names = HashSet::new();
        for at in newest {
            let line = self.found.lines[at].1;
            let bound = BoundRow::parse(self.sealer, line);
            if bound.as_ref().is_ok_and(BoundRow::is_removal) {
                continue;
            }
            match bound.and_then(|bound| bound.account(self.sealer)) {
                Ok(account) if !names.insert(account.name.clone()) => {
                    self.reject(at, AccountRowFault::Twice, Vec::new());
                }
                Ok(account) => drop(self.sorted.accounts.insert(account.row, Arc::new(account))),
                Err(fault) => {
                    self.sorted.lost += 1;
                    self.reject(at, fault, indexes_in(self.sealer, line));
                }
            }
        }
    }

    fn finish(mut self) -> Sorted {
        let serving: HashSet<String> = if self.faults.is_empty() {
            HashSet::new()
        } else {
            let accounts = self.sorted.accounts.values();
            accounts.map(|account| self.sealer.index(account.name.as_str())).collect()
        };
        let mut rejected: Vec<RejectedRow> = self
            .faults
            .into_iter()
            .map(|(at, (fault, mut keeps))| {
                keeps.retain(|index| !serving.contains(index));
                keeps.dedup();
                RejectedRow { line: self.found.lines[at].0, at, fault, keeps }
            })
            .collect();
        rejected.sort_unstable_by_key(|row| row.at);
        self.sorted.rejected = rejected;
        self.sorted
    }
}

/// The sound rows in a line, and what stands before them: where the newline between two was changed, say. One
/// piece, the whole, when there are none.
fn pieces_of<'a>(sealer: &Sealer, line: &'a [u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut end = line.len();
    let marks: Vec<usize> =
        line.windows(4).enumerate().filter(|(_, w)| *w == b",v1:").map(|(at, _)| at).collect();
    for mark in marks.into_iter().rev() {
        let digits = line[..mark].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        // What the newline was changed to may be a digit, too.
        let mut places = (mark - digits..mark).flat_map(|start| [(start, end), (start, end - 1)]);
        let is_sound = |(start, end): &(usize, usize)| {
            start < end && BoundRow::parse(sealer, &line[*start..*end]).is_ok()
        };
        if let Some((start, stop)) = places.find(is_sound) {
            pieces.push(&line[start..stop]);
            end = start.saturating_sub(1);
        }
    }
    if end > 0 || pieces.is_empty() {
        pieces.push(&line[..end]);
    }
    pieces.reverse();
    pieces
}

/// Puts the first digit of a row back where a crash has left a zero byte in its place: the rest of the row is
/// there, and its seal tells which digit it was. Returns whether there was one.
pub(super) fn repair(sealer: &Sealer, bytes: &mut [u8]) -> bool {
    let mut repaired = false;
    let mut start = 0;
    while start < bytes.len() {
        let end = bytes[start..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| start + at);
        if bytes[start..end].first() == Some(&0) && bytes[start..end].get(1) != Some(&0) {
            let is_sound = |digit: u8, bytes: &mut [u8]| {
                bytes[start] = digit;
                BoundRow::parse(sealer, &bytes[start..end]).is_ok()
            };
            match (b'0'..=b'9').find(|digit| is_sound(*digit, bytes)) {
                Some(_) => repaired = true,
                None => bytes[start] = 0,
            }
        }
        start = end + 1;
    }
    repaired
}
