//! Ids that name what lives while the process does: threads, connections, rooms, requests. None is a bare number.

use std::sync::atomic::{AtomicU64, Ordering};

use super::UserName;

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
