//! One stored message as one line of CSV, and back.
//!
//! A line is read strictly: nine fields, and a checksum over the first eight that has to match. Everything
//! else is a [`RowFault`], so that a line that anybody or anything has changed is never taken for a message.

use std::borrow::Cow;

use csv_core::ReadRecordResult;

use super::salvage::{hide_times, is_time_cell};
use crate::model::{
    MessageId, MessageKey, MessageKind, MessageText, RoomName, StoredMessage, Target, UserName,
};
use crate::store::cells;

/// The first line of every file.
pub(super) const HEADER: &str = "id,prev,at,room,from,to,text,key,crc32\n";
/// The longest line that is looked at, in bytes. What we write stays under 16 KiB: 4 096 bytes of text grow
/// at most 3.5-fold in escaping; the rest is for what a spreadsheet or a lost newline makes of it.
pub(super) const MAX_LINE_BYTES: usize = 64 * 1024;

/// The shortest line of a row, in bytes: one digit for each id, a time, names of one letter, a text of one.
pub(super) const MIN_LINE_BYTES: usize = 45;

const FIELDS: usize = 9;
const CRC: usize = 8;

/// Why a line is no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RowFault {
    /// Longer than any row.
    #[error("it is longer than any row can be")]
    TooLong,
    /// Not nine fields.
    #[error("it has not the nine fields of a row")]
    Fields,
    /// The checksum does not match.
    #[error("its checksum does not match")]
    Checksum,
    /// The checksum matches, but a field holds nothing that Veche writes there.
    #[error("its field `{0}` holds nothing that belongs there")]
    Field(&'static str),
    /// The id is not above the one before.
    #[error("its id is not above the id of the row before")]
    NotAscending,
    /// The file is shorter than it was, or holds another row in that place.
    #[error("another row, or none, is in its place")]
    NotThere,
    /// The end of the line was damaged; the rows on both sides of it are whole.
    #[error("the end of this line is damaged; its rows were read all the same")]
    LineEnd,
    /// The last line was not finished when the server or the machine stopped.
    #[error("the last line was not finished; what there was of it is in the .torn file beside it")]
    Torn,
    /// A part of the last batch is missing: the machine stopped before it was on the disk, and nobody had been
    /// told that any of it was.
    #[error(
        "a part of what was written last never got to the disk; what there was behind it is in the .torn file beside it"
    )]
    Hole,
    /// The name is one of a history file, but it is a link or a folder.
    #[error("it is not a regular file, and was not read")]
    NotAFile,
    /// The disk gave an error.
    #[error("the disk could not read it: {0}")]
    Unreadable(rustix::io::Errno),
}

/// Appends `row` as one line, newline included, to `lines`.
pub(super) fn write(row: &StoredMessage, lines: &mut csv::Writer<Vec<u8>>) -> Result<(), csv::Error> {
    let (room, to) = match &row.target {
        Target::Room(room) => (room.as_str(), ""),
        Target::Account(to) => ("", to.as_str()),
    };
    let (id, prev) = (row.id.to_string(), MessageId::or_zero(row.prev).to_string());
    let at = row.at.to_string();
    let (room, from, to) = (cells::escape(room), cells::escape(row.from.as_str()), cells::escape(to));
    let text = hide_times(cells::escape(row.text().as_str()));
    let key = hide_times(cells::escape(row.key.as_ref().map_or("", MessageKey::as_str)));
    let fields: [&str; CRC] = [&id, &prev, &at, &room, &from, &to, &text, &key];
    let crc = format!("x{:08x}", checksum(fields.iter().map(|field| field.as_bytes())));
    lines.write_record(fields.into_iter().chain([crc.as_str()]))
}

/// CRC-32 of the fields, joined by commas.
fn checksum<'a>(fields: impl Iterator<Item = &'a [u8]>) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for (position, field) in fields.enumerate() {
        if position > 0 {
            hasher.update(b",");
        }
        hasher.update(field);
    }
    hasher.finalize()
}

