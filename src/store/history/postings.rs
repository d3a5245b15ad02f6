//! A list of rows in the order of their ids, compressed to a few bytes a row.
//!
//! Rows are gathered in chunks of up to 128, all of one segment: what differs from row to row is written as
//! varints. A chunk that is full never changes again and is shared with the pages that are being read, so a
//! page takes along what it needs for the price of a few reference counts.

use std::sync::Arc;

use super::segment::{Position, Segment};

/// Rows in one chunk, at most.
const CHUNK_ROWS: usize = 128;

/// One row of a chunk's segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Posting {
    pub(super) id: u64,
    pub(super) offset: u64,
    pub(super) len: u32,
}

/// Up to 128 rows of one segment.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    segment: Arc<Segment>,
    first: Posting,
    last: Posting,
    rows: usize,
    /// For each row after the first: id and offset less those of the row before, and the length.
    deltas: Vec<u8>,
}

impl Chunk {
    fn new(segment: &Arc<Segment>, first: Posting) -> Self {
        Chunk { segment: Arc::clone(segment), first, last: first, rows: 1, deltas: Vec::new() }
    }

    pub(super) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    fn takes(&self, segment: &Arc<Segment>, posting: Posting) -> bool {
        self.rows < CHUNK_ROWS && Arc::ptr_eq(&self.segment, segment) && posting.offset > self.last.offset
    }

    fn push(&mut self, posting: Posting) {
        put_varint(&mut self.deltas, posting.id - self.last.id);
        put_varint(&mut self.deltas, posting.offset - self.last.offset);
        put_varint(&mut self.deltas, posting.len.into());
        self.last = posting;
        self.rows += 1;
    }

    /// The rows, oldest first.
    pub(super) fn postings(&self) -> impl Iterator<Item = Posting> {
        let (mut deltas, mut posting) = (&self.deltas[..], self.first);
        let rest = std::iter::from_fn(move || {
            posting.id += take_varint(&mut deltas)?;
            posting.offset += take_varint(&mut deltas)?;
            posting.len = u32::try_from(take_varint(&mut deltas)?).ok()?;
            Some(posting)
        });
        std::iter::once(self.first).chain(rest)
    }
}

/// Which rows of a list a page may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IdRange {
    /// Only ids above this one.
    pub(super) above: u64,
    /// Only ids up to this one.
    pub(super) up_to: u64,
}

impl IdRange {
    pub(super) fn holds(self, id: u64) -> bool {
        self.above < id && id <= self.up_to
    }
}

/// All rows of one room, one pair of accounts or one account's inbox.
#[derive(Debug, Default)]
pub(super) struct Postings {
    full: Vec<Arc<Chunk>>,
    open: Option<Chunk>,
}

impl Postings {
    /// The newest id.
    pub(super) fn newest(&self) -> Option<u64> {
        self.open.as_ref().map(|chunk| chunk.last.id)
    }

    /// Adds a row. One whose id is not above the newest has no place in the list, and is left out.
    pub(super) fn push(&mut self, id: u64, position: &Position) {
        if self.newest().is_some_and(|newest| id <= newest) {
            debug_assert!(false, "ids grow");
            return;
        }
        let posting = Posting { id, offset: position.offset, len: position.len };
        match &mut self.open {
            Some(open) if open.takes(&position.segment, posting) => open.push(posting),
            open => {
                if let Some(mut full) = open.replace(Chunk::new(&position.segment, posting)) {
                    full.deltas.shrink_to_fit();
                    self.full.push(Arc::new(full));
                }
            }
        }
    }

    /// The chunks, oldest first, that hold the newest `rows` rows of the range, and some more.
    pub(super) fn newest_chunks(&self, range: IdRange, rows: usize) -> Vec<Arc<Chunk>> {
        let mut chunks = Vec::new();
        let mut found = 0;
        let open = self.open.iter().filter(|chunk| chunk.first.id <= range.up_to);
        let end = self.full.partition_point(|chunk| chunk.first.id <= range.up_to);
        let full = self.full[..end].iter().rev();
        for chunk in open.map(|chunk| Arc::new(chunk.clone())).chain(full.cloned()) {
            if chunk.last.id <= range.above || found >= rows {
                break;
            }
            found += if chunk.last.id <= range.up_to { chunk.rows } else { 1 };
            chunks.push(chunk);
        }
        chunks.reverse();
        chunks
    }

    /// The chunks, oldest first, that hold the oldest `rows` rows of the range, and some more.
    pub(super) fn oldest_chunks(&self, range: IdRange, rows: usize) -> Vec<Arc<Chunk>> {
        let mut chunks = Vec::new();
        let mut found = 0;
        let start = self.full.partition_point(|chunk| chunk.last.id <= range.above);
        let open = self.open.iter().filter(|chunk| chunk.last.id > range.above);
        for chunk in self.full[start..].iter().cloned().chain(open.map(|chunk| Arc::new(chunk.clone()))) {
            if chunk.first.id > range.up_to || found >= rows {
                break;
            }
            found += if chunk.first.id > range.above { chunk.rows } else { 1 };
            chunks.push(chunk);
        }
        chunks
    }
}

fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        // The low seven bits, and a mark that more follow.
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_round_trip(numbers in prop::collection::vec(any::<u64>(), 0..20)) {
            let mut bytes = Vec::new();
            for number in &numbers {
                put_varint(&mut bytes, *number);
            }
            let mut rest = &bytes[..];
            for number in &numbers {
                prop_assert_eq!(take_varint(&mut rest), Some(*number));
            }
            prop_assert_eq!(take_varint(&mut rest), None);
        }
    }
}
