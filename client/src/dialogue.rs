//! The conversation before the chat: where to, who, and with which password. What does not work is told in
//! one sentence, and asked again.

use std::io::ErrorKind;
use std::time::Duration;

use veche::names::UserName;
use veche::protocol::request::PASSWORD_BYTES;
use veche::protocol::{ErrorCode, Password, SessionOpened};

use crate::chat::is_wrong_password;
use crate::link::{self, Address, Link, LinkError};
use crate::login::{self, LoginError};
use crate::terminal::{Answer, Terminal};

/// The host that an empty line means.
pub const DEFAULT_HOST: &str = "127.0.0.1";
/// The port that an empty line means.
pub const DEFAULT_PORT: u16 = 7878;

/// What the options and the environment answer already.
#[derive(Debug, Default)]
pub struct Given {
    /// The host.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The name.
    pub name: Option<UserName>,
    /// The password.
    pub password: Option<Password>,
    /// Whether an account that is not there is to be made without a question.
    pub register: bool,
}

/// An open session, and how it came about.
pub struct LoggedIn {
    /// The connection.
    pub link: Link,
    /// Where it goes.
    pub address: Address,
    /// Who.
    pub name: UserName,
    /// With which password.
    pub password: Password,
    /// What the server said.
    pub opened: SessionOpened,
}

/// The person does not want to go on.
#[derive(Debug)]
pub struct GaveUp;

/// Asks for all that is missing until there is a session.
///
/// # Errors
/// [`GaveUp`] when the person ends the input.
pub async fn log_in(terminal: &mut Terminal, mut given: Given) -> Result<LoggedIn, GaveUp> {
    let mut default_host = given.host.clone().unwrap_or_else(|| DEFAULT_HOST.to_owned());
    let (mut link, mut address) = connect(terminal, &mut given, &mut default_host).await?;
    loop {
        let name = match given.name.take() {
            Some(name) => name,
            None => ask_name(terminal).await?,
        };
        match known(terminal, &mut link, &address, &name).await {
            Ok(known) if known || agrees(terminal, &name, given.register).await? => {
                let opened =
                    open(terminal, &mut link, &address, &name, !known, given.password.take()).await?;
                if let Some((opened, password)) = opened {
                    return Ok(LoggedIn { link, address, name, password, opened });
                }
            }
            Ok(_) => {}
            Err(error) => {
                terminal.tell(&error.to_string()).await;
                (link, address) = connect(terminal, &mut given, &mut default_host).await?;
            }
        }
    }
}

async fn line(terminal: &mut Terminal, prompt: &str) -> Result<String, GaveUp> {
    match terminal.line(prompt).await {
        Answer::Line(line) => Ok(line.trim().to_owned()),
        Answer::Interrupted | Answer::End => Err(GaveUp),
    }
}

async fn secret(terminal: &mut Terminal, prompt: &str) -> Result<String, GaveUp> {
    match terminal.secret(prompt).await {
        Answer::Line(line) => Ok(line),
        Answer::Interrupted | Answer::End => Err(GaveUp),
    }
}

/// Asks for host and port, as far as they are not given, until a server answers there. A host that is there
/// becomes the default, even with the wrong port; one that is not does not.
async fn connect(
    terminal: &mut Terminal,
    given: &mut Given,
    default_host: &mut String,
) -> Result<(Link, Address), GaveUp> {
    loop {
        let (host, port) = match given.host.take() {
            Some(host) => (host, given.port.take()),
            None => ask_host(terminal, default_host).await?,
        };
        let port = match port {
            Some(port) => port,
            None => ask_port(terminal).await?,
        };
        let address = Address { host, port };
        let outcome = greeted(&address).await;
        if outcome.as_ref().map_or_else(host_is_there, |_| true) {
            default_host.clone_from(&address.host);
        }
        match outcome {
            Ok((link, motd)) => {
                if !motd.is_empty() {
                    terminal.tell(&motd).await;
                }
                return Ok((link, address));
            }
            Err(error) => terminal.tell(&error.to_string()).await,
        }
    }
}

/// Whether a host is there although no Veche server answered: then another port may do.
fn host_is_there(error: &LoginError) -> bool {
    match error {
        LoginError::Link(LinkError::Host { .. }) => false,
        LoginError::Link(LinkError::Connect { error, .. }) => error.kind() == ErrorKind::ConnectionRefused,
        // Somebody took the connection.
        _ => true,
    }
}

async fn greeted(address: &Address) -> Result<(Link, String), LoginError> {
    let mut link = Link::connect(address).await?;
    let motd = login::welcome(&mut link).await?;
    Ok((link, motd))
}

async fn ask_host(terminal: &mut Terminal, default: &str) -> Result<(String, Option<u16>), GaveUp> {
    loop {
        let typed = line(terminal, &format!("Host [{default}]: ")).await?;
        if typed.is_empty() {
            return Ok((default.to_owned(), None));
        }
        match link::parse_address(&typed) {
            Ok(address) => return Ok(address),
            Err(why) => terminal.tell(&format!("That is no host: {why}.")).await,
        }
    }
}

