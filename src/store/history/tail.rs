//! The end of a file that is about to be written: it has to be the end of a line, with nothing missing before.
//!
//! A crash may leave a part of a line, and a power cut may leave anything, behind what was last forced to the
//! disk. That is *set aside* in `YYYY-MM.torn`, before it is cut off. A whole row that merely lacks its newline
//! gets one.
//!
//! A power cut may also lose an earlier page of the last batch and keep a later one. There is a *hole* then:
//! zeros, up to where a sector begins. The rows behind it look whole, but were never acknowledged, and what
//! their `prev` names is gone; they are set aside with the hole. Zeros elsewhere are damage like any other.

use std::io;

use super::row::{HEADER, Line, LineReader, MAX_LINE_BYTES, RowFault};
use super::salvage::{times, whole_rows};
use super::segment::{Lines, Segment};
use crate::disk::append::{AppendFile, MAX_UNSYNCED_BYTES};
use crate::disk::{Access, File, FileKind, Folder};
use crate::model::Timestamp;

/// Copied or searched at once, in bytes.
const BLOCK_BYTES: usize = 64 * 1024;
/// The smallest piece that a disk writes whole, in bytes: lost pages end at multiples of it.
const SECTOR_BYTES: u64 = 512;
/// The byte order mark that some editors put at the start of a file.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

/// What was set aside.
pub(super) struct Unfinished {
    /// Where it began.
    pub(super) from: u64,
    /// What was wrong with it.
    pub(super) why: RowFault,
}

/// Opens the file `name` for appending rows, made or mended as needed. Also returns what was set aside.
pub(super) fn open_mended(folder: &dyn Folder, name: &str) -> io::Result<(AppendFile, Option<Unfinished>)> {
    let mut file = AppendFile::open(folder, name, HEADER.as_bytes())?;
    let unfinished = match find_hole(&file)? {
        Some(from) => Some((from, RowFault::Hole)),
        None => find_torn_line(&mut file)?.map(|from| (from, RowFault::Torn)),
    };
    let Some((from, why)) = unfinished else { return Ok((file, None)) };
    set_aside(folder, name, &file, from)?;
    file.cut(from)?;
    if file.len() == 0 {
        // Not even the header was whole.
        file = AppendFile::open(folder, name, HEADER.as_bytes())?;
    } else if !ends_a_line(&file)? {
        file.append(b"\n")?;
        file.sync()?;
    }
    Ok((file, Some(Unfinished { from, why })))
}

// ---------------------------------------------------------------- a last line that is not whole

/// Where the last line stops to be a whole row. A whole one without newline gets one.
fn find_torn_line(file: &mut AppendFile) -> io::Result<Option<u64>> {
    let start = line_start(&**file.file(), file.len())?;
    let length = usize::try_from(file.len() - start).unwrap_or(usize::MAX);
    if length == 0 {
        return Ok(None);
    }
    let mut line = vec![0; length.min(MAX_LINE_BYTES)];
    file.file().read_exact_at(&mut line, start)?;
    let kept = whole_part(&line, start == 0, length == line.len());
    if kept < length {
        return Ok(Some(start + kept as u64));
    }
    file.append(b"\n")?;
    file.sync()?;
    Ok(None)
}

/// How many bytes of a last line without newline are to be kept: up to the end of the last whole row (or header).
fn whole_part(line: &[u8], first: bool, all: bool) -> usize {
    let mut reader = LineReader::new();
    let text = if first { line.strip_prefix(BOM).unwrap_or(line) } else { line };
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if all && reader.read(text).is_ok() {
        return line.len();
    }
    whole_rows(&mut reader, line).last().map_or(0, |row| row.end)
}

fn ends_a_line(file: &AppendFile) -> io::Result<bool> {
    let mut last = [0];
    file.file().read_exact_at(&mut last, file.len() - 1)?;
    Ok(last == *b"\n")
}

/// The offset behind the last newline before `end`.
fn line_start(file: &dyn File, mut end: u64) -> io::Result<u64> {
    let mut block = vec![0; BLOCK_BYTES];
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES as u64);
        let part = &mut block[..(end - start) as usize];
        file.read_exact_at(part, start)?;
        if let Some(at) = memchr::memrchr(b'\n', part) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

// ---------------------------------------------------------------- a hole

