//! Locked out by a neighbour: who uses up the guesses at somebody's account from the address that both share
//! locks nobody out for good. The operator sees it and lifts it, and the owner's devices are not concerned.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::clients::{by_lines, client_program, netcat_helper};
use crate::support::files::files_below;
use crate::support::program::end_of;
use crate::support::terminal::Terminal;
use crate::support::{Client, PASSWORD, Server};

/// Wrong guesses that are compared in an hour, by default.
const GUESSES: usize = 20;

fn login(name: &str, password: &str) -> Value {
    json!({"type": "login", "name": name, "password": password})
}

/// Somebody at this address tries wrong passwords until none is compared any more; how many were.
fn lock(server: &Server, host: u8, name: &str) -> usize {
    let mut neighbour = Client::connect_from(host, server.address);
    for count in 0.. {
        let reply = neighbour.request(login(name, "a wrong guess"));
        match reply["code"].as_str() {
            Some("wrong_password") => {}
            Some("too_many_attempts") => return count,
            _ => panic!("neither wrong nor too many: {reply}"),
        }
    }
    unreachable!("guesses are bounded")
}

fn is_locked(server: &Server, host: u8, name: &str) -> bool {
    let reply = Client::connect_from(host, server.address).request(login(name, PASSWORD));
    match (reply["type"].as_str(), reply["code"].as_str()) {
        (Some("session"), _) => false,
        (_, Some("too_many_attempts")) => true,
        _ => panic!("neither in nor locked: {reply}"),
    }
}

// issue 7, "Locked out by a neighbour"
#[test]
fn locked_out_by_a_neighbour() {
    let mut server = Server::start();
    drop(server.register("alice"));
    drop(server.register("bob"));
    assert!(!server.console("status").contains("locked"), "nothing to tell");
    let lifts: [&dyn Fn(&mut Server); 4] = [
        &|server| {
            let answer = server.console("UNLOCK Alice");
            assert_eq!(answer, "Forgot 20 wrong guesses at alice: it can be tried again at once.");
        },
        &|server| {
            let answer = server.veche(&["ctl", "unlock", "alice"], "").success();
            assert!(answer.starts_with("Forgot 20 wrong guesses at alice"), "{answer}");
        },
        &|server| {
            server.veche(&["account", "passwd", "alice"], &format!("{PASSWORD}\n")).success();
        },
        &|server| {
            server.console("ban alice");
            assert_eq!(server.console("unban alice"), "alice may log in again.");
        },
    ];
    for lift in lifts {
        assert_eq!(lock(&server, 1, "alice"), GUESSES);
        assert!(is_locked(&server, 1, "alice") && !is_locked(&server, 1, "bob"));
        server.log_line(&["WARN", "\"alice\" is locked for 127.0.0.1", "unlock alice"]);
        let status = server.console("status");
        let row = status.lines().find(|line| line.starts_with("locked")).expect("a row");
        assert!(row.contains("alice for 127.0.0.1 for 6") && row.contains("unlock NAME"), "{row}");
        let status: Value = serde_json::from_str(&server.console("status --json")).expect("JSON");
        let told = &status["accounts_locked"][0];
        assert_eq!(
            (&told["name"], &told["for"], &status["ok"]),
            (&json!("alice"), &json!("127.0.0.1"), &json!(true))
        );
        lift(&mut server);
        assert!(!is_locked(&server, 1, "alice"));
        assert!(!server.console("status").contains("locked"), "it is lifted");
    }
    server.veche(&["ctl", "unlock", "nobody"], "").failure(1, &["no account nobody"]);
    assert!(server.console("unlock bob").contains("no wrong guesses"));
}

