//! The operator's commands, as one table, and how a line becomes one of them. Pure.

use crate::names::{NameError, RoomName, UserName};
use crate::nearest::distance;
use crate::printable::one_line;
use crate::protocol::MessageText;

/// How much of an unknown command is shown, in characters.
const MAX_SHOWN_CHARS: usize = 40;

/// What an operator can ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Stop the server.
    Shutdown,
    /// Take connections, or let them wait.
    SetListening(bool),
    /// Show or hide service messages on the console.
    ShowLog(bool),
    /// Empty the log file and clear the console.
    ClearLog,
    /// Empty the account file, keeping a copy.
    ClearFile,
    /// A notice to everybody.
    SayToAll(MessageText),
    /// A message of `server` in a room.
    SayInRoom(RoomName, MessageText),
    /// The commands there are.
    Help,
    /// How things stand.
    Status,
    /// Who is online.
    Who,
    /// The rooms with someone in them.
    Rooms,
    /// End an account's sessions, and why.
    Kick(UserName, Option<MessageText>),
    /// Keep an account out.
    Ban(UserName),
    /// Let it in again.
    Unban(UserName),
}

impl Command {
    /// The command as the log has it: with names, and never with a text that somebody is told.
    pub fn for_log(&self) -> String {
        match self {
            Command::Shutdown => "shutdown".into(),
            Command::SetListening(on) => format!("{} listen", start_or_stop(*on)),
            Command::ShowLog(on) => format!("{} log", start_or_stop(*on)),
            Command::ClearLog => "clear log".into(),
            Command::ClearFile => "clear file".into(),
            Command::SayToAll(_) => "say".into(),
            Command::SayInRoom(room, _) => format!("say #{room}"),
            Command::Help => "help".into(),
            Command::Status => "status".into(),
            Command::Who => "who".into(),
            Command::Rooms => "rooms".into(),
            Command::Kick(name, _) => format!("kick {name}"),
            Command::Ban(name) => format!("ban {name}"),
            Command::Unban(name) => format!("unban {name}"),
        }
    }
}

fn start_or_stop(on: bool) -> &'static str {
    if on { "start" } else { "stop" }
}

/// A command as people see it, and what makes one of the words after its name.
pub struct Entry {
    /// Its name, one or two words in lower case.
    pub name: &'static str,
    /// What follows the name, as `help` shows it.
    pub arguments: &'static str,
    /// What it does, in a line.
    pub help: &'static str,
    build: fn(&str) -> Result<Command, String>,
}

/// Every command, in the order in which `help` shows them.
pub const TABLE: [Entry; 16] = [
    entry("help", "", "shows this", |_| Ok(Command::Help)),
    entry("status", "", "shows how things stand", |_| Ok(Command::Status)),
    entry("who", "", "shows who is online", |_| Ok(Command::Who)),
    entry("rooms", "", "shows the rooms with someone in them", |_| Ok(Command::Rooms)),
    entry("say", "TEXT", "tells everybody who is online", say),
    entry("say #ROOM", "TEXT", "says something in a room as server, stored like any message", say),
    entry("kick", "NAME [WHY]", "ends an account's sessions; it may log in again", kick),
    entry("ban", "NAME", "ends an account's sessions and keeps it out", |rest| Ok(Command::Ban(user(rest)?))),
    entry("unban", "NAME", "lets a banned account in again", |rest| Ok(Command::Unban(user(rest)?))),
    entry("stop listen", "", "lets new connections wait; who is in stays in", |_| {
        Ok(Command::SetListening(false))
    }),
    entry("start listen", "", "takes new connections, those that waited first", |_| {
        Ok(Command::SetListening(true))
    }),
    entry("stop log", "", "hides service messages here; the file gets them", |_| Ok(Command::ShowLog(false))),
    entry("start log", "", "shows service messages here too", |_| Ok(Command::ShowLog(true))),
    entry("clear log", "", "empties the log file and clears the console", |_| Ok(Command::ClearLog)),
    entry(
        "clear file",
        "",
        "empties the account file, keeping a dated copy beside it; all sessions end",
        |_| Ok(Command::ClearFile),
    ),
    entry("shutdown", "", "tells the clients, stores what is accepted, and stops the server", |_| {
        Ok(Command::Shutdown)
    }),
];

const fn entry(
    name: &'static str,
    arguments: &'static str,
    help: &'static str,
    build: fn(&str) -> Result<Command, String>,
) -> Entry {
    Entry { name, arguments, help, build }
}

/// The command that a line asks for. Case does not matter in a command's name, nor how much space is
/// between its words.
///
/// # Errors
/// A sentence for the operator: what is wrong, and what to type.
pub fn parse(line: &str) -> Result<Command, String> {
    let (first, rest) = split_word(line);
    if first.is_empty() {
        return Err("There is no command in this line; `help` shows those there are.".into());
    }
    let (second, rest_of_two) = split_word(rest);
    let one = first.to_lowercase();
    let two = format!("{one} {}", second.to_lowercase());
    let found = TABLE
        .iter()
        .find_map(|entry| match entry.name {
            name if name == one => Some((entry, rest)),
            name if name == two => Some((entry, rest_of_two)),
            _ => None,
        })
        .ok_or_else(|| unknown(line, &one, &two))?;
    let (entry, rest) = found;
    if entry.arguments.is_empty() && !rest.is_empty() {
        return Err(format!("`{}` stands alone; \"{}\" was not understood.", entry.name, one_line(rest)));
    }
    (entry.build)(rest).map_err(|problem| format!("{problem} Type: {}", usage(entry)))
}

