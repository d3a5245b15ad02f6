//! May this request go on? The steps *session* and *token* of the order in which requests are checked, and
//! the count of frames that were no requests.

use crate::model::{ErrorCode, RequestKind};

/// Checks a request against whether the connection is in a session, then against its token. `token_is_good` is asked only
/// when a token is due.
///
/// # Errors
/// `shutting_down` when the server stops; `unauthenticated`, `already_in_session` or `bad_token`.
pub fn authorize(
    kind: RequestKind,
    in_session: bool,
    stopping: bool,
    token_is_good: impl FnOnce() -> bool,
) -> Result<(), ErrorCode> {
    if stopping && kind != RequestKind::Pong {
        return Err(ErrorCode::ShuttingDown);
    }
    match in_session {
        false if !kind.needs_no_session() => Err(ErrorCode::Unauthenticated),
        true if kind.opens_session() => Err(ErrorCode::AlreadyInSession),
        true if !kind.needs_no_token() && !token_is_good() => Err(ErrorCode::BadToken),
        _ => Ok(()),
    }
}

/// Counts the frames of one connection that were no requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BadFrames(u32);

impl BadFrames {
    /// Counts one more; whether it is one too many. A `limit` of 0 lifts it.
    pub fn is_one_too_many(&mut self, limit: u32) -> bool {
        self.0 = self.0.saturating_add(1);
        limit != 0 && self.0 > limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_session_only_what_opens_one_goes_on() {
        for &kind in RequestKind::ALL {
            let allowed = matches!(
                kind,
                RequestKind::Identify
                    | RequestKind::Register
                    | RequestKind::Login
                    | RequestKind::Resume
                    | RequestKind::Ping
                    | RequestKind::Pong
                    | RequestKind::Exit
            );
            let verdict = authorize(kind, false, false, || panic!("no token is due"));
            assert_eq!(verdict, if allowed { Ok(()) } else { Err(ErrorCode::Unauthenticated) }, "{kind:?}");
        }
    }

    #[test]
    fn in_a_session_everything_but_ping_pong_and_exit_needs_the_token() {
        for &kind in RequestKind::ALL {
            let expected = match kind {
                RequestKind::Ping | RequestKind::Pong | RequestKind::Exit => Ok(()),
                RequestKind::Register | RequestKind::Login | RequestKind::Resume => {
                    Err(ErrorCode::AlreadyInSession)
                }
                _ => Err(ErrorCode::BadToken),
            };
            assert_eq!(authorize(kind, true, false, || false), expected, "{kind:?}");
            assert_eq!(authorize(kind, true, true, || true).is_ok(), kind == RequestKind::Pong);
        }
    }

    #[test]
    fn the_frame_over_the_limit_is_one_too_many() {
        let mut bad = BadFrames::default();
        assert!((0..20).all(|_| !bad.is_one_too_many(20)));
        assert!(bad.is_one_too_many(20));
        assert!(!BadFrames(u32::MAX).is_one_too_many(0));
    }
}
