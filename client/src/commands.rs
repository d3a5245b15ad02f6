//! What a person types: the table of commands, and what a line means.

use veche::names::{RoomName, UserName};
use veche::protocol::request::{DEFAULT_PAGE, MAX_PAGE, MAX_TEXT_BYTES};
use veche::protocol::{ErrorCode, HistoryOf, MessageText};

use crate::session::Command;

/// A command: its name, its arguments, and what it does.
#[derive(Debug)]
pub struct Entry {
    /// What is typed behind the slash.
    pub name: &'static str,
    /// The arguments, as the help shows them.
    pub arguments: &'static str,
    /// What it does.
    pub help: &'static str,
    parse: fn(&str) -> Result<Typed, Mistake>,
}

/// Every command there is.
pub const COMMANDS: &[Entry] = &[
    Entry { name: "join", arguments: "ROOM", help: "enter a room, or turn to one you are in", parse: join },
    Entry {
        name: "leave",
        arguments: "[ROOM]",
        help: "leave a room, this one if none is named",
        parse: leave,
    },
    Entry { name: "tell", arguments: "NAME TEXT", help: "a direct message, for one person", parse: tell },
    Entry { name: "who", arguments: "[ROOM]", help: "who is online, in a room or anywhere", parse: who },
    Entry { name: "rooms", arguments: "", help: "the rooms with someone in them", parse: rooms },
    Entry {
        name: "history",
        arguments: "[ROOM|@NAME] [COUNT]",
        help: "what was said here, in a room, or with someone",
        parse: history,
    },
    Entry { name: "passwd", arguments: "", help: "change your password", parse: passwd },
    Entry { name: "help", arguments: "", help: "these lines", parse: help },
    Entry { name: "exit", arguments: "", help: "end the session (or: exit, Ctrl-D)", parse: exit },
];

/// What a line means.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// Something for the session.
    Command(Command),
    /// The help is wanted.
    Help,
    /// A new password is wanted; it is asked for without an echo.
    Passwd,
    /// Nothing.
    Nothing,
}

/// Why a line means nothing: a sentence for the person.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// No command has this name.
    #[error("There is no /{typed}; did you mean /{nearest}? (/help lists all; //{typed} says it.)")]
    Unknown {
        /// What was typed.
        typed: String,
        /// The command that it resembles most.
        nearest: &'static str,
    },
    /// The arguments are not what the command takes.
    #[error("It is typed as: /{name} {arguments}")]
    Usage {
        /// The command.
        name: &'static str,
        /// What it takes.
        arguments: &'static str,
    },
    /// An argument is not what it has to be.
    #[error("{0}")]
    Value(&'static str),
}

/// Reads a line. `/x` is a command, `//x` says `/x`, `exit` alone ends.
///
/// # Errors
/// [`Mistake`] when it is meant as a command and is none, or cannot be said.
pub fn read(line: &str) -> Result<Typed, Mistake> {
    let trimmed = line.trim();
    if trimmed.is_empty() {
        return Ok(Typed::Nothing);
    }
    if trimmed == "exit" {
        return Ok(Typed::Command(Command::Exit));
    }
    if let Some(literal) = trimmed.strip_prefix("//") {
        return said(&format!("/{literal}"));
    }
    let Some(command) = trimmed.strip_prefix('/') else {
        return said(line);
    };
    let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    match COMMANDS.iter().find(|entry| entry.name.eq_ignore_ascii_case(name)) {
        Some(entry) => (entry.parse)(rest.trim()),
        None => Err(Mistake::Unknown { typed: name.to_owned(), nearest: nearest(name) }),
    }
}

/// Checks what is to be said. Line breaks of other systems become newlines.
///
/// # Errors
/// [`Mistake::Value`] when the protocol does not allow this text.
pub fn text(text: &str) -> Result<MessageText, Mistake> {
    MessageText::parse(&text.replace("\r\n", "\n").replace('\r', "\n"))
        .map_err(|code| Mistake::Value(code.sentence()))
}

/// The lines that `/help` shows.
pub fn help_lines() -> String {
    let mut lines = String::new();
    for entry in COMMANDS {
        let call = format!("/{} {}", entry.name, entry.arguments);
        lines.push_str(&format!("  {call:<32}{}\n", entry.help));
    }
    lines.push_str(&format!("Anything else is said, {MAX_TEXT_BYTES} bytes at most; //x says /x.\n"));
    lines
}

fn said(line: &str) -> Result<Typed, Mistake> {
    Ok(Typed::Command(Command::Say(text(line)?)))
}

fn usage(name: &str) -> Mistake {
    let entry = COMMANDS.iter().find(|entry| entry.name == name).unwrap_or(&COMMANDS[0]);
    Mistake::Usage { name: entry.name, arguments: entry.arguments }
}

/// A room's name; people write `#room` too, which no name can begin with.
fn room(text: &str) -> Result<RoomName, Mistake> {
    let text = text.strip_prefix('#').unwrap_or(text);
    RoomName::parse(text).map_err(|_| Mistake::Value(ErrorCode::BadRoom.sentence()))
}

fn user(text: &str) -> Result<UserName, Mistake> {
    let text = text.strip_prefix('@').unwrap_or(text);
    UserName::as_given(text).map_err(|_| Mistake::Value(ErrorCode::BadName.sentence()))
}

