//! The words that Veche uses to point at things: who, where, which message, when.
//!
//! Each type here is *parsed once and valid ever after*: a [`UserName`] that exists is canonical, so no
//! other file normalises, lowercases or measures a name again. All of them are cheap to clone.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::num::NonZeroU64;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use precis_core::profile::PrecisFastInvocation;
use precis_profiles::UsernameCaseMapped;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};
use unicode_security::{MixedScript, RestrictionLevel, RestrictionLevelDetection};

/// The longest user name, in code points of its canonical form.
pub const MAX_USER_NAME_CHARS: usize = 32;
/// The longest room name, in code points of its canonical form.
pub const MAX_ROOM_NAME_CHARS: usize = 50;
/// The largest message id: 2^53 - 1, the largest integer that JavaScript keeps exactly (RFC 8259, section 6).
pub const MAX_MESSAGE_ID: u64 = (1 << 53) - 1;

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing is left of it.
    #[error("a name needs at least one letter or digit")]
    Empty,
    /// More code points than its kind of name may have.
    #[error("a name has at most {max} characters")]
    TooLong {
        /// The bound, in code points.
        max: usize,
    },
    /// RFC 8265 or our own narrower rule does not allow one of its characters, or where it stands.
    #[error("a name is made of letters, digits and - _ . and begins with a letter or digit")]
    BadCharacter,
    /// Letters of scripts that are not written together (UTS 39).
    #[error("a name keeps to one alphabet")]
    MixedScripts,
}

/// An account's name in canonical form: 1 to 32 code points, PRECIS UsernameCaseMapped (RFC 8265), letters,
/// marks, digits, `-`, `_` and `.` only, of one script or a Highly Restrictive combination (UTS 39, 5.2).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(Arc<str>);

/// A room's name in canonical form: 1 to 50 code points, under the rules of [`UserName`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomName(Arc<str>);

impl UserName {
    /// Parses and canonicalises a name: `Alice` and full-width `Ａｌｉｃｅ` both give `alice`.
    ///
    /// # Errors
    /// [`NameError`] when the text is no name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        canonical(text, MAX_USER_NAME_CHARS).map(|name| UserName(name.into()))
    }

    /// Takes a name that was canonical when Veche wrote it to a file, with none of the costly checks.
    ///
    /// # Errors
    /// [`NameError`] when it is plainly no canonical name: empty, too long, or with an ASCII character that
    /// no canonical name has.
    pub fn from_canonical(text: &str) -> Result<Self, NameError> {
        check_canonical(text, MAX_USER_NAME_CHARS).map(|()| UserName(text.into()))
    }

    /// The name that speaks for the operator. Nobody can register it.
    pub fn server() -> Self {
        UserName("server".into())
    }

    /// Whether this is the operator's name.
    pub fn is_server(&self) -> bool {
        &*self.0 == "server"
    }

    /// The UTS 39 skeleton: two names with equal skeletons look alike.
    pub fn skeleton(&self) -> String {
        unicode_security::skeleton(&self.0).collect()
    }
}

impl RoomName {
    /// Parses and canonicalises a room's name.
    ///
    /// # Errors
    /// [`NameError`] when the text is no name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        canonical(text, MAX_ROOM_NAME_CHARS).map(|name| RoomName(name.into()))
    }

    /// Takes a room's name that was canonical when Veche wrote it to a file, with none of the costly checks.
    ///
    /// # Errors
    /// As for [`UserName::from_canonical`].
    pub fn from_canonical(text: &str) -> Result<Self, NameError> {
        check_canonical(text, MAX_ROOM_NAME_CHARS).map(|()| RoomName(text.into()))
    }

    /// The room that always exists.
    pub fn lobby() -> Self {
        RoomName("lobby".into())
    }
}

