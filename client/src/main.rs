//! The bundled client of the Veche chat server.
//!
//! Read in this order: [`session`], the protocol as a pure state machine; [`login`], how a session is
//! opened, and [`devices`], what this device shows for it; [`link`], the connection; [`driver`], which brings these together; then the two faces, [`chat`]
//! on a [`terminal`] for a person and [`pipe`] for a script, with [`commands`] and [`display`] between them
//! and the text. This file turns options into one of the two, and its end into an exit status.

mod chat;
mod clock;
mod commands;
mod devices;
mod dialogue;
mod display;
mod driver;
mod exit_status;
mod link;
mod login;
mod pipe;
mod session;
mod terminal;

use std::env::VarError;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use veche::model::{Password, RoomName, UserName};

use crate::chat::Chat;
use crate::clock::Clock;
use crate::devices::Device;
use crate::dialogue::{DEFAULT_HOST, DEFAULT_PORT, GaveUp, Given, LoggedIn};
use crate::exit_status::ExitStatus;
use crate::link::{Address, Link};
use crate::login::LoginError;
use crate::pipe::{Pipe, tell};
use crate::session::{Command, End, Options, Session};
use crate::terminal::Terminal;

/// Messages of the past that a person sees on entering a room.
const HISTORY_SHOWN: usize = 20;
/// How long a person who leaves waits for the last receipts.
const EXIT_WAIT: Duration = Duration::from_secs(5);
/// How long a script goes on connecting: as long as the server remembers what was sent.
const GIVE_UP_AFTER: Duration = Duration::from_secs(120);

/// Chat on a Veche server.
///
/// At a terminal it asks for what is missing (Ctrl-C gives up a question, Ctrl-D the program), and shows its
/// commands with /help. When standard input or
/// output is no terminal, or with --json, it works by lines: each line of input is said, each event is one
/// line of output, and `exit` alone on a line, or the end of the input, ends it when everything said has
/// its receipt. A line that cannot be said (over 4096 bytes, control characters, not UTF-8) is told on
/// standard error and skipped. Exit status: 0 at the end, 1 when something failed or a line was skipped,
/// 2 for wrong arguments.
#[derive(Debug, Parser)]
#[command(name = "veche-client", version)]
struct Arguments {
    /// Where the server is.
    #[arg(help = "Where the server is: HOST, HOST:PORT or [IPv6]:PORT")]
    #[arg(value_name = "HOST[:PORT]", value_parser = link::parse_address)]
    server: Option<(String, Option<u16>)>,
    /// Your account. The password is asked for, or taken from VECHE_PASSWORD
    #[arg(long, value_parser = UserName::as_given)]
    name: Option<UserName>,
    /// Make the account when it is not there
    #[arg(long)]
    register: bool,
    /// The room to enter
    #[arg(long, default_value = "lobby")]
    room: RoomName,
    /// Print events as they are on the wire, one JSON object a line
    #[arg(long)]
    json: bool,
    /// At a terminal, edit line by line, with a command for every action (there is nothing else yet)
    #[arg(long)]
    plain: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let by_lines = arguments.json || !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("The program cannot start: {}.", link::words(&error))).into(),
    };
    let status = runtime.block_on(async {
        if by_lines { run_by_lines(arguments).await } else { run_at_terminal(arguments).await }
    });
    // Not a return from here: a thread may still be waiting for input, and cannot be called back.
    std::process::exit(status.code().into())
}

fn fail(sentence: &str) -> ExitStatus {
    tell(&mut std::io::stderr(), sentence);
    ExitStatus::Failed
}

fn usage(sentence: &str) -> ExitStatus {
    tell(&mut std::io::stderr(), sentence);
    ExitStatus::Usage
}

