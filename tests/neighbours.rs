//! Strangers and neighbours: what one may cost the others (issue 7, "Strangers hurt everybody").

use std::fs;
use std::io::Write;

use serde_json::{Value, json};

use crate::support::client::{frame, json_frame};
use crate::support::files::files_below;
use crate::support::{Client, PASSWORD, Server};

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

/// A ping with a payload of so many bytes.
fn large_ping(bytes: usize) -> Vec<u8> {
    let ping = |filling: usize| json!({"type": "ping", "x": "x".repeat(filling)}).to_string();
    frame(ping(bytes - ping(0).len()).as_bytes())
}

// "50 connections that pour pings of 60 kB": whoever talks, and whoever is new, goes before them
#[test]
fn strangers_who_pour_are_served_behind_those_who_talk_and_those_who_are_new() {
    let settings = ["limits.strangers_time_percent=2", "limits.connections_per_address=0"];
    let server = Server::with(&settings);
    let (mut alice, mut bob) = (server.member("alice", "lobby"), server.member("bob", "lobby"));
    let ping = large_ping(60_000);
    let pouring: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for stranger in &pouring {
        stranger.stream().set_nonblocking(true).expect("a socket");
    }
    for round in 0..20 {
        for stranger in &pouring {
            // As much as it takes at once; where it is cut does not matter, it is all the same direct message.
            let _ = stranger.stream().write(&ping);
        }
        alice.say("lobby", &format!("round {round}"));
        assert_eq!(bob.message()["text"], json!(format!("round {round}")));
    }
    let mut carol = server.member("carol", "lobby");
    carol.say("lobby", "I am in");
    assert_eq!(alice.message()["text"], "I am in");
}

// "Same look at those who are in": work is counted in bytes, not in frames
#[test]
fn large_requests_count_for_several_and_who_is_refused_stands_behind() {
    let server = Server::with(&["limits.requests_per_second=10", "limits.strangers_time_percent=2"]);
    let (mut alice, mut bob) = (server.member("alice", "lobby"), server.member("bob", "lobby"));
    let mut pours = server.register("pours");
    let ping = large_ping(60_000);
    for _ in 0..10 {
        pours.send_bytes(&ping);
    }
    alice.say("lobby", "meanwhile");
    assert_eq!(bob.message()["text"], "meanwhile");
    let replies: Vec<_> = (0..10).map(|_| pours.reply()).collect();
    assert_eq!(
        replies[0],
        json!({"type": "pong"}),
        "twenty at once are allowed, and this counts for fifteen"
    );
    assert!(replies[1..].iter().all(|reply| reply["code"] == "rate_limited"), "{replies:?}");
    assert!(retry_after_ms(&replies[1]) <= 1_500, "fifteen take a second and a half");
}

// "frame buffers": a large frame is read when there is room for it, and everybody's turn comes
#[test]
fn large_frames_of_strangers_are_all_answered_in_turn() {
    let server = Server::with(&["limits.strangers_frames_bytes=100000", "limits.stranger_bytes=1024"]);
    let mut strangers: Vec<_> = (0..10).map(|_| server.connect()).collect();
    let ping = large_ping(65_536);
    for stranger in &mut strangers {
        stranger.send_bytes(&ping);
        stranger.send_bytes(&ping);
    }
    for stranger in &mut strangers {
        for _ in 0..2 {
            assert_eq!(stranger.reply(), json!({"type": "pong"}));
        }
        stranger.expect("pong", json!({"type": "ping"}));
    }
}

// faults.md: "1 000 connections without a session that pour … half frames: memory +64 MiB at most"
#[test]
fn half_frames_of_strangers_hold_a_bounded_amount() {
    const STRANGERS: usize = 400;
    let settings = ["limits.strangers_frames_bytes=1048576", "limits.connections_per_address=0"];
    let server = Server::with(&settings);
    let mut alice = server.member("alice", "lobby");
    let resident_kib = || -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("Linux tells");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of it");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    let strangers: Vec<_> = (0..STRANGERS).map(|_| server.connect()).collect();
    let before = resident_kib();
    let half = &large_ping(65_536)[..60_000];
    for stranger in &strangers {
        stranger.stream().set_nonblocking(true).expect("a socket");
    }
    let mut most = 0;
    for _ in 0..40 {
        for stranger in &strangers {
            let _ = stranger.stream().write(&half[..1_500]);
        }
        alice.expect("who", json!({"type": "who"}));
        most = most.max(resident_kib());
    }
    // Unbounded they would hold 24 MB.
    let grown = most.saturating_sub(before);
    assert!(grown < 12 * 1024, "{grown} KiB");
}

