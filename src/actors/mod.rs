//! The cast.

pub mod console;
pub mod messages;
