//! `veche account` while no server runs: the same AuthActor, in an actix system of this process's own, under
//! the lock of the data directory.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix::{Actor, Addr};
use actix_rt::SystemRunner;

use super::complain;
use crate::actors::auth::{AuthActor, AuthStartError};
use crate::actors::messages::auth::AccountsHandle;
use crate::actors::messages::auth::Shutdown;
use crate::config::Config;
use crate::control::accounts::{AccountError, AccountRequest};
use crate::model::{MessageId, Timestamp};
use crate::server::resources;
use crate::store::history::{self, HistoryError, HistoryOptions};
use crate::store::lock::DataDirLock;

/// Why the files cannot be worked on.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The accounts cannot be opened.
    #[error(transparent)]
    Auth(#[from] AuthStartError),
    /// A runtime for the actor.
    #[error(
        "the system refuses a thread for the accounts ({0}); look for its limits on processes and open files"
    )]
    System(#[source] io::Error),
    /// The history, which tells what a new account must not see, cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// The accounts, opened without a server.
pub struct OfflineAccounts {
    system: SystemRunner,
    actor: Addr<AuthActor>,
    links: AccountsHandle,
    // Last, so that it goes last.
    _lock: DataDirLock,
}

impl OfflineAccounts {
    /// Opens the accounts of the directory that is locked. Only who `makes_accounts` has to know the newest
    /// message, for which the history is read: an account sees only direct messages newer than itself.
    pub(super) fn open(
        config: &Config,
        lock: DataDirLock,
        makes_accounts: bool,
    ) -> Result<Self, OfflineError> {
        let newest_id = if makes_accounts { newest_message(&lock)? } else { None };
        let newest_id = Arc::new(AtomicU64::new(MessageId::or_zero(newest_id)));
        let system = resources::system().map_err(OfflineError::System)?;
        let opened = AuthActor::open(config, lock.folder(), Arc::clone(&newest_id), None)?;
        newest_id.fetch_max(MessageId::or_zero(opened.highest_visible_from), Ordering::Relaxed);
        if opened.rejected_count > 0 {
            complain(&format!(
                "{} damaged rows of the account file were set aside in clients.rejected",
                opened.rejected_count
            ));
        }
        let actor = system.block_on(async { opened.actor.start() });
        let links = AccountsHandle::of(&actor);
        Ok(OfflineAccounts { system, actor, links, _lock: lock })
    }

    /// Does what is asked.
    pub(super) fn perform(&self, request: AccountRequest) -> Result<String, AccountError> {
        self.system.block_on(self.links.perform(request))
    }

    /// Writes what is not written yet.
    pub(super) fn close(self) {
        let _ = self.system.block_on(self.actor.send(Shutdown)); // an actor that is gone has nothing to write
    }
}

fn newest_message(lock: &DataDirLock) -> Result<Option<MessageId>, HistoryError> {
    let options = HistoryOptions { now: Timestamp::now(), key_seconds: 0, keys_per_account: 0 };
    Ok(history::open(lock.folder(), options)?.last_id)
}
