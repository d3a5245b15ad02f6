//! What the server says, as payloads in frames: the one place where values become bytes.
//!
//! Everything here returns whole frames, header included, ready for a socket: those for one connection as its wire
//! wants them, those for many as [`SharedFrames`]. A message's frame and its object in a list differ only in the
//! `type` at the front.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

use super::frame::{LastSeen, PresenceStatus, RoomEntry, is_false};
use super::{FEATURES, PROTOCOL_VERSION, ServerFrame, SessionOpened};
use crate::codec::HEADER_BYTES;
use crate::model::{
    Event, HistoryOf, Keep, MessageId, MessagePage, PresenceChange, Receipt, Reference, Refusal, Reply,
    RoomName, SessionGrant, StoredMessage, Target, Timestamp, UserName,
};
use crate::wire::Wire;
use crate::wire::frames::{Frames, SharedFrames};

/// What a message's frame has before the members that its object in a list has too.
const MESSAGE_HEAD: &[u8] = br#"{"type":"message","#;
/// What a message takes beside its text, in bytes, about.
const BESIDE_TEXT_BYTES: usize = 160;
/// What a receipt takes, in bytes, about.
const RECEIPT_BYTES: usize = 128;
/// What most other frames take, in bytes, about.
const FRAME_BYTES: usize = 256;

/// A page's reply without its messages.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum PageHead<'a> {
    Joined {
        room: &'a RoomName,
        members: usize,
        #[serde(skip_serializing_if = "is_false")]
        reset: bool,
    },
    History {
        #[serde(skip_serializing_if = "Option::is_none")]
        room: Option<&'a RoomName>,
        #[serde(skip_serializing_if = "Option::is_none")]
        with: Option<&'a UserName>,
        #[serde(skip_serializing_if = "is_false")]
        reset: bool,
    },
    Inbox {
        #[serde(skip_serializing_if = "is_false")]
        reset: bool,
    },
}

/// A reply as one frame of at most `max_frame_bytes`, and whether there is more than it says: a list that
/// does not fit says that there is more.
pub fn reply(
    wire: Wire,
    reply: &Reply,
    reference: Option<&Reference>,
    max_frame_bytes: usize,
) -> (Bytes, bool) {
    let plain = |body: &ServerFrame| (frame(wire, body, reference), false);
    match reply {
        Reply::Done => plain(&ServerFrame::Ok { receipt: None }),
        Reply::Receipt(stored) => (receipt(wire, *stored, reference), false),
        Reply::Identified { name, known } => {
            plain(&ServerFrame::Identified { name: name.to_string(), known: *known })
        }
        Reply::Session(grant) => plain(&session(grant)),
        Reply::Joined { room, members, reset, page, keep } => {
            let head = PageHead::Joined { room, members: *members, reset: *reset };
            put_page(wire, &head, page, *keep, reference, max_frame_bytes)
        }
        Reply::History { of, reset, page, keep } => {
            let (room, with) = match of {
                HistoryOf::Room(room) => (Some(room), None),
                HistoryOf::With(with) => (None, Some(with)),
            };
            put_page(
                wire,
                &PageHead::History { room, with, reset: *reset },
                page,
                *keep,
                reference,
                max_frame_bytes,
            )
        }
        Reply::Inbox { reset, page } => {
            put_page(wire, &PageHead::Inbox { reset: *reset }, page, Keep::Oldest, reference, max_frame_bytes)
        }
        Reply::Rooms { rooms, more } => {
            let entry = |(room, members): &(RoomName, usize)| RoomEntry {
                room: room.to_string(),
                members: *members as u64,
            };
            let (rooms, more) = list_that_fits(rooms.iter().map(entry).collect(), *more, max_frame_bytes);
            (frame(wire, &ServerFrame::Rooms { rooms, more }, reference), more)
        }
        Reply::Who { names, more } => {
            let names = names.iter().map(UserName::to_string).collect();
            let (names, more) = list_that_fits(names, *more, max_frame_bytes);
            (frame(wire, &ServerFrame::Who { names, more }, reference), more)
        }
        Reply::Pong => plain(&ServerFrame::Pong),
        Reply::Bye(reason) => plain(&ServerFrame::Bye {
            reason: reason.as_str().to_owned(),
            text: reason.sentence().to_owned(),
        }),
        Reply::Refused(refusal) => plain(&error(refusal)),
    }
}

fn session(grant: &SessionGrant) -> ServerFrame {
    ServerFrame::Session(SessionOpened {
        name: grant.account.to_string(),
        token: grant.token.expose().to_owned(),
        expires_in: grant.expires_in_seconds,
        new: grant.new,
        last_seen: grant.last_seen.map(|(at, ip)| LastSeen { at, ip: ip.to_string() }),
        greeting: grant.greeting.clone(),
    })
}

