//! Opening: key, accounts, sessions and devices, each with what was found damaged, and the threads.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::disk::{Disk, WriteRequest};
use super::hashing::HashPool;
use super::state::State;
use super::{AuthActor, SessionOwner};
use crate::actors::panic_watch::Critical;
use crate::chat::accounts::index::Accounts;
use crate::chat::accounts::login_throttle::LoginThrottle;
use crate::chat::accounts::openings::Openings;
use crate::chat::accounts::sessions::{SessionLifetimes, SessionTable};
use crate::config::Config;
use crate::disk::{self as folders, Folder};
use crate::model::{AccountsByRow, FormerSpellings, MessageId, SessionEvent, StoredSession, Timestamp};
use crate::secrets::password::{PasswordError, PasswordHashing};
use crate::secrets::seal::Sealer;
use crate::secrets::token::TokenHasher;
use crate::store::accounts::{AccountFile, AccountsError, RejectedRow, StoreError, open_keys};
use crate::store::devices::{DeviceFile, DeviceLimits, OpenedDevices};
use crate::store::sessions::SessionFile;

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

impl AuthActor {
    /// Opens key, accounts and sessions in the data directory and starts the threads. The caller holds the
    /// lock of the data directory. `newest_id` is the largest message id that is stored, 0 for none, kept up
    /// to date by whoever stores messages; `critical` tells a server that cannot do without this actor when
    /// it or its disk thread has panicked.
    ///
    /// # Errors
    /// [`AuthStartError`].
    pub fn open(
        config: &Config,
        data: &Arc<dyn Folder>,
        newest_id: Arc<AtomicU64>,
        critical: Option<Critical>,
    ) -> Result<OpenedAuth, AuthStartError> {
        let hashing = PasswordHashing::new(config.auth.argon2_memory_kib, config.auth.argon2_passes)?;
        let (key_folder, key_name) = place_of_key(config, data)?;
        let sealer = Arc::new(Sealer::new(&open_keys(&**data, &*key_folder, &key_name)?));
        let key_path = key_folder.path().join(&key_name);
        let found =
            AccountFile::open(Arc::clone(data), Arc::clone(&sealer), key_path, config.server.accept_loss)?;
        let hashing = hashing.covering(found.accounts.values().map(|account| &account.password));
        let sessions = FoundSessions::open(config, data, &sealer, &found.accounts)?;
        let remembered = open_devices(config, data, &sealer, &found.accounts, &sessions.dropped)?;

        let pool = start_pool(config, &hashing)?;
        let (to_actor, done) = mpsc::unbounded_channel();
        let disk = Disk::start(found.file, sessions.file, remembered.file, critical.clone(), to_actor)
            .map_err(AuthStartError::Thread)?;
        if !sessions.over.is_empty() {
            disk.note(WriteRequest { sessions: sessions.over, ..WriteRequest::default() });
        }
        let highest_visible_from = found.accounts.values().filter_map(|account| account.visible_from).max();
        let next_session = next_session(sessions.next_number, &found.accounts);
        let accounts = Accounts::new(found.accounts, found.highest_row);
        let opened = OpenedAuth {
            former_spellings: Arc::clone(accounts.former_spellings()),
            tokens: sealer.tokens().clone(),
            highest_visible_from,
            accounts: accounts.len(),
            sessions: sessions.table.len(),
            rejected: found.rejected,
            rejected_count: found.rejected_count,
            damaged_sessions: sessions.damaged,
            damaged_devices: remembered.damaged,
            ended_unnamed: sessions.ended_unnamed,
            actor: AuthActor::new(
                State {
                    registration: config.auth.registration,
                    sessions_per_account: config.limits.sessions_per_account,
                    queue_writes: config.limits.auth_queue_writes,
                    next_session,
                    accounts,
                    kept_names: found.kept_names,
                    sessions: sessions.table,
                    throttle: LoginThrottle::new(&config.limits),
                    devices: remembered.devices,
                    openings: Openings::new(&config.limits),
                    tokens: sealer.tokens().clone(),
                    sealer,
                    dummy: hashing.dummy()?,
                    pool: Some(pool),
                    disk,
                    way: None,
                    leaving: Vec::new(),
                    newest_id,
                    rejected_rows: found.rejected_count,
                    closing: false,
                    fault: None,
                },
                critical,
                done,
            ),
        };
        opened.report();
        Ok(opened)
    }
}

/// The session file, and what is made of it.
struct FoundSessions {
    file: SessionFile,
    table: SessionTable<SessionOwner>,
    /// What the file has to be told: sessions and tokens whose time ran out meanwhile.
    over: Vec<SessionEvent>,
    /// Those that their account has ended.
    dropped: Vec<StoredSession>,
    next_number: u64,
    damaged: usize,
    ended_unnamed: usize,
}

impl FoundSessions {
    fn open(
        config: &Config,
        data: &Arc<dyn Folder>,
        sealer: &Arc<Sealer>,
        accounts: &AccountsByRow,
    ) -> Result<Self, AuthStartError> {
        let mut table = SessionTable::new(SessionLifetimes {
            idle: Duration::from_secs(config.auth.session_idle_seconds),
            max: Duration::from_secs(config.auth.session_max_seconds),
        });
        let dropped = RefCell::new(Vec::new());
        let found = SessionFile::open(Arc::clone(data), Arc::clone(sealer), |session| {
            let Some(account) = accounts.get(&session.account) else { return false };
            let stays = !account.banned && account.sessions.admits(session.number);
            if !stays {
                dropped.borrow_mut().push(session.clone());
            }
            stays
        })
        .map_err(AuthStartError::Sessions)?;
        let mut over = Vec::new();
        for stored in &found.sessions {
            let number = stored.number;
            if !table.restore(stored, Timestamp::now(), Instant::now()) {
                over.push(SessionEvent::End { number });
            } else if stored.previous.is_some_and(|token| table.holder_of(&token).is_none()) {
                over.push(SessionEvent::Used { number, token: stored.token });
            }
        }
        Ok(FoundSessions {
            file: found.file,
            table,
            over,
            dropped: dropped.into_inner(),
            next_number: found.next_number,
            damaged: found.damaged,
            ended_unnamed: found.ended_unnamed,
        })
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

/// The devices, with the tokens of sessions that their account has ended.
fn open_devices(
    config: &Config,
    data: &Arc<dyn Folder>,
    sealer: &Arc<Sealer>,
    accounts: &AccountsByRow,
    dropped: &[StoredSession],
) -> Result<OpenedDevices, AuthStartError> {
    let limits =
        DeviceLimits { per_account: config.limits.devices_per_account, days: config.limits.device_days };
    let now = Timestamp::now();
    let is_there = |row| accounts.contains_key(&row);
    let mut devices = DeviceFile::open(Arc::clone(data), Arc::clone(sealer), limits, now, is_there)
        .map_err(AuthStartError::Devices)?;
    devices.add(dropped, now).map_err(AuthStartError::Devices)?;
    Ok(devices)
}

fn start_pool(config: &Config, hashing: &PasswordHashing) -> Result<HashPool, AuthStartError> {
    let limits = &config.limits;
    let most_wait = Duration::from_millis(limits.hash_wait_ms);
    HashPool::start(hashing, hash_threads(config.auth.hash_threads), limits.hash_queue, most_wait)
        .map_err(AuthStartError::Thread)
}

fn hash_threads(setting: usize) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    if setting == 0 { (cores / 2).max(1) } else { setting }
}
