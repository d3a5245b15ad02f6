//! The life of one connection: what may be asked, in which order replies leave, what takes too long, how it
//! ends.
//!
//! [`machine`] is the whole of it, a state machine without I/O; [`admission`] is what it does with a frame. The
//! others are its parts, but for [`outbox`], which the connection has beside it.

pub mod active;
pub mod admission;
pub mod authorize;
pub mod deadlines;
pub mod goodbye;
pub mod machine;
pub mod outbox;
pub mod replies;
pub mod rules;

#[cfg(test)]
mod simulation;
