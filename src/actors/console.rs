//! The ConsoleActor: the operator's commands, whether they were typed at the terminal or came through the
//! control socket.
//!
//! - [`commands`]: the commands as a table, and how a line becomes one;
//! - `execute`: doing one, by asking the actors that can, and putting the answer into words; `status` is one
//!   of its own;
//! - [`terminal`]: standard input, on a thread of its own;
//! - [`printer`]: standard output, behind a queue.
//!
//! The actor lives on the system arbiter and does nothing itself: each command runs as a task, so that a slow
//! one holds up no other, and a panic in one ends that command alone.

pub mod commands;
mod execute;
pub mod printer;
mod status;
pub mod terminal;

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use actix::{Actor, Context, Handler, Recipient, ResponseFuture};

use self::printer::Printer;
use super::messages::auth::{AuthStatus, Ban, ClearAccounts, Kick, Unban, Unlock};
use super::messages::console::{CommandOutput, RunCommand};
use super::messages::directory::{Announce, AskOnline, AskRooms, SayAsServer};
use super::messages::journal::AskJournal;
use super::messages::listener::{AskListener, SetListening};
use crate::logging::LogControl;
use crate::sanitize::lines;
use crate::store::set_aside::SetAside;

pub use self::execute::help_on;

/// Whom the console asks, each by one kind of message, so that a test can stand in for any of them.
#[derive(Clone)]
pub struct ConsoleLinks {
    /// The listener, for `stop listen` and `start listen`.
    pub listening: Recipient<SetListening>,
    /// The listener, for `status`.
    pub listener: Recipient<AskListener>,
    /// The directory, for `say TEXT`.
    pub announce: Recipient<Announce>,
    /// The directory, for `say #ROOM TEXT`.
    pub say: Recipient<SayAsServer>,
    /// The directory, for `who`.
    pub online: Recipient<AskOnline>,
    /// The directory, for `rooms`.
    pub rooms: Recipient<AskRooms>,
    /// The journal, for `status`.
    pub journal: Recipient<AskJournal>,
    /// The AuthActor, for `status`.
    pub auth_status: Recipient<AuthStatus>,
    /// The AuthActor, for `kick`.
    pub kick: Recipient<Kick>,
    /// The AuthActor, for `ban`.
    pub ban: Recipient<Ban>,
    /// The AuthActor, for `unban`.
    pub unban: Recipient<Unban>,
    /// The AuthActor, for `unlock`.
    pub unlock: Recipient<Unlock>,
    /// The AuthActor, for `clear file`.
    pub clear_accounts: Recipient<ClearAccounts>,
    /// What was set aside, for `status`.
    pub set_aside: SetAside,
    /// The log.
    pub log: LogControl,
    /// Standard output.
    pub printer: Printer,
    /// Makes the server stop, as SIGTERM does. It must not wait.
    pub shutdown: Arc<dyn Fn() + Send + Sync>,
}

/// The operator's commands. See the module.
pub struct ConsoleActor {
    links: ConsoleLinks,
    started: Instant,
}

impl ConsoleActor {
    /// A console that asks these. Service messages go to its printer from now on, while they are shown.
    pub fn new(links: ConsoleLinks) -> Self {
        let printer = links.printer.clone();
        links.log.set_console(Box::new(move |line| printer.print(line)));
        ConsoleActor { links, started: Instant::now() }
    }
}

impl Actor for ConsoleActor {
    type Context = Context<Self>;
}

impl Handler<RunCommand> for ConsoleActor {
    type Result = ResponseFuture<Result<CommandOutput, String>>;

    fn handle(&mut self, RunCommand { line }: RunCommand, _: &mut Self::Context) -> Self::Result {
        let (links, started) = (self.links.clone(), self.started);
        let task = actix_rt::spawn(async move {
            let command = commands::parse(&line)?;
            if command.is_logged() {
                log::info!("the operator asks for: {}", command.for_log());
            }
            execute::execute(command, &links, started).await
        });
        Box::pin(async move {
            let failed = |_| Err("The command failed; the log says why.".to_owned());
            let answer = task.await.unwrap_or_else(failed);
            let safe = |text: String| lines(&text).into_owned();
            answer
                .map(|done| CommandOutput { text: safe(done.text), wrong: done.wrong.map(safe) })
                .map_err(safe)
        })
    }
}

impl fmt::Debug for ConsoleLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsoleLinks").finish_non_exhaustive()
    }
}

/// Says `listening on HOST:PORT` on standard output, at once: scripts wait for this line. An output that is
/// closed is no fault.
pub fn announce(address: &dyn fmt::Display) {
    let mut output = io::stdout().lock();
    let _ = writeln!(output, "listening on {address}").and_then(|()| output.flush()); // see above
}

#[cfg(test)]
#[path = "console/console_tests.rs"]
mod tests;