fn error(refusal: &Refusal) -> ServerFrame {
    let Refusal { code, text, retry_after_ms } = refusal;
    ServerFrame::Error { code: *code, text: text.clone().into_owned(), retry_after_ms: *retry_after_ms }
}

/// An event for one connection, as one frame.
pub fn event(wire: Wire, event: &Event) -> Bytes {
    frame(wire, &event_body(event), None)
}

/// An event for many connections.
pub fn event_for_all(event: &Event) -> SharedFrames {
    let frame = frame(Wire::Native, &event_body(event), None);
    let end = frame.len();
    SharedFrames::new(Frames::new(frame, vec![end]))
}

fn event_body(event: &Event) -> ServerFrame {
    match event {
        Event::Welcome(welcome) => ServerFrame::Welcome {
            protocol: PROTOCOL_VERSION,
            server: welcome.server.clone(),
            max_frame: welcome.max_frame_bytes,
            motd: welcome.motd.clone(),
            features: FEATURES.iter().copied().map(Into::into).collect(),
            term: Some((*welcome.term).to_owned()),
        },
        Event::Notice { text, at } => ServerFrame::Notice { text: text.as_str().to_owned(), at: *at },
        Event::Ping => ServerFrame::Ping,
        Event::Fault(refusal) => error(refusal),
        Event::Bye { reason, text } => {
            ServerFrame::Bye { reason: reason.as_str().to_owned(), text: text.clone() }
        }
    }
}

/// Stored messages as `message` events.
pub fn messages<'a>(messages: impl IntoIterator<Item = &'a StoredMessage>) -> SharedFrames {
    let mut frames = BytesMut::new();
    let each = |message| {
        put_message(&mut frames, message);
        frames.len()
    };
    let ends = messages.into_iter().map(each).collect();
    SharedFrames::new(Frames::new(frames.freeze(), ends))
}

/// Who came into a room and who went, as `presence` events.
pub fn presence(room: &RoomName, changes: &[PresenceChange]) -> SharedFrames {
    let mut frames = BytesMut::new();
    let each = |change: &PresenceChange| {
        let status = if change.is_in { PresenceStatus::Joined } else { PresenceStatus::Left };
        let (room, name) = (room.to_string(), change.account.to_string());
        let body = ServerFrame::Presence { room, name, status, at: change.at };
        frames.extend_from_slice(&frame(Wire::Native, &body, None));
        frames.len()
    };
    let ends = changes.iter().map(each).collect();
    SharedFrames::new(Frames::new(frames.freeze(), ends))
}

