//! All that crosses an actor's boundary, one file for each receiver: for each message who sends it, what comes
//! back, and what happens when it cannot be taken.
//!
//! Whoever has something to say to an actor holds its *handle*, the way of each of its messages; no actor's
//! file names another actor's type, so that a test can stand in for any of them (`stand_in`).
//!
//! Two habits hold everywhere. One-way messages are sent with `do_send`, because `send` with its future
//! dropped is cancelled; their order from one sender to one receiver is kept, and the protocol's promises
//! rest on that. And nothing here is bounded by a mailbox (they bound nothing): the bounds are the requests
//! that a session may have unanswered, and the journal's queue.

#[macro_use]
mod handle;

pub mod auth;
pub mod console;
pub mod directory;
pub mod fanout;
pub mod journal;
pub mod listener;
pub mod observe;
pub mod room;
pub mod session;
#[cfg(test)]
pub mod stand_in;

pub use handle::Reaches;
