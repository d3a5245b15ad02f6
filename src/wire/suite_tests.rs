//! What every wire has to pass. A new one gets a [`Client`] here, and nothing else.
//!
//! The client's side is not this crate's where there is another one: what the server writes as WebSocket is
//! read by `tungstenite`'s client, and what it reads was written by that.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use proptest::prelude::*;
use tokio_util::codec::{Decoder, Encoder};
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

use super::*;
use crate::codec::FrameCodec;
use crate::model::ErrorCode;

pub const MAX_FRAME_BYTES: usize = 70_000;

/// What a connection's bytes came to, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Payload(Vec<u8>),
    Answer(Bytes),
    End,
    Fault(WireError),
}

/// Reads as a session does: from a buffer that is used anew, keeping what is incomplete. Each payload is looked
/// at twice before it is taken.
pub struct Reader {
    wire: Wire,
    pub state: WireState,
    unread: BytesMut,
    pub events: Vec<Event>,
}

impl Reader {
    pub fn new(wire: Wire) -> Self {
        Reader { wire, state: WireState::default(), unread: BytesMut::new(), events: Vec::new() }
    }

    pub fn read(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        while !matches!(self.events.last(), Some(Event::End | Event::Fault(_))) {
            let used = match self.wire.peek(&mut self.state, &mut self.unread, MAX_FRAME_BYTES) {
                Ok(None) => return,
                Ok(Some((Decoded::Payload(payload), used))) => {
                    let payload = payload.to_vec();
                    let again = self.wire.peek(&mut self.state, &mut self.unread, MAX_FRAME_BYTES);
                    assert_eq!(again, Ok(Some((Decoded::Payload(&payload), used))), "shown again");
                    self.events.push(Event::Payload(payload));
                    self.state.taken();
                    used
                }
                Ok(Some((Decoded::Control(answer), used))) => {
                    self.events.extend(answer.map(Event::Answer));
                    used
                }
                Ok(Some((Decoded::End, used))) => {
                    self.events.push(Event::End);
                    used
                }
                Err(why) => return self.events.push(Event::Fault(why)),
            };
            assert!(used <= self.unread.len());
            self.unread.advance(used);
        }
    }

    pub fn of(wire: Wire, bytes: &[u8]) -> Self {
        let mut reader = Reader::new(wire);
        reader.read(bytes);
        reader
    }
}

/// The other side of a wire.
struct Client {
    wire: Wire,
    /// What the client writes for these payloads.
    write: fn(&[String]) -> Vec<u8>,
    /// The payloads that the client makes of what the server writes.
    read: fn(&[u8]) -> Vec<Vec<u8>>,
    /// The beginning of a frame that announces so many bytes.
    announce: fn(u32) -> Vec<u8>,
}

const CLIENTS: &[Client] = &[
    Client {
        wire: Wire::Native,
        write: |payloads| {
            let mut bytes = BytesMut::new();
            for payload in payloads {
                FrameCodec::new(usize::MAX).encode(payload, &mut bytes).expect("no bound");
            }
            bytes.to_vec()
        },
        read: |bytes| {
            let (mut bytes, mut codec) = (BytesMut::from(bytes), FrameCodec::new(MAX_FRAME_BYTES));
            let payloads = std::iter::from_fn(|| codec.decode(&mut bytes).expect("frames"));
            payloads.map(|payload| payload.to_vec()).collect()
        },
        announce: |length| length.to_be_bytes().to_vec(),
    },
    Client {
        wire: Wire::WebSocket,
        write: |payloads| {
            payloads.iter().flat_map(|payload| masked(Data::Text, payload.as_bytes(), true)).collect()
        },
        read: |bytes| {
            let stream = ReadOnly(bytes);
            let mut socket =
                WebSocket::from_raw_socket(stream, Role::Client, Some(WebSocketConfig::default()));
            let messages = std::iter::from_fn(|| socket.read().ok());
            messages
                .map(|message| match message {
                    Message::Text(text) => text.as_bytes().to_vec(),
                    other => panic!("{other:?}"),
                })
                .collect()
        },
        announce: |length| {
            let mut bytes = vec![0x81];
            match length {
                0..=125 => bytes.put_u8(0x80 | u8::try_from(length).expect("short")),
                126..=0xffff => {
                    bytes.put_u8(0x80 | 126);
                    bytes.put_u16(u16::try_from(length).expect("two bytes"));
                }
                _ => {
                    bytes.put_u8(0x80 | 127);
                    bytes.put_u64(length.into());
                }
            }
            bytes.extend([1, 2, 3, 4]);
            bytes
        },
    },
];

/// A frame as a client sends it.
pub fn masked(data: Data, payload: &[u8], is_final: bool) -> Vec<u8> {
    let mut frame = Frame::message(payload.to_vec(), OpCode::Data(data), is_final);
    frame.header_mut().mask = Some([0x17, 0xfe, 0x00, 0x99]);
    let mut bytes = Vec::new();
    frame.format(&mut bytes).expect("memory");
    bytes
}

/// What the server wrote, as a stream that takes nothing.
pub struct ReadOnly<'a>(pub &'a [u8]);

impl std::io::Read for ReadOnly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        std::io::Read::read(&mut self.0, buffer)
    }
}

