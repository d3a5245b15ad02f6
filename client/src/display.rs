//! What is shown, made of what others wrote: names and sentences by [`safe`], longer texts by [`paragraph`],
//! JSON and lines for scripts by functions of their own. What is safe is decided in [`veche::sanitize`].

use std::fmt::Write as _;
use std::os::fd::AsFd;

use jiff::tz::TimeZone;
use veche::model::Timestamp;
use veche::sanitize;

pub use veche::sanitize::one_line as safe;
pub use veche::sanitize::rows::{Screen, UNWRAPPED, fit, paragraph};

/// The width that is taken where a terminal does not tell its own, in cells.
const DEFAULT_WIDTH_CELLS: usize = 80;

/// The screen that a stream leads to.
pub fn screen_of(stream: &impl AsFd) -> Screen {
    let size = rustix::termios::tcgetwinsize(stream).ok();
    let width = size.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
    Screen::of_this_locale(width.unwrap_or(DEFAULT_WIDTH_CELLS))
}

/// Lines of ours, each in rows of its own.
pub fn own_lines(text: &str, screen: Screen) -> String {
    text.lines().map(|line| paragraph("", "", line, screen)).collect()
}

/// The text as one line that can be turned back: what a display must not get by its number, and `\` doubled.
pub fn one_line(text: &str) -> String {
    let doubled = text.replace('\\', "\\\\");
    sanitize::escaped(&doubled).into_owned()
}

/// A payload as one line: the same JSON. A server that breaks its lines between members is straightened,
/// and for a terminal what is unsafe is escaped as JSON escapes it.
pub fn json_line(payload: &[u8], for_terminal: bool) -> String {
    // Inside of a JSON string these never stand bare, so here they are only blanks.
    let text = String::from_utf8_lossy(payload).replace(['\n', '\r', '\t'], " ");
    if !for_terminal {
        return text;
    }
    let escape = |out: &mut String, c: char| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(out, "\\u{unit:04x}"); // writing to a String cannot fail
        }
    };
    sanitize::escaped_with(&text, escape).into_owned()
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
    fn json_stays_the_same_json() {
        let payload = "{\"type\":\"notice\",\r\n\t\"text\":\"a\u{202e}b\u{e0041}\"}".as_bytes();
        let line = json_line(payload, true);
        assert!(!line.contains(['\u{202e}', '\u{e0041}', '\n']), "{line}");
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
        fn one_line_can_be_turned_back(text in any::<String>()) {
            prop_assert_eq!(back(&one_line(&text)), text);
        }
    }
}
