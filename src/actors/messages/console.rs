//! What is said to the ConsoleActor.

use actix::Message;
use serde::Serialize;

use super::observe::Observe;

handle! {
    /// Who does what the operator says.
    ConsoleHandle, ConsoleWays {
        run: RunCommand,
        observe: Observe<ConsoleSnapshot>,
    }
}

/// From the terminal's thread and the control socket: do what this line says. Answers what was done, or why
/// not, in words for a person: one or more lines without a newline at the end, safe for a terminal. Commands
/// that come by different ways run side by side. An actor that has stopped is a `MailboxError`: the server is
/// stopping.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<CommandOutput, String>")]
pub struct RunCommand {
    /// The command, as it was typed.
    pub line: String,
}

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// The answer.
    pub text: String,
    /// What `status` found to be wrong, in a sentence; `veche ctl status` fails with it.
    pub wrong: Option<String>,
}

impl From<String> for CommandOutput {
    fn from(text: String) -> Self {
        CommandOutput { text, wrong: None }
    }
}

/// What the console tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConsoleSnapshot {
    /// Lines that came since the start.
    pub commands: u64,
    /// Commands that are not answered yet.
    pub running: usize,
}
