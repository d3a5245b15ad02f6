//! What WebSocket has beyond the suite that all wires pass: pieces, control frames, and how it ends.

use proptest::prelude::*;
use tungstenite::protocol::Role;
use tungstenite::protocol::frame::Frame;
use tungstenite::{Message, WebSocket};

use super::super::suite_tests::{Event, MAX_FRAME_BYTES, ReadOnly, Reader, masked};
use super::super::{Wire, WireState};
use super::*;

fn read(bytes: &[u8]) -> Vec<Event> {
    Reader::of(Wire::WebSocket, bytes).events
}

fn control_frame(opcode: Control, payload: &[u8]) -> Vec<u8> {
    let header =
        FrameHeader { opcode: OpCode::Control(opcode), mask: Some([9, 8, 7, 6]), ..FrameHeader::default() };
    let mut bytes = Vec::new();
    Frame::from_payload(header, payload.to_vec().into()).format(&mut bytes).expect("memory");
    bytes
}

fn close_payload(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason].concat()
}

/// The code of the close frame that the connection would end with.
fn ends_with(bytes: &[u8], reason: Option<ByeReason>) -> Option<u16> {
    let reader = Reader::of(Wire::WebSocket, bytes);
    let frame = Wire::WebSocket.ending(&reader.state, reason).expect("there is one on this wire");
    assert_eq!((frame[0], usize::from(frame[1])), (0x88, frame.len() - 2), "an unmasked close frame");
    frame.get(2..4).map(|code| u16::from_be_bytes([code[0], code[1]]))
}

#[test]
fn a_ping_is_answered_with_its_payload_amid_a_message_too() {
    let bytes = [
        masked(Data::Text, b"one", false),
        control_frame(Control::Ping, b"there?"),
        masked(Data::Continue, b"", false),
        control_frame(Control::Pong, b"unasked"),
        masked(Data::Continue, b" message", true),
        masked(Data::Text, b"another", true),
    ];
    let pong = Bytes::from_static(b"\x8a\x06there?");
    let payloads = [b"one message".to_vec(), b"another".to_vec()].map(Event::Payload);
    let [one, another] = payloads;
    assert_eq!(read(&bytes.concat()), [Event::Answer(pong), one, another]);
}

#[test]
fn what_breaks_a_rule_ends_the_connection_with_the_code_for_it() {
    let long = vec![b'x'; 126];
    let half = MAX_FRAME_BYTES / 2 + 1;
    let mut reserved = masked(Data::Text, b"{}", true);
    reserved[0] |= 0x40;
    let unmasked = vec![0x81, 2, b'{', b'}'];
    let cases: [(&str, Vec<u8>, u16); 20] = [
        ("unmasked", unmasked, 1002),
        ("a reserved bit", reserved, 1002),
        ("an unknown kind of data", vec![0x83, 0x80, 0, 0, 0, 0], 1002),
        ("an unknown kind of control", vec![0x8b, 0x80, 0, 0, 0, 0], 1002),
        ("a continuation of nothing", masked(Data::Continue, b"x", true), 1002),
        (
            "a message in a message",
            [masked(Data::Text, b"x", false), masked(Data::Text, b"y", true)].concat(),
            1002,
        ),
        ("a long ping", control_frame(Control::Ping, &long), 1002),
        ("a ping in pieces", vec![0x09, 0x80, 0, 0, 0, 0], 1002),
        ("a length with a byte too many", vec![0x81, 0xfe, 0, 1, 0, 0, 0, 0, b'x'], 1002),
        ("a negative length", vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], 1002),
        ("half a code", control_frame(Control::Close, &[3]), 1002),
        ("a code for nobody", control_frame(Control::Close, &close_payload(1005, b"")), 1002),
        ("a code beyond all", control_frame(Control::Close, &close_payload(5000, b"")), 1002),
        ("a reason that is no text", control_frame(Control::Close, &close_payload(1000, b"\xff")), 1007),
        ("no text", masked(Data::Text, b"{\"type\":\"\xc3\"}", true), 1007),
        (
            "no text, in pieces",
            [masked(Data::Text, b"\xc3", false), masked(Data::Continue, b"x", true)].concat(),
            1007,
        ),
        ("binary", masked(Data::Binary, b"{}", true), 1003),
        ("binary, in pieces", masked(Data::Binary, b"{", false), 1003),
        ("too large", masked(Data::Text, &vec![b'x'; MAX_FRAME_BYTES + 1], true), 1009),
        (
            "too large in all",
            [masked(Data::Text, &vec![b'x'; half], false), masked(Data::Continue, &vec![b'x'; half], true)]
                .concat(),
            1009,
        ),
    ];
    for (what, bytes, code) in cases {
        let bytes =
            [masked(Data::Text, b"before", true), bytes, masked(Data::Text, b"behind", true)].concat();
        let events = read(&bytes);
        assert!(
            matches!(&events[..], [Event::Payload(before), Event::Fault(_)] if before == b"before"),
            "{what}: {events:?}"
        );
        // Whatever the session calls it, the wire knows better.
        assert_eq!(ends_with(&bytes, Some(ByeReason::Fault(ErrorCode::BadRequest))), Some(code), "{what}");
    }
}

