//! The cast.
pub mod messages;
