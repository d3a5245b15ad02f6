//! How much of something anybody may do, and whose turn it is.

pub mod budget;
pub mod crowd;
pub mod fair_queue;
pub mod owner_queue;
pub mod rate;
