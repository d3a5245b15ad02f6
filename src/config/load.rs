//! Option, environment, file, default → one checked [`Config`].
//!
//! Each source is turned into a list of `Given` settings that know where they come from; they are laid
//! over each other in the order of precedence, each checked by itself first, so that an error names the
//! setting, its place, and what it has to be.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use toml::de::DeTable;
use toml::{Table, Value};

use super::Config;
use super::settings::{self, Kind};
use crate::sanitize::one_line;
use crate::suggest::nearest;

/// The configuration file that is read when none is named and there is one.
pub const DEFAULT_FILE: &str = "veche.toml";
/// The largest configuration file, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// What the command line, or the environment, says about the settings; `None` where it says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// `server.data_dir`.
    pub data_dir: Option<PathBuf>,
    /// `server.listen`.
    pub listen: Option<String>,
    /// `server.strict_port`.
    pub strict_port: Option<bool>,
    /// `server.log_file`.
    pub log_file: Option<PathBuf>,
    /// `KEY=VALUE` pairs, each after the ones that it beats.
    pub set: Vec<String>,
    /// Whether to start although accounts cannot be read. An option alone, for this once.
    pub accept_loss: bool,
}

/// Where the settings come from, kept so that SIGHUP can read them again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigSource {
    options: Overrides,
    environment: Overrides,
}

/// Why the settings cannot be used. Each is one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file cannot be read.
    #[error("cannot read the configuration file {} ({problem}); check its name and who may read it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// It is no TOML, or a `KEY=VALUE` is none.
    #[error("{place}: {problem}")]
    Syntax {
        /// Where.
        place: SettingSource,
        /// What is wrong.
        problem: String,
    },
    /// There is no such setting.
    #[error("{place}: there is no setting \"{key}\"; {}", hint(nearest.as_deref()))]
    Unknown {
        /// Where.
        place: SettingSource,
        /// What was written.
        key: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// The setting cannot have this value.
    #[error("{place}: {key} = {value} will not do; it has to be {wanted}")]
    Value {
        /// Where.
        place: SettingSource,
        /// The setting.
        key: String,
        /// What was written.
        value: String,
        /// What it may be.
        wanted: String,
    },
}

impl ConfigError {
    /// Whether an option of the command line is what is wrong.
    pub fn is_about_an_option(&self) -> bool {
        match self {
            ConfigError::Syntax { place, .. }
            | ConfigError::Unknown { place, .. }
            | ConfigError::Value { place, .. } => {
                matches!(place, SettingSource::Named(name) if name.starts_with("--"))
            }
            ConfigError::Read { .. } => false,
        }
    }
}

/// Where a setting was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingSource {
    /// Nowhere.
    Default,
    /// In a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// By an option or in an environment variable of this name.
    Named(&'static str),
}

/// A setting, as one source gives it.
struct Given {
    key: String,
    value: Value,
    /// As it was typed, where a bare word may stand for a text.
    typed: Option<String>,
    place: SettingSource,
}

impl ConfigSource {
    /// These options, laid over this environment.
    pub fn new(options: Overrides, environment: Overrides) -> Self {
        ConfigSource { options, environment }
    }

    /// Reads the file again, lays everything over the defaults and checks it.
    ///
    /// # Errors
    /// The first thing that is wrong with any of it; nothing is ignored in silence.
    pub fn load(&self) -> Result<Config, ConfigError> {
        self.load_from(read_file)
    }

    /// Like [`ConfigSource::load`], for a server that runs: a pipe in the place of the file, as a shell's
    /// `<(…)` makes one, was read at the start, and must not be waited for again.
    ///
    /// # Errors
    /// As there; also when the file is no regular file any more.
    pub fn load_again(&self) -> Result<Config, ConfigError> {
        self.load_from(|path| match path.metadata() {
            Ok(there) if !there.is_file() => {
                Err(ConfigError::Read { path: path.to_owned(), problem: "it is no regular file".into() })
            }
            _ => read_file(path),
        })
    }

