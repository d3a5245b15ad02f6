//! Sessions and their tokens: what opens one, what takes it over, and what kills it.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::files::files_with;
use crate::support::{Client, Options, PASSWORD, Server, eventually};

fn resume_with(token: &str) -> Value {
    json!({"type": "resume", "token": token})
}

fn is_dead(server: &Server, token: &str) {
    server.connect().expect_error("bad_token", resume_with(token));
}

// issue 2, line 4
#[test]
fn exit_kills_the_token_for_good() {
    let mut server = Server::start();
    let mut alice = server.register("alice");
    let token = alice.token.clone();
    alice.send(json!({"type": "exit"}));
    alice.expect_bye("exit");
    is_dead(&server, &token);
    server.crash_and_restart();
    is_dead(&server, &token);
}

// issue 2, line 4
#[test]
fn who_answers_pings_stays_and_who_does_not_is_let_go() {
    let server = Server::with(&["limits.ping_after_seconds=1"]);
    let (mut lives, mut talks, mut dead) =
        (server.register("lives"), server.register("talks"), server.register("dead"));
    for _ in 0..4 {
        assert_eq!(lives.event(), json!({"type": "ping"}));
        lives.send(json!({"type": "pong"}));
        // Whatever is said shows that somebody is there.
        talks.expect("pong", json!({"type": "ping"}));
    }
    for _ in 0..2 {
        assert_eq!(dead.event(), json!({"type": "ping"}));
    }
    dead.expect_dismissal("idle_timeout");
    talks.expect("who", json!({"type": "who"}));
    let who = lives.expect("who", json!({"type": "who"}));
    assert!(who["names"].as_array().unwrap().contains(&json!("lives")), "{who}");
    assert!(!who["names"].as_array().unwrap().contains(&json!("dead")), "{who}");
    // It was let go, not thrown out: its session waits for it.
    let mut back = server.connect();
    back.resume(&dead.token);
}

// issue 2, line 4: "no ping runs out while the server itself is not reading"
#[test]
fn nobodys_time_runs_out_while_the_server_stands_still() {
    let server = Server::with(&["limits.ping_after_seconds=1", "limits.login_timeout_seconds=3"]);
    let (mut alice, mut logs_in) = (server.register("alice"), server.connect());
    server.signal(Signal::STOP);
    // Longer than two pings and the login would have had.
    std::thread::sleep(Duration::from_secs(4));
    server.signal(Signal::CONT);
    alice.expect("pong", json!({"type": "ping"}));
    logs_in.expect("pong", json!({"type": "ping"}));
    alice.expect("who", json!({"type": "who"}));
    logs_in.open("login", "alice", PASSWORD);
}

// issue 2, line 7
#[test]
fn resume_takes_a_session_over() {
    let server = Server::start();
    let mut watcher = server.member("watcher", "lobby");
    let mut before = server.member("alice", "lobby");
    assert_eq!(watcher.event_of("presence")["status"], "joined");
    let mut after = server.connect();
    let reply = after.resume(&before.token);
    assert_eq!((&reply["name"], &reply["new"]), (&json!("alice"), &json!(false)));
    assert_ne!(after.token, before.token, "a fresh token");
    before.expect_bye("resumed");
    assert_eq!(watcher.event_of("presence")["status"], "left");
    after.expect_error("not_in_room", json!({"type": "say", "room": "lobby", "text": "x"}));
    after.join("lobby");
    after.say("lobby", "here again");
    assert_eq!(watcher.message()["text"], "here again");
}

