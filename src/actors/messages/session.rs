//! What is said to a SessionActor.

use actix::Message;

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
