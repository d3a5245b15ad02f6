//! How `veche ctl` and `veche account` talk to the running server: JSON lines over a Unix socket in the data
//! directory, which only the server's own user can open.
//!
//! A client sends one [`ControlRequest`] a line and reads its answer before the next. An answer is one or more
//! lines, all but the last marked with `more`, so that no line is large:
//!
//! ```text
//! → {"command":"say #lobby Hello"}
//! ← {"ok":true,"text":"Said in #lobby, as message 42."}
//! → {"account":"add","name":"alice","password":"…"}
//! ← {"ok":false,"text":"the name alice is taken, …"}
//! ```
//!
//! A server that takes longer to answer says in between that it is at it, so that one that hangs is told from
//! one that is busy.
//!
//! - [`server`]: the socket, and its clients;
//! - [`client`]: the other end, blocking;
//! - [`accounts`]: what `veche account` asks, done by the AuthActor, in the server or without one.

pub mod accounts;
pub mod client;
pub mod server;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use self::accounts::AccountRequest;
use crate::model::{NameError, Password, UserName};

/// The largest request, in bytes: the longest text, should every byte of it need escaping.
const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// The largest text in one line of an answer, in bytes.
const MAX_PART_BYTES: usize = 64 * 1024;
/// The longest path that a socket's address has room for, in bytes; Linux has 108, other systems 104.
const MAX_ADDRESS_BYTES: usize = 103;
/// How often a server that is at it says so.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);
/// The name of the socket in the data directory.
const SOCKET_FILE: &str = "control.sock";

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlRequest {
    /// A command, as it would be typed at the console.
    Command(String),
    /// Something about accounts. These carry secrets, and are logged without them.
    Account(AccountRequest),
}

/// A line of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlAnswer {
    /// Whether it was done.
    pub ok: bool,
    /// What was done, or why not: lines for a person, safe for a terminal.
    pub text: String,
    /// Whether another line of the same answer follows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// Whether the very same request may succeed later: the server is stopping, or the disk is full.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// What `status` found to be wrong. The last line of an answer has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong: Option<String>,
    /// Whether this line has no text and only says that the server is at it: a client that hears nothing for
    /// longer than `SIGN_OF_LIFE` talks to one that hangs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub working: bool,
}

/// A request as it travels: one flat object, so that what is wrong with it can be told in our own words. Those of
/// an enum's deserializer show what stands in the wrong place, which may be a secret.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RequestLine {
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<AccountVerb>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", with = "secret")]
    password: Option<Password>,
    #[serde(skip_serializing_if = "Option::is_none", with = "secret")]
    password_md5: Option<Password>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
}

/// What is asked about accounts, as `veche account` calls it.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AccountVerb {
    Add,
    Passwd,
    Remove,
    List,
    Import,
    /// Anything else.
    #[serde(other)]
    Unknown,
}

/// How a password travels here, and nowhere else: as it is. It is wiped from memory on both sides.
mod secret {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::model::Password;

    pub fn serialize<S: Serializer>(password: &Option<Password>, into: S) -> Result<S::Ok, S::Error> {
        match password {
            Some(password) => into.serialize_str(password.expose()),
            None => into.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Password>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(Password::given))
    }
}

impl ControlRequest {
    /// The request as a line, newline included.
    fn encode(&self) -> zeroize::Zeroizing<Vec<u8>> {
        let mut line = serde_json::to_vec(&RequestLine::from(self))
            .map(zeroize::Zeroizing::new)
            .expect("texts with fixed names are always JSON");
        line.push(b'\n');
        line
    }

    /// Reads a line.
    ///
    /// # Errors
    /// A sentence about what is wrong with it, without any secret.
    fn decode(line: &[u8]) -> Result<Self, String> {
        // serde_json's own words would show parts of the line.
        let line: RequestLine = serde_json::from_slice(line)
            .map_err(|_| "This is no request of the control socket; see docs/operating.md.".to_owned())?;
        line.try_into()
    }
}

