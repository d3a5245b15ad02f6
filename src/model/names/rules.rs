//! What makes a text a name, and which names are one: the canonical form, and the key of `name_taken`.
//!
//! The canonical form is PRECIS UsernameCaseMapped (RFC 8265) with Unicode's `toLowerCase` of the *whole*
//! string, which knows the final sigma: `ΓΙΏΡΓΟΣ` is `γιώργος`. Two steps are our own. A dot above a letter
//! that has one already falls away, so that `İspir` is `ispir`; and marks that a screen would hide or merge
//! make a text no name ([`sound_marks`]).

use std::borrow::Cow;

use precis_core::profile::{Profile, Rules};
use precis_profiles::UsernameCaseMapped;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class as combining_class;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};
use unicode_script::{Script, ScriptExtension, UnicodeScript};
use unicode_security::{MixedScript, RestrictionLevel, RestrictionLevelDetection};

use super::NameError;

/// The most nonspacing marks that one letter carries (UTS 39, 5.4).
const MAX_MARKS: usize = 4;
const DOT_ABOVE: char = '\u{307}';
/// The combining class of the marks above a letter.
const ABOVE: u8 = 230;
/// The combining class of the strokes that are laid over a letter.
const OVERLAY: u8 = 1;

/// Brings a name into its canonical form, or says why it has none.
pub(super) fn canonical(text: &str, max_chars: usize) -> Result<String, NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    // PRECIS never shrinks a string by more than composition does (at most four code points into one), so
    // this bound refuses nothing valid and keeps the work small for a 64 KiB "name".
    if text.len() > max_chars * 16 {
        return Err(NameError::TooLong { max: max_chars });
    }
    // Most names are ASCII, and nothing in the tables of Unicode says more about those: they are lowercased,
    // and of one script.
    if text.is_ascii() {
        let name = text.to_ascii_lowercase();
        return check_canonical(&name, max_chars).map(|()| name);
    }
    by_the_tables(text, max_chars)
}

/// The same for any text, by the tables of Unicode.
pub(super) fn by_the_tables(text: &str, max_chars: usize) -> Result<String, NameError> {
    let name = until_stable(text, enforce)?;
    check_by_the_tables(&name, max_chars)?;
    sound_marks(&name).map(|()| name)
}

/// The canonical form that a text had before these rules: case was mapped letter by letter,
/// and no mark was looked at. Stored names may have it.
pub(super) fn former(text: &str, max_chars: usize) -> Result<String, NameError> {
    if text.is_ascii() || text.len() > max_chars * 16 {
        return canonical(text, max_chars);
    }
    let name = until_stable(text, |text| {
        UsernameCaseMapped::new().enforce(text).map(Cow::into_owned).map_err(|_| NameError::BadCharacter)
    })?;
    check_by_the_tables(&name, max_chars).map(|()| name)
}

/// The canonical form, but for a text of which former rules made another name: that stays as it is.
pub(super) fn as_given(text: &str, max_chars: usize) -> Result<String, NameError> {
    let present = canonical(text, max_chars);
    match former(text, max_chars) {
        Ok(former) if present.as_ref() != Ok(&former) => {
            Ok(check_canonical(text, max_chars).map_or(former, |()| text.to_owned()))
        }
        _ => present,
    }
}

fn check_by_the_tables(name: &str, max_chars: usize) -> Result<(), NameError> {
    if name.chars().count() > max_chars {
        return Err(NameError::TooLong { max: max_chars });
    }
    if !name.starts_with(is_letter_or_digit) || !name.chars().all(is_name_char) {
        return Err(NameError::BadCharacter);
    }
    if !name.is_single_script() && !name.check_restriction_level(RestrictionLevel::HighlyRestrictive) {
        return Err(NameError::MixedScripts);
    }
    Ok(())
}

/// What can be seen of a canonical name without tables: its length and its ASCII characters.
pub(super) fn check_canonical(text: &str, max_chars: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > max_chars && text.chars().count() > max_chars {
        return Err(NameError::TooLong { max: max_chars });
    }
    let plausible =
        |c: char| (!c.is_ascii() && !c.is_control()) || matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.');
    if text.starts_with(['-', '_', '.']) || !text.chars().all(plausible) {
        return Err(NameError::BadCharacter);
    }
    Ok(())
}

/// Names with equal keys are one name for `name_taken`: full case folding, so `straße` takes `strasse`.
pub(super) fn case_key(name: &str) -> Cow<'_, str> {
    if name.is_ascii() {
        return Cow::Borrowed(name);
    }
    // A name that was stored before a dot above fell away counts as what it would be now.
    let dotless = without_second_dots(name);
    let folded = unicase::UniCase::unicode(dotless.nfd().collect::<String>()).to_folded_case();
    Cow::Owned(folded.nfc().collect())
}

/// RFC 8264, section 7: the rules are not idempotent for every string, so they are applied until nothing
/// changes; a string that has not settled after the third time is refused.
fn until_stable(
    text: &str,
    enforce: impl Fn(&str) -> Result<String, NameError>,
) -> Result<String, NameError> {
    let mut current = text.to_owned();
    for _ in 0..4 {
        let next = enforce(&current)?;
        if next == current {
            return Ok(current);
        }
        current = next;
    }
    Err(NameError::BadCharacter)
}

