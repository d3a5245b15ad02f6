//! Who is who: names, passwords, and what of them lies on the disk.
//!
//! What is sealed cannot be seen from here: that a hash is Argon2id in PHC form with the parameters of the
//! settings is tested in `src/secrets/password.rs`, and that the first login of an imported account replaces
//! the wrapped MD5 by a hash of the password itself in `src/actors/auth/tests.rs`.

use std::fs;
use std::path::PathBuf;

use md5::{Digest, Md5};
use serde_json::{Value, json};

use crate::support::files::{csv_rows, edit_line, files_with, lines};
use crate::support::{Client, Options, PASSWORD, Server, eventually};

fn clients_csv(server: &Server) -> PathBuf {
    server.data_dir().join("clients.csv")
}

fn login(name: &str, password: &str) -> Value {
    json!({"type": "login", "name": name, "password": password})
}

fn md5_hex(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

// issue 2, line 5
#[test]
fn an_unknown_name_registers_and_a_known_one_logs_in_and_is_greeted() {
    let mut server = Server::start();
    let mut client = server.connect();
    let identify = json!({"type": "identify", "name": "ＡLICE"});
    let free = json!({"type": "identified", "name": "alice", "known": false});
    assert_eq!(client.request(identify.clone()), free, "in its canonical form");
    let first = client.open("register", "Alice", PASSWORD);
    assert_eq!(
        (&first["name"], &first["new"], &first["last_seen"]),
        (&json!("alice"), &json!(true), &json!(null))
    );
    assert!(first["greeting"].as_str().unwrap().contains("alice"), "{first}");
    assert_eq!(client.request(identify)["known"], true);
    client.send(json!({"type": "exit"}));
    client.expect_bye("exit");
    for restart in [false, true] {
        if restart {
            server.restart();
        }
        let again = server.connect().open("login", "ALICE", PASSWORD);
        assert_eq!((&again["name"], &again["new"]), (&json!("alice"), &json!(false)));
        assert_eq!(again["last_seen"]["ip"], "127.0.0.1");
        let at = again["last_seen"]["at"].as_str().unwrap();
        let greeting = again["greeting"].as_str().unwrap();
        assert!(greeting.contains(&at[..10]) && greeting.contains(&at[11..16]), "{greeting} of {at}");
        assert!(greeting.contains("127.0.0.1"), "{greeting}");
    }
}

// issue 2, line 5
#[test]
fn last_seen_is_the_session_before_and_from_where_it_was() {
    let server = Server::start();
    drop(server.register("alice"));
    let mut elsewhere = Client::connect_from(2, server.address);
    assert_eq!(elsewhere.open("login", "alice", PASSWORD)["last_seen"]["ip"], "127.0.0.1");
    let here = server.connect().open("login", "alice", PASSWORD);
    assert_eq!(here["last_seen"]["ip"], "127.0.0.2");
}

// issue 2, line 5
#[test]
fn a_wrong_password_and_an_unknown_name_get_the_same_answer() {
    let server = Server::start();
    drop(server.register("alice"));
    let mut client = server.connect();
    let wrong = client.expect_error("wrong_password", login("alice", "not the password"));
    let unknown = client.expect_error("wrong_password", login("nobody", PASSWORD));
    let operator = client.expect_error("wrong_password", login("server", PASSWORD));
    assert_eq!(wrong, unknown);
    assert_eq!(wrong, operator);
    client.expect_error("wrong_password", login("alice", ""));
    client.open("login", "alice", PASSWORD);
}

// issue 2, line 5
#[test]
fn of_64_registrations_of_one_name_at_once_one_wins() {
    const TWINS: [&str; 4] = ["Élise", "élise", "E\u{301}LISE", "ｅ\u{301}lise"];
    let server = Server::start();
    for round in 0..5 {
        let mut clients: Vec<_> = (0..64).map(|_| server.connect()).collect();
        for (n, client) in clients.iter_mut().enumerate() {
            let name = format!("{}{round}", TWINS[n % TWINS.len()]);
            let password = format!("password of {n}");
            client.send(json!({"type": "register", "name": name, "password": password}));
        }
        let replies: Vec<_> = clients.iter_mut().map(Client::reply).collect();
        let winners: Vec<_> = (0..64).filter(|n| replies[*n]["type"] == "session").collect();
        assert_eq!(winners.len(), 1, "{replies:?}");
        let taken = replies.iter().filter(|reply| reply["code"] == "name_taken").count();
        assert_eq!(taken, 63, "{replies:?}");
        assert_eq!(lines(&clients_csv(&server)).len(), 2 + round, "one row a round, under the header");
        let password = format!("password of {}", winners[0]);
        server.connect().open("login", &format!("élise{round}"), &password);
    }
}

// issue 2, line 5
#[test]
fn names_that_only_look_alike_are_taken() {
    let server = Server::start();
    drop(server.register("coco"));
    drop(server.register("bücher"));
    let mut client = server.connect();
    let register = |name: &str| json!({"type": "register", "name": name, "password": PASSWORD});
    client.expect_error("name_taken", register("сосо"));
    client.expect_error("bad_name", register("cоco"));
    client.expect_error("name_taken", register("Server"));
    client.open("register", "bucher", PASSWORD);
}

// issue 2, lines 6 and 8
#[test]
fn no_name_address_or_password_lies_bare_in_the_account_files() {
    let mut server = Server::start();
    let mut alice = server.register("grunewald");
    alice.expect("ok", json!({"type": "passwd", "old": PASSWORD, "new": "second secret"}));
    server.connect().expect_error("wrong_password", login("grunewald", "a wrong secret"));
    server.login_with("grunewald", "second secret");
    server.stop();
    for file in ["clients.csv", "sessions.csv"] {
        let text = fs::read_to_string(server.data_dir().join(file)).unwrap();
        for bare in ["grunewald", "GRUNEWALD", "127.0.0.1", "$argon2"] {
            assert!(!text.contains(bare), "{bare} is in {file}");
        }
    }
    for secret in [PASSWORD, "second secret", "a wrong secret"] {
        for hidden in [secret.to_owned(), md5_hex(secret), md5_hex(secret).to_uppercase()] {
            let found = files_with(&server.data_dir(), hidden.as_bytes());
            assert_eq!(found, Vec::<PathBuf>::new(), "{hidden} lies bare");
        }
    }
}

// issue 2, line 8
#[test]
fn the_account_file_has_a_line_an_account_and_fresh_cells_for_each() {
    let server = Server::start();
    let _accounts: Vec<_> = ["a", "b", "c"].iter().map(|name| server.register(name)).collect();
    let rows = csv_rows(&clients_csv(&server));
    let header = &rows[0];
    assert_eq!(header[..5], ["row", "index", "login", "ip", "password"]);
    assert_eq!(rows.len(), 4);
    let cells: Vec<_> = rows[1..].iter().flat_map(|row| &row[1..5]).collect();
    let mut distinct = cells.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), cells.len(), "the same address is sealed differently in every row");
}

