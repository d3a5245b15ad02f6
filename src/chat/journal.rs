//! The order: which message was sent twice, when a batch waits for company, and whose ids these are.

pub mod idempotency;
pub mod linger;
pub mod terms;
