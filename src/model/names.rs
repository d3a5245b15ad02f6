//! The words that Veche uses to point at things: who, where, which message, when.
//!
//! Each type here is *parsed once and valid ever after*: a [`UserName`] that exists is canonical, so no
//! other file normalises, lowercases or measures a name again. All of them are cheap to clone.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::num::NonZeroU64;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

mod former;
#[cfg(test)]
mod names_tests;
mod rules;

pub use former::{FormerSpellings, Spellings};

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
    /// Accents and other marks that a screen hides or merges (UTS 39, 5.4).
    #[error("a name has accents only where they can be seen: on a letter of their own alphabet, none twice")]
    Marks,
}

/// An account's name in canonical form: 1 to 32 code points, PRECIS UsernameCaseMapped (RFC 8265), letters,
/// marks, digits, `-`, `_` and `.` only, of one script or a Highly Restrictive combination (UTS 39, 5.2).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(Arc<str>);

/// A room's name in canonical form: 1 to 50 code points, under the rules of [`UserName`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomName(Arc<str>);

impl UserName {
    /// Parses and canonicalises a name: `Alice` and full-width `Ａｌｉｃｅ` both give `alice`. Where names are
    /// stored, [`Spellings::user`] is asked instead.
    ///
    /// # Errors
    /// [`NameError`] when the text is no name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        rules::canonical(text, MAX_USER_NAME_CHARS).map(|name| UserName(name.into()))
    }

    /// Takes a name for whoever stores names, to say whose it is ([`Spellings::user`]): canonical, but for
    /// the few texts of which former rules made another name; those stay as they are.
    ///
    /// # Errors
    /// [`NameError`] when the text is no name by the present rules, and was none by the former.
    pub fn as_given(text: &str) -> Result<Self, NameError> {
        rules::as_given(text, MAX_USER_NAME_CHARS).map(|name| UserName(name.into()))
    }

    /// Takes a name that was canonical when Veche wrote it to a file, or sent it, with none of the costly
    /// checks.
    ///
    /// # Errors
    /// [`NameError`] when it is plainly no canonical name: empty, too long, or with an ASCII character that
    /// no canonical name has.
    pub fn from_canonical(text: &str) -> Result<Self, NameError> {
        rules::check_canonical(text, MAX_USER_NAME_CHARS).map(|()| UserName(text.into()))
    }

    /// The name that speaks for the operator. Nobody can register it.
    pub fn server() -> Self {
        UserName("server".into())
    }

    /// Whether this is the operator's name.
    pub fn is_server(&self) -> bool {
        &*self.0 == "server"
    }

    /// Names with equal keys are one name when an account is made, though each keeps its spelling: full case
    /// folding, by which `straße` is `strasse`.
    pub fn case_key(&self) -> Cow<'_, str> {
        rules::case_key(&self.0)
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
        rules::canonical(text, MAX_ROOM_NAME_CHARS).map(|name| RoomName(name.into()))
    }

    /// Takes a room's name for whoever stores names, like [`UserName::as_given`].
    ///
    /// # Errors
    /// As for [`UserName::as_given`].
    pub fn as_given(text: &str) -> Result<Self, NameError> {
        rules::as_given(text, MAX_ROOM_NAME_CHARS).map(|name| RoomName(name.into()))
    }

    /// Takes a room's name that was canonical when Veche wrote it to a file, with none of the costly checks.
    ///
    /// # Errors
    /// As for [`UserName::from_canonical`].
    pub fn from_canonical(text: &str) -> Result<Self, NameError> {
        rules::check_canonical(text, MAX_ROOM_NAME_CHARS).map(|()| RoomName(text.into()))
    }

    /// The room that always exists.
    pub fn lobby() -> Self {
        RoomName("lobby".into())
    }
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
