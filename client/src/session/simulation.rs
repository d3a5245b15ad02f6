//! A whole world in one thread: the session, a server that keeps the protocol's promises, and a network
//! between them that delivers as slowly as it likes and breaks where it likes. Whatever happens, at the end
//! everything that was said is stored once and in order, and everything that was stored was seen once and in
//! order.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use veche::wire::json::Message;

use super::tests::AT;
use super::*;

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    /// Ann, whose session this is, says something.
    AnnSays,
    /// Bob says something, in the room or to Ann.
    BobSays,
    BobTells,
    /// So many requests reach the server.
    ToServer(usize),
    /// So many frames reach the client.
    ToClient(usize),
    /// The connection breaks; what was on the way in either direction is gone.
    Cut,
    /// The server refuses the next message for now.
    Limit,
    /// The server is started anew, with a copy of its history from so many messages ago.
    PutBack(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::AnnSays),
        4 => Just(Step::BobSays),
        1 => Just(Step::BobTells),
        6 => (1_usize..6).prop_map(Step::ToServer),
        6 => (1_usize..6).prop_map(Step::ToClient),
        1 => Just(Step::Cut),
        1 => Just(Step::Limit),
        1 => (0_usize..8).prop_map(Step::PutBack),
    ]
}

/// More breaks than these would take longer than the server remembers a key.
const MAX_CUTS: usize = 7;

/// Direct messages of Bob's that lie there from before Ann's login; they are not for this session.
const OLD_LETTERS: usize = 3;

struct World {
    session: Session,
    now: Duration,
    shown: Vec<Message>,
    end: Option<End>,
    said: usize,
    cuts: usize,
    // The network.
    to_server: VecDeque<Value>,
    to_client: VecDeque<Value>,
    connected: bool,
    connecting: bool,
    // The server.
    stored: Vec<Value>,
    keys: BTreeMap<String, usize>,
    in_session: bool,
    in_room: bool,
    limit_next: bool,
    /// The terms that it knows: in which each began behind which id. The last is the present one.
    terms: Vec<(String, u64)>,
    starts: usize,
    /// How many messages were ever said; the clock goes with them.
    moments: usize,
    /// Whether messages were lost with a history that was put back.
    lost: bool,
}

impl World {
    fn new() -> Self {
        let mut number = 0;
        let random = Box::new(move || {
            number += 1;
            number
        });
        let options = Options {
            history: 1,
            shows_history: false,
            shows_missed_letters: false,
            exit_wait: None,
            give_up_after: None,
        };
        let opened = serde_json::from_value(json!({
            "name": "ann", "token": "T", "expires_in": 9, "new": false, "last_seen": null, "greeting": ""
        }))
        .expect("a session");
        let name = UserName::parse("ann").expect("a name");
        let now = Duration::from_secs(1);
        let mut session = Session::new(
            options,
            name,
            Password::given("secret"),
            &opened,
            Some(TermName::new("t0")),
            now,
            random,
        );
        session.command(now, Command::Join(RoomName::lobby()));
        let mut world = World {
            session,
            now,
            shown: Vec::new(),
            end: None,
            said: 0,
            cuts: 0,
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            connected: true,
            connecting: false,
            stored: Vec::new(),
            keys: BTreeMap::new(),
            in_session: false,
            in_room: false,
            limit_next: false,
            terms: vec![("t0".to_owned(), 0)],
            starts: 0,
            moments: 0,
            lost: false,
        };
        (0..OLD_LETTERS).for_each(|_| world.store("bob", "to", "ann", "old"));
        world.in_session = true;
        world.act();
        // Ann is in the room, and knows where her direct messages begin, before anything happens there, so that she
        // has to see all of it.
        while !world.to_server.is_empty() {
            world.serve(1);
            world.deliver(1);
        }
        world
    }

    fn act(&mut self) {
        while let Some(action) = self.session.next_action() {
            match action {
                Action::Send(payload) if self.connected => {
                    self.to_server.push_back(serde_json::from_slice(&payload).expect("JSON"));
                }
                Action::Send(_) => {}
                Action::Show(Show::Message { message, .. }) => self.shown.push(message),
                Action::Show(_) | Action::Keep(_) => {}
                Action::Connect => self.connecting = true,
                Action::Disconnect => self.cut(),
                Action::End(end) => self.end = Some(end),
            }
        }
    }

