//! Reading a line of somebody's text: which of its characters a screen may get, and which are told by their
//! number instead.
//!
//! The question is always whether a reader sees what is there. Controls drive the terminal; overrides,
//! isolates and fillers hide or turn what stands around them; what Unicode has not assigned, or left to
//! everybody's own use, is as wide and looks like whatever the terminal likes. A few invisible characters are
//! ordinary writing, and pass just where it has them: joiners by the rules of IDNA (RFC 5892, A.1 and A.2),
//! before a virama (Bengali, Kannada), and in emoji sequences; variation selectors behind what they vary;
//! left-to-right and right-to-left marks in a line with right-to-left letters; the tags of three flags. A mark
//! needs a letter to stand on, and a letter carries no more than [`MAX_MARKS`].

use precis_core::{IdentifierClass, StringClass};
use unicode_normalization::char::canonical_combining_class as combining_class;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeEmoji, UnicodeGeneralCategory as _};
use unicode_script::{Script, UnicodeScript};

use super::INVISIBLE;

/// Nonspacing marks that one letter carries on the screen: Tibetan and vocalised Hebrew have up to six. More
/// of them would cover the rows above and below.
const MAX_MARKS: usize = 6;
const ZWNJ: char = '\u{200c}';
pub(super) const ZWJ: char = '\u{200d}';
pub(super) const LRM: char = '\u{200e}';
pub(super) const RLM: char = '\u{200f}';
const VIRAMA: u8 = 9;
const BLACK_FLAG: char = '\u{1f3f4}';
const END_OF_TAGS: char = '\u{e007f}';
/// England, Scotland and Wales: the only sequences of tags there are.
const FLAGS: [&str; 3] = ["gbeng", "gbsct", "gbwls"];

/// What becomes of a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// It is shown; `joins`: as one with the character before it.
    AsItIs { c: char, joins: bool },
    /// It is told by its number.
    ByNumber(char),
}

/// Whether nothing has to be looked at: every character is printable ASCII.
pub(super) fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b' '..=b'~'))
}

/// Whether a line holds right-to-left letters, or marks that are there for their sake: then its direction has
/// to be set right at its end.
pub(super) fn turns(line: &str) -> bool {
    !line.is_ascii() && line.chars().any(|c| matches!(c, LRM | RLM) || is_right_to_left(c))
}

/// What has to stand behind a line, so that what follows it is neither turned nor joined.
pub(super) fn closing(line: &str) -> Option<char> {
    (line.ends_with(ZWJ) || (turns(line) && !line.ends_with(LRM))).then_some(LRM)
}

/// Reads one line; a newline in it is a control like any other.
pub(super) fn read(line: &str) -> impl Iterator<Item = Shown> {
    let mut reader = Reader::new(line);
    (0..reader.chars.len()).map(move |at| reader.step(at))
}

struct Reader {
    chars: Vec<char>,
    has_right_to_left: bool,
    /// What marks stand on, if they stand on something.
    base: Option<char>,
    marks: usize,
    /// How many of the characters to come are the tags of a flag.
    tags: usize,
}

impl Reader {
    fn new(line: &str) -> Self {
        let chars: Vec<char> = line.chars().collect();
        let has_right_to_left = chars.iter().copied().any(is_right_to_left);
        Reader { chars, has_right_to_left, base: None, marks: 0, tags: 0 }
    }

    fn step(&mut self, at: usize) -> Shown {
        let c = self.chars[at];
        // Some terminals join whatever follows a joiner, our own marks too: so nothing parts it from that.
        let joined = at > 0 && self.chars[at - 1] == ZWJ && self.base.is_some();
        let Some(joins) = self.joins(at) else {
            self.base = None;
            return Shown::ByNumber(c);
        };
        if !joins {
            self.base = Some(c).filter(|_| carries_marks(c));
            self.marks = 0;
        }
        Shown::AsItIs { c, joins: joins || joined }
    }

    /// Whether a character is shown as one with what stands before it, or by itself; `None`: by its number.
    fn joins(&mut self, at: usize) -> Option<bool> {
        let c = self.chars[at];
        if self.tags > 0 {
            self.tags -= 1;
            return Some(true);
        }
        if matches!(c, ' '..='~') {
            return Some(false);
        }
        match c {
            ZWNJ | ZWJ => return (self.base.is_some() && self.joiner_belongs(at)).then_some(true),
            // Not one with the letter before it, so that a row may end there; never two in a row.
            LRM | RLM => {
                let again = at > 0 && matches!(self.chars[at - 1], LRM | RLM);
                return (self.has_right_to_left && !again).then_some(false);
            }
            _ => {}
        }
        if is_invisible(c) {
            return (self.varies(at) || self.begins_tags(at)).then_some(true);
        }
        match c.general_category_group() {
            GeneralCategoryGroup::Mark => self.mark_stands(c).then_some(true),
            GeneralCategoryGroup::Other => is_future_emoji(c).then_some(false),
            _ if matches!(c, '\u{2028}' | '\u{2029}') => None,
            _ => Some(matches!(c, '\u{1f3fb}'..='\u{1f3ff}') && self.base.is_some_and(is_pictograph)),
        }
    }

