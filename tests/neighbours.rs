//! Strangers and neighbours: what one may cost the others (issue 7, "Strangers hurt everybody").

use serde_json::{Value, json};

use crate::support::client::json_frame;
use crate::support::{PASSWORD, Server};

fn join(room: &str) -> Value {
    json!({"type": "join", "room": room})
}

fn leave(room: &str) -> Value {
    json!({"type": "leave", "room": room})
}

fn retry_after_ms(reply: &Value) -> u64 {
    reply["retry_after_ms"].as_u64().unwrap_or_else(|| panic!("no time to wait: {reply}"))
}

// "Presence is gathered (a change that was undone within a second is no change; one write a member and tick)"
#[test]
fn a_presence_storm_is_hardly_heard() {
    const ROUNDS: usize = 100;
    let server = Server::with(&["limits.joins_per_minute=0", "limits.requests_per_second=0"]);
    let mut watcher = server.member("watcher", "lobby");
    let mut restless = server.register("restless");
    restless.join("lobby");
    assert_eq!(watcher.event_of("presence")["status"], "joined");
    let mut storm = Vec::new();
    for _ in 0..ROUNDS {
        for request in [leave("lobby"), join("lobby")] {
            storm.extend(json_frame(&restless.with_token(request)));
        }
    }
    restless.send_bytes(&storm);
    for _ in 0..2 * ROUNDS {
        restless.reply();
    }
    let mut last = server.member("last", "lobby");
    let mut heard = 0;
    while watcher.event_of("presence")["name"] != "last" {
        heard += 1;
    }
    // None, unless this machine stood still in the middle of it.
    assert!(heard <= 4, "{heard} of {ROUNDS} rounds were told");
    restless.say("lobby", "here I am");
    assert_eq!(last.message()["text"], "here I am");
}

#[test]
fn many_who_come_at_once_are_all_told_and_nobody_of_himself() {
    let server = Server::start();
    let mut watcher = server.member("watcher", "lobby");
    let names: Vec<String> = (0..20).map(|number| format!("guest{number}")).collect();
    let mut guests: Vec<_> = names.iter().map(|name| server.register(name)).collect();
    let mut members = Vec::new();
    for guest in &mut guests {
        members.push(guest.join("lobby")["members"].as_u64().unwrap());
    }
    let mut told: Vec<String> = (0..20)
        .map(|_| watcher.event_of("presence"))
        .inspect(|event| assert_eq!(event["status"], "joined", "{event}"))
        .map(|event| event["name"].as_str().unwrap().to_owned())
        .collect();
    told.sort();
    let mut expected = names.clone();
    expected.sort();
    assert_eq!(told, expected);
    // What each was told, and what its `joined` counted, are all who are there.
    for (guest, members) in guests.iter_mut().zip(members) {
        for _ in members..21 {
            let event = guest.event_of("presence");
            assert_ne!(event["name"], json!(guest.name), "{event}");
        }
    }
}

// "and joins have a rate (`limits.joins_per_minute`)"; cli.md: "its burst at least `limits.rooms_per_session`"
#[test]
fn joins_have_a_rate_by_account() {
    let server = Server::with(&["limits.joins_per_minute=1", "limits.rooms_per_session=5"]);
    let mut alice = server.register("alice");
    for room in ["one", "two", "three", "four", "five"] {
        alice.join(room);
    }
    alice.expect("ok", leave("one"));
    let refused = alice.expect_error("rate_limited", join("one"));
    assert!(retry_after_ms(&refused) <= 60_000, "{refused}");
    server.login("alice").expect_error("rate_limited", join("one"));
    server.register("bob").join("one");

    let lifted = Server::with(&["limits.joins_per_minute=0"]);
    let mut alice = lifted.register("alice");
    for _ in 0..700 {
        alice.send(join("lobby"));
    }
    for _ in 0..700 {
        assert_eq!(alice.reply()["type"], "joined");
    }
}

// "One user's `passwd` loop … have a rate (`limits.password_changes_per_minute`)"
#[test]
fn changes_of_a_password_have_a_rate_by_account() {
    let server = Server::with(&["limits.password_changes_per_minute=2"]);
    let mut alice = server.register("alice");
    let passwd = |old: &str, new: &str| json!({"type": "passwd", "old": old, "new": new});
    alice.expect("ok", passwd(PASSWORD, "another one"));
    alice.expect_error("wrong_password", passwd(PASSWORD, "a third one"));
    let refused = alice.expect_error("rate_limited", passwd("another one", "a third one"));
    assert!(retry_after_ms(&refused) <= 60_000, "{refused}");
    let mut too = server.login_with("alice", "another one");
    too.expect_error("rate_limited", passwd("another one", "a third one"));
    server.register("bob").expect("ok", passwd(PASSWORD, "another one"));
}

// faults.md: "one account that changes its password, resumes, makes rooms, opens sessions as fast as it may"
#[test]
fn sessions_that_one_account_opens_have_a_rate() {
    let settings = ["limits.sessions_opened_per_minute=3", "limits.sessions_per_account=2"];
    let server = Server::with(&settings);
    let mut alice = server.register("alice");
    for _ in 0..3 {
        let mut next = server.connect();
        next.resume(&alice.token);
        alice = next;
    }
    let mut late = server.connect();
    let refused = late.expect_error("rate_limited", json!({"type": "resume", "token": alice.token}));
    assert!(retry_after_ms(&refused) <= 20_000, "{refused}");
    let login = json!({"type": "login", "name": "alice", "password": PASSWORD});
    assert!(retry_after_ms(&late.expect_error("rate_limited", login)) <= 20_000);
    alice.expect("who", json!({"type": "who"}));
    server.register("bob");
}
