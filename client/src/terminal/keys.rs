//! What a terminal sends, as the keys that a person pressed. [`vte`] takes the bytes apart; here stands what
//! they mean. What is pasted comes as one piece, so that a line break in it is no Enter.

use std::collections::VecDeque;

use vte::{Params, Parser, Perform};

/// What is pasted is taken up to this many bytes; no message is as long.
const MAX_PASTE_BYTES: usize = 64 * 1024;

/// A key, or something pasted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    Char(char),
    Paste(String),
    Enter,
    Backspace,
    Delete,
    Left,
    Right,
    WordLeft,
    WordRight,
    Home,
    End,
    Up,
    Down,
    /// Ctrl-K.
    KillToEnd,
    /// Ctrl-U.
    KillToStart,
    /// Ctrl-W, Alt-Backspace.
    KillWordLeft,
    /// Alt-D.
    KillWordRight,
    /// Ctrl-Y.
    Yank,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D: the end of the input where nothing is typed, Delete elsewhere.
    EndOfInput,
    /// Ctrl-L.
    ClearScreen,
    /// Ctrl-Z.
    Suspend,
}

/// Turns bytes into keys, however they are cut into pieces on the way.
#[derive(Default)]
pub struct Decoder {
    parser: Parser,
    /// The beginning of a character whose other bytes have not come yet.
    begun: Vec<u8>,
    /// Whether bytes came that are no text.
    spoiled: bool,
    keys: Keys,
}

#[derive(Default)]
struct Keys {
    out: VecDeque<Key>,
    pasted: Option<String>,
    /// `ESC O` came: the next letter is a key of the old keypad.
    keypad: bool,
}

impl Decoder {
    /// Takes what was read.
    pub fn feed(&mut self, bytes: &[u8]) {
        // The parser may lose what follows a character that came in two pieces, so it gets whole ones.
        self.begun.extend_from_slice(bytes);
        let whole = self.begun.len() - incomplete_bytes(&self.begun);
        self.spoiled |= std::str::from_utf8(&self.begun[..whole]).is_err();
        self.parser.advance(&mut self.keys, &self.begun[..whole]);
        self.begun.drain(..whole);
    }

    /// Whether something came since the last call that is no UTF-8, and stands for no key.
    pub fn take_spoiled(&mut self) -> bool {
        std::mem::take(&mut self.spoiled)
    }

    /// What is typed ahead, up to the first key that is no character of a line.
    pub fn begun_line(&self) -> String {
        let typed = |key: &Key| if let Key::Char(c) = key { Some(*c) } else { None };
        self.keys.out.iter().map_while(typed).collect()
    }

    /// The next key that is complete.
    pub fn next(&mut self) -> Option<Key> {
        self.keys.out.pop_front()
    }

    /// Puts a key back, to come again next.
    pub fn put_back(&mut self, key: Key) {
        self.keys.out.push_front(key);
    }
}

/// How many bytes at the end are the beginning of a character.
fn incomplete_bytes(bytes: &[u8]) -> usize {
    let leads = |byte: u8| match byte {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 0,
    };
    let follow = bytes.iter().rev().take(3).take_while(|byte| matches!(byte, 0x80..=0xbf)).count();
    let begun = follow + 1;
    let lead = bytes.len().checked_sub(begun).map_or(0, |at| leads(bytes[at]));
    if lead > begun { begun } else { 0 }
}

impl Keys {
    fn push(&mut self, key: Key) {
        self.out.push_back(key);
    }

    fn cursor(&mut self, letter: char, with_modifier: bool) {
        match letter {
            'A' => self.push(Key::Up),
            'B' => self.push(Key::Down),
            'C' => self.push(if with_modifier { Key::WordRight } else { Key::Right }),
            'D' => self.push(if with_modifier { Key::WordLeft } else { Key::Left }),
            'F' => self.push(Key::End),
            'H' => self.push(Key::Home),
            'M' => self.push(Key::Enter),
            _ => {}
        }
    }
}

