//! What can go wrong in a measurement, in sentences.

use std::io;

/// A measurement cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The system refused something.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was tried.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// A server did not start, refused a client, or broke off.
    #[error("{0}")]
    Server(String),
    /// What was asked for does not go together.
    #[error("{0}")]
    Usage(String),
}

impl BenchError {
    /// For `map_err`: the system refused what was being done.
    pub fn doing<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> BenchError {
        let doing = doing.into();
        move |source| BenchError::System { doing, source: source.into() }
    }
}
