//! The files: everything in the data directory is read and written here, and nowhere else.

pub mod accounts;
pub mod append;
pub mod cells;
pub mod format;
pub mod history;
pub mod lock;
pub mod sessions;
pub mod terms;
