//! The cast, and who talks to whom.
//!
//! ```text
//!          main (actix system)           │                    I/O threads
//!                                        │
//!  ConsoleActor ──▶ all of them          │    on each:  FanoutActor ──starts──▶ SessionActor
//!                                        │                  ╲                     ╱
//!  ListenerActor ───── NewConnection ────┼──▶ (fan-out)      Connection (outbox, machine)
//!                                        │
//!  AuthActor ◀── OpenSession, … ─────────┼──  (session)
//!      ╰──────── EndSession ─────────────┼──▶ (session)
//!                                        │    on the first:
//!                                        │    (session) ── Online, Join, Tell, … ──▶ DirectoryActor ──▶ (fan-out)
//!                                        │                                            │ Join
//!                                        │                                            ▼
//!                                        │    (session) ── Say, Leave, … ─────────▶ ChatRoomActor ──▶ (fan-out)
//!                                        │                                 Append │  ▲ Committed
//!                                        │                                        ▼  │
//!                                        │    log (its thread forces it) ⇄ ······ JournalActor
//! ```
//!
//! [`messages`] says of every message who sends it, what comes back, and what happens when it cannot be
//! taken. Whatever an actor has to decide for longer than a screen is a pure function in [`crate::chat`].

pub mod auth;
pub mod connection;
pub mod console;
pub mod directory;
pub mod fanout;
#[cfg(test)]
mod invariants;
pub mod journal;
pub mod listener;
pub mod messages;
pub mod panic_watch;
pub mod room;
pub mod session;
pub mod session_context;
pub mod strangers;
#[cfg(test)]
mod test_rig;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::task::Context as TaskContext;
use std::time::Instant;

use self::messages::auth::AuthHandle;
use self::messages::directory::DirectoryHandle;
use self::messages::journal::JournalHandle;
use self::messages::listener::ListenerHandle;
use crate::chat::journal::terms::Terms;
use crate::config::Config;
use crate::model::Spellings;
use crate::secrets::token::TokenHasher;

/// The actors that there is one of, and what they all go by. Cheap to clone.
#[derive(Clone)]
pub struct Handles {
    /// The effective settings.
    pub config: Arc<Config>,
    /// When the server started; rates count from here.
    pub started: Instant,
    /// Tells the server when an actor that it cannot do without has died.
    pub critical: panic_watch::PanicWatch,
    /// The terms of the history.
    pub terms: Arc<Terms>,
    /// The largest message id that was given, 0 for none.
    pub newest_id: Arc<AtomicU64>,
    /// Checks tokens.
    pub hasher: TokenHasher,
    /// What names mean that are stored under former rules.
    pub spellings: Arc<Spellings>,
    /// Who knows accounts.
    pub auth: AuthHandle,
    /// Who knows rooms and who is online.
    pub directory: DirectoryHandle,
    /// Who stores.
    pub journal: JournalHandle,
    /// Who takes connections.
    pub listener: ListenerHandle,
    /// How many connections are taken, and wait for their thread to take them over.
    pub newcomers: Arc<AtomicUsize>,
}

/// Wakes a task again when everyone else of its thread has had a turn, sockets that have something to read
/// included. A task that wakes itself comes before those: tokio looks at sockets when no task is left to run,
/// or after 61 of them.
fn yield_now(task: &mut TaskContext<'_>) {
    // The first poll leaves the waker with the runtime, which is all that is wanted of it.
    let _ = pin!(tokio::task::yield_now()).poll(task);
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::rc::Rc;
    use std::task::Poll;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::runtime::LocalRuntime;

    use super::*;

    #[test]
    fn a_task_that_always_has_more_to_do_keeps_no_socket_waiting() {
        LocalRuntime::new().expect("a runtime").block_on(async {
            let turns = Rc::new(Cell::new(0));
            let counted = Rc::clone(&turns);
            let busy = tokio::task::spawn_local(poll_fn(move |task| {
                counted.set(counted.get() + 1);
                yield_now(task);
                Poll::<()>::Pending
            }));
            for _ in 0..20 {
                // Nobody knows yet that a new socket has something to read.
                let (mut near, mut far) = tokio::net::UnixStream::pair().expect("two sockets");
                let before = turns.get();
                near.write_all(b"x").await.expect("an open socket");
                far.read_exact(&mut [0]).await.expect("an open socket");
                assert!(turns.get() - before < 10, "it had {} turns before the socket", turns.get() - before);
            }
            assert!(turns.get() >= 20, "it had turns, too");
            busy.abort();
        });
    }
}
