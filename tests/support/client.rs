//! A client made of a socket, four bytes of length, and JSON.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use super::PATIENCE;

/// How many frames of the talk a failing test shows.
const TRANSCRIPT: usize = 16;
/// Frames that come without being asked for.
const EVENTS: [&str; 4] = ["message", "presence", "notice", "ping"];

/// One connection.
pub struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
    events: VecDeque<Value>,
    transcript: VecDeque<String>,
    /// The account, when a session is open.
    pub name: String,
    /// The token, when a session is open; [`Client::send`] adds it.
    pub token: String,
}

/// The frame of a payload: its length in four bytes, then the payload.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).expect("a small payload").to_be_bytes().to_vec();
    frame.extend_from_slice(payload);
    frame
}

/// The frame of a JSON value.
pub fn json_frame(value: &Value) -> Vec<u8> {
    frame(value.to_string().as_bytes())
}

/// The ids of the messages in a list, in their order.
pub fn ids(messages: &Value) -> Vec<u64> {
    let messages = messages.as_array().unwrap_or_else(|| panic!("no list of messages: {messages}"));
    messages.iter().map(id).collect()
}

/// The texts of the messages in a list, in their order.
pub fn texts(messages: &Value) -> Vec<String> {
    let messages = messages.as_array().unwrap_or_else(|| panic!("no list of messages: {messages}"));
    messages.iter().map(|message| text(message).to_owned()).collect()
}

/// A message's or a receipt's id.
pub fn id(message: &Value) -> u64 {
    message["id"].as_u64().unwrap_or_else(|| panic!("no id: {message}"))
}

/// A message's text.
pub fn text(message: &Value) -> &str {
    message["text"].as_str().unwrap_or_else(|| panic!("no text: {message}"))
}

impl Client {
    /// A connection on which nothing has been read yet.
    pub fn raw(address: SocketAddr) -> Self {
        Client::over(TcpStream::connect(address).expect("the server listens"))
    }

