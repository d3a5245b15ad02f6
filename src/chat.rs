//! Pure decisions. Nothing here knows actix, a file, a socket or a clock: time comes in as a parameter, so
//! every rule can be read, and tested, on its own.
//!
//! - [`gate`]: may this request go on, given what the connection has?
//! - [`gathering`]: does a batch for the disk wait for company?
//! - [`replies`]: the replies of a connection leave in the order of its requests;
//! - [`crowd`]: whose turn it is among those who have no session;
//! - [`deadlines`]: what takes too long;
//! - [`outbox`]: what waits to be written to one socket, and when that is too much;
//! - [`turns`]: a small room does not wait for a large one;
//! - [`presence`]: what a room's members are told of who comes and goes, and when;
//! - [`rate`]: how fast is too fast; [`budget`]: how much of something may be done in a time;
//! - [`fair`]: nobody stands behind another's crowd;
//! - [`openings`]: how fast an account opens sessions, and how many are on their way;
//! - [`people`]: which accounts there are, and which names are free;
//! - [`login`]: who may try a password, and what a person is told;
//! - [`devices`]: on which devices an account was opened before;
//! - [`tokens`]: which sessions there are, whose token is good, and until when;
//! - [`terms`]: whether an id that a client remembers is of this history;
//! - [`roster`]: who is in a room; [`window`]: its newest messages, and the page that someone who joins gets;
//! - [`keys`]: a message sent twice under one key is stored once.

pub mod budget;
pub mod crowd;
pub mod deadlines;
pub mod devices;
pub mod fair;
pub mod gate;
pub mod gathering;
pub mod keys;
pub mod login;
pub mod openings;
pub mod outbox;
pub mod people;
pub mod presence;
pub mod rate;
pub mod replies;
pub mod roster;
pub mod terms;
pub mod tokens;
pub mod turns;
pub mod window;
