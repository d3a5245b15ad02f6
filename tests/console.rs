//! The operator's commands, as they are piped into the server, and the log.

use serde_json::json;

use crate::support::files::lines;
use crate::support::{Client, Options, PASSWORD, Server, eventually};

// issue 2, line 15
#[test]
fn help_names_every_command_of_the_contract() {
    let mut server = Server::start();
    let help = server.console("help");
    for command in [
        "shutdown",
        "stop listen",
        "start listen",
        "stop log",
        "start log",
        "clear log",
        "clear file",
        "say TEXT",
        "say #ROOM TEXT",
        "help",
        "status",
        "who",
        "rooms",
        "kick NAME [WHY]",
        "ban NAME",
        "unban NAME",
    ] {
        assert!(help.contains(command), "{command} is not in:\n{help}");
    }
}

// issue 2, line 15
#[test]
fn commands_are_taken_in_any_case_and_unknown_ones_name_the_nearest() {
    let mut server = Server::start();
    assert_eq!(server.console("WHO"), server.console("who"));
    assert_eq!(server.console("  Stop   LOG "), server.console("stop log").replace("from now on", "already"));
    for (typed, meant) in
        [("shutdwon", "shutdown"), ("stop lisen", "stop listen"), ("hlep", "help"), ("kik x", "kick")]
    {
        let answer = server.console(typed);
        assert_eq!(answer.lines().count(), 1, "{answer}");
        assert!(answer.contains(&format!("`{meant}`")), "{typed}: {answer}");
    }
    let answer = server.console("\u{1b}]0;evil\u{7}");
    assert!(!answer.contains('\u{1b}'), "{answer:?}");
    assert!(server.is_running());
}

// issue 2, line 15
#[test]
fn empty_lines_and_long_ones_do_no_harm() {
    let mut server = Server::start();
    server.type_line("");
    server.type_line("   ");
    server.type_line(&"x".repeat(200_000));
    let answer = server.console("who");
    assert!(answer.ends_with("Nobody is online."), "{answer}");
}

// issue 2, line 15
#[test]
fn status_who_and_rooms_say_how_things_stand() {
    let mut server = Server::start();
    let (mut alice, _again) = (server.member("alice", "lobby"), server.login("alice"));
    let _bob = server.member("bob", "attic");
    alice.say("lobby", "one");
    let status = server.console("status");
    for words in
        [&*server.address.to_string(), "taking connections", &server.pid().to_string(), "newest id 1"]
    {
        assert!(status.contains(words), "{words} is not in:\n{status}");
    }
    let who = server.console("who");
    assert!(who.contains("alice (2 sessions)") && who.contains("bob"), "{who}");
    let rooms = server.console("rooms");
    assert!(rooms.contains("#lobby (1 account)") && rooms.contains("#attic (1 account)"), "{rooms}");
}

// issue 2, line 15
#[test]
fn the_operator_speaks_to_all_and_in_rooms() {
    let mut server = Server::start();
    let (mut alice, mut bob) = (server.member("alice", "lobby"), server.register("bob"));
    let mut stranger = server.connect();
    let answer = server.console("say Tea  at five, everybody!");
    assert!(answer.contains("2 sessions"), "{answer}");
    for client in [&mut alice, &mut bob] {
        let notice = client.event();
        assert_eq!(
            (&notice["type"], &notice["text"]),
            (&json!("notice"), &json!("Tea  at five, everybody!"))
        );
        assert!(notice["at"].as_str().unwrap().ends_with('Z'));
    }
    assert_eq!(stranger.request(json!({"type": "ping"})), json!({"type": "pong"}), "nothing before it");
    server.console("say #lobby in the lobby only");
    let heard = alice.message();
    alice.expect("joined", json!({"type": "join", "room": "attic"}));
    assert_eq!((&heard["from"], &heard["room"]), (&json!("server"), &json!("lobby")));
    alice.say("attic", "a past");
    alice.expect("ok", json!({"type": "leave", "room": "attic"}));
    server.console("say #attic nobody hears this");
    let kept = bob.whole_history("attic");
    assert_eq!(kept[1]["text"], "nobody hears this", "but it is stored");
    assert!(server.console("say #../x hello").contains("no room"));
    assert!(server.console("say").contains("say TEXT"));
}

// issue 2, line 15
#[test]
fn commands_that_cannot_be_done_say_why() {
    let mut server = Server::start();
    for command in ["kick nobody", "ban nobody", "unban nobody"] {
        assert!(server.console(command).contains("nobody"), "{command}");
    }
    for command in ["kick", "ban a/b", "status now"] {
        assert!(!server.console(command).is_empty(), "{command}");
    }
}

// issue 2, line 17
#[test]
fn the_log_tells_who_came_and_went_and_why() {
    let server = Server::with(&["limits.login_timeout_seconds=1"]);
    let mut stranger = server.connect();
    let port = stranger.stream().local_addr().unwrap().port().to_string();
    server.log_line(&["127.0.0.1", &port, "connected"]);
    stranger.expect_error("wrong_password", json!({"type": "login", "name": "mallory", "password": "guess"}));
    server.log_line(&["mallory", "127.0.0.1"]);
    stranger.expect_dismissal("login_timeout");
    server.log_line(&[&port, "login_timeout"]);
    let alice = server.register("alice");
    server.log_line(&["alice", "registered"]);
    drop(alice);
    server.log_line(&["alice", "disconnected"]);
    let mut alice = server.login("alice");
    server.log_line(&["alice", "logged in"]);
    alice.send(json!({"type": "exit"}));
    alice.expect_bye("exit");
    server.log_line(&["alice", "exited"]);
}

