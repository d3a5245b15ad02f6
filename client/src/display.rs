//! What others wrote, made safe to show.
//!
//! A text may hold whatever its author liked; a terminal obeys some of it. Here every character that could
//! drive a terminal, hide, or turn the direction of writing becomes visible as `\u{…}`, and no text can
//! look like a line of its own: see [`paragraph`].

use std::borrow::Cow;
use std::fmt::Write as _;

use jiff::tz::TimeZone;
use unicode_width::UnicodeWidthChar;
use veche::names::Timestamp;

/// The narrowest text column that wrapping still makes sense for, in cells.
const NARROWEST: usize = 20;
/// Cells that a tab is shown as.
const TAB: &str = "    ";

/// Whether a character could drive a terminal or deceive its reader: controls (C0, DEL, C1), bidirectional
/// controls, characters of no width that are not marks, and the separators U+2028 and U+2029.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with every unsafe character escaped, newline and tab included.
pub fn safe(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    text.chars().for_each(|c| push_safe(&mut out, c));
    Cow::Owned(out)
}

/// The text as one line that can be turned back: like [`safe`], and `\` doubled.
pub fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\\' { out.push_str("\\\\") } else { push_safe(&mut out, c) }
    }
    out
}

fn push_safe(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\t' => out.push_str("\\t"),
        c if is_unsafe(c) => {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
        c => out.push(c),
    }
}

/// A head and a text of many lines, for a terminal this many cells wide. Only the head stands at the left
/// edge: every further line, and every line that is too long for the terminal, goes on indented behind a
/// bar, so that nobody can forge a line of another's.
pub fn paragraph(head: &str, text: &str, width_cells: usize) -> String {
    let indent = cells(head).min(width_cells / 3);
    let room_cells = width_cells.saturating_sub(indent + 3).max(NARROWEST);
    let mut out = String::with_capacity(head.len() + text.len() + 16);
    out.push_str(head);
    // The first line begins behind the head, which may itself be longer than the indentation.
    let mut used_cells = cells(head).saturating_sub(indent);
    for (position, line) in text.split('\n').enumerate() {
        if position > 0 {
            go_on(&mut out, indent);
            used_cells = 0;
        }
        for word in safe(&line.replace('\t', TAB)).split_inclusive(' ') {
            let word_cells = cells(word);
            // A word goes whole to the next line, unless it would not fit there either.
            if used_cells > 0 && used_cells + word_cells > room_cells && word_cells <= room_cells {
                go_on(&mut out, indent);
                used_cells = 0;
            }
            for c in word.chars() {
                let wide = c.width().unwrap_or(0);
                if used_cells + wide > room_cells {
                    go_on(&mut out, indent);
                    used_cells = 0;
                }
                out.push(c);
                used_cells += wide;
            }
        }
    }
    out.push('\n');
    out
}

fn go_on(out: &mut String, indent: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', indent));
    out.push_str("| ");
}

fn cells(text: &str) -> usize {
    text.chars().filter_map(UnicodeWidthChar::width).sum()
}

