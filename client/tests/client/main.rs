//! The client and the netcat helper as programs, against a model of the server that can be made to fail.
//!
//! - [`model`][]: the server;
//! - [`by_lines`][]: line mode, what it says, prints and survives;
//! - [`netcat`][]: `client/veche-nc`.

mod by_lines;
mod model;
mod netcat;