// cli.md: "with the names below at 0, … clients of one address may each register, log in or resume, and join
// 100 rooms at once, and are refused nothing"
#[test]
fn newcomers_are_refused_nothing_when_the_named_limits_are_lifted() {
    const CLIENTS: usize = 150;
    let server = Server::with(&[
        "limits.joins_per_minute=0",
        "limits.password_changes_per_minute=0",
        "limits.messages_per_second=0",
        "limits.logins_per_minute=0",
        "limits.registrations_per_minute=0",
        "limits.connections_per_address=0",
        "limits.new_rooms_per_minute=0",
        "limits.rooms_per_session=0",
        "limits.login_timeout_seconds=0",
        // This test reads one client after the other, and shall not be a slow consumer.
        "limits.presence_members=1",
    ]);
    let mut tokens = Vec::new();
    for how in ["register", "login", "resume"] {
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            match how {
                "resume" => client.send_as_is(&json!({"type": "resume", "token": tokens[number]})),
                _ => client.send_as_is(
                    &json!({"type": how, "name": format!("guest{number}"), "password": PASSWORD}),
                ),
            }
        }
        tokens.clear();
        for client in &mut clients {
            let session = client.reply();
            assert_eq!(session["type"], "session", "{session}");
            client.token = session["token"].as_str().expect("a token").to_owned();
            tokens.push(client.token.clone());
        }
        for client in &mut clients {
            let joins: Vec<u8> = (0..100)
                .flat_map(|room| json_frame(&client.with_token(join(&format!("room{room}")))))
                .collect();
            client.send_bytes(&joins);
        }
        for client in &mut clients {
            for _ in 0..100 {
                let joined = client.reply();
                assert_eq!(joined["type"], "joined", "{joined}");
            }
        }
    }
}

// "one connection with wrong tokens writes 5 700 lines in 7 s … connecting and going 1.7 MB/s": "lines at a
// stranger's pace are folded: the first few, then a count for each address and kind"
#[test]
fn lines_at_a_strangers_pace_are_folded_and_nothing_else_is() {
    let mut server = Server::with(&["limits.logins_per_minute=0", "limits.connections_per_address=0"]);
    let mut stranger = Client::connect_from(2, server.address);
    for number in 0..300 {
        stranger.send_as_is(&json!({"type": "resume", "token": format!("wrong {number}")}));
    }
    for _ in 0..300 {
        assert_eq!(stranger.reply()["code"], "bad_token");
    }
    for _ in 0..100 {
        drop(Client::connect_from(3, server.address));
    }
    // Another address and another account have lines of their own.
    let mut alice = server.register("alice");
    server.connect().expect_error("bad_token", json!({"type": "resume", "token": "wrong"}));
    alice.send(json!({"type": "exit"}));
    alice.expect_bye("exit");
    server.console("say to all");
    server.stop();
    let log = server.log();
    let lines = |words: &[&str]| {
        let has_all = |line: &&str| words.iter().all(|word| line.contains(word)) && !line.contains("…");
        log.lines().filter(has_all).count()
    };
    assert_eq!(lines(&["failed resume from 127.0.0.2"]), 10, "{log}");
    assert_eq!(lines(&["failed resume from 127.0.0.1"]), 1);
    assert_eq!(lines(&["(127.0.0.3:", " connected"]), 10);
    for once in ["registered from 127.0.0.1", "exited", "the operator asks for: say", "stopped"] {
        assert_eq!(lines(&[once]), 1, "{once}: {log}");
    }
    assert!(log.contains("… and 290 more like it within a minute: failed resume from 127.0.0.2"), "{log}");
    assert!(log.contains("… and 90 more like it"), "{log}");
}

// "the log cannot fill the disk that the history needs"
#[test]
fn the_log_is_bounded_and_begun_anew() {
    let server = Server::with(&["limits.log_file_bytes=2000", "limits.log_repeats_per_minute=0"]);
    for _ in 0..40 {
        drop(server.connect());
    }
    server.register("alice");
    server.log_line(&["alice"]);
    let logs = files_below(&server.data_dir())
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("veche.log"));
    let sizes: Vec<u64> = logs.map(|path| path.metadata().expect("a file").len()).collect();
    // How large each may be, src/logging/writer.rs tests.
    assert_eq!(sizes.len(), 2, "one from before, and no more: {sizes:?}");
}
