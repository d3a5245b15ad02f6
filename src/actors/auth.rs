//! The AuthActor: who has an account, who has a session, and whose token is good.
//!
//! It lives on the system arbiter and never blocks. What takes time goes elsewhere with the step that is to
//! follow: passwords to the hash threads ([`hashing`]), writes to the disk thread ([`disk`]); the step comes
//! back as a message and goes on where the handler left off. So every decision is made here, one after the
//! other, on what is durable: accounts and sessions are in memory when they are on the disk.
//!
//! - `login`: `register`, `login`, `resume` and `passwd`;
//! - `lockout`: who is tried no more for now, and who all the same;
//! - `operator`: what the console and `veche account` ask for;
//! - [`leaving`]: when the name of an account that was removed is free;
//! - this file: how it starts and stops, and what is answered at once.

pub mod disk;
pub mod hashing;
pub mod leaving;
mod lockout;
mod login;
mod operator;

use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use actix::{
    Actor, AsyncContext, Context, Handler, Message, MessageResult, Recipient, ResponseFuture, WeakAddr,
};
use tokio::sync::oneshot;

use self::disk::{Batch, Disk, Order, WriteFault, Written};
use self::hashing::{HashPool, Hashed, Owner, Work};
use self::leaving::{Leaving, WayOfMessages};
use super::messages::auth::{
    AccountInfo, AuthCounts, AuthStatus, CloseSession, Detach, Identify, LookUp, MOST_LOCKS, Shutdown,
    TokenUsed,
};
use super::messages::session::EndSession;
use super::panic_watch::Critical;
use crate::chat::accounts::devices::Devices;
use crate::chat::accounts::index::Accounts;
use crate::chat::accounts::login_throttle::LoginThrottle;
use crate::chat::accounts::openings::Openings;
use crate::chat::accounts::sessions::{Ended, SessionLifetimes, SessionTable};
use crate::config::{Config, Registration};
use crate::disk::{self as folders, Folder};
use crate::model::{
    AccountChange, AccountsByRow, ByeReason, ErrorCode, FormerSpellings, MessageId, Refusal, SessionEvent,
    SessionId, StoredPassword, Timestamp, UserName,
};
use crate::secrets::password::{PasswordError, PasswordHashing};
use crate::secrets::seal::Sealer;
use crate::secrets::token::TokenHasher;
use crate::store::accounts::{AccountFile, AccountsError, RejectedRow, StoreError, open_keys};
use crate::store::devices::{DeviceFile, DeviceLimits};
use crate::store::sessions::SessionFile;

/// How often it looks whose time is over.
const EXPIRE_EVERY: Duration = Duration::from_millis(500);
/// How often it forgets old budgets and writes that sessions are alive.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Requests that may wait in the mailbox; further senders wait outside.
const MAILBOX: usize = 1_024;
/// When to come back if the disk has too much to write, in milliseconds.
const DISK_BUSY_RETRY_MS: u64 = 1_000;

/// Why accounts could not be opened, in sentences that say what to do.
#[derive(Debug, thiserror::Error)]
pub enum AuthStartError {
    /// The folder of the key could not be opened.
    #[error("the folder {} of the key file could not be opened ({source}); make it, or name another place with auth.key_file", path.display())]
    KeyFolder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The key or the account file is not sound.
    #[error(transparent)]
    AccountsByRow(#[from] AccountsError),
    /// The session file could not be opened.
    #[error(
        "the session file could not be opened: {0}; see to free space and the file's owner, then start again"
    )]
    Sessions(#[source] StoreError),
    /// The device file could not be opened.
    #[error(
        "the device file could not be opened: {0}; see to free space and the file's owner, or move the file away: then no device is known until it logs in again"
    )]
    Devices(#[source] StoreError),
    /// The settings for Argon2 are out of bounds.
    #[error(transparent)]
    Settings(#[from] PasswordError),
    /// A thread could not be started.
    #[error(
        "the system refuses a thread for passwords or accounts ({0}); look for its limit on processes (ulimit -u)"
    )]
    Thread(#[source] io::Error),
}

