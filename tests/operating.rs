//! The life of the process: where it listens, how it pauses, and how it ends.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::sync::Arc;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::{id, ids};
use crate::support::files::files_below;
use crate::support::{Client, Options, Server, eventually, program};

/// The server must not start, with this status and one sentence that has these words.
fn refuses_to_start(options: Options, code: i32, words: &[&str]) {
    let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
    match options.try_start_in(&dir) {
        Ok(_) => panic!("it started"),
        Err((status, stderr)) => {
            assert_eq!(status.code(), Some(code), "{stderr}");
            assert_eq!(stderr.trim_end().lines().count(), 1, "one sentence: {stderr}");
            for word in words {
                assert!(stderr.contains(word), "{word:?} is not in {stderr}");
            }
        }
    }
}

// issue 2, line 13
#[test]
fn the_line_of_the_listener_names_a_port_that_takes_clients() {
    for listen in ["127.0.0.1:0", "localhost:0", "[::1]:0"] {
        let server = Options::new().listen(listen).start();
        assert_ne!(server.address.port(), 0);
        server.connect().expect("pong", json!({"type": "ping"}));
        server.log_line(&["listening on", &server.address.to_string()]);
    }
}

// issue 2, line 13
#[test]
fn a_busy_port_moves_on_to_the_next() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port();
    let server = Options::new().listen(&format!("127.0.0.1:{port}")).start();
    let moved = server.address.port();
    assert!(moved > port && moved - port <= 100, "{port} → {moved}");
    server.register("alice");
}

// issue 2, line 13
#[test]
fn a_busy_port_is_an_error_when_it_has_to_be_this_one() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = busy.local_addr().unwrap().to_string();
    refuses_to_start(
        Options::new().listen(&listen).argument("--strict-port"),
        1,
        &[&listen, "in use", "--listen"],
    );
    refuses_to_start(Options::new().listen(&listen).environment("VECHE_STRICT_PORT", "true"), 1, &["in use"]);
}

// issue 2, line 13
#[test]
fn an_address_that_is_none_is_told_with_what_to_do() {
    refuses_to_start(Options::new().listen("samovar"), 2, &["samovar", "HOST:PORT"]);
    refuses_to_start(Options::new().listen("192.0.2.1:0"), 1, &["192.0.2.1:0", "check the address"]);
}

// issue 2, line 14
#[test]
fn while_it_pauses_clients_wait_and_get_in_when_it_goes_on() {
    let mut server = Server::start();
    let mut inside = server.member("inside", "lobby");
    let answer = server.console("STOP listen");
    assert!(answer.contains("wait"), "{answer}");
    assert!(server.console("status").contains("stopped"), "it says so");
    let mut waiting: Vec<_> = (0..10).map(|_| Client::raw(server.address)).collect();
    for client in &mut waiting {
        client.send(json!({"type": "ping", "ref": "from outside"}));
    }
    for n in 0..50 {
        inside.say("lobby", &format!("who is in stays in {n}"));
    }
    for client in &waiting {
        client.stream().set_nonblocking(true).unwrap();
        let nothing = client.stream().peek(&mut [0]).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock, "nobody has talked to it");
        client.stream().set_nonblocking(false).unwrap();
    }
    assert!(server.console("stop listen").contains("already"));
    server.console("start listen");
    for client in &mut waiting {
        assert_eq!(client.next()["type"], "welcome");
        assert_eq!(client.reply(), json!({"type": "pong", "ref": "from outside"}));
    }
    assert!(server.console("start listen").contains("already"));
    server.register("newcomer");
}

// issue 2, line 18
#[test]
fn it_ends_well_however_it_is_asked() {
    for how in ["shutdown", "SIGTERM", "SIGINT", "ctl"] {
        let mut server = Server::start();
        let mut alice = server.member("alice", "lobby");
        let mut stranger = server.connect();
        alice.say("lobby", "before the end");
        match how {
            "shutdown" => server.type_line("Shutdown"),
            "SIGTERM" => server.signal(Signal::TERM),
            "SIGINT" => server.signal(Signal::INT),
            _ => drop(server.veche(&["ctl", "shutdown"], "").success()),
        }
        alice.expect_bye("shutting_down");
        stranger.expect_bye("shutting_down");
        assert_eq!(server.wait().code(), Some(0), "{how}");
        assert_eq!(server.stderr(), "", "{how}");
        server.log_line(&["stopped"]);
    }
}

