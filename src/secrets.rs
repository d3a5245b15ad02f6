//! Passwords, tokens, and the sealing of cells.
//!
//! - [`keys`]: the key file, and the keys that are derived from it for each purpose;
//! - [`seal`]: cells that only the key opens, and only in their own place;
//! - [`password`]: Argon2id, also over the MD5 hashes of an older server;
//! - [`common`]: those that anybody guesses first;
//! - [`token`]: the tokens of sessions and their hashes.

pub mod common;
pub mod keys;
pub mod password;
pub mod seal;
pub mod token;