    fn load_from(
        &self,
        read: impl FnOnce(&Path) -> Result<Vec<Given>, ConfigError>,
    ) -> Result<Config, ConfigError> {
        let mut given = match self.file()? {
            Some(path) => read(&path)?,
            None => Vec::new(),
        };
        given.extend(self.environment.given(&ENVIRONMENT_NAMES)?);
        given.extend(self.options.given(&OPTION_NAMES)?);
        let mut config = lay_over_defaults(given)?;
        config.server.accept_loss = self.options.accept_loss;
        Ok(config)
    }

    /// The configuration file: the one that is named, or the default one where there is one.
    fn file(&self) -> Result<Option<PathBuf>, ConfigError> {
        let named = self.options.config.as_ref().or(self.environment.config.as_ref());
        if let Some(path) = named {
            return Ok(Some(path.clone()));
        }
        let path = Path::new(DEFAULT_FILE);
        match path.symlink_metadata() {
            Ok(_) => Ok(Some(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ConfigError::Read { path: path.to_owned(), problem: error.to_string() }),
        }
    }
}

/// How a source calls what it can say.
struct Names {
    data_dir: &'static str,
    listen: &'static str,
    strict_port: &'static str,
    log_file: &'static str,
    set: &'static str,
}

const OPTION_NAMES: Names = Names {
    data_dir: "--data-dir",
    listen: "--listen",
    strict_port: "--strict-port",
    log_file: "--log-file",
    set: "--set",
};

const ENVIRONMENT_NAMES: Names = Names {
    data_dir: "VECHE_DATA_DIR",
    listen: "VECHE_LISTEN",
    strict_port: "VECHE_STRICT_PORT",
    log_file: "VECHE_LOG_FILE",
    set: "VECHE_SET",
};

impl Overrides {
    /// Variables of the environment that look as if they were meant for veche, and are not: a sentence for each.
    pub fn strange_variables() -> Vec<String> {
        strange_among(std::env::vars_os().map(|(name, _)| name))
    }

    /// What the process's environment says: `VECHE_CONFIG`, `VECHE_DATA_DIR`, `VECHE_LISTEN`,
    /// `VECHE_STRICT_PORT`, `VECHE_LOG_FILE` and `VECHE_SET`. A variable that is empty counts as not set.
    ///
    /// # Errors
    /// A variable that is no text, or no switch where one is needed.
    pub fn from_environment() -> Result<Self, ConfigError> {
        Self::from_variables(std::env::var_os)
    }

