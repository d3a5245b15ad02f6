//! The bundled client and the netcat helper, as people and scripts use them, against the real server. What they
//! do when a server misbehaves is tested in `client/tests`, against a model that does.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::client::texts;
use crate::support::program::end_of;
use crate::support::server::{Options, VECHE};
use crate::support::terminal::Terminal;
use crate::support::{PASSWORD, Server, eventually};
use crate::terms::{copy, put_back};

/// The client's program, which cargo puts beside the server's when it builds the workspace.
pub fn client_program() -> PathBuf {
    let program = PathBuf::from(VECHE).with_file_name("veche-client");
    assert!(program.exists(), "there is no {}; run `cargo build --workspace` first", program.display());
    program
}

/// The client by lines, for this account and in this server's lobby.
pub fn by_lines(server: &Server, name: &str, options: &[&str]) -> Command {
    let mut command = Command::new(client_program());
    command.arg(server.address.to_string()).args(["--register", "--name", name]).args(options);
    command.env("VECHE_PASSWORD", PASSWORD).env("XDG_STATE_HOME", server.dir.path());
    command
}

pub fn netcat_helper(server: &Server) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/client/veche-nc"));
    command.args([server.address.ip().to_string(), server.address.port().to_string()]);
    command.env("XDG_STATE_HOME", server.dir.path());
    command
}

