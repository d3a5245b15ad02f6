//! How an actor is: one question that every actor answers, each with a value of its own.
//!
//! The values are numbers and names, serializable, and cost the asker and nobody else: they are read off the
//! actor's state when somebody asks. `status` is made of them, and tests look at an actor through them.

use std::fmt;
use std::marker::PhantomData;
use std::time::Instant;

use actix::Message;
use serde::Serialize;

/// Anyone → any actor: how are you? `S` is what this actor tells of itself. An actor that is gone answers with
/// a `MailboxError`, like one that is gone for anything else.
pub struct Observe<S> {
    asked_at: Instant,
    state: PhantomData<fn() -> S>,
}

impl<S> Observe<S> {
    /// The question, asked now.
    pub fn now() -> Self {
        Observe { asked_at: Instant::now(), state: PhantomData }
    }

    /// The answer of an actor that handles the question now.
    pub fn answer(&self, state: S) -> Observation<S> {
        let waited = self.asked_at.elapsed();
        Observation { mailbox_wait_us: u64::try_from(waited.as_micros()).unwrap_or(u64::MAX), state }
    }
}

impl<S: Send + 'static> Message for Observe<S> {
    type Result = Observation<S>;
}

impl<S> fmt::Debug for Observe<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observe")
    }
}

/// What could be seen of an actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Observation<S> {
    /// How long the question lay in the actor's mailbox, in microseconds: so far behind is the actor.
    pub mailbox_wait_us: u64,
    /// What the actor tells of itself.
    pub state: S,
}
