//! The operator's commands, as one table, and how a line becomes one of them. Pure.

use crate::model::{MessageText, NameError, RoomName, UserName};
use crate::sanitize::one_line;
use crate::suggest::distance;

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
    /// Empty the account file, keeping a copy; whether whoever asks is sure.
    ClearFile {
        /// `--yes` was given, or the question answered.
        sure: bool,
    },
    /// A notice to everybody.
    SayToAll(MessageText),
    /// A message of `server` in a room.
    SayInRoom(RoomName, MessageText),
    /// The commands there are.
    Help,
    /// How one command is typed, and what it does.
    HelpOn(&'static CommandSpec),
    /// How things stand.
    Status {
        /// As JSON, for programs.
        json: bool,
        /// What was set aside has been looked at, and is no longer something wrong.
        seen: bool,
    },
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
    /// Forget the wrong guesses at it.
    Unlock(UserName),
}

impl Command {
    /// The command as the log has it: with names, and never with a text that somebody is told.
    pub fn for_log(&self) -> String {
        match self {
            Command::Shutdown => "shutdown".into(),
            Command::SetListening(on) => format!("{} listen", start_or_stop(*on)),
            Command::ShowLog(on) => format!("{} log", start_or_stop(*on)),
            Command::ClearLog => "clear log".into(),
            Command::ClearFile { .. } => "clear file".into(),
            Command::SayToAll(_) => "say".into(),
            Command::SayInRoom(room, _) => format!("say #{room}"),
            Command::Help | Command::HelpOn(_) => "help".into(),
            Command::Status { .. } => "status".into(),
            Command::Who => "who".into(),
            Command::Rooms => "rooms".into(),
            Command::Kick(name, _) => format!("kick {name}"),
            Command::Ban(name) => format!("ban {name}"),
            Command::Unban(name) => format!("unban {name}"),
            Command::Unlock(name) => format!("unlock {name}"),
        }
    }
}

impl Command {
    /// Whether the log is to have a line about it. Monitors ask for the status every few seconds.
    pub fn is_logged(&self) -> bool {
        !matches!(self, Command::Status { .. })
    }

    /// What to ask before it is done, where it cannot simply be taken back; [`SURE`] answers it.
    pub fn question(&self) -> Option<&'static str> {
        match self {
            Command::ClearFile { sure: false } => Some(
                "This removes all accounts: everybody is thrown out and has to register anew, and anybody \
                 can take anybody's name. A copy is kept.",
            ),
            _ => None,
        }
    }
}

fn start_or_stop(on: bool) -> &'static str {
    if on { "start" } else { "stop" }
}

/// What follows a command's name, behind its options.
struct Given<'a> {
    /// The options that were given, of those that the command has.
    options: Vec<&'static str>,
    /// The rest of the line.
    rest: &'a str,
    /// Whether a `--` said that all of the rest is meant as it stands.
    verbatim: bool,
}

impl Given<'_> {
    fn has(&self, option: &str) -> bool {
        self.options.contains(&option)
    }
}

/// Why no command came of a line.
enum Trouble {
    /// A sentence.
    Wrong(String),
    /// `--help` was asked for.
    Help,
}

impl From<String> for Trouble {
    fn from(sentence: String) -> Self {
        Trouble::Wrong(sentence)
    }
}

/// A command as people see it, and what makes one of the words after its name.
pub struct CommandSpec {
    /// Its name, one or two words in lower case.
    pub name: &'static str,
    /// The options that it has.
    pub options: &'static [&'static str],
    /// What follows the name, as `help` shows it.
    pub arguments: &'static str,
    /// What it does, in a line.
    pub help: &'static str,
    build: fn(&Given<'_>) -> Result<Command, Trouble>,
}

impl CommandSpec {
    /// How many words stand between the name and a text that is free, for a command that takes one.
    pub fn words_before_text(&self) -> Option<usize> {
        let last = self.arguments.split(' ').next_back()?;
        matches!(last, "TEXT" | "[WHY]").then(|| self.arguments.split(' ').count() - 1)
    }
}

