//! Doing a command: ask the actor that can, and put its answer into words.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use actix::{MailboxError, Message};

use super::commands::{Command, CommandSpec, SURE, TABLE, usage};
use super::{ConsoleContext, status};
use crate::actors::messages::Reaches;
use crate::actors::messages::auth::{Ban, ClearAccounts, Kick, Unban, Unlock};
use crate::actors::messages::console::CommandOutput;
use crate::actors::messages::directory::{Announce, AskOnline, AskRooms, SayAsServer, SayError};
use crate::actors::messages::listener::SetListening;
use crate::model::{MessageText, RoomName, UserName};

/// How long an actor may take to answer the operator.
const PATIENCE: Duration = Duration::from_secs(30);
/// The account file's name.
const ACCOUNT_FILE: &str = "clients.csv";

/// Does the command. `started` is when the server did.
///
/// # Errors
/// A sentence for the operator.
pub async fn execute(
    command: Command,
    context: &ConsoleContext,
    started: Instant,
) -> Result<CommandOutput, String> {
    let text = match command {
        Command::Status { json, seen } => return status::tell(context, started, json, seen).await,
        Command::Help => Ok(help()),
        Command::HelpOn(entry) => Ok(help_on(entry)),
        Command::Who => who(context).await,
        Command::Rooms => rooms(context).await,
        Command::SayToAll(text) => say_to_all(context, text).await,
        Command::SayInRoom(room, text) => say_in_room(context, room, text).await,
        Command::Kick(name, why) => kick(context, name, why).await,
        Command::Ban(name) => ban(context, name).await,
        Command::Unban(name) => unban(context, name).await,
        Command::Unlock(name) => unlock(context, name).await,
        Command::SetListening(on) => set_listening(context, on).await,
        Command::ShowLog(show) => Ok(show_log(context, show)),
        Command::ClearLog => clear_log(context).await,
        Command::ClearFile { sure } => clear_file(context, sure).await,
        Command::Shutdown => {
            (context.shutdown)();
            Ok("Shutting down: clients are told, and what is accepted is stored.".into())
        }
    };
    text.map(CommandOutput::from)
}

async fn ask<M>(whom: &impl Reaches<M>, message: M) -> Result<M::Result, String>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    let late = || format!("No answer within {} s; the log may tell why.", PATIENCE.as_secs());
    ask_for(whom, message, PATIENCE).await?.ok_or_else(late)
}

/// The answer, or `None` when there is none in time.
pub(super) async fn ask_for<M>(
    whom: &impl Reaches<M>,
    message: M,
    patience: Duration,
) -> Result<Option<M::Result>, String>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    match whom.recipient().send(message).timeout(patience).await {
        Ok(answer) => Ok(Some(answer)),
        Err(MailboxError::Timeout) => Ok(None),
        Err(MailboxError::Closed) => Err("The server is stopping.".into()),
    }
}

fn help() -> String {
    let width = TABLE.iter().map(|entry| usage(entry).len()).max().unwrap_or(0);
    let lines = TABLE.iter().map(|entry| format!("  {:<width$}  {}", usage(entry), entry.help));
    let last = "What looks like an option to a text goes behind `--`: say -- --x.".to_owned();
    let first = "Commands, in any case:".to_owned();
    std::iter::once(first).chain(lines).chain([last]).collect::<Vec<_>>().join("\n")
}

/// How one command is typed, and what it does.
pub fn help_on(entry: &CommandSpec) -> String {
    format!("{}\n  {}", usage(entry), entry.help)
}

async fn who(context: &ConsoleContext) -> Result<String, String> {
    let online = ask(&context.directory, AskOnline).await?;
    let mut text = match online.len() {
        0 => "Nobody is online.".to_owned(),
        accounts => format!("{} online:", count(accounts, "account")),
    };
    for account in online {
        let _ = write!(text, "\n  {}", account.name); // writing to a String cannot fail
        if account.sessions > 1 {
            let _ = write!(text, " ({} sessions)", account.sessions);
        }
    }
    Ok(text)
}

async fn rooms(context: &ConsoleContext) -> Result<String, String> {
    let rooms = ask(&context.directory, AskRooms).await?;
    let mut text = format!("{}:", count(rooms.len(), "room"));
    for (room, members) in rooms {
        let _ = write!(text, "\n  #{room} ({})", count(members, "account")); // writing to a String cannot fail
    }
    Ok(text)
}

async fn say_to_all(context: &ConsoleContext, text: MessageText) -> Result<String, String> {
    let sessions = ask(&context.directory, Announce { text }).await?;
    Ok(format!("Told {}.", count(sessions, "session")))
}

