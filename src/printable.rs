//! Text from outside, made safe for a terminal and for a line of the log.
//!
//! Whatever is shown to a person or written to the log goes through here last, so that no input can start a
//! new line there, drive a terminal with escape sequences, or turn the order of what is read around.

use std::borrow::Cow;
use std::fmt::Write;

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

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

/// The text on one line: control characters, line and paragraph separators and invisible format characters
/// (bidi overrides among them) are written as `\n`, `\t` or `\u{1b}`. Everything else is left as it is.
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// Like [`one_line`], but newlines stay: for the answers of commands, which are written in lines.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\n')
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    let moves_eye = |c: char| drives_display(c) && !stays(c);
    let Some(first) = text.find(moves_eye) else { return Cow::Borrowed(text) };
    let mut safe = String::with_capacity(text.len() + 16);
    safe.push_str(&text[..first]);
    for c in text[first..].chars() {
        match c {
            c if !moves_eye(c) => safe.push(c),
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            c => {
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(c)); // writing to a String cannot fail
            }
        }
    }
    Cow::Owned(safe)
}

fn drives_display(c: char) -> bool {
    if (' '..='~').contains(&c) {
        return false;
    }
    matches!(
        c.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_text_is_left_alone() {
        for text in ["", "hello", "жанна said: 山田太郎 \\n \"x\"", "e\u{301} 😀"] {
            assert!(matches!(one_line(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn what_drives_a_terminal_or_forges_a_line_shows_itself() {
        assert_eq!(one_line("a\nb\r\tc"), "a\\nb\\r\\tc");
        assert_eq!(one_line("\u{1b}]0;x\u{7}\u{9b}2J\u{7f}"), "\\u{1b}]0;x\\u{7}\\u{9b}2J\\u{7f}");
        assert_eq!(
            one_line("\u{202e}evil\u{2066}\u{200b}\u{feff}"),
            "\\u{202e}evil\\u{2066}\\u{200b}\\u{feff}"
        );
        assert_eq!(one_line("a\u{2028}b\u{2029}c\u{85}"), "a\\u{2028}b\\u{2029}c\\u{85}");
        assert_eq!(lines("a\nb\u{1b}"), "a\nb\\u{1b}");
    }

    proptest! {
        #[test]
        fn nothing_that_drives_a_display_is_left(text in any::<String>()) {
            prop_assert!(!one_line(&text).contains(drives_display));
            prop_assert!(one_line(&text).lines().count() <= 1);
        }
    }
}