/// What a line of a history file is.
pub(super) enum Line<'a> {
    /// The names of the fields.
    Header,
    /// A row whose checksum matches.
    Row(Fields<'a>),
}

/// Reads lines. It keeps the buffers from one line to the next.
pub(super) struct LineReader {
    csv: csv_core::Reader,
    unquoted: Vec<u8>,
}

impl LineReader {
    pub(super) fn new() -> Self {
        LineReader { csv: csv_core::Reader::new(), unquoted: Vec::new() }
    }

    /// Reads one line, given without its newline.
    pub(super) fn read<'a>(&'a mut self, line: &'a [u8]) -> Result<Line<'a>, RowFault> {
        if line.len() > MAX_LINE_BYTES {
            return Err(RowFault::TooLong);
        }
        // Most lines have no quotes, and are nothing but fields with commas between them.
        let fields = match memchr::memchr(b'"', line) {
            None => Fields::split(line)?,
            Some(_) => self.unquote(line)?,
        };
        if fields.is_header() {
            return Ok(Line::Header);
        }
        if parse_checksum(fields.raw(CRC)) != Some(fields.checksum()) {
            return Err(RowFault::Checksum);
        }
        // However else a moment may be written: a row has it as `write` wrote it.
        if !is_time_cell(fields.raw_at()) {
            return Err(RowFault::Field("at"));
        }
        Ok(Line::Row(fields))
    }

    fn unquote<'a>(&'a mut self, line: &[u8]) -> Result<Fields<'a>, RowFault> {
        self.csv.reset();
        self.unquoted.resize(line.len(), 0);
        // One end more than there are fields: a tenth field has to be seen.
        let mut ends = [0; FIELDS + 1];
        let (result, read, written, ended) = self.csv.read_record(line, &mut self.unquoted, &mut ends);
        // A record that ends before its line does has a carriage return in it.
        if result != ReadRecordResult::InputEmpty || read != line.len() {
            return Err(RowFault::Fields);
        }
        let (result, _, _, last) =
            self.csv.read_record(&[], &mut self.unquoted[written..], &mut ends[ended..]);
        if result != ReadRecordResult::Record || ended + last != FIELDS {
            return Err(RowFault::Fields);
        }
        let mut spans = [(0, 0); FIELDS];
        let mut start = 0;
        for (span, end) in spans.iter_mut().zip(ends) {
            *span = (start, end);
            start = end;
        }
        Ok(Fields { bytes: &self.unquoted, spans, plain: false })
    }
}

/// `x` and eight lower-case hexadecimal digits. The `x` keeps spreadsheets from making a number of it.
pub(super) fn parse_checksum(field: &[u8]) -> Option<u32> {
    let digits = field.strip_prefix(b"x").filter(|digits| digits.len() == 8)?;
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u32::from(value))
    })
}

/// The nine fields of a line, without CSV quotes, still escaped as cells.
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    spans: [(usize, usize); FIELDS],
    /// Whether `bytes` is the line itself, with the commas between the fields.
    plain: bool,
}

impl<'a> Fields<'a> {
    /// Splits a line that has no quotes.
    fn split(line: &'a [u8]) -> Result<Self, RowFault> {
        let mut spans = [(0, 0); FIELDS];
        let (mut start, mut field) = (0, 0);
        for end in memchr::memchr_iter(b',', line).chain([line.len()]) {
            *spans.get_mut(field).ok_or(RowFault::Fields)? = (start, end);
            (start, field) = (end + 1, field + 1);
        }
        if field == FIELDS { Ok(Fields { bytes: line, spans, plain: true }) } else { Err(RowFault::Fields) }
    }

