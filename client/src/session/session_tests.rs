//! Conversations with a server that is a script, and then with one that is a model and drops connections.

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;

pub(super) const AT: &str = "2026-11-21T18:05:21.311Z";

/// A session with its clock, and what it did since it was looked at last.
pub(super) struct Bench {
    pub(super) session: Session,
    now: Duration,
    pub(super) sent: VecDeque<Value>,
    pub(super) shown: Vec<Show>,
    connects: usize,
    pub(super) end: Option<End>,
    kept: Option<TokenText>,
}

impl Bench {
    pub(super) fn new(shows_history: bool) -> Self {
        let mut number = 0;
        let random = Box::new(move || {
            number += 1;
            number
        });
        let options = Options {
            history: 2,
            shows_history,
            shows_missed_letters: false,
            exit_wait: None,
            give_up_after: Some(Duration::from_secs(300)),
        };
        let opened = serde_json::from_value(json!({
            "name": "ann", "token": "T1", "expires_in": 9, "new": false, "last_seen": null, "greeting": "hi"
        }))
        .expect("a session");
        let name = UserName::parse("ann").expect("a name");
        let now = Duration::from_secs(1);
        let session = Session::new(
            options,
            name,
            Password::given("secret"),
            &opened,
            Some(TermName::new("A")),
            now,
            random,
        );
        Bench { session, now, sent: VecDeque::new(), shown: Vec::new(), connects: 0, end: None, kept: None }
    }

    /// A session that is in the lobby and has seen the message 5.
    pub(super) fn in_lobby() -> Self {
        let mut bench = Bench::new(true);
        bench.command(Command::Join(RoomName::lobby()));
        let join = bench.expect("join");
        assert_eq!(join["token"], "T1");
        bench.reply(&join, json!({"type": "joined", "room": "lobby", "members": 2, "messages": [said(5, 0, "old")], "more": true}));
        assert_eq!(bench.texts(), ["old"]);
        let inbox = bench.expect("inbox");
        assert_eq!(inbox["after"], 5, "from where this session begins");
        bench.reply(&inbox, json!({"type": "inbox", "messages": [], "more": false}));
        bench
    }

    pub(super) fn drain(&mut self) {
        while let Some(action) = self.session.next_action() {
            match action {
                Action::Send(payload) => self.sent.push_back(serde_json::from_slice(&payload).expect("JSON")),
                Action::Show(show) => self.shown.push(show),
                Action::Connect => self.connects += 1,
                Action::End(end) => self.end = Some(end),
                Action::Disconnect => {}
                Action::Keep(token) => self.kept = Some(token),
            }
        }
    }

    pub(super) fn command(&mut self, command: Command) {
        self.session.command(self.now, command);
        self.drain();
    }

    pub(super) fn say(&mut self, text: &str) {
        self.command(Command::Say(RoomName::lobby(), MessageText::parse(text).expect("a text")));
    }

    pub(super) fn frame(&mut self, frame: Value) {
        self.session.frame(self.now, Bytes::from(frame.to_string()));
        self.drain();
    }

    pub(super) fn reply(&mut self, request: &Value, mut frame: Value) {
        frame["ref"] = request["ref"].clone();
        self.frame(frame);
    }

    pub(super) fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.session.tick(self.now);
        self.drain();
    }

    pub(super) fn lose(&mut self) {
        self.session.lost(self.now, "cut");
        self.drain();
    }

    /// Lets the pause pass and the connection come about, up to the first request on it.
    pub(super) fn reconnect(&mut self) -> Value {
        self.reconnect_in(json!("A"))
    }

    /// The same, in this term.
    pub(super) fn reconnect_in(&mut self, term: Value) -> Value {
        let connects = self.connects;
        self.pass(40);
        assert_eq!(self.connects, connects + 1);
        self.session.connected(self.now);
        self.frame(json!({"type": "welcome", "protocol": 1, "server": "x", "max_frame": 65536, "motd": "", "term": term}));
        self.sent.pop_front().expect("a request")
    }

    /// The next request, which has to be of this type.
    pub(super) fn expect(&mut self, kind: &str) -> Value {
        let request = self.sent.pop_front().expect(kind);
        assert_eq!(request["type"], kind, "{request}");
        request
    }

    /// The sentences that were told since the last look.
    pub(super) fn told(&mut self) -> Vec<String> {
        let shown = std::mem::take(&mut self.shown).into_iter();
        shown
            .filter_map(|show| match show {
                Show::Info(sentence) | Show::Problem(sentence) => Some(sentence),
                _ => None,
            })
            .collect()
    }

    /// The texts that were shown since the last look.
    pub(super) fn texts(&mut self) -> Vec<String> {
        let shown = std::mem::take(&mut self.shown).into_iter();
        shown
            .filter_map(|show| match show {
                Show::Message { message, .. } => Some(message.text),
                Show::Presence { name, .. } => Some(format!("* {name}")),
                _ => None,
            })
            .collect()
    }
}

