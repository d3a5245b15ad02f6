//! Calls of the program that end by themselves: `ctl`, `account`, `--print-config`, and servers that refuse
//! to start.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::server::{SETTINGS, VECHE};

/// How a call ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit status.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs `veche` with these arguments on a data directory, in the folder above it, with the tests' settings.
pub fn veche(data_dir: &Path, arguments: &[&str], input: &str) -> Ended {
    let mut command = Command::new(VECHE);
    command.current_dir(data_dir.parent().expect("a folder above")).arg("--data-dir").arg(data_dir);
    for setting in SETTINGS {
        command.args(["--set", setting]);
    }
    command.args(arguments);
    end_of(command, input)
}

/// Runs a command that ends by itself.
pub fn end_of(mut command: Command, input: &str) -> Ended {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A program that ends without reading its input is in its right.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("our child");
    let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Ended {
    /// It ended well; its output.
    pub fn success(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// It failed with this status and one sentence of its own on standard error, which has these words; that
    /// sentence.
    pub fn failure(self, code: i32, words: &[&str]) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        let told = self.stderr.trim_end();
        assert!(!told.is_empty() && !told.contains("panicked"), "{self:?}");
        for word in words {
            assert!(told.contains(word), "{word:?} is not in {told:?}");
        }
        told.to_owned()
    }
}