/// A payload as one line: the same JSON. A server that breaks its lines between members is straightened,
/// and for a terminal what is unsafe is escaped as JSON escapes it.
pub fn json_line(payload: &[u8], for_terminal: bool) -> String {
    let text = String::from_utf8_lossy(payload);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // Inside of a JSON string these never stand bare, so here they are only blanks.
            '\n' | '\r' | '\t' => out.push(' '),
            c if for_terminal && is_unsafe(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out
}

/// A moment in the local time: hours and minutes, with the date before it unless it is the date of `today`.
pub fn local_time(at: Timestamp, today: Timestamp, zone: &TimeZone) -> String {
    let zoned = |at: Timestamp| {
        jiff::Timestamp::from_millisecond(at.as_millis())
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
            .to_zoned(zone.clone())
    };
    let (at, today) = (zoned(at), zoned(today));
    let time = format!("{:02}:{:02}", at.hour(), at.minute());
    if at.date() == today.date() { time } else { format!("{} {time}", at.date()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_could_drive_a_terminal_is_seen_instead() {
        let nasty = "a\u{1b}[2Jb\rc\u{7f}\u{9b}31m\u{202e}d\u{2066}\u{200b}\u{200f}\u{2028}\u{2029}\u{feff}";
        let shown = safe(nasty);
        assert!(!shown.contains(is_unsafe), "{shown}");
        assert!(shown.starts_with(r"a\u{1b}[2Jb\u{d}c\u{7f}\u{9b}31m\u{202e}d"), "{shown}");
        assert_eq!(safe("schön 山田 ❤\u{fe0f} e\u{301}"), "schön 山田 ❤\u{fe0f} e\u{301}");
        assert_eq!(one_line("a\\n\nb\t"), r"a\\n\nb\t");
    }

    #[test]
    fn nobody_forges_a_line() {
        let shown = paragraph("18:05 bob: ", "hi\n18:06 alice: I owe you", 80);
        assert_eq!(shown, "18:05 bob: hi\n           | 18:06 alice: I owe you\n");
        let padded = format!("hi{}18:06 alice: I owe you", " ".repeat(67));
        let shown = paragraph("18:05 bob: ", &padded, 80);
        assert!(shown.lines().skip(1).all(|line| line.starts_with("           | ")), "{shown}");
    }

    #[test]
    fn json_stays_the_same_json() {
        let payload = "{\"type\":\"notice\",\r\n\t\"text\":\"a\u{202e}b\u{e0041}\"}".as_bytes();
        let line = json_line(payload, true);
        assert!(!line.contains(is_unsafe), "{line}");
        let read = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).expect("JSON");
        assert_eq!(read(line.as_bytes()), read(payload));
    }

    #[test]
    fn the_date_is_told_when_it_is_another() {
        let at: Timestamp = "2026-11-21T18:05:21.311Z".parse().expect("a moment");
        let later: Timestamp = "2026-11-22T00:00:00.000Z".parse().expect("a moment");
        assert_eq!(local_time(at, at, &TimeZone::UTC), "18:05");
        assert_eq!(local_time(at, later, &TimeZone::UTC), "2026-11-21 18:05");
        assert!(!local_time(Timestamp::from_millis(i64::MAX), at, &TimeZone::UTC).is_empty());
        assert!(!local_time(Timestamp::from_millis(i64::MIN), at, &TimeZone::UTC).is_empty());
    }

    fn back(line: &str) -> String {
        let (mut out, mut chars) = (String::new(), line.chars());
        while let Some(c) = chars.next() {
            match (c, (c == '\\').then(|| chars.next()).flatten()) {
                ('\\', Some('n')) => out.push('\n'),
                ('\\', Some('t')) => out.push('\t'),
                ('\\', Some('u')) => {
                    let code: String = chars.by_ref().skip(1).take_while(|c| *c != '}').collect();
                    let code = u32::from_str_radix(&code, 16).expect("hexadecimal");
                    out.push(char::from_u32(code).expect("a character"));
                }
                ('\\', escaped) => out.extend(escaped),
                (c, _) => out.push(c),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn nothing_unsafe_is_ever_shown(text in any::<String>(), head in "[a-z :]{0,40}", width in 0_usize..200) {
            prop_assert!(!safe(&text).contains(is_unsafe));
            prop_assert!(!one_line(&text).contains(is_unsafe));
            let shown = paragraph(&head, &text, width);
            prop_assert!(shown.chars().all(|c| c == '\n' || !is_unsafe(c)));
            let indent = head.len().min(width / 3);
            for line in shown.lines().skip(1) {
                let start = format!("{}| ", " ".repeat(indent));
                prop_assert!(line.starts_with(&start));
                prop_assert!(cells(line) <= width.max(indent + 3 + NARROWEST));
            }
        }

        #[test]
        fn one_line_can_be_turned_back(text in any::<String>()) {
            prop_assert_eq!(back(&one_line(&text)), text);
        }
    }
}
