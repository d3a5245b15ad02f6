//! Histories that were put back: who remembers what this history does not have is told so.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::client::{id, texts};
use crate::support::files::files_below;
use crate::support::server::Options;
use crate::support::{Client, Server};

/// A connection's first frame.
fn welcome(server: &Server) -> Value {
    Client::raw(server.address).next()
}

/// The name of the server's term.
fn term(server: &Server) -> String {
    welcome(server)["term"].as_str().expect("a term").to_owned()
}

/// Copies the files of a data directory that are read at a start.
pub fn copy(from: &Path, to: &Path) {
    for path in files_below(from) {
        let name = path.strip_prefix(from).expect("below it");
        if path.symlink_metadata().expect("it is there").is_file() {
            fs::create_dir_all(to.join(name).parent().expect("a folder")).expect("space");
            fs::copy(&path, to.join(name)).expect("space");
        }
    }
}

/// Stops the server, puts a copy of its data directory in that one's place, and starts it again at the same
/// address.
pub fn put_back(server: &mut Server, copy_dir: &Path) {
    server.stop();
    fs::remove_dir_all(server.data_dir()).expect("it is ours");
    copy(copy_dir, &server.data_dir());
    *server = Options::new().listen(&server.address.to_string()).start_in(Arc::clone(&server.dir));
}

/// What `join`, `history` and `inbox` say of an id of this term.
fn resets(client: &mut Client, after: u64, term: Option<&str>) -> [bool; 3] {
    let mut ask = |kind: &str, mut request: Value| {
        request["after"] = json!(after);
        request["term"] = json!(term);
        let reply = client.expect(kind, request);
        assert_ne!(reply["reset"], false, "it is left out: {reply}");
        reply["reset"] == true
    };
    [
        ask("joined", json!({"type": "join", "room": "lobby"})),
        ask("history", json!({"type": "history", "room": "lobby"})),
        ask("inbox", json!({"type": "inbox"})),
    ]
}

#[test]
fn each_start_is_a_term_that_is_on_the_disk_before_it_is_named() {
    let mut server = Server::start();
    let mut before = Vec::new();
    for _ in 0..3 {
        let welcome = welcome(&server);
        assert!(welcome["features"].as_array().expect("a list").contains(&json!("terms")), "{welcome}");
        let name = welcome["term"].as_str().expect("a term").to_owned();
        let stored = fs::read_to_string(server.data_dir().join("history/terms.txt")).expect("it is there");
        assert!(stored.contains(&name) && before.iter().all(|old| stored.contains(old)), "{stored}");
        assert!(!before.contains(&name));
        assert_eq!(term(&server), name, "one for all connections");
        before.push(name);
        server.crash_and_restart();
    }
}

// issue 7, "Connected, and deaf"
#[test]
fn connected_and_deaf() {
    let mut server = Server::start();
    let mut alice = server.member("alice", "lobby");
    let old = id(&alice.say("lobby", "in the copy"));
    let copied_term = term(&server);
    server.stop();
    let backup = tempfile::tempdir().expect("a folder");
    copy(&server.data_dir(), backup.path());
    server = server.start_again();
    let lost_term = term(&server);
    let mut alice = server.login("alice");
    alice.join("lobby");
    let lost: Vec<u64> = (0..5).map(|n| id(&alice.say("lobby", &format!("lost {n}")))).collect();
    put_back(&mut server, backup.path());

    let present = term(&server);
    let mut alice = server.login("alice");
    // (after, term, whether it is of another history)
    let mut expected = vec![
        (old, Some(copied_term.as_str()), false),
        (old, None, false),
        (0, None, false),
        (0, Some("t-unknown"), false),
        (old, Some(lost_term.as_str()), true),
        (old + 1, Some(copied_term.as_str()), true),
        (old, Some(""), true),
        (lost[4], Some(lost_term.as_str()), true),
        (lost[4], Some(present.as_str()), true),
        (lost[4], None, true),
    ];
    for (after, term, expected) in &expected {
        assert_eq!(resets(&mut alice, *after, *term), [*expected; 3], "{after} of {term:?}");
    }
    let reply = alice.expect(
        "joined",
        json!({"type": "join", "room": "lobby", "after": lost[2], "term": lost_term, "history": 10}),
    );
    assert_eq!((texts(&reply["messages"]), &reply["more"]), (vec!["in the copy".into()], &json!(false)));

    // The ids come up to those that were lost, and pass them.
    let said: Vec<u64> = (0..5).map(|n| id(&alice.say("lobby", &format!("new {n}")))).collect();
    assert_eq!(said, lost, "the same ids, other messages");
    expected.truncate(7);
    expected.extend([(lost[4], Some(lost_term.as_str()), true), (lost[4], Some(present.as_str()), false)]);
    expected.extend([
        (lost[4], Some(copied_term.as_str()), true),
        (lost[4], None, false),
        (lost[4] + 1, None, true),
    ]);
    for (after, term, expected) in &expected {
        assert_eq!(resets(&mut alice, *after, *term), [*expected; 3], "{after} of {term:?}");
    }
    let missed = json!({"type": "join", "room": "lobby", "after": old, "term": copied_term});
    assert_eq!(texts(&alice.expect("joined", missed)["messages"]).len(), 5, "what followed there is told");
}