/// Brings a name into its canonical form, or says why it has none.
fn canonical(text: &str, max_chars: usize) -> Result<String, NameError> {
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
fn by_the_tables(text: &str, max_chars: usize) -> Result<String, NameError> {
    let name = enforce_until_stable(text)?;
    if name.chars().count() > max_chars {
        return Err(NameError::TooLong { max: max_chars });
    }
    if !name.starts_with(is_letter_or_digit) || !name.chars().all(is_name_char) {
        return Err(NameError::BadCharacter);
    }
    let one_script = name.as_str().is_single_script();
    if !one_script && !name.as_str().check_restriction_level(RestrictionLevel::HighlyRestrictive) {
        return Err(NameError::MixedScripts);
    }
    Ok(name)
}

/// What can be seen of a canonical name without tables: its length and its ASCII characters.
fn check_canonical(text: &str, max_chars: usize) -> Result<(), NameError> {
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

/// RFC 8264, section 7: the rules are not idempotent for every string, so they are applied until nothing
/// changes; a string that has not settled after the third time is refused.
fn enforce_until_stable(text: &str) -> Result<String, NameError> {
    let mut current = text.to_owned();
    for _ in 0..4 {
        let next = UsernameCaseMapped::enforce(current.as_str()).map_err(|_| NameError::BadCharacter)?;
        if next == current {
            return Ok(current);
        }
        current = next.into_owned();
    }
    Err(NameError::BadCharacter)
}

fn is_letter_or_digit(c: char) -> bool {
    c.general_category_group() == GeneralCategoryGroup::Letter
        || c.general_category() == GeneralCategory::DecimalNumber
}

fn is_name_char(c: char) -> bool {
    matches!(c, '-' | '_' | '.')
        || is_letter_or_digit(c)
        || c.general_category_group() == GeneralCategoryGroup::Mark
}

macro_rules! name_text {
    ($name:ident) => {
        impl $name {
            /// The canonical text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(de::Error::custom)
            }
        }
    };
}

name_text!(UserName);
name_text!(RoomName);

/// The number of a stored message, 1 to 2^53 - 1. Ids grow over the whole server and are never used twice.
/// "None" is an `Option`, never a zero; on the wire it is written 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(NonZeroU64);

impl MessageId {
    /// The id with this number, or `None` when it is 0 or above [`MAX_MESSAGE_ID`].
    pub fn new(number: u64) -> Option<Self> {
        if number > MAX_MESSAGE_ID { None } else { NonZeroU64::new(number).map(MessageId) }
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// The number of an optional id, 0 for none, as the wire and the history file write it.
    pub fn or_zero(id: Option<Self>) -> u64 {
        id.map_or(0, MessageId::get)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A moment by the server's wall clock, in milliseconds since 1970-01-01 UTC; written as RFC 3339 with
/// milliseconds, `2026-11-21T18:05:21.311Z`. It may step back: nothing is ordered by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The first and last moments that RFC 3339 can write (years 0000 to 9999), in milliseconds; jiff's own
    /// upper bound lies a little below the end of 9999.
    const RANGE_MS: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_207_200_000;

    /// Now, by the wall clock.
    pub fn now() -> Self {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => Self::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
            Err(before) => Self::from_millis(
                i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis),
            ),
        }
    }

    /// The moment this many milliseconds after 1970, clamped to what RFC 3339 can write.
    pub fn from_millis(millis: i64) -> Self {
        Timestamp(millis.clamp(*Self::RANGE_MS.start(), *Self::RANGE_MS.end()))
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// The calendar month in UTC, as (year, month 1 to 12).
    pub fn month(self) -> (i16, i8) {
        let date = self.to_jiff().to_zoned(jiff::tz::TimeZone::UTC).date();
        (date.year(), date.month())
    }

    fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }
}

thread_local! {
    /// The last time that was written on this thread, and how. The messages of a batch share theirs, and each
    /// is written three times: in its row, its frame and its receipt.
    static LAST_WRITTEN: RefCell<(Option<Timestamp>, String)> = const { RefCell::new((None, String::new())) };
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remembered = LAST_WRITTEN.try_with(|last| {
            let (at, text) = &mut *last.borrow_mut();
            if *at != Some(*self) {
                *at = None;
                text.clear();
                write!(text, "{:.3}", self.to_jiff())?;
                *at = Some(*self);
            }
            f.write_str(text)
        });
        // A thread that is ending has no memory any more.
        remembered.unwrap_or_else(|_| write!(f, "{:.3}", self.to_jiff()))
    }
}

/// The text is not a moment in RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a time in RFC 3339, like 2026-11-21T18:05:21.311Z")]
pub struct TimestampError;

