//! The console as a person has it: at a terminal, with the line editor. tmux stands for the terminal.

use std::process::Command;

use tempfile::TempDir;

use crate::support::server::{SETTINGS, VECHE};
use crate::support::{Client, PASSWORD, eventually, program};

/// A terminal of 100 by 30 with a server in it. Both are ended when this goes.
struct Terminal {
    dir: TempDir,
}

impl Terminal {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let terminal = Terminal { dir };
        let mut command = format!("{VECHE} --listen 127.0.0.1:0 --data-dir data");
        for setting in SETTINGS {
            command += &format!(" --set {setting}");
        }
        // What follows shows how the server ended, and in what state it left the terminal.
        command += "; echo \"ended with $?\"; stty -a | grep -o ' echo '; cat";
        let folder = terminal.dir.path().to_str().expect("UTF-8").to_owned();
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "100",
            "-y",
            "30",
            "-c",
            &folder,
            &command,
        ]);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let socket = self.dir.path().join("tmux");
        let output = Command::new("tmux").arg("-S").arg(socket).args(arguments).output();
        let output = output.expect("this test needs tmux; install it, or run the tests by tests/run");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Types text, or a key by its name.
    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn type_text(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    /// Waits until the screen is as the test wants it.
    fn shows(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        eventually(&format!("the screen shows {what}"), || {
            last = self.tmux(&["capture-pane", "-p"]);
            is_so(last.trim_end()).then(|| last.trim_end().to_owned())
        })
    }

    fn address(&self) -> std::net::SocketAddr {
        let screen = self.shows("the listener's line", |screen| screen.contains("veche>"));
        let line = screen.lines().find_map(|line| line.strip_prefix("listening on "));
        line.expect("a listener").trim().parse().expect("an address")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A server that loses its terminal goes on, as one does that gets a SIGHUP; so it is told to end. One
        // that has ended already cannot be told.
        program::veche(&self.dir.path().join("data"), &["ctl", "shutdown"], "");
        // Then the tmux of this test's own socket.
        let socket = self.dir.path().join("tmux");
        let _ = Command::new("tmux").arg("-S").arg(socket).arg("kill-server").output();
    }
}

// issue 2, line 15
#[test]
fn lines_are_edited_completed_and_remembered() {
    let terminal = Terminal::start();
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
    let terminal = Terminal::start();
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
    let terminal = Terminal::start();
    let address = terminal.address();
    terminal.keys(&["C-d"]);
    terminal.shows("that it goes on", |screen| screen.contains("the server runs on"));
    Client::connect(address);
    terminal.keys(&["C-c"]);
    let screen = terminal.shows("the end", |screen| screen.contains("ended with"));
    assert!(screen.contains("ended with 0"), "{screen}");
    terminal.shows("a terminal that echoes", |screen| screen.lines().any(|line| line.trim() == "echo"));
}
