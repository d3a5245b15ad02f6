//! What a person types: the table of commands, and what a line means. It means it in the room that the prompt
//! named when it was entered; so a command that is about "here" is complete when it leaves this file.

use veche::model::{
    DEFAULT_PAGE, ErrorCode, HistoryOf, MAX_PAGE, MAX_TEXT_BYTES, MessageText, RoomName, UserName,
};
use veche::suggest::nearest;

use crate::session::Command;

/// A command: its name, its arguments, and what it does.
#[derive(Debug)]
pub struct CommandEntry {
    /// What is typed behind the slash.
    pub name: &'static str,
    /// What people who know other programs type for it.
    pub aliases: &'static [&'static str],
    /// The arguments, as the help shows them.
    pub arguments: &'static str,
    /// What it does.
    pub help: &'static str,
    parse: fn(&Arguments<'_>) -> Result<Typed, Mistake>,
}

/// What stands behind a command, and where it was typed.
struct Arguments<'a> {
    /// The command as it was typed, in lower case.
    typed: &'a str,
    rest: &'a str,
    here: Option<&'a RoomName>,
}

/// Every command there is.
pub const COMMANDS: &[CommandEntry] = &[
    CommandEntry {
        name: "join",
        aliases: &[],
        arguments: "ROOM",
        help: "enter a room, or turn to one you are in",
        parse: join,
    },
    CommandEntry {
        name: "leave",
        aliases: &["part"],
        arguments: "[ROOM]",
        help: "leave a room, this one if none is named",
        parse: leave,
    },
    CommandEntry {
        name: "tell",
        aliases: &["msg", "query", "dm"],
        arguments: "NAME TEXT",
        help: "a direct message, for one person",
        parse: tell,
    },
    CommandEntry {
        name: "who",
        aliases: &["names"],
        arguments: "[ROOM]",
        help: "who is online, in a room or anywhere",
        parse: who,
    },
    CommandEntry {
        name: "rooms",
        aliases: &["list"],
        arguments: "",
        help: "the rooms with someone in them",
        parse: rooms,
    },
    CommandEntry {
        name: "history",
        aliases: &[],
        arguments: "[ROOM|@NAME] [COUNT]",
        help: "what was said here, in a room, or with someone",
        parse: history,
    },
    CommandEntry { name: "passwd", aliases: &[], arguments: "", help: "change your password", parse: passwd },
    CommandEntry { name: "help", aliases: &[], arguments: "", help: "these lines", parse: help },
    CommandEntry {
        name: "exit",
        aliases: &["quit"],
        arguments: "",
        help: "end the session (or: exit, Ctrl-D)",
        parse: exit,
    },
];

/// The most characters of an unknown command that are shown again.
const SHOWN_CHARS: usize = 32;

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
    /// No command has this name, but a slip of the finger leads there from another.
    #[error("There is no /{typed}; did you mean /{nearest}? (/help lists all; //{typed} says it.)")]
    Mistyped {
        /// What was typed.
        typed: String,
        /// The command that was meant, probably.
        nearest: &'static str,
    },
    /// No command has a name like this.
    #[error("There is no /{0}; /help lists what there is. (//{0} says it.)")]
    Unknown(String),
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

/// Reads a line that was typed in the room `here`. `/x` is a command, `//x` says `/x`, `exit` alone ends.
///
/// # Errors
/// [`Mistake`] when it is meant as a command and is none, or cannot be said.
pub fn read(line: &str, here: Option<&RoomName>) -> Result<Typed, Mistake> {
    let trimmed = line.trim();
    if trimmed.is_empty() {
        return Ok(Typed::Nothing);
    }
    if trimmed == "exit" {
        return Ok(Typed::Command(Command::Exit));
    }
    if let Some(literal) = trimmed.strip_prefix("//") {
        return said(&format!("/{literal}"), here);
    }
    let Some(command) = trimmed.strip_prefix('/') else {
        return said(line, here);
    };
    let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let typed = name.to_ascii_lowercase();
    match COMMANDS.iter().find(|entry| entry.answers_to(&typed)) {
        Some(entry) => (entry.parse)(&Arguments { typed: &typed, rest: rest.trim(), here }),
        None => Err(unknown(name)),
    }
}

impl CommandEntry {
    fn answers_to(&self, typed: &str) -> bool {
        self.name == typed || self.aliases.contains(&typed)
    }
}

fn unknown(name: &str) -> Mistake {
    // Anything is near to a word of two letters.
    let names = COMMANDS.iter().flat_map(|entry| std::iter::once(&entry.name).chain(entry.aliases));
    let nearest = nearest(name, names.copied().filter(|name| name.len() > 2));
    let mut typed: String = name.chars().take(SHOWN_CHARS).collect();
    if typed.len() < name.len() {
        typed.push('\u{2026}');
    }
    match nearest {
        Some(nearest) => Mistake::Mistyped { typed, nearest },
        None => Mistake::Unknown(typed),
    }
}

