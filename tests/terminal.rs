//! The console as a person has it: at a terminal, with the line editor.

use std::net::SocketAddr;
use std::ops::Deref;

use crate::support::server::{SETTINGS, VECHE};
use crate::support::terminal::Terminal;
use crate::support::{Client, PASSWORD, program};

/// A server in a terminal, with a data directory of its own. It is told to end when this goes: a server that
/// loses its terminal goes on, as one does that gets a SIGHUP.
struct Console(Terminal);

impl Console {
    fn start() -> Self {
        let mut command = format!("{VECHE} --listen 127.0.0.1:0 --data-dir data");
        for setting in SETTINGS {
            command += &format!(" --set {setting}");
        }
        Console(Terminal::running(&command))
    }

    fn address(&self) -> SocketAddr {
        let screen = self.has("veche>");
        let line = screen.lines().find_map(|line| line.strip_prefix("listening on "));
        line.expect("a listener").trim().parse().expect("an address")
    }
}

impl Deref for Console {
    type Target = Terminal;

    fn deref(&self) -> &Terminal {
        &self.0
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // One that has ended already cannot be told, and need not.
        program::veche(&self.folder().join("data"), &["ctl", "shutdown"], "");
    }
}

// issue 2, line 15
#[test]
fn lines_are_edited_completed_and_remembered() {
    let terminal = Console::start();
    terminal.address();
    terminal.type_text("whx");
    terminal.keys(&["BSpace"]);
    terminal.type_text("o");
    terminal.keys(&["Enter"]);
    terminal.shows("the answer", |screen| screen.contains("Nobody is online."));
    terminal.keys(&["Up"]);
    terminal.shows("the line before", |screen| screen.ends_with("veche> who"));
    terminal.keys(&["C-u"]);
    terminal.type_text("stat");
    terminal.keys(&["Tab"]);
    terminal.shows("the completed command", |screen| screen.ends_with("veche> status"));
    terminal.keys(&["Enter"]);
    terminal.shows("the answer", |screen| screen.contains("taking connections"));
}

// issue 2, line 15
#[test]
fn output_does_not_tear_the_line_that_is_being_typed() {
    let terminal = Console::start();
    let address = terminal.address();
    terminal.type_text("start log");
    terminal.keys(&["Enter"]);
    terminal.shows("the answer", |screen| screen.contains("are shown here"));
    terminal.type_text("say half of a sent");
    terminal.shows("the begun line", |screen| screen.ends_with("veche> say half of a sent"));
    let mut alice = Client::connect(address);
    alice.open("register", "alice", PASSWORD);
    let screen = terminal.shows("the log above the line", |screen| {
        screen.contains("registered") && screen.ends_with("veche> say half of a sent")
    });
    assert_eq!(screen.matches("half of a sent").count(), 1, "{screen}");
    terminal.type_text("ence");
    terminal.keys(&["Enter"]);
    assert_eq!(alice.event()["text"], "half of a sentence");
}

// issue 2, lines 15 and 18
#[test]
fn the_end_of_the_input_leaves_it_up_and_the_end_of_the_server_leaves_the_terminal_well() {
    let terminal = Console::start();
    let address = terminal.address();
    terminal.keys(&["C-d"]);
    terminal.shows("that it goes on", |screen| screen.contains("the server runs on"));
    Client::connect(address);
    terminal.keys(&["C-c"]);
    let screen = terminal.shows("the end", |screen| screen.contains("ended with"));
    assert!(screen.contains("ended with 0"), "{screen}");
    terminal.shows("a terminal that echoes", |screen| screen.lines().any(|line| line.trim() == "echo"));
}
