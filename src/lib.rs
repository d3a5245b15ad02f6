//! Veche, a chat server built of actors.
pub mod codec;
#[cfg(feature = "server")]
pub mod config;
pub mod names;
pub mod protocol;