pub(super) fn said(id: u64, prev: u64, text: &str) -> Value {
    json!({"id": id, "prev": prev, "at": AT, "room": "lobby", "from": "bob", "text": text})
}

fn event(id: u64, prev: u64, text: &str) -> Value {
    let mut event = said(id, prev, text);
    event["type"] = json!("message");
    event
}

fn direct_message(id: u64, text: &str) -> Value {
    json!({"type": "message", "id": id, "prev": 0, "at": AT, "to": "ann", "from": "bob", "text": text})
}

fn direct_messages(messages: &[Value], more: bool) -> Value {
    json!({"type": "inbox", "messages": messages, "more": more})
}

pub(super) fn receipt(id: u64, prev: u64) -> Value {
    json!({"type": "ok", "id": id, "prev": prev, "at": AT})
}

pub(super) fn session(token: &str) -> Value {
    json!({"type": "session", "name": "ann", "token": token, "expires_in": 9, "new": false, "last_seen": null, "greeting": "hi"})
}

#[test]
fn a_lost_connection_leaves_no_gap_and_repeats_nothing() {
    let mut bench = Bench::in_lobby();
    bench.frame(event(6, 5, "six"));
    bench.frame(event(6, 5, "six"));
    assert_eq!(bench.texts(), ["six"]);
    bench.say("mine");
    let first = bench.expect("say");
    bench.lose();
    let resume = bench.reconnect();
    assert_eq!((&resume["type"], &resume["token"]), (&json!("resume"), &json!("T1")));
    bench.reply(&resume, session("T2"));
    let join = bench.expect("join");
    assert_eq!((&join["token"], &join["after"]), (&json!("T2"), &json!(6)));
    let inbox = bench.expect("inbox");
    assert!(bench.sent.is_empty(), "nothing is said before the room is entered: {:?}", bench.sent);
    bench.shown.clear();
    bench.reply(&join, json!({"type": "joined", "room": "lobby", "members": 2, "messages": [said(7, 6, "seven")], "more": true}));
    let page = bench.expect("history");
    assert_eq!(page["after"], 7);
    let again = bench.expect("say");
    assert_eq!(again["key"], first["key"]);
    // Events that come before the past is complete wait for it.
    bench.frame(event(10, 9, "ten"));
    bench.frame(json!({"type": "presence", "room": "lobby", "name": "carl", "status": "joined", "at": AT}));
    assert_eq!(bench.texts(), ["seven"]);
    let mut own = said(9, 8, "mine");
    own["from"] = json!("ann");
    bench.reply(&page, json!({"type": "history", "room": "lobby", "messages": [said(8, 7, "eight"), own, said(10, 9, "ten")], "more": false}));
    assert_eq!(bench.texts(), ["eight", "ten", "* carl"], "our own is on the screen already");
    bench.reply(&inbox, json!({"type": "inbox", "messages": [], "more": false}));
    bench.reply(&again, receipt(9, 8));
    bench.frame(event(11, 10, "eleven"));
    assert_eq!(bench.texts(), ["eleven"]);
    assert!(bench.sent.is_empty(), "{:?}", bench.sent);
}

