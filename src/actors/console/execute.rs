//! Doing a command: ask the actor that can, and put its answer into words.

use std::fmt::Write;
use std::time::{Duration, Instant};

use actix::dev::RecipientRequest;
use actix::{MailboxError, Message, Recipient};

use super::ConsoleLinks;
use super::commands::{Command, TABLE, usage};
use crate::actors::messages::auth::{AuthStatus, Ban, ClearAccounts, Kick, Unban};
use crate::actors::messages::operator::{
    Announce, AskJournal, AskListener, AskOnline, AskRooms, SayAsServer, SetListening,
};
use crate::names::{RoomName, UserName};
use crate::protocol::MessageText;

/// How long an actor may take to answer the operator.
const PATIENCE: Duration = Duration::from_secs(30);

/// Does the command. `started` is when the server did.
///
/// # Errors
/// A sentence for the operator.
pub async fn execute(command: Command, links: &ConsoleLinks, started: Instant) -> Result<String, String> {
    match command {
        Command::Help => Ok(help()),
        Command::Status => status(links, started).await,
        Command::Who => who(links).await,
        Command::Rooms => rooms(links).await,
        Command::SayToAll(text) => say_to_all(links, text).await,
        Command::SayInRoom(room, text) => say_in_room(links, room, text).await,
        Command::Kick(name, why) => kick(links, name, why).await,
        Command::Ban(name) => ban(links, name).await,
        Command::Unban(name) => unban(links, name).await,
        Command::SetListening(on) => set_listening(links, on).await,
        Command::ShowLog(show) => Ok(show_log(links, show)),
        Command::ClearLog => clear_log(links).await,
        Command::ClearFile => clear_file(links).await,
        Command::Shutdown => {
            (links.shutdown)();
            Ok("Shutting down: clients are told, and what is accepted is stored.".into())
        }
    }
}

async fn ask<M>(whom: &Recipient<M>, message: M) -> Result<M::Result, String>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    let request: RecipientRequest<M> = whom.send(message);
    request.timeout(PATIENCE).await.map_err(|error| match error {
        MailboxError::Closed => "The server is stopping.".into(),
        MailboxError::Timeout => {
            format!("No answer within {} s; the log may tell why.", PATIENCE.as_secs())
        }
    })
}

fn help() -> String {
    let width = TABLE.iter().map(|entry| usage(entry).len()).max().unwrap_or(0);
    let lines = TABLE.iter().map(|entry| format!("  {:<width$}  {}", usage(entry), entry.help));
    std::iter::once("Commands, in any case:".to_owned()).chain(lines).collect::<Vec<_>>().join("\n")
}

async fn status(links: &ConsoleLinks, started: Instant) -> Result<String, String> {
    let listener = ask(&links.listener, AskListener).await?;
    let accounts = ask(&links.auth_status, AuthStatus).await?;
    let online = ask(&links.online, AskOnline).await?;
    let rooms = ask(&links.rooms, AskRooms).await?;
    let journal = ask(&links.journal, AskJournal).await?;
    let taking = if listener.listening { "taking connections" } else { "stopped: connections wait" };
    let shown = if links.log.is_on_console() { "shown here too" } else { "not shown here" };
    let storage = journal.fault.map_or_else(|| "well".into(), |why| format!("nothing can be stored: {why}"));
    let rows = [
        (
            "veche",
            format!("{}, process {}, up {}", env!("CARGO_PKG_VERSION"), std::process::id(), age(started)),
        ),
        ("listening", format!("{} ({taking})", listener.addresses.join(", "))),
        ("connections", listener.connections.to_string()),
        ("online", format!("{} in {}", count(online.len(), "account"), count(rooms.len(), "room"))),
        (
            "accounts",
            format!(
                "{} ({} banned, {} of the file set aside)",
                accounts.accounts,
                accounts.banned,
                count(accounts.rejected_rows, "row")
            ),
        ),
        ("sessions", format!("{} ({} connected)", accounts.sessions, accounts.attached)),
        ("passwords", format!("{} being checked or waiting", accounts.hashes)),
        ("messages", format!("{}, newest id {}", journal.messages, journal.newest_id)),
        ("storage", format!("{storage}, {} waiting", count(journal.waiting, "message"))),
        ("log", format!("{} ({shown})", links.log.path().display())),
    ];
    Ok(rows.map(|(name, value)| format!("{name:<11} {value}")).join("\n"))
}

