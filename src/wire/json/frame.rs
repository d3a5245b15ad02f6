//! Everything the server says: replies to requests, and events.
//!
//! The server builds most of its frames from [`ServerFrame`]; the few that are sent by the thousand have
//! encoders of their own in [`super::encode`], which write the same JSON. A client reads every frame as a
//! `ServerFrame`.

use serde::{Deserialize, Serialize};

use crate::model::{ErrorCode, Timestamp, UserName};

/// A stored message, as lists and the `message` event carry it. Exactly one of `room` and `to` is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The message's id.
    pub id: u64,
    /// The id of the message before it in that room, or between those two accounts; 0 for the first.
    pub prev: u64,
    /// When it was stored.
    pub at: Timestamp,
    /// The room that it was said in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// The account that it was told to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Who said it.
    pub from: String,
    /// What was said: 1 to 4 096 bytes.
    pub text: String,
}

/// When and from where an account was last seen, before the session that asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSeen {
    /// When.
    pub at: Timestamp,
    /// The IP address.
    pub ip: String,
}

/// The `session` reply: a session is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOpened {
    /// The account, in canonical form.
    pub name: String,
    /// The token that every request from now on carries.
    pub token: String,
    /// For how many seconds the token is good if nothing more is heard from the client.
    pub expires_in: u64,
    /// Whether the account was made just now.
    pub new: bool,
    /// The previous session's, or `None` when there was none.
    pub last_seen: Option<LastSeen>,
    /// A sentence for a person.
    pub greeting: String,
}

impl SessionOpened {
    /// The account's name as the server writes it; as it was `given` should that make no sense.
    pub fn account(&self, given: UserName) -> UserName {
        UserName::from_canonical(&self.name).unwrap_or(given)
    }
}

/// A room in the `rooms` reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomEntry {
    /// The room's name.
    pub room: String,
    /// How many accounts are in it.
    pub members: u64,
}

/// The receipt inside an `ok`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptMembers {
    /// The message's id.
    pub id: u64,
    /// The id before it there, 0 for the first.
    pub prev: u64,
    /// When it was stored.
    pub at: Timestamp,
}

/// `joined` or `left`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PresenceStatus {
    /// The account's first session entered the room.
    Joined,
    /// The account's last session left the room, or lost its connection.
    Left,
}

/// One payload from the server. Serialised with `type` first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the members are those of docs/protocol.md, one to one")]
pub enum ServerFrame {
    /// The greeting, before anything is asked.
    Welcome {
        protocol: u32,
        server: String,
        max_frame: usize,
        motd: String,
        #[serde(default)]
        features: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        term: Option<String>,
    },
    /// The reply to `identify`.
    Identified { name: String, known: bool },
    /// The reply to `register`, `login` and `resume`.
    Session(SessionOpened),
    /// The reply to `join`.
    Joined {
        room: String,
        members: u64,
        #[serde(default, skip_serializing_if = "is_false")]
        reset: bool,
        messages: Vec<Message>,
        more: bool,
    },
    /// Done; with a receipt when it answers `say` or `tell`.
    Ok {
        #[serde(flatten)]
        receipt: Option<ReceiptMembers>,
    },
    /// A page of the past.
    History {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        room: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        with: Option<String>,
        #[serde(default, skip_serializing_if = "is_false")]
        reset: bool,
        messages: Vec<Message>,
        more: bool,
    },
    /// A page of direct messages.
    Inbox {
        #[serde(default, skip_serializing_if = "is_false")]
        reset: bool,
        messages: Vec<Message>,
        more: bool,
    },
    /// The rooms with someone in them.
    Rooms { rooms: Vec<RoomEntry>, more: bool },
    /// The accounts that are online.
    Who { names: Vec<String>, more: bool },
    /// The reply to `ping`.
    Pong,
    /// A refusal, or what went wrong before a `bye`.
    Error {
        code: ErrorCode,
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
    /// The last frame of a connection.
    Bye { reason: String, text: String },
    /// Someone said something.
    Message(Message),
    /// Someone came or went.
    Presence { room: String, name: String, status: PresenceStatus, at: Timestamp },
    /// A word from the operator or the server.
    Notice { text: String, at: Timestamp },
    /// Does this peer live?
    Ping,
}

/// For members that are left out when they are `false`.
pub fn is_false(value: &bool) -> bool {
    !value
}

impl ServerFrame {
    /// Reads a payload: the frame, and the `ref` it answers.
    ///
    /// # Errors
    /// When the payload is not JSON or of a type that this version does not know.
    pub fn parse(payload: &[u8]) -> Result<(ServerFrame, Option<String>), serde_json::Error> {
        #[derive(Deserialize)]
        struct Answers {
            #[serde(rename = "ref")]
            reference: Option<String>,
        }
        let frame = serde_json::from_slice(payload)?;
        let answers: Answers = serde_json::from_slice(payload)?;
        Ok((frame, answers.reference))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(frame: &ServerFrame) -> String {
        serde_json::to_string(frame).expect("frames are plain data")
    }

    #[test]
    fn frames_are_compact_with_type_first() {
        let welcome = ServerFrame::Welcome {
            protocol: 1,
            server: "veche/0.1.0".into(),
            max_frame: 65_536,
            motd: "…".into(),
            features: vec!["terms".into()],
            term: Some("t1".into()),
        };
        assert_eq!(
            json(&welcome),
            r#"{"type":"welcome","protocol":1,"server":"veche/0.1.0","max_frame":65536,"motd":"…","features":["terms"],"term":"t1"}"#
        );
        assert_eq!(json(&ServerFrame::Ok { receipt: None }), r#"{"type":"ok"}"#);
        assert_eq!(json(&ServerFrame::Pong), r#"{"type":"pong"}"#);
    }

    #[test]
    fn a_reply_is_read_with_its_ref() {
        let (frame, reference) =
            ServerFrame::parse(br#"{"type":"ok","id":7,"prev":0,"at":"2026-11-21T18:05:21.311Z","ref":"a"}"#)
                .expect("a receipt");
        assert_eq!(reference.as_deref(), Some("a"));
        let ServerFrame::Ok { receipt: Some(receipt) } = frame else { panic!("{frame:?}") };
        assert_eq!((receipt.id, receipt.prev), (7, 0));
        let (bare, _) = ServerFrame::parse(br#"{"type":"ok","ref":"a"}"#).expect("an ok");
        assert_eq!(bare, ServerFrame::Ok { receipt: None });
    }

    #[test]
    fn every_code_is_spelt_the_same_in_both_places() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).expect("a name"), code.as_str());
        }
    }
}
