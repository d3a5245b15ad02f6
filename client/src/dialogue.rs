//! The conversation before the chat: where to, who, and with which password. What does not work is told in
//! one sentence, and asked again.

use std::io::ErrorKind;
use std::time::Duration;

use veche::model::{ErrorCode, PASSWORD_BYTES, Password, UserName};
use veche::wire::json::SessionOpened;

use crate::devices::Device;
use crate::link::{self, Address, Link, LinkError};
use crate::login::{self, LoginError, SHORT_WAIT};
use crate::terminal::{Answer, Terminal};

/// How long an answer may take before the person is told that it is waited for.
const TELL_AFTER: Duration = Duration::from_secs(2);

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
    /// Where this device keeps what shows that it was in.
    pub device: Device,
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

/// Why a question has no answer.
#[derive(Debug)]
enum Unanswered {
    /// Ctrl-C: the person wants back to the question before it.
    Back,
    /// Ctrl-D: the person wants to leave.
    End,
}

/// The connection on which the session is to be opened. It is opened anew when it was lost, or when a request
/// was given up on it whose answer may still come.
struct Line {
    address: Address,
    link: Option<Link>,
}

/// Asks for all that is missing until there is a session. Ctrl-C gives up one question, and leads back to the one
/// before it; Ctrl-D gives up.
///
/// # Errors
/// [`GaveUp`] when the person ends the input.
pub async fn log_in(terminal: &mut Terminal, mut given: Given) -> Result<LoggedIn, GaveUp> {
    let mut default_host = given.host.clone().unwrap_or_else(|| DEFAULT_HOST.to_owned());
    loop {
        let mut line = match connect(terminal, &mut given, &mut default_host).await {
            Ok(line) => line,
            Err(Unanswered::Back) => {
                terminal.tell("(Ctrl-D ends the program.)").await;
                continue;
            }
            Err(Unanswered::End) => return Err(GaveUp),
        };
        loop {
            let name = match given.name.take().map(Ok) {
                Some(name) => name,
                None => ask_name(terminal).await,
            };
            let opened = match name {
                Ok(name) => enter(terminal, &mut line, &mut given, name).await,
                // Before the name stands the host.
                Err(Unanswered::Back) => break,
                Err(unanswered) => Err(unanswered),
            };
            match opened {
                Ok(Entered::In(logged_in)) => return Ok(*logged_in),
                Ok(Entered::Another) | Err(Unanswered::Back) => {}
                Ok(Entered::NoServer) => break,
                Err(Unanswered::End) => return Err(GaveUp),
            }
        }
    }
}

/// What became of a name.
enum Entered {
    In(Box<LoggedIn>),
    /// Another name has to be asked for.
    Another,
    /// Another host has to be asked for.
    NoServer,
}

/// Opens a session with this name, of a new account if need be.
async fn enter(
    terminal: &mut Terminal,
    line: &mut Line,
    given: &mut Given,
    name: UserName,
) -> Result<Entered, Unanswered> {
    let known = match known(terminal, line, &name).await? {
        Ok(known) => known,
        Err(error) => {
            terminal.forget_typed_ahead();
            terminal.tell(&error.to_string()).await;
            return Ok(Entered::NoServer);
        }
    };
    if !known && !agrees(terminal, &name, given.register).await? {
        return Ok(Entered::Another);
    }
    let device = Device::of(&line.address, &name);
    let opened = open(terminal, line, (&name, &device), !known, given.password.take()).await?;
    Ok(match (opened, line.link.take()) {
        (Some((opened, password)), Some(link)) => {
            let address = line.address.clone();
            Entered::In(Box::new(LoggedIn { link, address, device, name, password, opened }))
        }
        _ => Entered::Another,
    })
}

async fn line(terminal: &mut Terminal, prompt: &str) -> Result<String, Unanswered> {
    answered(terminal.line(prompt).await).map(|line| line.trim().to_owned())
}

async fn secret(terminal: &mut Terminal, prompt: &str) -> Result<String, Unanswered> {
    answered(terminal.secret(prompt).await)
}

fn answered(answer: Answer) -> Result<String, Unanswered> {
    match answer {
        Answer::Line(line) => Ok(line),
        Answer::Interrupted => Err(Unanswered::Back),
        Answer::End => Err(Unanswered::End),
    }
}

/// Waits for this, or for Ctrl-C.
async fn unless_given_up<T>(terminal: &mut Terminal, work: impl Future<Output = T>) -> Result<T, Unanswered> {
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = terminal.interrupted() => Err(Unanswered::Back),
    }
}

/// Waits for an answer from there, or for Ctrl-C; what takes long is told.
async fn unless_it_takes_long<T>(
    terminal: &mut Terminal,
    address: &Address,
    work: impl Future<Output = T>,
) -> Result<T, Unanswered> {
    let mut work = std::pin::pin!(work);
    if let Ok(done) = tokio::time::timeout(TELL_AFTER, unless_given_up(terminal, &mut work)).await {
        return done;
    }
    let Address { host, port } = address;
    terminal.tell(&format!("Waiting for {host} port {port}; Ctrl-C gives it up.")).await;
    unless_given_up(terminal, work).await
}

impl Line {
    /// Asks something on this connection, or, where that was lost, on another one.
    async fn ask<T>(
        &mut self,
        terminal: &mut Terminal,
        mut question: impl AsyncFnMut(&mut Link) -> Result<T, LoginError>,
    ) -> Result<Result<T, LoginError>, Unanswered> {
        let place = self.address.clone();
        let Line { address, link: kept } = self;
        let work = async {
            // While it is asked it is not kept: the answer to a question that was given up is nobody's.
            if let Some(mut link) = kept.take() {
                match question(&mut link).await {
                    // The server lets go of who does not log in in time; a person may take longer.
                    Err(error) if error.is_lost_connection() => {}
                    outcome => {
                        *kept = Some(link);
                        return outcome;
                    }
                }
            }
            let (mut link, _) = greeted(address).await?;
            let outcome = question(&mut link).await;
            *kept = Some(link);
            outcome
        };
        unless_it_takes_long(terminal, &place, work).await
    }
}