    fn from_variables(variable: impl Fn(&'static str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let path = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let text = |name| path(name).map(|value| utf8(&value, SettingSource::Named(name))).transpose();
        Ok(Overrides {
            config: path("VECHE_CONFIG"),
            data_dir: path(ENVIRONMENT_NAMES.data_dir),
            listen: text(ENVIRONMENT_NAMES.listen)?,
            strict_port: text(ENVIRONMENT_NAMES.strict_port)?
                .map(|word| parse_switch(&word, ENVIRONMENT_NAMES.strict_port))
                .transpose()?,
            log_file: path(ENVIRONMENT_NAMES.log_file),
            set: text(ENVIRONMENT_NAMES.set)?.map(|list| split_list(&list)).unwrap_or_default(),
            accept_loss: false,
        })
    }

    fn given(&self, names: &Names) -> Result<Vec<Given>, ConfigError> {
        let mut given = Vec::new();
        for pair in &self.set {
            given.push(parse_pair(pair, SettingSource::Named(names.set))?);
        }
        let mut push = |key: &str, value: Value, name| {
            given.push(Given { key: key.to_owned(), value, typed: None, place: SettingSource::Named(name) });
        };
        if let Some(folder) = &self.data_dir {
            push(
                "server.data_dir",
                utf8(folder, SettingSource::Named(names.data_dir))?.into(),
                names.data_dir,
            );
        }
        if let Some(listen) = &self.listen {
            push("server.listen", listen.as_str().into(), names.listen);
        }
        if let Some(strict) = self.strict_port {
            push("server.strict_port", strict.into(), names.strict_port);
        }
        if let Some(file) = &self.log_file {
            push("server.log_file", utf8(file, SettingSource::Named(names.log_file))?.into(), names.log_file);
        }
        Ok(given)
    }
}

/// Every variable that veche, or its client, reads.
const VARIABLES: [&str; 8] = [
    "VECHE_CONFIG",
    ENVIRONMENT_NAMES.data_dir,
    ENVIRONMENT_NAMES.listen,
    ENVIRONMENT_NAMES.strict_port,
    ENVIRONMENT_NAMES.log_file,
    ENVIRONMENT_NAMES.set,
    "VECHE_LOG",
    "VECHE_PASSWORD",
];

fn strange_among(names: impl Iterator<Item = OsString>) -> Vec<String> {
    let mut strange: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.to_ascii_uppercase().starts_with("VECHE_") && !VARIABLES.contains(&name.as_str()))
        .map(|name| {
            let meant = nearest(&name, VARIABLES).map(|near| format!("; did you mean {near}?"));
            let name = one_line(&name);
            format!(
                "the environment variable {name} is none of veche's and has no effect{}",
                meant.unwrap_or_default()
            )
        })
        .collect();
    strange.sort();
    strange
}

fn lay_over_defaults(given: Vec<Given>) -> Result<Config, ConfigError> {
    let mut effective = Table::new();
    let mut places = BTreeMap::new();
    let mut notes = Vec::new();
    for Given { key, value, typed, place } in given {
        let key = settings::renamed(&key).map_or(key.clone(), |now| {
            notes.push(format!("{place}: {key} is called {now} now; it counts, but change its name"));
            now.to_owned()
        });
        let Some(kind) = settings::kind_of(&key) else {
            let nearest = settings::nearest_key(&key);
            return Err(ConfigError::Unknown { place, key: one_line(&key).into_owned(), nearest });
        };
        let value = match (&kind, typed) {
            (Kind::Text, Some(typed)) if !value.is_str() => Value::String(typed),
            _ => value,
        };
        if let Err(wanted) = settings::check(&key, &kind, &value) {
            let value = shown(&key, &value);
            return Err(ConfigError::Value { place, key, value, wanted });
        }
        insert(&mut effective, &key, value);
        places.insert(key, place);
    }
    let mut config: Config = effective.try_into().map_err(|error: toml::de::Error| ConfigError::Syntax {
        place: SettingSource::Default,
        problem: error.message().to_owned(),
    })?;
    if let Err((key, wanted)) = settings::check_together(&config) {
        let place = places.remove(key).unwrap_or(SettingSource::Default);
        return Err(ConfigError::Value { place, key: key.into(), value: value_of(&config, key), wanted });
    }
    config.notes = notes;
    Ok(config)
}

/// A value as an error repeats it; not where somebody may have put the key itself in the place of its file.
fn shown(key: &str, value: &Value) -> String {
    if key == "auth.key_file" { "…".into() } else { one_line(&value.to_string()).into_owned() }
}

fn insert(table: &mut Table, key: &str, value: Value) {
    let (section, name) = key.split_once('.').unwrap_or((key, ""));
    let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = section {
        section.insert(name.to_owned(), value);
    }
}

fn value_of(config: &Config, key: &str) -> String {
    let (section, name) = key.split_once('.').unwrap_or((key, ""));
    let table = Table::try_from(config).unwrap_or_default();
    table.get(section).and_then(|section| section.get(name)).map(Value::to_string).unwrap_or_default()
}

fn read_file(path: &Path) -> Result<Vec<Given>, ConfigError> {
    let unreadable = |problem: String| ConfigError::Read { path: path.to_owned(), problem };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(unreadable(format!("it is larger than {MAX_FILE_BYTES} bytes")));
    }
    parse_file(&text, path)
}

