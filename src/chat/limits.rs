//! How much of something anybody may do, and whose turn it is.

pub mod address_key;
pub mod crowd;
pub mod failure_window;
pub mod fair_queue;
pub mod keyed_rate_limiter;
pub mod owner_queue;
pub mod rate_limiter;
