//! The files: everything in the data directory is read and written here, and nowhere else.

pub mod accounts;
pub mod advice;
pub mod cells;
pub mod devices;
pub mod format;
pub mod history;
pub mod lock;
pub mod log;
pub mod owner;
pub mod sessions;
pub mod set_aside;
pub mod terms;

#[cfg(test)]
pub mod log_rig;
#[cfg(test)]
pub mod memory_log;

#[cfg(test)]
#[path = "store/lives_tests.rs"]
mod lives_tests;
#[cfg(test)]
#[path = "store/log_tests.rs"]
mod log_tests;