/// Checks what is to be said. Line breaks of other systems become newlines, and empty lines before and behind
/// it, such as the last newline of what was pasted, are no part of it.
///
/// # Errors
/// [`Mistake::Value`] when the protocol does not allow this text.
pub fn text(text: &str) -> Result<MessageText, Mistake> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    MessageText::parse(without_empty_ends(&text)).map_err(|code| Mistake::Value(code.sentence()))
}

fn without_empty_ends(text: &str) -> &str {
    let start = text.len() - text.trim_start().len();
    let text = &text[text[..start].rfind('\n').map_or(0, |newline| newline + 1)..];
    let end = text.trim_end().len();
    text[end..].find('\n').map_or(text, |newline| &text[..end + newline])
}

/// The lines that `/help` shows.
pub fn help_lines() -> String {
    let mut lines = String::new();
    for entry in COMMANDS {
        let call = format!("/{} {}", entry.name, entry.arguments);
        let also: Vec<_> = entry.aliases.iter().map(|alias| format!("/{alias}")).collect();
        let also = if also.is_empty() { String::new() } else { format!("; also {}", also.join(" ")) };
        lines.push_str(&format!("  {call:<32}{}{also}\n", entry.help));
    }
    lines.push_str(&format!("Anything else is said, {MAX_TEXT_BYTES} bytes at most; //x says /x.\n"));
    lines
}

fn said(line: &str, here: Option<&RoomName>) -> Result<Typed, Mistake> {
    let text = text(line)?;
    let room = here.cloned().ok_or(Mistake::Value("You are in no room; /join one first."))?;
    Ok(Typed::Command(Command::Say(room, text)))
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

impl Arguments<'_> {
    /// The room that is named, or the one where this was typed.
    fn room_or_here(&self, rest: &str) -> Result<RoomName, Mistake> {
        match (rest, self.here) {
            ("", Some(here)) => Ok(here.clone()),
            ("", None) => Err(Mistake::Value("You are in no room; name one.")),
            (named, _) => room(named),
        }
    }
}

fn join(arguments: &Arguments<'_>) -> Result<Typed, Mistake> {
    if arguments.rest.is_empty() {
        return Err(usage("join"));
    }
    Ok(Typed::Command(Command::Join(room(arguments.rest)?)))
}

fn leave(arguments: &Arguments<'_>) -> Result<Typed, Mistake> {
    Ok(Typed::Command(Command::Leave(arguments.room_or_here(arguments.rest)?)))
}

fn tell(arguments: &Arguments<'_>) -> Result<Typed, Mistake> {
    let (name, what) = arguments.rest.split_once(char::is_whitespace).ok_or_else(|| usage("tell"))?;
    Ok(Typed::Command(Command::Tell(user(name)?, text(what.trim_start())?)))
}

fn who(arguments: &Arguments<'_>) -> Result<Typed, Mistake> {
    let room = match arguments.rest {
        // Where people know /names from, it is about the channel that they are in.
        "" if arguments.typed == "names" => arguments.here.cloned(),
        "" => None,
        named => Some(room(named)?),
    };
    Ok(Typed::Command(Command::Who(room)))
}

fn rooms(arguments: &Arguments<'_>) -> Result<Typed, Mistake> {
    if arguments.rest.is_empty() { Ok(Typed::Command(Command::Rooms)) } else { Err(usage("rooms")) }
}