/// A limit of an address passes within a minute; the operator sees it until then.
#[test]
fn an_address_that_has_used_up_its_attempts_is_seen() {
    let mut server = Server::with(&["limits.logins_per_minute=2", "limits.registrations_per_minute=1"]);
    drop(server.register("alice"));
    for name in ["alice", "bob"] {
        server.connect().expect_error("wrong_password", login(name, "a wrong guess"));
    }
    server.connect().expect_error("too_many_attempts", login("alice", PASSWORD));
    let status = server.console("status");
    let row = status.lines().find(|line| line.starts_with("busy")).expect("a row");
    assert!(row.contains("127.0.0.1 (limits.logins_per_minute), 127.0.0.1 (limits.registrations"), "{row}");
    let status: Value = serde_json::from_str(&server.console("status --json")).expect("JSON");
    assert_eq!(status["addresses_without_logins"], json!(["127.0.0.1"]));
}

/// Whoever is in changes the password, whatever a neighbour has tried.
#[test]
fn a_neighbour_keeps_nobody_from_a_new_password() {
    let server = Server::with(&["limits.password_changes_per_minute=0"]);
    let mut alice = server.register("alice");
    lock(&server, 1, "alice");
    alice.expect("ok", json!({"type": "passwd", "old": PASSWORD, "new": "battery staple"}));
    for count in 0..=GUESSES {
        let code = if count < GUESSES { "wrong_password" } else { "too_many_attempts" };
        alice.expect_error(code, json!({"type": "passwd", "old": "a wrong guess", "new": "battery staple"}));
    }
    // A session that was resumed is the same device.
    let token = alice.token.clone();
    drop(alice);
    let mut alice = server.connect();
    alice.resume(&token);
    alice.expect_error(
        "too_many_attempts",
        json!({"type": "passwd", "old": "battery staple", "new": PASSWORD}),
    );
}

fn with_device(name: &str, password: &str, device: &str) -> Value {
    json!({"type": "login", "name": name, "password": password, "device": device})
}

/// Opens a session and ends it in this way; the token that it had.
fn been_in(server: &Server, name: &str, end: impl FnOnce(&mut Client)) -> String {
    let mut client = server.login(name);
    let token = client.token.clone();
    end(&mut client);
    token
}

// issue 7, "Locked out by a neighbour"
#[test]
fn a_device_that_was_in_before_gets_in_past_a_neighbour() {
    let mut server = Server::start();
    drop(server.register("alice"));
    drop(server.register("bob"));
    let exits = |client: &mut Client| {
        client.send(json!({"type": "exit"}));
        client.expect_bye("exit");
    };
    // A token that lives, one that was ended, one that was followed by another, and one that a change ended.
    let living = server.login("alice");
    let ended = been_in(&server, "alice", exits);
    let mut again = server.login("alice");
    let followed = again.token.clone();
    let mut resumed = server.connect();
    resumed.resume(&followed);
    resumed.expect("rooms", json!({"type": "rooms"}));
    again.expect_bye("resumed");
    let of_bob = been_in(&server, "bob", exits);
    let tokens = [living.token.clone(), ended, followed, resumed.token.clone()];
    for round in ["running", "restarted", "crashed"] {
        match round {
            "restarted" => server.restart(),
            "crashed" => server.crash_and_restart(),
            _ => {}
        }
        assert_eq!(lock(&server, 1, "alice"), GUESSES, "{round}");
        for device in &tokens {
            let reply = server.connect().request(with_device("alice", PASSWORD, device));
            assert_eq!(reply["type"], "session", "{round}: {reply}");
        }
        for device in [of_bob.as_str(), "", "nonsense", &tokens[0][1..]] {
            server.connect().expect_error("too_many_attempts", with_device("alice", PASSWORD, device));
        }
        // Its budget is its own, and bounded; a token that followed it brings no other.
        if round == "crashed" {
            for count in 0..=GUESSES {
                let code = if count < GUESSES { "wrong_password" } else { "too_many_attempts" };
                server.connect().expect_error(code, with_device("alice", "a wrong guess", &tokens[2]));
            }
            server.connect().expect_error("too_many_attempts", with_device("alice", PASSWORD, &tokens[3]));
            let row = server.console("status");
            assert!(row.contains("alice for a device that it was opened on before"), "{row}");
            assert_eq!(
                server.connect().request(with_device("alice", PASSWORD, &tokens[1]))["type"],
                "session"
            );
        }
        server.console("unlock alice");
    }
    // A device opens nothing by itself.
    server.connect().expect_error("wrong_password", with_device("alice", "", &tokens[0]));
    server.connect().expect_error("wrong_password", with_device("nobody", PASSWORD, &tokens[0]));
    server
        .connect()
        .expect_error("bad_request", json!({"type": "login", "name": "alice", "password": "x", "device": 7}));
    assert_eq!(server.connect().request(with_device("alice", PASSWORD, ""))["type"], "session");
    // Nothing in the file is a token, or can be used as one.
    let text = std::fs::read_to_string(server.data_dir().join("devices.csv")).expect("it is there");
    assert!(text.lines().count() > 2 && tokens.iter().all(|token| !text.contains(token.as_str())), "{text}");
}

