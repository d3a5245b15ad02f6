//! The only file that knows every actor: it starts them, wires them, and stops them in order.
//!
//! [`run`] is the whole life of the process: lock the data directory, open the log, bind, open the files,
//! then [`serve`] until something asks it to stop. What may fail at the start fails there, with one sentence
//! for the operator.

mod bind;
mod reach;
pub mod resources;
mod signals;
mod start_error;
mod thread;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix::{Actor, Addr, AsyncContext, Context};
use log::{error, info, warn};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::actors::Handles;
use crate::actors::auth::leaving::WayOfMessages;
use crate::actors::auth::{AuthActor, OpenedAuth};
use crate::actors::console::printer::Printer;
use crate::actors::console::terminal::{Terminal, WaitingTerminal};
use crate::actors::console::{self, ConsoleActor, ConsoleContext, terminal};
use crate::actors::directory::DirectoryActor;
use crate::actors::fanout::FanoutActor;
use crate::actors::journal::JournalActor;
use crate::actors::listener::ListenerActor;
use crate::actors::messages::auth::{AccountsHandle, AuthHandle, Shutdown};
use crate::actors::messages::console::ConsoleHandle;
use crate::actors::messages::directory::{DirectoryHandle, Flush};
use crate::actors::messages::fanout::{CloseAll, FanoutHandle, Fanouts, StopRequests};
use crate::actors::messages::journal::{Drain, JournalHandle};
use crate::actors::messages::listener::{ListenerHandle, StopListening};
use crate::actors::panic_watch::{Critical, PanicWatch};
use crate::actors::room::ChatRoomActor;
use crate::actors::session::SessionActor;
use crate::chat::journal::terms::Terms;
use crate::config::Config;
use crate::config::load::{ConfigSource, Overrides};
use crate::control::server::{self as control, ControlServer, ControlSocket};
use crate::disk::Folder;
use crate::logging::{self, LogControl};
use crate::model::{IoThread, MessageId, Spellings, Timestamp};
use crate::store::history::{self, CsvLog, CsvLogOptions, HistoryOptions, Opened};
use crate::store::lock::DataDirLock;
use crate::store::owner;
use crate::store::set_aside::SetAside;
use crate::store::terms;

pub use bind::BindError;
pub use start_error::StartError;
use thread::{ActorThread, IdleThread, Mailbox, Starter, mailbox};

/// I/O threads that are started without being asked for by number.
const MAX_IO_THREADS: usize = 256;
/// How long the log may take to write its last lines.
const LOG_PATIENCE: Duration = Duration::from_millis(500);
/// How long the parts that no client waits for may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Runs the server until `shutdown`, SIGTERM or SIGINT.
///
/// # Errors
/// [`StartError`] when it could not be started.
pub fn run(config: Config, source: ConfigSource) -> Result<(), StartError> {
    owner::check(&config.server.data_dir)?;
    let unraised = resources::raise_open_files();
    resources::files_to_start(io_threads(&config))?;
    let lock = DataDirLock::acquire(&config.server.data_dir)?;
    let log = logging::start(&config.log_file(), &config.limits)?;
    logging::log_panics();
    let note = logging::check_filters()?.note;
    let strange = Overrides::strange_variables().into_iter().chain(note).chain(unraised);
    for strange in strange.chain(config.notes.iter().cloned()) {
        tell(&strange);
    }
    let result = run_locked(config, lock.folder(), source, &log);
    if let Err(why) = &result {
        error!("ended: {why}");
    }
    log.flush(LOG_PATIENCE);
    result
}

fn run_locked(
    config: Config,
    data: &Arc<dyn Folder>,
    source: ConfigSource,
    log: &LogControl,
) -> Result<(), StartError> {
    let bound = bind::bind(&config.server.listen, config.server.strict_port)?;
    bound.notes.iter().for_each(|note| tell(note));
    let system = resources::system().map_err(StartError::system("a thread"))?;
    system.block_on(async {
        let stop = Arc::new(Notify::new());
        let printer = Printer::start().map_err(StartError::system("a thread for the console"))?;
        signals::watch(Arc::clone(&stop), log.clone(), source, printer.clone())
            .map_err(StartError::system("signal handlers"))?;
        let console = Operator { stop: Arc::clone(&stop), log: log.clone(), printer };
        serve(config, data, vec![bound.listener], Some(console), async move { stop.notified().await }).await
    })
}