/// An AuthActor that can be started, and what was found when its files were opened.
#[derive(Debug)]
pub struct OpenedAuth {
    /// The actor.
    pub actor: AuthActor,
    /// What sessions check tokens with.
    pub tokens: TokenHasher,
    /// The accounts whose names were made under former rules.
    pub former_spellings: Arc<FormerSpellings>,
    /// The largest message id that an account was made after: the journal gives no id at or below it.
    pub highest_visible_from: Option<MessageId>,
    /// How many accounts there are.
    pub accounts: usize,
    /// How many sessions outlived the restart.
    pub sessions: usize,
    /// The first rows of the account file that were set aside in `clients.rejected`.
    pub rejected: Vec<RejectedRow>,
    /// How many there were in all.
    pub rejected_count: usize,
    /// Places of the session file that were damaged.
    pub damaged_sessions: usize,
    /// Lines of the device file that were damaged.
    pub damaged_devices: usize,
    /// How many sessions have ended because such a place may have been the end of any of them.
    pub ended_unnamed: usize,
}

/// What follows when a hash or a write is done.
type Step<T> = Box<dyn FnOnce(&mut AuthActor, T) + Send>;
/// Where steps come back, known once the actor has started.
type Home = Arc<OnceLock<WeakAddr<AuthActor>>>;

/// See the module.
pub struct AuthActor {
    _critical: Option<Critical>,
    registration: Registration,
    sessions_per_account: usize,
    queue_writes: usize,
    accounts: Accounts,
    sessions: SessionTable<Recipient<EndSession>>,
    throttle: LoginThrottle,
    /// Tokens that have died.
    devices: Devices,
    openings: Openings,
    tokens: TokenHasher,
    sealer: Arc<Sealer>,
    /// The indexes of names that nobody may take: see `is_kept`.
    kept_names: HashSet<String>,
    /// What is compared with when there is no account.
    dummy: StoredPassword,
    pool: HashPool<Step<Hashed>>,
    disk: Disk<Step<Written>>,
    home: Home,
    /// Where messages go, `None` without a server.
    way: Option<WayOfMessages>,
    leaving: Vec<Leaving>,
    newest_id: Arc<AtomicU64>,
    next_session: u64,
    rejected_rows: usize,
    closing: bool,
    /// Why the last write failed, when it did, for `status`.
    fault: Option<String>,
}

