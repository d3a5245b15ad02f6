//! From a connection to a session: `welcome`, `identify`, then `register` or `login`. One question at a
//! time, in the order of the conversation; [`crate::session`] takes over where this ends.

use std::time::Duration;

use veche::model::{ErrorCode, Password, Request, TokenText, UserName};
use veche::wire::json::{PROTOCOL_VERSION, ServerFrame, SessionOpened};

use crate::devices::Device;
use crate::link::{Link, LinkError};

/// How long the server may take to answer. A login may wait in a queue for its hash.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a script waits at most when the server says "not now".
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often a script tries again.
const PATIENCE: u32 = 5;
/// The longest wait that is worth no question, and no hope of the operator.
pub const SHORT_WAIT: Duration = Duration::from_secs(5);

/// Why there is no session: sentences.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The connection.
    #[error("There is no connection: {link}{advice}.", link = .0, advice = .0.advice())]
    Link(#[from] LinkError),
    /// The server refused.
    #[error("{text}")]
    Refused {
        /// Its code.
        code: ErrorCode,
        /// Its sentence.
        text: String,
        /// When it will do.
        retry_after: Option<Duration>,
    },
    /// The server ended the connection.
    #[error("The server ended the connection: {0}")]
    Ended(String),
    /// No answer.
    #[error("The server does not answer; is it a Veche server?")]
    Silent,
    /// An answer that makes no sense.
    #[error("The server speaks another protocol than Veche version {PROTOCOL_VERSION}.")]
    Foreign,
}

impl LoginError {
    /// Whether the same question can be asked on a new connection.
    pub fn is_lost_connection(&self) -> bool {
        matches!(self, LoginError::Link(_) | LoginError::Ended(_))
    }

    /// What to tell a person who wanted in with this name.
    pub fn sentence(&self, name: &UserName) -> String {
        match self {
            LoginError::Refused { code: ErrorCode::TooManyAttempts, retry_after: Some(wait), .. }
                if *wait > SHORT_WAIT =>
            {
                locked(name, *wait)
            }
            error => error.to_string(),
        }
    }

    /// How long to wait before the same question makes sense again, if it will.
    pub fn pause(&self) -> Option<Duration> {
        match self {
            LoginError::Refused {
                code: ErrorCode::RateLimited | ErrorCode::TooManyAttempts | ErrorCode::StorageUnavailable,
                retry_after,
                ..
            } => Some(retry_after.unwrap_or(Duration::from_secs(1))),
            _ => None,
        }
    }
}

/// Waits for the server's `welcome`; gives its `motd`.
///
/// # Errors
/// [`LoginError`], also when it speaks another version.
pub async fn welcome(link: &mut Link) -> Result<String, LoginError> {
    match answer(link, None).await? {
        ServerFrame::Welcome { protocol: PROTOCOL_VERSION, motd, .. } => Ok(motd),
        _ => Err(LoginError::Foreign),
    }
}

/// Whether this name has an account.
///
/// # Errors
/// [`LoginError`].
pub async fn is_known(link: &mut Link, name: &UserName) -> Result<bool, LoginError> {
    match ask(link, &Request::Identify { name: name.clone() }).await? {
        ServerFrame::Identified { known, .. } => Ok(known),
        _ => Err(LoginError::Foreign),
    }
}

/// That a password is not tried for now, and what helps.
pub fn locked(name: &UserName, wait: Duration) -> String {
    format!(
        "Too many wrong passwords were tried, by you or by somebody else, so none is tried for {name} just now. It \
         can be tried again in {}; the operator can let you in at once.",
        span(wait)
    )
}

/// A time to wait, as people say it.
pub fn span(wait: Duration) -> String {
    let seconds = wait.as_secs_f32().ceil() as u64;
    match (seconds, seconds.div_ceil(60)) {
        (0..=90, _) => format!("{seconds} s"),
        (_, minutes @ 0..=50) => format!("about {minutes} minutes"),
        (_, 51..=90) => "about an hour".to_owned(),
        (_, minutes) => format!("about {} hours", minutes.div_ceil(60)),
    }
}

/// Opens a session, of a new account if `register`. `device` shows that this device was in before, and keeps
/// what shows it the next time.
///
/// # Errors
/// [`LoginError`].
pub async fn open(
    link: &mut Link,
    name: &UserName,
    password: &Password,
    device: &Device,
    register: bool,
) -> Result<SessionOpened, LoginError> {
    let (name, password) = (name.clone(), password.clone());
    let request = if register {
        Request::Register { name, password }
    } else {
        Request::Login { name, password, device: device.token() }
    };
    match ask(link, &request).await? {
        ServerFrame::Session(opened) => {
            device.keep(&TokenText::new(opened.token.clone()));
            Ok(opened)
        }
        _ => Err(LoginError::Foreign),
    }
}

/// Opens a session without asking anybody; waits where the server says "not now". With `may_register` an
/// account that is not there is made.
///
/// # Errors
/// [`LoginError`].
pub async fn open_unattended(
    link: &mut Link,
    name: &UserName,
    password: &Password,
    device: &Device,
    may_register: bool,
) -> Result<SessionOpened, LoginError> {
    welcome(link).await?;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let outcome = match may_register {
            true => match is_known(link, name).await {
                Ok(known) => open(link, name, password, device, !known).await,
                Err(error) => Err(error),
            },
            false => open(link, name, password, device, false).await,
        };
        match outcome {
            Err(error)
                if attempts < PATIENCE && error.pause().is_some_and(|pause| pause <= LONGEST_PAUSE) =>
            {
                tokio::time::sleep(error.pause().unwrap_or_default()).await;
            }
            outcome => return outcome,
        }
    }
}

async fn ask(link: &mut Link, request: &Request) -> Result<ServerFrame, LoginError> {
    const REFERENCE: &str = "open";
    link.send(request.encode(Some(REFERENCE), None))?;
    answer(link, Some(REFERENCE)).await
}

/// The next frame with this `ref`; without one, the next that is no event.
async fn answer(link: &mut Link, wanted: Option<&str>) -> Result<ServerFrame, LoginError> {
    let mut fault = None;
    let deadline = tokio::time::Instant::now() + ANSWER_TIMEOUT;
    loop {
        let payload = match tokio::time::timeout_at(deadline, link.next()).await {
            Err(_) => return Err(LoginError::Silent),
            Ok(Err(error)) => return Err(fault.map_or(LoginError::Link(error), LoginError::Ended)),
            Ok(Ok(payload)) => payload,
        };
        let Ok((frame, reference)) = ServerFrame::parse(&payload) else {
            if wanted.is_none() {
                return Err(LoginError::Foreign);
            }
            continue;
        };
        match frame {
            ServerFrame::Ping => link.send(Request::Pong.encode(None, None))?,
            ServerFrame::Error { code, text, retry_after_ms }
                if wanted.is_some() && reference.as_deref() == wanted =>
            {
                let retry_after = retry_after_ms.map(Duration::from_millis);
                return Err(LoginError::Refused { code, text, retry_after });
            }
            // What went wrong with the connection; the `bye` follows.
            ServerFrame::Error { text, .. } => fault = Some(text),
            ServerFrame::Bye { text, .. } => return Err(LoginError::Ended(fault.unwrap_or(text))),
            frame if reference.as_deref() == wanted => return Ok(frame),
            _ => {}
        }
    }
}