/// The operator's side of a server.
pub struct Operator {
    /// Notified to make the server stop.
    pub stop: Arc<Notify>,
    /// The log.
    pub log: LogControl,
    /// Standard output.
    pub printer: Printer,
}

/// Serves on bound sockets, over the data directory `data`, until `shutdown` is ready, then stops in order. Runs inside an actix `System`.
///
/// # Errors
/// [`StartError`] when the files or the system do not allow it; nobody has been served then.
pub async fn serve(
    config: Config,
    data: &Arc<dyn Folder>,
    listeners: Vec<TcpListener>,
    operator: Option<Operator>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let config = Arc::new(config);
    let newest_id = Arc::new(AtomicU64::new(0));
    let history = open_history(&config, data, &newest_id)?;
    let damaged: Vec<_> = history.damage.first.iter().map(ToString::to_string).collect();
    let set_aside = SetAside::new(data, &damaged, history.damage.total);
    let (critical, mut deaths) = PanicWatch::new();
    let keeper = critical.of("the account keeper");
    let auth = AuthActor::open(&config, data, Arc::clone(&newest_id), Some(keeper))?;
    // An id that an account was made at was used, even when the history of that time is gone.
    newest_id.fetch_max(MessageId::or_zero(auth.highest_visible_from), Ordering::Relaxed);

    let rooms = Spellings::of_rooms(history.index.rooms(), |name| history.index.has_room(name));
    let past = Past {
        terms: begin_term(&history, &newest_id)?,
        newest_id: Arc::clone(&newest_id),
        spellings: Arc::new(Spellings { users: Arc::clone(&auth.former_spellings), rooms }),
    };
    let journal = Journal::prepare(&config, history, newest_id, critical.of("the journal"))?;
    let io = IoResources::prepare(&config, listeners)?;
    let inputs = operator.map(|operator| ConsoleInputs::prepare(operator, &config)).transpose()?;
    resources::files_to_serve()?;

    // From here on nothing fails any more.
    let runtime = Runtime::build(&config, io, auth, journal, past, critical);
    let console = inputs.map(|inputs| runtime.open_console(inputs, set_aside));
    runtime.announce();
    // The prompt comes behind the lines that scripts wait for. Dropped at the end, it puts the terminal back.
    let (control, _terminal) = console.map(AtTheConsole::read_commands).unzip();

    let died = tokio::select! {
        () = shutdown => None,
        died = deaths.recv() => died,
    };
    info!("stopping");
    runtime.stop().await;
    if let Some(control) = control {
        control.stop().await;
    }
    info!("stopped");
    died.map_or(Ok(()), |actor| Err(StartError::Died(actor)))
}

/// Tells the operator something that is no error, on standard error and in the log.
fn tell(sentence: &str) {
    warn!("{sentence}");
    crate::cli::complain(&sentence);
}

fn open_history(
    config: &Config,
    data: &Arc<dyn Folder>,
    newest_id: &AtomicU64,
) -> Result<Opened, StartError> {
    let options = HistoryOptions {
        now: Timestamp::now(),
        key_seconds: config.limits.key_seconds,
        keys_per_account: config.limits.keys_per_account,
    };
    let started = Instant::now();
    let opened = history::open(data, options)?;
    for damage in &opened.damage.first {
        warn!("{damage}");
    }
    let untold = opened.damage.total.saturating_sub(opened.damage.first.len() as u64);
    if untold > 0 {
        warn!("{untold} more damaged places in the history");
    }
    newest_id.store(MessageId::or_zero(opened.last_id), Ordering::Relaxed);
    info!("{} messages, read in {:?}", opened.index.rows(), started.elapsed());
    Ok(opened)
}

/// Begins a term of the history. It is on the disk when this returns, before anybody is told of it.
fn begin_term(history: &Opened, newest_id: &AtomicU64) -> Result<Arc<Terms>, StartError> {
    let folder = &**history.writer.folder();
    let found = terms::read(folder)?;
    if let Some(line) = found.damaged_line {
        warn!(
            "{} line {line} is damaged; it and the terms before it are forgotten, and clients that were away \
             since then read anew",
            terms::FILE_NAME
        );
    }
    let present = terms::fresh(history.index.newest_id(), Timestamp::now())?;
    let used = MessageId::new(newest_id.load(Ordering::Relaxed));
    let all = Terms::begin(found.terms, present, used);
    terms::write(folder, all.known())?;
    info!("this is term {}", all.present());
    Ok(Arc::new(all))
}

