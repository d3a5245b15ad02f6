//! Line mode, through the program.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use serde_json::json;

use crate::model::{Faults, Server};

fn command(port: u16, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_veche-client"));
    command.arg(format!("127.0.0.1:{port}")).args(options);
    command
        .env("VECHE_PASSWORD", "password")
        .env("LC_ALL", "C")
        .env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the client over this input to its end.
fn run(mut command: Command, input: &str) -> Output {
    let mut child = command.spawn().expect("the client starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_owned();
    // The client may end before it has read everything; that is for the test to judge.
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().expect("the client ends");
    writer.join().expect("the writer only writes");
    output
}

fn lines(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("line {number}")).collect()
}

fn assert_done(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn each_line_is_said_in_order_and_receipted() {
    let server = Server::start(Faults::default());
    let said = lines(3_000);
    assert_done(&run(command(server.port, &["--name", "Ann"]), &said.join("\n")));
    assert_eq!(server.texts(), said);
    assert_eq!(server.state().asked.last().map(String::as_str), Some("exit"));
}

#[test]
fn lost_receipts_cost_neither_a_message_nor_the_order() {
    for forgets_tokens in [false, true] {
        let faults = Faults { no_receipt_for: vec![1, 2, 150], forgets_tokens, ..Faults::default() };
        let server = Server::start(faults);
        let said = lines(200);
        assert_done(&run(command(server.port, &["--name", "ann"]), &said.join("\n")));
        assert_eq!(server.texts(), said);
    }
}

#[test]
fn what_is_too_fast_for_the_server_waits_in_order() {
    let server = Server::start(Faults { limit_each: Some(3), ..Faults::default() });
    let said = lines(60);
    assert_done(&run(command(server.port, &["--name", "ann"]), &said.join("\n")));
    assert_eq!(server.texts(), said);
}

#[test]
fn nothing_but_exit_is_a_command_and_what_cannot_be_said_is_told() {
    let server = Server::start(Faults::default());
    let input = format!("/join x\n\n//y\n{}\na\u{1b}b\nexit now\nexit\nnever\n", "z".repeat(5_000));
    let output = run(command(server.port, &["--name", "ann"]), &input);
    assert_eq!(output.status.code(), Some(1), "not everything was said: {output:?}");
    assert_eq!(server.texts(), ["/join x", "//y", "exit now"]);
    assert_eq!(server.state().asked.last().map(String::as_str), Some("exit"));
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(told.contains("Line 4 was skipped") && told.contains("Line 5 was skipped"), "{told}");
}

#[test]
fn an_account_is_made_when_it_is_asked_for() {
    let server = Server::start(Faults::default());
    let output = run(command(server.port, &["--name", "new"]), "x\n");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1, "{output:?}");
    assert_done(&run(command(server.port, &["--name", "new", "--register"]), "x\n"));
    assert_done(&run(command(server.port, &["--name", "new", "--register"]), "y\n"));
    assert_eq!(server.texts(), ["x", "y"]);
}

#[test]
fn failures_are_one_sentence_and_wrong_arguments_are_two() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = closed.local_addr().expect("bound").port();
    drop(closed);
    let output = run(command(port, &["--name", "ann"]), "");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1, "{output:?}");
    let wrong: [&[&str]; 4] =
        [&[], &["--name", "a b"], &["--frobnicate"], &["--name", "ann", "--room", "../x"]];
    for options in wrong {
        assert_eq!(run(command(port, options), "").status.code(), Some(2), "{options:?}");
    }
    let mut without_password = command(port, &["--name", "ann"]);
    without_password.env_remove("VECHE_PASSWORD");
    assert_eq!(run(without_password, "").status.code(), Some(2));
}

/// A client that runs while the test goes on.
struct Running {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Running {
    fn start(server: &Server, options: &[&str]) -> Self {
        let mut child =
            command(server.port, options).stderr(Stdio::null()).spawn().expect("the client starts");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("piped"));
        server.until_joined();
        Running { child, input, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("UTF-8");
        line.trim_end_matches('\n').to_owned()
    }

    fn end(mut self) -> Option<i32> {
        drop(self.input.take());
        self.child.wait().expect("the client ends").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that failed leaves no client behind; one that ended cannot be killed, and need not be.
        let _ = self.child.kill();
    }
}

const AT: &str = "2026-11-21T18:05:21.311Z";

#[test]
fn each_event_is_one_line() {
    let server = Server::start(Faults::default());
    let mut client = Running::start(&server, &["--name", "ann"]);
    server.bob_says("a\nb \\ \u{202e}c\u{1b}");
    server.send(&json!({"type": "presence", "room": "lobby", "name": "carl", "status": "left", "at": AT}));
    server.send(&json!({"type": "message", "id": 900, "prev": 0, "at": AT, "to": "ann", "from": "bob", "text": "psst"}));
    server.send(&json!({"type": "notice", "text": "Tea is ready.", "at": AT}));
    assert_eq!(client.line(), format!(r"{AT} #lobby bob: a\nb \\ \u{{202e}}c\u{{1b}}"));
    assert_eq!(client.line(), format!("{AT} #lobby * carl left"));
    assert_eq!(client.line(), format!("{AT} @bob bob: psst"));
    assert_eq!(client.line(), format!("{AT} ! Tea is ready."));
    assert_eq!(client.end(), Some(0));
}

#[test]
fn json_is_what_the_wire_had_and_what_was_missed_comes_once() {
    let server = Server::start(Faults::default());
    server.bob_says("before");
    let mut client = Running::start(&server, &["--name", "ann", "--json"]);
    let event = r#"{"type":"notice","text":"é \\n","at":"2026-11-21T18:05:21.311Z","new":1}"#;
    server.send(&serde_json::from_str(event).expect("JSON"));
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&client.line()).expect("JSON"),
        serde_json::from_str::<serde_json::Value>(event).expect("JSON")
    );
    server.bob_says("one");
    server.cut();
    for text in ["two", "three", "four", "five", "six"] {
        server.bob_says(text);
    }
    server.until_joined();
    server.bob_says("seven");
    for text in ["one", "two", "three", "four", "five", "six", "seven"] {
        let line: serde_json::Value = serde_json::from_str(&client.line()).expect("JSON");
        assert_eq!((&line["type"], &line["text"]), (&json!("message"), &json!(text)));
    }
    assert_eq!(client.end(), Some(0));
}

#[test]
fn letters_from_before_the_login_never_come_and_those_of_a_lost_connection_do() {
    let server = Server::start(Faults::default());
    (0..5).for_each(|number| server.bob_tells(&format!("old {number}")));
    let mut client = Running::start(&server, &["--name", "ann"]);
    server.until("the old letters were passed over", |state| {
        state.asked.iter().filter(|kind| *kind == "inbox").count() == 3
    });
    server.bob_tells("one");
    assert_eq!(client.line(), format!("{AT} @bob bob: one"));
    server.cut();
    server.bob_tells("two");
    server.until_joined();
    server.bob_tells("three");
    assert_eq!(client.line(), format!("{AT} @bob bob: two"));
    assert_eq!(client.line(), format!("{AT} @bob bob: three"));
    assert_eq!(client.end(), Some(0));
}

#[test]
fn a_kick_ends_it_with_a_sentence() {
    let server = Server::start(Faults::default());
    let mut client = Running::start(&server, &["--name", "ann", "--json"]);
    server.send(&json!({"type": "bye", "reason": "kicked", "text": "Out."}));
    assert!(client.line().contains("kicked"));
    assert_eq!(client.line(), "");
    assert_eq!(client.end(), Some(1));
}
