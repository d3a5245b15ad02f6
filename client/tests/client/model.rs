//! A server as small as can be: it keeps the promises of the protocol to one client at a time, and breaks
//! connections where a test wants it to.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use serde_json::{Value, json};
use tokio_util::codec::Encoder;
use veche::codec::FrameCodec;

pub const AT: &str = "2026-11-21T18:05:21.311Z";

/// What the server does to its clients.
#[derive(Debug, Default, Clone)]
pub struct Faults {
    /// Cut the connection in place of the receipt of the messages with these numbers (1 is the first).
    pub no_receipt_for: Vec<usize>,
    /// Refuse every so manieth `say` with `rate_limited`.
    pub limit_each: Option<usize>,
    /// Answer `resume` with `bad_token`.
    pub forgets_tokens: bool,
}

/// What the server knows.
#[derive(Debug, Default)]
pub struct State {
    faults: Faults,
    passwords: BTreeMap<String, String>,
    keys: BTreeMap<String, u64>,
    /// The messages of the lobby: id and prev are their places, counted from 1.
    pub stored: Vec<Value>,
    /// The letters to `ann`, oldest first.
    pub letters: Vec<Value>,
    /// The types of the requests, in order.
    pub asked: Vec<String>,
    logins: usize,
    says: usize,
    connection: Option<TcpStream>,
    in_room: bool,
}