fn put_message(frames: &mut BytesMut, message: &StoredMessage) {
    let start = frames.len();
    frames.reserve(HEADER_BYTES + message.text().as_str().len() + BESIDE_TEXT_BYTES);
    frames.put_u32(0);
    frames.put_slice(MESSAGE_HEAD);
    put_members(frames, message);
    let length = frames.len() - start - HEADER_BYTES;
    let length = u32::try_from(length).expect("a text and its names are no 4 GiB");
    frames[start..][..HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// Puts the members of a message, and the brace that closes it.
fn put_members(frames: &mut BytesMut, message: &StoredMessage) {
    put_receipt(frames, message.receipt());
    match &message.target {
        Target::Room(room) => put_member(frames, b",\"room\":", room.as_str()),
        Target::Account(to) => put_member(frames, b",\"to\":", to.as_str()),
    }
    put_member(frames, b",\"from\":", message.from.as_str());
    put_member(frames, b",\"text\":", message.text().as_str());
    frames.put_u8(b'}');
}

/// Encodes a reply that lists messages, with as many as fit into `max_frame_bytes`; what is left out turns
/// `more` on. Gives the frame, and `more` as it stands in there.
fn put_page(
    wire: Wire,
    head: &PageHead<'_>,
    page: &MessagePage,
    keep: Keep,
    reference: Option<&Reference>,
    max_frame_bytes: usize,
) -> (Bytes, bool) {
    let mut more = page.more;
    let frame = wire.frame(FRAME_BYTES, |frame| {
        let start = frame.len();
        put_json(frame, head);
        frame.truncate(frame.len() - 1);
        let tail_bytes = r#","messages":[],"more":false,"ref":"#.len()
            + reference.map_or(0, |reference| reference.as_str().len() * 6 + 2)
            + 1;
        let room_bytes = (max_frame_bytes + start).saturating_sub(frame.len() + tail_bytes);
        let (objects, mut places) = match keep {
            Keep::Newest => fitting(page.messages.iter().rev(), room_bytes),
            Keep::Oldest => fitting(page.messages.iter(), room_bytes),
        };
        if keep == Keep::Newest {
            places.reverse();
        }
        frame.put_slice(br#","messages":["#);
        for (position, (start, end)) in places.iter().enumerate() {
            if position > 0 {
                frame.put_u8(b',');
            }
            frame.put_slice(&objects[*start..*end]);
        }
        more |= places.len() < page.messages.len();
        frame.put_slice(if more { b"],\"more\":true" } else { b"],\"more\":false" });
        put_reference(frame, reference);
        frame.put_u8(b'}');
    });
    (frame, more)
}

/// The first messages as objects, as many as fit into so many bytes, commas included, and where each lies.
fn fitting<'a>(
    messages: impl Iterator<Item = &'a StoredMessage>,
    room_bytes: usize,
) -> (BytesMut, Vec<(usize, usize)>) {
    let (mut objects, mut places) = (BytesMut::new(), Vec::new());
    for message in messages {
        let start = objects.len();
        objects.put_u8(b'{');
        put_members(&mut objects, message);
        if objects.len() + places.len() + 1 > room_bytes {
            break;
        }
        places.push((start, objects.len()));
    }
    (objects, places)
}

/// The part of a sorted list, names or rooms, that fits into a reply of `max_frame_bytes`, from the front, and
/// whether others follow.
fn list_that_fits<T: Serialize>(mut items: Vec<T>, more: bool, max_frame_bytes: usize) -> (Vec<T>, bool) {
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
fn receipt(wire: Wire, receipt: Receipt, reference: Option<&Reference>) -> Bytes {
    wire.frame(RECEIPT_BYTES, |frame| {
        frame.put_slice(br#"{"type":"ok","#);
        put_receipt(frame, receipt);
        put_reference(frame, reference);
        frame.put_u8(b'}');
    })
}

/// Any frame of the server's, with the `ref` of the request that it answers.
pub fn frame(wire: Wire, body: &ServerFrame, reference: Option<&Reference>) -> Bytes {
    wire.frame(FRAME_BYTES, |frame| {
        put_json(frame, body);
        frame.truncate(frame.len() - 1);
        put_reference(frame, reference);
        frame.put_u8(b'}');
    })
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
    use crate::model::{MessageKind, MessageText};
    use crate::wire::json::Message;

    fn message(id: u64, text: &str) -> StoredMessage {
        let id = MessageId::new(id).expect("not zero");
        StoredMessage {
            id,
            prev: None,
            at: Timestamp::from_millis(1_795_284_321_311),
            target: Target::Room(RoomName::lobby()),
            from: UserName::parse("alice").expect("a name"),
            kind: MessageKind::Text(MessageText::parse(text).expect("a text")),
            key: None,
        }
    }

    fn payload(frame: &Bytes) -> &[u8] {
        assert_eq!(frame[..4], u32::to_be_bytes((frame.len() - 4) as u32), "the header counts the payload");
        &frame[4..]
    }

    #[test]
    fn the_event_is_what_the_dictionary_says() {
        let encoded = messages([&message(7, "line\n\"quoted\" ü")]);
        let (frame, _) = ServerFrame::parse(payload(encoded.on(Wire::Native).all())).expect("a frame");
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
            payload(encoded.on(Wire::Native).all()),
            serde_json::to_vec(&expected).expect("plain data"),
            "same bytes"
        );
    }

    #[test]
    fn a_page_keeps_what_fits_and_says_so() {
        let all: Vec<_> = (1..=100).map(|id| message(id, &"x".repeat(100))).collect();
        for (keep, expected_end) in [(Keep::Newest, 100), (Keep::Oldest, 1)] {
            for max_frame_bytes in [300, 1000, 5_000, 65_536] {
                let reference = Reference::parse("r1").expect("short");
                let page = MessagePage { messages: all.clone(), more: false };
                let asked =
                    Reply::History { of: HistoryOf::Room(RoomName::lobby()), reset: false, page, keep };
                let (frame, cut) = reply(Wire::Native, &asked, Some(&reference), max_frame_bytes);
                assert!(frame.len() <= max_frame_bytes + 4);
                let (body, answered) = ServerFrame::parse(payload(&frame)).expect("a frame");
                let ServerFrame::History { messages: listed, more, .. } = body else { panic!("{body:?}") };
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
            payload(&receipt(Wire::Native, stored, None)),
            br#"{"type":"ok","id":9,"prev":8,"at":"1970-01-01T00:00:00.000Z"}"#
        );
    }
}
