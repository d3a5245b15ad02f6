//! What has been seen of one room, so that nothing is shown twice and nothing is missed.
//!
//! Every message names the one before it (`prev`), so the messages of a room form a chain. The timeline
//! follows that chain: up to its *cursor* everything is known; ids beyond it wait in `ahead` until the link
//! to them is there. Receipts of one's own messages are links too, and may come after larger ids.

use std::collections::BTreeMap;

/// The part of a room's chain that this client knows. Ids are those of the wire, 0 is "before the first".
#[derive(Debug, Default)]
pub struct Timeline {
    cursor: u64,
    /// id → prev, of what is known beyond the cursor.
    ahead: BTreeMap<u64, u64>,
}

impl Timeline {
    /// The id up to which everything is known: where a rejoin goes on.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Begins at this id: whatever lies before it is not our concern.
    pub fn begin(&mut self, id: u64) {
        self.cursor = self.cursor.max(id);
        self.ahead = self.ahead.split_off(&(self.cursor + 1));
        self.advance();
    }

    /// Takes an event or a receipt; true when it is new.
    pub fn link(&mut self, id: u64, prev: u64) -> bool {
        if self.knows(id) {
            return false;
        }
        self.ahead.insert(id, prev);
        self.advance();
        true
    }

    /// Takes the next message of a page that was read from the cursor on; true when it is new.
    pub fn page(&mut self, id: u64) -> bool {
        let new = !self.knows(id);
        self.begin(id);
        new
    }

    /// Whether something lies between the cursor and what is known beyond it.
    pub fn has_gap(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// The largest id that is known.
    pub fn newest(&self) -> u64 {
        self.ahead.last_key_value().map_or(self.cursor, |(id, _)| *id)
    }

    fn knows(&self, id: u64) -> bool {
        id <= self.cursor || self.ahead.contains_key(&id)
    }

    fn advance(&mut self) {
        while let Some(first) = self.ahead.first_entry()
            && *first.get() <= self.cursor
        {
            self.cursor = *first.key();
            first.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_receipt_that_comes_late_is_no_gap_for_ever() {
        let mut timeline = Timeline::default();
        timeline.begin(5);
        assert!(timeline.link(6, 5));
        assert!(timeline.link(8, 7), "7 is our own, its receipt is still under way");
        assert_eq!((timeline.cursor(), timeline.has_gap()), (6, true));
        assert!(timeline.link(7, 6));
        assert_eq!((timeline.cursor(), timeline.has_gap()), (8, false));
        assert!(!timeline.link(8, 7), "a repeat");
    }

    #[test]
    fn a_page_closes_a_gap_even_where_the_chain_is_broken() {
        let mut timeline = Timeline::default();
        timeline.begin(5);
        assert!(timeline.link(20, 12));
        assert!(timeline.page(9));
        assert!(!timeline.page(20), "shown already");
        assert_eq!((timeline.cursor(), timeline.has_gap()), (20, false));
    }

    proptest! {
        /// However receipts and repeats fall, each id is new exactly once and the cursor reaches the end.
        #[test]
        fn each_is_new_once(order in Just((1_u64..40).collect::<Vec<_>>()).prop_shuffle()) {
            let mut timeline = Timeline::default();
            for id in &order {
                prop_assert!(timeline.link(*id, id - 1));
                prop_assert!(!timeline.link(*id, id - 1));
            }
            prop_assert_eq!(timeline.cursor(), 39);
        }
    }
}