/// The settings of a file, each with its line. The text is parsed twice: once for the values, once for their
/// places.
fn parse_file(text: &str, path: &Path) -> Result<Vec<Given>, ConfigError> {
    let place = |offset: usize| SettingSource::File { path: path.to_owned(), line: line_of(text, offset) };
    let syntax = |error: toml::de::Error| ConfigError::Syntax {
        place: place(error.span().map_or(0, |span| span.start)),
        problem: format!("this is not TOML: {}", one_line(error.message())),
    };
    let places = DeTable::parse(text).map_err(syntax)?.into_inner();
    let values: Table = toml::from_str(text).map_err(syntax)?;

    let mut given = Vec::new();
    for (section, content) in &places {
        let name = section.get_ref().as_ref();
        let value = values.get(name);
        match (content.get_ref().as_table(), value) {
            (Some(inner), Some(Value::Table(table))) if settings::is_section(name) => {
                for setting in inner.keys() {
                    let Some(value) = table.get(setting.get_ref().as_ref()) else { continue };
                    given.push(Given {
                        key: format!("{name}.{}", setting.get_ref()),
                        value: value.clone(),
                        typed: None,
                        place: place(setting.span().start),
                    });
                }
            }
            _ => {
                let nearest = settings::nearest_key(name);
                let key = one_line(name).into_owned();
                return Err(ConfigError::Unknown { place: place(section.span().start), key, nearest });
            }
        }
    }
    given.sort_by_key(|given| match given.place {
        SettingSource::File { line, .. } => line,
        _ => 0,
    });
    Ok(given)
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
}

/// `KEY=VALUE`, the value in TOML; what is no TOML is a text, so that a bare word needs no quotes.
fn parse_pair(pair: &str, place: SettingSource) -> Result<Given, ConfigError> {
    let Some((key, typed)) = pair.split_once('=') else {
        // It is not repeated: nobody knows what it was meant to be.
        let problem = "there is something that is no KEY=VALUE, such as limits.messages_per_second=0".into();
        return Err(ConfigError::Syntax { place, problem });
    };
    let typed = typed.trim();
    let value = match typed.parse::<Value>() {
        Ok(value) => value,
        Err(error) if typed.starts_with(['"', '\'']) => {
            let (key, why) = (one_line(key.trim()), one_line(error.message()).into_owned());
            let problem = format!("the value of {key} has no proper quotes: {why}");
            return Err(ConfigError::Syntax { place, problem });
        }
        Err(_) => Value::String(typed.to_owned()),
    };
    Ok(Given { key: key.trim().to_owned(), value, typed: Some(typed.to_owned()), place })
}

/// `VECHE_SET` holds several pairs, separated by newlines or commas outside quotes.
fn split_list(list: &str) -> Vec<String> {
    let mut pairs = vec![String::new()];
    let mut quote = None;
    let mut escaped = false;
    for c in list.chars() {
        match (quote, c) {
            (None, ',' | '\n') => {
                pairs.push(String::new());
                continue;
            }
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if c == open && !escaped => quote = None,
            _ => {}
        }
        escaped = quote == Some('"') && c == '\\' && !escaped;
        if let Some(pair) = pairs.last_mut() {
            pair.push(c);
        }
    }
    pairs.into_iter().map(|pair| pair.trim().to_owned()).filter(|pair| !pair.is_empty()).collect()
}

fn parse_switch(word: &str, name: &'static str) -> Result<bool, ConfigError> {
    match word.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => {
            let problem = format!("\"{}\" will not do; it has to be true or false", one_line(word));
            Err(ConfigError::Syntax { place: SettingSource::Named(name), problem })
        }
    }
}

fn utf8(text: &Path, place: SettingSource) -> Result<String, ConfigError> {
    text.to_str()
        .map(str::to_owned)
        .ok_or_else(|| ConfigError::Syntax { place, problem: "this is not written in UTF-8".into() })
}

fn hint(nearest: Option<&str>) -> String {
    match nearest {
        Some(key) => format!("did you mean \"{key}\"?"),
        None => "`veche --print-config` shows all there are".into(),
    }
}

impl fmt::Display for SettingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingSource::Default => f.write_str("with the other settings"),
            SettingSource::File { path, line } => write!(f, "{}, line {line}", path.display()),
            SettingSource::Named(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
