//! `veche ctl`: one console command for the running server.

use std::path::Path;

use super::{Exit, complain, print};
use crate::actors::console::commands::{self, CommandSpec};
use crate::actors::console::help_on;
use crate::control::ControlRequest;
use crate::control::client::{Client, ClientError};

/// What the words behind `ctl` ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// To send this line.
    Line(String),
    /// To show this, and send nothing.
    Help(String),
}

/// Sends the command to the server of this data directory, and prints the answer. What `status` finds to be
/// wrong is an error of its own.
///
/// # Errors
/// [`ClientError`] when there is no server, or when it refuses.
pub fn run(data_dir: &Path, asked: &Asked) -> Result<Exit, ClientError> {
    let line = match asked {
        Asked::Line(line) => line.clone(),
        Asked::Help(text) => {
            print(&format!("{text}\n"));
            return Ok(Exit::Success);
        }
    };
    let request = ControlRequest::Command(line);
    let wrong = Client::connect(data_dir)?.ask(&request, |part| print(&format!("{part}\n")))?;
    let Some(wrong) = wrong else { return Ok(Exit::Success) };
    complain(&wrong);
    Ok(Exit::Failure)
}

/// The line of these words. A word that looks like an option is one, of the command's; behind a word `--` all
/// is meant as it stands, and so is what stands in quotes with other words. One word alone is a whole line, as
/// it would be typed at the console.
///
/// # Errors
/// A sentence, when the command has no such option.
pub fn read(words: &[String]) -> Result<Asked, String> {
    if let [line] = words
        && line.contains(char::is_whitespace)
    {
        return Ok(Asked::Line(line.clone()));
    }
    let end = words.iter().position(|word| word == "--");
    let (typed, verbatim) = words.split_at(end.unwrap_or(words.len()));
    let verbatim = verbatim.get(1..).unwrap_or_default();
    let is_option = |word: &&String| word.starts_with("--") || *word == "-h";
    let (options, operands): (Vec<&String>, Vec<&String>) = typed.iter().partition(is_option);
    let plain = operands.iter().map(|word| word.as_str()).collect::<Vec<_>>().join(" ");
    // What is no command is told by the server, or here, where it would be taken for something else.
    let Ok((entry, _)) = commands::find(&plain) else { return Ok(Asked::Line(words.join(" "))) };
    for option in &options {
        if ["--help", "-h"].contains(&option.as_str()) {
            return Ok(Asked::Help(help_on(entry)));
        }
        if !entry.options.contains(&option.as_str()) {
            return Err(format!(
                "`{}` has no option {option}; what is meant to begin like this goes behind `--`: veche ctl {} -- {option}",
                entry.name, entry.name
            ));
        }
    }
    Ok(Asked::Line(line_of(entry, &options, &operands, verbatim)))
}

/// Name, options, then what is left; in front of a free text a `--`, so that the console takes it as it stands.
fn line_of(entry: &CommandSpec, options: &[&String], operands: &[&String], verbatim: &[String]) -> String {
    let named = if entry.name.contains('#') { 1 } else { entry.name.split(' ').count() };
    let before_text = entry.words_before_text().map(|words| words + usize::from(entry.name.contains('#')));
    let rest = operands.iter().skip(named).copied().chain(verbatim).map(String::as_str);
    let mut words: Vec<&str> = operands.iter().take(named).map(|word| word.as_str()).collect();
    words.extend(options.iter().map(|option| option.as_str()));
    match before_text {
        // A name may look like an option, and stand behind a `--` of its own.
        None => {
            words.extend(rest.flat_map(|word| [word.starts_with("--").then_some("--"), Some(word)]).flatten())
        }
        Some(before) => {
            for (index, word) in rest.enumerate() {
                if index == before || (index < before && word.starts_with("--")) {
                    words.push("--");
                }
                words.push(word);
            }
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str]) -> Result<Asked, String> {
        read(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    fn line(words: &[&str]) -> String {
        match asked(words) {
            Ok(Asked::Line(line)) => line,
            other => panic!("{words:?} are no line: {other:?}"),
        }
    }

    #[test]
    fn a_script_can_say_anything() {
        use crate::actors::console::commands::{Command, parse};
        let said = |words: &[&str]| match parse(&line(words)) {
            Ok(Command::SayToAll(text)) => (None, text.as_str().to_owned()),
            Ok(Command::SayInRoom(room, text)) => (Some(room.to_string()), text.as_str().to_owned()),
            other => panic!("{words:?} say nothing: {other:?}"),
        };
        let lobby = || Some("lobby".to_owned());
        for text in ["--help", "-h", "-- x", "#lobby x", "--", "hello --help", " - ", "say", "a -- b"] {
            let trimmed = text.trim().to_owned();
            assert_eq!(said(&["say", "--", text]), (None, trimmed.clone()), "{text}");
            assert_eq!(said(&["say", "#lobby", "--", text]), (lobby(), trimmed), "{text}");
        }
        assert_eq!(said(&["say", "#lobby", "tea", "is", "ready"]), (lobby(), "tea is ready".into()));
        assert_eq!(said(&["SAY", "tea at five"]), (None, "tea at five".into()));
        assert_eq!(said(&["say", "tea", "--", "--now"]), (None, "tea --now".into()));
        assert_eq!(said(&["say #lobby tea"]), (lobby(), "tea".into()));
    }

    // issue 7: `ctl say --help` tells everybody `--help`
    #[test]
    fn what_looks_like_an_option_is_never_said() {
        for words in [
            &["say", "--help"][..],
            &["say", "#lobby", "--help"],
            &["say", "hello", "-h"],
            &["shutdown", "--help"],
        ] {
            assert!(matches!(asked(words), Ok(Asked::Help(_))), "{words:?}");
        }
        for words in
            [&["say", "--x"][..], &["say", "hello", "--all"], &["kick", "alice", "--why"], &["who", "--x"]]
        {
            assert!(asked(words).unwrap_err().contains("no option --"), "{words:?}");
        }
        assert_eq!(line(&["status", "--json"]), "status --json");
        assert_eq!(line(&["clear", "file", "--yes"]), "clear file --yes");
        assert_eq!(line(&["kick", "alice", "too", "loud"]), "kick alice -- too loud");
        assert_eq!(line(&["kick", "--", "--help"]), "kick -- --help");
        assert_eq!(line(&["ban", "--", "--help"]), "ban -- --help");
        assert_eq!(line(&["shutdwon"]), "shutdwon");
    }
}
