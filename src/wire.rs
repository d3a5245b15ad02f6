//! Bytes ↔ values: what clients send becomes a [`crate::model::Request`], and what the server says becomes
//! bytes. One folder for each wire.

pub mod json;