    /// A connection from another loopback address, 127.0.0.`host`, that has read its `welcome`.
    pub fn connect_from(host: u8, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, host], 0)).into()).expect("127/8 is all ours");
        socket.connect(&address.into()).expect("the server listens");
        Client::over(socket.into()).welcomed()
    }

    /// A connection that has read its `welcome`.
    pub fn connect(address: SocketAddr) -> Self {
        Client::raw(address).welcomed()
    }

    /// A connection over this socket, on which nothing has been read yet.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a TCP socket");
        Client {
            stream,
            unread: Vec::new(),
            events: VecDeque::new(),
            transcript: VecDeque::new(),
            name: String::new(),
            token: String::new(),
        }
    }

    fn welcomed(mut self) -> Self {
        let welcome = self.next();
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        self
    }

    /// The socket itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    // ------------------------------------------------------------ sending

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        if let Err(why) = self.stream.write_all(bytes) {
            self.fail(&format!("cannot send ({why})"));
        }
    }

    /// Sends a request with the token of the session; whether the server is still there to take it.
    pub fn try_send(&mut self, request: Value) -> bool {
        let request = self.with_token(request);
        self.stream.write_all(&json_frame(&request)).is_ok()
    }

    /// Sends a payload in a frame.
    pub fn send_payload(&mut self, payload: &[u8]) {
        self.note("→", payload);
        self.send_bytes(&frame(payload));
    }

    /// Sends a request as it is.
    pub fn send_as_is(&mut self, request: &Value) {
        self.send_payload(request.to_string().as_bytes());
    }

    /// Sends a request, with the token of the session.
    pub fn send(&mut self, request: Value) {
        let request = self.with_token(request);
        self.send_as_is(&request);
    }

    /// A request with the token of the session, unless it has one or needs none.
    pub fn with_token(&self, mut request: Value) -> Value {
        let needs_none = matches!(request["type"].as_str(), Some("ping" | "pong" | "exit"));
        if !self.token.is_empty() && !needs_none && request.get("token").is_none() {
            request["token"] = json!(self.token);
        }
        request
    }

    // ------------------------------------------------------------ receiving

    /// The payload of the next frame, or `None` at the end of the stream, however it ends, in the middle of a
    /// frame even.
    pub fn next_payload(&mut self) -> Option<Vec<u8>> {
        let start = Instant::now();
        loop {
            if let Some(payload) = self.take_payload() {
                self.note("←", &payload);
                return Some(payload);
            }
            if !self.read_more(PATIENCE.saturating_sub(start.elapsed())) {
                return None;
            }
        }
    }

    fn take_payload(&mut self) -> Option<Vec<u8>> {
        let header = self.unread.first_chunk::<4>()?;
        let end = 4 + u32::from_be_bytes(*header) as usize;
        let payload = self.unread.get(4..end)?.to_vec();
        self.unread.drain(..end);
        Some(payload)
    }

    /// Reads once; whether the stream goes on.
    fn read_more(&mut self, patience: Duration) -> bool {
        if patience.is_zero() {
            self.fail("waited in vain for a frame");
        }
        self.stream.set_read_timeout(Some(patience)).expect("not zero");
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.unread.extend_from_slice(&buffer[..count]);
                true
            }
            Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                self.fail("waited in vain for a frame")
            }
            Err(why) if why.kind() == ErrorKind::Interrupted => true,
            Err(why) if matches!(why.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => false,
            Err(why) => self.fail(&format!("cannot read ({why})")),
        }
    }

    /// The next frame.
    pub fn next(&mut self) -> Value {
        match self.next_payload() {
            Some(payload) => self.parsed(&payload),
            None => self.fail("the stream has ended"),
        }
    }

    fn parsed(&self, payload: &[u8]) -> Value {
        let frame: Value = match serde_json::from_slice(payload) {
            Ok(frame) => frame,
            Err(why) => self.fail(&format!("the server sent no JSON ({why})")),
        };
        let begins = payload.starts_with(br#"{"type":""#);
        assert!(begins, "`type` is not first: {}", String::from_utf8_lossy(payload));
        frame
    }

    /// The next frame that is no event; events before it are kept for [`Client::event`].
    pub fn reply(&mut self) -> Value {
        loop {
            let frame = self.next();
            if !is_event(&frame) {
                return frame;
            }
            self.events.push_back(frame);
        }
    }

    /// The next event that was not looked at yet.
    pub fn event(&mut self) -> Value {
        if let Some(event) = self.events.pop_front() {
            return event;
        }
        let frame = self.next();
        if !is_event(&frame) {
            self.fail(&format!("this is no event: {frame}"));
        }
        frame
    }

    /// The next event of this type; others before it are passed over.
    pub fn event_of(&mut self, kind: &str) -> Value {
        loop {
            let event = self.event();
            if event["type"] == kind {
                return event;
            }
        }
    }

    /// The next `message`.
    pub fn message(&mut self) -> Value {
        self.event_of("message")
    }

    /// All events up to the message with this text, which is the last of them.
    pub fn events_until(&mut self, last: &str) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let event = self.event();
            let is_last = event["type"] == "message" && event["text"] == last;
            events.push(event);
            if is_last {
                return events;
            }
        }
    }

    // ------------------------------------------------------------ requests

    /// Sends a request and waits for its reply.
    pub fn request(&mut self, request: Value) -> Value {
        self.send(request);
        self.reply()
    }

    /// A request that has to be answered with this type.
    pub fn expect(&mut self, kind: &str, request: Value) -> Value {
        let reply = self.request(request.clone());
        if reply["type"] != kind {
            self.fail(&format!("{request} was to be answered with `{kind}`, not with {reply}"));
        }
        reply
    }

    /// A request that has to be refused with this code.
    pub fn expect_error(&mut self, code: &str, request: Value) -> Value {
        let reply = self.expect("error", request.clone());
        if reply["code"] != code {
            self.fail(&format!("{request} was to be refused with `{code}`, not with {reply}"));
        }
        let sentence = reply["text"].as_str().unwrap_or_default();
        assert!(sentence.ends_with('.') && sentence.contains(' '), "no sentence: {reply}");
        reply
    }

    /// Opens a session by `register` or `login`; the reply.
    pub fn open(&mut self, how: &str, name: &str, password: &str) -> Value {
        let reply = self.expect("session", json!({"type": how, "name": name, "password": password}));
        self.in_session(&reply);
        reply
    }

    /// Takes a session over; the reply.
    pub fn resume(&mut self, token: &str) -> Value {
        let reply = self.expect("session", json!({"type": "resume", "token": token}));
        self.in_session(&reply);
        reply
    }

    fn in_session(&mut self, reply: &Value) {
        self.name = reply["name"].as_str().unwrap_or_default().to_owned();
        self.token = reply["token"].as_str().unwrap_or_default().to_owned();
    }

    /// Joins a room without asking for its past.
    pub fn join(&mut self, room: &str) -> Value {
        self.expect("joined", json!({"type": "join", "room": room, "history": 0}))
    }

    /// Says something and waits for the receipt.
    pub fn say(&mut self, room: &str, text: &str) -> Value {
        self.expect("ok", json!({"type": "say", "room": room, "text": text}))
    }

    /// Tells somebody something and waits for the receipt.
    pub fn tell(&mut self, to: &str, text: &str) -> Value {
        self.expect("ok", json!({"type": "tell", "to": to, "text": text}))
    }

    /// All messages of a room, by pages from the first on.
    pub fn whole_history(&mut self, room: &str) -> Vec<Value> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let page = self
                .expect("history", json!({"type": "history", "room": room, "after": after, "limit": 500}));
            let messages = page["messages"].as_array().expect("a list").clone();
            all.extend(messages);
            after = all.last().map_or(0, id);
            if page["more"] == false {
                return all;
            }
        }
    }

    // ------------------------------------------------------------ the end

    /// Waits for a `bye` with this reason, and nothing behind it but the end of the stream. Events before it
    /// are passed over.
    pub fn expect_bye(&mut self, reason: &str) -> Value {
        let bye = self.reply();
        if bye["type"] != "bye" || bye["reason"] != reason {
            self.fail(&format!("`bye` with `{reason}` was due, not {bye}"));
        }
        self.expect_end();
        bye
    }

    /// Waits for an `error` with this code, then `bye` with the same, then the end.
    pub fn expect_dismissal(&mut self, code: &str) {
        let error = self.reply();
        if error["type"] != "error" || error["code"] != code {
            self.fail(&format!("the error `{code}` was due, not {error}"));
        }
        self.expect_bye(code);
    }

    /// Waits for the end of the stream; nothing may come before it.
    pub fn expect_end(&mut self) {
        if let Some(payload) = self.next_payload() {
            self.fail(&format!("the end was due, not {}", String::from_utf8_lossy(&payload)));
        }
        assert!(self.unread.is_empty(), "the stream ends in the middle of a frame");
    }

    /// Tells the server that nothing more will come.
    pub fn finish_writing(&self) {
        self.stream.shutdown(Shutdown::Write).expect("the stream is open");
    }

    /// Goes with a reset, as a crashed machine's kernel does.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("a TCP socket");
    }

    fn note(&mut self, direction: &str, payload: &[u8]) {
        if self.transcript.len() == TRANSCRIPT {
            self.transcript.pop_front();
        }
        let text = String::from_utf8_lossy(payload);
        self.transcript.push_back(format!("{direction} {}", text.chars().take(200).collect::<String>()));
    }

    fn fail(&self, why: &str) -> ! {
        let talk: Vec<_> = self.transcript.iter().cloned().collect();
        panic!("{}: {why}; the talk so far:\n{}", self.name, talk.join("\n"));
    }
}

fn is_event(frame: &Value) -> bool {
    frame["type"].as_str().is_some_and(|kind| EVENTS.contains(&kind))
}
