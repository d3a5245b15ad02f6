//! `status`: how things stand, in rows for a person or as JSON for a program, and what of it is wrong.
//!
//! Every actor is asked at the same time, and not for long: this is what an operator types when something
//! does not answer, and then it has to say what that is.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::ConsoleContext;
use super::execute::{ask_for, count};
use crate::actors::messages::Reaches;
use crate::actors::messages::auth::{AuthSnapshot, LockedAccount};
use crate::actors::messages::console::CommandOutput;
use crate::actors::messages::directory::DirectorySnapshot;
use crate::actors::messages::journal::JournalSnapshot;
use crate::actors::messages::listener::ListenerSnapshot;
use crate::actors::messages::observe::Observe;

/// How long an actor may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// How things stand; `None` where there was no answer.
struct Status {
    listener: Option<ListenerSnapshot>,
    accounts: Option<AuthSnapshot>,
    directory: Option<DirectorySnapshot>,
    journal: Option<JournalSnapshot>,
    log: String,
    log_on_console: bool,
    up: Duration,
    /// What was set aside and not acknowledged.
    set_aside: Vec<String>,
}

/// Does the command. `started` is when the server did.
///
/// # Errors
/// A sentence for the operator.
pub(super) async fn tell(
    context: &ConsoleContext,
    started: Instant,
    json: bool,
    seen: bool,
) -> Result<CommandOutput, String> {
    let set_aside = context.set_aside.clone();
    if seen {
        let known = on_the_disk(move || set_aside.acknowledge()).await?;
        return Ok(match known {
            0 => "Nothing that was set aside is unknown.".to_owned(),
            1 => "Noted: 1 thing that was set aside is known now.".to_owned(),
            more => format!("Noted: {more} things that were set aside are known now."),
        }
        .into());
    }
    let status = Status::ask(context, started).await?;
    let wrong = status.wrong();
    let text = if json { status.to_json(&wrong).to_string() } else { status.to_text(&wrong) };
    Ok(CommandOutput { text, wrong: (!wrong.is_empty()).then(|| wrong.join("; ")) })
}

async fn on_the_disk<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?;
    done.map_err(|error| format!("The data directory cannot be read or written ({error})."))
}

/// What an actor tells of itself, or `None` when it does not in time.
async fn state_of<S: Send + 'static>(actor: &impl Reaches<Observe<S>>) -> Result<Option<S>, String> {
    let observation = ask_for(actor, Observe::now(), PATIENCE).await?;
    Ok(observation.map(|observation| observation.state))
}

impl Status {
    async fn ask(context: &ConsoleContext, started: Instant) -> Result<Self, String> {
        let set_aside = context.set_aside.clone();
        let (listener, accounts, directory, journal, set_aside) = tokio::try_join!(
            state_of(&context.listener),
            state_of(&context.auth),
            state_of(&context.directory),
            state_of(&context.journal),
            on_the_disk(move || set_aside.unseen()),
        )?;
        Ok(Status {
            listener,
            accounts,
            directory,
            journal,
            log: context.log.path().display().to_string(),
            log_on_console: context.log.is_on_console(),
            up: started.elapsed(),
            set_aside: set_aside.into_iter().map(|finding| finding.sentence).collect(),
        })
    }

