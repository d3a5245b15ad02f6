//! What each setting may be: its kind, its range, and the rules that bind several of them together.
//!
//! The settings themselves are the fields of [`Config`]; their names and kinds are taken from its defaults,
//! so that a new field is known here without a second list.

use std::ops::RangeInclusive;

use toml::{Table, Value};

use super::{Config, parse_listen};
use crate::secrets::keys::MARK as KEY_MARK;
use crate::suggest::nearest;

/// The longest `server.motd`, in bytes.
const MAX_MOTD_BYTES: usize = 1_024;
/// The longest time that a setting can name: ten years. Deadlines are computed with it, and must not overflow.
const MAX_SECONDS: i64 = 10 * 365 * 24 * 60 * 60;
/// The largest number of bytes that a setting can name: 1 GiB.
const MAX_BYTES: i64 = 1 << 30;
/// The largest number of anything else.
const MAX_COUNT: i64 = 1_000_000_000;

/// Settings that are not set by default, and so are not among the defaults' names. Both are paths.
const OPTIONAL: [&str; 2] = ["server.log_file", "auth.key_file"];

/// Ranges other than "from 0, up to what the unit allows". Where 0 lifts a limit it is in the range.
const RANGES: &[(&str, RangeInclusive<i64>)] = &[
    ("server.io_threads", 0..=256),
    ("journal.linger_ms", 0..=1_000),
    ("auth.argon2_memory_kib", 8..=1_048_576),
    ("auth.argon2_passes", 1..=1_000),
    ("auth.hash_threads", 0..=256),
    ("auth.session_idle_seconds", 1..=MAX_SECONDS),
    ("limits.max_frame_bytes", 16_384..=16_777_216),
    ("limits.close_timeout_seconds", 1..=600),
    ("limits.outbox_bytes", 32_768..=MAX_BYTES),
    ("limits.stranger_send_buffer_bytes", 4_096..=MAX_BYTES),
    ("limits.turn_bytes", 1_024..=1_048_576),
    ("limits.stranger_bytes", 1_024..=1_048_576),
    ("limits.strangers_time_percent", 0..=100),
    ("limits.newcomers", 1..=65_536),
    ("limits.requests_in_flight", 1..=65_536),
    ("limits.request_bytes", 1_024..=MAX_BYTES),
    ("limits.room_window_messages", 1..=100_000),
    ("limits.hash_queue", 1..=1_000_000),
    ("limits.journal_batch_messages", 1..=1_000_000),
    ("limits.journal_queue_messages", 1..=10_000_000),
    ("limits.page_reads", 1..=1_024),
    ("limits.shutdown_seconds", 0..=600),
];

/// Names that settings had before, and those that they have now.
const RENAMED: [(&str, &str); 1] = [("journal.gather_ms", "journal.linger_ms")];

/// What kind of value a setting takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Switch,
    Text,
    Number(RangeInclusive<i64>),
}

/// The kind of this setting, or `None` when there is no setting of that name.
pub(super) fn kind_of(key: &str) -> Option<Kind> {
    if OPTIONAL.contains(&key) {
        return Some(Kind::Text);
    }
    let (section, name) = key.split_once('.')?;
    match defaults().get(section)?.get(name)? {
        Value::Boolean(_) => Some(Kind::Switch),
        Value::Integer(_) => Some(Kind::Number(range_of(key))),
        _ => Some(Kind::Text),
    }
}

/// The present name of a setting that was called so before.
pub(super) fn renamed(key: &str) -> Option<&'static str> {
    RENAMED.iter().find(|(before, _)| *before == key).map(|(_, now)| *now)
}

/// The names of all settings.
pub(super) fn keys() -> Vec<String> {
    let mut keys: Vec<String> = OPTIONAL.iter().map(|key| (*key).to_owned()).collect();
    for (section, settings) in defaults() {
        let Value::Table(settings) = settings else { continue };
        keys.extend(settings.keys().map(|name| format!("{section}.{name}")));
    }
    keys.sort();
    keys
}

/// The setting that someone who wrote `key` probably meant.
pub(super) fn nearest_key(key: &str) -> Option<String> {
    let keys = keys();
    let name_of = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    if let Some(moved) = keys.iter().find(|known| name_of(known) == name_of(key)) {
        return Some(moved.clone());
    }
    match key.split_once('.') {
        Some((section, name)) if is_section(section) => {
            let of_section = keys.iter().filter(|known| known.starts_with(&format!("{section}.")));
            let names: Vec<String> = of_section.map(|known| name_of(known)).collect();
            nearest(name, names.iter().map(String::as_str)).map(|name| format!("{section}.{name}"))
        }
        _ => nearest(key, keys.iter().map(String::as_str)).map(str::to_owned),
    }
}

/// Whether this is a section, such as `limits`.
pub(super) fn is_section(name: &str) -> bool {
    defaults().get(name).is_some_and(Value::is_table)
}

