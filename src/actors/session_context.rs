//! What all sessions of an I/O thread share.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;

use super::Handles;
use super::connection::Connection;
use super::messages::fanout::FanoutHandle;
use super::strangers::Strangers;
use crate::chat::session::rules::SessionRules;
use crate::model::{Event, Welcome};
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
    /// The actors that there is one of, and what everybody goes by.
    pub handles: Handles,
    /// The fan-out of this thread.
    pub fanout: FanoutHandle,
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
            handles: handles.clone(),
            fanout,
            strangers: Strangers::new(limits),
            read_buffer: RefCell::new(vec![0; limits.turn_bytes].into_boxed_slice()),
        }
    }
}
