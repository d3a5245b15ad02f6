//! Accounts and their sessions: which there are, which names are free, who may try a password, whose token is good.

pub mod confusables;
pub mod devices;
pub mod index;
pub mod login_throttle;
pub mod openings;
pub mod sessions;
