//! What the tests share: a server that is really started, and a client that knows nothing but bytes and JSON.
//!
//! - [`server`]: starts the binary on a free port with a data directory of its own, and ends it;
//! - [`client`]: a blocking connection whose every wait has a deadline, and that tells what was said when a
//!   test fails;
//! - [`program`]: calls of the program that end by themselves;
//! - [`terminal`]: a program as a person has it, at a terminal;
//! - [`files`]: reading what the server keeps in its data directory.
//!
//! Nothing here uses the crate itself, so that the tests see what a stranger's program would see.

pub mod client;
pub mod files;
pub mod program;
pub mod server;
pub mod terminal;

use std::time::{Duration, Instant};

pub use client::Client;
pub use server::{Options, Server};

/// How long anything may take. Generous: a test that fails waits this long, one that succeeds never does.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The password of every account that does not say otherwise.
pub const PASSWORD: &str = "correct horse battery";

/// Asks again and again, until there is an answer or [`PATIENCE`] is over.
///
/// # Panics
/// When there is none in time; `what` says what was waited for.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