/// Asks for host and port, as far as they are not given, until a server answers there. A host that is there
/// becomes the default, even with the wrong port; one that is not does not.
async fn connect(
    terminal: &mut Terminal,
    given: &mut Given,
    default_host: &mut String,
) -> Result<Line, Unanswered> {
    loop {
        let (host, port) = match given.host.take() {
            Some(host) => (host, given.port.take()),
            None => ask_host(terminal, default_host).await?,
        };
        let port = match port.map(Ok) {
            Some(port) => port,
            None => ask_port(terminal).await,
        };
        let port = match port {
            Ok(port) => port,
            // Back to the host.
            Err(Unanswered::Back) => continue,
            Err(unanswered) => return Err(unanswered),
        };
        let address = Address { host, port };
        let outcome = unless_it_takes_long(terminal, &address, greeted(&address)).await?;
        if outcome.as_ref().map_or_else(host_is_there, |_| true) {
            default_host.clone_from(&address.host);
        }
        match outcome {
            Ok((link, motd)) => {
                if !motd.is_empty() {
                    terminal.tell_as("! ", &motd).await;
                }
                return Ok(Line { address, link: Some(link) });
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

async fn ask_host(terminal: &mut Terminal, default: &str) -> Result<(String, Option<u16>), Unanswered> {
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

async fn ask_port(terminal: &mut Terminal) -> Result<u16, Unanswered> {
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

async fn ask_name(terminal: &mut Terminal) -> Result<UserName, Unanswered> {
    loop {
        let typed = line(terminal, "Name: ").await?;
        match UserName::as_given(&typed) {
            Ok(name) => return Ok(name),
            Err(why) => terminal.tell(&format!("That is no name: {why}.")).await,
        }
    }
}

/// Whether the name has an account.
async fn known(
    terminal: &mut Terminal,
    line: &mut Line,
    name: &UserName,
) -> Result<Result<bool, LoginError>, Unanswered> {
    loop {
        let known = line.ask(terminal, async |link| login::is_known(link, name).await).await?;
        match known {
            Err(error) if error.pause().is_some() => {
                terminal.tell(&error.to_string()).await;
                pause(terminal, &error).await?;
            }
            known => return Ok(known),
        }
    }
}

async fn agrees(terminal: &mut Terminal, name: &UserName, unasked: bool) -> Result<bool, Unanswered> {
    if unasked {
        return Ok(true);
    }
    // Who meant to log in may have typed the password already.
    let ahead = terminal.typed_ahead().to_lowercase();
    if !["yes", "no"].iter().any(|answer| answer.starts_with(&ahead)) {
        terminal.forget_typed_ahead();
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
    line: &mut Line,
    (name, device): (&UserName, &Device),
    register: bool,
    mut given: Option<Password>,
) -> Result<Option<(SessionOpened, Password)>, Unanswered> {
    loop {
        let password = match given.take() {
            Some(password) => password,
            None if register => new_password(terminal).await?,
            None => Password::given(secret(terminal, "Password: ").await?),
        };
        let opened = line
            .ask(terminal, async |link| login::open(link, name, &password, device, register).await)
            .await?;
        match opened {
            Ok(opened) => {
                // A password that is typed once more because nothing happened is no message.
                terminal.forget_typed_ahead();
                return Ok(Some((opened, password)));
            }
            Err(LoginError::Refused { code, text, .. }) if is_wrong_password(code) => {
                terminal.tell(&text).await
            }
            Err(error) if error.pause().is_some_and(|wait| wait > SHORT_WAIT) => {
                terminal.forget_typed_ahead();
                terminal.tell(&error.sentence(name)).await;
                if !wants_to_wait(terminal).await? {
                    return Ok(None);
                }
                pause(terminal, &error).await?;
                given = Some(password);
            }
            Err(error) if error.pause().is_some() => {
                terminal.tell(&error.to_string()).await;
                pause(terminal, &error).await?;
                given = Some(password);
            }
            Err(error) => {
                terminal.forget_typed_ahead();
                terminal.tell(&error.to_string()).await;
                return Ok(None);
            }
        }
    }
}

/// Whether a login can be tried again with another password, rather than not at all.
fn is_wrong_password(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::WrongPassword | ErrorCode::BadPassword)
}

/// Asks for a new password twice, until both are the same and it meets the rules.
async fn new_password(terminal: &mut Terminal) -> Result<Password, Unanswered> {
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

/// Whether a person waits for long, or rather goes back to the name.
async fn wants_to_wait(terminal: &mut Terminal) -> Result<bool, Unanswered> {
    loop {
        let typed = line(terminal, "Wait for it? (Else you are asked for a name again.) [n]: ").await?;
        match typed.to_lowercase().as_str() {
            "" | "n" | "no" => return Ok(false),
            "y" | "yes" => return Ok(true),
            _ => terminal.tell("Answer y or n.").await,
        }
    }
}

/// Waits as long as the server asked for, and says so.
async fn pause(terminal: &mut Terminal, error: &LoginError) -> Result<(), Unanswered> {
    let pause = error.pause().unwrap_or_default().max(Duration::from_millis(100));
    terminal.tell(&format!("Waiting {}; Ctrl-C gives it up.", login::span(pause))).await;
    unless_given_up(terminal, tokio::time::sleep(pause)).await
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
