//! What all sessions of an I/O thread share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use bytes::Bytes;

use super::Handles;
use super::connection::Connection;
use super::messages::auth::AuthHandle;
use super::messages::directory::DirectoryHandle;
use super::messages::fanout::FanoutHandle;
use super::messages::journal::JournalHandle;
use super::messages::listener::ListenerHandle;
use super::strangers::Strangers;
use crate::chat::journal::terms::Terms;
use crate::chat::limits::rate_limiter::Rate;
use crate::config::Limits;
use crate::model::{ErrorCode, Event, Spellings, Welcome};
use crate::secrets::token::TokenHasher;
use crate::wire::frames::SharedFrames;
use crate::wire::json::encode;

/// Starts the session of a connection on the thread that it is called on; with a code, one that is told so and
/// goes. The bytes are what has been read of it already.
pub type StartSession = fn(Rc<Connection>, Rc<SessionContext>, Option<ErrorCode>, Bytes);

/// How many seconds' worth of messages an account may send at once.
pub const MESSAGE_BURST_SECONDS: u32 = 3;
/// How many seconds' worth of other requests a connection may make at once.
pub const REQUEST_BURST_SECONDS: u32 = 2;

/// What all sessions of a thread share.
pub struct SessionContext {
    /// Every bound.
    pub limits: Arc<Limits>,
    /// The first frame of every connection.
    pub welcome: SharedFrames,
    /// The terms of the history.
    pub terms: Arc<Terms>,
    /// The largest message id that was given, 0 for none.
    pub newest_id: Arc<AtomicU64>,
    /// Checks tokens.
    pub hasher: TokenHasher,
    /// What names mean.
    pub spellings: Arc<Spellings>,
    /// Who knows accounts.
    pub auth: AuthHandle,
    /// Who knows rooms and who is online.
    pub directory: DirectoryHandle,
    /// Who knows the past.
    pub journal: JournalHandle,
    /// Who counts connections.
    pub listener: ListenerHandle,
    /// The fan-out of this thread.
    pub fanout: FanoutHandle,
    /// How fast an account may send messages.
    pub message_rate: Option<Rate>,
    /// How fast an account may enter rooms.
    pub join_rate: Option<Rate>,
    /// How fast an account may try to change its password.
    pub password_rate: Option<Rate>,
    /// How fast a connection may ask for anything else.
    pub request_rate: Option<Rate>,
    /// When the thread started; rates count from here.
    pub started: Instant,
    /// Whether the server stops.
    pub stopping: Cell<bool>,
    /// Those of the thread's connections that have no session.
    pub strangers: Strangers,
    /// The buffer that all connections of the thread read into. A connection has bytes of its own only while
    /// a frame is incomplete or has to wait.
    pub read_buffer: RefCell<Box<[u8]>>,
}

impl SessionContext {
    /// What the sessions of the thread with this fan-out share.
    pub fn new(handles: &Handles, fanout: FanoutHandle) -> Self {
        let config = &handles.config;
        let limits = &config.limits;
        let welcome = Event::Welcome(Welcome {
            server: concat!("veche/", env!("CARGO_PKG_VERSION")).into(),
            max_frame_bytes: limits.max_frame_bytes,
            motd: config.server.motd.clone(),
            term: handles.terms.present().as_str().into(),
        });
        SessionContext {
            limits: Arc::new(limits.clone()),
            welcome: encode::event_for_all(&welcome),
            terms: Arc::clone(&handles.terms),
            newest_id: Arc::clone(&handles.newest_id),
            hasher: handles.hasher.clone(),
            spellings: Arc::clone(&handles.spellings),
            auth: handles.auth.clone(),
            directory: handles.directory.clone(),
            journal: handles.journal.clone(),
            listener: handles.listener.clone(),
            fanout,
            message_rate: burst_of_seconds(limits.messages_per_second, MESSAGE_BURST_SECONDS),
            join_rate: Rate::per_minute(limits.joins_per_minute)
                .map(|rate| rate.with_burst_of_at_least(limits.rooms_per_session)),
            password_rate: Rate::per_minute(limits.password_changes_per_minute),
            request_rate: burst_of_seconds(limits.requests_per_second, REQUEST_BURST_SECONDS),
            started: handles.started,
            stopping: Cell::new(false),
            strangers: Strangers::new(limits),
            read_buffer: RefCell::new(vec![0; limits.turn_bytes].into_boxed_slice()),
        }
    }
}

fn burst_of_seconds(per_second: u32, seconds: u32) -> Option<Rate> {
    Rate::per_second(per_second).map(|rate| rate.with_burst(per_second.saturating_mul(seconds)))
}