// issue 2, line 18
#[test]
fn what_was_accepted_before_the_end_is_stored_and_acknowledged() {
    let mut server = Server::start();
    let (mut alice, mut bob) = (server.member("alice", "lobby"), server.member("bob", "lobby"));
    for n in 0..300 {
        alice.send(json!({"type": "say", "room": "lobby", "text": n.to_string()}));
    }
    alice.reply();
    server.signal(Signal::TERM);
    let mut receipts = vec![1];
    let bye = loop {
        let reply = alice.reply();
        match reply["type"].as_str() {
            Some("ok") => receipts.push(id(&reply)),
            Some("error") => assert_eq!(reply["code"], "shutting_down", "{reply}"),
            _ => break reply,
        }
    };
    assert_eq!((&bye["type"], &bye["reason"]), (&json!("bye"), &json!("shutting_down")));
    let mut heard = Vec::new();
    loop {
        let frame = bob.next();
        match frame["type"].as_str() {
            Some("message") => heard.push(id(&frame)),
            Some("bye") => break,
            _ => {}
        }
    }
    drop((alice, bob));
    assert_eq!(server.wait().code(), Some(0));
    server = server.start_again();
    let stored: Vec<Value> = server.login("alice").whole_history("lobby");
    assert_eq!(ids(&json!(stored)), receipts, "each receipt is true, and nothing else was stored");
    assert_eq!(heard, receipts, "and all of it was delivered");
}

// issue 2, line 18
#[test]
fn a_second_signal_ends_it_at_once() {
    let mut server =
        Options::new().set("limits.close_timeout_seconds=600").set("limits.shutdown_seconds=600").start();
    // This one does not hang up when it is told goodbye, and so could hold the end up for ten minutes.
    let mut alice = server.register("alice");
    server.signal(Signal::TERM);
    alice.expect_bye("shutting_down");
    assert!(server.is_running());
    server.signal(Signal::TERM);
    server.wait();
}

// issue 2, line 18
#[test]
fn signals_that_are_no_end_are_none() {
    let mut server = Server::start();
    let mut alice = server.register("alice");
    let log = server.data_dir().join("veche.log");
    fs::rename(&log, server.dir.path().join("veche.log.1")).unwrap();
    server.signal(Signal::HUP);
    eventually("the log is opened anew", || log.exists().then_some(()));
    server.signal(Signal::PIPE);
    alice.expect("who", json!({"type": "who"}));
    assert!(server.is_running());
}

// issue 2, line 19
#[test]
fn a_configuration_that_became_wrong_keeps_the_old_one() {
    let server = Server::start();
    let mut alice = server.register("alice");
    fs::write(server.dir.path().join("veche.toml"), "[limits]\nbad_frame = 1\n").unwrap();
    server.signal(Signal::HUP);
    server.log_line(&["WARN", "SIGHUP", "veche.toml", "bad_frame"]);
    alice.expect("who", json!({"type": "who"}));
}

// issue 2, line 18
#[test]
fn a_second_server_on_the_directory_ends_at_once_and_says_whose_it_is() {
    let mut server = Server::start();
    let mut alice = server.register("alice");
    let Err((status, stderr)) = Options::new().try_start_in(&server.dir) else { panic!("it started") };
    assert_eq!(status.code(), Some(1));
    assert!(stderr.contains(&server.pid().to_string()) && stderr.contains("data"), "{stderr}");
    alice.expect("who", json!({"type": "who"}));
    // After a crash nobody has to clean up.
    server.crash();
    server.start_again().login("alice");
}

