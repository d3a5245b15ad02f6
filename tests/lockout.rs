//! Locked out by a neighbour: who uses up the guesses at somebody's account from the address that both share
//! locks nobody out for good. The operator sees it and lifts it, and the owner's devices are not concerned.

use serde_json::{Value, json};

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