/// The copy was made while the server ran, and its last line is a part of one; and the list of terms is newer
/// than the messages.
#[test]
fn a_copy_of_a_running_server_is_no_trap() {
    let mut server = Server::start();
    let mut alice = server.member("alice", "lobby");
    let first = term(&server);
    let ids: Vec<u64> = (0..3).map(|n| id(&alice.say("lobby", &format!("message {n}")))).collect();
    let month = crate::support::files::newest_history(&server.data_dir());
    let whole = fs::read(&month).expect("it is there");
    server.restart();
    let second = term(&server);
    server.stop();
    fs::write(&month, &whole[..whole.len() - 7]).expect("space");
    server = server.start_again();
    let mut alice = server.login("alice");
    for name in [&first, &second] {
        assert_eq!(resets(&mut alice, ids[2], Some(name)), [true; 3], "it was torn off");
        assert_eq!(resets(&mut alice, ids[1], Some(name)), [false; 3]);
    }
    let next = id(&alice.say("lobby", "next"));
    assert!(next > ids[2], "the id of a torn line counts as given");
}

/// What was seen is of this history after every kind of end.
#[test]
fn a_crash_resets_nobody() {
    let mut server = Server::start();
    let mut alice = server.member("alice", "lobby");
    let mut seen = Vec::new();
    for round in 0..4 {
        let name = term(&server);
        seen.push((id(&alice.say("lobby", &format!("round {round}"))), name));
        if round % 2 == 0 {
            server.crash_and_restart()
        } else {
            server.restart()
        }
        alice = server.login("alice");
        alice.join("lobby");
        for (id, name) in &seen {
            assert_eq!(resets(&mut alice, *id, Some(name)), [false; 3], "{id} of {name}");
        }
    }
}

#[test]
fn what_is_no_text_is_no_term() {
    let server = Server::start();
    let mut alice = server.register("alice");
    for term in [json!(7), json!(["x"]), json!(true)] {
        alice.expect_error("bad_request", json!({"type": "inbox", "after": 1, "term": term}));
    }
}

/// No term, no server: there would be nobody to read, since no session could be opened either.
#[test]
fn a_start_that_cannot_store_its_term_says_so() {
    let dir = Arc::new(tempfile::tempdir().expect("a folder"));
    let history = dir.path().join("data/history");
    for (name, word) in [(".terms.txt.tmp", "could not be written"), ("terms.txt", "could not be read")] {
        fs::create_dir_all(history.join(name)).expect("space");
        let (status, stderr) = Options::new().try_start_in(&dir).err().expect("it does not start");
        assert_eq!(status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("terms.txt") && stderr.contains(word), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        fs::remove_dir(history.join(name)).expect("it is ours");
    }
    assert!(Options::new().try_start_in(&dir).is_ok());
}

/// A damaged line costs clients that were away since then a new reading, and nobody else anything.
#[test]
fn a_damaged_term_is_told_and_forgotten_with_those_before_it() {
    let mut server = Server::start();
    let mut alice = server.member("alice", "lobby");
    let seen = id(&alice.say("lobby", "hello"));
    let mut names = vec![term(&server)];
    for _ in 0..2 {
        server.restart();
        names.push(term(&server));
    }
    server.stop();
    let path = server.data_dir().join("history/terms.txt");
    crate::support::files::edit_line(&path, 2, |line| line.replace(",1,", ",9,"));
    server = server.start_again();
    server.log_line(&["terms.txt line 3 is damaged"]);
    let mut alice = server.login("alice");
    let expected = [true, true, false];
    for (name, expected) in names.iter().zip(expected) {
        assert_eq!(resets(&mut alice, seen, Some(name)), [expected; 3], "{name}");
    }
}