    fn cut(&mut self) {
        self.to_server.clear();
        self.to_client.clear();
        (self.connected, self.in_session, self.in_room) = (false, false, false);
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::AnnSays if self.session.takes_messages() => {
                self.said += 1;
                // The same few texts again and again, so that nothing can go by the text alone.
                let text = MessageText::parse(&format!("a{}", self.said % 3)).expect("a text");
                self.session.command(self.now, Command::Say(RoomName::lobby(), text));
            }
            Step::AnnSays => {}
            Step::BobSays => self.store("bob", "room", "lobby", &format!("b{}", self.stored.len() % 3)),
            Step::BobTells => self.store("bob", "to", "ann", "psst"),
            Step::ToServer(count) => self.serve(*count),
            Step::ToClient(count) => self.deliver(*count),
            Step::Cut if self.connected && self.cuts < MAX_CUTS => {
                self.cuts += 1;
                self.cut();
                self.session.lost(self.now, "cut");
            }
            Step::Cut => {}
            Step::Limit => self.limit_next = true,
            Step::PutBack(back) if self.connected && self.cuts < MAX_CUTS => {
                self.cuts += 1;
                self.put_back(*back);
                self.cut();
                self.session.lost(self.now, "started anew");
            }
            Step::PutBack(_) => {}
        }
        self.act();
        self.connect_when_due();
    }

    /// Lets the time pass up to what the session waits for, a pause or a retry.
    fn connect_when_due(&mut self) {
        let waits = !self.connected || (self.to_server.is_empty() && self.to_client.is_empty());
        let soon = self.session.deadline().filter(|at| *at <= self.now + Duration::from_secs(31));
        if waits && let Some(at) = soon {
            self.now = self.now.max(at);
            self.session.tick(self.now);
            self.act();
        }
        if std::mem::take(&mut self.connecting) {
            self.connected = true;
            self.session.connected(self.now);
            self.to_client.push_back(
                json!({"type": "welcome", "protocol": 1, "server": "x", "max_frame": 65536, "motd": "", "term": self.terms.last().expect("one").0}),
            );
            self.act();
        }
    }

    fn put_back(&mut self, back: usize) {
        let kept = self.stored.len().saturating_sub(back).max(OLD_LETTERS);
        self.lost |= kept < self.stored.len();
        self.stored.truncate(kept);
        self.keys.retain(|_, place| *place < kept);
        self.terms.retain(|(_, began)| *began <= kept as u64);
        self.starts += 1;
        self.terms.push((format!("t{}", self.starts), kept as u64));
    }

    /// Whether the id that a request names is of another history.
    fn resets(&self, request: &Value) -> bool {
        let Some(after) = request["after"].as_u64().filter(|after| *after > 0) else { return false };
        let newest = self.stored.len() as u64;
        let term = self.terms.iter().position(|(name, _)| request["term"] == name.as_str());
        match (request.get("term"), term) {
            (None, _) => after > newest,
            (Some(_), None) => true,
            (Some(_), Some(at)) => after > self.terms.get(at + 1).map_or(newest, |(_, began)| *began),
        }
    }

    fn store(&mut self, from: &str, place: &str, target: &str, text: &str) {
        let id = self.stored.len() as u64 + 1;
        let before = self.stored.iter().rev().find(|message| message.get(place).is_some());
        let prev = before.map_or(0, |message| message["id"].as_u64().expect("an id"));
        self.moments += 1;
        let at = AT.replace("18:05:21", &format!("18:{:02}:{:02}", self.moments / 60, self.moments % 60));
        let mut message = json!({"id": id, "prev": prev, "at": at, "from": from, "text": text});
        message[place] = json!(target);
        self.stored.push(message.clone());
        message["type"] = json!("message");
        if from != "ann" && self.in_session && (place == "to" || self.in_room) {
            self.to_client.push_back(message);
        }
    }

    /// The messages of a kind behind an id, two at a time.
    fn page(&self, place: &str, after: u64) -> (Vec<Value>, bool) {
        let of_kind = self.stored.iter().filter(|message| message.get(place).is_some());
        let rest: Vec<_> = of_kind.filter(|message| message["id"].as_u64() > Some(after)).cloned().collect();
        (rest.iter().take(2).cloned().collect(), rest.len() > 2)
    }

    fn serve(&mut self, count: usize) {
        for request in self.to_server.drain(..count.min(self.to_server.len())).collect::<Vec<_>>() {
            if let Some(mut reply) = self.reply(&request) {
                reply["ref"] = request["ref"].clone();
                self.to_client.push_back(reply);
            }
        }
    }

    fn reply(&mut self, request: &Value) -> Option<Value> {
        let reset = self.resets(request);
        let after = request["after"].as_u64().filter(|_| !reset);
        Some(match request["type"].as_str().expect("a type") {
            "resume" => {
                self.in_session = true;
                json!({"type": "session", "name": "ann", "token": "T", "expires_in": 9, "new": false, "last_seen": null, "greeting": ""})
            }
            "join" => {
                self.in_room = true;
                let of_room = self.stored.iter().filter(|message| message.get("room").is_some());
                let count = request["history"].as_u64().expect("a count") as usize;
                let (messages, more) = match after {
                    Some(after) => self.page("room", after),
                    None => {
                        let all: Vec<_> = of_room.cloned().collect();
                        (all[all.len().saturating_sub(count)..].to_vec(), all.len() > count)
                    }
                };
                json!({"type": "joined", "room": "lobby", "members": 2, "reset": reset, "messages": messages, "more": more})
            }
            "history" => {
                assert!(!reset, "a client that has asked once is never reset again: {request}");
                let (messages, more) = self.page("room", after.expect("only pages behind an id"));
                json!({"type": "history", "room": "lobby", "messages": messages, "more": more})
            }
            "inbox" => {
                let (messages, more) = self.page("to", after.unwrap_or(0));
                json!({"type": "inbox", "reset": reset, "messages": messages, "more": more})
            }
            "say" if std::mem::take(&mut self.limit_next) => {
                json!({"type": "error", "code": "rate_limited", "text": "x", "retry_after_ms": 10})
            }
            "say" => {
                assert!(self.in_room, "said before the room was entered");
                let key = request["key"].as_str().expect("a key").to_owned();
                if !self.keys.contains_key(&key) {
                    self.store("ann", "room", "lobby", request["text"].as_str().expect("a text"));
                    self.keys.insert(key.clone(), self.stored.len() - 1);
                }
                let message = &self.stored[self.keys[&key]];
                json!({"type": "ok", "id": message["id"], "prev": message["prev"], "at": message["at"]})
            }
            "ping" => json!({"type": "pong"}),
            "exit" => json!({"type": "bye", "reason": "exit", "text": ""}),
            other => panic!("a request that nobody meant to make: {other}"),
        })
    }

    fn deliver(&mut self, count: usize) {
        for frame in self.to_client.drain(..count.min(self.to_client.len())).collect::<Vec<_>>() {
            self.session.frame(self.now, Bytes::from(frame.to_string()));
        }
        self.act();
    }

    /// Lets everything arrive, and Ann leave.
    fn calm_down(&mut self) {
        for round in 0..2_000 {
            self.take(&Step::ToServer(10));
            self.take(&Step::ToClient(10));
            if round == 1_000 {
                self.session.command(self.now, Command::Exit);
                self.act();
            }
        }
    }

    /// The messages that Ann has to see, by their moments: of a history that was put back, those that it has.
    fn moments_of(&self, place: &str) -> Vec<String> {
        let news = self.stored.iter().skip(OLD_LETTERS);
        let others = news.filter(|message| message["from"] != "ann" && message.get(place).is_some());
        others.map(|message| message["at"].to_string()).collect()
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_doubled_or_reordered(steps in prop::collection::vec(step(), 0..80)) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.take(step));
        world.calm_down();
        prop_assert_eq!(&world.end, &Some(End { well: true, lost_messages: false, sentence: None }));
        let of_ann = world.stored.iter().filter(|message| message["from"] == "ann");
        let stored: Vec<_> = of_ann.map(|message| message["text"].as_str().expect("a text").to_owned()).collect();
        let said: Vec<_> = (1..=world.said).map(|number| format!("a{}", number % 3)).collect();
        prop_assert!(world.lost || stored == said, "what Ann said is stored once and in order: {stored:?}");
        let seen = |in_room: bool, there: &[String]| -> Vec<String> {
            let messages = world.shown.iter().filter(|message| message.room.is_some() == in_room);
            let moments = messages.map(|message| json!(message.at).to_string());
            // What was lost with a history was seen, too, perhaps.
            moments.filter(|at| !world.lost || there.contains(at)).collect()
        };
        for (in_room, place) in [(true, "room"), (false, "to")] {
            let there = world.moments_of(place);
            prop_assert_eq!(seen(in_room, &there), there, "what others said is seen once and in order");
        }
    }
}
