//! The cast, and who talks to whom.
//!
//! ```text
//!                    system arbiter                          │        I/O arbiters, one a thread
//!                                                            │
//!  ConsoleActor ──▶ all of them                              │
//!                                                            │
//!  ListenerActor ────────────── Adopt ───────────────────────┼──▶ FanoutActor ──starts──▶ SessionActor
//!                                                            │        ▲   ╲                 │  │  │
//!  AuthActor ◀──────── OpenSession, ChangePassword, … ───────┼────────┼────╲────────────────┘  │  │
//!      ╰───────────────────── EndSession ────────────────────┼────────┼─────╲──▶ (session)     │  │
//!  DirectoryActor ◀─── Online, Join, Tell, ListRooms, … ─────┼────────┼──────╲─────────────────┘  │
//!      │ Join        ╰──────── Admit, DeliverTo ─────────────┼────────┤       Connection          │
//!      ▼                                                     │        │     (outbox, replies)     │
//!  ChatRoomActor ◀──── Say, Leave, ListMembers ──────────────┼────────┼───────────────────────────┘
//!      │    ▲  ╰────── Enter, Deliver, Depart, Tidings ──────┼────────┘
//!      ▼    │ Settled                                        │
//!  JournalActor ⇄ writer thread (append, fsync)              │
//! ```
//!
//! [`messages`] says of every message who sends it, what comes back, and what happens when it cannot be
//! taken. Whatever an actor has to decide for longer than a screen is a pure function in [`crate::chat`].

pub mod auth;
pub mod connection;
pub mod console;
pub mod directory;
pub mod fanout;
pub mod journal;
pub mod listener;
pub mod messages;
pub mod room;
pub mod session;
pub mod vital;

use std::sync::Arc;
use std::time::Instant;

use actix::Addr;

use crate::config::Config;
use crate::secrets::token::TokenHasher;

/// The fan-outs, by I/O thread.
pub type Fanouts = Arc<[Addr<fanout::FanoutActor>]>;

/// The actors that there is one of, and what they all go by. Cheap to clone.
#[derive(Clone)]
pub struct Wiring {
    /// The effective settings.
    pub config: Arc<Config>,
    /// When the server started; rates count from here.
    pub started: Instant,
    /// Tells the server when an actor that it cannot do without has died.
    pub vital: vital::VitalSigns,
    /// Checks tokens.
    pub hasher: TokenHasher,
    /// Who knows accounts.
    pub auth: Addr<auth::AuthActor>,
    /// Who knows rooms and who is online.
    pub directory: Addr<directory::DirectoryActor>,
    /// Who stores.
    pub journal: Addr<journal::JournalActor>,
    /// Who takes connections.
    pub listener: Addr<listener::ListenerActor>,
}