impl PartialEq for CommandSpec {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for CommandSpec {}

impl std::fmt::Debug for CommandSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Says that one is sure, where a command would ask.
pub const SURE: &str = "--yes";

/// Every command, in the order in which `help` shows them.
pub static TABLE: [CommandSpec; 17] = [
    entry("help", "", "shows this", |_| Ok(Command::Help)),
    entry("status", "", "shows how things stand; --seen: what was set aside has been looked at", |given| {
        Ok(Command::Status { json: given.has("--json"), seen: given.has("--seen") })
    })
    .with(&["--json", "--seen"]),
    entry("who", "", "shows who is online", |_| Ok(Command::Who)),
    entry("rooms", "", "shows the rooms with someone in them", |_| Ok(Command::Rooms)),
    entry("say", "TEXT", "tells everybody who is online", say),
    entry("say #ROOM", "TEXT", "says something in a room as server, stored like any message", say),
    entry("kick", "NAME [WHY]", "ends an account's sessions; it may log in again", kick),
    entry("ban", "NAME", "ends an account's sessions and keeps it out", |given| {
        Ok(Command::Ban(user(given.rest)?))
    }),
    entry("unban", "NAME", "lets a banned account in again", |given| Ok(Command::Unban(user(given.rest)?))),
    entry(
        "unlock",
        "NAME",
        "forgets the wrong guesses at an account, so that it can be tried at once",
        |given| Ok(Command::Unlock(user(given.rest)?)),
    ),
    entry("stop listen", "", "lets new connections wait; who is in stays in", |_| {
        Ok(Command::SetListening(false))
    }),
    entry("start listen", "", "takes new connections, those that waited first", |_| {
        Ok(Command::SetListening(true))
    }),
    entry("stop log", "", "hides service messages here; the file gets them", |_| Ok(Command::ShowLog(false))),
    entry("start log", "", "shows service messages here too", |_| Ok(Command::ShowLog(true))),
    entry("clear log", "", "empties the log file and clears the console", |_| Ok(Command::ClearLog)),
    entry("clear file", "", "removes all accounts, keeping a dated copy; all sessions end", |given| {
        Ok(Command::ClearFile { sure: given.has(SURE) })
    })
    .with(&[SURE]),
    entry("shutdown", "", "tells the clients, stores what is accepted, and stops the server", |_| {
        Ok(Command::Shutdown)
    }),
];

const fn entry(
    name: &'static str,
    arguments: &'static str,
    help: &'static str,
    build: fn(&Given<'_>) -> Result<Command, Trouble>,
) -> CommandSpec {
    CommandSpec { name, options: &[], arguments, help, build }
}

impl CommandSpec {
    const fn with(mut self, options: &'static [&'static str]) -> CommandSpec {
        self.options = options;
        self
    }
}

/// The command that a line asks for. Case does not matter in a command's name, nor how much space is
/// between its words. Behind the name come options; `--` ends them, and a text that would be taken for one
/// stands behind it. `--help` shows what the command does, and never does it.
///
/// # Errors
/// A sentence for the operator: what is wrong, and what to type.
pub fn parse(line: &str) -> Result<Command, String> {
    let (entry, rest) = find(line)?;
    let command = options_of(entry, rest).and_then(|given| {
        let alone = entry.arguments.is_empty() && !given.rest.is_empty();
        if alone {
            return Err(format!("`{}` stands alone; what follows was not understood.", entry.name).into());
        }
        (entry.build)(&given)
    });
    command.or_else(|trouble| match trouble {
        Trouble::Help => Ok(Command::HelpOn(entry)),
        Trouble::Wrong(problem) => Err(format!("{problem} Type: {}", usage(entry))),
    })
}

/// The entry of a line's command, and what follows its name.
///
/// # Errors
/// A sentence that names the nearest command.
pub fn find(line: &str) -> Result<(&'static CommandSpec, &str), String> {
    let (first, rest) = split_word(line);
    if first.is_empty() {
        return Err("There is no command in this line; `help` shows those there are.".into());
    }
    let (second, rest_of_two) = split_word(rest);
    let one = first.to_lowercase();
    let two = format!("{one} {}", second.to_lowercase());
    TABLE
        .iter()
        .find_map(|entry| match entry.name {
            "say #ROOM" if one == "say" && rest.starts_with('#') => Some((entry, rest)),
            "say" if rest.starts_with('#') => None,
            name if name == one => Some((entry, rest)),
            name if name == two => Some((entry, rest_of_two)),
            _ => None,
        })
        .ok_or_else(|| unknown(line, &one, &two))
}

/// Takes the options off the front of what follows a name.
fn options_of<'a>(entry: &CommandSpec, rest: &'a str) -> Result<Given<'a>, Trouble> {
    let mut given = Given { options: Vec::new(), rest: rest.trim(), verbatim: false };
    loop {
        let (word, behind) = split_word(given.rest);
        if !word.starts_with("--") {
            return Ok(given);
        }
        let known = entry.options.iter().find(|option| option.eq_ignore_ascii_case(word));
        match known {
            _ if word == "--" => return Ok(Given { rest: behind, verbatim: true, ..given }),
            Some(option) => given.options.push(option),
            None => return Err(no_option(entry.name, word)),
        }
        given.rest = behind;
    }
}

fn no_option(name: &str, word: &str) -> Trouble {
    if word.eq_ignore_ascii_case("--help") {
        return Trouble::Help;
    }
    let shown: String = one_line(word).chars().take(MAX_SHOWN_CHARS).collect();
    format!("`{name}` has no option {shown}; what is meant to begin like this goes behind `--`.").into()
}

