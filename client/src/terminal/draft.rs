//! The line that is being typed: its text, the place of the cursor, and what the keys do to them.

use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation};

use super::keys::Key;

/// The longest draft, in bytes. A message may have 4 096; what is more is told when it is entered.
const MAX_BYTES: usize = 64 * 1024;

/// A line being typed.
#[derive(Debug, Default)]
pub struct Draft {
    text: String,
    /// Where the cursor stands: a byte between two characters as a person sees them.
    cursor: usize,
    /// What was cut out last, for Ctrl-Y.
    cut: String,
}

impl Draft {
    /// What is typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What stands before the cursor.
    pub fn before_cursor(&self) -> &str {
        &self.text[..self.cursor]
    }

    /// Whether nothing is typed.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Takes the text out. What was cut stays.
    pub fn take(&mut self) -> String {
        self.cursor = 0;
        std::mem::take(&mut self.text)
    }

    /// Puts another text in the place of this one, with the cursor behind it.
    pub fn set(&mut self, text: &str) {
        self.text = text.to_owned();
        self.cursor = self.text.len();
    }

    /// Does what a key does to a line; all others do nothing.
    pub fn press(&mut self, key: &Key) {
        match key {
            Key::Char(c) => self.insert(c.encode_utf8(&mut [0; 4])),
            Key::Paste(text) => self.insert(text),
            Key::Yank => self.insert(&self.cut.clone()),
            Key::Backspace => self.remove(self.left(), self.cursor),
            Key::Delete | Key::EndOfInput => self.remove(self.cursor, self.right()),
            Key::Left => self.cursor = self.left(),
            Key::Right => self.cursor = self.right(),
            Key::WordLeft => self.cursor = self.word_left(),
            Key::WordRight => self.cursor = self.word_right(),
            Key::Home => self.cursor = 0,
            Key::End => self.cursor = self.text.len(),
            Key::KillToStart => self.cut_out(0, self.cursor),
            Key::KillToEnd => self.cut_out(self.cursor, self.text.len()),
            Key::KillWordLeft => self.cut_out(self.word_left(), self.cursor),
            Key::KillWordRight => self.cut_out(self.cursor, self.word_right()),
            _ => {}
        }
    }

    fn insert(&mut self, text: &str) {
        if self.text.len() + text.len() <= MAX_BYTES {
            self.text.insert_str(self.cursor, text);
            self.cursor += text.len();
            // What was inserted may have become one with what follows, as an accent does.
            if !self.is_boundary(self.cursor) {
                self.cursor = self.right();
            }
        }
    }

    fn is_boundary(&self, at: usize) -> bool {
        GraphemeCursor::new(at, self.text.len(), true).is_boundary(&self.text, 0).unwrap_or(true)
    }

    fn remove(&mut self, from: usize, to: usize) {
        self.text.replace_range(from..to, "");
        self.cursor = from;
        if !self.is_boundary(self.cursor) {
            self.cursor = self.left();
        }
    }

    fn cut_out(&mut self, from: usize, to: usize) {
        if from < to {
            self.cut = self.text[from..to].to_owned();
            self.remove(from, to);
        }
    }

    fn left(&self) -> usize {
        let mut cursor = GraphemeCursor::new(self.cursor, self.text.len(), true);
        cursor.prev_boundary(&self.text, 0).ok().flatten().unwrap_or(0)
    }

    fn right(&self) -> usize {
        let mut cursor = GraphemeCursor::new(self.cursor, self.text.len(), true);
        cursor.next_boundary(&self.text, 0).ok().flatten().unwrap_or(self.text.len())
    }

    fn word_left(&self) -> usize {
        let words = self.before_cursor().split_word_bound_indices().rev();
        words.filter(|(_, word)| is_word(word)).map(|(at, _)| at).next().unwrap_or(0)
    }

    fn word_right(&self) -> usize {
        let mut words = self.text[self.cursor..].split_word_bound_indices();
        let next = words.find(|(_, word)| is_word(word));
        next.map_or(self.text.len(), |(at, word)| self.cursor + at + word.len())
    }
}

fn is_word(piece: &str) -> bool {
    piece.chars().any(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn typed(keys: &[Key]) -> Draft {
        let mut draft = Draft::default();
        keys.iter().for_each(|key| draft.press(key));
        draft
    }

    #[test]
    fn a_line_is_edited_by_what_a_person_sees_as_a_character() {
        let mut draft = typed(&[Key::Paste("ne\u{301} \u{1f469}\u{200d}\u{1f4bb}".to_owned())]);
        draft.press(&Key::Backspace);
        assert_eq!(draft.text(), "ne\u{301} ");
        draft.press(&Key::Left);
        draft.press(&Key::Left);
        assert_eq!(draft.before_cursor(), "n");
        draft.press(&Key::Delete);
        assert_eq!(draft.text(), "n ");
    }

    #[test]
    fn words_are_cut_and_put_back() {
        let mut draft = typed(&[Key::Paste("one two, three".to_owned()), Key::KillWordLeft]);
        assert_eq!(draft.text(), "one two, ");
        draft.press(&Key::Home);
        draft.press(&Key::Yank);
        assert_eq!(draft.text(), "threeone two, ");
        draft.press(&Key::WordRight);
        draft.press(&Key::KillToEnd);
        assert_eq!((draft.text(), draft.cut.as_str()), ("threeone", " two, "));
    }

    fn key() -> impl Strategy<Value = Key> {
        prop_oneof![
            any::<char>().prop_map(Key::Char),
            prop::sample::select(vec!['a', ' ', '\u{301}', '\u{200d}', '\u{1f469}', '\u{1f1e9}', '\n'])
                .prop_map(Key::Char),
            ".{0,5}".prop_map(Key::Paste),
            prop::sample::select(vec![
                Key::Backspace,
                Key::Delete,
                Key::Left,
                Key::Right,
                Key::WordLeft,
                Key::WordRight,
                Key::Home,
                Key::End,
                Key::KillToEnd,
                Key::KillToStart,
                Key::KillWordLeft,
                Key::KillWordRight,
                Key::Yank,
            ]),
        ]
    }

    proptest! {
        #[test]
        fn no_keys_lead_the_cursor_astray(keys in prop::collection::vec(key(), 0..60)) {
            let draft = typed(&keys);
            prop_assert!(draft.text.is_char_boundary(draft.cursor));
            prop_assert!(draft.is_boundary(draft.cursor));
        }
    }
}