fn optional_room(rest: &str) -> Result<Option<RoomName>, Mistake> {
    if rest.is_empty() { Ok(None) } else { room(rest).map(Some) }
}

fn join(rest: &str) -> Result<Typed, Mistake> {
    if rest.is_empty() {
        return Err(usage("join"));
    }
    Ok(Typed::Command(Command::Join(room(rest)?)))
}

fn leave(rest: &str) -> Result<Typed, Mistake> {
    Ok(Typed::Command(Command::Leave(optional_room(rest)?)))
}

fn tell(rest: &str) -> Result<Typed, Mistake> {
    let (name, what) = rest.split_once(char::is_whitespace).ok_or_else(|| usage("tell"))?;
    Ok(Typed::Command(Command::Tell(user(name)?, text(what.trim_start())?)))
}

fn who(rest: &str) -> Result<Typed, Mistake> {
    Ok(Typed::Command(Command::Who(optional_room(rest)?)))
}

fn rooms(rest: &str) -> Result<Typed, Mistake> {
    if rest.is_empty() { Ok(Typed::Command(Command::Rooms)) } else { Err(usage("rooms")) }
}

fn history(rest: &str) -> Result<Typed, Mistake> {
    let words: Vec<_> = rest.split_whitespace().collect();
    let (of, count) = match words[..] {
        [] => (None, None),
        // A number alone is a count; a room that is called so is written with #.
        [one] if one.bytes().all(|b| b.is_ascii_digit()) => (None, Some(one)),
        [of] => (Some(of), None),
        [of, count] => (Some(of), Some(count)),
        _ => return Err(usage("history")),
    };
    let of = match of {
        None => None,
        Some(name) if name.starts_with('@') => Some(HistoryOf::With(user(name)?)),
        Some(name) => Some(HistoryOf::Room(room(name)?)),
    };
    let count = match count {
        None => DEFAULT_PAGE,
        Some(count) => match count.parse() {
            Ok(count) if (1..=MAX_PAGE).contains(&count) => count,
            _ => return Err(Mistake::Value("The count is a number from 1 to 500.")),
        },
    };
    Ok(Typed::Command(Command::History(of, count)))
}

fn passwd(rest: &str) -> Result<Typed, Mistake> {
    // What stands behind it is no password: those are asked for without an echo.
    if rest.is_empty() { Ok(Typed::Passwd) } else { Err(usage("passwd")) }
}

fn help(_: &str) -> Result<Typed, Mistake> {
    Ok(Typed::Help)
}

fn exit(rest: &str) -> Result<Typed, Mistake> {
    if rest.is_empty() { Ok(Typed::Command(Command::Exit)) } else { Err(usage("exit")) }
}

/// The command that takes the fewest changes to become from what was typed.
fn nearest(typed: &str) -> &'static str {
    let typed = typed.to_lowercase();
    COMMANDS.iter().min_by_key(|entry| distance(&typed, entry.name)).map_or("help", |entry| entry.name)
}

/// How many letters have to be changed, put in or left out (Levenshtein). Only the beginning of a long
/// text counts: no command is longer.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().take(32).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Command {
        match read(line) {
            Ok(Typed::Command(command)) => command,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn lines_mean_what_they_look_like() {
        let say = |words: &str| Command::Say(text(words).expect("a text"));
        let lobby = RoomName::lobby();
        assert_eq!(command("hello there"), say("hello there"));
        assert_eq!(command("//join x"), say("/join x"));
        assert_eq!(command("exit now"), say("exit now"));
        assert_eq!(command(" exit "), Command::Exit);
        assert_eq!(command("/EXIT"), Command::Exit);
        assert_eq!(command("/join #Lobby"), Command::Join(lobby.clone()));
        assert_eq!(command("/leave"), Command::Leave(None));
        let bob = UserName::parse("bob").expect("a name");
        assert_eq!(command("/tell Bob  hi you"), Command::Tell(bob.clone(), text("hi you").expect("a text")));
        assert_eq!(command("/history"), Command::History(None, 50));
        assert_eq!(command("/history 7"), Command::History(None, 7));
        assert_eq!(command("/history #lobby 7"), Command::History(Some(HistoryOf::Room(lobby)), 7));
        assert_eq!(command("/history @bob"), Command::History(Some(HistoryOf::With(bob)), 50));
        assert_eq!(read("   "), Ok(Typed::Nothing));
        assert_eq!(read("/passwd"), Ok(Typed::Passwd));
    }

    #[test]
    fn mistakes_are_told_in_a_sentence() {
        for (line, part) in [
            ("/jion x", "did you mean /join"),
            ("/hsitory", "did you mean /history"),
            ("/quit", "//quit"),
            ("/tell bob", "/tell NAME TEXT"),
            ("/join ../x", "A room is 1 to 50"),
            ("/history 501", "1 to 500"),
            ("/passwd secret", "/passwd"),
            ("a\u{1b}b", "control characters"),
        ] {
            let mistake = read(line).expect_err(line).to_string();
            assert!(mistake.contains(part), "{line}: {mistake}");
        }
        assert!(read(&"x".repeat(4_097)).expect_err("too long").to_string().contains("4096"));
        assert!(read(&format!("/{}", "x".repeat(70_000))).is_err());
    }

    #[test]
    fn the_help_names_every_command() {
        let lines = help_lines();
        assert!(COMMANDS.iter().all(|entry| lines.contains(&format!("/{}", entry.name))));
    }
}