/// A command with what follows it: `kick NAME [WHY]`.
pub fn usage(entry: &Entry) -> String {
    format!("{} {}", entry.name, entry.arguments).trim_end().to_owned()
}

/// The nearest command is named in any case; a `stop` alone is near to `stop listen`.
fn unknown(line: &str, one: &str, two: &str) -> String {
    let slips = |name: &str| match name.contains(' ') {
        _ if two.trim_end() == one && name.starts_with(one) => 0,
        true => distance(two, name),
        false => distance(one, name),
    };
    let names = TABLE.iter().map(|entry| entry.name).filter(|name| !name.contains('#'));
    let nearest = names.min_by_key(|name| slips(name)).unwrap_or("help");
    let shown: String = one_line(line.trim()).chars().take(MAX_SHOWN_CHARS).collect();
    format!("There is no command \"{shown}\"; did you mean `{nearest}`? `help` shows those there are.")
}

fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

fn say(rest: &str) -> Result<Command, String> {
    let Some(in_room) = rest.strip_prefix('#') else { return Ok(Command::SayToAll(text(rest)?)) };
    let (room, said) = split_word(in_room);
    let room =
        RoomName::parse(room).map_err(|error| format!("\"#{}\" is no room: {error}.", one_line(room)))?;
    Ok(Command::SayInRoom(room, text(said)?))
}

fn kick(rest: &str) -> Result<Command, String> {
    let (name, why) = split_word(rest);
    let why = if why.is_empty() { None } else { Some(text(why)?) };
    Ok(Command::Kick(user(name)?, why))
}

fn text(text: &str) -> Result<MessageText, String> {
    MessageText::parse(text).map_err(|code| code.sentence().to_owned())
}

fn user(name: &str) -> Result<UserName, String> {
    if name.is_empty() {
        return Err("A name is missing.".into());
    }
    UserName::parse(name).map_err(|error: NameError| format!("\"{}\" is no name: {error}.", one_line(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(text: &str) -> MessageText {
        MessageText::parse(text).unwrap()
    }

    #[test]
    fn case_and_space_do_not_matter() {
        for line in ["stop listen", "STOP LISTEN", "  Stop \t listen  "] {
            assert_eq!(parse(line), Ok(Command::SetListening(false)), "{line}");
        }
        assert_eq!(parse("ShutDown"), Ok(Command::Shutdown));
        assert_eq!(parse("clear FILE"), Ok(Command::ClearFile));
    }

    #[test]
    fn every_command_of_the_table_is_understood() {
        for entry in &TABLE {
            let line = match entry.arguments {
                "TEXT" => format!("{} hello", entry.name),
                "" => entry.name.to_owned(),
                _ => format!("{} alice", entry.name),
            };
            assert!(parse(&line).is_ok(), "{line}: {:?}", parse(&line));
            assert!(parse(&line.to_uppercase()).is_ok(), "{line}");
        }
    }

    #[test]
    fn the_operators_manual_names_every_command() {
        let manual = include_str!("../../../docs/operating.md");
        for entry in &TABLE {
            assert!(manual.contains(&format!("`{}`", usage(entry))), "{}", usage(entry));
        }
    }

    #[test]
    fn arguments_are_parsed_once_and_for_all() {
        assert_eq!(parse("say  Hello,   all! "), Ok(Command::SayToAll(said("Hello,   all!"))));
        let lobby = RoomName::parse("lobby").unwrap();
        assert_eq!(parse("SAY #Lobby Hi there"), Ok(Command::SayInRoom(lobby, said("Hi there"))));
        let alice = UserName::parse("alice").unwrap();
        assert_eq!(parse("kick Alice"), Ok(Command::Kick(alice.clone(), None)));
        assert_eq!(parse("kick alice too  loud"), Ok(Command::Kick(alice.clone(), Some(said("too  loud")))));
        assert_eq!(parse("unban ALICE"), Ok(Command::Unban(alice)));
    }

    #[test]
    fn what_is_wrong_is_told_with_what_to_type() {
        for (line, wanted) in [
            ("", "help"),
            ("say", "say TEXT"),
            ("say #lobby", "say TEXT"),
            ("say #../x hello", "is no room"),
            ("say a\u{1b}[2J", "control characters"),
            ("kick", "kick NAME [WHY]"),
            ("kick a/b", "is no name"),
            ("ban alice for good", "is no name"),
            ("status please", "stands alone"),
        ] {
            let problem = parse(line).unwrap_err();
            assert!(problem.contains(wanted), "{line}: {problem}");
        }
    }

    #[test]
    fn an_unknown_command_names_the_nearest() {
        for (line, name) in [
            ("shutdwon", "shutdown"),
            ("stop lisen", "stop listen"),
            ("stop", "stop listen"),
            ("start logs", "start log"),
            ("hlep", "help"),
            ("kik alice", "kick"),
            ("staus now", "status"),
        ] {
            let problem = parse(line).unwrap_err();
            assert!(problem.contains(&format!("did you mean `{name}`?")), "{line}: {problem}");
        }
        assert!(parse("make tea for everyone").unwrap_err().contains("did you mean `"));
        assert!(!parse("x\u{1b}]0;y\u{7}").unwrap_err().contains('\u{1b}'));
    }

    proptest! {
        #[test]
        fn any_line_gets_an_answer_that_is_one_safe_line(line in any::<String>()) {
            if let Err(problem) = parse(&line) {
                prop_assert_eq!(one_line(&problem), problem.as_str());
            }
        }
    }
}
