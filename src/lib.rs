//! Veche, a chat server built of actors.
#[cfg(feature = "server")]
pub mod actors;
#[cfg(feature = "server")]
pub mod chat;
pub mod codec;
#[cfg(feature = "server")]
pub mod config;
pub mod names;
pub mod protocol;
#[cfg(feature = "server")]
pub mod secrets;
#[cfg(feature = "server")]
pub mod store;