/// A command with what follows it: `kick NAME [WHY]`.
pub fn usage(entry: &CommandSpec) -> String {
    let options: String = entry.options.iter().map(|option| format!(" [{option}]")).collect();
    format!("{}{options} {}", entry.name, entry.arguments).trim_end().to_owned()
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
    // What follows may be a secret: somebody takes `passwd NAME` for a command.
    let shown: String = one_line(split_word(line).0).chars().take(MAX_SHOWN_CHARS).collect();
    format!("There is no command \"{shown}\"; did you mean `{nearest}`? `help` shows those there are.")
}

fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

fn say(given: &Given<'_>) -> Result<Command, Trouble> {
    if given.verbatim {
        return Ok(Command::SayToAll(text(given.rest)?));
    }
    let Some(in_room) = given.rest.strip_prefix('#') else {
        return Ok(Command::SayToAll(text(given.rest)?));
    };
    let (room, said) = split_word(in_room);
    let room =
        RoomName::as_given(room).map_err(|error| format!("\"#{}\" is no room: {error}.", one_line(room)))?;
    Ok(Command::SayInRoom(room, free_text("say", said)?))
}

fn kick(given: &Given<'_>) -> Result<Command, Trouble> {
    let (name, why) = split_word(given.rest);
    let why = if why.is_empty() { None } else { Some(free_text("kick", why)?) };
    Ok(Command::Kick(user(name)?, why))
}

/// A text behind other arguments: what looks like an option there is none of the command's.
fn free_text(name: &str, given: &str) -> Result<MessageText, Trouble> {
    match split_word(given) {
        ("--", behind) => Ok(text(behind)?),
        (word, _) if word.starts_with("--") => Err(no_option(name, word)),
        _ => Ok(text(given)?),
    }
}

fn text(text: &str) -> Result<MessageText, String> {
    MessageText::parse(text).map_err(|error| error.to_string())
}

fn user(name: &str) -> Result<UserName, String> {
    if name.is_empty() {
        return Err("A name is missing.".into());
    }
    UserName::as_given(name)
        .map_err(|error: NameError| format!("\"{}\" is no name: {error}.", one_line(name)))
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
        assert_eq!(parse("clear FILE"), Ok(Command::ClearFile { sure: false }));
        assert_eq!(parse("clear file --YES"), Ok(Command::ClearFile { sure: true }));
    }

    #[test]
    fn every_command_of_the_table_is_understood() {
        for entry in &TABLE {
            let line = match entry.arguments {
                "TEXT" => format!("{} hello", entry.name.replace("#ROOM", "#room")),
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

    // issue 7: `ctl say --help` tells everybody `--help`
    #[test]
    fn what_looks_like_an_option_is_none_of_a_text() {
        for entry in &TABLE {
            let line = format!("{} --help", entry.name.replace("#ROOM", "#room"));
            assert_eq!(parse(&line), Ok(Command::HelpOn(entry)), "{line}");
        }
        assert!(matches!(parse("kick alice --help"), Ok(Command::HelpOn(_))));
        for line in
            ["say --helo", "say #lobby --x y", "kick alice --why", "status --jsno", "ban --all", "who --x"]
        {
            assert!(parse(line).unwrap_err().contains("no option --"), "{line}: {:?}", parse(line));
        }
        let lobby = RoomName::parse("lobby").unwrap();
        for (line, said_to_all) in [
            ("say -- --help", "--help"),
            ("say -- #5 is out", "#5 is out"),
            ("say -- -- x", "-- x"),
            ("say tea --help -- x", "tea --help -- x"),
            ("say - x", "- x"),
        ] {
            assert_eq!(parse(line), Ok(Command::SayToAll(said(said_to_all))), "{line}");
        }
        assert_eq!(parse("say #lobby -- --help"), Ok(Command::SayInRoom(lobby, said("--help"))));
        let alice = UserName::parse("alice").unwrap();
        assert_eq!(parse("kick -- alice -- --x"), Ok(Command::Kick(alice, Some(said("--x")))));
        assert_eq!(parse("status --json --SEEN"), Ok(Command::Status { json: true, seen: true }));
    }

    #[test]
    fn what_is_wrong_is_told_with_what_to_type() {
        for (line, wanted) in [
            ("", "help"),
            ("say", "say TEXT"),
            ("say #lobby", "say #ROOM TEXT"),
            ("say #../x hello", "is no room"),
            ("say --", "say TEXT"),
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
        for line in ["passwd alice hunter2", "login hunter2", "who hunter2"] {
            assert!(!parse(line).unwrap_err().contains("hunter2"), "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_line_gets_an_answer_that_is_one_safe_line(line in any::<String>()) {
            if let Err(problem) = parse(&line) {
                // Behind right-to-left text a mark puts the direction back, each time that it is shown.
                let without = |text: &str| text.trim_end_matches('\u{200e}').to_owned();
                prop_assert_eq!(without(&one_line(&problem)), without(&problem));
            }
        }
    }
}
