//! `veche ctl`: one console command for the running server.

use std::path::Path;

use super::print;
use crate::control::Request;
use crate::control::client::{Client, ClientError};

/// Sends the command to the server of this data directory, and prints the answer.
///
/// # Errors
/// [`ClientError`] when there is no server, or when it refuses.
pub fn run(data_dir: &Path, line: String) -> Result<(), ClientError> {
    Client::connect(data_dir)?.ask(&Request::Command(line), |part| print(&format!("{part}\n")))
}
