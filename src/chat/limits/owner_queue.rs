//! A queue in which nobody stands behind another's crowd: jobs are served in turn by whose they are.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Jobs that wait, by whose they are.
#[derive(Debug)]
pub struct OwnerQueue<K, J> {
    /// Whoever has a job waits in `ring` exactly once.
    queues: HashMap<K, VecDeque<J>>,
    ring: VecDeque<K>,
    jobs: usize,
}

impl<K, J> Default for OwnerQueue<K, J> {
    fn default() -> Self {
        OwnerQueue { queues: HashMap::new(), ring: VecDeque::new(), jobs: 0 }
    }
}

impl<K: Hash + Eq + Clone, J> OwnerQueue<K, J> {
    /// Puts a job behind those of the same owner.
    pub fn push(&mut self, owner: K, job: J) {
        let queue = self.queues.entry(owner.clone()).or_default();
        if queue.is_empty() {
            self.ring.push_back(owner);
        }
        queue.push_back(job);
        self.jobs += 1;
    }

    /// The next job: the oldest one of whoever's turn it is.
    pub fn pop(&mut self) -> Option<J> {
        let owner = self.ring.pop_front()?;
        let queue = self.queues.get_mut(&owner)?;
        let job = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&owner);
        } else {
            self.ring.push_back(owner);
        }
        self.jobs -= usize::from(job.is_some());
        job
    }

    /// How many jobs are served before one that this owner would put in now, at most.
    pub fn before(&self, owner: &K) -> usize {
        let own = self.queues.get(owner).map_or(0, VecDeque::len);
        self.jobs.min((own + 1).saturating_mul(self.ring.len().max(1)))
    }

    /// How many jobs wait.
    pub fn len(&self) -> usize {
        self.jobs
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.jobs == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_who_comes_behind_a_crowd_is_served_next_but_one() {
        let mut queue = OwnerQueue::default();
        (0..1_000).for_each(|number| queue.push("crowd", number));
        assert_eq!((queue.before(&"one"), queue.before(&"crowd")), (1, 1_000));
        queue.push("one", 7_000);
        assert_eq!([queue.pop(), queue.pop(), queue.pop()], [Some(0), Some(7_000), Some(1)]);
        assert_eq!(queue.len(), 998);
    }

    proptest! {
        #[test]
        fn each_is_served_once_in_the_owners_order_and_not_later_than_was_said(
            jobs in prop::collection::vec((0_u8..5, any::<bool>()), 1..200),
        ) {
            let mut queue = OwnerQueue::default();
            let (mut served, mut said) = (Vec::new(), HashMap::new());
            for (number, (owner, pops)) in jobs.iter().enumerate() {
                said.insert(number, served.len() + queue.before(owner));
                queue.push(*owner, (*owner, number));
                if *pops {
                    served.extend(queue.pop());
                }
            }
            served.extend(std::iter::from_fn(|| queue.pop()));
            prop_assert_eq!(served.len(), jobs.len());
            prop_assert!(queue.is_empty() && queue.queues.is_empty() && queue.ring.is_empty());
            for owner in 0..5 {
                let own: Vec<_> = served.iter().filter(|(of, _)| *of == owner).map(|(_, n)| *n).collect();
                prop_assert!(own.is_sorted());
            }
            // Others that come later may each get one turn before it, for each of its own that wait.
            let last = said.len() - 1;
            let place = served.iter().position(|(_, number)| *number == last).expect("served");
            prop_assert!(place <= said[&last], "said {}, came {}", said[&last], place);
        }
    }
}
