//! Where a row lies: a file that is held open, and an offset in it.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::row::{MAX_LINE_BYTES, RowFault};
use crate::disk::File;

/// Damage that is kept one by one, in entries; the rest is only counted.
const MAX_DAMAGE_KEPT: usize = 1_000;
/// Read at once when a file is read from end to end, in bytes. It holds more than one line.
const BLOCK_BYTES: usize = 4 * MAX_LINE_BYTES;

/// One file of rows, open for reading. It stays readable when its name is taken away or given to another.
#[derive(Debug)]
pub struct Segment {
    name: Box<str>,
    file: Arc<dyn File>,
}

impl Segment {
    pub(super) fn new(name: &str, file: Arc<dyn File>) -> Arc<Self> {
        Arc::new(Segment { name: name.into(), file })
    }

    /// The file's name, without its folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn damage(&self, place: Place, why: RowFault) -> Damage {
        Damage { file: self.name.clone(), place, why }
    }

    /// Reads `buffer.len()` bytes at `offset`.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

/// Where a committed row lies. It holds across the turn of a month.
#[derive(Debug, Clone)]
pub struct Position {
    pub(super) segment: Arc<Segment>,
    /// Of its first byte, from the start of the file.
    pub(super) offset: u64,
    /// Its bytes, without the newline.
    pub(super) len: u32,
}

/// A line that was found damaged. It was left where it is, unless `why` says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file's name, without its folder.
    pub file: Box<str>,
    /// Where in it.
    pub place: Place,
    /// What is wrong with it.
    pub why: RowFault,
}

/// Where in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The line, counted from 1.
    Line(u64),
    /// The byte, counted from 0, where no lines were counted.
    Byte(u64),
    /// The file as a whole.
    File,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Line(line) => write!(f, "{}, line {line}: {}", self.file, self.why),
            Place::Byte(byte) => write!(f, "{}, at byte {byte}: {}", self.file, self.why),
            Place::File => write!(f, "{}: {}", self.file, self.why),
        }
    }
}

/// The damage that was found, bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DamageList {
    /// The first 1 000.
    pub first: Vec<Damage>,
    /// How many there are in all.
    pub total: u64,
}

impl DamageList {
    pub(super) fn push(&mut self, damage: Damage) {
        self.total += 1;
        if self.first.len() < MAX_DAMAGE_KEPT {
            self.first.push(damage);
        }
    }
}

/// One line of a file, as it lies there.
pub(super) struct RawLine<'a> {
    /// Of its first byte.
    pub(super) offset: u64,
    /// Counted from 1.
    pub(super) number: u64,
    /// Without the newline.
    pub(super) bytes: &'a [u8],
    /// How many bytes of the same line stood before these: it was longer than [`MAX_LINE_BYTES`].
    pub(super) skipped_bytes: u64,
}

/// Reads a file line by line, with bounded memory whatever is in it.
pub(super) struct Lines {
    file: Arc<dyn File>,
    block: Vec<u8>,
    /// The part of `block` that is not read yet, and the offset of its first byte in the file.
    unread: std::ops::Range<usize>,
    offset: u64,
    number: u64,
}

impl Lines {
    pub(super) fn new(segment: &Segment) -> Self {
        let block = vec![0; BLOCK_BYTES];
        Lines { file: Arc::clone(&segment.file), block, unread: 0..0, offset: 0, number: 0 }
    }

    /// The next line, or `None` at the end of the file.
    pub(super) fn next(&mut self) -> io::Result<Option<RawLine<'_>>> {
        let mut searched = 0;
        let length = loop {
            let unread = &self.block[self.unread.clone()];
            if let Some(at) = memchr::memchr(b'\n', &unread[searched..]) {
                break searched + at;
            }
            searched = unread.len();
            if searched > MAX_LINE_BYTES || self.fill()? == 0 {
                break searched;
            }
        };
        let (start, offset) = (self.unread.start, self.offset);
        if length == 0 && self.unread.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        if length > MAX_LINE_BYTES {
            return self.end_of_long_line().map(Some);
        }
        // The last line of a file may have no newline.
        self.skip((length + 1).min(self.unread.len()));
        let bytes = &self.block[start..start + length];
        Ok(Some(RawLine { offset, number: self.number, bytes, skipped_bytes: 0 }))
    }

    /// The last part of a line that is too long to be looked at.
    fn end_of_long_line(&mut self) -> io::Result<RawLine<'_>> {
        let line_start = self.offset;
        let mut searched = 0;
        let length = loop {
            let unread = &self.block[self.unread.clone()];
            if let Some(at) = memchr::memchr(b'\n', &unread[searched..]) {
                break searched + at;
            }
            self.skip(unread.len().saturating_sub(MAX_LINE_BYTES));
            searched = self.unread.len();
            if self.fill()? == 0 {
                break searched;
            }
        };
        self.skip(length.saturating_sub(MAX_LINE_BYTES));
        let (start, offset) = (self.unread.start, self.offset);
        let length = length.min(MAX_LINE_BYTES);
        self.skip((length + 1).min(self.unread.len()));
        let bytes = &self.block[start..start + length];
        Ok(RawLine { offset, number: self.number, bytes, skipped_bytes: offset - line_start })
    }

    /// How many bytes of the file have been read.
    pub(super) fn read_so_far(&self) -> u64 {
        self.offset
    }

    fn skip(&mut self, count: usize) {
        self.unread.start += count;
        self.offset += count as u64;
    }

    /// Reads on, behind what is not read yet, and returns how much came.
    fn fill(&mut self) -> io::Result<usize> {
        self.block.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        let at = self.offset + self.unread.len() as u64;
        loop {
            match self.file.read_at(&mut self.block[self.unread.end..], at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    self.unread.end += count;
                    return Ok(count);
                }
            }
        }
    }
}
