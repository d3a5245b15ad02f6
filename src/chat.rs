//! Pure decisions. Nothing here knows actix, a file, a socket, a wire or a clock: time comes in as a parameter, so
//! every rule can be read, and tested, on its own. They are grouped by who owns them:
//!
//! - [`session`]: the life of a connection;
//! - [`room`]: who is in a room, and what was said in it;
//! - [`journal`]: the order of messages;
//! - [`accounts`]: who there is, and who gets in;
//! - [`limits`]: how much of something anybody may do, and whose turn it is.

pub mod accounts;
pub mod journal;
pub mod limits;
pub mod room;
pub mod session;