async fn say_in_room(context: &ConsoleContext, room: RoomName, text: MessageText) -> Result<String, String> {
    match ask(&context.directory, SayAsServer { room: room.clone(), text }).await? {
        Ok(receipt) => Ok(format!("Said in #{room}, as message {}.", receipt.id)),
        Err(SayError::NoSuchRoom { nearest }) => {
            let meant = nearest.map_or_else(String::new, |near| format!(" Did you mean #{near}?"));
            Err(format!(
                "Not said: there is no room #{room}. It needs a message or somebody in it; only people bring \
                 a room into being.{meant}"
            ))
        }
        Err(SayError::Refused(refusal)) => Err(format!("Not said in #{room}. {}", refusal.text)),
    }
}

async fn kick(context: &ConsoleContext, name: UserName, why: Option<MessageText>) -> Result<String, String> {
    let why = why.map(|why| why.as_str().to_owned());
    match ask(&context.auth, Kick { name: name.clone(), why }).await? {
        Ok(0) => Ok(format!("{name} had no session to end.")),
        Ok(sessions) => Ok(format!("Kicked {name}: {} ended.", count(sessions, "session"))),
        Err(error) => Err(error.to_string()),
    }
}

async fn ban(context: &ConsoleContext, name: UserName) -> Result<String, String> {
    match ask(&context.auth, Ban { name: name.clone() }).await? {
        Ok(sessions) => Ok(format!("Banned {name}: {} ended.", count(sessions, "session"))),
        Err(error) => Err(error.to_string()),
    }
}

async fn unban(context: &ConsoleContext, name: UserName) -> Result<String, String> {
    match ask(&context.auth, Unban { name: name.clone() }).await? {
        Ok(()) => Ok(format!("{name} may log in again.")),
        Err(error) => Err(error.to_string()),
    }
}

async fn unlock(context: &ConsoleContext, name: UserName) -> Result<String, String> {
    match ask(&context.auth, Unlock { name: name.clone() }).await? {
        Ok(0) => Ok(format!("There were no wrong guesses at {name} to forget.")),
        Ok(guesses) => {
            let guesses = match guesses {
                1 => "1 wrong guess".to_owned(),
                more => format!("{more} wrong guesses"),
            };
            Ok(format!("Forgot {guesses} at {name}: it can be tried again at once."))
        }
        Err(error) => Err(error.to_string()),
    }
}

async fn set_listening(context: &ConsoleContext, on: bool) -> Result<String, String> {
    let changed = ask(&context.listener, SetListening(on)).await?;
    let text = match (on, changed) {
        (true, true) => "Taking connections again, those that waited first.",
        (true, false) => "Connections were taken already.",
        (false, true) => "New connections wait from now on, until `start listen`; who is in stays in.",
        (false, false) => "New connections were waiting already.",
    };
    Ok(text.into())
}

fn show_log(context: &ConsoleContext, show: bool) -> String {
    let changed = context.log.show_on_console(show);
    let path = context.log.path().display();
    match (show, changed) {
        (true, true) => format!("Service messages are shown here from now on, besides {path}."),
        (true, false) => format!("Service messages were shown here already, besides {path}."),
        (false, true) => format!("Service messages are hidden here from now on; {path} gets them."),
        (false, false) => format!("Service messages were hidden here already; {path} gets them."),
    }
}

async fn clear_log(context: &ConsoleContext) -> Result<String, String> {
    let path = context.log.path().to_owned();
    context.log.clear().await.map_err(|error| {
        format!("The log file {} could not be emptied ({error}); see who may write it.", path.display())
    })?;
    context.printer.clear_screen();
    Ok(format!("Emptied {}.", path.display()))
}

async fn clear_file(context: &ConsoleContext, sure: bool) -> Result<String, String> {
    if !sure {
        let question = Command::ClearFile { sure }.question().unwrap_or_default();
        return Err(format!("Nothing was done. {question} Say `clear file {SURE}` to do it."));
    }
    let cleared = ask(&context.auth, ClearAccounts).await?.map_err(|error| error.to_string())?;
    // A relative path would be another one in another shell.
    let copy = std::path::absolute(&cleared.copy).unwrap_or(cleared.copy);
    Ok(format!(
        "Emptied the account file: {} kept in {}; {} ended.\nTo undo it, stop the server, type the next line \
         in a shell, as the same user, and start the server again; accounts made meanwhile are lost by that.\n  \
         mv {} {}",
        count(cleared.accounts, "account"),
        copy.display(),
        count(cleared.sessions, "session"),
        quoted(&copy),
        quoted(&copy.with_file_name(ACCOUNT_FILE)),
    ))
}

/// A path as a shell reads it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// `1 session`, `2 sessions`.
pub(super) fn count(number: usize, of: &str) -> String {
    if number == 1 { format!("1 {of}") } else { format!("{number} {of}s") }
}
