//! What is said to the ListenerActor.

use actix::Message;
use serde::Serialize;

use super::observe::Observe;

handle! {
    /// Who takes connections.
    ListenerHandle, ListenerWays {
        closed: Closed,
        set_listening: SetListening,
        observe: Observe<ListenerSnapshot>,
        stop: StopListening,
    }
}

/// SessionActor → ListenerActor: a connection has ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Closed {
    /// The peer.
    pub peer: std::net::SocketAddr,
    /// Whether it was one that might not stay.
    pub refused: bool,
}

/// ConsoleActor → ListenerActor: take connections (`true`) or let them wait (`false`). Answers whether that
/// changed anything.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub struct SetListening(pub bool);

/// What the listener tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListenerSnapshot {
    /// The addresses that are bound, `HOST:PORT`.
    pub addresses: Vec<String>,
    /// Whether connections are taken.
    pub listening: bool,
    /// Connections that are open and may stay.
    pub connections: usize,
    /// Connections that are being told that they may not stay.
    pub refusing: usize,
    /// Addresses that the open connections come from.
    pub peer_addresses: usize,
    /// Connections that wait for their thread to take them over.
    pub newcomers: usize,
    /// Connections that there are descriptors for.
    pub max_connections: usize,
    /// Connections that were let in since the start.
    pub accepted: u64,
    /// Connections that were refused since the start.
    pub refused: u64,
}

/// Server → ListenerActor: take no more connections; those that wait are told that the server stops.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct StopListening;