/// The rules once: width mapping and allowed characters, case, normalisation, direction.
fn enforce(text: &str) -> Result<String, NameError> {
    let profile = UsernameCaseMapped::new();
    let bad = |_| NameError::BadCharacter;
    let prepared = profile.prepare(text).map_err(bad)?;
    let lower: String = prepared.to_lowercase().nfc().collect();
    // Looked at before dots fall away: two of them are a repeated mark.
    no_repeated_marks(&lower)?;
    let name = without_second_dots(&lower);
    // RFC 5893 lets marks stand anywhere behind a letter; the crate only at the end, so it does not see them.
    let unmarked: String = name.chars().filter(|c| !is_mark(*c)).collect();
    profile.directionality_rule(unmarked).map_err(bad)?;
    Ok(name)
}

/// The text without the dots above that a letter shows anyway: `i̇` is `i`.
fn without_second_dots(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for letter in letters(text) {
        let dotted = is_soft_dotted(letter.base);
        kept.push(letter.base);
        // The first marks above are the ones that may stand on the letter's own dot.
        let mut on_the_letter = dotted;
        for mark in letter.marks {
            if on_the_letter && mark == DOT_ABOVE {
                continue;
            }
            on_the_letter &= !matches!(combining_class(mark), 0 | ABOVE);
            kept.push(mark);
        }
    }
    kept.nfc().collect()
}

/// UTS 39, 5.4, and its kind: what a screen does not show, or shows as another name, is no name. That is a
/// mark on no letter, or on one of another script; one that is repeated; more than four; a stroke over a
/// letter; and a dot above one that looks like a dotted letter.
fn sound_marks(name: &str) -> Result<(), NameError> {
    for letter in letters(name).filter(|letter| !letter.marks.is_empty()) {
        let nonspacing =
            letter.marks.iter().filter(|mark| mark.general_category() == GeneralCategory::NonspacingMark);
        let on_a_letter = letter.base.general_category_group() == GeneralCategoryGroup::Letter;
        let scripts = letter.base.script_extension();
        let foreign = |mark: &char| scripts.intersection(own_scripts(*mark)).is_empty();
        let overlay = |mark: &char| combining_class(*mark) == OVERLAY && mark.script() == Script::Inherited;
        let first_above = letter.marks.iter().find(|mark| combining_class(**mark) == ABOVE);
        let hidden_dot = first_above == Some(&DOT_ABOVE) && looks_dotted(letter.base);
        if !on_a_letter
            || nonspacing.count() > MAX_MARKS
            || letter.marks.iter().any(foreign)
            || letter.marks.iter().any(overlay)
            || hidden_dot
        {
            return Err(NameError::Marks);
        }
    }
    no_repeated_marks(name)
}

fn no_repeated_marks(name: &str) -> Result<(), NameError> {
    for letter in letters(name).filter(|letter| letter.marks.len() > 1) {
        let mut seen = Vec::with_capacity(letter.marks.len());
        for mark in letter.marks {
            let look = mark_look(mark);
            if seen.contains(&look) {
                return Err(NameError::Marks);
            }
            seen.push(look);
        }
    }
    Ok(())
}

/// The scripts that a mark is used in; all of them where Unicode names none.
fn own_scripts(mark: char) -> ScriptExtension {
    mark.script_extension()
}

/// What a mark looks like. Only those that belong to no script have doubles: within one script, marks that
/// look alike when they stand alone may well stand together.
fn mark_look(mark: char) -> String {
    if mark.script() == Script::Inherited {
        unicode_security::skeleton(mark.encode_utf8(&mut [0; 4])).collect()
    } else {
        mark.to_string()
    }
}

/// Whether a letter has a dot that gives way to a mark above it: Unicode's Soft_Dotted, as far as such
/// letters can be in a decomposed name.
fn is_soft_dotted(c: char) -> bool {
    matches!(
        c,
        'i' | 'j'
            | '\u{249}'
            | '\u{268}'
            | '\u{29d}'
            | '\u{3f3}'
            | '\u{456}'
            | '\u{458}'
            | '\u{1d96}'
            | '\u{1df1a}'
    )
}

/// Whether a letter with a dot above could be taken for a dotted one without.
fn looks_dotted(base: char) -> bool {
    let look = unicode_security::skeleton(base.encode_utf8(&mut [0; 4])).last();
    matches!(base, 'ı' | 'ȷ' | 'l') || look.is_some_and(|c| is_soft_dotted(c) || matches!(c, 'ı' | 'ȷ' | 'l'))
}

/// A character of a decomposed text that is no mark, and the marks behind it.
struct Letter {
    base: char,
    marks: Vec<char>,
}

/// The letters of a text, decomposed. A mark at the very beginning counts as a base.
fn letters(text: &str) -> impl Iterator<Item = Letter> {
    let mut chars = text.nfd().peekable();
    std::iter::from_fn(move || {
        let base = chars.next()?;
        let mut marks = Vec::new();
        while let Some(mark) = chars.next_if(|c| is_mark(*c)) {
            marks.push(mark);
        }
        Some(Letter { base, marks })
    })
}

fn is_mark(c: char) -> bool {
    c.general_category_group() == GeneralCategoryGroup::Mark
}

fn is_letter_or_digit(c: char) -> bool {
    c.general_category_group() == GeneralCategoryGroup::Letter
        || c.general_category() == GeneralCategory::DecimalNumber
}

fn is_name_char(c: char) -> bool {
    matches!(c, '-' | '_' | '.') || is_letter_or_digit(c) || is_mark(c)
}