// issue 2, line 8
#[test]
fn an_account_is_on_the_disk_before_its_session_is_sent() {
    let mut server = Server::start();
    for n in 0..5 {
        let name = format!("user{n}");
        drop(server.register(&name));
        server.crash_and_restart();
        drop(server.login(&name));
    }
}

// issue 2, line 8
#[test]
fn a_row_with_another_rows_cells_is_set_aside_and_the_others_serve() {
    let mut server = Server::start();
    for name in ["anna", "berta", "clara"] {
        drop(server.register(name));
    }
    server.stop();
    let file = clients_csv(&server);
    let rows = csv_rows(&file);
    let password_of_anna = rows[1][4].clone();
    edit_line(&file, 2, |line| line.replace(&rows[2][4], &password_of_anna));
    server = server.start_again();
    server.log_line(&["WARN", "clients.csv", "line 3"]);
    let rejected = fs::read_to_string(server.data_dir().join("clients.rejected")).unwrap();
    assert!(rejected.contains(&password_of_anna), "it is kept");
    drop((server.login("anna"), server.login("clara")));
    server.connect().expect_error("wrong_password", login("berta", PASSWORD));
    server.restart();
    drop((server.login("anna"), server.login("clara")));
}

// issue 2, line 8
#[test]
fn a_row_from_a_backup_is_set_aside() {
    let mut server = Server::start();
    drop(server.register("anna"));
    let mut berta = server.register("berta");
    let backup = lines(&clients_csv(&server));
    berta.expect("ok", json!({"type": "passwd", "old": PASSWORD, "new": "a new horse"}));
    server.stop();
    // Somebody who can write the file, but has not the key, would like to have the old password back.
    edit_line(&clients_csv(&server), 2, |_| backup[2].clone());
    server = server.start_again();
    server.log_line(&["WARN", "clients.csv", "line 3"]);
    server.connect().expect_error("wrong_password", login("berta", PASSWORD));
    server.login("anna");
}

