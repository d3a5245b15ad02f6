//! Sessions on every wire and every transport: the same lives, led through each kind of door, are told the same
//! payloads.

use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};

use super::*;
use crate::actors::messages::fanout::NewConnection;
use crate::transport::memory;
use crate::transport::{DetachedStream, Stream, set_kernel_buffers};
use crate::wire::Wire;

/// What is unread on its way through memory, in bytes: about what a socket has.
const IN_MEMORY_BYTES: usize = 65_536;

/// Who comes next lives on the next thread.
static NEXT_THREAD: AtomicUsize = AtomicUsize::new(0);

/// A kind of door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Door {
    wire: Wire,
    transport: Transport,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Tcp,
    Memory,
    /// Memory that takes few bytes a write, and holds back what it has until it is flushed.
    Pedantic,
}

fn doors() -> impl Iterator<Item = Door> {
    let transports = [Transport::Tcp, Transport::Memory, Transport::Pedantic];
    Wire::ALL.into_iter().flat_map(move |wire| transports.map(|transport| Door { wire, transport }))
}

/// What a client hears.
#[derive(Debug, Clone, PartialEq)]
enum Heard {
    Payload(Value),
    Pong(Vec<u8>),
    /// The wire's own last frame, with its code.
    Close(Option<u16>),
    /// The end of the stream.
    End,
}

/// A client behind some door.
struct Guest {
    door: Door,
    stream: Stream,
    unread: BytesMut,
    token: String,
    /// All payloads that came, but who came and went: that has no place in the order. What differs from life to
    /// life is left out.
    told: Vec<Value>,
}

/// Both ends of a connection: the server's and the client's.
async fn connection(transport: Transport) -> (DetachedStream, Stream) {
    match transport {
        Transport::Tcp => {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (far, _) = listener.accept().await.unwrap();
            // So that whoever does not read is found out soon.
            set_kernel_buffers(&near, 0, 4_096);
            set_kernel_buffers(&far, 4_096, 0);
            (DetachedStream::Plain(far.into_std().unwrap()), Stream::Plain(near))
        }
        Transport::Memory | Transport::Pedantic => {
            let (near, far) = memory::pair(IN_MEMORY_BYTES);
            if transport == Transport::Pedantic {
                near.allow(100, 7);
                far.hold_back(50);
            }
            (DetachedStream::Memory(far), Stream::Memory(near))
        }
    }
}

impl Guest {
    /// Comes in, with some bytes that were read before.
    async fn come(runtime: &Runtime, door: Door, received: Bytes) -> Self {
        let (stream, near) = connection(door.transport).await;
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        // As every door does before it hands a connection over.
        runtime.handles.newcomers.fetch_add(1, Ordering::Relaxed);
        let wire = door.wire;
        let thread = NEXT_THREAD.fetch_add(1, Ordering::Relaxed) % runtime.fanouts.len();
        runtime.fanouts[thread].do_send(NewConnection { stream, peer, wire, received, refused: None });
        Guest { door, stream: near, unread: BytesMut::new(), token: String::new(), told: Vec::new() }
    }

    async fn welcomed(runtime: &Runtime, door: Door) -> Self {
        let mut guest = Guest::come(runtime, door, Bytes::new()).await;
        assert_eq!(guest.payload().await["type"], "welcome");
        guest
    }

    /// Is welcomed, registers and joins the lobby.
    async fn registered(runtime: &Runtime, door: Door, name: &str) -> Self {
        let mut guest = Guest::welcomed(runtime, door).await;
        guest.register(name).await;
        assert_eq!(guest.ask(json!({"type": "join", "room": "lobby"})).await["type"], "joined");
        guest
    }

    async fn register(&mut self, name: &str) {
        let session = self.ask(json!({"type": "register", "name": name, "password": "correct horse"})).await;
        session["token"].as_str().expect("a session").clone_into(&mut self.token);
    }

    // ------------------------------------------------------------ what it says

    fn request(&self, mut request: Value) -> Vec<u8> {
        if !self.token.is_empty() {
            request["token"] = json!(self.token);
        }
        self.frame(request.to_string().as_bytes())
    }

