//! A terminal for a program to run in, as a person has it. tmux is the terminal.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::eventually;

/// A terminal of 100 by 30 with a program in it. Both are ended when this goes.
pub struct Terminal {
    dir: TempDir,
}

impl Terminal {
    /// Runs a shell's command line in a folder of its own.
    pub fn running(command: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let terminal = Terminal { dir };
        // What follows shows how the program ended, and in what state it left the terminal.
        // What it remembers between two runs is its own, too.
        let state = "XDG_STATE_HOME=$PWD/state; export XDG_STATE_HOME";
        let command = format!("{state}; {command}; echo \"ended with $?\"; stty -a | grep -o ' echo '; cat");
        let folder = terminal.dir.path().to_str().expect("UTF-8").to_owned();
        let size = ["-x", "100", "-y", "30"];
        terminal.tmux(
            &[&["-f", "/dev/null", "new-session", "-d"][..], &size, &["-c", &folder, &command]].concat(),
        );
        terminal
    }

    /// The folder that the program runs in.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let socket = self.dir.path().join("tmux");
        let output = Command::new("tmux").arg("-u").arg("-S").arg(socket).args(arguments).output();
        let output = output.expect("this test needs tmux; install it, or run the tests by tests/run");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Types keys by their names.
    pub fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types text.
    pub fn type_text(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    /// Pastes text, as a terminal does that marks what is pasted.
    pub fn paste(&self, text: &str) {
        self.tmux(&["set-buffer", "-b", "pasted", "--", text]);
        self.tmux(&["paste-buffer", "-p", "-r", "-b", "pasted"]);
    }

    /// Makes the window this wide, in cells.
    pub fn resize(&self, width_cells: u16) {
        self.tmux(&["resize-window", "-x", &width_cells.to_string(), "-y", "30"]);
    }

    /// What is on the screen now.
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"]).trim_end().to_owned()
    }

    /// Types a line and Enter.
    pub fn enter(&self, line: &str) {
        if !line.is_empty() {
            self.type_text(line);
        }
        self.keys(&["Enter"]);
    }

    /// Waits until the screen is as the test wants it.
    pub fn shows(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        eventually(&format!("the screen shows {what}"), || {
            last = self.screen();
            is_so(&last).then(|| last.clone())
        })
    }

    /// Waits until the screen has these words.
    pub fn has(&self, words: &str) -> String {
        self.shows(words, |screen| screen.contains(words))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Ends the tmux server of this test's socket, and with it what runs in it.
        let socket = self.dir.path().join("tmux");
        let _ = Command::new("tmux").arg("-S").arg(socket).arg("kill-server").output();
    }
}