/// However a session ends, its device stays known, also over a crash right behind the end.
#[test]
fn a_device_is_known_however_its_session_ended() {
    let mut server = Server::with(&["limits.sessions_per_account=2"]);
    drop(server.register("alice"));
    let mut tokens = Vec::new();
    let mut kicked = server.login("alice");
    tokens.push(("kicked", kicked.token.clone()));
    server.console("kick alice");
    kicked.expect_bye("kicked");
    let mut other = server.login("alice");
    let mut changes = server.login("alice");
    tokens.push(("ended by a change of the password", other.token.clone()));
    changes.expect("ok", json!({"type": "passwd", "old": PASSWORD, "new": PASSWORD}));
    other.expect_bye("kicked");
    tokens.push(("one too many", changes.token.clone()));
    drop(changes);
    for _ in 0..2 {
        // Connected ones do not make room, so they go before the next comes.
        let client = server.login("alice");
        client.finish_writing();
        tokens.push(("one too many", client.token.clone()));
    }
    server.console("ban alice");
    server.console("unban alice");
    for crash in [false, true] {
        if crash {
            server.crash_and_restart();
        }
        lock(&server, 1, "alice");
        for (how, token) in &tokens {
            let mut client = server.connect();
            let reply = client.request(with_device("alice", PASSWORD, token));
            assert_eq!(reply["type"], "session", "{how}: {reply}");
            client.send(json!({"type": "exit"}));
            client.expect_bye("exit");
        }
        server.console("unlock alice");
    }
}

/// What a removed account had is nobody's, and damage costs a device and no start.
#[test]
fn devices_go_with_their_account_and_damage_is_told() {
    let mut server = Server::start();
    drop(server.register("alice"));
    let token = been_in(&server, "alice", |client| {
        client.send(json!({"type": "exit"}));
        client.expect_bye("exit");
    });
    server.stop();
    let path = server.data_dir().join("devices.csv");
    let whole = std::fs::read(&path).expect("it is there");
    crate::support::files::edit_line(&path, 1, |line| line.replace("had", "hat"));
    server = server.start_again();
    server.log_line(&["WARN", "devices.csv: 1 lines were damaged"]);
    assert_eq!(lock(&server, 1, "alice"), GUESSES);
    server.connect().expect_error("too_many_attempts", with_device("alice", PASSWORD, &token));
    server.stop();
    std::fs::write(&path, whole).expect("space");
    server = server.start_again();
    server.veche(&["account", "remove", "alice"], "").success();
    drop(server.register("alice"));
    assert_eq!(lock(&server, 1, "alice"), GUESSES);
    server.connect().expect_error("too_many_attempts", with_device("alice", PASSWORD, &token));
}

