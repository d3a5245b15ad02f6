//! Real actors for the tests of others: here alone a test may name one.

use std::sync::Arc;

use actix::Actor;

use super::Handles;
use super::journal::JournalActor;
use super::messages::journal::JournalHandle;
use crate::store::log::MessageLog;

/// A journal over this log, on the current arbiter.
pub fn journal_on(log: Box<dyn MessageLog>, handles: &Handles) -> JournalHandle {
    let critical = handles.critical.of("the journal");
    let newest_id = Arc::clone(&handles.newest_id);
    JournalHandle::of(&JournalActor::new(Arc::clone(&handles.config), log, newest_id, critical).start())
}