// issue 2, line 17
#[test]
fn the_log_has_no_secrets_and_no_texts() {
    let mut server = Options::new().environment("VECHE_LOG", "trace").start();
    let mut alice = server.member("alice", "lobby");
    let bob = server.register("bob");
    alice.say("lobby", "a text for the lobby");
    alice.tell("bob", "a text for bob");
    alice.expect("ok", json!({"type": "passwd", "old": PASSWORD, "new": "another secret"}));
    server
        .connect()
        .expect_error("wrong_password", json!({"type": "login", "name": "alice", "password": "a guess!"}));
    alice.send_payload(br#"{"type":"login","password":"in a broken frame""#);
    alice.reply();
    let mut again = server.connect();
    again.resume(&bob.token);
    server.stop();
    let log = server.log();
    assert!(log.contains("alice"), "the log is there: {log}");
    let texts = ["a text for the lobby", "a text for bob"];
    let secrets =
        [PASSWORD, "another secret", "a guess!", "in a broken frame", &alice.token, &bob.token, &again.token];
    for secret in texts.into_iter().chain(secrets) {
        assert!(!log.contains(secret), "{secret:?} is in the log");
        assert!(!server.stderr().contains(secret), "{secret:?} is on standard error");
    }
}

// issue 2, line 17
#[test]
fn no_input_forges_a_line_of_the_log() {
    let mut server = Options::new().environment("VECHE_LOG", "trace").start();
    let forged = "x\n2026-11-21T18:05:21.311Z INFO  session  forged\r\u{1b}[2J\u{202e}\u{2028}";
    let mut client = server.connect();
    for request in [
        json!({"type": forged, "ref": forged}),
        json!({"type": "login", "name": forged, "password": forged}),
        json!({"type": "register", "name": forged, "password": forged}),
        json!({"type": "resume", "token": forged}),
    ] {
        assert_eq!(client.request(request)["type"], "error");
    }
    server.console(&format!("kick {}", forged.replace(['\n', '\r'], " ")));
    server.stop();
    for line in lines(&server.data_dir().join("veche.log")) {
        let (at, rest) = line.split_once(' ').expect("a time and the rest");
        assert!(at.len() == 24 && at.ends_with('Z') && at.starts_with("20"), "{line:?}");
        let level = rest.split_whitespace().next();
        assert!(["TRACE", "DEBUG", "INFO", "WARN", "ERROR"].contains(&level.unwrap_or("")), "{line:?}");
        assert!(!line.contains(|c: char| c.is_control() || "\u{202e}\u{2028}".contains(c)), "{line:?}");
        assert!(!line.starts_with("2026-11-21T18:05:21.311Z"), "forged: {line:?}");
    }
}

// issue 2, lines 15 and 17
#[test]
fn service_messages_are_on_the_console_while_they_are_asked_for() {
    let mut server = Server::start();
    drop(server.register("quiet"));
    server.log_line(&["quiet", "disconnected"]);
    assert_eq!(server.console("rooms").lines().count(), 2, "nothing of it here");
    server.console("start log");
    let _loud = server.register("loud");
    let shown = eventually("it is shown", || {
        let line = server.console_line();
        (line.contains("loud") && line.contains("registered")).then_some(line)
    });
    server.log_line(&[&shown]);
    server.console("stop log");
    drop(server.register("silent"));
    server.log_line(&["silent", "disconnected"]);
    assert!(!server.console("who").contains("silent"), "hidden again");
}

// issue 2, lines 15 and 17
#[test]
fn clear_log_empties_the_file_and_it_goes_on() {
    let mut server = Server::start();
    drop(server.register("before"));
    server.log_line(&["before", "disconnected"]);
    let answer = server.console("clear log");
    assert!(answer.contains("veche.log"), "{answer}");
    assert!(!server.log().contains("before"), "{}", server.log());
    let _after: Client = server.register("after");
    server.log_line(&["after", "registered"]);
}

// issue 2, line 17
#[test]
fn the_log_may_be_elsewhere_and_may_be_moved_away() {
    let dir = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let place = dir.path().join("elsewhere.log");
    let server = Options::new()
        .argument("--log-file")
        .argument(place.to_str().unwrap())
        .start_in(std::sync::Arc::clone(&dir));
    let has = |name: &str| {
        let text = std::fs::read_to_string(&place).unwrap_or_default();
        text.contains(name).then_some(())
    };
    let _first = server.register("first");
    eventually("it is logged there", || has("first"));
    assert!(!server.data_dir().join("veche.log").exists());
    std::fs::rename(&place, dir.path().join("rotated.log")).unwrap();
    let _second = server.register("second");
    eventually("the log is opened anew", || has("second"));
}
