//! A client's payload → a typed request, checked in the order that the contract fixes.
//!
//! The order is *frame, JSON, type, session, token, members, state*, and the session lies between two of
//! these steps, so reading happens in two: [`RawRequest::parse`] (JSON) gives an object whose `type`, `ref`
//! and `token` can be asked for; [`RawRequest::to_request`] checks the members. The client goes the other
//! way with [`Request::encode`].

use super::raw::{Member, RawRequest, Value};
use crate::model::{
    DEFAULT_PAGE, ErrorCode, HistoryOf, MAX_KEY_BYTES, MAX_MESSAGE_ID, MAX_PAGE, MAX_REF_BYTES, MessageId,
    MessageKey, MessageText, NameError, Page, Password, Reference, Refusal, Request, RequestKind, RoomName,
    Spellings, TermName, TokenText, UserName,
};

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
    Refusal::new(code, format!("This is no name here: {why}."))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