    fn frame(&self, payload: &[u8]) -> Vec<u8> {
        match self.door.wire {
            Wire::Native => [&(payload.len() as u32).to_be_bytes(), payload].concat(),
            Wire::WebSocket => masked(OpCode::Data(Data::Text), payload, true),
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("room in time").unwrap();
    }

    async fn ask(&mut self, request: Value) -> Value {
        let request = self.request(request);
        self.send(&request).await;
        self.payload().await
    }

    // ------------------------------------------------------------ what it hears

    /// What comes next. A frame that is no whole one is a fault of the server's.
    async fn hear(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.first() {
                match heard {
                    Heard::Payload(payload) if payload["type"] == "presence" => continue,
                    Heard::Payload(payload) => {
                        self.told.push(timeless(payload.clone()));
                        return Heard::Payload(payload);
                    }
                    other => return other,
                }
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.unread)).await;
            if read.expect("something in time").unwrap() == 0 {
                assert!(self.unread.is_empty(), "the stream ends amid a frame");
                return Heard::End;
            }
        }
    }

    fn first(&mut self) -> Option<Heard> {
        let (opcode, start, length) = match self.door.wire {
            Wire::Native => {
                let length = u32::from_be_bytes(*self.unread.first_chunk()?);
                (OpCode::Data(Data::Text), 4, length as usize)
            }
            Wire::WebSocket => {
                let mut cursor = std::io::Cursor::new(&self.unread[..]);
                let (header, length) = FrameHeader::parse(&mut cursor).unwrap()?;
                assert_eq!((header.mask, header.is_final), (None, true));
                (header.opcode, cursor.position() as usize, length as usize)
            }
        };
        if self.unread.len() < start + length {
            return None;
        }
        self.unread.advance(start);
        let payload = self.unread.split_to(length);
        Some(match opcode {
            OpCode::Data(Data::Text) => Heard::Payload(serde_json::from_slice(&payload).unwrap()),
            OpCode::Control(Control::Pong) => Heard::Pong(payload.to_vec()),
            OpCode::Control(Control::Close) => {
                Heard::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code)))
            }
            other => panic!("{other:?}"),
        })
    }

    async fn payload(&mut self) -> Value {
        match self.hear().await {
            Heard::Payload(payload) => payload,
            other => panic!("{:?}: {other:?}", self.door),
        }
    }

    /// Nothing more comes but the wire's own last word, which has this code.
    async fn hears_the_end(&mut self, code: u16) {
        if self.door.wire == Wire::WebSocket {
            assert_eq!(self.hear().await, Heard::Close(Some(code)), "{:?}", self.door);
        }
        assert_eq!(self.hear().await, Heard::End, "{:?}", self.door);
    }

    /// Hears `error` and `bye` for this reason, and the end.
    async fn is_let_go(&mut self, reason: &str, code: u16) {
        let error = self.payload().await;
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(reason)), "{error}");
        let bye = self.payload().await;
        assert_eq!((&bye["type"], &bye["reason"]), (&json!("bye"), &json!(reason)), "{bye}");
        self.hears_the_end(code).await;
    }
}

/// A frame as a WebSocket client sends it.
fn masked(opcode: OpCode, payload: &[u8], is_final: bool) -> Vec<u8> {
    let header = FrameHeader { is_final, opcode, mask: Some([1, 2, 3, 4]), ..FrameHeader::default() };
    let mut bytes = Vec::new();
    Frame::from_payload(header, payload.to_vec().into()).format(&mut bytes).unwrap();
    bytes
}

