//! The netcat helper, where there are a Python and a netcat to run it.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::model::{AT, Faults, Server};

const HELPER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/veche-nc");

/// Whether this machine can run it at all.
fn is_possible() -> bool {
    let there = |program: &str| Command::new(program).arg("-h").output().is_ok();
    let possible = there("python3") && there("nc");
    if !possible {
        eprintln!("skipped: this needs python3 and nc");
    }
    possible
}

fn run(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(HELPER)
        .args(arguments)
        .env("LC_ALL", "C")
        .env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the helper starts");
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().expect("the helper ends")
}

#[test]
fn lines_are_commands_only_in_their_exact_form() {
    if !is_possible() {
        return;
    }
    let server = Server::start(Faults { limit_each: Some(4), ..Faults::default() });
    server.bob_says("old\nnews \u{202e}");
    let input = "login ann password\njoin lobby\nhällo\njoin a b\nwho is there\nwho\n/say who\n{\"type\":\"ping\"}\n\
                 {no json\nlogin works for me\n";
    let output = run(&["127.0.0.1", &server.port.to_string()], input);
    let shown = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0), "{shown}{:?}", output.stderr);
    let texts = server.texts();
    assert_eq!(texts[1..], ["hällo", "join a b", "who is there", "who", "{no json", "login works for me"]);
    for part in [r"#lobby bob: old\nnews \u{202e}", "online: ann, bob", "stored as 2", "bye (exit)"] {
        assert!(shown.contains(part), "{part} is missing in {shown}");
    }
    assert_eq!(server.state().asked.iter().filter(|asked| *asked == "who").count(), 1);
}

#[test]
fn what_does_not_work_is_told() {
    if !is_possible() {
        return;
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = closed.local_addr().expect("bound").port().to_string();
    drop(closed);
    let output = run(&["127.0.0.1", &port], "");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1, "{output:?}");
    for wrong in [&["127.0.0.1"][..], &["127.0.0.1", "0"], &["-e", "80"], &["h", "80", "x"]] {
        assert_eq!(run(wrong, "").status.code(), Some(2), "{wrong:?}");
    }
    let server = Server::start(Faults::default());
    let output = run(&["127.0.0.1", &server.port.to_string()], "hello\nlogin ann wrong\n");
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("wrong_password"));
    assert!(server.texts().is_empty(), "nothing is said before there is a session");
}

// issue 7: "`veche-nc` shows times without dates for older days"
#[test]
fn older_days_have_their_date() {
    if !is_possible() {
        return;
    }
    let server = Server::start(Faults::default());
    server.bob_says("of old");
    let output = run(&["127.0.0.1", &server.port.to_string()], "login ann password\njoin lobby\n");
    let shown = String::from_utf8(output.stdout).expect("UTF-8");
    let date = shown.lines().find(|line| line.contains("of old")).expect("shown").split(' ').next();
    assert_eq!(date, AT.get(..10), "{shown}");
}
