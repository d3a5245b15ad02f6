//! What is logged: `VECHE_LOG`, else `RUST_LOG`, checked before the log is opened. `RUST_LOG` may be meant for
//! other programs, too: what is strange in it is told, and the server starts all the same.
//!
//! env_logger takes any word for the name of some part, so `wran` would silently mean "all of the part wran"
//! and nothing of the others. Here a word is a level, and a part stands before an `=`.

use std::ffi::OsString;

use crate::sanitize::one_line;
use crate::suggest::nearest;

/// The levels, least first.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// Other crates that log.
const OTHER_CRATES: [&str; 5] = ["actix", "actix_rt", "mio", "tokio", "rustyline"];
/// Where the parts of this crate, and those of its larger ones, are named.
const OUTLINES: [(&str, &str); 6] = [
    ("", include_str!("../lib.rs")),
    ("actors", include_str!("../actors/mod.rs")),
    ("chat", include_str!("../chat.rs")),
    ("model", include_str!("../model.rs")),
    ("store", include_str!("../store.rs")),
    ("wire", include_str!("../wire.rs")),
];

/// A variable that says what is logged, and cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{variable}: {problem}; say a level (error, warn, info, debug, trace), or levels by part, such as warn,veche::actors::auth=debug"
)]
pub struct FilterError {
    /// The variable.
    pub variable: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

/// What is to be logged, as the environment has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filters {
    /// The filters; `None` when nothing is said, or nothing that can be understood.
    pub text: Option<String>,
    /// What to tell about a `RUST_LOG` that says something else.
    pub note: Option<String>,
}

/// What `VECHE_LOG` says, else `RUST_LOG`. One that is empty says nothing.
///
/// # Errors
/// [`FilterError`] when `VECHE_LOG` cannot be understood.
pub fn from_environment() -> Result<Filters, FilterError> {
    from_variables(|name| std::env::var_os(name))
}

fn from_variables(value: impl Fn(&str) -> Option<OsString>) -> Result<Filters, FilterError> {
    if let Some(text) = value("VECHE_LOG").map_or(Ok(None), |value| read("VECHE_LOG", value))? {
        return Ok(Filters { text: Some(text), note: None });
    }
    Ok(match value("RUST_LOG").map_or(Ok(None), |value| read("RUST_LOG", value)) {
        Ok(text) => Filters { text, note: None },
        Err(error) => Filters { text: None, note: Some(format!("{error}; it has no effect")) },
    })
}

fn read(variable: &'static str, value: OsString) -> Result<Option<String>, FilterError> {
    let wrong = |problem| FilterError { variable, problem };
    let text = value.into_string().map_err(|_| wrong("this is not written in UTF-8".to_owned()))?;
    let filters = text.trim();
    filters.split(',').try_for_each(|filter| check(filter.trim())).map_err(wrong)?;
    Ok((!filters.is_empty()).then(|| filters.to_owned()))
}

/// Why one filter of the list is none.
fn check(filter: &str) -> Result<(), String> {
    let (part, level) = match filter.split_once('=') {
        Some((part, level)) => (Some(part.trim()), level.trim()),
        None if filter.is_empty() => return Ok(()),
        None => (None, filter),
    };
    if let Some(part) = part {
        check_part(part)?;
    }
    if LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
        return Ok(());
    }
    let meant = nearest(level, LEVELS).map_or_else(String::new, |near| format!(", did you mean \"{near}\"?"));
    Err(format!("\"{}\" is no level{meant}", one_line(level)))
}

fn check_part(part: &str) -> Result<(), String> {
    let mut names = part.split("::");
    let (first, second, third) = (names.next().unwrap_or_default(), names.next(), names.next());
    if OTHER_CRATES.contains(&first) {
        return Ok(());
    }
    let unknown = |at: &str, name: &str, known: &[&str]| {
        let meant = nearest(name, known.iter().copied());
        let meant = meant.map_or_else(String::new, |near| format!(", did you mean \"{at}{near}\"?"));
        Err(format!("there is no part \"{}\"{meant}", one_line(part)))
    };
    if first != "veche" {
        return unknown("", first, &["veche"]);
    }
    let Some(second) = second else { return Ok(()) };
    let tops = modules_of("").unwrap_or_default();
    if !tops.contains(&second) {
        return unknown("veche::", second, &tops);
    }
    match (third, modules_of(second)) {
        (Some(third), Some(inner)) if !inner.contains(&third) => {
            unknown(&format!("veche::{second}::"), third, &inner)
        }
        _ => Ok(()),
    }
}

/// The modules of this one, where its file is among the outlines.
fn modules_of(module: &str) -> Option<Vec<&'static str>> {
    let (_, source) = OUTLINES.iter().find(|(name, _)| *name == module)?;
    let name_in = |line: &'static str| {
        let declared = line.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
        declared.strip_prefix("mod ")?.strip_suffix(';')
    };
    Some(source.lines().filter_map(name_in).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn read(text: &str) -> Result<Option<String>, FilterError> {
        from_variables(|name| (name == "VECHE_LOG").then(|| OsString::from(text))).map(|filters| filters.text)
    }

    // issue 7: `VECHE_LOG=wran` and bytes that are no UTF-8 are ignored in silence
    #[test]
    fn what_is_no_filter_is_told_with_what_was_meant() {
        for (text, told) in [
            ("wran", "\"wran\" is no level, did you mean \"warn\"?"),
            ("veche", "\"veche\" is no level"),
            ("info,veche::actors=", "\"\" is no level"),
            ("warn,veche::actors::atuh=debug", "did you mean \"veche::actors::auth\"?"),
            ("veche::actor=debug", "did you mean \"veche::actors\"?"),
            ("vech=debug", "did you mean \"veche\"?"),
            ("info/regex", "is no level"),
            ("a=b=c", "there is no part"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with("VECHE_LOG: ") && error.contains(told), "{text}: {error}");
        }
        let bytes = |name: &str| (name == "VECHE_LOG").then(|| OsString::from_vec(b"wa\xffrn".to_vec()));
        assert!(from_variables(bytes).unwrap_err().problem.contains("UTF-8"));
    }

    #[test]
    fn what_is_meant_for_other_programs_is_told_and_does_no_harm() {
        let of_others =
            |text: &'static str| move |name: &str| (name == "RUST_LOG").then(|| OsString::from(text));
        for text in ["wran", "another_program=debug", "another_program"] {
            let filters = from_variables(of_others(text)).unwrap();
            assert!(filters.text.is_none() && filters.note.unwrap().starts_with("RUST_LOG: "), "{text}");
        }
        let filters = from_variables(of_others("warn")).unwrap();
        assert_eq!(filters, Filters { text: Some("warn".into()), note: None });
    }

    #[test]
    fn filters_are_taken_as_the_manual_has_them() {
        for text in [
            "warn",
            "TRACE",
            " info , ",
            "warn,veche::actors::auth=debug",
            "veche=trace,actix_rt=off",
            "veche::store::history::writer=debug",
        ] {
            assert_eq!(read(text), Ok(Some(text.trim().to_owned())), "{text}");
        }
        assert_eq!(read(""), Ok(None));
        assert_eq!(read(" "), Ok(None));
    }
}