impl From<&ControlRequest> for RequestLine {
    fn from(request: &ControlRequest) -> Self {
        let about = |verb, name: &UserName, password: Option<&Password>| RequestLine {
            account: Some(verb),
            name: Some(name.to_string()),
            password: password.cloned(),
            ..RequestLine::default()
        };
        match request {
            ControlRequest::Command(line) => {
                RequestLine { command: Some(line.clone()), ..RequestLine::default() }
            }
            ControlRequest::Account(request) => match request {
                AccountRequest::Add { name, password } => about(AccountVerb::Add, name, Some(password)),
                AccountRequest::SetPassword { name, password } => {
                    about(AccountVerb::Passwd, name, Some(password))
                }
                AccountRequest::Remove { name } => about(AccountVerb::Remove, name, None),
                AccountRequest::List => {
                    RequestLine { account: Some(AccountVerb::List), ..RequestLine::default() }
                }
                AccountRequest::Import { login, password_md5, ip } => RequestLine {
                    account: Some(AccountVerb::Import),
                    name: Some(login.clone()),
                    password_md5: Some(password_md5.clone()),
                    ip: ip.clone(),
                    ..RequestLine::default()
                },
            },
        }
    }
}

impl TryFrom<RequestLine> for ControlRequest {
    type Error = String;

    fn try_from(line: RequestLine) -> Result<Self, String> {
        let RequestLine { command, account, name, password, password_md5, ip } = line;
        let verb = match (command, account) {
            (Some(command), None) => return Ok(ControlRequest::Command(command)),
            (None, Some(verb)) => verb,
            _ => return Err("A request has either a command or an account.".into()),
        };
        Ok(ControlRequest::Account(match verb {
            AccountVerb::Add => {
                AccountRequest::Add { name: name_by(UserName::parse, name)?, password: chosen(password)? }
            }
            AccountVerb::Passwd => AccountRequest::SetPassword {
                name: name_by(UserName::as_given, name)?,
                password: chosen(password)?,
            },
            AccountVerb::Remove => AccountRequest::Remove { name: name_by(UserName::as_given, name)? },
            AccountVerb::List => AccountRequest::List,
            AccountVerb::Import => AccountRequest::Import {
                login: name.ok_or("The name is missing.")?,
                password_md5: password_md5.ok_or("The hash is missing.")?,
                ip,
            },
            // What stands in the wrong place may be a secret, and is not repeated.
            AccountVerb::Unknown => return Err("Accounts know add, passwd, remove, list and import.".into()),
        }))
    }
}

impl ControlAnswer {
    /// A line of an answer, the only one unless it is changed.
    fn line(ok: bool, text: String) -> ControlAnswer {
        ControlAnswer { ok, text, more: false, again: false, wrong: None, working: false }
    }

    /// The line that says that there is no answer yet.
    fn at_work() -> ControlAnswer {
        ControlAnswer { more: true, working: true, ..ControlAnswer::line(true, String::new()) }
    }

    /// This answer in lines that are not too large.
    fn parts(mut self) -> Vec<ControlAnswer> {
        let whole = std::mem::take(&mut self.text);
        let mut texts = vec![String::new()];
        for line in whole.split('\n') {
            if texts.last().is_some_and(|text| !text.is_empty() && text.len() + line.len() > MAX_PART_BYTES) {
                texts.push(String::new());
            }
            if let Some(text) = texts.last_mut() {
                text.push_str(line);
                text.push('\n');
            }
        }
        let last = texts.len() - 1;
        let part = |(index, mut text): (usize, String)| {
            text.pop(); // the newline behind the part's last line
            let wrong = if index == last { self.wrong.clone() } else { None };
            ControlAnswer { text, more: index < last, wrong, ..self.clone() }
        };
        texts.into_iter().enumerate().map(part).collect()
    }
}

fn name_by(
    read: impl Fn(&str) -> Result<UserName, NameError>,
    text: Option<String>,
) -> Result<UserName, String> {
    let text = text.ok_or("The name is missing.")?;
    read(&text).map_err(|error| format!("This is no name: {error}."))
}

fn chosen(password: Option<Password>) -> Result<Password, String> {
    let password = password.ok_or("The password is missing.")?;
    Password::chosen(password.expose()).map_err(|error| error.to_string())
}

/// A path for a file of the data directory that fits into a socket's address. Where the real one is too long
/// it leads through the folder's open descriptor, which has to live as long as the path is used.
fn address(folder: &Path, file: &str) -> io::Result<(PathBuf, Option<OwnedFd>)> {
    let path = folder.join(file);
    if path.as_os_str().len() <= MAX_ADDRESS_BYTES {
        return Ok((path, None));
    }
    let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}/{file}", folder.as_raw_fd())), Some(folder)))
}

#[cfg(test)]
#[path = "control/control_tests.rs"]
mod tests;