/// A payload without what differs from life to life.
fn timeless(mut payload: Value) -> Value {
    match &mut payload {
        Value::Object(members) => {
            for (name, value) in members.iter_mut() {
                match name.as_str() {
                    "at" | "token" | "term" => *value = Value::Null,
                    _ => *value = timeless(value.take()),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = timeless(item.take())),
        _ => {}
    }
    payload
}

/// Leads a life through every door, each in a server of its own, every other one with several I/O threads, and
/// compares what is told.
fn through_every_door(change: impl Fn(&mut Config), life: impl AsyncFn(&Runtime, Door) -> Vec<Vec<Value>>) {
    resources::system().unwrap().block_on(async {
        let mut first: Option<(Door, Vec<Vec<Value>>)> = None;
        for (io_threads, door) in [1, 3].into_iter().cycle().zip(doors()) {
            let dir = tempfile::tempdir().unwrap();
            let data = crate::disk::real::open_folder(dir.path()).unwrap();
            let runtime = build_with(&dir, &data, |config| {
                config.server.io_threads = io_threads;
                config.limits.messages_per_second = 0;
                config.limits.requests_per_second = 0;
                change(config);
            });
            let told = life(&runtime, door).await;
            runtime.stop().await;
            match &first {
                None => first = Some((door, told)),
                Some((other, first)) => assert_eq!(&told, first, "{door:?} is told what {other:?} is"),
            }
        }
    });
}

#[test]
fn a_conversation_is_the_same_through_every_door() {
    through_every_door(
        |_| {},
        async |runtime, door| {
            let mut alice = Guest::registered(runtime, door, "alice").await;
            let mut bob = Guest::registered(runtime, door, "bob").await;

            // Several at once: the receipts come in the order of the requests.
            let mut said = Vec::new();
            for number in 0..20 {
                let text = "ü".repeat(number * 100 + 1);
                said.extend(alice.request(
                    json!({"type": "say", "room": "lobby", "text": text, "ref": number.to_string()}),
                ));
            }
            said.extend(alice.request(json!({"type": "ping", "ref": "last"})));
            alice.send(&said).await;
            let mut ids = Vec::new();
            for number in 0..20 {
                let receipt = alice.payload().await;
                assert_eq!((&receipt["type"], &receipt["ref"]), (&json!("ok"), &json!(number.to_string())));
                ids.push(receipt["id"].as_u64().unwrap());
            }
            assert_eq!(alice.payload().await["type"], "pong");
            for id in &ids {
                assert_eq!(bob.payload().await["id"].as_u64(), Some(*id));
            }

            let page = bob.ask(json!({"type": "history", "room": "lobby", "limit": 5})).await;
            assert_eq!((&page["more"], page["messages"].as_array().unwrap().len()), (&json!(true), 5));
            let long = bob.ask(json!({"type": "history", "room": "lobby", "limit": 500})).await;
            assert_eq!(long["messages"].as_array().unwrap().len(), 20);
            bob.ask(json!({"type": "tell", "to": "alice", "text": "psst"})).await;
            assert_eq!(alice.payload().await["text"], "psst");
            alice.ask(json!({"type": "who"})).await;
            alice.ask(json!({"type": "leave", "room": "lobby"})).await;
            bob.ask(json!({"type": "say", "room": "lobby", "text": "alone?"})).await;

            let bye = alice.ask(json!({"type": "exit", "ref": "x"})).await;
            assert_eq!((&bye["reason"], &bye["ref"]), (&json!("exit"), &json!("x")));
            alice.hears_the_end(1000).await;
            vec![alice.told, bob.told]
        },
    );
}

#[test]
fn what_is_no_request_is_refused_until_it_is_too_much() {
    through_every_door(
        |config| config.limits.bad_frames = 4,
        async |runtime, door| {
            let mut guest = Guest::welcomed(runtime, door).await;
            for junk in ["", "{", "[]", r#"{"type":"dance"}"#] {
                guest.send(&guest.frame(junk.as_bytes())).await;
                assert_eq!(guest.payload().await["type"], "error");
            }
            assert_eq!(guest.ask(json!({"type": "ping"})).await["type"], "pong");
            guest.send(&guest.frame(b"null")).await;
            guest.is_let_go("too_many_errors", 1008).await;
            vec![guest.told]
        },
    );
}

#[test]
fn a_payload_that_is_too_large_ends_the_connection_and_nothing_behind_it_is_done() {
    through_every_door(
        |config| config.limits.max_frame_bytes = 16_384,
        async |runtime, door| {
            let mut guest = Guest::registered(runtime, door, "alice").await;
            let most = json!({"type": "ping", "pad": "x".repeat(16_000)});
            assert_eq!(guest.ask(most).await["type"], "pong");
            let too_large = guest.frame(&[b'x'; 16_385]);
            let behind = guest.request(json!({"type": "say", "room": "lobby", "text": "behind"}));
            // The beginning is enough; the server may go before it has all.
            let _ = guest.stream.write_all(&[&too_large[..1_000], &behind].concat()).await;
            guest.is_let_go("frame_too_large", 1009).await;
            let mut other = Guest::welcomed(runtime, door).await;
            other.register("bob").await;
            let page = other.ask(json!({"type": "history", "room": "lobby"})).await;
            assert_eq!(page["messages"], json!([]));
            vec![guest.told, other.told]
        },
    );
}

#[test]
fn who_ends_its_side_gets_its_answers_and_the_end() {
    through_every_door(
        |_| {},
        async |runtime, door| {
            let mut guest = Guest::registered(runtime, door, "alice").await;
            let mut requests = guest.request(json!({"type": "say", "room": "lobby", "text": "last words"}));
            requests.extend(guest.request(json!({"type": "history", "room": "lobby", "ref": "h"})));
            guest.send(&requests).await;
            guest.stream.shut_down_writing().unwrap();
            assert_eq!(guest.payload().await["type"], "ok");
            assert_eq!(guest.payload().await["ref"], "h");
            guest.hears_the_end(1000).await;
            vec![guest.told]
        },
    );
}

#[test]
fn everybody_hears_that_the_server_stops() {
    resources::system().unwrap().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let runtime = build(&dir);
        let mut guests = Vec::new();
        for (number, door) in doors().enumerate() {
            guests.push(Guest::registered(&runtime, door, &format!("guest{number}")).await);
        }
        let told = async {
            for guest in &mut guests {
                let bye = guest.payload().await;
                assert_eq!((&bye["type"], &bye["reason"]), (&json!("bye"), &json!("shutting_down")));
                guest.hears_the_end(1001).await;
                // Its side of the stream is what the server waits for.
                guest.stream.shut_down_writing().unwrap();
            }
        };
        tokio::join!(runtime.stop(), told);
    });
}

