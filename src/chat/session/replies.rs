//! The replies of one connection leave in the order of its requests, whatever order they become ready in.
//!
//! `say` and `tell` may be under way together; any other request that takes time waits until it is alone
//! (see [`Replies::may_begin`]), which is what keeps `joined`, the reply to `leave`, and everything else that
//! changes a session in its place among the events.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::model::Reference;

/// One unanswered request.
#[derive(Debug)]
struct Slot {
    reference: Option<Reference>,
    reply: Option<Bytes>,
}

/// The unanswered requests of one connection, oldest first.
#[derive(Debug, Default)]
pub struct Replies {
    slots: VecDeque<Slot>,
    /// The number of the first slot.
    first: u64,
    /// Whether the newest request is one that must be alone.
    alone: bool,
}

/// How a request goes together with those under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concurrency {
    /// It is answered on the spot.
    Instant,
    /// It may be under way with others of its kind.
    Pipelined,
    /// It waits until nothing is under way, and nothing begins until it is answered.
    Alone,
}

impl Replies {
    /// Whether a request of this kind may begin now.
    pub fn may_begin(&self, company: Concurrency) -> bool {
        match company {
            Concurrency::Alone => self.slots.is_empty(),
            Concurrency::Instant | Concurrency::Pipelined => !self.alone,
        }
    }

    /// Begins a request; its number, for [`Replies::answer`].
    pub fn begin(&mut self, reference: Option<Reference>, company: Concurrency) -> u64 {
        self.alone = company == Concurrency::Alone;
        self.slots.push_back(Slot { reference, reply: None });
        self.first + self.slots.len() as u64 - 1
    }

    /// How many requests are unanswered.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether every request is answered.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The `ref` of an unanswered request.
    pub fn reference(&self, number: u64) -> Option<&Reference> {
        self.slots.get(self.position(number)?)?.reference.as_ref()
    }

    /// Takes the reply to a request in, and hands every reply whose turn it is to `send`. A number that is
    /// not open is passed over.
    pub fn answer(&mut self, number: u64, reply: Bytes, mut send: impl FnMut(Bytes)) {
        if let Some(slot) = self.position(number).and_then(|position| self.slots.get_mut(position)) {
            slot.reply = Some(reply);
        }
        while let Some(Slot { reply: Some(_), .. }) = self.slots.front() {
            if let Some(Slot { reply: Some(reply), .. }) = self.slots.pop_front() {
                self.first += 1;
                send(reply);
            }
        }
        if self.slots.is_empty() {
            self.alone = false;
            self.slots = VecDeque::new();
        }
    }

    fn position(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn replies_leave_in_the_order_of_requests(order in Just((0..20_u64).collect::<Vec<_>>()).prop_shuffle()) {
            let mut replies = Replies::default();
            for number in 0..20 {
                prop_assert_eq!(replies.begin(None, Concurrency::Pipelined), number);
            }
            let mut sent = Vec::new();
            for number in order {
                replies.answer(number, Bytes::from(vec![number as u8]), |reply| sent.push(reply[0]));
            }
            prop_assert_eq!(sent, (0..20).collect::<Vec<u8>>());
            prop_assert!(replies.is_empty());
        }
    }

    #[test]
    fn what_must_be_alone_is_alone() {
        let mut replies = Replies::default();
        let say = replies.begin(None, Concurrency::Pipelined);
        assert!(replies.may_begin(Concurrency::Pipelined) && !replies.may_begin(Concurrency::Alone));
        replies.answer(say, Bytes::new(), |_| {});
        assert!(replies.may_begin(Concurrency::Alone));
        let join = replies.begin(None, Concurrency::Alone);
        assert!(!replies.may_begin(Concurrency::Pipelined) && !replies.may_begin(Concurrency::Instant));
        replies.answer(join, Bytes::new(), |_| {});
        assert!(replies.may_begin(Concurrency::Instant));
    }

    #[test]
    fn a_reply_to_nothing_is_passed_over() {
        let mut replies = Replies::default();
        replies.answer(7, Bytes::new(), |_| panic!("nobody asked"));
        let number = replies.begin(Reference::parse("r"), Concurrency::Alone);
        assert_eq!(replies.reference(number).map(Reference::as_str), Some("r"));
        replies.answer(number, Bytes::new(), |_| {});
        replies.answer(number, Bytes::new(), |_| panic!("answered already"));
    }
}