/// What sessions know of the past without asking.
struct Past {
    terms: Arc<Terms>,
    newest_id: Arc<AtomicU64>,
    spellings: Arc<Spellings>,
}

/// The journal before it runs, its writer's thread included.
struct Journal {
    address: Addr<JournalActor>,
    starter: Starter,
}

impl Journal {
    fn prepare(
        config: &Arc<Config>,
        history: Opened,
        newest_id: Arc<AtomicU64>,
        critical: Critical,
    ) -> Result<Self, StartError> {
        let (address, its_mailbox) = mailbox::<JournalActor>();
        let options = CsvLogOptions {
            durability: config.journal.durability,
            batch_messages: config.limits.journal_batch_messages,
            used: MessageId::new(newest_id.load(Ordering::Relaxed)),
        };
        let log = CsvLog::new(history, options, critical.clone())
            .map_err(StartError::system("a thread for the journal"))?;
        let actor = JournalActor::new(Arc::clone(config), Box::new(log), newest_id, critical);
        Ok(Journal { address, starter: its_mailbox.take(move || actor) })
    }
}

/// What connections come through and live on, before anybody connects.
struct IoResources {
    listeners: Vec<tokio::net::TcpListener>,
    threads: Vec<IdleThread>,
}

impl IoResources {
    fn prepare(config: &Config, listeners: Vec<TcpListener>) -> Result<Self, StartError> {
        let listeners = listeners.into_iter().map(tokio::net::TcpListener::from_std);
        let threads = (0..io_threads(config)).map(|index| IdleThread::start(format!("io {index}")));
        Ok(IoResources {
            listeners: listeners
                .collect::<Result<_, _>>()
                .map_err(StartError::system("a socket to listen on"))?,
            threads: threads.collect::<Result<_, _>>().map_err(StartError::system("a thread for sockets"))?,
        })
    }
}

/// What an operator gives commands through, before there is anybody to ask.
struct ConsoleInputs {
    operator: Operator,
    socket: ControlSocket,
    terminal: WaitingTerminal,
}

impl ConsoleInputs {
    fn prepare(operator: Operator, config: &Config) -> Result<Self, StartError> {
        let data_dir = &config.server.data_dir;
        let socket = control::bind(data_dir)?;
        let terminal = terminal::prepare(operator.printer.clone(), data_dir.join("console_history"))
            .map_err(StartError::system("a thread for the console"))?;
        Ok(ConsoleInputs { operator, socket, terminal })
    }
}

/// All actors of a running server, and the threads that they live on.
struct Runtime {
    config: Arc<Config>,
    handles: Handles,
    accounts: AccountsHandle,
    fanouts: Fanouts,
    threads: Vec<ActorThread>,
    addresses: Vec<String>,
}

impl Runtime {
    /// Starts everyone. Those who need each other's addresses get them before anyone runs.
    fn build(
        config: &Arc<Config>,
        IoResources { listeners, threads }: IoResources,
        auth: OpenedAuth,
        journal: Journal,
        past: Past,
        critical: PanicWatch,
    ) -> Self {
        let addresses = listeners.iter().filter_map(|listener| listener.local_addr().ok());
        let addresses = addresses.map(|address| address.to_string()).collect();

        let (directory, directory_mailbox) = mailbox::<DirectoryActor>();
        let listener = Context::<ListenerActor>::new();
        let auth_actor = auth.actor.with(WayOfMessages {
            directory: directory.clone().recipient(),
            journal: journal.address.clone().recipient(),
        });
        let auth_actor = auth_actor.start();
        let accounts = AccountsHandle::of(&auth_actor);
        let handles = Handles {
            config: Arc::clone(config),
            started: Instant::now(),
            critical,
            terms: past.terms,
            newest_id: past.newest_id,
            hasher: auth.tokens,
            spellings: past.spellings,
            auth: AuthHandle::of(&auth_actor),
            directory: DirectoryHandle::of(&directory),
            journal: JournalHandle::of(&journal.address),
            listener: ListenerHandle::of(&listener.address()),
            newcomers: Arc::default(),
        };
        let (fanouts, fanout_mailboxes): (Vec<_>, Vec<_>) =
            threads.iter().map(|_| mailbox::<FanoutActor>()).unzip();
        let fanouts: Fanouts = fanouts.iter().map(FanoutHandle::of).collect();
        // The first thread has the rooms and the journal, too: a message between two of its own connections
        // never leaves it but for the disk.
        let (to_directory, its_fanouts) = (handles.clone(), Arc::clone(&fanouts));
        let mut starters = vec![
            journal.starter,
            directory_mailbox
                .take(move || DirectoryActor::new(to_directory, its_fanouts, ChatRoomActor::begin)),
        ];
        let begin = |(index, (thread, mailbox)): (usize, (IdleThread, Mailbox<FanoutActor>))| {
            let to_fanout = handles.clone();
            starters.push(
                mailbox.take(move || FanoutActor::new(IoThread(index), to_fanout, SessionActor::begin)),
            );
            thread.begin(std::mem::take(&mut starters))
        };
        let threads = threads.into_iter().zip(fanout_mailboxes).enumerate().map(begin).collect();
        listener.run(ListenerActor::new(
            listeners,
            Arc::clone(&fanouts),
            Arc::clone(config),
            Arc::clone(&handles.newcomers),
            handles.critical.of("the listener"),
        ));
        Runtime { config: Arc::clone(config), handles, accounts, fanouts, threads, addresses }
    }