// issue 2, line 15
#[test]
fn the_end_of_its_input_leaves_the_server_up() {
    let mut server = Server::start();
    server.console("status");
    server.close_input();
    let _alice = server.register("alice");
    assert!(server.veche(&["ctl", "who"], "").success().contains("alice"), "`ctl` still reaches it");
    assert!(server.is_running());
}

// issue 2, line 15
#[test]
fn an_output_that_nobody_reads_leaves_the_server_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Options::new().command(&dir.path().join("data")).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    // The pipe is closed by now; the server writes into nothing.
    let mut stdin = child.stdin.take().unwrap();
    let address = line.trim_end().strip_prefix("listening on ").expect("a listener").parse().unwrap();
    stdin.write_all(b"start log\nstatus\nhelp\n").unwrap();
    let mut alice = Client::connect(address);
    alice.open("register", "alice", "correct horse");
    stdin.write_all(b"who\nsay are you there?\n").unwrap();
    assert_eq!(alice.event()["text"], "are you there?", "commands are still done");
    drop(alice);
    stdin.write_all(b"shutdown\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

// issue 2, line 16
#[test]
fn ctl_does_console_commands_and_tells_how_they_went() {
    let mut server = Server::start();
    let mut alice = server.member("alice", "lobby");
    assert_eq!(server.veche(&["ctl", "who"], "").success().trim_end(), server.console("who"));
    server.veche(&["ctl", "say", "#lobby", "tea", "is", "ready"], "").success();
    assert_eq!(alice.message()["text"], "tea is ready");
    server.veche(&["ctl", "shutdwon"], "").failure(1, &["shutdown"]);
    server.veche(&["ctl", "kick", "nobody"], "").failure(1, &["nobody"]);
    server.veche(&["ctl"], "").failure(2, &["COMMAND"]);
    let stopped = server.data_dir();
    server.stop();
    program::veche(&stopped, &["ctl", "status"], "").failure(1, &["no veche server is running"]);
}

// issue 2, line 16
#[test]
fn the_control_socket_is_its_owners_alone() {
    let server = Server::start();
    let sockets: Vec<_> = fs::read_dir(server.data_dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.symlink_metadata().unwrap().file_type().is_socket())
        .collect();
    assert_eq!(sockets.len(), 1, "{sockets:?}");
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&sockets[0]), 0o600);
    assert_eq!(mode(&server.data_dir()), 0o700);
}

// issue 2, line 1
#[test]
fn connections_beyond_the_descriptors_do_not_harm_those_that_are_in() {
    let few = ["sh", "-c", "ulimit -n 64; exec \"$@\"", "sh"];
    let mut server = Options::new().wrapped_in(&few).start();
    let mut alice = server.member("alice", "lobby");
    // They wait, and the first message and a new account still find the descriptors that they need.
    let crowd: Vec<_> = (0..100).map(|_| Client::raw(server.address)).collect();
    server.log_line(&["WARN", "cannot take connections"]);
    for n in 0..20 {
        alice.say("lobby", &format!("still stored {n}"));
    }
    alice.expect("ok", json!({"type": "passwd", "old": "correct horse battery", "new": "a new horse"}));
    assert!(server.is_running());
    drop(crowd);
    server.connect().expect("pong", json!({"type": "ping"}));
    assert_eq!(alice.whole_history("lobby").len(), 20);
}

// issue 2, lines 8 and 10: the data directory is its owner's alone, also after a backup was restored
#[test]
fn files_that_are_found_open_to_others_are_closed() {
    let mut server = Server::start();
    server.member("alice", "lobby").say("lobby", "so that there is a history");
    server.stop();
    let files: Vec<_> = files_below(&server.data_dir())
        .into_iter()
        .filter(|file| file.is_file() && !file.ends_with("key"))
        .collect();
    assert!(files.len() >= 5, "{files:?}");
    for file in &files {
        fs::set_permissions(file, Permissions::from_mode(0o644)).expect("they are ours");
    }
    let _server = server.start_again();
    for file in &files {
        let mode = fs::metadata(file).expect("it is still there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}
