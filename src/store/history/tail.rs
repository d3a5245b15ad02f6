//! The end of a file that is about to be written: it has to be the end of a line.
//!
//! A crash may leave a part of a line, and a power cut may leave anything, behind the last line that was
//! forced to the disk. That is *set aside* in `YYYY-MM.torn`, before it is cut off. A whole row that merely
//! lacks its newline gets one.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::row::{HEADER, LineReader, MAX_LINE_BYTES};
use crate::names::Timestamp;
use crate::store::append::{AppendError, AppendFile};

/// Copied or searched at once, in bytes.
const BLOCK_BYTES: usize = 64 * 1024;
/// The byte order mark that some editors put at the start of a file.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

/// Opens the file at `path` for appending rows, made or mended as needed. Also returns at which byte a torn
/// line began.
pub(super) fn open_mended(path: &Path) -> io::Result<(AppendFile, Option<u64>)> {
    let mut file = AppendFile::open(path, HEADER.as_bytes())?;
    let torn = mend(path, &mut file)?;
    if file.len() == 0 {
        // Not even the header was whole.
        file = AppendFile::open(path, HEADER.as_bytes())?;
    }
    Ok((file, torn))
}

fn mend(path: &Path, file: &mut AppendFile) -> io::Result<Option<u64>> {
    let start = last_line_start(file)?;
    let length = usize::try_from(file.len() - start).unwrap_or(usize::MAX);
    if length == 0 {
        return Ok(None);
    }
    let mut line = vec![0; length.min(MAX_LINE_BYTES)];
    file.file().read_exact_at(&mut line, start)?;
    let kept = whole_part(&line, start == 0, length == line.len());
    let torn = (kept < length).then_some(start + kept as u64);
    if let Some(from) = torn {
        set_aside(path, file, from)?;
        file.cut(from).map_err(into_io)?;
    }
    if kept > 0 {
        file.append(b"\n").map_err(into_io)?;
        file.sync().map_err(into_io)?;
    }
    Ok(torn)
}

/// How many bytes of a last line without newline are a whole row (or header).
fn whole_part(line: &[u8], first: bool, all: bool) -> usize {
    let mut reader = LineReader::new();
    let text = if first { line.strip_prefix(BOM).unwrap_or(line) } else { line };
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if all && reader.read(text).is_ok() { line.len() } else { reader.whole_row_end(line).unwrap_or(0) }
}

/// The offset behind the last newline.
fn last_line_start(file: &AppendFile) -> io::Result<u64> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut end = file.len();
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES as u64);
        let part = &mut block[..(end - start) as usize];
        file.file().read_exact_at(part, start)?;
        if let Some(at) = memchr::memrchr(b'\n', part) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Copies everything from the byte `from` on to the `.torn` file, and forces that to the disk.
fn set_aside(path: &Path, file: &AppendFile, from: u64) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut torn = AppendFile::open(&path.with_extension("torn"), b"")?;
    let note = format!("# {}: {} bytes from byte {from} of {name}\n", Timestamp::now(), file.len() - from);
    torn.append(note.as_bytes()).map_err(into_io)?;
    let mut block = vec![0; BLOCK_BYTES];
    let mut at = from;
    while at < file.len() {
        let part = &mut block[..(file.len() - at).min(BLOCK_BYTES as u64) as usize];
        file.file().read_exact_at(part, at)?;
        torn.append(part).map_err(into_io)?;
        at += part.len() as u64;
    }
    torn.append(b"\n").map_err(into_io)?;
    torn.sync().map_err(into_io)
}

fn into_io(error: AppendError) -> io::Error {
    match error {
        AppendError::Refused(error) => error,
        poisoned @ AppendError::Poisoned(_) => io::Error::other(poisoned),
    }
}