    /// Opens the console, and the control socket to it.
    fn open_console(&self, inputs: ConsoleInputs, set_aside: SetAside) -> AtTheConsole {
        let Handles { auth, directory, journal, listener, .. } = &self.handles;
        let Operator { stop, log, printer } = inputs.operator;
        let console = ConsoleActor::new(ConsoleContext {
            listener: listener.clone(),
            directory: directory.clone(),
            journal: journal.clone(),
            auth: auth.clone(),
            set_aside,
            log,
            printer,
            shutdown: Arc::new(move || stop.notify_one()),
        })
        .start();
        let console = ConsoleHandle::of(&console);
        let control = control::serve(inputs.socket, console.clone(), self.accounts.clone());
        AtTheConsole { control, console, terminal: inputs.terminal }
    }

    /// Tells scripts where the server listens. Clients can connect from here on.
    fn announce(&self) {
        for address in &self.addresses {
            console::announce(address);
            info!("listening on {address}");
        }
    }

    /// Stops in the order in which messages travel, each step answered before the next: no new connections,
    /// no new requests, what was accepted is stored and delivered, goodbye, the files, the threads.
    async fn stop(self) {
        let Handles { auth, directory, journal, listener, .. } = &self.handles;
        step("the listener", listener.send(StopListening)).await;
        for fanout in self.fanouts.iter() {
            step("requests", fanout.send(StopRequests)).await;
        }
        step("the rooms", directory.send(Flush)).await;
        // The disk may take its time; what was accepted is a promise.
        if journal.send(Drain).await.is_err() {
            error!("the journal was gone before it was asked to stop");
        }
        step("the rooms", directory.send(Flush)).await;
        let goodbye = Duration::from_secs(self.config.limits.shutdown_seconds);
        // All threads say goodbye at the same time: how many there are makes nobody wait longer.
        let goodbyes: Vec<_> =
            self.fanouts.iter().map(|fanout| timeout(goodbye, fanout.send(CloseAll))).collect();
        for (thread, said) in goodbyes.into_iter().enumerate() {
            if said.await.is_err() {
                warn!("some clients of thread {thread} did not take their goodbye in time");
            }
        }
        step("the accounts", auth.send(Shutdown)).await;
        for thread in self.threads {
            if !thread.stop() {
                error!("an I/O thread ended by a panic");
            }
        }
    }
}

/// What lives as long as an operator can give commands.
struct AtTheConsole {
    control: ControlServer,
    console: ConsoleHandle,
    terminal: WaitingTerminal,
}

impl AtTheConsole {
    /// Starts to read standard input.
    fn read_commands(self) -> (ControlServer, Terminal) {
        (self.control, self.terminal.begin(self.console))
    }
}

/// Waits for one step of stopping, but not for ever.
async fn step(what: &str, done: impl Future<Output = Result<(), actix::MailboxError>>) {
    match timeout(STOP_PATIENCE, done).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => error!("{what} ended before being asked to"),
        Err(_) => warn!("{what} took too long to stop"),
    }
}

/// How many threads hold sockets. One for two cores: a message that changes threads costs several times its
/// handling, and the disk, the hashes of passwords and the kernel's own work want a core, too.
fn io_threads(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    if config.server.io_threads == 0 {
        cores().div_ceil(2).min(MAX_IO_THREADS)
    } else {
        config.server.io_threads
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