impl AuthActor {
    /// Opens key, accounts and sessions in the data directory and starts the threads. The caller holds the
    /// lock of the data directory. `newest_id` is the largest message id that is stored, 0 for none, kept up
    /// to date by whoever stores messages.
    ///
    /// # Errors
    /// [`AuthStartError`].
    pub fn open(
        config: &Config,
        data: &Arc<dyn Folder>,
        newest_id: Arc<AtomicU64>,
    ) -> Result<OpenedAuth, AuthStartError> {
        let hashing = PasswordHashing::new(config.auth.argon2_memory_kib, config.auth.argon2_passes)?;
        let (key_folder, key_name) = place_of_key(config, data)?;
        let sealer = Arc::new(Sealer::new(&open_keys(&**data, &*key_folder, &key_name)?));
        let key_path = key_folder.path().join(&key_name);
        let found =
            AccountFile::open(Arc::clone(data), Arc::clone(&sealer), key_path, config.server.accept_loss)?;
        let hashing = hashing.covering(found.accounts.values().map(|account| &account.password));
        let mut sessions = SessionTable::new(SessionLifetimes {
            idle: Duration::from_secs(config.auth.session_idle_seconds),
            max: Duration::from_secs(config.auth.session_max_seconds),
        });
        let dropped = RefCell::new(Vec::new());
        let files = SessionFile::open(Arc::clone(data), Arc::clone(&sealer), |session| {
            let Some(account) = found.accounts.get(&session.account) else { return false };
            let stays = !account.banned && account.sessions.admits(session.number);
            if !stays {
                dropped.borrow_mut().push(session.clone());
            }
            stays
        })
        .map_err(AuthStartError::Sessions)?;
        let over: Vec<SessionEvent> = files
            .sessions
            .iter()
            .filter_map(|stored| {
                let number = stored.number;
                let lives = sessions.restore(stored, Timestamp::now(), Instant::now());
                let lost_one = stored.previous.is_some_and(|token| sessions.holder_of(&token).is_none());
                let event = if lives { SessionEvent::Used { number } } else { SessionEvent::End { number } };
                (!lives || lost_one).then_some(event)
            })
            .collect();
        let limits =
            DeviceLimits { per_account: config.limits.devices_per_account, days: config.limits.device_days };
        let mut remembered =
            DeviceFile::open(Arc::clone(data), Arc::clone(&sealer), limits, Timestamp::now(), |row| {
                found.accounts.contains_key(&row)
            })
            .map_err(AuthStartError::Devices)?;
        remembered.add(&dropped.into_inner(), Timestamp::now()).map_err(AuthStartError::Devices)?;

        let home = Home::default();
        let (to_hash, to_disk) = (Arc::clone(&home), Arc::clone(&home));
        let pool = HashPool::start(
            &hashing,
            hash_threads(config.auth.hash_threads),
            config.limits.hash_queue,
            Duration::from_millis(config.limits.hash_wait_ms),
            move |step, hashed| send_home(&to_hash, HashDone { step, hashed }),
        )
        .map_err(AuthStartError::Thread)?;
        let to_home = move |done| send_home(&to_disk, DiskDone(done));
        let disk =
            Disk::start(found.file, files.file, remembered.file, to_home).map_err(AuthStartError::Thread)?;
        if !over.is_empty() {
            disk.note(Order { sessions: over, ..Order::default() });
        }
        let highest_visible_from = found.accounts.values().filter_map(|account| account.visible_from).max();
        let next_session = next_session(files.next_number, &found.accounts);
        let accounts = Accounts::new(found.accounts, found.highest_row);
        let opened = OpenedAuth {
            former_spellings: Arc::clone(accounts.former_spellings()),
            tokens: sealer.tokens().clone(),
            highest_visible_from,
            accounts: accounts.len(),
            sessions: sessions.len(),
            rejected: found.rejected,
            rejected_count: found.rejected_count,
            damaged_sessions: files.damaged,
            damaged_devices: remembered.damaged,
            ended_unnamed: files.ended_unnamed,
            actor: AuthActor {
                _critical: None,
                registration: config.auth.registration,
                sessions_per_account: config.limits.sessions_per_account,
                queue_writes: config.limits.auth_queue_writes,
                next_session,
                accounts,
                kept_names: found.kept_names,
                sessions,
                throttle: LoginThrottle::new(&config.limits),
                devices: remembered.devices,
                openings: Openings::new(&config.limits),
                tokens: sealer.tokens().clone(),
                sealer,
                dummy: hashing.dummy()?,
                pool,
                disk,
                home,
                way: None,
                leaving: Vec::new(),
                newest_id,
                rejected_rows: found.rejected_count,
                closing: false,
                fault: None,
            },
        };
        opened.report();
        Ok(opened)
    }

    /// The actor of a server that cannot do without it, and whose messages go this way.
    pub fn with(self, critical: Critical, way: WayOfMessages) -> Self {
        AuthActor { _critical: Some(critical), way: Some(way), ..self }
    }

    /// Hashes, and goes on with `then`; also at once, when there is too much to hash. A job that nobody
    /// wants any more when it is its turn is not done.
    fn hash(
        &mut self,
        owner: Owner,
        work: Work,
        wanted: impl Fn() -> bool + Send + 'static,
        then: impl FnOnce(&mut AuthActor, Hashed) + Send + 'static,
    ) {
        if let Err((step, retry_after_ms)) = self.pool.submit(owner, work, Box::new(then), wanted) {
            step(self, Hashed::Busy(retry_after_ms));
        }
    }

