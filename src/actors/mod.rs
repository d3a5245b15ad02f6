//! The cast.
pub mod auth;
pub mod messages;
