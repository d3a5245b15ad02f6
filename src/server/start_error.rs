//! Why a server does not start, each kind in its own words.

use std::io;

use super::bind::BindError;
use super::resources::FewFiles;
use crate::control::server as control;
use crate::logging;
use crate::store::history;
use crate::store::lock::LockError;
use crate::store::owner::OwnerError;
use crate::store::terms::TermsError;

/// Why the server did not start, or could not go on. Each is one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory is somebody else's.
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// The data directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The log file.
    #[error(transparent)]
    Log(#[from] logging::LogError),
    /// What is to be logged.
    #[error(transparent)]
    Filter(#[from] logging::FilterError),
    /// The port.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The history.
    #[error(transparent)]
    History(#[from] history::HistoryError),
    /// The terms of the history.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// Accounts, sessions and their key.
    #[error(transparent)]
    Accounts(#[from] crate::actors::auth::AuthStartError),
    /// An actor that the server cannot do without has panicked; see [`crate::actors::panic_watch`].
    #[error("{0} has failed, and the server ended to be safe; the log says why, start it again")]
    Died(&'static str),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] control::ControlError),
    /// Descriptors.
    #[error(transparent)]
    FewFiles(#[from] FewFiles),
    /// Threads, signals, sockets.
    #[error("the system refuses {what} ({error}); look for its limits on processes and open files")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        error: io::Error,
    },
}

impl StartError {
    /// The system refuses `what`.
    pub(super) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| StartError::System { what, error }
    }
}
