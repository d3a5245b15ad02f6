//! Which direct messages were shown already.
//!
//! Direct messages of several people have no common order on the way, so a single cursor would lose some.
//! After a lost connection the client reads a little more than it needs and drops what it knows.

use std::collections::{BTreeSet, VecDeque};

use super::put_back::Moments;
use super::{HELD_EVENTS, Show};

/// Ids that are remembered one by one; older ones count as seen.
const REMEMBERED: usize = 1_000;
/// How far a new reading reaches back over what was seen, in messages.
const OVERLAP: usize = 64;

/// Why the inbox is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// For what came while nobody was here: a person wants to see it.
    Missed,
    /// For its end only: a script's time begins with its login, and what lies there is from before it.
    Before,
    /// For what came while the connection was lost.
    Lost,
}

/// The direct messages that were seen.
#[derive(Debug, Default)]
pub struct Inbox {
    /// When the direct messages were written that were seen.
    pub moments: Moments,
    /// Everything up to this id counts as seen.
    floor: u64,
    seen: BTreeSet<u64>,
    /// What lies in the inbox up to this id is from before our time. Not so what comes live: an event may
    /// come behind the page that has it.
    old_upto: u64,
    /// Whether `old_upto` is final.
    begun: bool,
    /// Whether pages are on their way; what comes live waits for them.
    reading: bool,
    held: VecDeque<Show>,
    /// What was held became too much and was dropped: the pages have to go on until they have it.
    overflowed: bool,
}

impl Inbox {
    /// What lies there up to this id is not our concern.
    pub fn pass_over(&mut self, id: u64) {
        self.old_upto = self.old_upto.max(id);
    }

    /// It is known where our time begins.
    pub fn begin(&mut self) {
        self.begun = true;
    }

    /// Whether it is known where our time begins.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Notes a message of a page; true when it is new.
    pub fn take_past(&mut self, id: u64) -> bool {
        id > self.old_upto && self.take(id)
    }

    /// Notes a message that came live, or a receipt; true when it is new.
    pub fn take(&mut self, id: u64) -> bool {
        if id <= self.floor || !self.seen.insert(id) {
            return false;
        }
        if self.seen.len() > REMEMBERED
            && let Some(oldest) = self.seen.pop_first()
        {
            self.floor = oldest;
        }
        true
    }

    /// Pages are asked for.
    pub fn start_reading(&mut self) {
        self.reading = true;
    }

    /// Keeps a live message while pages are on their way; gives it back when none are.
    pub fn hold(&mut self, show: Show) -> Option<Show> {
        if !self.reading {
            return Some(show);
        }
        if self.held.len() >= HELD_EVENTS {
            self.held.clear();
            self.overflowed = true;
        }
        self.held.push_back(show);
        None
    }

    /// The last page is there: what was held, unless another page is needed.
    pub fn stop_reading(&mut self) -> Option<VecDeque<Show>> {
        if std::mem::take(&mut self.overflowed) {
            return None;
        }
        self.reading = false;
        Some(std::mem::take(&mut self.held))
    }

    /// The ids here are of another history. What is held is of this one.
    pub fn forget(&mut self) {
        (self.floor, self.old_upto) = (0, 0);
        self.seen.clear();
    }

    /// Gives back what was held, without a page that would have it.
    pub fn release(&mut self) -> VecDeque<Show> {
        (self.reading, self.overflowed) = (false, false);
        std::mem::take(&mut self.held)
    }

    /// The connection is gone. What is held was not taken: the next reading brings it.
    pub fn disconnected(&mut self) {
        (self.reading, self.overflowed) = (false, false);
        self.held.clear();
    }

    /// Where to read on, to begin with or after a lost connection.
    pub fn read_from(&self) -> u64 {
        self.seen.iter().rev().nth(OVERLAP).copied().unwrap_or(self.floor).max(self.old_upto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_new_once_in_any_order_and_memory_is_bounded() {
        let mut inbox = Inbox::default();
        inbox.pass_over(10);
        assert!(!inbox.take_past(10) && inbox.take_past(13) && !inbox.take(13));
        assert!(inbox.take(10) && !inbox.take(10), "what comes live is of our time");
        assert!(inbox.take(12) && inbox.take(11) && !inbox.take(12));
        assert_eq!(inbox.read_from(), 10);
        for id in 14..5_000 {
            assert!(inbox.take(id));
        }
        assert_eq!(inbox.seen.len(), REMEMBERED);
        assert!(!inbox.take(11));
        assert_eq!(inbox.read_from(), 4_999 - 64);
    }
}
