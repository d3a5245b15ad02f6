//! A person who goes from room to room, says things and is put out, on a network that breaks: whatever happens,
//! a line is stored once in the room that it was said in, or it is given back, and never anywhere else.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::{AT, Bench, session};
use super::*;

const ROOMS: [&str; 3] = ["attic", "lobby", "tea"];

#[derive(Debug, Clone)]
enum Step {
    Join(usize),
    Leave(usize),
    Say(usize),
    /// So many requests are answered.
    Serve(usize),
    /// The next `join` is refused.
    Refuse,
    /// Somebody puts this account out of a room.
    Kick(usize),
    /// The connection breaks; what is on the way is gone, in both directions.
    Cut,
}

fn step() -> impl Strategy<Value = Step> {
    let room = 0..ROOMS.len();
    prop_oneof![
        3 => room.clone().prop_map(Step::Join),
        2 => room.clone().prop_map(Step::Leave),
        6 => room.clone().prop_map(Step::Say),
        6 => (1_usize..5).prop_map(Step::Serve),
        1 => Just(Step::Refuse),
        1 => room.prop_map(Step::Kick),
        1 => Just(Step::Cut),
    ]
}

struct World {
    bench: Bench,
    said: usize,
    cuts: usize,
    told: Vec<String>,
    // The server.
    inside: BTreeSet<String>,
    stored: Vec<(String, String)>,
    keys: BTreeMap<String, u64>,
    refuses: bool,
}

impl World {
    fn new() -> Self {
        let (bench, told) = (Bench::in_lobby(), Vec::new());
        let inside = BTreeSet::from(["lobby".to_owned()]);
        let (stored, keys) = (Vec::new(), BTreeMap::new());
        World { bench, said: 0, cuts: 0, told, inside, stored, keys, refuses: false }
    }

    fn take(&mut self, step: &Step) {
        let room = |at: &usize| RoomName::parse(ROOMS[*at]).expect("a room");
        match step {
            Step::Join(at) => self.bench.command(Command::Join(room(at))),
            Step::Leave(at) => self.bench.command(Command::Leave(room(at))),
            Step::Say(at) => {
                self.said += 1;
                let text = MessageText::parse(&format!("{} {}", ROOMS[*at], self.said)).expect("a text");
                self.bench.command(Command::Say(room(at), text));
            }
            Step::Serve(count) => (0..*count).for_each(|_| self.serve()),
            Step::Refuse => self.refuses = true,
            Step::Kick(at) => {
                if self.inside.remove(ROOMS[*at]) {
                    self.bench
                        .frame(json!({"type": "message", "kind": "kick", "id": 9_000, "prev": 0, "at": AT,
                        "room": ROOMS[*at], "name": "ann", "from": "bob"}));
                }
            }
            Step::Cut if self.cuts < 3 => {
                self.cuts += 1;
                self.inside.clear();
                self.bench.sent.clear();
                self.bench.lose();
                let resume = self.bench.reconnect();
                self.bench.reply(&resume, session("T2"));
            }
            Step::Cut => {}
        }
        let told = self.bench.told();
        self.told.extend(told);
    }

    fn serve(&mut self) {
        let Some(request) = self.bench.sent.pop_front() else { return };
        let of = |member: &str| request[member].as_str().unwrap_or_default().to_owned();
        let room = of("room");
        let error = |code: &str| json!({"type": "error", "code": code, "text": "No."});
        let reply = match of("type").as_str() {
            "join" if std::mem::take(&mut self.refuses) => error("banned"),
            "join" => {
                self.inside.insert(room.clone());
                json!({"type": "joined", "room": room, "members": 1, "messages": [], "more": false})
            }
            "leave" if self.inside.remove(&room) => json!({"type": "ok"}),
            "say" if self.inside.contains(&room) => self.store(&room, &of("text"), &of("key")),
            "leave" | "say" => error("not_in_room"),
            "inbox" => json!({"type": "inbox", "messages": [], "more": false}),
            "history" => json!({"type": "history", "room": room, "messages": [], "more": false}),
            "ping" => json!({"type": "pong"}),
            other => panic!("a request that nobody meant to make: {other}"),
        };
        self.bench.reply(&request, reply);
    }

    fn store(&mut self, room: &str, text: &str, key: &str) -> Value {
        let next = self.stored.len() as u64 + 100;
        let id = *self.keys.entry(key.to_owned()).or_insert(next);
        if id == next {
            self.stored.push((room.to_owned(), text.to_owned()));
        }
        json!({"type": "ok", "id": id, "prev": 0, "at": AT})
    }
}

proptest! {
    // issue 7: "The prompt names one room and the line goes to another"
    #[test]
    fn a_line_is_said_in_its_room_or_given_back(steps in prop::collection::vec(step(), 0..80)) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.take(step));
        (0..500).for_each(|_| world.take(&Step::Serve(1)));
        for (room, text) in &world.stored {
            prop_assert!(text.starts_with(&format!("{room} ")), "{text:?} was said in {room}");
        }
        let back = |beginning: &str, text: &str| {
            let quoted = format!("\u{201c}{text}\u{201d}");
            world.told.iter().filter(|told| told.starts_with(beginning) && told.contains(&quoted)).count()
        };
        for number in 1..=world.said {
            let text = world.told.iter().map(String::as_str).chain(world.stored.iter().map(|(_, text)| text.as_str()))
                .find_map(|words| ROOMS.iter().map(|room| format!("{room} {number}"))
                    .find(|text| words == text || words.contains(&format!("\u{201c}{text}\u{201d}"))));
            let Some(text) = text else {
                return Err(TestCaseError::fail(format!("line {number} is neither said nor given back")));
            };
            let stored = world.stored.iter().filter(|(_, stored)| *stored == text).count();
            let perhaps = back("Perhaps not said", &text) + back("There is no receipt", &text);
            let surely = back("Not said", &text);
            prop_assert!(stored <= 1 && surely + perhaps <= 1, "{text}: {stored} {surely} {perhaps}");
            prop_assert!(stored + surely + perhaps >= 1, "{text} is lost");
            prop_assert!(stored == 0 || surely == 0, "{text} was said, and told not to be");
        }
    }
}