impl FromStr for Timestamp {
    type Err = TimestampError;
    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let moment: jiff::Timestamp = text.parse().map_err(|_| TimestampError)?;
        Ok(Self::from_millis(moment.as_millisecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn user(text: &str) -> Result<String, NameError> {
        UserName::parse(text).map(|name| name.to_string())
    }

    #[test]
    fn case_and_width_twins_are_one_name() {
        for twin in ["alice", "Alice", "ALICE", "Ａｌｉｃｅ"] {
            assert_eq!(user(twin).as_deref(), Ok("alice"), "{twin}");
        }
        assert_eq!(user("ЖАННА").as_deref(), Ok("жанна"));
        assert_eq!(user("e\u{301}lan").as_deref(), Ok("élan"), "composed");
    }

    #[test]
    fn what_is_no_name_is_refused_with_its_reason() {
        assert_eq!(user(""), Err(NameError::Empty));
        assert_eq!(user(&"a".repeat(33)), Err(NameError::TooLong { max: 32 }));
        assert_eq!(user(&"a".repeat(70_000)), Err(NameError::TooLong { max: 32 }));
        let bad = [
            ".",
            "..",
            "../x",
            "-a",
            "_a",
            "a b",
            "a\0",
            "a\nb",
            "a\u{1b}[2J",
            "a/b",
            "a%2fb",
            "@a",
            "a,b",
            "a\u{200d}b",
            "a\u{200b}b",
            "\u{202e}abc",
            "a\u{2028}",
            "a\u{b7}b",
            "ℵ0\u{20dd}",
            "a\u{fe0f}",
            "😀",
            "\u{301}a",
            "l\u{b7}l",
            "③",
        ];
        for text in bad {
            assert!(user(text).is_err(), "{text:?}");
        }
        assert_eq!(user("pаypal"), Err(NameError::MixedScripts), "a Cyrillic а");
        assert_eq!(user("abcжд"), Err(NameError::MixedScripts));
    }

    #[test]
    fn names_of_the_world_are_names() {
        for text in
            ["bob", "r2-d2", "jean_luc", "a.b", "жанна", "山田太郎", "yamada山田", "명수", "नमस्ते", "0day"]
        {
            assert!(user(text).is_ok(), "{text}: {:?}", user(text));
        }
        assert!(RoomName::parse(&"r".repeat(50)).is_ok());
        assert!(RoomName::parse(&"r".repeat(51)).is_err());
    }

    #[test]
    fn timestamps_round_trip_at_the_ends_of_time() {
        for millis in [0, -1, 1_795_284_321_311, 4_291_747_200_000, i64::MIN, i64::MAX] {
            let moment = Timestamp::from_millis(millis);
            assert_eq!(moment.to_string().parse(), Ok(moment), "{moment}");
        }
        assert_eq!(Timestamp::from_millis(1_795_284_321_311).to_string(), "2026-11-21T18:05:21.311Z");
        assert_eq!(Timestamp::from_millis(1_795_284_321_000).to_string(), "2026-11-21T18:05:21.000Z");
        assert_eq!(Timestamp::from_millis(1_795_284_321_311).month(), (2026, 11));
    }

    proptest! {
        #[test]
        fn canonical_form_is_stable(text in any::<String>()) {
            if let Ok(name) = UserName::parse(&text) {
                prop_assert_eq!(UserName::parse(name.as_str()), Ok(name.clone()));
                prop_assert_eq!(UserName::from_canonical(name.as_str()), Ok(name));
            }
        }

        #[test]
        fn ascii_needs_no_tables(text in "[ -~]{1,40}|[a-zA-Z0-9._-]{1,40}") {
            match (canonical(&text, 32), by_the_tables(&text, 32)) {
                (Ok(name), tables) => prop_assert_eq!(Ok(name), tables),
                // Which of several faults is told first may differ.
                (Err(_), tables) => prop_assert!(tables.is_err()),
            }
        }

        #[test]
        fn twins_collide(text in "[a-zA-Z0-9äöüßжнаçé]{1,32}") {
            if let Ok(name) = UserName::parse(&text) {
                let upper = UserName::parse(&text.to_uppercase());
                // ß becomes SS in upper case, which is another spelling, not a twin.
                if !text.contains('ß') {
                    prop_assert_eq!(upper, Ok(name.clone()));
                }
                let wide: String = text.chars().map(|c| match c {
                    '!'..='~' => char::from_u32(c as u32 + 0xFEE0).expect("full-width forms mirror ASCII"),
                    other => other,
                }).collect();
                prop_assert_eq!(UserName::parse(&wide), Ok(name));
            }
        }
    }
}