// issue 2, lines 3 and 7: every request has its reply, also the one that another one overtakes
#[test]
fn of_many_that_resume_at_once_each_is_answered_and_one_stays() {
    let server = Server::start();
    let token = server.register("alice").token.clone();
    let mut clients: Vec<_> = (0..10).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send_as_is(&resume_with(&token));
    }
    // No token is used before all are answered: the first use of a fresh one ends the one that all showed.
    for client in &mut clients {
        let reply = client.next();
        assert_eq!(reply["type"], "session", "{reply}");
        client.token = reply["token"].as_str().expect("a token").to_owned();
    }
    let mut stay = 0;
    for client in &mut clients {
        client.send(json!({"type": "who"}));
        match client.next()["type"].as_str() {
            Some("who") => stay += 1,
            Some("bye") => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(stay, 1);
}

// issue 2, line 7
#[test]
fn the_old_token_dies_when_the_fresh_one_is_first_used() {
    let server = Server::start();
    let first = server.register("alice");
    let old = first.token.clone();
    drop(first);
    let mut second = server.connect();
    second.resume(&old);
    let fresh = second.token.clone();
    // Until then the reply may have been lost, so the old one still opens.
    second.expect("who", json!({"type": "who", "token": old}));
    let mut third = server.connect();
    third.resume(&old);
    second.expect_bye("resumed");
    third.expect("who", json!({"type": "who"}));
    third.expect_error("bad_token", json!({"type": "who", "token": old}));
    is_dead(&server, &old);
    is_dead(&server, &fresh);
    third.expect("who", json!({"type": "who"}));
}

// issue 2, line 7
#[test]
fn tokens_outlive_a_restart_and_a_crash() {
    let mut server = Server::start();
    let mut token = server.register("alice").token;
    let mut dead = Vec::new();
    for crash in [false, true, false, true] {
        if crash {
            server.crash_and_restart()
        } else {
            server.restart()
        }
        let mut alice = server.connect();
        let reply = alice.resume(&token);
        assert_eq!(reply["name"], "alice");
        alice.expect("who", json!({"type": "who"}));
        dead.push(std::mem::replace(&mut token, alice.token));
        dead.iter().for_each(|token| is_dead(&server, token));
    }
}

// issue 2, line 7
#[test]
fn tokens_that_are_none_are_refused() {
    let server = Server::start();
    let mut alice = server.register("alice");
    let bob = server.register("bob");
    let flipped: Vec<String> = (0..alice.token.len())
        .map(|place| {
            let mut token = alice.token.clone().into_bytes();
            token[place] = if token[place] == b'A' { b'Q' } else { b'A' };
            String::from_utf8(token).unwrap()
        })
        .collect();
    let shorter = alice.token[..alice.token.len() - 1].to_owned();
    let longer = format!("{}A", alice.token);
    let others = [String::new(), "A".into(), "\u{1f980}".into(), bob.token.clone(), shorter, longer];
    for token in flipped.iter().chain(&others) {
        alice.expect_error("bad_token", json!({"type": "who", "token": token}));
        if *token != bob.token {
            is_dead(&server, token);
        }
    }
    alice.expect("who", json!({"type": "who"}));
    assert!(alice.token.len() * 6 >= 128, "at least 128 bits of URL-safe text");
    assert!(alice.token.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
}

// issue 2, line 7
#[test]
fn tokens_are_kept_as_hashes_only() {
    let mut server = Server::start();
    let alice = server.register("alice");
    let mut bob = server.register("bob");
    let before = bob.token.clone();
    drop(bob);
    bob = server.connect();
    bob.resume(&before);
    server.stop();
    for token in [&alice.token, &before, &bob.token] {
        assert_eq!(files_with(&server.data_dir(), token.as_bytes()), Vec::<std::path::PathBuf>::new());
    }
}

// issue 2, line 7
#[test]
fn a_password_change_ends_the_other_sessions_and_their_tokens() {
    let mut server = Server::start();
    let mut here = server.register("alice");
    let mut there = server.login("alice");
    let away = server.login("alice").token;
    here.expect_error("wrong_password", json!({"type": "passwd", "old": "not this", "new": "a new horse"}));
    here.expect("ok", json!({"type": "passwd", "old": PASSWORD, "new": "a new horse"}));
    there.expect_bye("kicked");
    for token in [&there.token, &away] {
        is_dead(&server, token);
    }
    here.expect("who", json!({"type": "who"}));
    server.crash_and_restart();
    is_dead(&server, &there.token);
    let mut back = server.connect();
    back.resume(&here.token);
    let login = json!({"type": "login", "name": "alice", "password": PASSWORD});
    server.connect().expect_error("wrong_password", login);
    server.connect().open("login", "alice", "a new horse");
}

// issue 2, lines 7 and 15
#[test]
fn a_kick_ends_an_accounts_sessions_and_it_may_log_in_again() {
    let mut server = Server::start();
    let (mut one, mut two) = (server.register("alice"), server.login("alice"));
    let mut bob = server.register("bob");
    let answer = server.console("kick Alice too loud");
    assert!(answer.contains("2 sessions"), "{answer}");
    assert_eq!(one.expect_bye("kicked")["text"], "too loud");
    two.expect_bye("kicked");
    is_dead(&server, &one.token);
    bob.expect("who", json!({"type": "who"}));
    server.login("alice");
}

// issue 2, lines 7 and 15
#[test]
fn a_ban_ends_the_sessions_and_keeps_the_account_out_until_it_is_lifted() {
    let mut server = Server::start();
    let mut alice = server.register("alice");
    server.console("ban alice");
    alice.expect_dismissal("banned");
    let login = json!({"type": "login", "name": "alice", "password": PASSWORD});
    server.connect().expect_error("banned", login.clone());
    let wrong = json!({"type": "login", "name": "alice", "password": "not this"});
    server.connect().expect_error("wrong_password", wrong);
    is_dead(&server, &alice.token);
    server.crash_and_restart();
    server.connect().expect_error("banned", login);
    server.console("unban alice");
    server.login("alice");
}

// issue 2, lines 7 and 15
#[test]
fn clear_file_ends_all_sessions_and_keeps_a_dated_copy() {
    let mut server = Server::start();
    let mut alice = server.register("alice");
    let away = server.register("bob").token;
    let before = std::fs::read_to_string(server.data_dir().join("clients.csv")).unwrap();
    let answer = server.console("clear file");
    alice.expect_bye("kicked");
    for token in [&alice.token, &away] {
        is_dead(&server, token);
    }
    let copy = answer.split_whitespace().find(|word| word.contains("clients")).expect("it names the copy");
    let copy =
        std::fs::read_to_string(server.dir.path().join(copy.trim_end_matches([';', ',', '.']))).unwrap();
    assert_eq!(copy.lines().count(), before.lines().count(), "all rows are in it");
    let login = json!({"type": "login", "name": "alice", "password": PASSWORD});
    server.connect().expect_error("wrong_password", login);
    server.register("alice");
}

// issue 2, line 7
#[test]
fn sessions_end_with_their_time() {
    let server = Server::with(&["auth.session_max_seconds=1"]);
    let mut alice = server.register("alice");
    alice.expect_bye("expired");
    is_dead(&server, &alice.token);
    server.login("alice");
}

// issue 2, line 7
#[test]
fn sessions_without_a_connection_end_with_their_idle_time() {
    let mut server = Server::with(&["auth.session_idle_seconds=1"]);
    let alice = server.register("alice");
    let mut bob = server.register("bob");
    let token = alice.token.clone();
    drop(alice);
    eventually("her session ends", || server.console("status").contains("1 (1 connected)").then_some(()));
    is_dead(&server, &token);
    bob.expect("who", json!({"type": "who"}));
}

// issue 2, line 7
#[test]
fn the_client_is_told_how_long_its_token_lives() {
    let server = Server::start();
    let session = server.connect().open("register", "alice", PASSWORD);
    assert_eq!(session["expires_in"], 30 * 24 * 60 * 60);
    let server = Server::with(&["auth.session_idle_seconds=600", "auth.session_max_seconds=300"]);
    let session = server.connect().open("register", "alice", PASSWORD);
    assert!((290..=300).contains(&session["expires_in"].as_u64().unwrap()), "{session}");
}

// issue 2, line 7
#[test]
fn an_account_may_have_several_sessions_within_a_bound() {
    let server = Server::with(&["limits.sessions_per_account=3"]);
    let mut sessions: Vec<Client> = vec![server.register("alice")];
    sessions.extend((0..2).map(|_| server.login("alice")));
    let login = json!({"type": "login", "name": "alice", "password": PASSWORD});
    let reply = server.connect().expect_error("rate_limited", login.clone());
    assert!(reply["retry_after_ms"].is_u64(), "{reply}");
    let mut last = sessions.pop().unwrap();
    last.send(json!({"type": "exit"}));
    last.expect_bye("exit");
    server.login("alice");
}

/// A server that may write files of some 20 or 40 KiB, and clients whose sessions have used that up.
fn with_a_full_session_file() -> (Server, Vec<Client>) {
    let limited = ["sh", "-c", r#"ulimit -f 40; exec "$0" "$@""#];
    let server = Options::new().wrapped_in(&limited).set("limits.sessions_per_account=0").start();
    let mut clients = vec![server.register("alice"), server.register("bob")];
    let login = json!({"type": "login", "name": "alice", "password": PASSWORD});
    let refusal = loop {
        let mut client = server.connect();
        client.send(login.clone());
        let reply = client.reply();
        if reply["type"] != "session" {
            break reply;
        }
        client.token = reply["token"].as_str().expect("a token").to_owned();
        clients.push(client);
    };
    assert_eq!(refusal["code"], "storage_unavailable", "{refusal}");
    (server, clients)
}

// issue 7: exit is acknowledged although the session's end is not on the disk
#[test]
fn an_exit_that_cannot_be_stored_is_refused_and_session_and_connection_stay() {
    let (mut server, mut clients) = with_a_full_session_file();
    let mut ended = Vec::new();
    let mut stays = loop {
        let mut client = clients.pop().expect("the file is full before all have gone");
        client.send(json!({"type": "exit"}));
        let reply = client.reply();
        if reply["type"] != "bye" {
            assert_eq!(reply["code"], "storage_unavailable", "{reply}");
            break client;
        }
        ended.push(client.token.clone());
    };
    stays.expect("who", json!({"type": "who"}));
    server.crash();
    let server = Options::new().start_in(std::sync::Arc::clone(&server.dir));
    ended.iter().for_each(|token| is_dead(&server, token));
    let mut back = server.connect();
    back.resume(&stays.token);
    back.send(json!({"type": "exit"}));
    back.expect_bye("exit");
}

// issue 7: ended tokens live on, after a password change too
#[test]
fn a_password_change_and_a_kick_hold_when_the_session_file_takes_nothing() {
    let (mut server, mut clients) = with_a_full_session_file();
    let mut here = clients.remove(0);
    let bob = clients.remove(0);
    here.expect("ok", json!({"type": "passwd", "old": PASSWORD, "new": "a new horse"}));
    let kicked = server.console("kick bob");
    assert!(kicked.contains("Kicked bob: 1 session"), "{kicked}");
    server.crash();
    let server = Options::new().start_in(std::sync::Arc::clone(&server.dir));
    for other in clients.iter().chain([&bob]) {
        is_dead(&server, &other.token);
    }
    let mut back = server.connect();
    back.resume(&here.token);
    server.connect().open("login", "alice", "a new horse");
}

// issue 7: an end that cannot be stored is refused, that of the token before a resume, too
#[test]
fn the_old_token_is_not_dead_before_that_is_stored() {
    let mut server = Server::start();
    let first = server.register("alice");
    let old = first.token.clone();
    let mut second = server.connect();
    second.resume(&old);
    let obstacle = server.data_dir().join(".sessions.csv.tmp");
    std::fs::create_dir(&obstacle).unwrap();
    std::fs::remove_file(server.data_dir().join("sessions.csv")).unwrap();
    for _ in 0..2 {
        second.expect_error("storage_unavailable", json!({"type": "who"}));
    }
    second.expect("who", json!({"type": "who", "token": old}));
    std::fs::remove_dir(&obstacle).unwrap();
    second.expect("who", json!({"type": "who"}));
    server.crash_and_restart();
    is_dead(&server, &old);
    server.connect().resume(&second.token);
}

// issue 7: a damaged line fails open
#[test]
fn a_damaged_end_ends_its_session_and_no_other() {
    let mut server = Server::start();
    let (mut alice, bob) = (server.register("alice"), server.register("bob"));
    alice.send(json!({"type": "exit"}));
    alice.expect_bye("exit");
    server.crash();
    let file = server.data_dir().join("sessions.csv");
    let whole = std::fs::read(&file).unwrap();
    let text = String::from_utf8(whole.clone()).unwrap();
    let end = text.find("\nend,").expect("an end") + 1;
    let length = text[end..].find('\n').expect("a line");
    for (at, value) in (end..=end + length).step_by(9).zip([b'x', b'\n', b',', 0, b'1'].into_iter().cycle()) {
        let mut bytes = whole.clone();
        bytes[at] = value;
        std::fs::write(&file, &bytes).unwrap();
        let mut server = server.start_again();
        is_dead(&server, &alice.token);
        let mut back = server.connect();
        back.resume(&bob.token);
        server.stop();
    }
    // Nothing is left of the line: it may have been anybody's.
    let mut bytes = whole;
    bytes[end..end + length].fill(b'x');
    std::fs::write(&file, &bytes).unwrap();
    let server = server.start_again();
    is_dead(&server, &alice.token);
    is_dead(&server, &bob.token);
    server.log_line(&["WARN", "sessions.csv", "names nobody"]);
}
