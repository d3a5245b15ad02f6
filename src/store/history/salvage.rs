//! Finding the whole rows again in a line that is none: the newline before or behind them was damaged, or
//! something was written over their neighbours.
//!
//! What looks like a row may also be a part of a text: somebody said it, and then a byte rotted. So no text has
//! in its cell what every row has, a time as rows write it ([`hide_times`]), and none can be made of a cell.
//! Texts from before format 2 may have one. So of what stands inside of a line only that counts which has no
//! open quote before it and behind it, as a part of a text has, or which fills the line to its end.

use std::borrow::Cow;
use std::ops::Range;

use super::row::{Line, LineReader, parse_checksum};

/// The longest row that is looked for, in bytes: what we write is shorter.
const MAX_ROW_BYTES: usize = 16 * 1024;
/// Looked at in one line, in bytes, so that nothing in it makes the search long.
const MAX_SEARCHED_BYTES: usize = 64 << 20;
/// The length of a time as rows write it, `2026-11-21T18:05:21.311Z`.
const TIME_BYTES: usize = 24;
/// Where its `T` stands.
const TIME_T: usize = 10;
/// The most digits that an id has.
const MAX_ID_DIGITS: usize = 16;

/// A row that was found in a line.
struct WholeRow {
    at: Range<usize>,
    /// Whether it stands outside of quotes, as far as can be seen.
    outside: bool,
}

/// Where whole rows stand in a line that is none, in their order.
pub(super) fn whole_rows(reader: &mut LineReader, line: &[u8]) -> Vec<Range<usize>> {
    let mut search = Search { reader, left: MAX_SEARCHED_BYTES };
    let mut found: Vec<WholeRow> = search.row_at(line, 0).into_iter().collect();
    let mut end = found.last().map_or(0, |row| row.at.end);
    let (mut counted, mut open) = (end, false);
    for time in times(line) {
        if time < end {
            continue;
        }
        open ^= quotes(&line[counted..time]) % 2 == 1;
        counted = time;
        // The byte before the id may be a damaged one that looks like a digit.
        let starts = row_starts(line, time).filter(|start| *start >= end);
        let Some(mut row) = starts.into_iter().find_map(|start| search.row_at(line, start)) else { continue };
        row.outside = !open;
        end = row.at.end;
        if row.outside {
            // Its quotes are closed at its end.
            counted = end;
        }
        found.push(row);
    }
    believed(line, found)
}

/// The rows that are no part of a text.
fn believed(line: &[u8], found: Vec<WholeRow>) -> Vec<Range<usize>> {
    let mut rows = Vec::with_capacity(found.len());
    // Where the rows begin that fill the line to its end, with a damaged byte between two of them at most.
    let mut filled_from = line.len();
    for WholeRow { at, outside } in found.into_iter().rev() {
        let fills = at.end + 1 >= filled_from;
        if fills {
            filled_from = at.start;
        }
        let starts_line = at.start == 0;
        if fills || starts_line || (outside && quotes(&line[at.end..]).is_multiple_of(2)) {
            rows.push(at);
        }
    }
    rows.reverse();
    rows
}

struct Search<'a> {
    reader: &'a mut LineReader,
    /// How many bytes may still be looked at.
    left: usize,
}

impl Search<'_> {
    /// The row that begins at `start`.
    fn row_at(&mut self, line: &[u8], start: usize) -> Option<WholeRow> {
        let line = &line[start..line.len().min(start + MAX_ROW_BYTES)];
        for at in memchr::memchr_iter(b'x', line) {
            let Some(end) = row_end(line, at) else { continue };
            self.left = self.left.checked_sub(end)?;
            if matches!(self.reader.read(&line[..end]), Ok(Line::Row(_))) {
                return Some(WholeRow { at: start..start + end, outside: true });
            }
        }
        None
    }
}

fn quotes(text: &[u8]) -> usize {
    memchr::memchr_iter(b'"', text).count()
}

/// Where times stand in a line that have a comma on both sides.
pub(super) fn times(line: &[u8]) -> impl Iterator<Item = usize> {
    let behind_comma = memchr::memchr_iter(b',', line).map(|comma| comma + 1);
    behind_comma.filter(|at| is_time(&line[*at..]) && line.get(at + TIME_BYTES) == Some(&b','))
}

/// Whether a text begins like a time as rows write it.
fn is_time(text: &[u8]) -> bool {
    let Some(time) = text.get(..TIME_BYTES) else { return false };
    let separators = [(4, b'-'), (7, b'-'), (TIME_T, b'T'), (13, b':'), (16, b':'), (19, b'.'), (23, b'Z')];
    separators.iter().all(|(at, byte)| time[*at] == *byte)
}

/// Whether a cell is a time as rows write it.
pub(super) fn is_time_cell(cell: &[u8]) -> bool {
    cell.len() == TIME_BYTES && is_time(cell)
}

/// Escapes the `T` of each time in a cell, so that no part of it can ever be taken for a row.
pub(super) fn hide_times(cell: Cow<'_, str>) -> Cow<'_, str> {
    let bytes = cell.as_bytes();
    let hidden: Vec<usize> = memchr::memchr_iter(b'T', bytes)
        .filter(|at| at.checked_sub(TIME_T).is_some_and(|start| is_time(&bytes[start..])))
        .collect();
    if hidden.is_empty() {
        return cell;
    }
    let mut escaped = String::with_capacity(cell.len() + 5 * hidden.len());
    let mut copied = 0;
    for at in hidden {
        escaped.push_str(&cell[copied..at]);
        escaped.push_str("\\u{54}");
        copied = at + 1;
    }
    escaped.push_str(&cell[copied..]);
    Cow::Owned(escaped)
}

/// Where the row can begin whose time stands at `time`: at each digit of its id.
fn row_starts(line: &[u8], time: usize) -> Range<usize> {
    let digits = |end: usize| {
        let digits = line[..end].iter().rev().take_while(|byte| byte.is_ascii_digit());
        digits.take(MAX_ID_DIGITS).count()
    };
    let prev_end = time - 1;
    let prev_start = prev_end - digits(prev_end);
    match prev_start.checked_sub(1) {
        Some(id_end) if prev_start < prev_end && line[id_end] == b',' => id_end - digits(id_end)..id_end,
        _ => 0..0,
    }
}

/// Where a row would end whose checksum begins at `at`.
fn row_end(line: &[u8], at: usize) -> Option<usize> {
    let end = at + 9;
    parse_checksum(line.get(at..end)?)?;
    match line[..at] {
        [.., b','] => Some(end),
        [.., b',', b'"'] if line.get(end) == Some(&b'"') => Some(end + 1),
        _ => None,
    }
}