#[test]
fn who_does_not_read_is_let_go_with_whole_frames_and_costs_nobody_else() {
    through_every_door(
        |config| {
            config.limits.outbox_bytes = 65_536;
            config.limits.socket_send_buffer_bytes = 4_096;
        },
        async |runtime, door| {
            let mut alice = Guest::registered(runtime, door, "alice").await;
            let mut slow = Guest::registered(runtime, door, "slow").await;
            let text = "x".repeat(4_000);
            let mut last_id = 0;
            loop {
                let receipt = alice.ask(json!({"type": "say", "room": "lobby", "text": text})).await;
                last_id = receipt["id"].as_u64().expect("a receipt").max(last_id);
                let who = alice.ask(json!({"type": "who", "room": "lobby"})).await;
                if who["names"] == json!(["alice"]) {
                    break;
                }
                assert!(last_id < 10_000, "it is never let go");
            }
            // How many messages were on the way depends on the transport; each that came is whole, in order.
            let mut newest = 0;
            let error = loop {
                let payload = slow.payload().await;
                if payload["type"] != "message" {
                    break payload;
                }
                let id = payload["id"].as_u64().unwrap();
                assert!(newest < id && payload["text"] == text);
                newest = id;
            };
            assert!(newest < last_id);
            assert_eq!(error["code"], "slow_consumer");
            assert_eq!(slow.payload().await["reason"], "slow_consumer");
            slow.hears_the_end(1008).await;
            vec![]
        },
    );
}

// ---------------------------------------------------------------- what only WebSocket has

fn through_websockets(life: impl AsyncFn(&Runtime, Door)) {
    resources::system().unwrap().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let runtime = build(&dir);
        for door in doors().filter(|door| door.wire == Wire::WebSocket) {
            life(&runtime, door).await;
        }
        runtime.stop().await;
    });
}

#[test]
fn what_came_with_the_upgrade_counts() {
    through_websockets(async |runtime, door| {
        let whole = masked(OpCode::Data(Data::Text), br#"{"type":"ping","ref":"1"}"#, true);
        let next = masked(OpCode::Data(Data::Text), br#"{"type":"ping","ref":"2"}"#, true);
        let (begun, rest) = next.split_at(9);
        let mut guest = Guest::come(runtime, door, [&whole, begun].concat().into()).await;
        assert_eq!(guest.payload().await["type"], "welcome");
        assert_eq!(guest.payload().await["ref"], "1");
        guest.send(rest).await;
        assert_eq!(guest.payload().await["ref"], "2");
    });
}

#[test]
fn a_message_in_pieces_is_a_request_and_a_ping_between_them_is_answered() {
    through_websockets(async |runtime, door| {
        let mut guest = Guest::welcomed(runtime, door).await;
        let request = format!(r#"{{"type":"ping","ref":"whole","pad":"{}"}}"#, "ü".repeat(20_000));
        let pieces: Vec<_> = request.as_bytes().chunks(1_001).collect();
        for (index, piece) in pieces.iter().enumerate() {
            let data = if index == 0 { Data::Text } else { Data::Continue };
            guest.send(&masked(OpCode::Data(data), piece, index + 1 == pieces.len())).await;
            if index == 5 {
                guest.send(&masked(OpCode::Control(Control::Ping), b"there?", true)).await;
                assert_eq!(guest.hear().await, Heard::Pong(b"there?".to_vec()));
            }
        }
        assert_eq!(guest.payload().await["ref"], "whole");
    });
}

#[test]
fn who_closes_gets_its_answers_and_its_own_code() {
    through_websockets(async |runtime, door| {
        let mut guest = Guest::welcomed(runtime, door).await;
        let mut bytes = guest.request(json!({"type": "ping", "ref": "before"}));
        bytes.extend(masked(OpCode::Control(Control::Close), &1001_u16.to_be_bytes(), true));
        bytes.extend(guest.request(json!({"type": "ping", "ref": "behind"})));
        guest.send(&bytes).await;
        assert_eq!(guest.payload().await["ref"], "before");
        guest.hears_the_end(1001).await;
    });
}

#[test]
fn who_breaks_the_framing_is_told_by_the_code() {
    for (bytes, code) in [
        (masked(OpCode::Data(Data::Binary), b"{}", true), 1003),
        (masked(OpCode::Data(Data::Text), b"\xff", true), 1007),
        (masked(OpCode::Data(Data::Continue), b"{}", true), 1002),
        (vec![0x81, 2, b'{', b'}'], 1002),
    ] {
        through_websockets(async |runtime, door| {
            let mut guest = Guest::welcomed(runtime, door).await;
            let mut bytes = BytesMut::from(&bytes[..]);
            bytes.put_slice(&guest.request(json!({"type": "ping"})));
            guest.send(&bytes).await;
            guest.is_let_go("bad_request", code).await;
        });
    }
}
