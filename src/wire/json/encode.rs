//! The frames of the hot path, encoded once and shared: a message for a whole room, a receipt, a page.
//!
//! Everything here returns whole frames, header included, ready for a socket. A message's frame is also the
//! source of its object in a list: the two differ only in the `type` at the front, which is cut off.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

use super::ServerFrame;
use crate::codec::HEADER_BYTES;
use crate::model::{MessageId, Receipt, Reference, Refusal, StoredMessage, Target, Timestamp};

/// What a message's frame has before the members that its object in a list has too.
const MESSAGE_HEAD: &[u8] = br#"{"type":"message","#;

/// A stored message as one frame on the wire, shared by everyone who gets it.
#[derive(Debug, Clone)]
pub struct EncodedMessage {
    /// The message's id.
    pub id: MessageId,
    /// The id of the message before it there.
    pub prev: Option<MessageId>,
    frame: Bytes,
}

impl EncodedMessage {
    /// Encodes a stored message as a `message` event.
    pub fn of(message: &StoredMessage) -> Self {
        let mut frame = BytesMut::new();
        put_message(&mut frame, message);
        Self::of_frame(message.receipt(), frame.freeze())
    }

    /// The message with this receipt, whose frame is there already.
    pub fn of_frame(receipt: Receipt, frame: Bytes) -> Self {
        EncodedMessage { id: receipt.id, prev: receipt.prev, frame }
    }

    /// The `message` event, header included.
    pub fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// The members without the opening brace and `type`: what follows `{` in a list.
    fn members(&self) -> &[u8] {
        &self.frame[HEADER_BYTES + MESSAGE_HEAD.len()..]
    }

    /// The bytes that this message takes in a list, its comma included.
    fn list_bytes(&self) -> usize {
        self.members().len() + 2
    }
}

/// Puts a stored message's frame behind those that are in `frames` already.
pub fn put_message(frames: &mut BytesMut, message: &StoredMessage) {
    let text = message.text().as_str();
    let start = frames.len();
    frames.reserve(HEADER_BYTES + text.len() + 160);
    frames.put_u32(0);
    frames.put_slice(MESSAGE_HEAD);
    put_receipt(frames, message.receipt());
    match &message.target {
        Target::Room(room) => put_member(frames, b",\"room\":", room.as_str()),
        Target::Account(to) => put_member(frames, b",\"to\":", to.as_str()),
    }
    put_member(frames, b",\"from\":", message.from.as_str());
    put_member(frames, b",\"text\":", text);
    frames.put_u8(b'}');
    put_length(&mut frames[start..]);
}

/// Which end of a page stays when a reply cannot hold all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The newest messages stay: the page ends where the reader is.
    Newest,
    /// The oldest messages stay: the page goes on from where the reader was.
    Oldest,
}