async fn who(links: &ConsoleLinks) -> Result<String, String> {
    let online = ask(&links.online, AskOnline).await?;
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

async fn rooms(links: &ConsoleLinks) -> Result<String, String> {
    let rooms = ask(&links.rooms, AskRooms).await?;
    let mut text = format!("{}:", count(rooms.len(), "room"));
    for (room, members) in rooms {
        let _ = write!(text, "\n  #{room} ({})", count(members, "account")); // writing to a String cannot fail
    }
    Ok(text)
}

async fn say_to_all(links: &ConsoleLinks, text: MessageText) -> Result<String, String> {
    let sessions = ask(&links.announce, Announce { text }).await?;
    Ok(format!("Told {}.", count(sessions, "session")))
}

async fn say_in_room(links: &ConsoleLinks, room: RoomName, text: MessageText) -> Result<String, String> {
    match ask(&links.say, SayAsServer { room: room.clone(), text }).await? {
        Ok(receipt) => Ok(format!("Said in #{room}, as message {}.", receipt.id)),
        Err(code) => Err(format!("Not said in #{room}. {}", code.sentence())),
    }
}

async fn kick(links: &ConsoleLinks, name: UserName, why: Option<MessageText>) -> Result<String, String> {
    let why = why.map(|why| why.as_str().to_owned());
    match ask(&links.kick, Kick { name: name.clone(), why }).await? {
        Ok(0) => Ok(format!("{name} had no session to end.")),
        Ok(sessions) => Ok(format!("Kicked {name}: {} ended.", count(sessions, "session"))),
        Err(error) => Err(error.to_string()),
    }
}

async fn ban(links: &ConsoleLinks, name: UserName) -> Result<String, String> {
    match ask(&links.ban, Ban { name: name.clone() }).await? {
        Ok(sessions) => Ok(format!("Banned {name}: {} ended.", count(sessions, "session"))),
        Err(error) => Err(error.to_string()),
    }
}

async fn unban(links: &ConsoleLinks, name: UserName) -> Result<String, String> {
    match ask(&links.unban, Unban { name: name.clone() }).await? {
        Ok(()) => Ok(format!("{name} may log in again.")),
        Err(error) => Err(error.to_string()),
    }
}

async fn set_listening(links: &ConsoleLinks, on: bool) -> Result<String, String> {
    let changed = ask(&links.listening, SetListening(on)).await?;
    let text = match (on, changed) {
        (true, true) => "Taking connections again, those that waited first.",
        (true, false) => "Connections were taken already.",
        (false, true) => "New connections wait from now on, until `start listen`; who is in stays in.",
        (false, false) => "New connections were waiting already.",
    };
    Ok(text.into())
}

fn show_log(links: &ConsoleLinks, show: bool) -> String {
    let changed = links.log.show_on_console(show);
    let path = links.log.path().display();
    match (show, changed) {
        (true, true) => format!("Service messages are shown here from now on, besides {path}."),
        (true, false) => format!("Service messages were shown here already, besides {path}."),
        (false, true) => format!("Service messages are hidden here from now on; {path} gets them."),
        (false, false) => format!("Service messages were hidden here already; {path} gets them."),
    }
}

async fn clear_log(links: &ConsoleLinks) -> Result<String, String> {
    let path = links.log.path().to_owned();
    links.log.clear().await.map_err(|error| {
        format!("The log file {} could not be emptied ({error}); see who may write it.", path.display())
    })?;
    links.printer.clear_screen();
    Ok(format!("Emptied {}.", path.display()))
}

async fn clear_file(links: &ConsoleLinks) -> Result<String, String> {
    let cleared = ask(&links.clear_accounts, ClearAccounts).await?.map_err(|error| error.to_string())?;
    Ok(format!(
        "Emptied the account file: {} kept in {}; {} ended.",
        count(cleared.accounts, "account"),
        cleared.copy.display(),
        count(cleared.sessions, "session")
    ))
}

/// `1 session`, `2 sessions`.
fn count(number: usize, of: &str) -> String {
    if number == 1 { format!("1 {of}") } else { format!("{number} {of}s") }
}

fn age(started: Instant) -> String {
    let minutes = started.elapsed().as_secs() / 60;
    match (minutes / 1_440, minutes / 60 % 24, minutes % 60) {
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}
