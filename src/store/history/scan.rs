//! Opening: every row of every file is read once, checked, and put into the index.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::page::RowReader;
use super::postings::Posting;
use super::row::{Fields, HEADER, Line, LineReader, MIN_LINE_BYTES, RowFault};
use super::salvage::whole_rows;
use super::segment::{Damage, DamageList, Lines, Place, Position, Segment};
use super::tail::{self, BOM};
use super::{HistoryError, HistoryIndex, HistoryOptions, HistoryWriter, Month, Opened};
use crate::disk::{Access, FileKind, Folder};
use crate::model::{MAX_MESSAGE_ID, MessageId, Timestamp};

/// How far above the one before an id may lie: ids are passed over when batches are refused, and at a start
/// without fsync. So many are passed over when the rows behind the newest whole one are damaged: an id is the
/// last thing to be believed of a damaged row.
const MAX_ID_GAP: u64 = 1 << 22;

/// What has been read so far.
pub(super) struct Scan {
    index: HistoryIndex,
    recent: Recent,
    damage: DamageList,
    ids: Ids,
}

impl Scan {
    pub(super) fn new(options: HistoryOptions) -> Self {
        Scan {
            index: HistoryIndex::default(),
            recent: Recent::new(options),
            damage: DamageList::default(),
            ids: Ids::default(),
        }
    }

    /// Takes note of what was set aside.
    pub(super) fn set_aside(&mut self, set_aside: Damage) {
        self.damage.push(set_aside);
    }

    /// Reads one file.
    pub(super) fn read(&mut self, folder: &dyn Folder, month: Month) -> Result<(), HistoryError> {
        let name = month.to_string();
        let failed = |error| HistoryError::io("read", folder.path().join(&name), error);
        let file = folder.open(&name, Access::Read).map_err(failed)?;
        let segment = Segment::new(&name, file);
        let (mut lines, mut reader) = (Lines::new(&segment), LineReader::new());
        let mut position = Position { segment: Arc::clone(&segment), offset: 0, len: 0 };
        while let Some(line) = lines.next().map_err(failed)? {
            position.offset = line.offset;
            let mut faults = Vec::new();
            if line.skipped_bytes == 0 {
                self.line(&mut reader, line.bytes, &mut position, &mut faults);
            } else {
                self.ids.lost(line.skipped_bytes);
                self.damaged(&mut reader, line.bytes, RowFault::TooLong, &mut position, &mut faults);
            }
            for why in faults {
                self.damage.push(segment.damage(Place::Line(line.number), why));
            }
        }
        match tail::set_aside_at(folder, &name, lines.read_so_far()).map_err(failed)? {
            0 => {}
            bytes => self.ids.lost(bytes),
        }
        Ok(())
    }

    /// Takes in the row of one line, or, when it is none, the rows that stand whole in it. Adds what is wrong
    /// with it to `faults`.
    fn line(
        &mut self,
        reader: &mut LineReader,
        line: &[u8],
        position: &mut Position,
        faults: &mut Vec<RowFault>,
    ) {
        let mut rest = line;
        if position.offset == 0 {
            rest = skip(rest, BOM.len() * usize::from(rest.starts_with(BOM)), position);
        }
        rest = rest.strip_suffix(b"\r").unwrap_or(rest);
        if rest.is_empty() {
            return;
        }
        let why = match reader.read(rest) {
            Ok(Line::Header) => return,
            Ok(Line::Row(fields)) => {
                position.len = rest.len() as u32;
                return faults.extend(self.row(&fields, position).err());
            }
            Err(why) => why,
        };
        let header = HEADER.trim_end();
        if rest.starts_with(header.as_bytes()) {
            rest = skip(rest, header.len(), position);
        }
        self.damaged(reader, rest, why, position, faults);
    }

    /// Takes in the rows that stand whole in what is damaged, and counts the ids of those that do not.
    fn damaged(
        &mut self,
        reader: &mut LineReader,
        line: &[u8],
        why: RowFault,
        position: &mut Position,
        faults: &mut Vec<RowFault>,
    ) {
        let mut fault = |ids: &mut Ids, between: usize| match between {
            0 | 1 => faults.push(RowFault::LineEnd),
            bytes => {
                ids.lost(bytes as u64);
                faults.push(why);
            }
        };
        let (offset, mut end) = (position.offset, 0);
        let mut not_taken = Vec::new();
        for at in whole_rows(reader, line) {
            if at.start > 0 {
                fault(&mut self.ids, at.start - end);
            }
            (position.offset, position.len) = (offset + at.start as u64, at.len() as u32);
            if let Ok(Line::Row(fields)) = reader.read(&line[at.clone()]) {
                not_taken.extend(self.row(&fields, position).err());
            }
            end = at.end;
        }
        if end < line.len() {
            fault(&mut self.ids, line.len() - end);
        }
        faults.append(&mut not_taken);
    }