/// A running server. It ends with the test's process.
pub struct Server {
    /// Its port on 127.0.0.1.
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Server {
    /// Starts on a free port, with the account `ann` whose password is `password`.
    pub fn start(faults: Faults) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let passwords = BTreeMap::from([("ann".to_owned(), "password".to_owned())]);
        let state = Arc::new(Mutex::new(State { faults, passwords, ..State::default() }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Server { port, state }
    }

    /// What it knows.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it looks")
    }

    /// The texts that were said, in order.
    pub fn texts(&self) -> Vec<String> {
        self.state()
            .stored
            .iter()
            .map(|message| message["text"].as_str().expect("a text").to_owned())
            .collect()
    }

    /// Waits until this holds.
    pub fn until(&self, what: &str, holds: impl Fn(&State) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds(&self.state()) {
            assert!(Instant::now() < deadline, "waited in vain until {what}: {:?}", self.state());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the client is in the lobby.
    pub fn until_joined(&self) {
        self.until("the client is in the room", |state| state.in_room);
    }

    /// Bob says something in the lobby; whoever is connected gets it as an event.
    pub fn bob_says(&self, text: &str) {
        let mut state = self.state();
        let mut event = state.store("bob", text);
        event["type"] = json!("message");
        state.push(&event);
    }

    /// Bob writes to `ann`; whoever is connected gets it as an event.
    pub fn bob_tells(&self, text: &str) {
        let mut state = self.state();
        // Letters have ids of their own range, behind those of the room.
        let id = 1_000 + state.letters.len();
        let letter = json!({"type": "message", "id": id, "prev": 0, "at": AT, "to": "ann", "from": "bob", "text": text});
        state.letters.push(letter.clone());
        state.push(&letter);
    }

    /// Sends an event to whoever is connected.
    pub fn send(&self, event: &Value) {
        self.state().push(event);
    }

    /// Cuts the connection.
    pub fn cut(&self) {
        self.state().cut();
    }
}

impl State {
    fn store(&mut self, from: &str, text: &str) -> Value {
        let id = self.stored.len() + 1;
        let message =
            json!({"id": id, "prev": id - 1, "at": AT, "room": "lobby", "from": from, "text": text});
        self.stored.push(message.clone());
        message
    }

    fn push(&mut self, event: &Value) {
        if let Some(stream) = self.connection.as_mut().filter(|_| self.in_room) {
            write(stream, event);
        }
    }

    fn cut(&mut self) {
        self.in_room = false;
        if let Some(stream) = self.connection.take() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// The page of at most `limit` messages behind `after`, or of the newest.
    fn page(&self, after: Option<u64>, limit: usize) -> (Vec<Value>, bool) {
        let first = after.map_or(self.stored.len().saturating_sub(limit), |after| after as usize);
        let rest = &self.stored[first.min(self.stored.len())..];
        // Never more than two at once, so that the client has to turn pages.
        let page = &rest[..rest.len().min(limit).min(if after.is_some() { 2 } else { limit })];
        (page.to_vec(), page.len() < rest.len())
    }

    fn session(&mut self, name: &Value) -> Value {
        self.logins += 1;
        let token = format!("T{}", self.logins);
        json!({"type": "session", "name": name, "token": token, "expires_in": 9, "new": false, "last_seen": null, "greeting": "Hello."})
    }

    /// The reply to a request; `None` where the connection is cut instead.
    fn reply(&mut self, request: &Value) -> Option<Value> {
        let text = |member: &str| request[member].as_str().unwrap_or_default().to_owned();
        let error = |code: &str| json!({"type": "error", "code": code, "text": "It is refused.", "retry_after_ms": 5});
        let count = |member: &str| request[member].as_u64().unwrap_or(50) as usize;
        let needs_token =
            !matches!(text("type").as_str(), "identify" | "register" | "login" | "resume" | "exit");
        if needs_token && text("token") != format!("T{}", self.logins) {
            return Some(error("bad_token"));
        }
        Some(match text("type").as_str() {
            "identify" => {
                json!({"type": "identified", "name": request["name"], "known": self.passwords.contains_key(&text("name"))})
            }
            "register" => {
                self.passwords.insert(text("name"), text("password"));
                self.session(&request["name"])
            }
            "login" if self.passwords.get(&text("name")) == Some(&text("password")) => {
                self.session(&request["name"])
            }
            "login" => error("wrong_password"),
            "resume" if self.faults.forgets_tokens => error("bad_token"),
            "resume" => self.session(&json!("ann")),
            "join" => {
                self.in_room = true;
                let (messages, more) = self.page(request["after"].as_u64(), count("history"));
                json!({"type": "joined", "room": request["room"], "members": 2, "messages": messages, "more": more})
            }
            "history" => {
                let (messages, more) = self.page(request["after"].as_u64(), count("limit"));
                json!({"type": "history", "room": request["room"], "messages": messages, "more": more})
            }
            "inbox" => {
                let after = request["after"].as_u64();
                let of_later = self.letters.iter().filter(|letter| letter["id"].as_u64() > after);
                let rest: Vec<_> = of_later.cloned().collect();
                json!({"type": "inbox", "messages": rest[..rest.len().min(2)], "more": rest.len() > 2})
            }
            "who" => json!({"type": "who", "names": ["ann", "bob"], "more": false}),
            "say" if !self.in_room => error("not_in_room"),
            "say" => return self.say(&text("key"), &text("text")),
            "exit" => json!({"type": "bye", "reason": "exit", "text": "Goodbye."}),
            _ => error("unknown_type"),
        })
    }

    fn say(&mut self, key: &str, text: &str) -> Option<Value> {
        self.says += 1;
        if self.faults.limit_each.is_some_and(|each| self.says.is_multiple_of(each)) {
            return Some(
                json!({"type": "error", "code": "rate_limited", "text": "Slowly.", "retry_after_ms": 5}),
            );
        }
        let known = self.keys.get(key).copied().filter(|_| !key.is_empty());
        let id = known.unwrap_or_else(|| {
            self.store("ann", text);
            self.stored.len() as u64
        });
        if !key.is_empty() {
            self.keys.insert(key.to_owned(), id);
        }
        if known.is_none() && self.faults.no_receipt_for.contains(&self.stored.len()) {
            return None;
        }
        Some(json!({"type": "ok", "id": id, "prev": id - 1, "at": AT}))
    }
}

fn write(stream: &mut TcpStream, frame: &Value) {
    let mut bytes = BytesMut::new();
    FrameCodec::default().encode(frame.to_string(), &mut bytes).expect("small enough");
    let _ = stream.write_all(&bytes);
}

fn read(stream: &mut TcpStream) -> Option<Value> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).ok()?;
    let mut payload = vec![0; u32::from_be_bytes(header) as usize];
    stream.read_exact(&mut payload).ok()?;
    Some(serde_json::from_slice(&payload).expect("clients send JSON"))
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let lock = || state.lock().expect("no test panics while it looks");
    lock().connection = Some(stream.try_clone().expect("a descriptor"));
    write(
        &mut stream,
        &json!({"type": "welcome", "protocol": 1, "server": "model/1", "max_frame": 65536, "motd": "Hi."}),
    );
    while let Some(request) = read(&mut stream) {
        let mut state = lock();
        state.asked.push(request["type"].as_str().unwrap_or_default().to_owned());
        if request["type"] == "pong" || (request["type"] == "ping" && request.get("ref").is_none()) {
            continue;
        }
        let Some(mut reply) = state.reply(&request) else {
            return state.cut();
        };
        reply["ref"] = request["ref"].clone();
        // Under the lock, so that an event stands on the right side of the reply.
        write(&mut stream, &reply);
        if reply["type"] == "bye" {
            return state.cut();
        }
    }
}