#[test]
fn a_gap_among_live_events_is_read_from_the_history() {
    let mut bench = Bench::in_lobby();
    bench.frame(event(9, 7, "nine"));
    let page = bench.expect("history");
    assert_eq!(page["after"], 5);
    bench.reply(&page, json!({"type": "history", "room": "lobby", "messages": [said(7, 5, "seven"), said(9, 7, "nine")], "more": false}));
    assert_eq!(bench.texts(), ["nine", "seven"]);
    bench.frame(event(10, 9, "ten"));
    assert!(bench.sent.is_empty());
}

#[test]
fn a_late_receipt_is_no_gap() {
    let mut bench = Bench::in_lobby();
    bench.say("mine");
    let say = bench.expect("say");
    bench.frame(event(7, 6, "seven"));
    bench.reply(&say, receipt(6, 5));
    bench.frame(event(8, 7, "eight"));
    assert!(bench.sent.is_empty(), "{:?}", bench.sent);
    assert_eq!(bench.texts(), ["seven", "eight"]);
}

#[test]
fn rate_limited_messages_come_again_in_order() {
    let mut bench = Bench::in_lobby();
    ["a", "b", "c"].into_iter().for_each(|text| bench.say(text));
    let say = bench.expect("say");
    assert!(bench.sent.is_empty(), "one at a time to begin with");
    bench.reply(&say, json!({"type": "error", "code": "rate_limited", "text": "x", "retry_after_ms": 1500}));
    assert!(bench.sent.is_empty());
    bench.pass(2);
    for (position, text) in ["a", "b", "c"].into_iter().enumerate() {
        let say = bench.expect("say");
        assert_eq!(say["text"], text);
        let id = 6 + position as u64;
        bench.reply(&say, receipt(id, id - 1));
    }
}

#[test]
fn a_dead_token_is_answered_with_the_password_and_a_wrong_one_ends_it() {
    let mut bench = Bench::in_lobby();
    bench.lose();
    let resume = bench.reconnect();
    bench.reply(&resume, json!({"type": "error", "code": "bad_token", "text": "x"}));
    let login = bench.expect("login");
    assert_eq!((&login["name"], &login["password"]), (&json!("ann"), &json!("secret")));
    assert_eq!(login["device"], "T1", "a token that is dead shows that this device was in");
    bench.reply(&login, json!({"type": "error", "code": "wrong_password", "text": "No."}));
    let end = bench.end.expect("an end");
    assert!(!end.well && end.sentence.is_some_and(|text| text.starts_with("No. It did a moment ago")));
}

#[test]
fn goodbyes_end_it_or_bring_it_back() {
    for reason in ["kicked", "expired", "resumed", "banned", "exit"] {
        let mut bench = Bench::in_lobby();
        bench.frame(json!({"type": "bye", "reason": reason, "text": "So."}));
        assert!(bench.end.is_some_and(|end| !end.well), "{reason}");
    }
    for reason in ["shutting_down", "slow_consumer", "idle_timeout", "something_new"] {
        let mut bench = Bench::in_lobby();
        bench.frame(json!({"type": "bye", "reason": reason, "text": "So."}));
        assert!(bench.end.is_none());
        assert_eq!(bench.reconnect()["type"], "resume", "{reason}");
    }
}

#[test]
fn the_end_of_the_input_waits_for_the_receipts() {
    let mut bench = Bench::in_lobby();
    bench.say("last");
    bench.command(Command::Exit);
    let say = bench.expect("say");
    assert!(bench.sent.is_empty());
    bench.lose();
    let resume = bench.reconnect();
    bench.reply(&resume, session("T2"));
    let join = bench.expect("join");
    bench.expect("inbox");
    bench.reply(
        &join,
        json!({"type": "joined", "room": "lobby", "members": 1, "messages": [], "more": false}),
    );
    let again = bench.expect("say");
    assert_eq!(again["key"], say["key"]);
    bench.reply(&again, receipt(6, 5));
    let exit = bench.expect("exit");
    assert!(exit.get("token").is_none());
    bench.reply(&exit, json!({"type": "bye", "reason": "exit", "text": "Goodbye."}));
    assert_eq!(bench.end, Some(End { well: true, lost_messages: false, sentence: None }));
}

