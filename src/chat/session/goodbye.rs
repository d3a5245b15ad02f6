//! How a connection ends: what is said last, and what is given back.

use std::borrow::Cow;

use super::active::{ActiveSession, SessionTypes};
use crate::model::{ByeReason, ErrorCode, Reference, Refusal, Ticket};

/// How a connection is going to end.
#[derive(Debug)]
pub(super) enum Farewell {
    /// It is let go, for a reason and with a sentence that is better than the reason's own.
    LetGo(ByeReason, Option<String>),
    /// The `bye` is the reply to this `exit`.
    Exit(Ticket),
    /// Nobody is there to hear anything.
    Broken,
}

impl Farewell {
    /// Who does not read gets no answers, so there is nothing to wait for.
    pub(super) fn is_at_once(&self) -> bool {
        matches!(self, Farewell::Broken | Farewell::LetGo(ByeReason::Fault(ErrorCode::SlowConsumer), _))
    }

    pub(super) fn is_due(&self, unanswered: usize) -> bool {
        unanswered == 0 || self.is_at_once() || matches!(self, Farewell::Exit(_))
    }
}

/// The end of a connection: what is said, and what is given back.
#[derive(Debug)]
pub struct Goodbye<T: SessionTypes> {
    /// The last words; none for a peer that ended its side, or is not there any more.
    pub words: Option<LastWords>,
    /// The session that was open: whose it is, it is not online any more.
    pub session: Option<Box<ActiveSession<T>>>,
    /// Whether the session was ended for good and cannot be resumed.
    pub ended: bool,
}

/// What is said last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastWords {
    /// Why.
    pub reason: ByeReason,
    /// A sentence for a person.
    pub text: Cow<'static, str>,
    /// The `ref` of the `exit` that the `bye` replies to.
    pub reference: Option<Reference>,
}

impl LastWords {
    pub(super) fn new(reason: ByeReason, text: Option<String>) -> Self {
        let text = text.map_or(Cow::Borrowed(reason.sentence()), Cow::Owned);
        LastWords { reason, text, reference: None }
    }

    /// The `error` that goes before the `bye`, when there was a fault.
    pub fn fault(&self) -> Option<Refusal> {
        self.reason.fault().map(|code| Refusal::new(code, self.text.clone()))
    }

    /// Whether they stand before everything that waits to be written: the peer was too slow for that.
    pub fn drop_unsent(&self) -> bool {
        self.reason == ByeReason::Fault(ErrorCode::SlowConsumer)
    }
}
