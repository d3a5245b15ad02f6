//! A room's newest messages in memory, and the page that someone who joins gets.
//!
//! Most joins are answered from here. One that reaches further back is answered from the history, which
//! takes a moment; what was said in that moment is in the window, so page and events meet without a gap and
//! without a repeat ([`RecentMessages::complete`]).

use std::collections::VecDeque;

use crate::model::{MessageId, MessagePage, Page, StoredMessage};

/// The newest messages of a room that have been delivered, oldest first.
#[derive(Debug)]
pub struct RecentMessages {
    messages: VecDeque<StoredMessage>,
    capacity: usize,
    /// The newest message that had to make room.
    evicted: Option<MessageId>,
}

impl RecentMessages {
    /// An empty window for at most `capacity` messages.
    pub fn new(capacity: usize) -> Self {
        RecentMessages { messages: VecDeque::new(), capacity: capacity.max(1), evicted: None }
    }

    /// How many messages it holds.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The newest message that was delivered, as far as the window knows.
    pub fn newest(&self) -> Option<MessageId> {
        self.messages.back().map(|message| message.id)
    }

    /// Takes in a message that is being delivered.
    pub fn push(&mut self, message: StoredMessage) {
        if self.messages.len() == self.capacity {
            self.evicted = self.messages.pop_front().map(|message| message.id);
        }
        self.messages.push_back(message);
    }

    /// The page for a join, when the window has all of it.
    pub fn page(&self, page: Page, limit: usize) -> Option<MessagePage> {
        let oldest = self.messages.front()?;
        match page {
            Page::After(after) if oldest.prev <= after => Some(self.after(after, limit)),
            Page::Newest if oldest.prev.is_none() || self.messages.len() >= limit => {
                let skipped = self.messages.len().saturating_sub(limit);
                let messages = self.messages.iter().skip(skipped).cloned().collect();
                Some(MessagePage { messages, more: skipped > 0 || oldest.prev.is_some() })
            }
            _ => None,
        }
    }

    fn after(&self, after: Option<MessageId>, limit: usize) -> MessagePage {
        let mut rest = self.messages.iter().filter(|message| Some(message.id) > after);
        let messages = rest.by_ref().take(limit).cloned().collect();
        MessagePage { messages, more: rest.next().is_some() }
    }

    /// Makes the page for a join out of one that was read from the history: what was delivered since then
    /// goes behind it. `None` when more was delivered meanwhile than the window holds; read again then.
    pub fn complete(&self, read: MessagePage, page: Page, limit: usize) -> Option<MessagePage> {
        let MessagePage { mut messages, more } = read;
        let floor = if let Page::After(after) = page { after } else { None };
        if more && matches!(page, Page::After(_)) {
            messages.truncate(limit);
            return Some(MessagePage { messages, more });
        }
        let last = messages.last().map(|message| message.id).max(floor);
        if self.evicted > last {
            return None;
        }
        messages.extend(self.messages.iter().filter(|message| Some(message.id) > last).cloned());
        let surplus = messages.len().saturating_sub(limit);
        match page {
            Page::After(_) => messages.truncate(limit),
            Page::Newest | Page::Before(_) => drop(messages.drain(..surplus)),
        }
        Some(MessagePage { messages, more: more || surplus > 0 })
    }

    /// Takes in older messages that were read from the history, when they join up with what is here.
    pub fn prefill(&mut self, read: &MessagePage) {
        let oldest = self.messages.front().map(|message| (message.id, message.prev));
        let older = read.messages.iter().filter(|message| oldest.is_none_or(|(id, _)| message.id < id));
        let older: Vec<_> = older.collect();
        let joins_up = match (oldest, older.last()) {
            (Some((_, prev)), Some(last)) => prev == Some(last.id),
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if joins_up {
            for message in older.into_iter().rev().take(self.capacity - self.messages.len()) {
                self.messages.push_front(message.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MessageKind, MessageText, RoomName, StoredMessage, Target, Timestamp, UserName};
    use proptest::prelude::*;

    fn id(number: u64) -> Option<MessageId> {
        MessageId::new(number)
    }

    /// The room's message number `n`; ids are 10, 20, 30 …
    fn message(n: u64) -> StoredMessage {
        StoredMessage {
            id: id(n * 10).expect("n is not zero"),
            prev: id((n - 1) * 10),
            at: Timestamp::from_millis(0),
            target: Target::Room(RoomName::lobby()),
            from: UserName::parse("alice").expect("a name"),
            kind: MessageKind::Text(MessageText::parse("x").expect("a text")),
            key: None,
        }
    }

    fn numbers(page: &MessagePage) -> Vec<u64> {
        page.messages.iter().map(|message| message.id.get() / 10).collect()
    }

    /// What the history would give for a page, when the room has messages 1 to `newest`.
    fn read(newest: u64, page: Page, limit: usize) -> MessagePage {
        let all: Vec<_> = (1..=newest).collect();
        let (chosen, more): (Vec<u64>, bool) = match page {
            Page::After(after) => {
                let behind: Vec<_> =
                    all.into_iter().filter(|n| *n * 10 > MessageId::or_zero(after)).collect();
                (behind.iter().take(limit).copied().collect(), behind.len() > limit)
            }
            _ => (all.iter().rev().take(limit).rev().copied().collect(), all.len() > limit),
        };
        MessagePage { messages: chosen.into_iter().map(message).collect(), more }
    }

    #[test]
    fn an_empty_window_asks_the_history() {
        assert!(RecentMessages::new(5).page(Page::Newest, 0).is_none());
        assert!(RecentMessages::new(5).page(Page::After(None), 5).is_none());
    }

    #[test]
    fn a_window_that_was_outrun_says_so() {
        let mut window = RecentMessages::new(2);
        let page = read(3, Page::Newest, 3);
        (4..=9).for_each(|n| window.push(message(n)));
        assert!(window.complete(page, Page::Newest, 3).is_none());
    }

    proptest! {
        /// Whatever was delivered before and during the read, the page is what a reader at the moment of
        /// joining would have seen.
        #[test]
        fn page_and_events_meet(
            capacity in 1_usize..8, stored in 0_u64..12, before in 0_u64..6, during in 0_u64..6,
            limit in 0_usize..10, after in prop::option::of(0_u64..20), prefill in any::<bool>(),
        ) {
            let page = after.map_or(Page::Newest, |n| Page::After(id(n * 10)));
            let mut window = RecentMessages::new(capacity);
            (stored + 1..=stored + before).for_each(|n| window.push(message(n)));
            // A room reads at least a window's worth of the newest.
            let reach = if page == Page::Newest { limit.max(capacity) } else { limit };
            let from_history = read(stored + before, page, reach);
            if prefill {
                window.prefill(&read(stored + before, Page::Newest, capacity));
            }
            let total = stored + before + during;
            (stored + before + 1..=total).for_each(|n| window.push(message(n)));
            let expected = read(total, page, limit);
            let completed = window.complete(from_history, page, limit);
            let outran = during > capacity as u64;
            prop_assert!(completed.is_some() || outran, "a window that has all that was said meanwhile does");
            for made in [window.page(page, limit), completed].into_iter().flatten() {
                prop_assert_eq!(numbers(&made), numbers(&expected));
                prop_assert_eq!(made.more, expected.more);
            }
        }
    }
}