/// The password of the environment, if there is one.
fn given_password() -> Result<Option<Password>, ExitStatus> {
    match std::env::var("VECHE_PASSWORD") {
        Ok(password) => Ok(Some(password).filter(|password| !password.is_empty()).map(Password::given)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(usage(
            "VECHE_PASSWORD is no text in UTF-8, as a password has to be; set it anew, from a UTF-8 terminal or file.",
        )),
    }
}

async fn run_by_lines(arguments: Arguments) -> ExitStatus {
    let Some(name) = arguments.name else {
        return usage("By lines it asks nothing: give the account with --name NAME.");
    };
    let password = match given_password() {
        Ok(Some(password)) => password,
        Ok(None) => {
            return usage(
                "By lines it asks nothing: give the password in the environment, as VECHE_PASSWORD.",
            );
        }
        Err(status) => return status,
    };
    let (host, port) = arguments.server.unwrap_or_else(|| (DEFAULT_HOST.to_owned(), None));
    let address = Address { host, port: port.unwrap_or(DEFAULT_PORT) };
    let mut link = match Link::connect(&address).await {
        Ok(link) => link,
        Err(error) => return fail(&LoginError::from(error).to_string()),
    };
    let device = Device::of(&address, &name);
    let opened = match login::open_unattended(&mut link, &name, &password, &device, arguments.register).await
    {
        Ok(opened) => opened,
        Err(error) => return fail(&error.sentence(&name)),
    };
    let name = opened.account(name);
    let options = Options {
        history: 1,
        shows_history: false,
        shows_missed_letters: false,
        exit_wait: None,
        give_up_after: Some(GIVE_UP_AFTER),
    };
    let mut pipe = Pipe::open(name.clone(), arguments.room.clone(), arguments.json);
    let clock = Clock::start();
    let random = match clock::random() {
        Ok(random) => Box::new(random),
        Err(error) => return fail(&format!("The system gives no random numbers: {error}.")),
    };
    let mut session = Session::new(options, name, password, &opened, link.term(), clock.now(), random);
    session.command(clock.now(), Command::Join(arguments.room));
    let end = driver::run(session, link, address, device, &clock, &mut pipe).await;
    match ended(&end) {
        ExitStatus::Done if end.lost_messages => fail("Not everything that was to be said has a receipt."),
        ExitStatus::Done if !pipe.said_all() => ExitStatus::Failed,
        status => status,
    }
}

async fn run_at_terminal(arguments: Arguments) -> ExitStatus {
    let password = match given_password() {
        Ok(password) => password,
        Err(status) => return status,
    };
    let terminal = match Terminal::open() {
        Ok(terminal) => terminal,
        Err(error) => return fail(&format!("This terminal cannot be used: {}.", link::words(&error))),
    };
    let restorer = terminal.restorer();
    let outcome = tokio::select! {
        outcome = converse(arguments, password, terminal) => outcome,
        number = ending_signal() => Err(ExitStatus::Signal(number)),
    };
    restorer.restore();
    outcome.map_or_else(|unopened| unopened, |end| ended(&end))
}

/// Logs in and chats until the end, or until there is nothing to chat about.
async fn converse(
    arguments: Arguments,
    password: Option<Password>,
    mut terminal: Terminal,
) -> Result<End, ExitStatus> {
    let random =
        clock::random().map_err(|error| fail(&format!("The system gives no random numbers: {error}.")))?;
    let (host, port) = arguments.server.map_or((None, None), |(host, port)| (Some(host), port));
    let given = Given { host, port, name: arguments.name, password, register: arguments.register };
    let logged_in = dialogue::log_in(&mut terminal, given).await.map_err(|GaveUp| ExitStatus::Done)?;
    let options = Options {
        history: HISTORY_SHOWN,
        shows_history: true,
        shows_missed_letters: true,
        exit_wait: Some(EXIT_WAIT),
        give_up_after: None,
    };
    let LoggedIn { link, address, device, name, password, opened } = logged_in;
    let clock = Clock::start();
    let name = opened.account(name);
    let mut chat = Chat::new(terminal, name.clone(), arguments.room.clone());
    chat.greet(&opened).await;
    let mut session =
        Session::new(options, name, password, &opened, link.term(), clock.now(), Box::new(random));
    session.command(clock.now(), Command::Join(arguments.room));
    let end = driver::run(session, link, address, device, &clock, &mut chat).await;
    chat.close().await;
    Ok(end)
}

fn ended(end: &End) -> ExitStatus {
    if let Some(sentence) = &end.sentence {
        tell(&mut std::io::stderr(), sentence);
    }
    if end.well { ExitStatus::Done } else { ExitStatus::Failed }
}

/// Waits for a signal that ends programs; gives its number.
async fn ending_signal() -> u8 {
    let one = async |kind: SignalKind, number: u8| match signal(kind) {
        Ok(mut stream) => {
            stream.recv().await;
            number
        }
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        number = one(SignalKind::interrupt(), 2) => number,
        number = one(SignalKind::terminate(), 15) => number,
        number = one(SignalKind::hangup(), 1) => number,
    }
}
