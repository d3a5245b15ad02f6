//! How `veche ctl` and `veche account` talk to the running server: JSON lines over a Unix socket in the data
//! directory, which only the server's own user can open.
//!
//! A client sends one [`Request`] a line and reads its answer before the next. An answer is one or more
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
pub enum Request {
    /// A command, as it would be typed at the console.
    Command(String),
    /// Something about accounts. These carry secrets, and are logged without them.
    Account(AccountRequest),
}

/// A line of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
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

/// A request as it travels.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wire {
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_md5: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
}

impl Request {
    /// The request as a line, newline included.
    fn encode(&self) -> zeroize::Zeroizing<Vec<u8>> {
        let wire = match self {
            Request::Command(line) => Wire { command: Some(line.clone()), ..Wire::default() },
            Request::Account(request) => Wire::of_account(request),
        };
        let mut line = zeroize::Zeroizing::new(
            serde_json::to_vec(&wire).expect("texts with fixed names are always JSON"),
        );
        wire.wipe();
        line.push(b'\n');
        line
    }

    /// Reads a line.
    ///
    /// # Errors
    /// A sentence about what is wrong with it, without any secret.
    fn decode(line: &[u8]) -> Result<Self, String> {
        // serde_json's own words would show parts of the line.
        let wire: Wire = serde_json::from_slice(line)
            .map_err(|_| "This is no request of the control socket; see docs/operating.md.".to_owned())?;
        match (wire.command, wire.account.as_deref()) {
            (Some(command), None) => Ok(Request::Command(command)),
            (None, Some(verb)) => Ok(Request::Account(match verb {
                "add" => AccountRequest::Add {
                    name: name(wire.name, UserName::parse)?,
                    password: chosen(wire.password)?,
                },
                "passwd" => AccountRequest::SetPassword {
                    name: name(wire.name, UserName::as_given)?,
                    password: chosen(wire.password)?,
                },
                "remove" => AccountRequest::Remove { name: name(wire.name, UserName::as_given)? },
                "list" => AccountRequest::List,
                "import" => AccountRequest::Import {
                    login: wire.name.ok_or("The name is missing.")?,
                    password_md5: Password::given(wire.password_md5.ok_or("The hash is missing.")?),
                    ip: wire.ip,
                },
                // What stands in the wrong place may be a secret, and is not repeated.
                _ => return Err("Accounts know add, passwd, remove, list and import.".into()),
            })),
            _ => Err("A request has either a command or an account.".into()),
        }
    }
}

impl Wire {
    fn of_account(request: &AccountRequest) -> Self {
        let secret = |password: &Password| Some(password.expose().to_owned());
        let wire = Wire { account: Some(request.verb().to_owned()), ..Wire::default() };
        match request {
            AccountRequest::Add { name, password } | AccountRequest::SetPassword { name, password } => {
                Wire { name: Some(name.to_string()), password: secret(password), ..wire }
            }
            AccountRequest::Remove { name } => Wire { name: Some(name.to_string()), ..wire },
            AccountRequest::List => wire,
            AccountRequest::Import { login, password_md5, ip } => {
                Wire { name: Some(login.clone()), password_md5: secret(password_md5), ip: ip.clone(), ..wire }
            }
        }
    }

    fn wipe(self) {
        for secret in [self.password, self.password_md5].into_iter().flatten() {
            drop(zeroize::Zeroizing::new(secret));
        }
    }
}

impl Answer {
    /// A line of an answer, the only one unless it is changed.
    fn line(ok: bool, text: String) -> Answer {
        Answer { ok, text, more: false, again: false, wrong: None, working: false }
    }

    /// The line that says that there is no answer yet.
    fn at_work() -> Answer {
        Answer { more: true, working: true, ..Answer::line(true, String::new()) }
    }

    /// This answer in lines that are not too large.
    fn parts(mut self) -> Vec<Answer> {
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
            Answer { text, more: index < last, wrong, ..self.clone() }
        };
        texts.into_iter().enumerate().map(part).collect()
    }
}

fn name(
    text: Option<String>,
    read: impl Fn(&str) -> Result<UserName, NameError>,
) -> Result<UserName, String> {
    let text = text.ok_or("The name is missing.")?;
    read(&text).map_err(|error| format!("This is no name: {error}."))
}

fn chosen(password: Option<String>) -> Result<Password, String> {
    let password = password.ok_or("The password is missing.")?;
    Password::chosen(password).map_err(|error| error.to_string())
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