#[test]
fn what_is_too_old_to_be_sent_again_is_told() {
    let mut bench = Bench::in_lobby();
    bench.say("lost?");
    bench.expect("say");
    bench.lose();
    bench.pass(120);
    let told = bench.shown.iter().any(|show| matches!(show, Show::Problem(text) if text.contains("lost?")));
    assert!(told, "{:?}", bench.shown);
    bench.command(Command::Exit);
    assert!(bench.end.is_some_and(|end| end.lost_messages));
}

#[test]
fn silence_is_asked_about_and_then_taken_for_a_loss() {
    let mut bench = Bench::in_lobby();
    bench.frame(json!({"type": "ping"}));
    assert_eq!(bench.expect("pong"), json!({"type": "pong"}));
    bench.pass(76);
    let ping = bench.expect("ping");
    bench.reply(&ping, json!({"type": "pong"}));
    bench.pass(76);
    bench.expect("ping");
    bench.pass(30);
    assert_eq!(bench.reconnect()["type"], "resume");
}

#[test]
fn a_script_gives_up_and_says_what_has_no_receipt() {
    let mut bench = Bench::in_lobby();
    bench.say("x");
    bench.lose();
    for _ in 0..20 {
        bench.pass(31);
        bench.lose();
    }
    let end = bench.end.expect("an end");
    assert!(!end.well && end.sentence.is_some_and(|text| text.contains("cannot be reached")));
}

#[test]
fn an_answer_of_a_newer_server_is_an_answer() {
    let mut bench = Bench::in_lobby();
    bench.say("x");
    let say = bench.expect("say");
    bench.reply(&say, json!({"type": "error", "code": "too_sunny", "text": "Too sunny."}));
    assert!(bench.session.outbox.is_empty());
    bench.frame(json!({"type": "confetti"}));
    assert!(bench.end.is_none());
}

#[test]
fn letters_are_shown_once_whatever_their_order() {
    let mut bench = Bench::in_lobby();
    bench.frame(direct_message(12, "twelve"));
    bench.frame(direct_message(11, "eleven"));
    bench.lose();
    let resume = bench.reconnect();
    bench.reply(&resume, session("T2"));
    bench.expect("join");
    let inbox = bench.expect("inbox");
    assert_eq!(inbox["after"], 5, "from where this session began");
    bench.reply(
        &inbox,
        direct_messages(
            &[direct_message(11, "eleven"), direct_message(12, "twelve"), direct_message(13, "thirteen")],
            false,
        ),
    );
    assert_eq!(bench.texts(), ["twelve", "eleven", "thirteen"]);
}

#[test]
fn a_script_never_sees_letters_from_before_its_login() {
    let mut bench = Bench::new(false);
    bench.command(Command::Join(RoomName::lobby()));
    let join = bench.expect("join");
    // Nobody ever spoke here, so the room does not tell where this session begins.
    bench.reply(
        &join,
        json!({"type": "joined", "room": "lobby", "members": 1, "messages": [], "more": false}),
    );
    let inbox = bench.expect("inbox");
    assert_eq!(inbox["after"], 0);
    bench.frame(direct_message(9, "nine, live"));
    assert_eq!(bench.texts(), ["nine, live"], "what comes live does not wait");
    bench.reply(&inbox, direct_messages(&[direct_message(3, "three"), direct_message(4, "four")], true));
    let inbox = bench.expect("inbox");
    assert_eq!(inbox["after"], 4);
    bench.reply(
        &inbox,
        direct_messages(&[direct_message(8, "eight"), direct_message(9, "nine, live")], false),
    );
    assert!(bench.sent.is_empty(), "{:?}", bench.sent);
    bench.frame(direct_message(8, "eight, live"));
    assert_eq!(bench.texts(), ["eight, live"], "a page may overtake what comes live");

    bench.lose();
    let resume = bench.reconnect();
    bench.reply(&resume, session("T2"));
    bench.expect("join");
    let inbox = bench.expect("inbox");
    assert_eq!(inbox["after"], 9);
    bench.reply(&inbox, direct_messages(&[direct_message(10, "ten")], false));
    assert_eq!(bench.texts(), ["ten"]);
}

