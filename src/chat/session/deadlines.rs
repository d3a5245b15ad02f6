//! When a connection has taken too long: to log in, to finish a frame, to say anything, to take what it is
//! sent, to go.
//!
//! Time is counted in ticks of the connection's thread, not read from a clock: while the whole server stands
//! still (a suspended laptop, a stopped process) nobody's time runs out.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::config::Limits;
use crate::model::ErrorCode;

/// The time between two ticks.
pub const TICK: Duration = Duration::from_millis(500);
/// Pings that may go unanswered.
const UNANSWERED_PINGS: u8 = 2;

/// The limits of time, in ticks; `None` where a limit is lifted.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    login: Option<u32>,
    frame: Option<u32>,
    silence: Option<u32>,
    write: Option<u32>,
    close: u32,
}

impl Timeouts {
    /// The timeouts that these limits ask for.
    pub fn new(limits: &Limits) -> Self {
        let ticks = |seconds: u64| {
            u32::try_from(Duration::from_secs(seconds).as_millis() / TICK.as_millis()).unwrap_or(u32::MAX)
        };
        let unless_lifted = |seconds: u64| (seconds != 0).then(|| ticks(seconds));
        Timeouts {
            login: unless_lifted(limits.login_timeout_seconds),
            frame: unless_lifted(limits.frame_timeout_seconds),
            silence: unless_lifted(limits.ping_after_seconds),
            // The tick in which a write gets stuck counts whole, so that nobody waits longer than was said.
            write: unless_lifted(limits.write_timeout_seconds).map(|ticks| ticks - 1),
            close: ticks(limits.close_timeout_seconds),
        }
    }
}

/// What is due for a connection after a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// Ask the peer whether it lives.
    Ping,
    /// Let it go.
    End(ErrorCode),
    /// It was let go and does not go: drop it.
    Drop,
}

/// A time that runs: its ticks and one more, so that one that does not run takes no room of its own.
type Running = Option<NonZeroU32>;

/// A time that begins to run.
const BEGUN: NonZeroU32 = NonZeroU32::MIN;

/// The running times of one connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Deadlines {
    login: Running,
    frame: Running,
    blocked: Running,
    closing: Running,
    silent: u32,
    pings: u8,
}

impl Deadlines {
    /// Those of a connection that has just been made.
    pub fn connected() -> Self {
        Deadlines { login: Some(BEGUN), ..Deadlines::default() }
    }

    /// Someone has logged in.
    pub fn session_opened(&mut self) {
        self.login = None;
    }

    /// The peer has sent something.
    pub fn heard(&mut self) {
        (self.silent, self.pings) = (0, 0);
    }

    /// Whether a frame is begun and not complete.
    pub fn frame_is_open(&mut self, open: bool) {
        self.frame = open.then(|| self.frame.unwrap_or(BEGUN));
    }

    /// A frame is complete; what follows it is counted afresh.
    pub fn frame_completed(&mut self) {
        self.frame = None;
    }

    /// The socket takes nothing more.
    pub fn write_blocked(&mut self) {
        self.blocked.get_or_insert(BEGUN);
    }

    /// The socket has taken something.
    pub fn write_moved(&mut self) {
        self.blocked = None;
    }

    /// Goodbye is said.
    pub fn closing(&mut self) {
        *self = Deadlines { closing: Some(BEGUN), ..Deadlines::default() };
    }

    /// One tick has passed. `reading` is whether the server reads from this connection: silence that it does
    /// not listen to does not count.
    pub fn tick(&mut self, timeouts: &Timeouts, reading: bool) -> Due {
        if self.closing.is_some() {
            let is_over = has_run_out(&mut self.closing, Some(timeouts.close.saturating_add(1)));
            return if is_over { Due::Drop } else { Due::Nothing };
        }
        if has_run_out(&mut self.blocked, timeouts.write) {
            return Due::End(ErrorCode::SlowConsumer);
        }
        if has_run_out(&mut self.login, timeouts.login) {
            return Due::End(ErrorCode::LoginTimeout);
        }
        if !reading {
            return Due::Nothing;
        }
        if has_run_out(&mut self.frame, timeouts.frame) {
            return Due::End(ErrorCode::IdleTimeout);
        }
        self.silent += 1;
        match timeouts.silence {
            Some(silence) if self.silent >= silence => {
                self.silent = 0;
                self.pings += 1;
                if self.pings > UNANSWERED_PINGS { Due::End(ErrorCode::IdleTimeout) } else { Due::Ping }
            }
            _ => Due::Nothing,
        }
    }
}

/// Counts a tick of a time that runs; whether it has run out.
fn has_run_out(running: &mut Running, limit: Option<u32>) -> bool {
    let (Some(ticks), Some(limit)) = (running, limit) else { return false };
    *ticks = ticks.saturating_add(1);
    ticks.get() > limit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeouts() -> Timeouts {
        Timeouts::new(&Limits {
            login_timeout_seconds: 10,
            frame_timeout_seconds: 2,
            ping_after_seconds: 60,
            write_timeout_seconds: 4,
            close_timeout_seconds: 2,
            ..Limits::default()
        })
    }

    /// The first thing that is due, and after how many ticks.
    fn first_due(deadlines: &mut Deadlines, reading: bool) -> Option<(u32, Due)> {
        (1..1_000).find_map(|tick| match deadlines.tick(&timeouts(), reading) {
            Due::Nothing => None,
            due => Some((tick, due)),
        })
    }

    #[test]
    fn nobody_logs_in() {
        let mut deadlines = Deadlines::connected();
        deadlines.heard();
        assert_eq!(first_due(&mut deadlines, true), Some((20, Due::End(ErrorCode::LoginTimeout))));
    }

    #[test]
    fn a_silent_peer_is_pinged_twice_and_let_go() {
        let mut deadlines = Deadlines::connected();
        deadlines.session_opened();
        assert_eq!(first_due(&mut deadlines, true), Some((120, Due::Ping)));
        assert_eq!(first_due(&mut deadlines, true), Some((120, Due::Ping)));
        assert_eq!(first_due(&mut deadlines, true), Some((120, Due::End(ErrorCode::IdleTimeout))));
    }

    #[test]
    fn a_peer_that_answers_stays_and_one_that_is_not_read_is_not_blamed() {
        let mut deadlines = Deadlines::default();
        for _ in 0..5 {
            assert_eq!(first_due(&mut deadlines, true), Some((120, Due::Ping)));
            deadlines.heard();
        }
        deadlines.frame_is_open(true);
        assert_eq!(first_due(&mut deadlines, false), None);
    }

    #[test]
    fn a_frame_is_due_from_its_first_byte() {
        let mut deadlines = Deadlines::default();
        deadlines.frame_is_open(true);
        for _ in 0..3 {
            assert_eq!(deadlines.tick(&timeouts(), true), Due::Nothing);
            deadlines.heard();
            deadlines.frame_is_open(true);
        }
        assert_eq!(deadlines.tick(&timeouts(), true), Due::End(ErrorCode::IdleTimeout));
    }

    #[test]
    fn a_blocked_write_is_a_slow_consumer_even_when_it_talks() {
        let mut deadlines = Deadlines::default();
        deadlines.write_blocked();
        deadlines.write_blocked();
        assert_eq!(first_due(&mut deadlines, false), Some((7, Due::End(ErrorCode::SlowConsumer))));
    }

    #[test]
    fn who_does_not_go_is_dropped() {
        let mut deadlines = Deadlines::connected();
        deadlines.closing();
        assert_eq!(first_due(&mut deadlines, false), Some((5, Due::Drop)));
    }
}