fn history(arguments: &Arguments<'_>) -> Result<Typed, Mistake> {
    let words: Vec<_> = arguments.rest.split_whitespace().collect();
    let (of, count) = match words[..] {
        [] => ("", None),
        // A number alone is a count; a room that is called so is written with #.
        [one] if one.bytes().all(|b| b.is_ascii_digit()) => ("", Some(one)),
        [of] => (of, None),
        [of, count] => (of, Some(count)),
        _ => return Err(usage("history")),
    };
    let of = match of.strip_prefix('@') {
        Some(name) => HistoryOf::With(user(name)?),
        None => HistoryOf::Room(arguments.room_or_here(of)?),
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

fn passwd(arguments: &Arguments<'_>) -> Result<Typed, Mistake> {
    // What stands behind it is no password: those are asked for without an echo.
    if arguments.rest.is_empty() { Ok(Typed::Passwd) } else { Err(usage("passwd")) }
}

fn help(_: &Arguments<'_>) -> Result<Typed, Mistake> {
    Ok(Typed::Help)
}

fn exit(arguments: &Arguments<'_>) -> Result<Typed, Mistake> {
    if arguments.rest.is_empty() { Ok(Typed::Command(Command::Exit)) } else { Err(usage("exit")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(line: &str) -> Result<Typed, Mistake> {
        read(line, Some(&RoomName::lobby()))
    }

    fn command(line: &str) -> Command {
        match here(line) {
            Ok(Typed::Command(command)) => command,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn say(words: &str) -> Command {
        Command::Say(RoomName::lobby(), MessageText::parse(words).expect("a text"))
    }

    #[test]
    fn lines_mean_what_they_look_like() {
        let lobby = RoomName::lobby();
        assert_eq!(command("hello there"), say("hello there"));
        assert_eq!(command("//join x"), say("/join x"));
        assert_eq!(command("exit now"), say("exit now"));
        assert_eq!(command(" exit "), Command::Exit);
        assert_eq!(command("/EXIT"), Command::Exit);
        assert_eq!(command("/join #Lobby"), Command::Join(lobby.clone()));
        assert_eq!(command("/leave"), Command::Leave(lobby.clone()));
        let bob = UserName::parse("bob").expect("a name");
        assert_eq!(command("/tell Bob  hi you"), Command::Tell(bob.clone(), text("hi you").expect("a text")));
        assert_eq!(command("/history"), Command::History(HistoryOf::Room(lobby.clone()), 50));
        assert_eq!(command("/history 7"), Command::History(HistoryOf::Room(lobby.clone()), 7));
        assert_eq!(command("/history #lobby 7"), Command::History(HistoryOf::Room(lobby), 7));
        assert_eq!(command("/history @bob"), Command::History(HistoryOf::With(bob), 50));
        assert_eq!(here("   "), Ok(Typed::Nothing));
        assert_eq!(here("/passwd"), Ok(Typed::Passwd));
    }

    // issue 7: "Did you mean"
    #[test]
    fn what_people_type_elsewhere_is_understood() {
        for alias in ["msg", "query", "dm", "DM"] {
            assert_eq!(command(&format!("/{alias} bob hi")), command("/tell bob hi"));
        }
        assert_eq!(command("/part"), command("/leave"));
        assert_eq!(command("/list"), Command::Rooms);
        assert_eq!(command("/names"), Command::Who(Some(RoomName::lobby())), "those who are here");
        assert_eq!(command("/names tea"), command("/who tea"));
        assert_eq!(command("/quit"), Command::Exit);
    }

    #[test]
    fn mistakes_are_told_in_a_sentence() {
        for (line, part) in [
            ("/jion x", "did you mean /join"),
            ("/hsitory", "did you mean /history"),
            ("/prat", "did you mean /part"),
            ("/logout", "//logout"),
            ("/tell bob", "/tell NAME TEXT"),
            ("/join ../x", "A room is 1 to 50"),
            ("/history 501", "1 to 500"),
            ("/passwd secret", "/passwd"),
            ("a\u{1b}b", "control characters"),
        ] {
            let mistake = here(line).expect_err(line).to_string();
            assert!(mistake.contains(part), "{line}: {mistake}");
        }
        for line in ["hi", "/leave", "/history", "/history 5"] {
            let mistake = read(line, None).expect_err(line).to_string();
            assert!(mistake.contains("You are in no room"), "{line}: {mistake}");
        }
        assert!(here(&"x".repeat(4_097)).expect_err("too long").to_string().contains("4096"));
        let long = here(&format!("/{}", "x".repeat(70_000))).expect_err("no command").to_string();
        assert!(long.len() < 200, "{long}");
    }

    // issue 7: "Did you mean"
    #[test]
    fn no_guess_is_made_that_is_not_near() {
        for line in [
            "/logout",
            "/x",
            "/yo",
            "/em",
            "/nick bob",
            "/topic",
            "/kick bob",
            "/ignore",
            "/away",
            "/me waves",
            "/",
        ] {
            let mistake = here(line).expect_err(line);
            assert!(matches!(mistake, Mistake::Unknown(_)), "{line}: {mistake}");
        }
    }

    // issue 7: "A final newline in a paste sends an empty line"
    #[test]
    fn empty_lines_around_what_was_pasted_are_not_said() {
        for pasted in ["hello\n", "hello\r\n", "\n\nhello\n\n", "hello\n  \n", "\r\rhello\r"] {
            assert_eq!(command(pasted), say("hello"), "{pasted:?}");
        }
        assert_eq!(command("  if x:\n    y\n"), say("  if x:\n    y"), "what is inside stays as it is");
        assert_eq!(command("\n  if x:\n\n    y "), say("  if x:\n\n    y "));
        assert_eq!(command("/tell bob hello\n"), command("/tell bob hello"));
        assert_eq!(here(" \n\n"), Ok(Typed::Nothing));
    }

    #[test]
    fn the_help_names_every_command() {
        let lines = help_lines();
        let names = COMMANDS.iter().flat_map(|entry| std::iter::once(&entry.name).chain(entry.aliases));
        for name in names {
            assert!(lines.contains(&format!("/{name}")), "{name}");
        }
    }
}
