//! What all sessions of an I/O thread share.

use std::cell::RefCell;
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
use crate::chat::session::rules::SessionRules;
use crate::model::{Event, Spellings, Welcome};
use crate::secrets::token::TokenHasher;
use crate::wire::frames::SharedFrames;
use crate::wire::json::encode;

/// Starts the session of a connection on the thread that it is called on: whether the connection may not stay,
/// and what has been read of it already.
pub type StartSession = fn(Rc<Connection>, Rc<SessionContext>, bool, Bytes);

/// What all sessions of a thread share.
pub struct SessionContext {
    /// What sessions may do.
    pub rules: SessionRules,
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
    /// When the thread started; rates count from here.
    pub started: Instant,
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
            rules: SessionRules::new(limits),
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
            started: handles.started,
            strangers: Strangers::new(limits),
            read_buffer: RefCell::new(vec![0; limits.turn_bytes].into_boxed_slice()),
        }
    }
}