    /// What somebody should look at, each a clause.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(why) = self.fault() {
            wrong.push(format!("nothing can be stored: {why}"));
        }
        if let Some(why) = self.accounts.as_ref().and_then(|it| it.fault.as_ref()) {
            wrong.push(format!("accounts and sessions cannot be stored: {why}"));
        }
        let answers = [
            ("the listener", self.listener.is_some()),
            ("the account keeper", self.accounts.is_some()),
            ("the directory of rooms", self.directory.is_some()),
            ("the journal", self.journal.is_some()),
        ];
        let silent = answers.into_iter().filter(|(_, answered)| !answered);
        wrong.extend(silent.map(|(who, _)| format!("{who} does not answer within {} s", PATIENCE.as_secs())));
        let seen = |what| format!("{what} (`status --seen` when you know of it)");
        wrong.extend(self.set_aside.iter().map(seen));
        wrong
    }

    fn fault(&self) -> Option<&str> {
        self.journal.as_ref()?.fault.as_deref()
    }

    fn to_text(&self, wrong: &[String]) -> String {
        const SILENT: &str = "no answer";
        let row = |name: &str, value: Option<String>| {
            format!("{name:<11} {}", value.unwrap_or_else(|| SILENT.to_owned()))
        };
        let (listener, accounts) = (self.listener.as_ref(), self.accounts.as_ref());
        let (directory, journal) = (self.directory.as_ref(), self.journal.as_ref());
        let shown = if self.log_on_console { "shown here too" } else { "not shown here" };
        let version = env!("CARGO_PKG_VERSION");
        let rows = [
            row("veche", Some(format!("{version}, process {}, up {}", std::process::id(), age(self.up)))),
            row("listening", listener.map(|it| format!("{} ({})", it.addresses.join(", "), taking(it)))),
            row("connections", listener.map(|it| it.connections.to_string())),
            row(
                "online",
                directory.map(|it| {
                    let rooms = count(it.rooms_occupied, "room");
                    format!("{} in {rooms}", count(it.accounts_online, "account"))
                }),
            ),
            row(
                "accounts",
                accounts.map(|it| {
                    let rows = count(it.rejected_rows, "row");
                    format!("{} ({} banned, {rows} of the file set aside)", it.accounts, it.banned)
                }),
            ),
            row("sessions", accounts.map(|it| format!("{} ({} connected)", it.sessions, it.attached))),
            row("passwords", accounts.map(|it| format!("{} being checked or waiting", it.hashes))),
            row("messages", journal.map(|it| format!("{}, newest id {}", it.messages, it.newest_id))),
            row(
                "storage",
                journal.map(|it| {
                    let fault = it.fault.as_ref().map(|why| format!("nothing can be stored: {why}"));
                    let well = fault.unwrap_or_else(|| "well".to_owned());
                    format!("{well}, {} waiting", count(it.waiting, "message"))
                }),
            ),
            row("log", Some(format!("{} ({shown})", self.log))),
        ];
        let locked = accounts.filter(|it| it.locks_in_all > 0).map(|it| row("locked", Some(locked(it))));
        let busy = accounts.and_then(busy).map(|told| row("busy", Some(told)));
        let wrong = wrong.iter().map(|what| row("wrong", Some(what.clone())));
        rows.into_iter().chain(locked).chain(busy).chain(wrong).collect::<Vec<_>>().join("\n")
    }

    /// One line. Members are only ever added; `docs/operating.md` lists them.
    fn to_json(&self, wrong: &[String]) -> Value {
        let (listener, accounts) = (self.listener.as_ref(), self.accounts.as_ref());
        let (directory, journal) = (self.directory.as_ref(), self.journal.as_ref());
        json!({
            "ok": wrong.is_empty(),
            "wrong": wrong,
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "up_seconds": self.up.as_secs(),
            "listening": listener.map(|it| &it.addresses),
            "taking_connections": listener.map(|it| it.listening),
            "connections": listener.map(|it| it.connections),
            "accounts_online": directory.map(|it| it.accounts_online),
            "rooms": directory.map(|it| it.rooms_occupied),
            "accounts": accounts.map(|it| it.accounts),
            "accounts_banned": accounts.map(|it| it.banned),
            "account_rows_set_aside": accounts.map(|it| it.rejected_rows),
            "accounts_locked": accounts.map(|it| it.locks.iter().map(lock_as_json).collect::<Vec<_>>()),
            "addresses_without_logins": accounts.map(|it| &it.addresses_without_logins),
            "addresses_without_registrations": accounts.map(|it| &it.addresses_without_registrations),
            "sessions": accounts.map(|it| it.sessions),
            "sessions_connected": accounts.map(|it| it.attached),
            "password_checks": accounts.map(|it| it.hashes),
            "messages": journal.map(|it| it.messages),
            "newest_id": journal.map(|it| it.newest_id),
            "messages_waiting": journal.map(|it| it.waiting),
            "storage_fault": self.fault(),
            "accounts_fault": accounts.and_then(|it| it.fault.as_ref()),
            "log": self.log,
            "log_on_console": self.log_on_console,
        })
    }
}

/// Which accounts are not tried for now, and what the operator can do about it.
fn locked(accounts: &AuthSnapshot) -> String {
    let one = |lock: &LockedAccount| {
        format!("{} for {} for {} min", lock.name, lock.whom, lock.seconds.div_ceil(60))
    };
    let mut told: Vec<String> = accounts.locks.iter().map(one).collect();
    if accounts.locks_in_all > told.len() {
        told.push(format!("{} more", accounts.locks_in_all - told.len()));
    }
    format!("by wrong passwords: {} (`unlock NAME` lifts it)", told.join(", "))
}

/// Which addresses are refused for a moment, if any are.
fn busy(accounts: &AuthSnapshot) -> Option<String> {
    let told = |addresses: &[String], what: &str| {
        (!addresses.is_empty()).then(|| format!("{} ({what})", addresses.join(", ")))
    };
    let logins = told(&accounts.addresses_without_logins, "limits.logins_per_minute");
    let registrations = told(&accounts.addresses_without_registrations, "limits.registrations_per_minute");
    let both: Vec<String> = logins.into_iter().chain(registrations).collect();
    (!both.is_empty()).then(|| format!("refused for less than a minute: {}", both.join(", ")))
}

fn lock_as_json(lock: &LockedAccount) -> Value {
    json!({"name": lock.name.as_str(), "for": lock.whom, "seconds": lock.seconds})
}

fn taking(listener: &ListenerSnapshot) -> &'static str {
    if listener.listening { "taking connections" } else { "stopped: connections wait" }
}

fn age(up: Duration) -> String {
    let minutes = up.as_secs() / 60;
    match (minutes / 1_440, minutes / 60 % 24, minutes % 60) {
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}
