//! Text from outside, made safe for a terminal and for a line of the log.
//!
//! Whatever is shown to a person or written to the log goes through here last, so that no input can start a
//! new line there, drive a terminal with escape sequences, or turn the order of what is read around. Ordinary
//! writing passes as it is, in every script: `reading` decides character by character. Longer texts of
//! others go to a terminal as [`rows`], none of which can pass for somebody else's.

use std::borrow::Cow;
use std::fmt::Write;

mod reading;
pub mod rows;

use reading::Shown;

/// The ranges of Unicode's Default_Ignorable_Code_Point: what a screen shows nothing of.
pub const INVISIBLE: [std::ops::RangeInclusive<char>; 17] = [
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{61c}'..='\u{61c}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{202a}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fff8}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e0fff}',
];

/// The text on one line: what could drive a display or deceive its reader is written as `\n`, `\t` or
/// `\u{1b}`, the rest is left as it is. Behind right-to-left writing the direction is set right, so that what
/// follows stands where it should.
pub fn one_line(text: &str) -> Cow<'_, str> {
    closed(escaped(text))
}

/// Like [`one_line`], but newlines stay: for the answers of commands, which are written in lines.
pub fn lines(text: &str) -> Cow<'_, str> {
    if !text.contains('\n') {
        return one_line(text);
    }
    let lines: Vec<_> = text.split('\n').map(one_line).collect();
    Cow::Owned(lines.join("\n"))
}

/// Like [`one_line`], with nothing added behind: for what programs read.
pub fn escaped(text: &str) -> Cow<'_, str> {
    escaped_with(text, |out, c| out.push_str(&number(c)))
}

/// The text with `escape` called for each character that a display must not get.
pub fn escaped_with(text: &str, escape: impl Fn(&mut String, char)) -> Cow<'_, str> {
    if reading::is_plain(text) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut changed = false;
    for shown in reading::read(text) {
        match shown {
            Shown::AsItIs { c, .. } => out.push(c),
            Shown::ByNumber(c) => {
                changed = true;
                escape(&mut out, c);
            }
        }
    }
    if changed { Cow::Owned(out) } else { Cow::Borrowed(text) }
}

/// What is shown for each character of a text, in their order: itself, or its number.
pub fn shown(text: &str) -> impl Iterator<Item = String> {
    reading::read(text).map(|shown| match shown {
        Shown::AsItIs { c, .. } => c.to_string(),
        Shown::ByNumber(c) => number(c),
    })
}

fn closed(text: Cow<'_, str>) -> Cow<'_, str> {
    match reading::closing(&text) {
        Some(mark) => Cow::Owned(text.into_owned() + mark.encode_utf8(&mut [0; 4])),
        None => text,
    }
}

/// A character by its number.
fn number(c: char) -> String {
    match c {
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        c => {
            let mut number = String::new();
            let _ = write!(number, "\\u{{{:x}}}", u32::from(c)); // writing to a String cannot fail
            number
        }
    }
}

#[cfg(test)]
#[path = "sanitize/sanitize_tests.rs"]
mod tests;