impl std::io::Write for ReadOnly<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Texts around the lengths at which headers grow, requests and junk among them.
fn payload() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => ".{0,100}",
        2 => Just(String::from(r#"{"type":"say","room":"lobby","text":"ü"}"#)),
        2 => (120_usize..135).prop_map(|length| "x".repeat(length)),
        1 => (65_530_usize..65_540).prop_map(|length| "y".repeat(length)),
        1 => Just("z".repeat(MAX_FRAME_BYTES)),
    ]
}

fn payload_events(payloads: &[String]) -> Vec<Event> {
    payloads.iter().map(|payload| Event::Payload(payload.clone().into_bytes())).collect()
}

#[test]
fn every_wire_has_a_client_here() {
    assert!(CLIENTS.iter().map(|client| client.wire).eq(Wire::ALL));
}

#[test]
fn too_much_is_told_by_its_announcement() {
    for client in CLIENTS {
        for announced in [MAX_FRAME_BYTES as u32 + 1, u32::MAX] {
            let bytes = [(client.write)(&["before".into()]), (client.announce)(announced)].concat();
            let mut reader = Reader::of(client.wire, &bytes);
            let fault = WireError::TooLarge { announced_bytes: announced.into(), max_bytes: MAX_FRAME_BYTES };
            let expected = [Event::Payload(b"before".to_vec()), Event::Fault(fault)];
            assert_eq!(reader.events, expected, "{:?}", client.wire);
            assert_eq!(fault.code(), ErrorCode::FrameTooLarge);
            reader.read(b"whatever follows");
            assert_eq!(reader.events, expected, "nothing behind it is looked at");
        }
        let most = (client.announce)(MAX_FRAME_BYTES as u32);
        let reader = Reader::of(client.wire, &most);
        assert_eq!(reader.events, [], "{:?}: the most that there may be, and nothing of it yet", client.wire);
        assert_eq!(client.wire.announced_bytes(&most), Some(most.len() + MAX_FRAME_BYTES));
        assert!(reader.unread.capacity() < 1_024, "nothing is reserved for a promise");
    }
}

#[test]
fn an_empty_payload_is_one_and_an_idle_connection_keeps_nothing() {
    for client in CLIENTS {
        let payloads = ["".into(), "x".into(), "".into()];
        let reader = Reader::of(client.wire, &(client.write)(&payloads));
        assert_eq!(reader.events, payload_events(&payloads));
        assert!(!reader.state.is_amid_message() && reader.unread.is_empty());
    }
    assert_eq!(size_of::<WireState>(), size_of::<usize>());
    assert_eq!(size_of::<Wire>(), 1);
}

proptest! {
    #[test]
    fn payloads_survive_any_split(
        payloads in prop::collection::vec(payload(), 0..6),
        cuts in prop::collection::vec(prop_oneof![4 => 1_usize..40, 1 => 1_usize..70_000], 1..20),
    ) {
        for client in CLIENTS {
            let bytes = (client.write)(&payloads);
            let (mut reader, mut rest) = (Reader::new(client.wire), &bytes[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                reader.read(now);
                rest = later;
            }
            prop_assert_eq!(&reader.events, &payload_events(&payloads), "{:?}", client.wire);
            prop_assert!(reader.unread.is_empty());
        }
    }

    #[test]
    fn what_the_server_writes_is_read_by_a_client(payloads in prop::collection::vec(payload(), 0..6)) {
        let expected: Vec<_> = payloads.iter().map(|payload| payload.clone().into_bytes()).collect();
        for client in CLIENTS {
            let frames: Vec<Bytes> = payloads
                .iter()
                .map(|payload| client.wire.frame(16, |frame| frame.put_slice(payload.as_bytes())))
                .collect();
            let all = frames.concat();
            prop_assert_eq!(&(client.read)(&all), &expected, "{:?}", client.wire);
            for other in CLIENTS {
                let reframed = client.wire.reframe(&all, other.wire);
                prop_assert_eq!(&(other.read)(reframed.all()), &expected, "from {:?}", client.wire);
                for (index, payload) in expected.iter().enumerate() {
                    let one = reframed.only(&[index]).concat();
                    prop_assert_eq!(&(other.read)(&one)[..], std::slice::from_ref(payload));
                }
                let back = other.wire.reframe(reframed.all(), client.wire);
                prop_assert_eq!(back.all(), &all);
            }
        }
    }

    #[test]
    fn the_end_of_a_frame_is_found_from_anywhere_in_it(payloads in prop::collection::vec(".{0,150}", 1..6)) {
        for wire in Wire::ALL {
            let frames: Vec<Bytes> =
                payloads.iter().map(|payload| wire.frame(16, |frame| frame.put_slice(payload.as_bytes()))).collect();
            let all = frames.concat();
            prop_assert_eq!(wire.end_of_frame_at(&all, 0), 0);
            let mut start = 0;
            for frame in &frames {
                let end = start + frame.len();
                for position in start + 1..=end {
                    prop_assert_eq!(wire.end_of_frame_at(&all, position), end);
                }
                start = end;
            }
        }
    }

    #[test]
    fn junk_comes_to_an_event_or_to_nothing(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in 0_usize..400) {
        for wire in Wire::ALL {
            let whole = Reader::of(wire, &bytes);
            let (now, later) = bytes.split_at(cut.min(bytes.len()));
            let mut reader = Reader::of(wire, now);
            reader.read(later);
            prop_assert_eq!(reader.events, whole.events, "{:?}", wire);
        }
    }
}
