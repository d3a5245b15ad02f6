//! The replies of one connection leave in the order of its requests, whatever order they become ready in.
//!
//! `say` and `tell` may be under way together; any other request that takes time waits until it is alone
//! (see [`Replies::may_begin`]), which is what keeps `joined`, the reply to `leave`, and everything else that
//! changes a session in its place among the events. A request's `ref` lives here and nowhere else.

use std::collections::VecDeque;

use crate::model::{Reference, Ticket};

/// One unanswered request.
#[derive(Debug)]
struct Slot<R> {
    reference: Option<Reference>,
    reply: Option<R>,
}

/// The unanswered requests of one connection, oldest first.
#[derive(Debug)]
pub struct Replies<R> {
    slots: VecDeque<Slot<R>>,
    /// The number of the first slot.
    first: u64,
    /// Whether the newest request is one that must be alone.
    exclusive: bool,
}

/// How a request goes together with those under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concurrency {
    /// It is answered on the spot.
    Immediate,
    /// It may be under way with others of its kind.
    Pipelined,
    /// It waits until nothing is under way, and nothing begins until it is answered.
    Exclusive,
}

impl<R> Default for Replies<R> {
    fn default() -> Self {
        Replies { slots: VecDeque::new(), first: 0, exclusive: false }
    }
}

impl<R> Replies<R> {
    /// Whether a request of this kind may begin now.
    pub fn may_begin(&self, concurrency: Concurrency) -> bool {
        match concurrency {
            Concurrency::Exclusive => self.slots.is_empty(),
            Concurrency::Immediate | Concurrency::Pipelined => !self.exclusive,
        }
    }

    /// Begins a request: where its reply goes.
    pub fn begin(&mut self, reference: Option<Reference>, concurrency: Concurrency) -> Ticket {
        self.exclusive = concurrency == Concurrency::Exclusive;
        self.slots.push_back(Slot { reference, reply: None });
        Ticket(self.first + self.slots.len() as u64 - 1)
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
    pub fn reference(&self, ticket: Ticket) -> Option<&Reference> {
        self.slots.get(self.position(ticket)?)?.reference.as_ref()
    }

    /// Takes the reply to a request; whether one was due.
    pub fn answer(&mut self, ticket: Ticket, reply: R) -> bool {
        let slot = self.position(ticket).and_then(|position| self.slots.get_mut(position));
        let Some(slot) = slot.filter(|slot| slot.reply.is_none()) else { return false };
        slot.reply = Some(reply);
        true
    }

    /// Takes the oldest request's reply off, if it is there.
    pub fn pop_ready(&mut self) -> Option<R> {
        self.slots.front()?.reply.as_ref()?;
        let reply = self.slots.pop_front()?.reply;
        self.first += 1;
        if self.slots.is_empty() {
            self.close();
        }
        reply
    }

    /// Forgets what is unanswered: nobody will hear the replies.
    pub fn close(&mut self) {
        self.first += self.slots.len() as u64;
        self.exclusive = false;
        // An idle session shall not keep the room that a busy hour needed.
        self.slots = VecDeque::new();
    }

    fn position(&self, ticket: Ticket) -> Option<usize> {
        usize::try_from(ticket.0.checked_sub(self.first)?).ok()
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
                prop_assert_eq!(replies.begin(None, Concurrency::Pipelined), Ticket(number));
            }
            let mut sent = Vec::new();
            for number in order {
                prop_assert!(replies.answer(Ticket(number), number));
                sent.extend(std::iter::from_fn(|| replies.pop_ready()));
            }
            prop_assert_eq!(sent, (0..20).collect::<Vec<_>>());
            prop_assert!(replies.is_empty());
        }
    }

    #[test]
    fn what_must_be_alone_is_alone() {
        let mut replies = Replies::default();
        let say = replies.begin(None, Concurrency::Pipelined);
        assert!(replies.may_begin(Concurrency::Pipelined) && !replies.may_begin(Concurrency::Exclusive));
        replies.answer(say, "ok");
        assert_eq!(replies.pop_ready(), Some("ok"));
        assert!(replies.may_begin(Concurrency::Exclusive));
        let join = replies.begin(None, Concurrency::Exclusive);
        assert!(!replies.may_begin(Concurrency::Pipelined) && !replies.may_begin(Concurrency::Immediate));
        replies.answer(join, "joined");
        assert_eq!(replies.pop_ready(), Some("joined"));
        assert!(replies.may_begin(Concurrency::Immediate));
    }

    #[test]
    fn a_reply_to_nothing_is_passed_over() {
        let mut replies = Replies::default();
        assert!(!replies.answer(Ticket(7), ()), "nobody asked");
        let ticket = replies.begin(Reference::parse("r"), Concurrency::Exclusive);
        assert_eq!(replies.reference(ticket).map(Reference::as_str), Some("r"));
        assert!(replies.answer(ticket, ()));
        assert!(!replies.answer(ticket, ()), "answered already");
        assert_eq!(replies.pop_ready(), Some(()));
        assert!(!replies.answer(ticket, ()), "answered and gone");
        assert_eq!(replies.pop_ready(), None);
    }

    #[test]
    fn nobody_hears_a_reply_that_comes_after_the_end() {
        let mut replies = Replies::default();
        let say = replies.begin(None, Concurrency::Pipelined);
        replies.close();
        assert!(!replies.answer(say, ()));
        assert_ne!(replies.begin(None, Concurrency::Pipelined), say, "no ticket is given twice");
    }
}
