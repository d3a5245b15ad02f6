//! Bytes ↔ payloads: how a payload is framed. What a payload says is the business of [`json`].
//!
//! A [`Wire`] is one byte in a connection, and all that differs between wires is behind it: what the bytes of a
//! peer come to ([`Wire::peek`]), what goes before a payload ([`Wire::frame`]; [`Wire::reframe`] for a
//! whole batch), where a frame ends ([`Wire::end_of_frame_at`]), and what stands behind the last word ([`Wire::ending`]).
//!
//! - `native`: a length of four bytes before each payload, as [`crate::codec`] has it;
//! - `websocket`: a text message for each payload, without the HTTP part.
//!
//! Both pass one suite, `wire/suite_tests.rs`.

#[cfg(feature = "server")]
pub mod frames;
pub mod json;
#[cfg(feature = "server")]
mod native;
#[cfg(all(test, feature = "server"))]
mod suite_tests;
#[cfg(feature = "server")]
mod websocket;

#[cfg(feature = "server")]
pub use framing::{Decoded, Peeked, Wire, WireError, WireState};

#[cfg(feature = "server")]
mod framing;