// issue 2, line 6
#[test]
fn accounts_of_an_older_server_are_taken_over() {
    let mut server = Server::start();
    server.stop();
    let list = format!(
        "login,password_md5,ip\nAnna,{},192.0.2.7\nberta,{},\nanna,{},\nshort,abc,\n",
        md5_hex("annas secret"),
        md5_hex("bertas secret").to_uppercase(),
        md5_hex("another annas secret"),
    );
    let file = server.dir.path().join("old.csv");
    fs::write(&file, &list).unwrap();
    let first = server.veche(&["account", "import", file.to_str().unwrap()], "");
    assert_eq!(first.code, Some(1), "one line was no account: {first:?}");
    let told = format!("{}{}", first.stdout, first.stderr);
    assert!(told.contains("short") || told.contains("line 5"), "{told}");
    let again = server.veche(&["account", "import", file.to_str().unwrap()], "");
    assert!(!again.stderr.contains("panicked"), "it can be repeated: {again:?}");
    for secret in ["annas secret", "bertas secret"] {
        for hidden in [md5_hex(secret), md5_hex(secret).to_uppercase()] {
            assert_eq!(files_with(&server.data_dir(), hidden.as_bytes()), Vec::<PathBuf>::new());
        }
    }
    server = server.start_again();
    let anna = server.connect().open("login", "anna", "annas secret");
    assert_eq!((&anna["new"], &anna["last_seen"]), (&json!(false), &json!(null)), "nobody knows when");
    server.connect().expect_error("wrong_password", login("anna", "another annas secret"));
    server.connect().expect_error("wrong_password", login("anna", &md5_hex("annas secret")));
    // The first login has hashed the password itself; the second is one like any other.
    for _ in 0..2 {
        server.connect().open("login", "berta", "bertas secret");
        server.restart();
    }
    let listed = server.veche(&["account", "list"], "").success();
    assert!(listed.contains("anna") && listed.contains("berta"), "{listed}");
}

// issue 2, line 6
#[test]
fn accounts_are_managed_with_the_server_and_without_it() {
    let mut server = Server::with(&["auth.registration=closed"]);
    for running in [true, false] {
        if !running {
            server.stop();
        }
        let name = if running { "anna" } else { "berta" };
        server.veche(&["account", "add", name], "first secret\n").success();
        server.veche(&["account", "add", name], "first secret\n").failure(1, &[name, "taken"]);
        server.veche(&["account", "add", "x"], "short\n").failure(1, &["8 to 256 bytes"]);
        server.veche(&["account", "passwd", name], "second secret\n").success();
        server.veche(&["account", "passwd", "nobody"], "second secret\n").failure(1, &["nobody"]);
        assert!(server.veche(&["account", "list"], "").success().contains(name));
    }
    server = server.start_again();
    for name in ["anna", "berta"] {
        server.connect().expect_error("wrong_password", login(name, "first secret"));
        let mut session = server.login_with(name, "second secret");
        server.veche(&["account", "remove", name], "").success();
        session.expect_bye("kicked");
        server.connect().expect_error("wrong_password", login(name, "second secret"));
    }
    server.veche(&["account", "remove", "anna"], "").failure(1, &["anna"]);
}

// issue 2, line 9 (promise 5 of the protocol)
#[test]
fn who_takes_a_freed_name_does_not_inherit_its_letters() {
    let mut server = Server::start();
    let mut bob = server.register("bob");
    drop(server.register("alice"));
    bob.tell("alice", "for the first alice");
    server.veche(&["account", "remove", "alice"], "").success();
    bob.expect_error("no_such_account", json!({"type": "tell", "to": "alice", "text": "gone?"}));
    let mut alice = server.register("alice");
    let nothing = json!([]);
    for restart in [false, true] {
        if restart {
            server.restart();
            alice = server.login("alice");
            bob = server.login("bob");
        }
        assert_eq!(alice.expect("inbox", json!({"type": "inbox"}))["messages"], nothing);
        let with_bob = alice.expect("history", json!({"type": "history", "with": "bob"}));
        assert_eq!(with_bob["messages"], nothing);
    }
    let direct_message = bob.tell("alice", "for the second alice");
    let inbox = alice.expect("inbox", json!({"type": "inbox"}));
    assert_eq!(inbox["messages"][0]["id"], direct_message["id"]);
    assert_eq!(inbox["messages"].as_array().unwrap().len(), 1);
    assert_eq!(direct_message["prev"], 0, "`prev` names no message that its reader cannot see");
}

