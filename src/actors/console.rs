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
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actix::{Actor, Context, Handler, MessageResult, ResponseFuture};

use self::printer::Printer;
use super::messages::auth::AuthHandle;
use super::messages::console::{CommandOutput, ConsoleSnapshot, RunCommand};
use super::messages::directory::DirectoryHandle;
use super::messages::journal::JournalHandle;
use super::messages::listener::ListenerHandle;
use super::messages::observe::Observe;
use crate::logging::LogControl;
use crate::sanitize::lines;
use crate::store::set_aside::SetAside;

pub use self::execute::help_on;

/// Whom the console asks, and what else its commands need. Cheap to clone.
#[derive(Clone)]
pub struct ConsoleContext {
    /// Who takes connections.
    pub listener: ListenerHandle,
    /// Who knows rooms and who is online.
    pub directory: DirectoryHandle,
    /// Who stores.
    pub journal: JournalHandle,
    /// Who knows accounts.
    pub auth: AuthHandle,
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
    context: ConsoleContext,
    started: Instant,
    commands: u64,
    /// Every command that runs has a copy.
    running: Rc<()>,
}

impl ConsoleActor {
    /// A console that asks these. Service messages go to its printer from now on, while they are shown.
    pub fn new(context: ConsoleContext) -> Self {
        let printer = context.printer.clone();
        context.log.set_console(Box::new(move |line| printer.print(line)));
        ConsoleActor { context, started: Instant::now(), commands: 0, running: Rc::default() }
    }
}

impl Actor for ConsoleActor {
    type Context = Context<Self>;
}

impl Handler<RunCommand> for ConsoleActor {
    type Result = ResponseFuture<Result<CommandOutput, String>>;

    fn handle(&mut self, RunCommand { line }: RunCommand, _: &mut Self::Context) -> Self::Result {
        self.commands += 1;
        let (context, started, running) = (self.context.clone(), self.started, Rc::clone(&self.running));
        let task = actix_rt::spawn(async move {
            let command = commands::parse(&line)?;
            if command.is_logged() {
                log::info!("the operator asks for: {}", command.for_log());
            }
            execute::execute(command, &context, started).await
        });
        Box::pin(async move {
            let failed = |_| Err("The command failed; the log says why.".to_owned());
            let answer = task.await.unwrap_or_else(failed);
            drop(running);
            let safe = |text: String| lines(&text).into_owned();
            answer
                .map(|done| CommandOutput { text: safe(done.text), wrong: done.wrong.map(safe) })
                .map_err(safe)
        })
    }
}

impl Handler<Observe<ConsoleSnapshot>> for ConsoleActor {
    type Result = MessageResult<Observe<ConsoleSnapshot>>;

    fn handle(&mut self, asked: Observe<ConsoleSnapshot>, _: &mut Self::Context) -> Self::Result {
        // One reference is the actor's own.
        let running = Rc::strong_count(&self.running) - 1;
        MessageResult(asked.answer(ConsoleSnapshot { commands: self.commands, running }))
    }
}

impl fmt::Debug for ConsoleContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsoleContext").finish_non_exhaustive()
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