/// A program that goes on while the test looks at what it prints.
struct Running {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the program starts");
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("a pipe"));
        Running { child, input, output: BufReader::new(output) }
    }

    fn enter(&mut self, line: &str) {
        let input = self.input.as_mut().expect("its input is open");
        writeln!(input, "{line}").expect("the program reads");
    }

    /// The next line of output that has these words; the program is killed with the test when none comes.
    fn line_with(&mut self, words: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            let count = self.output.read_line(&mut line).expect("UTF-8");
            assert!(count > 0, "{words:?} never came, but: {seen}");
            if line.contains(words) {
                return line;
            }
            seen += &line;
        }
    }

    /// Ends its input and waits for its end.
    fn finish(mut self) -> Option<i32> {
        self.input = None;
        self.child.wait().expect("our child").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// issue 2, line 20
#[test]
fn what_is_piped_in_is_said_and_what_is_heard_comes_out_by_lines() {
    let server = Server::start();
    let mut hears = Running::start(by_lines(&server, "hears", &["--json"]));
    let mut alice = server.member("alice", "lobby");
    eventually("the listener is in the lobby", || {
        let who = alice.expect("who", json!({"type": "who", "room": "lobby"}));
        who["names"].as_array().expect("names").contains(&json!("hears")).then_some(())
    });
    let said: Vec<_> = (0..200).map(|number| format!("line {number}: =1+1 \"ü\" 😀")).collect();
    end_of(by_lines(&server, "speaks", &[]), &said.join("\n")).success();
    for text in &said {
        let line = hears.line_with("\"message\"");
        let event: Value = serde_json::from_str(&line).expect("events as they are on the wire");
        assert_eq!((&event["type"], &event["text"]), (&json!("message"), &json!(text)));
    }
    assert_eq!(hears.finish(), Some(0));
    let history = Value::from(alice.whole_history("lobby"));
    assert_eq!(texts(&history), said);
}

// issue 2, line 20
#[test]
fn a_crash_of_the_server_loses_and_doubles_nothing_that_a_client_says() {
    let mut server = Server::start();
    let address = server.address.to_string();
    let mut speaks = Running::start(by_lines(&server, "speaks", &["--json"]));
    let mut alice = server.member("alice", "lobby");
    let mut said = Vec::new();
    for round in 0..3 {
        for number in 0..20 {
            let text = format!("round {round}, line {number}");
            speaks.enter(&text);
            said.push(text);
        }
        alice.events_until(&format!("round {round}, line 9"));
        server.crash();
        server = Options::new().listen(&address).start_in(Arc::clone(&server.dir));
        alice = server.login("alice");
        alice.join("lobby");
    }
    assert_eq!(speaks.finish(), Some(0), "every line has its receipt in the end");
    let history = Value::from(alice.whole_history("lobby"));
    assert_eq!(texts(&history), said);
}

// issue 2, line 20
#[test]
fn a_person_is_asked_told_and_asked_again() {
    let server = Server::start();
    let terminal = Terminal::running(&client_program().display().to_string());
    terminal.has("Host [127.0.0.1]:");
    terminal.enter("");
    terminal.has("Port [7878]:");
    terminal.enter("1");
    terminal.has("refused the connection");
    terminal.enter("");
    terminal.shows("the port again", |screen| screen.matches("Port [").count() == 2);
    terminal.enter(&server.address.port().to_string());
    terminal.has("Name:");
    terminal.enter("Zoë");
    terminal.has("not known here");
    terminal.enter("y");
    terminal.has("New password");
    terminal.enter(PASSWORD);
    terminal.has("The same again:");
    terminal.enter(PASSWORD);
    let screen = terminal.has("this is your first visit");
    assert!(!screen.contains(PASSWORD), "{screen}");

    let mut bob = server.member("bob", "lobby");
    terminal.has("bob joined");
    bob.say("lobby", "hello there");
    terminal.has("bob: hello there");
    terminal.type_text("half a li");
    bob.tell("zoë", "psst");
    terminal.shows("the line that is typed, whole", |screen| {
        screen.contains("psst") && screen.ends_with("lobby> half a li")
    });
    terminal.enter("ne");
    assert_eq!(bob.event_of("message")["text"], "half a line");
    for (command, answer) in [
        ("/who", "bob, zoë"),
        ("/rooms", "lobby (2)"),
        ("/hsitory", "did you mean /history?"),
        ("/history", "half a line"),
        ("/help", "/passwd"),
        ("/join attic", "attic>"),
        ("/leave attic", "lobby>"),
    ] {
        terminal.enter(command);
        terminal.has(answer);
    }
    terminal.enter("/tell bob a secret");
    assert_eq!(bob.event_of("message")["text"], "a secret");
    terminal.enter("exit");
    assert_eq!(bob.event_of("presence")["status"], "left");
    terminal.has("ended with 0");
}

// issue 2, line 20
#[test]
fn nothing_that_others_say_drives_the_terminal() {
    let server = Server::start();
    let mut mallory = server.member("mallory", "lobby");
    let login = format!("{} {} --name alice", client_program().display(), server.address);
    server.register("alice");
    let terminal = Terminal::running(&login);
    terminal.has("Password");
    terminal.enter(PASSWORD);
    terminal.has("lobby>");
    // What the server lets through can still deceive: the order of writing, and lines that look like others'.
    mallory.say("lobby", "first\n12:00 alice: forged \u{202e}desrever");
    let screen = terminal.has("forged");
    assert!(screen.contains("\\u{202e}desrever"), "{screen}");
    let forged = |line: &&str| line.starts_with("12:00 alice");
    assert_eq!(screen.lines().find(forged), None, "{screen}");
    terminal.keys(&["C-d"]);
    terminal.has("ended with 0");
}

// issue 2, line 20
#[test]
fn a_connection_that_drops_is_told_and_comes_back_with_what_was_missed() {
    let mut server = Server::start();
    let address = server.address.to_string();
    server.register("alice");
    let terminal = Terminal::running(&format!("{} {address} --name alice", client_program().display()));
    terminal.has("Password");
    terminal.enter(PASSWORD);
    terminal.has("lobby>");
    server.crash();
    terminal.has("The connection is lost");
    terminal.enter("said while it was away");
    server = Options::new().listen(&address).start_in(Arc::clone(&server.dir));
    let mut bob = server.register("bob");
    bob.join("lobby");
    bob.say("lobby", "you missed this");
    terminal.has("Connected again");
    terminal.has("you missed this");
    eventually("the line that waited is said", || {
        let history = Value::from(bob.whole_history("lobby"));
        texts(&history).contains(&"said while it was away".to_owned()).then_some(())
    });
    terminal.enter("/exit");
    terminal.has("ended with 0");
}

// issue 7, "Connected, and deaf"
#[test]
fn a_client_hears_what_is_said_after_a_history_was_put_back_under_it() {
    let mut server = Server::start();
    let mut bob = server.member("bob", "lobby");
    server.register("alice");
    server.register("script");
    bob.say("lobby", "in the copy");
    let backup = tempfile::tempdir().expect("a folder");
    copy(&server.data_dir(), backup.path());
    let login = format!("{} {} --name alice", client_program().display(), server.address);
    let terminal = Terminal::running(&login);
    terminal.has("Password");
    terminal.enter(PASSWORD);
    terminal.has("lobby>");
    let mut script = Running::start(by_lines(&server, "script", &[]));
    while bob.event_of("presence")["name"] != "script" {}
    for number in 0..5 {
        bob.say("lobby", &format!("lost {number}"));
        bob.tell("alice", &format!("lost direct message {number}"));
    }
    terminal.has("lost direct message 4");
    script.line_with("lost 4");

    put_back(&mut server, backup.path());
    let mut bob = server.login("bob");
    bob.join("lobby");
    bob.say("lobby", "said behind the copy");
    bob.tell("alice", "a direct message behind the copy");
    terminal.has("history was put back");
    terminal.has("bob: said behind the copy");
    terminal.has("a direct message behind the copy");
    script.line_with("said behind the copy");
    bob.say("lobby", "and heard");
    terminal.has("bob: and heard");
    script.line_with("and heard");
    terminal.enter("answered");
    assert_eq!(bob.event_of("message")["text"], "answered");
    assert_eq!(script.finish(), Some(0));
}

// issue 2, line 21
#[test]
fn the_netcat_helper_registers_joins_says_and_hears() {
    let server = Server::start();
    let mut alice = server.member("alice", "lobby");
    let mut bob = Running::start(netcat_helper(&server));
    bob.enter(&format!("register bob {}", PASSWORD.replace(' ', "-")));
    bob.line_with("first visit");
    bob.enter("join lobby");
    bob.line_with("lobby");
    assert_eq!(alice.event_of("presence")["name"], "bob");
    bob.enter("hello from netcat");
    assert_eq!(alice.event_of("message")["text"], "hello from netcat");
    bob.enter("join a b");
    assert_eq!(alice.event_of("message")["text"], "join a b", "a command only in its exact form");
    bob.enter("/say who");
    assert_eq!(alice.event_of("message")["text"], "who");
    bob.enter("tell alice psst");
    let direct_message = alice.event_of("message");
    assert_eq!((&direct_message["text"], &direct_message["to"]), (&json!("psst"), &json!("alice")));
    bob.enter(r#"{"type":"say","room":"lobby","text":"raw"}"#);
    assert_eq!(alice.event_of("message")["text"], "raw", "the token is added");
    bob.enter("who");
    bob.line_with("alice");
    alice.say("lobby", "hello to netcat");
    bob.line_with("hello to netcat");
    bob.enter(r#"{"type":"join","room":"lobby","after":9,"term":"another"}"#);
    bob.line_with("put back");
    bob.enter("exit");
    assert_eq!(alice.event_of("presence")["status"], "left");
    assert_eq!(bob.finish(), Some(0));
}