/// Why this value will not do for this setting, in words that go after "it has to be".
pub(super) fn check(key: &str, kind: &Kind, value: &Value) -> Result<(), String> {
    match (kind, value) {
        (Kind::Switch, Value::Boolean(_)) => Ok(()),
        (Kind::Switch, _) => Err("true or false".into()),
        (Kind::Number(range), Value::Integer(number)) if range.contains(number) => Ok(()),
        (Kind::Number(range), _) => Err(format!("a whole number from {} to {}", range.start(), range.end())),
        (Kind::Text, Value::String(text)) => check_text(key, text),
        (Kind::Text, _) => Err("a text in quotes".into()),
    }
}

/// The rules that bind several settings together: the name of the one to change, and what it has to be.
pub(super) fn check_together(config: &Config) -> Result<(), (&'static str, String)> {
    let limits = &config.limits;
    if limits.outbox_bytes < 2 * limits.max_frame_bytes {
        let least = 2 * limits.max_frame_bytes;
        return Err(("limits.outbox_bytes", format!("at least {least}, room for two of the largest frames")));
    }
    Ok(())
}

fn check_text(key: &str, text: &str) -> Result<(), String> {
    match key {
        "server.listen" => parse_listen(text).map(drop).map_err(|error| error.to_string()),
        "server.motd" if text.len() > MAX_MOTD_BYTES => Err(format!("at most {MAX_MOTD_BYTES} bytes long")),
        "server.motd" if text.chars().any(breaks_line) => Err("one line without control characters".into()),
        "server.motd" => Ok(()),
        "server.data_dir" | "server.log_file" | "auth.key_file" if text.is_empty() || text.contains('\0') => {
            Err("the name of a file or folder".into())
        }
        "auth.key_file" if text.contains(KEY_MARK) => {
            Err("the name of a file, not the key that is in it".into())
        }
        "server.data_dir" | "server.log_file" | "auth.key_file" => Ok(()),
        _ => check_word(key, text),
    }
}

fn breaks_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// The settings that take one of a few words are enums, and serde knows their words best.
fn check_word(key: &str, text: &str) -> Result<(), String> {
    let (section, name) = key.split_once('.').unwrap_or((key, ""));
    let inner = Table::from_iter([(name.to_owned(), Value::from(text))]);
    let outer = Table::from_iter([(section.to_owned(), Value::Table(inner))]);
    match outer.try_into::<Config>() {
        Ok(_) => Ok(()),
        Err(error) => {
            let message = error.message();
            let words = message.split_once("expected ").map_or(message, |(_, words)| words);
            Err(words.replace('`', "\""))
        }
    }
}

fn range_of(key: &str) -> RangeInclusive<i64> {
    let special = RANGES.iter().find(|(known, _)| *known == key).map(|(_, range)| range.clone());
    special.unwrap_or_else(|| match key {
        key if key.ends_with("_seconds") => 0..=MAX_SECONDS,
        key if key.ends_with("_ms") => 0..=MAX_SECONDS * 1_000,
        key if key.ends_with("_bytes") => 0..=MAX_BYTES,
        _ => 0..=MAX_COUNT,
    })
}

fn defaults() -> Table {
    Table::try_from(Config::default())
        .expect("the defaults are texts, numbers and switches, which TOML can write")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_belongs_to_a_number_and_holds_its_default() {
        let defaults = defaults();
        for (key, range) in RANGES {
            assert_eq!(kind_of(key), Some(Kind::Number(range.clone())), "{key}");
        }
        for key in keys() {
            let Some((section, name)) = key.split_once('.') else { panic!("{key} is in no section") };
            if let Some(value) = defaults.get(section).and_then(|section| section.get(name)) {
                let kind = kind_of(&key).expect("a key of the list");
                assert_eq!(check(&key, &kind, value), Ok(()), "{key}");
            }
        }
        assert_eq!(check_together(&Config::default()), Ok(()));
    }

    #[test]
    fn a_former_name_leads_to_a_setting_and_is_none() {
        for (before, now) in RENAMED {
            assert!(kind_of(before).is_none() && kind_of(now).is_some(), "{before}");
        }
    }

    #[test]
    fn a_mistyped_setting_finds_the_one_that_was_meant() {
        assert_eq!(nearest_key("limits.mesages_per_second").as_deref(), Some("limits.messages_per_second"));
        assert_eq!(nearest_key("listen").as_deref(), Some("server.listen"));
        assert_eq!(nearest_key("journal.durabilty").as_deref(), Some("journal.durability"));
        assert_eq!(nearest_key("limit.messages_per_second").as_deref(), Some("limits.messages_per_second"));
        assert_eq!(nearest_key("samovar"), None);
        assert_eq!(nearest_key("limits.foo"), None);
    }

    #[test]
    fn texts_are_checked_by_their_meaning() {
        let check = |key: &str, text: &str| check(key, &Kind::Text, &Value::from(text));
        assert_eq!(check("journal.durability", "os"), Ok(()));
        assert_eq!(check("journal.durability", "disk"), Err("\"fsync\" or \"os\"".into()));
        assert!(check("server.motd", "two\nlines").is_err());
        assert!(check("server.motd", &"x".repeat(1_025)).is_err());
        assert_eq!(check("server.motd", ""), Ok(()));
        assert!(check("server.data_dir", "").is_err());
        assert!(check("server.listen", "7878").is_err());
    }
}