    fn mark_stands(&mut self, c: char) -> bool {
        let nonspacing = c.general_category() != GeneralCategory::SpacingMark;
        self.marks += usize::from(nonspacing);
        self.base.is_some() && self.marks <= MAX_MARKS
    }

    fn joiner_belongs(&self, at: usize) -> bool {
        let (before, after) = (self.chars[at - 1], self.chars.get(at + 1).copied());
        let on_emoji = is_pictograph(before) || matches!(before, '\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}');
        if self.chars[at] == ZWJ && on_emoji && self.base.is_some_and(is_pictograph) {
            return after.is_some_and(is_pictograph);
        }
        let is_letter = |c: char| c.general_category_group() == GeneralCategoryGroup::Letter;
        if is_letter(before) && after.is_some_and(|c| combining_class(c) == VIRAMA) {
            return true;
        }
        let start = self.chars[..at].iter().rposition(|c| !is_mark(*c)).unwrap_or(0);
        let behind = &self.chars[at + 1..];
        let end = behind.iter().position(|c| !is_mark(*c)).map_or(self.chars.len(), |next| at + 2 + next);
        let allowed = |end: usize| {
            let window: String = self.chars[start..end].iter().collect();
            IdentifierClass::default().allows(&window).is_ok()
        };
        allowed(at + 1) || allowed(end)
    }

    /// Whether a variation selector stands behind what it can vary.
    fn varies(&self, at: usize) -> bool {
        let Some(before) = at.checked_sub(1).map(|at| self.chars[at]) else { return false };
        match self.chars[at] {
            '\u{fe0e}' | '\u{fe0f}' => before.is_emoji_char(),
            '\u{fe00}'..='\u{fe0d}' => {
                !before.is_ascii()
                    && matches!(
                        before.general_category_group(),
                        GeneralCategoryGroup::Letter | GeneralCategoryGroup::Symbol
                    )
            }
            '\u{180b}'..='\u{180d}' | '\u{180f}' => before.script() == Script::Mongolian,
            '\u{e0100}'..='\u{e01ef}' => before.script() == Script::Han,
            _ => false,
        }
    }

    fn begins_tags(&mut self, at: usize) -> bool {
        if at == 0 || self.chars[at - 1] != BLACK_FLAG {
            return false;
        }
        let is_flag = |flag: &&&str| {
            let tags = flag.bytes().filter_map(|b| char::from_u32(0xe_0000 + u32::from(b)));
            self.chars[at..].iter().copied().take(flag.len() + 1).eq(tags.chain([END_OF_TAGS]))
        };
        match FLAGS.iter().find(is_flag) {
            Some(flag) => {
                self.tags = flag.len();
                true
            }
            None => false,
        }
    }
}

pub(super) fn is_mark(c: char) -> bool {
    c.general_category_group() == GeneralCategoryGroup::Mark
}

/// Whether a screen shows nothing of it.
pub(super) fn is_invisible(c: char) -> bool {
    !c.is_ascii() && INVISIBLE.iter().any(|range| range.contains(&c))
}

fn carries_marks(c: char) -> bool {
    !matches!(
        c.general_category_group(),
        GeneralCategoryGroup::Separator | GeneralCategoryGroup::Other | GeneralCategoryGroup::Mark
    )
}

/// Whether it can be part of an emoji sequence.
fn is_pictograph(c: char) -> bool {
    !c.is_ascii() && (c.is_emoji_char() || is_future_emoji(c))
}

/// The places that Unicode keeps for emoji to come: a newer keyboard than ours has them already.
fn is_future_emoji(c: char) -> bool {
    matches!(c, '\u{1f000}'..='\u{1faff}') && c.general_category() == GeneralCategory::Unassigned
}

/// Letters in the blocks of right-to-left scripts.
fn is_right_to_left(c: char) -> bool {
    matches!(c,
        '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}'
        | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
        && c.general_category_group() == GeneralCategoryGroup::Letter
}