    /// Writes, and goes on with `then` when that is durable, or was not possible.
    fn store(&mut self, order: Order, then: impl FnOnce(&mut AuthActor, Written) + Send + 'static) {
        if let Err(Some(step)) = self.disk.write(order, Box::new(then)) {
            step(self, Err(disk_is_gone()));
        }
    }

    /// Writes events of sessions and changes of accounts for which nobody waits.
    fn note(&self, sessions: Vec<SessionEvent>, accounts: Vec<AccountChange>) {
        if !sessions.is_empty() || !accounts.is_empty() {
            self.disk.note(Order { accounts, sessions });
        }
    }

    /// Tells connections that their sessions have ended, which is durable or needs not be, and has the session
    /// file told in its time. Returns their number.
    fn tell_ended(&self, ended: Vec<Ended<Recipient<EndSession>>>, bye: &EndSession) -> usize {
        let mut events = Vec::with_capacity(ended.len());
        for Ended { id, owner, .. } in ended {
            if let Some(owner) = owner {
                owner.do_send(bye.clone());
            }
            events.push(SessionEvent::End { number: id.number() });
        }
        let count = events.len();
        self.note(events, Vec::new());
        count
    }

    /// Whether a name belongs to a row of the account file that could not be read: nobody can take it, but the
    /// operator can give it.
    fn is_kept(&self, name: &UserName) -> bool {
        !self.kept_names.is_empty() && self.kept_names.contains(&self.sealer.index(name.as_str()))
    }

    /// Whether there is room for another request that has to be written.
    fn takes_more(&self) -> Result<(), Refusal> {
        if self.closing {
            return Err(ErrorCode::ShuttingDown.into());
        }
        if self.disk.waiting() >= self.queue_writes {
            return Err(Refusal::from(ErrorCode::RateLimited).retry_after_ms(DISK_BUSY_RETRY_MS));
        }
        Ok(())
    }

    /// The newest message of the server.
    fn newest(&self) -> Option<MessageId> {
        MessageId::new(self.newest_id.load(Ordering::Acquire))
    }

    fn expire(&mut self) {
        let bye = EndSession { reason: ByeReason::Expired, text: None };
        let expired = self.sessions.expire(Instant::now());
        let died = expired.lost_previous.into_iter().map(|number| SessionEvent::Used { number });
        self.note(died.collect(), Vec::new());
        self.tell_ended(expired.ended, &bye);
    }

    fn sweep(&mut self) {
        self.give_up_lost();
        let now = Instant::now();
        self.throttle.sweep(now);
        self.openings.sweep(now);
        let at = Timestamp::now();
        // A connection whose actor ended without a word, by a panic say.
        let lost = self.sessions.detach_lost(Recipient::connected, now);
        let mut events: Vec<_> = lost.into_iter().map(|number| SessionEvent::Seen { number, at }).collect();
        if self.sessions.attached() > 0 {
            events.push(SessionEvent::Alive { at });
        }
        self.note(events, Vec::new());
    }
}

impl OpenedAuth {
    fn report(&self) {
        for RejectedRow { line, fault, .. } in &self.rejected {
            log::warn!("clients.csv line {line} was set aside in clients.rejected: {fault}");
        }
        if self.rejected_count > self.rejected.len() {
            log::warn!("clients.csv: {} lines were set aside in all", self.rejected_count);
        }
        if self.damaged_sessions > 0 {
            log::warn!(
                "sessions.csv: {} places were damaged; the sessions that they name have ended",
                self.damaged_sessions
            );
        }
        if self.damaged_devices > 0 {
            log::warn!(
                "devices.csv: {} lines were damaged; those devices are unknown until they log in again",
                self.damaged_devices
            );
        }
        if self.ended_unnamed > 0 {
            log::warn!(
                "sessions.csv: a damaged place names nobody, and may have been the end of any session before \
                 it: all {} that were opened before have ended",
                self.ended_unnamed
            );
        }
        log::info!("{} accounts, {} sessions", self.accounts, self.sessions);
    }
}

