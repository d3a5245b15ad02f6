//! All that crosses an actor's boundary: for each message who sends it, what comes back, and what happens
//! when it cannot be taken.
//!
//! Two habits hold everywhere. One-way messages are sent with `do_send`, because `send` with its future
//! dropped is cancelled; their order from one sender to one receiver is kept, and the protocol's promises
//! rest on that. And nothing here is bounded by a mailbox (they bound nothing): the bounds are the requests
//! that a session may have unanswered, and the journal's queue.
//!
//! Ids that name an actor's things (a connection, a room, a ticket) are types of their own, never a bare
//! number.

pub mod auth;
pub mod chat;
pub mod console;
pub mod operator;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::UserName;

/// Which I/O thread a connection lives on: the index of its `FanoutActor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IoThread(pub usize);

/// One connection, never used twice while the process lives. One word: the thread in the low bits, the
/// connection's number above them, so that the maps that hold thousands of them stay small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// Threads that an id has room for; the configuration allows no more.
    const THREAD_BITS: u32 = 10;

    /// A fresh connection on this thread.
    pub fn fresh(thread: IoThread) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        ConnectionId(number << Self::THREAD_BITS | thread.0 as u64)
    }

    /// Where it lives.
    pub fn thread(self) -> IoThread {
        let thread = self.0 & ((1 << Self::THREAD_BITS) - 1);
        IoThread(thread as usize)
    }
}

impl std::fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{}", self.0 >> Self::THREAD_BITS)
    }
}

/// One live room: a name's room, for as long as someone is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId(pub u64);

/// The place of a request among the unanswered ones of its connection; its reply goes there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Where the reply to a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReplyTo {
    /// The connection that asked.
    pub connection: ConnectionId,
    /// The request.
    pub ticket: Ticket,
}

/// Someone who is, or wants to be, in a room: an account on one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The account.
    pub account: UserName,
    /// The connection.
    pub connection: ConnectionId,
}
