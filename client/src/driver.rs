//! Brings together what the session decides, the connection, the clock, and whoever types and reads.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::clock::Clock;
use crate::devices::Device;
use crate::link::{Address, Link, LinkError, words};
use crate::session::{Action, Command, End, Session, Show};

/// Whoever types and reads: a person at a terminal, or a script.
pub trait Ui {
    /// Whether input waits while the session takes no further messages. A person is told instead.
    const PACED: bool;

    /// The next thing that is wanted. Dropping the future half-way loses nothing.
    async fn input(&mut self, session: &Session) -> Command;

    /// Shows something.
    ///
    /// # Errors
    /// When nobody can read any more.
    async fn show(&mut self, show: Show) -> std::io::Result<()>;

    /// Everything that is to be shown for now was shown.
    ///
    /// # Errors
    /// When nobody can read any more.
    fn settled(&mut self, session: &Session) -> std::io::Result<()>;
}

type Connecting = Pin<Box<dyn Future<Output = Result<Link, LinkError>>>>;

/// What the driver holds beside the session.
struct Driver<'a, F> {
    front: &'a mut F,
    address: Address,
    device: Device,
    link: Option<Link>,
    connecting: Option<Connecting>,
}

/// What happened.
enum Event {
    Frame(Result<bytes::Bytes, LinkError>),
    Connected(Result<Link, LinkError>),
    Typed(Command),
    Due,
}

/// Runs a session until it ends.
pub async fn run<F: Ui>(
    mut session: Session,
    link: Link,
    address: Address,
    device: Device,
    clock: &Clock,
    front: &mut F,
) -> End {
    let mut driver = Driver { front, address, device, link: Some(link), connecting: None };
    loop {
        match driver.act(&mut session, clock).await {
            Ok(None) => {}
            Ok(Some(end)) => return end,
            Err(error) => {
                let sentence = Some(format!("The output cannot be written: {}.", words(&error)));
                return End { well: false, lost_messages: false, sentence };
            }
        }
        let wait = session.deadline().map(|at| at.saturating_sub(clock.now()));
        let event = driver.wait(wait, &session).await;
        let now = clock.now();
        match event {
            Event::Frame(Ok(payload)) => session.frame(now, payload),
            Event::Frame(Err(error)) => {
                driver.link = None;
                session.lost(now, &error.to_string());
            }
            Event::Connected(Ok(link)) => {
                driver.link = Some(link);
                session.connected(now);
            }
            Event::Connected(Err(error)) => session.lost(now, &error.to_string()),
            Event::Typed(command) => session.command(now, command),
            Event::Due => session.tick(now),
        }
    }
}

impl<F: Ui> Driver<'_, F> {
    /// Does what the session wants done; the end, when it has come.
    async fn act(&mut self, session: &mut Session, clock: &Clock) -> std::io::Result<Option<End>> {
        while let Some(action) = session.next_action() {
            match action {
                Action::Connect => {
                    let address = self.address.clone();
                    self.connecting = Some(Box::pin(async move { Link::connect(&address).await }));
                }
                Action::Disconnect => self.link = None,
                Action::Keep(token) => self.device.keep(&token),
                Action::Send(payload) => {
                    let sent = self.link.as_ref().map(|link| link.send(payload));
                    if let Some(Err(error)) = sent {
                        self.link = None;
                        session.lost(clock.now(), &error.to_string());
                    }
                }
                Action::Show(show) => self.front.show(show).await?,
                Action::End(end) => {
                    self.front.settled(session)?;
                    return Ok(Some(end));
                }
            }
        }
        self.front.settled(session)?;
        Ok(None)
    }

    /// Waits until something happens.
    async fn wait(&mut self, wait: Option<Duration>, session: &Session) -> Event {
        let takes_input = !F::PACED || session.takes_messages();
        let Driver { front, link, connecting, .. } = self;
        let event = tokio::select! {
            frame = next_frame(link) => Event::Frame(frame),
            connected = established(connecting) => Event::Connected(connected),
            () = due(wait) => Event::Due,
            command = front.input(session), if takes_input => Event::Typed(command),
        };
        if matches!(event, Event::Connected(_)) {
            self.connecting = None;
        }
        event
    }
}

async fn next_frame(link: &mut Option<Link>) -> Result<bytes::Bytes, LinkError> {
    match link {
        Some(link) => link.next().await,
        None => std::future::pending().await,
    }
}

async fn established(connecting: &mut Option<Connecting>) -> Result<Link, LinkError> {
    match connecting {
        Some(connecting) => connecting.await,
        None => std::future::pending().await,
    }
}

async fn due(wait: Option<Duration>) {
    match wait {
        // A laptop may sleep through a long timer, so the clock is asked now and then.
        Some(wait) => tokio::time::sleep(wait.min(Duration::from_secs(5))).await,
        None => std::future::pending().await,
    }
}
