//! All that crosses an actor's boundary: for each message who sends it, what comes back, and what happens
//! when it cannot be taken.
//!
//! Two habits hold everywhere. One-way messages are sent with `do_send`, because `send` with its future
//! dropped is cancelled; their order from one sender to one receiver is kept, and the protocol's promises
//! rest on that. And nothing here is bounded by a mailbox (they bound nothing): the bounds are the requests
//! that a session may have unanswered, and the journal's queue.
//!
//! Ids that name an actor's things (a connection, a room, a ticket) are types of their own, never a bare
//! number.

pub mod auth;
pub mod chat;
pub mod console;
pub mod operator;
