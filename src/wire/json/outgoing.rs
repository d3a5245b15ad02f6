//! A request as a client writes it.

use serde::Serialize;

use crate::model::{HistoryOf, MessageId, MessageKey, Page, Request, RoomName, TermName, TokenText};

/// Every member that some request has, for writing one.
#[derive(Default, Serialize)]
struct Outgoing<'a> {
    r#type: &'a str,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    with: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<After<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    term: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a str>,
}

/// `after` is an id for messages and a name for lists of names.
#[derive(Serialize)]
#[serde(untagged)]
enum After<'a> {
    Id(u64),
    Name(&'a str),
}

impl Request {
    /// The payload that a client sends for this request, with its `ref` and, in a session, its token.
    pub fn encode(&self, reference: Option<&str>, token: Option<&TokenText>) -> Vec<u8> {
        let mut out = Outgoing {
            r#type: self.kind().name(),
            reference,
            token: token.map(TokenText::expose),
            ..Outgoing::default()
        };
        match self {
            Request::Identify { name } => out.name = Some(name.as_str()),
            Request::Register { name, password } => {
                (out.name, out.password) = (Some(name.as_str()), Some(password.expose()));
            }
            Request::Login { name, password, device } => {
                (out.name, out.password) = (Some(name.as_str()), Some(password.expose()));
                out.device = device.as_ref().map(TokenText::expose);
            }
            Request::Resume { token } => out.token = Some(token.expose()),
            Request::Join { room, page, limit, term } => {
                out.term = term.as_ref().map(TermName::as_str);
                (out.room, out.history) = (Some(room.as_str()), Some(*limit));
                out.put_page(*page);
            }
            Request::Leave { room } => out.room = Some(room.as_str()),
            Request::Say { room, text, key } => {
                (out.room, out.text) = (Some(room.as_str()), Some(text.as_str()));
                out.key = key.as_ref().map(MessageKey::as_str);
            }
            Request::Tell { to, text, key } => {
                (out.to, out.text) = (Some(to.as_str()), Some(text.as_str()));
                out.key = key.as_ref().map(MessageKey::as_str);
            }
            Request::History { of, page, limit, term } => {
                out.term = term.as_ref().map(TermName::as_str);
                match of {
                    HistoryOf::Room(room) => out.room = Some(room.as_str()),
                    HistoryOf::With(with) => out.with = Some(with.as_str()),
                }
                out.limit = Some(*limit);
                out.put_page(*page);
            }
            Request::Inbox { after, limit, term } => {
                out.term = term.as_ref().map(TermName::as_str);
                (out.after, out.limit) = (Some(After::Id(MessageId::or_zero(*after))), Some(*limit));
            }
            Request::Rooms { after, limit } => {
                out.after = after.as_ref().map(|name| After::Name(name.as_str()));
                out.limit = Some(*limit);
            }
            Request::Who { room, after, limit } => {
                out.room = room.as_ref().map(RoomName::as_str);
                out.after = after.as_ref().map(|name| After::Name(name.as_str()));
                out.limit = Some(*limit);
            }
            Request::Passwd { old, new } => (out.old, out.new) = (Some(old.expose()), Some(new.expose())),
            Request::Ping | Request::Pong | Request::Exit => {}
        }
        serde_json::to_vec(&out).expect("plain data always has a JSON form")
    }
}

impl Outgoing<'_> {
    fn put_page(&mut self, page: Page) {
        match page {
            Page::Newest => {}
            Page::Before(id) => self.before = Some(MessageId::or_zero(id)),
            Page::After(id) => self.after = Some(After::Id(MessageId::or_zero(id))),
        }
    }
}
