//! Veche, a chat server built of actors.
#[cfg(feature = "server")]
pub mod actors;
#[cfg(feature = "server")]
pub mod cli;
pub mod codec;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod logging;
pub mod names;
pub mod nearest;
pub mod printable;
pub mod protocol;
#[cfg(feature = "server")]
pub mod secrets;
#[cfg(feature = "server")]
pub mod store;
