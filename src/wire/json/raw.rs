//! A payload as one JSON object: within its bounds, with no known member twice, and nothing else decided.
//!
//! The values of the members that some request knows are kept, borrowed where JSON allows it; all others only
//! have to be JSON. serde_json reads; it neither bounds the depth of what it skips nor minds a member that is
//! there twice, so that is done here.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::model::Refusal;

/// The deepest nesting of a payload, the object itself included.
pub const MAX_DEPTH: usize = 128;
/// The most members of the object.
pub const MAX_MEMBERS: usize = 64;
/// The most of a parser's complaint that an error's text repeats, in characters.
const MAX_QUOTED_CHARS: usize = 200;

macro_rules! members {
    ($($variant:ident => $name:literal),+ $(,)?) => {
        /// The members that some request knows. A frame may have each of them once.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Member { $($variant),+ }

        impl Member {
            const COUNT: usize = [$($name),+].len();

            fn named(name: &str) -> Option<Member> {
                match name { $($name => Some(Member::$variant),)+ _ => None }
            }

            pub(super) fn name(self) -> &'static str {
                match self { $(Member::$variant => $name),+ }
            }
        }
    };
}

members! {
    Type => "type", Ref => "ref", Token => "token", Name => "name", Password => "password", Room => "room",
    History => "history", After => "after", Before => "before", Limit => "limit", Text => "text",
    Key => "key", To => "to", With => "with", Old => "old", New => "new", Term => "term",
    Device => "device",
}

/// The value of one known member, as far as any request can use it.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Null,
    Text(Cow<'a, str>),
    Integer(u64),
    /// Something that no member may be.
    Other,
}

/// A payload that is one JSON object, within its bounds, with no known member twice.
#[derive(Debug)]
pub struct RawRequest<'a> {
    values: [Option<Value<'a>>; Member::COUNT],
}

impl<'a> RawRequest<'a> {
    /// Reads a payload as JSON.
    ///
    /// # Errors
    /// `bad_request` when it is not UTF-8, not one JSON object, deeper than [`MAX_DEPTH`], has more than
    /// [`MAX_MEMBERS`] members, or has a known member twice.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Refusal> {
        let text =
            std::str::from_utf8(payload).map_err(|_| Refusal::bad_request("The payload is not UTF-8."))?;
        if is_deeper_than(payload, MAX_DEPTH) {
            return Err(Refusal::bad_request(format!("The payload is nested deeper than {MAX_DEPTH}.")));
        }
        let mut reader = serde_json::Deserializer::from_str(text);
        // serde_json stops at a depth of 127; ours was looked at above.
        reader.disable_recursion_limit();
        let object = RawRequest::deserialize(&mut reader).and_then(|object| reader.end().map(|()| object));
        object.map_err(|error| {
            // The parser may quote what it found, which can be as long as the payload.
            let why: String = error.to_string().chars().take(MAX_QUOTED_CHARS).collect();
            Refusal::bad_request(format!("The payload is not one JSON object: {why}."))
        })
    }

    /// A member's value; one that is `null` counts as absent.
    pub(super) fn get(&self, member: Member) -> Option<&Value<'a>> {
        self.values[member as usize].as_ref().filter(|value| !matches!(value, Value::Null))
    }
}

impl Value<'_> {
    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn integer(&self) -> Option<u64> {
        if let Value::Integer(number) = self { Some(*number) } else { None }
    }
}

/// Whether a JSON text opens more than `limit` arrays and objects within each other. Brackets inside strings
/// do not count.
fn is_deeper_than(json: &[u8], limit: usize) -> bool {
    // Nearly every payload has too few brackets to be deep, and a count is much cheaper than the walk.
    if json.iter().filter(|&&byte| byte == b'{' || byte == b'[').count() <= limit {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for &byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

impl<'de> Deserialize<'de> for RawRequest<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = RawRequest<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawRequest<'de>, A::Error> {
        let mut values = [const { None }; Member::COUNT];
        let mut count = 0;
        while let Some(member) = map.next_key_seed(MemberSeed)? {
            count += 1;
            if count > MAX_MEMBERS {
                return Err(de::Error::custom(format_args!("more than {MAX_MEMBERS} members")));
            }
            let Some(member) = member else {
                // Ignored, but it has to be a value: a number that JSON numbers cannot hold is none.
                map.next_value::<Value<'de>>()?;
                continue;
            };
            if values[member as usize].replace(map.next_value()?).is_some() {
                return Err(de::Error::custom(format_args!("`{}` is there twice", member.name())));
            }
        }
        Ok(RawRequest { values })
    }
}

/// Reads a member's name without keeping it.
struct MemberSeed;

impl<'de> DeserializeSeed<'de> for MemberSeed {
    type Value = Option<Member>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Member>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for MemberSeed {
    type Value = Option<Member>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Option<Member>, E> {
        Ok(Member::named(name))
    }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value<'de>, E> {
        Ok(Value::Integer(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
        while seq.next_element::<Value<'de>>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        while map.next_entry::<Value<'de>, Value<'de>>()?.is_some() {}
        Ok(Value::Other)
    }
}
