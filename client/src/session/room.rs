//! A room as this client knows it.

use std::collections::VecDeque;

use super::Show;
use super::put_back::Moments;
use super::timeline::Timeline;

/// Where a room stands on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Not asked for yet.
    Wanted,
    /// `join` is on its way.
    Asked,
    /// Joined; pages of the past are on their way, events are held until they are there.
    Paging,
    /// Joined, events are shown as they come.
    In,
    /// `leave` is on its way.
    Leaving,
}

/// A room that this session is in or wants to be in.
#[derive(Debug)]
pub struct Room {
    /// Where it stands.
    pub stage: Stage,
    /// What was seen of it.
    pub timeline: Timeline,
    /// When it was said.
    pub moments: Moments,
    /// Whether it was joined before: then `join` goes on after the cursor.
    pub known: bool,
    /// Whether the history was put back since: then `join` gives the newest messages, and the cursor begins
    /// there.
    pub anew: bool,
    /// Events that wait for the pages before them.
    pub held: VecDeque<Show>,
    /// Held events were dropped: the next page that ends the past is not the end yet.
    pub overflowed: bool,
    /// A page that closes a gap is on its way.
    pub filling: bool,
    /// The person wants to be out of it: it is left when what was said in it has its receipts.
    pub unwanted: bool,
    /// The person was told that it cannot be entered yet.
    pub delayed: bool,
}

impl Room {
    /// A room that is wanted for the first time.
    pub fn new() -> Self {
        Room {
            stage: Stage::Wanted,
            timeline: Timeline::default(),
            moments: Moments::default(),
            known: false,
            anew: false,
            held: VecDeque::new(),
            overflowed: false,
            filling: false,
            unwanted: false,
            delayed: false,
        }
    }

    /// The connection is gone, and this session is in no room.
    pub fn disconnected(&mut self) {
        // What is held was not shown and the timeline does not know it: the rejoin brings it again.
        (self.stage, self.overflowed, self.filling) = (Stage::Wanted, false, false);
        self.held.clear();
    }
}