    fn raw(&self, field: usize) -> &'a [u8] {
        let (start, end) = self.spans[field];
        &self.bytes[start..end]
    }

    fn checksum(&self) -> u32 {
        if self.plain {
            return crc32fast::hash(&self.bytes[..self.spans[CRC - 1].1]);
        }
        checksum((0..CRC).map(|field| self.raw(field)))
    }

    fn is_header(&self) -> bool {
        self.raw(0) == b"id"
            && HEADER
                .trim_end()
                .split(',')
                .enumerate()
                .all(|(field, name)| self.raw(field) == name.as_bytes())
    }

    fn cell(&self, field: usize, name: &'static str) -> Result<Cow<'a, str>, RowFault> {
        let cell = std::str::from_utf8(self.raw(field)).map_err(|_| RowFault::Field(name))?;
        cells::unescape(cell).map_err(|_| RowFault::Field(name))
    }

    fn number(&self, field: usize, name: &'static str) -> Result<u64, RowFault> {
        let digits = std::str::from_utf8(self.raw(field)).map_err(|_| RowFault::Field(name))?;
        digits.parse().map_err(|_| RowFault::Field(name))
    }

    pub(super) fn id(&self) -> Result<MessageId, RowFault> {
        MessageId::new(self.number(0, "id")?).ok_or(RowFault::Field("id"))
    }

    /// The time as it is written, which sorts like the time itself.
    pub(super) fn raw_at(&self) -> &'a [u8] {
        self.raw(2)
    }

    pub(super) fn room(&self) -> Result<Cow<'a, str>, RowFault> {
        self.cell(3, "room")
    }

    pub(super) fn from(&self) -> Result<Cow<'a, str>, RowFault> {
        self.cell(4, "from")
    }

    pub(super) fn to(&self) -> Result<Cow<'a, str>, RowFault> {
        self.cell(5, "to")
    }

    pub(super) fn has_key(&self) -> bool {
        !self.raw(7).is_empty()
    }

    /// The whole message. Its names are shared with those that `names` has seen before.
    pub(super) fn to_row(&self, names: &mut Names) -> Result<StoredMessage, RowFault> {
        let prev = self.number(1, "prev")?;
        let prev = if prev == 0 { None } else { Some(MessageId::new(prev).ok_or(RowFault::Field("prev"))?) };
        let at = self.cell(2, "at")?.parse().map_err(|_| RowFault::Field("at"))?;
        let (room, to) = (self.room()?, self.to()?);
        let target = match (&*room, &*to) {
            ("", to) => Target::Account(names.user(to).ok_or(RowFault::Field("to"))?),
            (room, "") => Target::Room(names.room(room).ok_or(RowFault::Field("room"))?),
            _ => return Err(RowFault::Field("to")),
        };
        let from = names.user(&self.from()?).ok_or(RowFault::Field("from"))?;
        let text = MessageText::parse(&self.cell(6, "text")?).map_err(|_| RowFault::Field("text"))?;
        let key = match &*self.cell(7, "key")? {
            "" => None,
            key => Some(MessageKey::parse(key).ok_or(RowFault::Field("key"))?),
        };
        let kind = MessageKind::Text(text);
        Ok(StoredMessage { id: self.id()?, prev, at, target, from, kind, key })
    }
}

/// The names of one page: each is kept once, however often it is in it.
#[derive(Default)]
pub(super) struct Names {
    users: std::collections::HashSet<UserName>,
    rooms: std::collections::HashSet<RoomName>,
}

impl Names {
    fn user(&mut self, text: &str) -> Option<UserName> {
        if let Some(name) = self.users.get(text) {
            return Some(name.clone());
        }
        let name = UserName::from_canonical(text).ok()?;
        self.users.insert(name.clone());
        Some(name)
    }

    fn room(&mut self, text: &str) -> Option<RoomName> {
        if let Some(name) = self.rooms.get(text) {
            return Some(name.clone());
        }
        let name = RoomName::from_canonical(text).ok()?;
        self.rooms.insert(name.clone());
        Some(name)
    }
}