#[test]
fn a_peer_that_closes_hears_its_own_code_and_nothing_behind_it_counts() {
    for (payload, answer) in [
        (close_payload(1000, b"bye"), Some(1000)),
        (close_payload(1001, b""), Some(1001)),
        (close_payload(4_321, "für heute".as_bytes()), Some(4_321)),
        (Vec::new(), None),
    ] {
        let close = control_frame(Control::Close, &payload);
        let bytes = [close, masked(Data::Text, b"behind", true)].concat();
        assert_eq!(read(&bytes), [Event::End]);
        assert_eq!(ends_with(&bytes, None), answer);
    }
}

#[test]
fn a_bye_is_followed_by_the_code_for_its_reason() {
    for (reason, code) in [
        (None, 1000),
        (Some(ByeReason::Exit), 1000),
        (Some(ByeReason::Resumed), 1000),
        (Some(ByeReason::Kicked), 1000),
        (Some(ByeReason::Expired), 1000),
        (Some(ByeReason::ShuttingDown), 1001),
        (Some(ByeReason::Fault(ErrorCode::SlowConsumer)), 1008),
        (Some(ByeReason::Fault(ErrorCode::ServerFull)), 1008),
        (Some(ByeReason::Fault(ErrorCode::Internal)), 1008),
    ] {
        assert_eq!(ends_with(b"", reason), Some(code), "{reason:?}");
        assert_eq!(Wire::Native.ending(&WireState::default(), reason), None);
    }
}

/// Frames of any kind that a client may mask, sensible or not.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![4 => Just(0_u8), 6 => Just(1), 1 => Just(2), 3 => Just(9), 1 => 0_u8..16];
    let payload = prop_oneof![4 => ".{0,40}".prop_map(String::into_bytes), 1 => prop::collection::vec(any::<u8>(), 0..130)];
    (opcode, prop::bool::weighted(0.6), payload).prop_map(|(opcode, is_final, payload)| {
        let header = FrameHeader {
            is_final,
            opcode: opcode.into(),
            mask: Some([5, 0, 255, 7]),
            ..FrameHeader::default()
        };
        let mut bytes = Vec::new();
        Frame::from_payload(header, payload.into()).format(&mut bytes).expect("memory");
        bytes
    })
}

/// The texts that another implementation makes of what a client sends, until something else ends them.
fn texts_by_tungstenite(bytes: &[u8]) -> Vec<Event> {
    let stream = ReadOnly(bytes);
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
    let mut texts = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => texts.push(Event::Payload(text.as_bytes().to_vec())),
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(_) | Err(_) => return texts,
        }
    }
}

proptest! {
    #[test]
    fn another_implementation_makes_the_same_texts_of_it(
        frames in prop::collection::vec(any_frame(), 0..12), cut in any::<prop::sample::Index>(),
    ) {
        let bytes = frames.concat();
        let (now, later) = bytes.split_at(cut.index(bytes.len() + 1));
        let mut reader = Reader::of(Wire::WebSocket, now);
        reader.read(later);
        prop_assert_eq!(&reader.events, &read(&bytes), "however it is cut");
        reader.events.retain(|event| matches!(event, Event::Payload(_)));
        // Binary ends ours at its first frame, which may leave texts that the other one still sees.
        if !frames.iter().any(|frame| frame[0] & 0x0f == 2) {
            prop_assert_eq!(reader.events, texts_by_tungstenite(&bytes));
        }
    }

    #[test]
    fn a_message_in_any_pieces_is_that_message(
        text in ".{0,300}",
        cuts in prop::collection::vec(0_usize..60, 0..10),
        splits in prop::collection::vec(1_usize..50, 1..10),
    ) {
        let (mut bytes, mut rest, mut data) = (Vec::new(), text.as_bytes(), Data::Text);
        for cut in cuts {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            bytes.extend(masked(data, now, false));
            bytes.extend(control_frame(Control::Ping, b""));
            (rest, data) = (later, Data::Continue);
        }
        bytes.extend(masked(data, rest, true));
        let (mut reader, mut rest) = (Reader::new(Wire::WebSocket), &bytes[..]);
        for split in splits.iter().cycle() {
            if rest.is_empty() { break; }
            let (now, later) = rest.split_at((*split).min(rest.len()));
            reader.read(now);
            rest = later;
        }
        reader.events.retain(|event| !matches!(event, Event::Answer(_)));
        prop_assert_eq!(&reader.events, &[Event::Payload(text.into_bytes())]);
        prop_assert!(!reader.state.is_amid_message());
    }

    #[test]
    fn the_mask_comes_off_once(mask in any::<[u8; 4]>(), payload in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut masked = mask.to_vec();
        masked.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        for _ in 0..2 {
            unmask(&mut masked);
            prop_assert_eq!(&masked[..4], &[0; 4]);
            prop_assert_eq!(&masked[4..], &payload);
        }
    }
}