impl std::fmt::Debug for AuthActor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AuthActor({} accounts, {} sessions)", self.accounts.len(), self.sessions.len())
    }
}

/// The folder of the key file, and its name there.
fn place_of_key(
    config: &Config,
    data: &Arc<dyn Folder>,
) -> Result<(Arc<dyn Folder>, String), AuthStartError> {
    let Some(path) = &config.auth.key_file else { return Ok((Arc::clone(data), "key".into())) };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |source| AuthStartError::KeyFolder { path: folder.to_owned(), source };
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?;
    Ok((folders::real::open_folder(folder).map_err(failed)?, name.to_owned()))
}

/// The next number for a session: above all that there were, also when the session file was lost since an
/// account ended those below some number.
fn next_session(from_file: u64, accounts: &AccountsByRow) -> u64 {
    accounts.values().map(|account| account.sessions.number).fold(from_file, u64::max)
}

fn disk_is_gone() -> WriteFault {
    WriteFault { sentence: "the server is stopping".into(), accounts_stored: false }
}

fn hash_threads(setting: usize) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    if setting == 0 { (cores / 2).max(1) } else { setting }
}

/// The reply that a step will send; `fallback` when the actor ends before.
fn answer<T: 'static>(reply: oneshot::Receiver<T>, fallback: T) -> ResponseFuture<T> {
    Box::pin(async move { reply.await.unwrap_or(fallback) })
}

/// A hash thread is done.
#[derive(Message)]
#[rtype(result = "()")]
struct HashDone {
    step: Step<Hashed>,
    hashed: Hashed,
}

/// The disk thread is done with a batch.
#[derive(Message)]
#[rtype(result = "()")]
struct DiskDone(Batch<Step<Written>>);

fn send_home<M>(home: &Home, message: M)
where
    M: Message + Send + 'static,
    M::Result: Send,
    AuthActor: Handler<M>,
{
    // An actor that is gone has dropped who waited.
    if let Some(actor) = home.get().and_then(WeakAddr::upgrade) {
        actor.do_send(message);
    }
}

impl Actor for AuthActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        // Set once: an actor is started once.
        let _ = self.home.set(ctx.address().downgrade());
        ctx.run_interval(EXPIRE_EVERY, |actor, _| actor.expire());
        ctx.run_interval(SWEEP_EVERY, |actor, _| actor.sweep());
    }
}

impl Handler<HashDone> for AuthActor {
    type Result = ();

    fn handle(&mut self, done: HashDone, _: &mut Self::Context) {
        (done.step)(self, done.hashed);
    }
}

impl Handler<DiskDone> for AuthActor {
    type Result = ();

    fn handle(&mut self, done: DiskDone, _: &mut Self::Context) {
        // Before the steps, which let the living ones go.
        for device in done.0.devices {
            self.devices.add(device);
        }
        for (step, written) in done.0.errands {
            self.fault = written.as_ref().err().map(|fault| fault.sentence.clone());
            step(self, written);
        }
        for account in &done.0.accounts {
            self.accounts.share(account);
        }
    }
}

impl Handler<Identify> for AuthActor {
    type Result = bool;

    fn handle(&mut self, message: Identify, _: &mut Self::Context) -> bool {
        let name = &message.name;
        name.is_server() || self.accounts.named(name).is_some() || self.is_kept(name)
    }
}

impl Handler<LookUp> for AuthActor {
    type Result = Option<AccountInfo>;

    fn handle(&mut self, message: LookUp, _: &mut Self::Context) -> Option<AccountInfo> {
        let account = self.accounts.named(&message.name)?;
        Some(AccountInfo { name: account.name.clone(), visible_from: account.visible_from })
    }
}

impl Handler<TokenUsed> for AuthActor {
    type Result = ResponseFuture<Result<(), Refusal>>;

