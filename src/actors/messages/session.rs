//! What is said to a SessionActor.

use actix::Message;
use serde::Serialize;

use crate::model::ByeReason;

/// From the AuthActor to a SessionActor, with `do_send`: the session has ended, say `bye` and close. Its
/// token is dead already, or another connection's. A SessionActor that has stopped misses nothing.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct EndSession {
    /// Why.
    pub reason: ByeReason,
    /// A sentence, where there is a better one than the reason's own.
    pub text: Option<String>,
}

/// What a session tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionSnapshot {
    /// Where it connects from, `HOST:PORT`.
    pub peer: String,
    /// Whose it is, when a session is open.
    pub account: Option<String>,
    /// Rooms that it is in.
    pub rooms: usize,
    /// Requests that are not answered yet.
    pub unanswered_requests: usize,
    /// What waits to be written to it, in bytes, with what its bookkeeping takes.
    pub outbox_bytes: usize,
    /// Whether it takes frames; not since goodbye was said.
    pub open: bool,
}
