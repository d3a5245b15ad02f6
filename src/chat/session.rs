//! The life of one connection: what may be asked, in which order replies leave, what takes too long.

pub mod authorize;
pub mod deadlines;
pub mod outbox;
pub mod replies;
