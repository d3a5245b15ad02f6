//! A name is free when everything that was meant for its last owner, or said by them, is stored or refused.
//!
//! A direct message gets its recipient when it is taken, and its id when the disk has come so far; a room's message
//! has its author's name in the same way. So the name of an account that is removed stays taken until its
//! sessions have left, the directory and the rooms have passed on what they had, and the journal has caught
//! up. Whoever takes the name then begins behind the last of it.

use std::collections::HashMap;
use std::time::Duration;

use actix::Recipient;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::SessionOwner;
use super::state::{Auth, State};
use crate::actors::messages::directory::Flush;
use crate::actors::messages::journal::CatchUp;
use crate::chat::accounts::sessions::Ended;
use crate::model::{SessionId, UserName};

/// How long the operator waits for a name to be free. It becomes so later where the disk takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whom to ask whether everything has passed on.
#[derive(Debug, Clone)]
pub struct WayOfMessages {
    /// The directory, which asks the rooms.
    pub directory: Recipient<Flush>,
    /// The journal.
    pub journal: Recipient<CatchUp>,
}

/// Accounts that are removed, and names that are theirs for a moment longer.
pub(super) struct Leaving {
    /// Sessions whose connections have not left yet, and where they are told to.
    sessions: HashMap<SessionId, SessionOwner>,
    names: Vec<UserName>,
    /// Who waits for the names.
    freed: oneshot::Sender<()>,
}

impl State {
    /// Keeps the names of accounts that are no more until what was theirs has passed on. `ended` are their
    /// sessions, which are about to be told. The answer comes when the names are free.
    pub(super) fn free_when_gone(
        &mut self,
        names: Vec<UserName>,
        ended: &[Ended<SessionOwner>],
    ) -> oneshot::Receiver<()> {
        let (freed, is_free) = oneshot::channel();
        if self.way.is_none() {
            // Without a server nobody says anything.
            let _ = freed.send(());
            return is_free;
        }
        for name in &names {
            self.accounts.keep(name);
        }
        let sessions = ended.iter().filter_map(|ended| Some((ended.id, ended.owner.clone()?))).collect();
        self.leaving.push(Leaving { sessions, names, freed });
        is_free
    }

    /// A connection has left all rooms and is offline; it says nothing more.
    pub(super) fn has_left(&mut self, session: SessionId) {
        for leaving in &mut self.leaving {
            leaving.sessions.remove(&session);
        }
    }

    /// Waits no longer for connections that ended without a word.
    pub(super) fn give_up_lost(&mut self) {
        for leaving in &mut self.leaving {
            leaving.sessions.retain(|_, owner| owner.connected());
        }
    }
}

impl Auth {
    /// Sees to it that the names of those become free whose sessions have all left. To be called whenever one
    /// may have been the last.
    pub(super) fn pass_on(&self) {
        let mut state = self.state();
        let Some(way) = state.way.clone() else { return };
        for gone in state.leaving.extract_if(.., |leaving| leaving.sessions.is_empty()) {
            actix_rt::spawn(self.clone().free(gone, way.clone()));
        }
    }

    /// Frees the names when all that was on its way has passed.
    async fn free(self, Leaving { names, freed, .. }: Leaving, way: WayOfMessages) {
        // Who is gone has nothing left to pass on.
        let _ = way.directory.send(Flush).await;
        let _ = way.journal.send(CatchUp).await;
        let mut state = self.state();
        for name in &names {
            state.accounts.release(name);
        }
        let _ = freed.send(()); // who has asked may have gone on without an answer
    }
}

/// Waits until names are free, but not for ever.
pub(super) async fn freed(is_free: Option<oneshot::Receiver<()>>) {
    let Some(is_free) = is_free else { return };
    if timeout(PATIENCE, is_free).await.is_err() {
        log::warn!("names of removed accounts stay taken until the journal has stored what it has");
    }
}
