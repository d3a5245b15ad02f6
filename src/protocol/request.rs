//! A client's payload → a typed request, checked in the order that the contract fixes.
//!
//! The order is *frame, JSON, type, session, token, members, state*, and the session lies between two of
//! these steps, so reading happens in two: [`RawRequest::parse`] (JSON) gives an object whose `type`, `ref`
//! and `token` can be asked for; [`RawRequest::to_request`] checks the members. The client goes the other
//! way with [`Request::encode`].

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::ErrorCode;
use super::json::{Member, RawRequest, Value};
use super::term::TermName;
use crate::names::{MAX_MESSAGE_ID, MessageId, NameError, RoomName, Spellings, UserName};

/// The longest `ref`, in bytes.
pub const MAX_REF_BYTES: usize = 64;
/// The longest `key`, in bytes.
pub const MAX_KEY_BYTES: usize = 64;
/// The longest `text`, in bytes.
pub const MAX_TEXT_BYTES: usize = 4_096;
/// The bounds of a chosen password, in bytes.
pub const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=256;
/// The longest page, in messages, names or rooms.
pub const MAX_PAGE: usize = 500;
/// The page that is meant when none is asked for.
pub const DEFAULT_PAGE: usize = 50;

/// Why a request was refused before anything was done: the code and a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {text}")]
pub struct Refusal {
    /// The code.
    pub code: ErrorCode,
    /// A sentence for a person.
    pub text: Cow<'static, str>,
}

impl Refusal {
    pub(super) fn bad_request(text: impl Into<Cow<'static, str>>) -> Self {
        Refusal { code: ErrorCode::BadRequest, text: text.into() }
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Refusal { code, text: code.sentence().into() }
    }
}

macro_rules! kinds {
    ($($variant:ident => $name:literal),+ $(,)?) => {
        /// The requests there are.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "each is the request of that name in docs/protocol.md")]
        pub enum RequestKind { $($variant),+ }

        impl RequestKind {
            /// Every request, in the contract's order.
            pub const ALL: &'static [RequestKind] = &[$(RequestKind::$variant),+];

            /// The request of this `type`.
            pub fn named(name: &str) -> Option<Self> {
                match name { $($name => Some(RequestKind::$variant),)+ _ => None }
            }

            /// The `type`, as the wire carries it.
            pub fn name(self) -> &'static str {
                match self { $(RequestKind::$variant => $name),+ }
            }
        }
    };
}

kinds! {
    Identify => "identify", Register => "register", Login => "login", Resume => "resume", Join => "join",
    Leave => "leave", Say => "say", Tell => "tell", History => "history", Inbox => "inbox",
    Rooms => "rooms", Who => "who", Passwd => "passwd", Ping => "ping", Pong => "pong", Exit => "exit",
}

impl RequestKind {
    /// Whether this request is for a connection that has no session, and refused on one that has.
    pub fn opens_session(self) -> bool {
        matches!(self, RequestKind::Register | RequestKind::Login | RequestKind::Resume)
    }

    /// Whether this request is allowed on a connection without a session.
    pub fn needs_no_session(self) -> bool {
        self.opens_session() || self.needs_no_token() || self == RequestKind::Identify
    }

    /// Whether this request carries no token, even on a connection with a session.
    pub fn needs_no_token(self) -> bool {
        matches!(self, RequestKind::Ping | RequestKind::Pong | RequestKind::Exit)
    }
}

/// A request's own mark, given back with its reply: at most 64 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference(Arc<str>);

impl Reference {
    /// The mark, unless it is too long.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() <= MAX_REF_BYTES).then(|| Reference(text.into()))
    }

    /// The mark.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The sender's own name for a message: 1 to 64 bytes, anything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageKey(Box<str>);