#[test]
fn a_connection_lost_at_once_brings_no_old_letters_either() {
    for joined in [false, true] {
        let mut bench = Bench::new(false);
        bench.command(Command::Join(RoomName::lobby()));
        let join = bench.expect("join");
        let joined_frame = json!({"type": "joined", "room": "lobby", "members": 1, "messages": [said(2, 0, "old")], "more": false});
        if joined {
            bench.reply(&join, joined_frame.clone());
            let inbox = bench.expect("inbox");
            bench.reply(
                &inbox,
                direct_messages(&[direct_message(3, "three"), direct_message(4, "four")], true),
            );
            bench.expect("inbox");
        }
        bench.lose();
        let resume = bench.reconnect();
        bench.reply(&resume, session("T2"));
        let join = bench.expect("join");
        let inbox = bench.expect("inbox");
        assert_eq!(inbox["after"], if joined { 4 } else { 0 });
        bench.reply(
            &join,
            if joined {
                json!({"type": "joined", "room": "lobby", "members": 1, "messages": [], "more": false})
            } else {
                joined_frame
            },
        );
        assert!(bench.sent.is_empty(), "one reading is enough: {:?}", bench.sent);
        bench.reply(&inbox, direct_messages(&[direct_message(5, "five")], false));
        assert!(bench.texts().is_empty());
        bench.frame(direct_message(6, "six"));
        assert_eq!(bench.texts(), ["six"]);
    }
}

#[test]
fn who_enters_another_room_misses_no_letter() {
    let mut bench = Bench::in_lobby();
    bench.command(Command::Join(RoomName::parse("tea").expect("a room")));
    let join = bench.expect("join");
    bench.reply(&join, json!({"type": "joined", "room": "tea", "members": 1, "messages": [said(9, 0, "nine")], "more": false}));
    assert!(bench.sent.is_empty(), "{:?}", bench.sent);
    bench.texts();
    bench.frame(direct_message(8, "eight"));
    assert_eq!(bench.texts(), ["eight"]);
}

// issue 7, "Connected, and deaf"
#[test]
fn a_history_that_was_put_back_is_told_and_read_anew() {
    let mut bench = Bench::in_lobby();
    bench.frame(event(6, 5, "six"));
    bench.frame(direct_message(20, "twenty"));
    bench.say("mine");
    let mine = bench.expect("say");
    bench.lose();
    let resume = bench.reconnect_in(json!("B"));
    bench.reply(&resume, session("T2"));
    let check = bench.expect("inbox");
    assert_eq!((&check["after"], &check["term"]), (&json!(20), &json!("A")), "the newest, where it was seen");
    assert!(bench.sent.is_empty(), "nothing is asked or said before that is answered: {:?}", bench.sent);
    bench.frame(direct_message(20, "another twenty"));
    bench.shown.clear();
    bench.reply(
        &check,
        json!({"type": "inbox", "reset": true, "messages": [direct_message(2, "two")], "more": true}),
    );
    let told = |show: &Show| matches!(show, Show::Info(text) if text.contains("put back"));
    assert!(bench.shown.iter().any(told), "{:?}", bench.shown);
    let join = bench.expect("join");
    assert_eq!((join.get("after"), &join["history"]), (None, &json!(500)), "as if it were the first time");
    let page = [said(3, 0, "three"), said(4, 3, "four"), said_later(5, 5, 4, "another five")];
    bench.reply(
        &join,
        json!({"type": "joined", "room": "lobby", "members": 2, "messages": page, "more": true}),
    );
    assert_eq!(bench.texts(), ["four", "another five"], "as many as on entering a room");
    let inbox = bench.expect("inbox");
    assert_eq!(inbox["after"], 0);
    let mut late = direct_message(7, "late");
    late["at"] = said_later(6, 1, 0, "")["at"].clone();
    bench.reply(&inbox, direct_messages(&[direct_message(2, "two"), late], false));
    assert_eq!(bench.texts(), ["late", "another twenty"], "what was said after all that was seen");
    let again = bench.expect("say");
    assert_eq!(again["key"], mine["key"]);
    bench.reply(&again, receipt(6, 5));
    bench.frame(event(8, 6, "eight"));
    assert_eq!(bench.texts(), ["eight"]);
    assert!(bench.sent.is_empty(), "{:?}", bench.sent);
}

