//! What is said: texts that name their room, talker and number, and whose every byte is known beforehand.
//!
//! So each delivery can be checked by content without keeping any text: `r00012t0003s00000042 `, then letters
//! that depend on those three numbers.

/// Bytes before the letters.
const HEAD_BYTES: usize = 21;
/// The shortest text: the head and some letters.
pub const MIN_TEXT_BYTES: usize = HEAD_BYTES + 8;
/// The longest text; Veche's bound.
pub const MAX_TEXT_BYTES: usize = 4_096;
/// The letters repeat after this many; a prime, so that texts of near numbers differ.
const PERIOD: usize = 1_009;

/// Which message a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// The room, counted from 0.
    pub room: u32,
    /// The talker in that room, counted from 0.
    pub talker: u32,
    /// The talker's message, counted from 0.
    pub number: u32,
}

impl Label {
    fn offset(self) -> usize {
        (self.room as usize * 31 + self.talker as usize * 17 + self.number as usize * 7) % PERIOD
    }
}

/// Makes and checks texts of one length.
#[derive(Debug)]
pub struct Texts {
    letters: Vec<u8>,
    text_bytes: usize,
}

impl Texts {
    /// Texts of `text_bytes` bytes, brought into [`MIN_TEXT_BYTES`] to [`MAX_TEXT_BYTES`].
    pub fn new(text_bytes: usize) -> Self {
        let text_bytes = text_bytes.clamp(MIN_TEXT_BYTES, MAX_TEXT_BYTES);
        let mut state = 0x2545_f491_u32;
        let mut letter = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b'a' + ((state >> 24) % 26) as u8
        };
        let period: Vec<u8> = (0..PERIOD).map(|_| letter()).collect();
        let letters = period.iter().copied().cycle().take(PERIOD + MAX_TEXT_BYTES).collect();
        Texts { letters, text_bytes }
    }

    /// Writes the text of this message, in place of what `text` held.
    pub fn write(&self, label: Label, text: &mut Vec<u8>) {
        text.clear();
        put_number(text, b'r', label.room, 5);
        put_number(text, b't', label.talker, 4);
        put_number(text, b's', label.number, 8);
        text.push(b' ');
        text.extend_from_slice(self.filler(label));
    }

    /// Which message this text is; `None` when any byte of it is not as it was written.
    pub fn read(&self, text: &[u8]) -> Option<Label> {
        let (head, filler) = text.split_at_checked(HEAD_BYTES)?;
        let label = Label {
            room: number(head, 0, b'r', 5)?,
            talker: number(head, 6, b't', 4)?,
            number: number(head, 11, b's', 8)?,
        };
        (head[HEAD_BYTES - 1] == b' ' && filler == self.filler(label)).then_some(label)
    }

    fn filler(&self, label: Label) -> &[u8] {
        &self.letters[label.offset()..][..self.text_bytes - HEAD_BYTES]
    }
}

fn put_number(text: &mut Vec<u8>, sign: u8, number: u32, digits: u32) {
    text.push(sign);
    text.extend((0..digits).rev().map(|place| b'0' + (number / 10_u32.pow(place) % 10) as u8));
}

fn number(head: &[u8], at: usize, sign: u8, digits: usize) -> Option<u32> {
    let (first, rest) = head.get(at..=at + digits)?.split_first()?;
    let add = |sum: u32, digit: &u8| digit.is_ascii_digit().then(|| sum * 10 + u32::from(digit - b'0'));
    (*first == sign).then_some(())?;
    rest.iter().try_fold(0, add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_and_no_flipped_bit_goes_unseen() {
        let texts = Texts::new(128);
        let label = Label { room: 12, talker: 3, number: 42 };
        let mut text = Vec::new();
        texts.write(label, &mut text);
        assert_eq!(text.len(), 128);
        assert_eq!(texts.read(&text), Some(label));
        for at in 0..text.len() {
            text[at] ^= 1;
            assert_ne!(texts.read(&text), Some(label), "byte {at}");
            text[at] ^= 1;
        }
        assert_eq!(texts.read(&text[..127]), None);
        assert_eq!(texts.read(b""), None);
    }
}