    fn handle(&mut self, TokenUsed { session }: TokenUsed, _: &mut Self::Context) -> Self::Result {
        let (reply, died) = oneshot::channel();
        if self.sessions.has_previous(session) {
            let number = session.number();
            let order = Order { sessions: vec![SessionEvent::Used { number }], ..Order::default() };
            self.store(order, move |actor, written| {
                if written.is_ok() {
                    actor.sessions.token_used(session);
                }
                let _ = reply.send(written.map(|_| ()).map_err(|_| ErrorCode::StorageUnavailable.into()));
            });
        } else {
            let _ = reply.send(Ok(()));
        }
        answer(died, Err(ErrorCode::ShuttingDown.into()))
    }
}

impl Handler<Detach> for AuthActor {
    type Result = ();

    fn handle(&mut self, message: Detach, _: &mut Self::Context) {
        self.has_left(message.session);
        if let Some(row) = self.sessions.detach(message.session, Instant::now()) {
            let at = Timestamp::now();
            let seen = AccountChange::Seen { row, at, from: None };
            self.accounts.apply(&seen);
            self.note(vec![SessionEvent::Seen { number: message.session.number(), at }], vec![seen]);
        }
    }
}

impl Handler<CloseSession> for AuthActor {
    type Result = ResponseFuture<Result<(), Refusal>>;

    fn handle(&mut self, CloseSession { session }: CloseSession, _: &mut Self::Context) -> Self::Result {
        let (reply, closed) = oneshot::channel();
        match self.sessions.account_of(session) {
            Some(row) => self.close(session, row, reply),
            None => drop(reply.send(Ok(()))),
        }
        answer(closed, Err(ErrorCode::ShuttingDown.into()))
    }
}

impl AuthActor {
    /// Ends a session when that is durable.
    fn close(&mut self, session: SessionId, row: u64, reply: oneshot::Sender<Result<(), Refusal>>) {
        let seen = AccountChange::Seen { row, at: Timestamp::now(), from: None };
        let number = session.number();
        let order = Order { accounts: vec![seen.clone()], sessions: vec![SessionEvent::End { number }] };
        self.store(order, move |actor, written| {
            if written.is_err() {
                let _ = reply.send(Err(ErrorCode::StorageUnavailable.into()));
                return;
            }
            actor.accounts.apply(&seen);
            // Another connection may have taken the session over meanwhile; it has ended for that one, too.
            let elsewhere = actor.sessions.end(number).filter(|ended| ended.id != session);
            if let Some(owner) = elsewhere.and_then(|ended| ended.owner) {
                owner.do_send(EndSession { reason: ByeReason::Exit, text: None });
            }
            let _ = reply.send(Ok(()));
        });
    }
}

impl Handler<AuthStatus> for AuthActor {
    type Result = MessageResult<AuthStatus>;

    fn handle(&mut self, _: AuthStatus, _: &mut Self::Context) -> Self::Result {
        let locks = self.locks();
        let (addresses_without_logins, addresses_without_registrations) = self.addresses_used_up();
        MessageResult(AuthCounts {
            fault: self.fault.clone(),
            addresses_without_logins,
            addresses_without_registrations,
            accounts: self.accounts.len(),
            banned: self.accounts.iter().filter(|account| account.banned).count(),
            sessions: self.sessions.len(),
            attached: self.sessions.attached(),
            hashes: self.pool.jobs(),
            rejected_rows: self.rejected_rows,
            locks_in_all: locks.len(),
            locks: locks.into_iter().take(MOST_LOCKS).collect(),
        })
    }
}

impl Handler<Shutdown> for AuthActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Shutdown, _: &mut Self::Context) -> Self::Result {
        self.closing = true;
        let (reply, closed) = oneshot::channel();
        let done: Step<Written> = Box::new(move |_, _| {
            let _ = reply.send(());
        });
        if let Err(Some(step)) = self.disk.close(done) {
            step(self, Err(disk_is_gone()));
        }
        answer(closed, ())
    }
}

#[cfg(test)]
#[path = "auth/tests.rs"]
mod tests;
