//! What the program tells the shell.

use std::process::ExitCode;

/// The exit statuses there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// It ended as the person wanted.
    Done,
    /// Something failed; a sentence on standard error says what.
    Failed,
    /// The options make no sense.
    Usage,
    /// A signal ended it, as a shell counts signals.
    Signal(u8),
}

impl ExitStatus {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            ExitStatus::Done => 0,
            ExitStatus::Failed => 1,
            ExitStatus::Usage => 2,
            ExitStatus::Signal(number) => 128 + number,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        ExitCode::from(status.code())
    }
}
