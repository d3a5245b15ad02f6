//! The dictionary of the wire: what a payload can say, in typed form.
//!
//! - [`raw`]: a payload → one JSON object within its bounds;
//! - [`request`]: that object → [`crate::model::Request`], in the order of checks that the contract fixes;
//! - [`frame`]: everything the server says, [`ServerFrame`], and what a [`Message`] is;
//! - [`encode`]: the frames of the hot path, written once for a whole room.
//!
//! The contract itself, with examples, is `docs/protocol.md`. Nothing here does I/O or knows an actor.

#[cfg(feature = "server")]
pub mod encode;
pub mod frame;
mod outgoing;
pub mod raw;
pub mod request;
pub mod skim;

pub use frame::{Message, ServerFrame, SessionOpened};
pub use raw::RawRequest;

/// The version of the protocol that this crate speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// What of the protocol's second part works here, as `welcome` lists it.
pub const FEATURES: &[&str] = &["terms"];