// issue 7, "Locked out by a neighbour"
#[test]
fn the_clients_show_that_they_were_in_before() {
    let server = Server::start();
    end_of(by_lines(&server, "alice", &[]), "hello\n").success();
    let kept: Vec<_> = files_below(&server.dir.path().join("veche/devices"));
    let [file] = &kept[..] else { panic!("one file for the account: {kept:?}") };
    assert!(file.ends_with(format!("{}/alice", server.address)), "{file:?}");
    assert_eq!(file.metadata().expect("it is there").permissions().mode() & 0o777, 0o600);
    assert_eq!(lock(&server, 1, "alice"), GUESSES);
    assert!(is_locked(&server, 1, "alice"));
    end_of(by_lines(&server, "alice", &[]), "I am in\n").success();
    let password = PASSWORD.replace(' ', "-");
    server.veche(&["account", "passwd", "alice"], &format!("{password}\n")).success();
    lock(&server, 1, "alice");
    let shown = end_of(netcat_helper(&server), &format!("login Alice {password}\nexit\n")).success();
    assert!(shown.contains("Welcome back, alice"), "{shown}");
    // A device that is new here is told what helps.
    let mut elsewhere = by_lines(&server, "alice", &[]);
    elsewhere.env("XDG_STATE_HOME", server.dir.path().join("elsewhere"));
    let told = end_of(elsewhere, "").failure(1, &["in about an hour", "the operator can let you in at once"]);
    assert_eq!(told.lines().count(), 1, "{told}");
    // So it is where nothing can be kept.
    let mut nowhere = by_lines(&server, "alice", &[]);
    nowhere.env("XDG_STATE_HOME", "/proc/nowhere").env("VECHE_PASSWORD", &password);
    end_of(nowhere, "").failure(1, &["in about an hour"]);
    server.veche(&["ctl", "unlock", "alice"], "").success();
    let mut nowhere = by_lines(&server, "alice", &[]);
    nowhere.env("XDG_STATE_HOME", "/proc/nowhere").env("VECHE_PASSWORD", &password);
    end_of(nowhere, "").success();
}

// issue 7, "Locked out by a neighbour"
#[test]
fn a_person_who_is_locked_out_is_told_and_goes_back_to_the_name() {
    let server = Server::start();
    drop(server.register("alice"));
    drop(server.register("bob"));
    lock(&server, 1, "alice");
    let login = format!("{} {} --plain --name alice", client_program().display(), server.address);
    let terminal = Terminal::running(&login);
    terminal.has("Password:");
    terminal.enter(PASSWORD);
    // The words are wrapped somewhere on the screen.
    let unwrapped = |screen: &str| screen.split_whitespace().collect::<Vec<_>>().join(" ");
    terminal.shows("what helps", |screen| {
        unwrapped(screen).contains("again in about an hour; the operator can let you in at once")
    });
    terminal.has("Wait for it?");
    terminal.enter("perhaps");
    terminal.has("Answer y or n.");
    terminal.enter("");
    terminal.has("Name:");
    terminal.enter("bob");
    terminal.shows("bob's password", |screen| screen.matches("Password:").count() == 2);
    terminal.keys(&["C-c"]);
    terminal.shows("the name again", |screen| screen.matches("Name:").count() == 2);
    terminal.enter("alice");
    terminal.shows("the password again", |screen| screen.matches("Password:").count() == 3);
    terminal.enter(PASSWORD);
    terminal.shows("the question again", |screen| screen.matches("Wait for it?").count() == 3);
    terminal.enter("y");
    let screen = terminal.has("Waiting about an hour");
    assert!(screen.contains("Ctrl-C gives it up"), "{screen}");
    terminal.keys(&["C-c"]);
    terminal.shows("the name once more", |screen| screen.matches("Name:").count() == 3);
    server.veche(&["ctl", "unlock", "alice"], "").success();
    terminal.enter("alice");
    terminal.shows("the password once more", |screen| screen.matches("Password:").count() == 4);
    terminal.enter(PASSWORD);
    terminal.has("lobby>");
}