/// Where that begins which a hole in the last batch makes worthless: behind the last whole row before it.
fn find_hole(file: &AppendFile) -> io::Result<Option<u64>> {
    let start = file.len().saturating_sub(MAX_UNSYNCED_BYTES as u64);
    let mut tail = vec![0; (file.len() - start) as usize];
    file.file().read_exact_at(&mut tail, start)?;
    let mut searched = 0;
    while let Some(zero) = memchr::memchr(0, &tail[searched..]).map(|at| searched + at) {
        let zeros = tail[zero..].iter().take_while(|byte| **byte == 0).count();
        let end = zero + zeros;
        let line = memchr::memrchr(b'\n', &tail[..zero]).map_or(0, |newline| newline + 1);
        let cut = &tail[line..zero];
        let ends_a_sector = (start + end as u64).is_multiple_of(SECTOR_BYTES);
        if ends_a_sector && is_one_batch(cut, &tail[end..]) {
            let whole = whole_rows(&mut LineReader::new(), cut).last().map_or(0, |row| row.end);
            return Ok(Some(start + (line + whole) as u64));
        }
        searched = end;
    }
    Ok(None)
}

/// Whether the row that a hole has cut and the whole rows in the lines behind the hole are of one batch, as far
/// as can be seen: all rows of a batch have one time. Where there is none, nothing sound stands behind the hole.
fn is_one_batch(cut: &[u8], behind: &[u8]) -> bool {
    let mut reader = LineReader::new();
    let of_cut = times(cut).last().map(|at| &cut[at..]);
    let mut batch: Option<Vec<u8>> = None;
    for line in behind.split(|byte| *byte == b'\n') {
        if let Ok(Line::Row(row)) = reader.read(line) {
            let at = row.raw_at();
            if batch.as_ref().is_some_and(|batch| batch != at)
                || of_cut.is_some_and(|cut| !cut.starts_with(at))
            {
                return false;
            }
            batch.get_or_insert_with(|| at.to_owned());
        }
    }
    true
}

// ---------------------------------------------------------------- setting aside

/// Copies everything from the byte `from` on to the `.torn` file, and forces that to the disk.
fn set_aside(folder: &dyn Folder, name: &str, file: &AppendFile, from: u64) -> io::Result<()> {
    let mut torn = AppendFile::open(folder, &torn_name(name), b"")?;
    let note = format!("# {}: {} bytes from byte {from} of {name}\n", Timestamp::now(), file.len() - from);
    torn.append(note.as_bytes())?;
    let mut block = vec![0; BLOCK_BYTES];
    let mut at = from;
    while at < file.len() {
        let part = &mut block[..(file.len() - at).min(BLOCK_BYTES as u64) as usize];
        file.file().read_exact_at(part, at)?;
        torn.append(part)?;
        at += part.len() as u64;
    }
    torn.append(b"\n")?;
    Ok(torn.sync()?)
}

fn torn_name(name: &str) -> String {
    format!("{}.torn", name.strip_suffix(".csv").unwrap_or(name))
}

/// How many bytes were set aside at the end of the file `name`, which is still where its rows end: `len`. Nobody has
/// said anything behind them since, and the ids that they may have had are still to be passed over.
pub(super) fn set_aside_at(folder: &dyn Folder, name: &str, len: u64) -> io::Result<u64> {
    let torn_name = torn_name(name);
    match folder.stat(&torn_name)? {
        Some(found) if found.kind == FileKind::File => {}
        _ => return Ok(0),
    }
    let segment = Segment::new(&torn_name, folder.open(&torn_name, Access::Read)?);
    let mut lines = Lines::new(&segment);
    let mut bytes = 0;
    while let Some(line) = lines.next()? {
        // It may have got a newline since, or a header.
        let ends_there = |from: u64| from.max(HEADER.len() as u64).saturating_add(1) >= len;
        if let Some((count, _)) = read_note(line.bytes).filter(|(_, from)| ends_there(*from)) {
            bytes += count;
        }
    }
    Ok(bytes)
}

/// How many bytes a note is about, and from which one on.
fn read_note(line: &[u8]) -> Option<(u64, u64)> {
    let note = std::str::from_utf8(line).ok()?.strip_prefix("# ")?;
    let (count, from) = note.split_once(": ")?.1.split_once(" bytes from byte ")?;
    let from = from.split_once(' ')?.0;
    Some((count.parse::<u32>().ok()?.into(), from.parse().ok()?))
}