/// Encodes a reply that lists messages, with as many as fit into `max_frame_bytes`; what is left out turns
/// `more` on. Gives the frame, and `more` as it stands in there.
///
/// `head` is the reply without its `messages` and `more`, a [`Serialize`] object with at least `type`.
pub fn page(
    head: &impl Serialize,
    messages: &[EncodedMessage],
    more: bool,
    keep: Keep,
    reference: Option<&Reference>,
    max_frame_bytes: usize,
) -> (Bytes, bool) {
    let mut frame = open_frame();
    put_json(&mut frame, head);
    frame.truncate(frame.len() - 1);
    let tail_bytes = r#","messages":[],"more":false,"ref":"#.len()
        + reference.map_or(0, |reference| reference.as_str().len() * 6 + 2)
        + 1;
    let room_bytes = (max_frame_bytes + HEADER_BYTES).saturating_sub(frame.len() + tail_bytes);
    let (messages, all) = fitting(messages, keep, room_bytes);
    frame.put_slice(br#","messages":["#);
    for (position, message) in messages.iter().enumerate() {
        frame.put_slice(if position == 0 { b"{" } else { b",{" });
        frame.put_slice(message.members());
    }
    let more = more || !all;
    frame.put_slice(if more { b"],\"more\":true" } else { b"],\"more\":false" });
    put_reference(&mut frame, reference);
    frame.put_u8(b'}');
    (finish(frame), more)
}

/// The part of a page that fits, from the end that is kept, and whether that is all of it.
fn fitting(messages: &[EncodedMessage], keep: Keep, room_bytes: usize) -> (&[EncodedMessage], bool) {
    let mut used_bytes = 0;
    let mut fits = |message: &&EncodedMessage| {
        used_bytes += message.list_bytes();
        used_bytes <= room_bytes
    };
    let count = match keep {
        Keep::Newest => messages.iter().rev().take_while(&mut fits).count(),
        Keep::Oldest => messages.iter().take_while(&mut fits).count(),
    };
    let kept = match keep {
        Keep::Newest => &messages[messages.len() - count..],
        Keep::Oldest => &messages[..count],
    };
    (kept, count == messages.len())
}

/// The part of a sorted list, names or rooms, that fits into a reply of `max_frame_bytes`, from the front, and
/// whether others follow.
pub fn list_that_fits<T: Serialize>(mut items: Vec<T>, more: bool, max_frame_bytes: usize) -> (Vec<T>, bool) {
    // What a reply has beside its list: `type`, `more`, and a `ref` of 64 bytes, each escaped sixfold at most.
    const BESIDE_BYTES: usize = 64 * 6 + 128;
    let room_bytes = max_frame_bytes.saturating_sub(BESIDE_BYTES);
    let mut used_bytes = 0;
    let mut item = BytesMut::new();
    let fits = |listed: &&T| {
        item.clear();
        put_json(&mut item, listed);
        used_bytes += item.len() + 1;
        used_bytes <= room_bytes
    };
    let count = items.iter().take_while(fits).count();
    let more = more || count < items.len();
    items.truncate(count);
    (items, more)
}

/// The `ok` that carries a receipt.
pub fn receipt(receipt: Receipt, reference: Option<&Reference>) -> Bytes {
    let mut frame = BytesMut::with_capacity(128);
    frame.put_u32(0);
    frame.put_slice(br#"{"type":"ok","#);
    put_receipt(&mut frame, receipt);
    put_reference(&mut frame, reference);
    frame.put_u8(b'}');
    finish(frame)
}

/// Any frame of the server's, with the `ref` of the request that it answers.
pub fn frame(body: &ServerFrame, reference: Option<&Reference>) -> Bytes {
    let mut frame = open_frame();
    put_json(&mut frame, body);
    frame.truncate(frame.len() - 1);
    put_reference(&mut frame, reference);
    frame.put_u8(b'}');
    finish(frame)
}

/// The `error` that refuses a request, or that goes before a `bye`.
pub fn refusal(refusal: &Refusal, reference: Option<&Reference>) -> Bytes {
    let Refusal { code, text, retry_after_ms } = refusal;
    frame(
        &ServerFrame::Error { code: *code, text: text.clone().into_owned(), retry_after_ms: *retry_after_ms },
        reference,
    )
}

fn open_frame() -> BytesMut {
    let mut frame = BytesMut::with_capacity(256);
    frame.put_u32(0);
    frame
}

/// Writes the length into the header that was left open.
fn finish(mut frame: BytesMut) -> Bytes {
    put_length(&mut frame);
    frame.freeze()
}

fn put_length(frame: &mut [u8]) {
    let length = u32::try_from(frame.len() - HEADER_BYTES).expect("a frame is built within max_frame, a u32");
    frame[..HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
}

fn put_receipt(frame: &mut BytesMut, receipt: Receipt) {
    frame.put_slice(b"\"id\":");
    put_json(frame, &receipt.id.get());
    frame.put_slice(b",\"prev\":");
    put_json(frame, &MessageId::or_zero(receipt.prev));
    frame.put_slice(b",\"at\":");
    put_json::<Timestamp>(frame, &receipt.at);
}

fn put_reference(frame: &mut BytesMut, reference: Option<&Reference>) {
    if let Some(reference) = reference {
        put_member(frame, b",\"ref\":", reference.as_str());
    }
}

fn put_member(frame: &mut BytesMut, name: &[u8], value: &str) {
    frame.put_slice(name);
    put_json(frame, value);
}

fn put_json<T: Serialize + ?Sized>(frame: &mut BytesMut, value: &T) {
    serde_json::to_writer(frame.writer(), value).expect("plain data always has a JSON form");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MessageKind, MessageText, RoomName, UserName};
    use crate::wire::json::Message;

    fn message(id: u64, text: &str) -> EncodedMessage {
        let id = MessageId::new(id).expect("not zero");
        EncodedMessage::of(&StoredMessage {
            id,
            prev: None,
            at: Timestamp::from_millis(1_795_284_321_311),
            target: Target::Room(RoomName::lobby()),
            from: UserName::parse("alice").expect("a name"),
            kind: MessageKind::Text(MessageText::parse(text).expect("a text")),
            key: None,
        })
    }

    fn payload(frame: &Bytes) -> &[u8] {
        assert_eq!(frame[..4], u32::to_be_bytes((frame.len() - 4) as u32), "the header counts the payload");
        &frame[4..]
    }

    #[test]
    fn the_event_is_what_the_dictionary_says() {
        let encoded = message(7, "line\n\"quoted\" ü");
        let (frame, _) = ServerFrame::parse(payload(encoded.frame())).expect("a frame");
        let expected = ServerFrame::Message(Message {
            id: 7,
            prev: 0,
            at: Timestamp::from_millis(1_795_284_321_311),
            room: Some("lobby".into()),
            to: None,
            from: "alice".into(),
            text: "line\n\"quoted\" ü".into(),
        });
        assert_eq!(frame, expected);
        assert_eq!(
            payload(encoded.frame()),
            serde_json::to_vec(&expected).expect("plain data"),
            "same bytes"
        );
    }

    #[test]
    fn a_page_keeps_what_fits_and_says_so() {
        let messages: Vec<_> = (1..=100).map(|id| message(id, &"x".repeat(100))).collect();
        for (keep, expected_end) in [(Keep::Newest, 100), (Keep::Oldest, 1)] {
            for max_frame_bytes in [300, 1000, 5_000, 65_536] {
                let reference = Reference::parse("r1").expect("short");
                let head = serde_json::json!({"type": "inbox"});
                let (frame, cut) = page(&head, &messages, false, keep, Some(&reference), max_frame_bytes);
                assert!(frame.len() <= max_frame_bytes + 4);
                let (body, answered) = ServerFrame::parse(payload(&frame)).expect("a frame");
                let ServerFrame::Inbox { messages: listed, more, .. } = body else { panic!("{body:?}") };
                assert_eq!(answered.as_deref(), Some("r1"));
                assert_eq!((more, cut), (listed.len() < 100, more));
                let ids: Vec<_> = listed.iter().map(|message| message.id).collect();
                assert!(ids.is_sorted());
                let end = if keep == Keep::Newest { ids.last() } else { ids.first() };
                assert_eq!(end.copied().unwrap_or(expected_end), expected_end);
            }
        }
    }

    #[test]
    fn a_receipt_carries_id_prev_and_at() {
        let stored = Receipt {
            id: MessageId::new(9).expect("not zero"),
            prev: MessageId::new(8),
            at: Timestamp::from_millis(0),
        };
        assert_eq!(
            payload(&receipt(stored, None)),
            br#"{"type":"ok","id":9,"prev":8,"at":"1970-01-01T00:00:00.000Z"}"#
        );
    }
}
