//! A room: who is in it, what was said last, and who is told of who comes and goes.

pub mod members;
pub mod presence;
pub mod recent;
