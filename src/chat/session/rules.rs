//! What the sessions of a server may do, and how fast.

use std::cell::Cell;
use std::sync::Arc;

use crate::chat::limits::rate_limiter::Rate;
use crate::config::Limits;

/// How many seconds' worth of messages an account may send at once.
pub const MESSAGE_BURST_SECONDS: u32 = 3;
/// How many seconds' worth of other requests a connection may make at once.
pub const REQUEST_BURST_SECONDS: u32 = 2;

/// The rules that all sessions of a thread go by.
#[derive(Debug)]
pub struct SessionRules {
    /// Every bound.
    pub limits: Arc<Limits>,
    /// How fast an account may send messages.
    pub message_rate: Option<Rate>,
    /// How fast an account may enter rooms.
    pub join_rate: Option<Rate>,
    /// How fast an account may try to change its password.
    pub password_rate: Option<Rate>,
    /// How fast a connection may ask for anything else.
    pub request_rate: Option<Rate>,
    /// Whether the server stops: whatever is asked is refused.
    pub stopping: Cell<bool>,
}

impl SessionRules {
    /// The rules that these limits ask for.
    pub fn new(limits: &Limits) -> Self {
        let burst_of_seconds = |per_second: u32, seconds: u32| {
            Rate::per_second(per_second).map(|rate| rate.with_burst(per_second.saturating_mul(seconds)))
        };
        SessionRules {
            message_rate: burst_of_seconds(limits.messages_per_second, MESSAGE_BURST_SECONDS),
            join_rate: Rate::per_minute(limits.joins_per_minute)
                .map(|rate| rate.with_burst_of_at_least(limits.rooms_per_session)),
            password_rate: Rate::per_minute(limits.password_changes_per_minute),
            request_rate: burst_of_seconds(limits.requests_per_second, REQUEST_BURST_SECONDS),
            stopping: Cell::new(false),
            limits: Arc::new(limits.clone()),
        }
    }
}