// issue 2, line 5
#[test]
fn guessing_is_bounded_and_the_owner_still_gets_in() {
    let server = Server::with(&["limits.wrong_passwords_per_hour=3"]);
    drop(server.register("alice"));
    let mut stranger = Client::connect_from(2, server.address);
    for _ in 0..3 {
        stranger.expect_error("wrong_password", login("alice", "a wrong guess"));
        stranger.expect_error("wrong_password", login("nobody", "a wrong guess"));
    }
    for name in ["alice", "nobody"] {
        let reply = stranger.expect_error("too_many_attempts", login(name, PASSWORD));
        assert!(reply["retry_after_ms"].as_u64().is_some_and(|wait| wait > 60_000), "{reply}");
    }
    let mut another = Client::connect_from(3, server.address);
    another.expect_error("too_many_attempts", login("alice", "a wrong guess"));
    server.login("alice");
}

// issue 2, line 6
#[test]
fn many_logins_at_once_are_all_answered_and_the_talk_goes_on() {
    let server = Options::new().set("auth.argon2_memory_kib=8192").set("limits.hash_queue=16").start();
    drop(server.register("alice"));
    let (mut one, mut two) = (server.member("one", "lobby"), server.member("two", "lobby"));
    let mut crowd: Vec<_> = (0..100).map(|_| server.connect()).collect();
    for client in &mut crowd {
        client.send(login("alice", PASSWORD));
    }
    one.say("lobby", "we talk");
    assert_eq!(two.message()["text"], "we talk");
    let replies: Vec<_> = crowd.iter_mut().map(Client::reply).collect();
    let busy: Vec<_> = replies.iter().filter(|reply| reply["type"] == "error").collect();
    assert!(busy.len() < 100, "some get in");
    for reply in busy {
        assert_eq!(reply["code"], "rate_limited", "{reply}");
        assert!(reply["retry_after_ms"].is_u64(), "{reply}");
    }
}

// issue 2, line 8
#[test]
fn what_is_lost_of_the_account_file_while_running_is_written_anew() {
    let mut server = Server::start();
    drop(server.register("alice"));
    fs::remove_file(clients_csv(&server)).unwrap();
    drop(server.register("bob"));
    eventually("both are there again", || (lines(&clients_csv(&server)).len() == 3).then_some(()));
    server.crash_and_restart();
    drop((server.login("alice"), server.login("bob")));
}

// issue 2, line 6: "with a bound"
#[test]
fn the_memory_of_one_hash_serves_the_next() {
    let one_hash_kib = 8_192;
    let memory = format!("auth.argon2_memory_kib={one_hash_kib}");
    let server = Server::with(&[&memory, "auth.hash_threads=1"]);
    let resident_kib = || -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("Linux tells");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of it");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    let before = resident_kib();
    for number in 0..12 {
        server.register(&format!("guest{number}"));
    }
    let grown = resident_kib() - before;
    assert!(grown < 3 * one_hash_kib, "12 hashes, one after another, took {grown} KiB");
}

