//! Pure decisions: no actix, no files, no sockets, no clocks. Time is passed in.
//!
//! - [`budget`]: how much of something may be done in a time;
//! - [`login`]: who may try a password, and what a person is told;
//! - [`tokens`]: which sessions there are, whose token is good, and until when.

pub mod budget;
pub mod login;
pub mod tokens;