#[test]
fn a_server_that_was_merely_started_again_goes_on_where_it_was() {
    let mut bench = Bench::in_lobby();
    for term in ["B", "C"] {
        // The connection that asks is lost, too: the next one asks the same.
        bench.lose();
        let resume = bench.reconnect_in(json!(term));
        bench.reply(&resume, session("T2"));
        let check = bench.expect("inbox");
        assert_eq!((&check["after"], &check["term"]), (&json!(5), &json!("A")));
        if term == "C" {
            bench.reply(&check, direct_messages(&[], false));
        }
    }
    let join = bench.expect("join");
    assert_eq!(
        (&join["after"], &join["term"]),
        (&json!(5), &json!("C")),
        "found to be there, it counts as seen"
    );
    bench.expect("inbox");
    // The same term needs no question, and neither does a server that names none.
    for term in [json!("C"), Value::Null] {
        bench.lose();
        let resume = bench.reconnect_in(term.clone());
        bench.reply(&resume, session("T2"));
        let join = bench.expect("join");
        assert_eq!((&join["after"], join.get("term").unwrap_or(&Value::Null)), (&json!(5), &term));
        bench.expect("inbox");
    }
}

/// A script is given what was said since it saw something last, and nothing of what the history had before.
#[test]
fn a_script_reads_on_where_a_history_was_put_back() {
    let mut bench = Bench::new(false);
    bench.command(Command::Join(RoomName::lobby()));
    let join = bench.expect("join");
    bench.reply(&join, json!({"type": "joined", "room": "lobby", "members": 2, "messages": [said(5, 0, "old")], "more": true}));
    bench.expect("inbox");
    bench.lose();
    let resume = bench.reconnect_in(json!("B"));
    bench.reply(&resume, session("T2"));
    let check = bench.expect("inbox");
    bench.reply(&check, json!({"type": "inbox", "reset": true, "messages": [], "more": false}));
    let page = [said(3, 0, "three"), said_later(5, 4, 3, "news"), said_later(6, 5, 4, "more news")];
    // Also when the connection is lost once more before the room is there.
    bench.expect("join");
    bench.sent.clear();
    bench.lose();
    let resume = bench.reconnect_in(json!("B"));
    bench.reply(&resume, session("T2"));
    let join = bench.expect("join");
    assert_eq!(join.get("after"), None);
    bench.reply(
        &join,
        json!({"type": "joined", "room": "lobby", "members": 2, "messages": page, "more": true}),
    );
    assert_eq!(bench.texts(), ["news", "more news"]);
}

/// A message of the lobby that was said so many seconds after [`AT`].
fn said_later(seconds: i64, id: u64, prev: u64, text: &str) -> Value {
    let mut message = said(id, prev, text);
    message["at"] = json!(AT.replace(":21.311Z", &format!(":{}.311Z", 21 + seconds)));
    message
}

// issue 7, "Locked out by a neighbour"
#[test]
fn a_lock_is_told_and_tried_again_before_its_hour() {
    let mut bench = Bench::in_lobby();
    bench.lose();
    let resume = bench.reconnect();
    bench.reply(&resume, json!({"type": "error", "code": "bad_token", "text": "x"}));
    let login = bench.expect("login");
    bench.shown.clear();
    let locked =
        json!({"type": "error", "code": "too_many_attempts", "text": "x", "retry_after_ms": 3_658_900});
    bench.reply(&login, locked);
    let outages: Vec<_> = bench.shown.iter().filter(|show| matches!(show, Show::Outage { .. })).collect();
    let [Show::Outage { why, pause, .. }] = outages[..] else { panic!("{:?}", bench.shown) };
    assert!(why.contains("in about an hour; the operator can let you in at once"), "{why}");
    assert!(*pause <= Duration::from_secs(60), "{pause:?}");
    bench.pass(30);
    let login = bench.reconnect();
    assert_eq!(login["type"], "login");
    bench.reply(&login, session("T2"));
    assert_eq!(bench.kept, Some(TokenText::new("T2")), "what shows it the next time");
}