    fn row(&mut self, fields: &Fields<'_>, position: &Position) -> Result<(), RowFault> {
        let id = fields.id()?;
        if self.ids.newest.is_some_and(|newest| id <= newest) {
            return Err(RowFault::NotAscending);
        }
        // Whatever is in the other fields, this id is used up.
        self.ids.found(id);
        let (room, from, to) = (fields.room()?, fields.from()?, fields.to()?);
        self.index.record_names(id, &room, &from, &to, position)?;
        if fields.has_key() && self.recent.is_recent(fields.raw_at()) {
            self.recent.push(&from, id, position);
        }
        Ok(())
    }

    /// Puts together what was read.
    pub(super) fn finish(mut self, writer: HistoryWriter) -> Result<Opened, HistoryError> {
        let mut recent_keyed = Vec::new();
        let mut reader = RowReader::new();
        for (segment, posting) in self.recent.into_sorted() {
            match reader.read(&segment, posting) {
                Ok(row) => recent_keyed.push(row),
                Err(RowFault::Unreadable(errno)) => {
                    let path = writer.folder().path().join(segment.name());
                    return Err(HistoryError::io("read", path, errno.into()));
                }
                Err(why) => self.damage.push(segment.damage(Place::Byte(posting.offset), why)),
            }
        }
        Ok(Opened { index: self.index, writer, last_id: self.ids.last(), recent_keyed, damage: self.damage })
    }
}

/// The largest id of a whole row in a file of rows. It is read whole.
pub(super) fn largest_id(folder: &dyn Folder, month: Month) -> Result<Option<MessageId>, HistoryError> {
    let nothing_recent = HistoryOptions { now: Timestamp::default(), key_seconds: 0, keys_per_account: 0 };
    let mut scan = Scan::new(nothing_recent);
    scan.read(folder, month)?;
    Ok(scan.ids.newest)
}

/// Goes `count` bytes on in a line, of which `position` is the start.
fn skip<'a>(line: &'a [u8], count: usize, position: &mut Position) -> &'a [u8] {
    position.offset += count as u64;
    &line[count..]
}

/// The months of which there is a file, in their order. What has such a name but is no regular file is
/// reported, and neither followed nor read.
pub(super) fn months(folder: &dyn Folder, scan: &mut Scan) -> Result<Vec<Month>, HistoryError> {
    let failed = |error| HistoryError::io("read the folder", folder.path(), error);
    let mut months = Vec::new();
    for name in folder.list().map_err(failed)? {
        let Some(month) = Month::of_file(&name) else { continue };
        match folder.stat(&name).map_err(failed)? {
            Some(found) if found.kind == FileKind::File => months.push(month),
            Some(_) => {
                let damage = Damage { file: name.into(), place: Place::File, why: RowFault::NotAFile };
                scan.damage.push(damage);
            }
            None => {}
        }
    }
    months.sort();
    Ok(months)
}

/// How many rows may have been in so many bytes.
fn rows_in(bytes: u64) -> u64 {
    bytes / MIN_LINE_BYTES as u64 + 1
}

/// Which ids were used, or may have been.
#[derive(Default)]
struct Ids {
    newest: Option<MessageId>,
    /// Rows that may have been in the damage since the newest whole row, or in what was set aside there, each
    /// with an id of its own.
    lost: u64,
}

impl Ids {
    fn found(&mut self, id: MessageId) {
        (self.newest, self.lost) = (Some(id), 0);
    }

    fn lost(&mut self, bytes: u64) {
        self.lost += rows_in(bytes);
    }

    /// The largest id that may have been used.
    fn last(&self) -> Option<MessageId> {
        let newest = MessageId::or_zero(self.newest);
        let used = match self.lost {
            0 => newest,
            rows => newest + rows + MAX_ID_GAP,
        };
        MessageId::new(used.min(MAX_MESSAGE_ID))
    }
}

/// The rows whose keys are still to be remembered.
struct Recent {
    /// The earliest time that counts, as rows write it.
    since: String,
    keys_per_account: usize,
    by_account: HashMap<Box<str>, VecDeque<(Arc<Segment>, Posting)>>,
}

impl Recent {
    fn new(options: HistoryOptions) -> Self {
        let window_ms = i64::try_from(options.key_seconds).unwrap_or(i64::MAX).saturating_mul(1_000);
        let since = Timestamp::from_millis(options.now.as_millis().saturating_sub(window_ms));
        Recent {
            since: since.to_string(),
            keys_per_account: options.keys_per_account,
            by_account: HashMap::new(),
        }
    }

    /// Times of one length sort as they are written. Those in the future count, since the clock may have
    /// been set back.
    fn is_recent(&self, at: &[u8]) -> bool {
        at >= self.since.as_bytes()
    }

    fn push(&mut self, from: &str, id: MessageId, position: &Position) {
        if !self.by_account.contains_key(from) {
            self.by_account.insert(from.into(), VecDeque::new());
        }
        let Some(rows) = self.by_account.get_mut(from) else { return };
        let posting = Posting { id: id.get(), offset: position.offset, len: position.len };
        rows.push_back((Arc::clone(&position.segment), posting));
        if rows.len() > self.keys_per_account {
            rows.pop_front();
        }
    }

    fn into_sorted(self) -> Vec<(Arc<Segment>, Posting)> {
        let mut rows: Vec<_> = self.by_account.into_values().flatten().collect();
        rows.sort_by_key(|(_, posting)| posting.id);
        rows
    }
}
