//! Why something was not done: the one answer that every part of the server refuses with.

use std::borrow::Cow;
use std::time::Duration;

use super::ErrorCode;

/// A code, a sentence, and when to try again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {text}")]
pub struct Refusal {
    /// The code.
    pub code: ErrorCode,
    /// A sentence for a person.
    pub text: Cow<'static, str>,
    /// When another attempt makes sense, in milliseconds from now; `None` when waiting does not help.
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// A refusal with a better sentence than the code's own.
    pub fn new(code: ErrorCode, text: impl Into<Cow<'static, str>>) -> Self {
        Refusal { code, text: text.into(), retry_after_ms: None }
    }

    /// The same, with the time after which another attempt makes sense, in milliseconds.
    pub fn retry_after_ms(self, retry_after_ms: u64) -> Self {
        Refusal { retry_after_ms: Some(retry_after_ms), ..self }
    }

    /// The same, with the time after which another attempt makes sense.
    pub fn retry_after(self, wait: Duration) -> Self {
        self.retry_after_ms(wait_ms(wait))
    }

    /// What a request is refused with that is none.
    pub fn bad_request(text: impl Into<Cow<'static, str>>) -> Self {
        Refusal::new(ErrorCode::BadRequest, text)
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Refusal::new(code, code.sentence())
    }
}

/// A wait as the wire tells it: milliseconds, rounded up, at least 1.
pub fn wait_ms(wait: Duration) -> u64 {
    u64::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_never_told_too_short() {
        assert_eq!(wait_ms(Duration::ZERO), 1);
        assert_eq!(wait_ms(Duration::from_micros(1_001)), 2);
    }
}
