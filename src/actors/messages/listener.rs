//! What is said to the ListenerActor.

use actix::Message;

handle! {
    /// Who takes connections.
    ListenerHandle, ListenerWays {
        closed: Closed,
        set_listening: SetListening,
        ask: AskListener,
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

/// ConsoleActor → ListenerActor: how things stand.
#[derive(Debug, Message)]
#[rtype(result = "ListenerStatus")]
pub struct AskListener;

/// The listener's part of `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerStatus {
    /// The addresses that are bound, `HOST:PORT`.
    pub addresses: Vec<String>,
    /// Whether connections are taken.
    pub listening: bool,
    /// Connections that are open.
    pub connections: usize,
}

/// Server → ListenerActor: take no more connections; those that wait are told that the server stops.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct StopListening;
