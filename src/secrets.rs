//! Passwords, tokens, and the sealing of cells.
//!
//! - [`keys`]: the key file, and the keys that are derived from it for each purpose;
//! - [`token`]: the tokens of sessions and their hashes.

pub mod keys;
pub mod token;
