//! What is said to the ConsoleActor.

use actix::Message;

/// From the terminal's thread and the control socket: do what this line says. Answers what was done, or why
/// not, in words for a person: one or more lines without a newline at the end, safe for a terminal. Commands
/// that come by different ways run side by side. An actor that has stopped is a `MailboxError`: the server is
/// stopping.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<String, String>")]
pub struct RunCommand {
    /// The command, as it was typed.
    pub line: String,
}