async fn ask_port(terminal: &mut Terminal) -> Result<u16, GaveUp> {
    loop {
        let typed = line(terminal, &format!("Port [{DEFAULT_PORT}]: ")).await?;
        if typed.is_empty() {
            return Ok(DEFAULT_PORT);
        }
        match link::parse_port(&typed) {
            Ok(port) => return Ok(port),
            Err(why) => terminal.tell(&format!("That is no port: {why}.")).await,
        }
    }
}

async fn ask_name(terminal: &mut Terminal) -> Result<UserName, GaveUp> {
    loop {
        let typed = line(terminal, "Name: ").await?;
        match UserName::as_given(&typed) {
            Ok(name) => return Ok(name),
            Err(why) => terminal.tell(&format!("That is no name: {why}.")).await,
        }
    }
}

/// Whether the name has an account. A connection that waited too long for an answer is opened anew.
async fn known(
    terminal: &mut Terminal,
    link: &mut Link,
    address: &Address,
    name: &UserName,
) -> Result<bool, LoginError> {
    match login::is_known(link, name).await {
        Err(error) if error.is_lost_connection() => {
            (*link, _) = greeted(address).await?;
            login::is_known(link, name).await
        }
        Err(error) if error.pause().is_some() => {
            pause(terminal, &error).await;
            login::is_known(link, name).await
        }
        known => known,
    }
}

async fn agrees(terminal: &mut Terminal, name: &UserName, unasked: bool) -> Result<bool, GaveUp> {
    if unasked {
        return Ok(true);
    }
    loop {
        let typed =
            line(terminal, &format!("{name} is not known here yet. Make a new account? [y]: ")).await?;
        match typed.to_lowercase().as_str() {
            "" | "y" | "yes" => return Ok(true),
            "n" | "no" => return Ok(false),
            _ => terminal.tell("Answer y or n.").await,
        }
    }
}

/// Asks for the password until it opens a session; `None` when another name has to be asked for.
async fn open(
    terminal: &mut Terminal,
    link: &mut Link,
    address: &Address,
    name: &UserName,
    register: bool,
    mut given: Option<Password>,
) -> Result<Option<(SessionOpened, Password)>, GaveUp> {
    loop {
        let password = match given.take() {
            Some(password) => password,
            None if register => new_password(terminal).await?,
            None => Password::given(secret(terminal, "Password: ").await?),
        };
        let mut outcome = login::open(link, name, &password, register).await;
        // The server lets go of who does not log in in time; a person may take longer.
        if outcome.as_ref().is_err_and(LoginError::is_lost_connection) {
            outcome = match greeted(address).await {
                Ok((fresh, _)) => {
                    *link = fresh;
                    login::open(link, name, &password, register).await
                }
                Err(error) => Err(error),
            };
        }
        match outcome {
            Ok(opened) => return Ok(Some((opened, password))),
            Err(LoginError::Refused { code, text, .. }) if is_wrong_password(code) => {
                terminal.tell(&text).await
            }
            Err(error) if error.pause().is_some() => {
                pause(terminal, &error).await;
                given = Some(password);
            }
            Err(error) => {
                terminal.tell(&error.to_string()).await;
                return Ok(None);
            }
        }
    }
}

/// Asks for a new password twice, until both are the same and it meets the rules.
async fn new_password(terminal: &mut Terminal) -> Result<Password, GaveUp> {
    loop {
        let (least, most) = (PASSWORD_BYTES.start(), PASSWORD_BYTES.end());
        let typed = secret(terminal, &format!("New password ({least} to {most} bytes): ")).await?;
        let Ok(password) = Password::chosen(typed) else {
            terminal.tell(ErrorCode::BadPassword.sentence()).await;
            continue;
        };
        if Password::given(secret(terminal, "The same again: ").await?) == password {
            return Ok(password);
        }
        terminal.tell("The two are not the same.").await;
    }
}

/// Waits as long as the server asked for, and says so.
async fn pause(terminal: &mut Terminal, error: &LoginError) {
    let pause = error.pause().unwrap_or_default().max(Duration::from_millis(100));
    terminal.tell(&format!("{error} Waiting {:.1} s.", pause.as_secs_f32())).await;
    tokio::time::sleep(pause).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_remembered_when_only_its_port_is_wrong() {
        let host = "veche.example".to_owned();
        let unknown = LinkError::Host { host: host.clone(), error: ErrorKind::NotFound.into() };
        assert!(!host_is_there(&unknown.into()));
        for (kind, there) in [
            (ErrorKind::ConnectionRefused, true),
            (ErrorKind::TimedOut, false),
            (ErrorKind::HostUnreachable, false),
        ] {
            let error = LinkError::Connect { host: host.clone(), port: 1, error: kind.into() };
            assert_eq!(host_is_there(&error.into()), there, "{kind}");
        }
        assert!(host_is_there(&LinkError::Closed.into()));
        assert!(host_is_there(&LoginError::Silent));
        assert!(host_is_there(&LoginError::Foreign));
    }
}
