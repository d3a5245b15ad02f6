//! A name is free when everything that was meant for its last owner, or said by them, is stored or refused.
//!
//! A letter gets its recipient when it is taken, and its id when the disk has come so far; a room's message
//! has its author's name in the same way. So the name of an account that is removed stays taken until its
//! sessions have left, the directory and the rooms have passed on what they had, and the journal has caught
//! up. Whoever takes the name then begins behind the last of it.

use std::collections::HashMap;
use std::time::Duration;

use actix::{Handler, Message, Recipient};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::AuthActor;
use crate::actors::messages::directory::Flush;
use crate::actors::messages::journal::CatchUp;
use crate::actors::messages::session::EndSession;
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
    sessions: HashMap<SessionId, Recipient<EndSession>>,
    names: Vec<UserName>,
    /// Who waits for the names.
    freed: oneshot::Sender<()>,
}

/// Everything has passed on.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct PassedOn {
    names: Vec<UserName>,
    freed: oneshot::Sender<()>,
}

impl AuthActor {
    /// Keeps the names of accounts that are no more until what was theirs has passed on. `ended` are their
    /// sessions, which are about to be told.
    pub(super) fn free_when_gone(
        &mut self,
        names: Vec<UserName>,
        ended: &[Ended<Recipient<EndSession>>],
        freed: oneshot::Sender<()>,
    ) {
        if self.way.is_none() {
            // Without a server nobody says anything.
            let _ = freed.send(());
            return;
        }
        for name in &names {
            self.accounts.keep(name);
        }
        let sessions = ended.iter().filter_map(|ended| Some((ended.id, ended.owner.clone()?))).collect();
        self.leaving.push(Leaving { sessions, names, freed });
        self.pass_on();
    }

    /// A connection has left all rooms and is offline; it says nothing more.
    pub(super) fn has_left(&mut self, session: SessionId) {
        let mut last = false;
        for leaving in &mut self.leaving {
            last |= leaving.sessions.remove(&session).is_some() && leaving.sessions.is_empty();
        }
        if last {
            self.pass_on();
        }
    }

    /// Waits no longer for connections that ended without a word.
    pub(super) fn give_up_lost(&mut self) {
        for leaving in &mut self.leaving {
            leaving.sessions.retain(|_, owner| owner.connected());
        }
        self.pass_on();
    }

    /// Asks the way of the messages for those whose sessions have all left.
    fn pass_on(&mut self) {
        let gone: Vec<Leaving> = self.leaving.extract_if(.., |leaving| leaving.sessions.is_empty()).collect();
        for Leaving { names, freed, .. } in gone {
            let Some((way, home)) = self.way.clone().zip(self.home.get().cloned()) else { continue };
            actix_rt::spawn(async move {
                // Who is gone has nothing left to pass on.
                let _ = way.directory.send(Flush).await;
                let _ = way.journal.send(CatchUp).await;
                if let Some(auth) = home.upgrade() {
                    auth.do_send(PassedOn { names, freed });
                }
            });
        }
    }
}

impl Handler<PassedOn> for AuthActor {
    type Result = ();

    fn handle(&mut self, PassedOn { names, freed }: PassedOn, _: &mut Self::Context) {
        for name in &names {
            self.accounts.release(name);
        }
        let _ = freed.send(()); // who has asked may have gone on without an answer
    }
}

/// Waits until names are free, but not for ever.
pub(super) async fn freed(freed: oneshot::Receiver<()>) {
    if timeout(PATIENCE, freed).await.is_err() {
        log::warn!("names of removed accounts stay taken until the journal has stored what it has");
    }
}
