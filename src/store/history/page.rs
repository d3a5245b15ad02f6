//! Reading a page: from a plan that costs nothing to the rows themselves, on a thread that may wait.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;

use super::HistoryError;
use super::postings::{Chunk, IdRange, Posting};
use super::row::{Line, LineReader, Names, RowFault};
use super::segment::{Damage, Place, Segment};
use crate::model::{MessageId, Page, StoredMessage};

/// Where the rows of a page lie. It holds no lock and can be read on any thread, at any later time.
#[derive(Debug)]
#[must_use = "a plan does nothing until it is read"]
pub struct PagePlan {
    pub(super) chunks: Vec<Arc<Chunk>>,
    pub(super) range: IdRange,
    pub(super) limit: usize,
    /// Whether the page goes on from its lower end (`after`), and not back from its upper one.
    pub(super) oldest_first: bool,
}

/// A page of stored messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PageRows {
    /// The rows, oldest first.
    pub rows: Vec<StoredMessage>,
    /// Whether others lie beyond the page: behind it with `after`, before it else.
    pub more: bool,
    /// What is damaged for good, and not in `rows`.
    pub damage: Vec<Damage>,
    /// Where to go on for as many rows as are missing from a full page because of that damage.
    pub go_on: Option<Page>,
}

impl PagePlan {
    /// Reads the rows, and checks each of them again. This blocks on the disk.
    ///
    /// # Errors
    /// [`HistoryError`] when the disk gives an error: what could not be read now may be sound, and a page
    /// without it would say that it is not there. A row that can be read and is damaged is left out and told.
    pub fn read(self) -> Result<PageRows, HistoryError> {
        let (postings, more) = self.postings();
        let mut page = PageRows { more, ..PageRows::default() };
        let mut reader = RowReader::new();
        for (segment, posting) in &postings {
            match reader.read(segment, *posting) {
                Ok(row) => page.rows.push(row),
                Err(RowFault::Unreadable(errno)) => {
                    return Err(HistoryError::io("read", PathBuf::from(segment.name()), errno.into()));
                }
                Err(why) => page.damage.push(segment.damage(Place::Byte(posting.offset), why)),
            }
        }
        if more && !page.damage.is_empty() {
            let edge = if self.oldest_first { postings.last() } else { postings.first() };
            let id = edge.and_then(|(_, posting)| MessageId::new(posting.id));
            page.go_on = Some(if self.oldest_first { Page::After(id) } else { Page::Before(id) });
        }
        Ok(page)
    }

    /// The rows of the page, oldest first, and whether others lie beyond it.
    fn postings(&self) -> (Vec<(&Segment, Posting)>, bool) {
        let mut postings: Vec<(&Segment, Posting)> = self
            .chunks
            .iter()
            .flat_map(|chunk| chunk.postings().map(|posting| (&**chunk.segment(), posting)))
            .filter(|(_, posting)| self.range.holds(posting.id))
            .collect();
        let beyond = postings.len().saturating_sub(self.limit);
        if self.oldest_first {
            postings.truncate(self.limit);
        } else {
            postings.drain(..beyond);
        }
        (postings, beyond > 0)
    }
}

/// Reads single rows, from wherever they lie.
pub(super) struct RowReader {
    lines: LineReader,
    names: Names,
    buffer: Vec<u8>,
}

impl RowReader {
    pub(super) fn new() -> Self {
        RowReader { lines: LineReader::new(), names: Names::default(), buffer: Vec::new() }
    }

    pub(super) fn read(&mut self, segment: &Segment, posting: Posting) -> Result<StoredMessage, RowFault> {
        self.buffer.resize(posting.len as usize, 0);
        segment.read_at(&mut self.buffer, posting.offset).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => RowFault::NotThere,
            _ => RowFault::Unreadable(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        })?;
        let Line::Row(fields) = self.lines.read(&self.buffer)? else {
            return Err(RowFault::NotThere);
        };
        let row = fields.to_row(&mut self.names)?;
        if row.id.get() == posting.id { Ok(row) } else { Err(RowFault::NotThere) }
    }
}
