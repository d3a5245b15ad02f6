//! Everything that crosses an actor's boundary, in a file for each actor that receives it. Each message says
//! who sends it, what the reply is, and what happens when it cannot be taken.

pub mod auth;
