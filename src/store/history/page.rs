//! Reading a page: from a plan that costs nothing to the rows themselves, on a thread that may wait.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;

use super::HistoryError;
use super::postings::{Chunk, Posting, Window};
use super::row::{Line, LineReader, Names, Row, RowFault};
use super::segment::{Damage, Place, Segment};

/// Where the rows of a page lie. It holds no lock and can be read on any thread, at any later time.
#[derive(Debug)]
#[must_use = "a plan does nothing until it is read"]
pub struct PagePlan {
    pub(super) chunks: Vec<Arc<Chunk>>,
    pub(super) window: Window,
    pub(super) limit: usize,
    /// Whether the page goes on from its lower end (`after`), and not back from its upper one.
    pub(super) oldest_first: bool,
}

/// A page of stored messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PageRows {
    /// The rows, oldest first.
    pub rows: Vec<Row>,
    /// Whether others lie beyond the page: behind it with `after`, before it else. A page that has no row
    /// left, because all are damaged, has none beyond it either: the reader would have no id to go on from.
    pub more: bool,
    /// What could not be read, and is not in `rows`.
    pub damage: Vec<Damage>,
}

impl PagePlan {
    /// Reads the rows, and checks each of them again. This blocks on the disk.
    ///
    /// # Errors
    /// [`HistoryError`] when the disk gives errors and not one row can be read; one bad row is only reported.
    pub fn read(self) -> Result<PageRows, HistoryError> {
        let (postings, beyond) = self.postings();
        let mut page = PageRows::default();
        let mut reader = RowReader::new();
        let mut unreadable = None;
        for (segment, posting) in &postings {
            match reader.read(segment, *posting) {
                Ok(row) => page.rows.push(row),
                Err(why) => {
                    if let RowFault::Unreadable(errno) = why {
                        unreadable = Some((segment, errno));
                    }
                    page.damage.push(segment.damage(Place::Byte(posting.offset), why));
                }
            }
        }
        if let (Some((segment, errno)), true) = (unreadable, page.rows.is_empty()) {
            return Err(HistoryError::io("read", PathBuf::from(segment.name()), errno.into()));
        }
        page.more = beyond && (!page.rows.is_empty() || postings.is_empty());
        Ok(page)
    }

    /// The rows of the page, oldest first, and whether others lie beyond it.
    fn postings(&self) -> (Vec<(&Segment, Posting)>, bool) {
        let mut postings: Vec<(&Segment, Posting)> = self
            .chunks
            .iter()
            .flat_map(|chunk| chunk.postings().map(|posting| (&**chunk.segment(), posting)))
            .filter(|(_, posting)| self.window.holds(posting.id))
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

    pub(super) fn read(&mut self, segment: &Segment, posting: Posting) -> Result<Row, RowFault> {
        self.buffer.resize(posting.len as usize, 0);
        segment.read_at(&mut self.buffer, posting.offset).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => RowFault::NotThere,
            _ => RowFault::Unreadable(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        })?;
        let Line::Row(fields) = self.lines.read(&self.buffer)? else { return Err(RowFault::NotThere) };
        let row = fields.to_row(&mut self.names)?;
        if row.id.get() == posting.id { Ok(row) } else { Err(RowFault::NotThere) }
    }
}
