//! Veche, a chat server built of actors: one binary, no database, nothing acknowledged is ever lost.
//!
//! This page is a reading list. `ARCHITECTURE.md` is the map that goes with it: who lives where, on which
//! thread, and why. `docs/protocol.md` is the wire, `docs/data-formats.md` the files.
//!
//! # To see how it works
//!
//! 1. [`actors`]: a drawing of the cast, and who talks to whom.
//! 2. [`actors::messages`]: all that is ever said between them, by receiver. Whoever has read these knows the
//!    server; the rest is how.
//! 3. [`actors::room`]: a small actor, whole. Then, along the way of a message: [`actors::session`],
//!    [`actors::journal`], [`actors::fanout`].
//! 4. [`chat`]: the decisions that these actors take, as plain values and functions, with their tests. Begin
//!    with [`chat::session::machine`], the life of a connection, and [`chat::room::recent`], where a page of the
//!    past meets the events without a seam.
//! 5. [`store::log`]: what a log promises; [`store::history`]: how a message gets to the disk, and a page back.
//! 6. [`server`]: how everyone is started, and stopped in order.
//!
//! # To write a client in Rust
//!
//! Depend on this crate with `default-features = false`: that leaves [`codec`] (bytes ↔ frames),
//! [`wire::json`] (what a payload can say), [`model`], [`sanitize`] and [`suggest`], without actix. The
//! package `veche-client` is such a client.
//!
//! # To follow one idea through all of it
//!
//! The journal is the order. A message exists when [`actors::journal`] has it, and is delivered because the
//! journal has it: it goes to the disk, gets its id, comes back to its room, and only then to anyone's
//! screen and to its sender as a receipt.

// The cast: every actor, a file each, and all that they say to each other.
#[cfg(feature = "server")]
pub mod actors;
// Pure decisions, with time passed in. The heart of the rules, and the easiest place to learn them.
#[cfg(feature = "server")]
pub mod chat;
// The command line of `veche`.
#[cfg(feature = "server")]
pub mod cli;
// Bytes ↔ frames. Shared with the client.
pub mod codec;
// Every setting and every bound, from file, environment and options.
#[cfg(feature = "server")]
pub mod config;
// How `veche ctl` and `veche account` talk to the running server: a socket in the data directory.
#[cfg(feature = "server")]
pub mod control;
// The few calls that touch what is kept, real and simulated.
#[cfg(feature = "server")]
pub mod disk;
// Service messages: a log that waits for nobody and that input cannot forge.
#[cfg(feature = "server")]
pub mod logging;
// What everybody talks about: names, ids, texts, requests, codes. Shared with the client.
pub mod model;
// Did you mean …? Shared with the client.
pub mod suggest;
// Text from others, made safe for a terminal. Shared with the client.
pub mod sanitize;
// A byte stream to one peer: TCP, or memory in tests.
#[cfg(feature = "server")]
pub mod transport;
// Bytes ↔ requests, replies and events. Shared with the client.
pub mod wire;
// Passwords, tokens, and the sealing of cells.
#[cfg(feature = "server")]
pub mod secrets;
// The whole life of the process; the one file that knows every actor.
#[cfg(feature = "server")]
pub mod server;
// The files of the data directory.
#[cfg(feature = "server")]
pub mod store;
// A thread that writes, and the queue before it: accounts, journal, log and console have one each.
#[cfg(feature = "server")]
pub mod writer_thread;
