//! `key`: a message that was sent twice is stored once.

use serde_json::{Value, json};

use crate::support::client::{id, ids};
use crate::support::files::{csv_rows, newest_history};
use crate::support::{Client, Server};

fn keyed(text: &str, key: &str) -> Value {
    json!({"type": "say", "room": "lobby", "text": text, "key": key})
}

fn rows(server: &Server) -> usize {
    csv_rows(&newest_history(&server.data_dir())).len() - 1
}

// issue 2, line 12: "the same account"
#[test]
fn whoever_takes_a_freed_name_does_not_inherit_its_keys() {
    let server = Server::start();
    let mut fred = server.member("fred", "lobby");
    let old = fred.expect("ok", keyed("hello", "1"));
    server.veche(&["account", "remove", "fred"], "").success();
    let mut fred = server.member("fred", "lobby");
    let new = fred.expect("ok", keyed("hello", "1"));
    assert!(id(&new) > id(&old), "another account's message");
    assert_eq!(fred.expect("ok", keyed("hello", "1")), new);
    assert_eq!(rows(&server), 2);
}

// issue 2, line 12
#[test]
fn the_second_one_gets_the_first_ones_receipt_and_nobody_hears_it_twice() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.member("alice", "lobby"), server.member("bob", "lobby"));
    let first = alice.expect("ok", keyed("hello", "k"));
    assert_eq!(alice.expect("ok", keyed("hello", "k")), first);
    let mut again = server.login("alice");
    again.join("lobby");
    assert_eq!(again.expect("ok", keyed("hello", "k")), first, "on another connection too");
    alice.say("lobby", "end");
    let heard: Vec<_> =
        bob.events_until("end").iter().filter(|event| event["type"] == "message").map(id).collect();
    assert_eq!(heard.len(), 2);
    assert_eq!(rows(&server), 2);
}

// issue 2, line 12
#[test]
fn many_at_once_under_one_key_are_one_message() {
    let server = Server::start();
    let mut sessions: Vec<_> =
        (0..5).map(|n| if n == 0 { server.register("alice") } else { server.login("alice") }).collect();
    for session in &mut sessions {
        session.join("lobby");
    }
    for session in &mut sessions {
        for _ in 0..20 {
            session.send(keyed("hello", "k"));
        }
    }
    let mut receipts: Vec<Value> = Vec::new();
    for session in &mut sessions {
        receipts.extend((0..20).map(|_| session.reply()));
    }
    assert_eq!(receipts[0]["type"], "ok");
    assert!(receipts.iter().all(|receipt| *receipt == receipts[0]), "{receipts:?}");
    assert_eq!(rows(&server), 1);
}

// issue 2, line 12
#[test]
fn a_key_that_stands_for_another_message_is_refused() {
    let server = Server::start();
    let mut alice = server.member("alice", "lobby");
    alice.join("attic");
    drop(server.register("bob"));
    alice.expect("ok", keyed("hello", "k"));
    alice.expect_error("bad_request", keyed("other text", "k"));
    let elsewhere = json!({"type": "say", "room": "attic", "text": "hello", "key": "k"});
    alice.expect_error("bad_request", elsewhere);
    alice.expect_error("bad_request", json!({"type": "tell", "to": "bob", "text": "hello", "key": "k"}));
    assert_eq!(rows(&server), 1, "and nothing was stored");
    let mut carol = server.member("carol", "lobby");
    carol.expect("ok", keyed("my own", "k"));
    assert_eq!(rows(&server), 2, "keys are each account's own");
}

// issue 2, line 12
#[test]
fn direct_messages_have_keys_too() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    let direct_message = json!({"type": "tell", "to": "bob", "text": "hello", "key": "é=\n"});
    let first = alice.expect("ok", direct_message.clone());
    assert_eq!(alice.expect("ok", direct_message), first);
    alice.tell("bob", "end");
    let heard: Vec<_> = bob.events_until("end").iter().map(id).collect();
    assert_eq!(heard[0], id(&first));
    assert_eq!(heard.len(), 2);
}

// issue 2, line 12
#[test]
fn a_key_is_known_after_a_restart_and_after_a_crash() {
    let mut server = Server::start();
    let mut alice = server.member("alice", "lobby");
    let first = alice.expect("ok", keyed("hello, \"you\"\n=1", "k-1"));
    for crash in [true, false, true] {
        if crash {
            server.crash_and_restart()
        } else {
            server.restart()
        }
        let mut alice = server.login("alice");
        alice.join("lobby");
        assert_eq!(alice.expect("ok", keyed("hello, \"you\"\n=1", "k-1")), first);
        alice.expect_error("bad_request", keyed("hello", "k-1"));
        assert_eq!(ids(&json!(alice.whole_history("lobby"))), [id(&first)]);
    }
}

// issue 2, line 12
#[test]
fn the_newest_keys_are_remembered() {
    let server = Server::with(&["limits.keys_per_account=3"]);
    let mut alice = server.member("alice", "lobby");
    let send = |alice: &mut Client, n: u32| id(&alice.expect("ok", keyed("same text", &format!("k{n}"))));
    let first: Vec<_> = (0..4).map(|n| send(&mut alice, n)).collect();
    assert_eq!(send(&mut alice, 3), first[3]);
    assert_eq!(send(&mut alice, 1), first[1]);
    assert_ne!(send(&mut alice, 0), first[0], "the oldest made room for the fourth");
}