/// The server must not start, and say these words in one sentence; nothing of its account file may change.
fn refuses_to_start(server: &Server, words: &[&str]) {
    let before = fs::read(clients_csv(server)).ok();
    let refused = Options::new().try_start_in(&server.dir);
    let (status, stderr) = refused.err().expect("it does not start");
    assert_eq!((status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not in {stderr}");
    }
    assert_eq!(fs::read(clients_csv(server)).ok(), before);
}

fn start_accepting_loss(server: &Server) -> Server {
    Options::new().argument("--accept-loss").start_in(std::sync::Arc::clone(&server.dir))
}

// issue 7: `clients.csv` of 0 bytes, or missing
#[test]
fn accounts_that_are_gone_stop_the_start_unless_the_loss_is_accepted_this_once() {
    let mut server = Server::start();
    drop(server.register("alice"));
    server.stop();
    for empty in [true, false] {
        if empty {
            fs::write(clients_csv(&server), "").unwrap();
        } else {
            fs::remove_file(clients_csv(&server)).unwrap();
        }
        refuses_to_start(&server, &["clients.csv", "sessions.csv", "--accept-loss"]);
        server.veche(&["account", "list"], "").failure(1, &["--accept-loss"]);
        server.veche(&["account", "add", "alice"], "some secret\n").failure(1, &["--accept-loss"]);
        let refused = Options::new().environment("VECHE_ACCEPT_LOSS", "true").try_start_in(&server.dir);
        assert!(refused.is_err(), "no environment variable");
        let refused = Options::new().set("server.accept_loss=true").try_start_in(&server.dir);
        assert!(refused.is_err(), "no setting");
        let mut started = start_accepting_loss(&server);
        started.connect().expect_error("wrong_password", login("alice", PASSWORD));
        started.stop();
        // Its header is sound now.
        server.start_again().stop();
    }
}

// issue 7: every row is refused, and what a spreadsheet did is called what it is
#[test]
fn a_file_in_which_every_row_is_refused_stops_the_start_and_its_names_stay_taken() {
    let mut server = Server::start();
    for name in ["alice", "bob"] {
        drop(server.register(name));
    }
    server.stop();
    let sound = fs::read_to_string(clients_csv(&server)).unwrap();
    fs::write(clients_csv(&server), sound.replace(',', ";")).unwrap();
    refuses_to_start(&server, &["2 of 2 rows", "semicolons", "--accept-loss"]);
    // The times alone: a sealed cell may well have the same letters.
    let spoiled = |cell: &str| match cell.strip_suffix('Z') {
        Some(time) if cell.len() == 24 && cell.starts_with("20") => time.replace('T', " "),
        _ => cell.to_owned(),
    };
    let line = |line: &str| line.split(',').map(spoiled).collect::<Vec<_>>().join(",");
    let rewritten: Vec<_> = sound.lines().map(line).collect();
    fs::write(clients_csv(&server), rewritten.join("\n") + "\n").unwrap();
    refuses_to_start(&server, &["2 of 2 rows", "spreadsheets", "--accept-loss"]);
    let mut started = start_accepting_loss(&server);
    let register = |name: &str| json!({"type": "register", "name": name, "password": PASSWORD});
    for restart in [false, true] {
        if restart {
            started.stop();
            started = server.start_again();
        }
        for name in ["alice", "bob"] {
            started.connect().expect_error("name_taken", register(name));
        }
    }
    started.veche(&["account", "add", "alice"], "some secret\n").success();
    started.login_with("alice", "some secret");
    started.stop();
    fs::remove_file(server.data_dir().join("clients.rejected")).unwrap();
    server.start_again().register("bob");
}

// issue 7: the recipe of docs/operating.md for a lost key
#[test]
fn the_recipe_for_a_lost_key_works() {
    let mut server = Server::start();
    let mut alice = server.member("alice", "lobby");
    alice.say("lobby", "it stays");
    server.console("clear file");
    drop(server.register("bob"));
    server.stop();
    fs::remove_file(server.data_dir().join("key")).unwrap();
    refuses_to_start(&server, &["key", "missing"]);
    let lost = server.dir.path().join("lost");
    fs::create_dir(&lost).unwrap();
    for entry in fs::read_dir(server.data_dir()).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with("clients") || name == "sessions.csv" || name == "devices.csv" {
            fs::rename(entry.path(), lost.join(name)).unwrap();
        }
    }
    let started = start_accepting_loss(&server);
    let mut alice = started.register("alice");
    assert_eq!(alice.whole_history("lobby").len(), 1);
}

// issue 7: one user's `passwd` loop rewrites the whole account file each time
#[test]
fn a_password_change_is_one_row_more() {
    let mut server = Server::start();
    let mut alice = server.register("alice");
    drop((server.register("bob"), server.register("carol")));
    let before = fs::read(clients_csv(&server)).unwrap();
    alice.expect("ok", json!({"type": "passwd", "old": PASSWORD, "new": "a new horse"}));
    let after = fs::read(clients_csv(&server)).unwrap();
    assert_eq!(after.strip_prefix(&before[..]).map(|rest| rest.split(|b| *b == b'\n').count()), Some(2));
    // The row before, copied behind it, does not bring the old password back.
    server.crash();
    let copied = lines(&clients_csv(&server))[1].clone() + "\n";
    let mut bytes = fs::read(clients_csv(&server)).unwrap();
    bytes.extend(copied.as_bytes());
    fs::write(clients_csv(&server), bytes).unwrap();
    server = server.start_again();
    server.log_line(&["WARN", "clients.csv", "a newer row of the same account"]);
    server.connect().expect_error("wrong_password", login("alice", PASSWORD));
    server.login_with("alice", "a new horse");
}