impl Perform for Keys {
    fn print(&mut self, c: char) {
        // The newline and the tab of what is pasted come by `execute`.
        let drives = c.is_control() && !matches!(c, '\n' | '\t' | '\u{7f}');
        match &mut self.pasted {
            _ if drives => {}
            Some(_) if c == '\u{7f}' => {}
            Some(pasted) if pasted.len() < MAX_PASTE_BYTES => pasted.push(c),
            Some(_) => {}
            None if std::mem::take(&mut self.keypad) => self.cursor(c, false),
            None if c == '\u{7f}' => self.push(Key::Backspace),
            None => self.push(Key::Char(c)),
        }
    }

    fn execute(&mut self, byte: u8) {
        if self.pasted.is_some() {
            match byte {
                b'\r' | b'\n' => self.print('\n'),
                b'\t' => self.print('\t'),
                _ => {}
            }
            return;
        }
        self.keypad = false;
        let key = match byte {
            0x01 => Key::Home,
            0x02 => Key::Left,
            0x03 => Key::Interrupt,
            0x04 => Key::EndOfInput,
            0x05 => Key::End,
            0x06 => Key::Right,
            0x08 | 0x7f => Key::Backspace,
            b'\r' | b'\n' => Key::Enter,
            0x0b => Key::KillToEnd,
            0x0c => Key::ClearScreen,
            0x0e => Key::Down,
            0x10 => Key::Up,
            0x15 => Key::KillToStart,
            0x17 => Key::KillWordLeft,
            0x19 => Key::Yank,
            0x1a => Key::Suspend,
            _ => return,
        };
        self.push(key);
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], _: bool, action: char) {
        if !intermediates.is_empty() {
            return;
        }
        let mut numbers = params.iter().filter_map(|param| param.first().copied());
        let first = numbers.next().unwrap_or(0);
        match (action, first) {
            ('~', 200) => self.pasted = Some(String::new()),
            ('~', 201) => {
                if let Some(pasted) = self.pasted.take() {
                    self.push(Key::Paste(pasted));
                }
            }
            _ if self.pasted.is_some() => {}
            ('~', 1 | 7) => self.push(Key::Home),
            ('~', 4 | 8) => self.push(Key::End),
            ('~', 3) => self.push(Key::Delete),
            (letter, _) => self.cursor(letter, numbers.next().unwrap_or(1) > 1),
        }
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], _: bool, byte: u8) {
        if self.pasted.is_some() || !intermediates.is_empty() {
            return;
        }
        match byte {
            b'O' => self.keypad = true,
            b'b' | b'B' => self.push(Key::WordLeft),
            b'f' | b'F' => self.push(Key::WordRight),
            b'd' | b'D' => self.push(Key::KillWordRight),
            0x7f => self.push(Key::KillWordLeft),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(pieces: &[&[u8]]) -> Vec<Key> {
        let mut decoder = Decoder::default();
        pieces.iter().for_each(|piece| decoder.feed(piece));
        std::iter::from_fn(|| decoder.next()).collect()
    }

    #[test]
    fn keys_are_what_terminals_send_for_them() {
        assert_eq!(keys(&[b"a\xc3", b"\xa4"]), [Key::Char('a'), Key::Char('\u{e4}')]);
        assert_eq!(keys(&[b"\x1b[A\x1bOA\x1b[1;5C\x1bb"]), [Key::Up, Key::Up, Key::WordRight, Key::WordLeft]);
        assert_eq!(keys(&[b"\x1b[3~\x1b[H\x1b[4~\x7f\x08"]).len(), 5);
        assert_eq!(keys(&[b"\r", b"\n"]), [Key::Enter, Key::Enter]);
        assert_eq!(keys(&[b"\xf0a\r"]), [Key::Char('\u{fffd}'), Key::Char('a'), Key::Enter], "Latin-1");
        assert_eq!(keys(&[b"\x03\x04"]), [Key::Interrupt, Key::EndOfInput]);
    }

    #[test]
    fn what_is_pasted_is_one_piece_and_drives_nothing() {
        let pasted = keys(&[b"\x1b[20", b"0~one\rtwo\x1b[2J\x03", b"\x07\tx\n\x1b[20", b"1~y"]);
        assert_eq!(pasted, [Key::Paste("one\ntwo\tx\n".to_owned()), Key::Char('y')]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_keys_or_nothing(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0_usize..200) {
            let cut = cut.min(bytes.len());
            prop_assert_eq!(keys(&[&bytes[..cut], &bytes[cut..]]), keys(&[&bytes]));
        }
    }
}