impl MessageKey {
    /// The key, unless it is empty or too long.
    pub fn parse(text: &str) -> Option<Self> {
        (1..=MAX_KEY_BYTES).contains(&text.len()).then(|| MessageKey(text.into()))
    }

    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What someone says: 1 to 4 096 bytes without control characters but newline and tab, and without U+2028
/// and U+2029.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageText(Box<str>);

impl MessageText {
    /// Checks a text.
    ///
    /// # Errors
    /// [`ErrorCode::BadText`] or [`ErrorCode::TextTooLong`].
    pub fn parse(text: &str) -> Result<Self, ErrorCode> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(ErrorCode::TextTooLong);
        }
        let forbidden =
            |c: char| (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{2028}' | '\u{2029}');
        // The bytes of ASCII controls, and the first bytes of the others. Most texts have none of them, and
        // looking at all bytes, whatever the first ones say, looks at many at once.
        let suspect = |byte: u8| (byte < 0x20) | (byte == 0x7f) | (byte == 0xc2) | (byte == 0xe2);
        let is_suspect = text.bytes().fold(false, |found, byte| found | suspect(byte));
        if text.is_empty() || (is_suspect && text.contains(forbidden)) {
            return Err(ErrorCode::BadText);
        }
        Ok(MessageText(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A secret as it came over the wire. It never shows itself, not even in a debug print, and its memory is
/// wiped when it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(zeroize::Zeroizing<String>);

impl Password {
    /// Takes any text, as a password that is *given* may be.
    pub fn given(text: impl Into<String>) -> Self {
        Password(zeroize::Zeroizing::new(text.into()))
    }

    /// Takes a password that is *chosen*.
    ///
    /// # Errors
    /// [`ErrorCode::BadPassword`] unless it has 8 to 256 bytes.
    pub fn chosen(text: impl Into<String>) -> Result<Self, ErrorCode> {
        let password = Password::given(text);
        if PASSWORD_BYTES.contains(&password.0.len()) { Ok(password) } else { Err(ErrorCode::BadPassword) }
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// A session's token as the client shows it. Like a [`Password`], it never prints itself.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(zeroize::Zeroizing<String>);

impl TokenText {
    /// Takes any text for a token; whether it is one is for the session to know.
    pub fn new(text: impl Into<String>) -> Self {
        TokenText(zeroize::Zeroizing::new(text.into()))
    }

    /// The token itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(…)")
    }
}

/// Whose past is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HistoryOf {
    /// A room's.
    Room(RoomName),
    /// The direct messages between this account and that one.
    With(UserName),
}

/// Where a page of messages lies. An id of `None` is the 0 of the wire: before the first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The newest messages.
    Newest,
    /// The newest that lie before this id.
    Before(Option<MessageId>),
    /// The oldest that follow this id.
    After(Option<MessageId>),
}

/// A request, all of whose members are what they have to be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the members are those of docs/protocol.md, one to one")]
pub enum Request {
    /// Is this name registered?
    Identify { name: UserName },
    /// Makes an account and opens a session.
    Register { name: UserName, password: Password },
    /// Opens a session.
    Login { name: UserName, password: Password, device: Option<TokenText> },
    /// Takes a session over.
    Resume { token: TokenText },
    /// Enters a room. `page` is `Newest` or `After`; `limit` is 0 to 500.
    Join { room: RoomName, page: Page, limit: usize, term: Option<TermName> },
    /// Leaves a room.
    Leave { room: RoomName },
    /// Speaks in a room.
    Say { room: RoomName, text: MessageText, key: Option<MessageKey> },
    /// Speaks to one account.
    Tell { to: UserName, text: MessageText, key: Option<MessageKey> },
    /// Reads a page of the past. `limit` is 1 to 500, here and below.
    History { of: HistoryOf, page: Page, limit: usize, term: Option<TermName> },
    /// Reads a page of the account's direct messages, from `after` on.
    Inbox { after: Option<MessageId>, limit: usize, term: Option<TermName> },
    /// Lists rooms, those sorted after a name.
    Rooms { after: Option<RoomName>, limit: usize },
    /// Lists who is online, in a room or anywhere.
    Who { room: Option<RoomName>, after: Option<UserName>, limit: usize },
    /// Changes the password.
    Passwd { old: Password, new: Password },
    /// Does the server live?
    Ping,
    /// This client lives.
    Pong,
    /// Ends the session.
    Exit,
}

impl<'a> RawRequest<'a> {
    /// Which request this is.
    ///
    /// # Errors
    /// `bad_request` without a textual `type`, `unknown_type` when there is no such request.
    pub fn kind(&self) -> Result<RequestKind, Refusal> {
        let name = self.required(Member::Type, "a string", Value::text)?;
        RequestKind::named(name).ok_or_else(|| ErrorCode::UnknownType.into())
    }

    /// The `ref`, when there is one that may be given back.
    pub fn reference(&self) -> Option<Reference> {
        self.get(Member::Ref).and_then(Value::text).and_then(Reference::parse)
    }

    /// The `token`, when it is there and textual.
    pub fn token(&self) -> Option<&str> {
        self.get(Member::Token).and_then(Value::text)
    }

    /// Checks the members of a request of this kind. `names` tells what names mean that are stored under
    /// former rules.
    ///
    /// # Errors
    /// `bad_request` when a member is missing, of the wrong type or out of range, or excludes another;
    /// `bad_name`, `bad_room`, `bad_password`, `bad_text`, `text_too_long` for values that are not theirs.
    pub fn to_request(&self, kind: RequestKind, names: &Spellings) -> Result<Request, Refusal> {
        if self.get(Member::Ref).is_some() && self.reference().is_none() {
            return Err(Refusal::bad_request(format!("`ref` is a string of at most {MAX_REF_BYTES} bytes.")));
        }
        Ok(match kind {
            RequestKind::Identify => Request::Identify { name: self.user(Member::Name, names)? },
            RequestKind::Register => {
                // What is new is made by the present rules, whatever is stored.
                let none = Spellings::default();
                let (name, password) = (self.user(Member::Name, &none)?, self.string(Member::Password)?);
                Request::Register { name, password: Password::chosen(password)? }
            }
            RequestKind::Login => {
                let (name, password) = (self.user(Member::Name, names)?, self.string(Member::Password)?);
                let device =
                    self.optional(Member::Device, |raw, member| raw.string(member).map(TokenText::new))?;
                Request::Login { name, password: Password::given(password), device }
            }
            RequestKind::Resume => Request::Resume { token: TokenText::new(self.string(Member::Token)?) },
            RequestKind::Join => Request::Join {
                room: self.room(Member::Room, names)?,
                page: match self.optional_id(Member::After)? {
                    Some(after) => Page::After(after),
                    None => Page::Newest,
                },
                limit: self.count(Member::History, 0)?,
                term: self.term()?,
            },
            RequestKind::Leave => Request::Leave { room: self.room(Member::Room, names)? },
            RequestKind::Say => {
                let (room, key) = (self.room(Member::Room, names)?, self.key()?);
                Request::Say { room, text: MessageText::parse(self.string(Member::Text)?)?, key }
            }
            RequestKind::Tell => {
                let (to, key) = (self.user(Member::To, names)?, self.key()?);
                Request::Tell { to, text: MessageText::parse(self.string(Member::Text)?)?, key }
            }
            RequestKind::History => Request::History {
                of: self.history_of(names)?,
                page: self.page()?,
                limit: self.count(Member::Limit, 1)?,
                term: self.term()?,
            },
            RequestKind::Inbox => Request::Inbox {
                after: self.optional_id(Member::After)?.flatten(),
                limit: self.count(Member::Limit, 1)?,
                term: self.term()?,
            },
            RequestKind::Rooms => Request::Rooms {
                after: self.optional(Member::After, |raw, member| raw.room(member, names))?,
                limit: self.count(Member::Limit, 1)?,
            },
            RequestKind::Who => Request::Who {
                room: self.optional(Member::Room, |raw, member| raw.room(member, names))?,
                after: self.optional(Member::After, |raw, member| raw.user(member, names))?,
                limit: self.count(Member::Limit, 1)?,
            },
            RequestKind::Passwd => {
                let (old, new) = (self.string(Member::Old)?, self.string(Member::New)?);
                Request::Passwd { old: Password::given(old), new: Password::chosen(new)? }
            }
            RequestKind::Ping => Request::Ping,
            RequestKind::Pong => Request::Pong,
            RequestKind::Exit => Request::Exit,
        })
    }

    fn required<'v, T: 'v>(
        &'v self,
        member: Member,
        expected: &str,
        read: impl FnOnce(&'v Value<'a>) -> Option<T>,
    ) -> Result<T, Refusal> {
        let name = member.name();
        let value = self
            .get(member)
            .ok_or_else(|| Refusal::bad_request(format!("The member `{name}` is missing.")))?;
        read(value).ok_or_else(|| Refusal::bad_request(format!("The member `{name}` is not {expected}.")))
    }

    fn optional<T>(
        &self,
        member: Member,
        read: impl FnOnce(&Self, Member) -> Result<T, Refusal>,
    ) -> Result<Option<T>, Refusal> {
        if self.get(member).is_some() { read(self, member).map(Some) } else { Ok(None) }
    }

    fn string(&self, member: Member) -> Result<&str, Refusal> {
        self.required(member, "a string", Value::text)
    }

    fn user(&self, member: Member, names: &Spellings) -> Result<UserName, Refusal> {
        names.user(self.string(member)?).map_err(|why| name_refusal(ErrorCode::BadName, why))
    }

    fn room(&self, member: Member, names: &Spellings) -> Result<RoomName, Refusal> {
        names.room(self.string(member)?).map_err(|why| name_refusal(ErrorCode::BadRoom, why))
    }

    fn key(&self) -> Result<Option<MessageKey>, Refusal> {
        self.optional(Member::Key, |raw, member| {
            MessageKey::parse(raw.string(member)?).ok_or_else(|| {
                Refusal::bad_request(format!("`key` is a string of 1 to {MAX_KEY_BYTES} bytes."))
            })
        })
    }

    /// The term in which the client saw the id that it names in `after`.
    fn term(&self) -> Result<Option<TermName>, Refusal> {
        self.optional(Member::Term, |raw, member| raw.string(member).map(TermName::new))
    }

    /// An id that may be absent (outer `None`) or 0 (inner `None`).
    fn optional_id(&self, member: Member) -> Result<Option<Option<MessageId>>, Refusal> {
        self.optional(member, |raw, member| {
            raw.required(member, "an id", |value| {
                value.integer().filter(|&id| id <= MAX_MESSAGE_ID).map(MessageId::new)
            })
        })
    }

    fn count(&self, member: Member, least: usize) -> Result<usize, Refusal> {
        let expected = format!("a number from {least} to {MAX_PAGE}");
        let asked = self.optional(member, |raw, member| {
            raw.required(member, &expected, |value| {
                let count = usize::try_from(value.integer()?).ok()?;
                (least..=MAX_PAGE).contains(&count).then_some(count)
            })
        })?;
        Ok(asked.unwrap_or(DEFAULT_PAGE))
    }

    fn page(&self) -> Result<Page, Refusal> {
        match (self.optional_id(Member::Before)?, self.optional_id(Member::After)?) {
            (None, None) => Ok(Page::Newest),
            (Some(before), None) => Ok(Page::Before(before)),
            (None, Some(after)) => Ok(Page::After(after)),
            (Some(_), Some(_)) => Err(Refusal::bad_request("`before` and `after` exclude each other.")),
        }
    }

    fn history_of(&self, names: &Spellings) -> Result<HistoryOf, Refusal> {
        match (self.get(Member::Room), self.get(Member::With)) {
            (Some(_), None) => self.room(Member::Room, names).map(HistoryOf::Room),
            (None, Some(_)) => self.user(Member::With, names).map(HistoryOf::With),
            (None, None) => Err(Refusal::bad_request("`room` or `with` is missing.")),
            (Some(_), Some(_)) => Err(Refusal::bad_request("`room` and `with` exclude each other.")),
        }
    }
}

fn name_refusal(code: ErrorCode, why: NameError) -> Refusal {
    Refusal { code, text: format!("This is no name here: {why}.").into() }
}

impl Request {
    /// Which request this is.
    pub fn kind(&self) -> RequestKind {
        match self {
            Request::Identify { .. } => RequestKind::Identify,
            Request::Register { .. } => RequestKind::Register,
            Request::Login { .. } => RequestKind::Login,
            Request::Resume { .. } => RequestKind::Resume,
            Request::Join { .. } => RequestKind::Join,
            Request::Leave { .. } => RequestKind::Leave,
            Request::Say { .. } => RequestKind::Say,
            Request::Tell { .. } => RequestKind::Tell,
            Request::History { .. } => RequestKind::History,
            Request::Inbox { .. } => RequestKind::Inbox,
            Request::Rooms { .. } => RequestKind::Rooms,
            Request::Who { .. } => RequestKind::Who,
            Request::Passwd { .. } => RequestKind::Passwd,
            Request::Ping => RequestKind::Ping,
            Request::Pong => RequestKind::Pong,
            Request::Exit => RequestKind::Exit,
        }
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
