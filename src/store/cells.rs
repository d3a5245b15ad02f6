//! The reversible escape of one CSV cell.
//!
//! It stands between a text and the CSV quoting, in every CSV file that Veche writes, and promises two
//! things: a row is one physical line that drives no terminal, and no spreadsheet takes a cell for a formula.
//!
//! | in the text | in the cell |
//! | --- | --- |
//! | newline, carriage return, tab, backslash | `\n` `\r` `\t` `\\` |
//! | any other control character (Cc), U+2028, U+2029 | `\u{1b}`, in lower-case hexadecimal |
//! | a semicolon that a formula sign follows | `\u{3b}`: where people write decimal commas, spreadsheets separate cells by semicolons |
//! | a formula sign or `'` at the start | one `'` in front of it, which reading takes away |
//!
//! A formula sign is one of `=` `+` `-` `@` or of their full-width and small forms; spaces and quotes before
//! it do not hide it.

use std::borrow::Cow;
use std::fmt::Write;

/// Why a cell is none that [`escape`] wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a backslash in it begins none of \\n \\r \\t \\\\ \\u{{…}}")]
pub struct CellError;

/// Writes a text as a cell.
pub fn escape(text: &str) -> Cow<'_, str> {
    let quoted = starts_formula(text) || text.starts_with('\'');
    // All bytes are looked at, whatever the first ones say: so the processor looks at many at once.
    if !quoted && !text.bytes().fold(false, |found, byte| found | may_need_escape(byte)) {
        return Cow::Borrowed(text);
    }
    let mut cell = String::with_capacity(text.len() + 8);
    if quoted {
        cell.push('\'');
    }
    for (at, c) in text.char_indices() {
        match c {
            '\n' => cell.push_str("\\n"),
            '\r' => cell.push_str("\\r"),
            '\t' => cell.push_str("\\t"),
            '\\' => cell.push_str("\\\\"),
            ';' if starts_formula(&text[at + 1..]) => push_code(&mut cell, c),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => push_code(&mut cell, c),
            c => cell.push(c),
        }
    }
    Cow::Owned(cell)
}

/// Reads a cell that [`escape`] wrote.
///
/// # Errors
/// [`CellError`] when a backslash begins nothing that `escape` writes.
pub fn unescape(cell: &str) -> Result<Cow<'_, str>, CellError> {
    let cell = cell.strip_prefix('\'').unwrap_or(cell);
    let Some((plain, _)) = cell.split_once('\\') else {
        return Ok(Cow::Borrowed(cell));
    };
    let mut text = String::with_capacity(cell.len());
    text.push_str(plain);
    let mut rest = &cell[plain.len()..];
    while let Some((before, escaped)) = rest.split_once('\\') {
        text.push_str(before);
        let (c, after) = unescape_one(escaped).ok_or(CellError)?;
        text.push(c);
        rest = after;
    }
    text.push_str(rest);
    Ok(Cow::Owned(text))
}

/// The character that stands behind a backslash, and what follows it.
fn unescape_one(escaped: &str) -> Option<(char, &str)> {
    let mut chars = escaped.chars();
    let c = match chars.next()? {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        '\\' => '\\',
        'u' => {
            let (code, after) = chars.as_str().strip_prefix('{')?.split_once('}')?;
            return Some((char::from_u32(u32::from_str_radix(code, 16).ok()?)?, after));
        }
        _ => return None,
    };
    Some((c, chars.as_str()))
}

fn push_code(cell: &mut String, c: char) {
    write!(cell, "\\u{{{:x}}}", u32::from(c)).expect("writing to a String cannot fail");
}

/// Whether a spreadsheet could take a cell that begins like this for a formula.
fn starts_formula(text: &str) -> bool {
    text.trim_start_matches(|c: char| c == '"' || c.is_whitespace()).starts_with(is_formula_sign)
}

fn is_formula_sign(c: char) -> bool {
    matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠' | '﹦' | '﹢' | '﹣' | '﹫')
}

/// Whether the byte can be a part of something that is escaped: ASCII control characters, a backslash, a
/// semicolon, and the first bytes of C1 controls (U+0080 to U+009F) and of U+2028 and U+2029.
fn may_need_escape(byte: u8) -> bool {
    // No `||`: it would have one byte decide whether the next comparison is made.
    (byte < 0x20) | (byte == b'\\') | (byte == b';') | (byte == 0x7f) | (byte == 0xc2) | (byte == 0xe2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cells_look_as_documented() {
        let pairs = [
            ("", ""),
            ("hello, \"world\"", "hello, \"world\""),
            ("a\nb\r\tc\\", "a\\nb\\r\\tc\\\\"),
            ("\u{1b}[2J\0\u{7f}\u{85}", "\\u{1b}[2J\\u{0}\\u{7f}\\u{85}"),
            ("\u{2028}\u{2029}", "\\u{2028}\\u{2029}"),
            ("=1+1", "'=1+1"),
            ("＝1", "'＝1"),
            ("  -1", "'  -1"),
            ("\"=1", "'\"=1"),
            ("\t=1", "'\\t=1"),
            ("'", "''"),
            ("a;=1;b ;-)", "a\\u{3b}=1;b \\u{3b}-)"),
            ("a'b €5 — ü", "a'b €5 — ü"),
        ];
        for (text, cell) in pairs {
            assert_eq!(escape(text), cell, "{text:?}");
            assert_eq!(unescape(cell).as_deref(), Ok(text), "{cell:?}");
        }
    }

    #[test]
    fn no_cell_drives_a_terminal_or_breaks_its_line() {
        for c in char::MIN..=char::MAX {
            let text = format!("a{c}b");
            let cell = escape(&text);
            assert!(!cell.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')), "{c:?}");
            assert_eq!(unescape(&cell).as_deref(), Ok(text.as_str()), "{c:?}");
        }
    }

    #[test]
    fn what_nobody_wrote_is_an_error() {
        for cell in ["\\", "a\\x", "\\u", "\\u{", "\\u{}", "\\u{110000}", "\\u{d800}", "\\u{1b", "\\u{+-1}"] {
            assert_eq!(unescape(cell), Err(CellError), "{cell}");
        }
    }

    /// Texts in which what matters is frequent.
    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[=+@＝'\\\\\"; \\-\n\r\t\u{0}-\u{1f}\u{7f}-\u{9f}\u{2028}\u{2029}nu{}a-c]{0,12}"
        ]
    }

    proptest! {
        #[test]
        fn any_text_round_trips(text in texts()) {
            let cell = escape(&text).into_owned();
            let back = unescape(&cell);
            prop_assert_eq!(back.as_deref(), Ok(text.as_str()));
        }

        #[test]
        fn no_cell_drives_a_terminal_or_starts_a_formula(text in texts()) {
            let cell = escape(&text);
            let drives = cell.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'));
            prop_assert!(!drives, "{cell:?}");
            for part in cell.split(';') {
                prop_assert!(!starts_formula(part), "{cell:?}");
            }
        }

        #[test]
        fn unescaping_never_panics(cell in any::<String>()) {
            let _ = unescape(&cell);
        }
    }
}
