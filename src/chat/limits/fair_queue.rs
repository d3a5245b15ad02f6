//! Taking turns: work that comes in batches is done a share of each batch at a time, so that a batch of ten
//! does not wait for one of nine thousand.

use std::collections::VecDeque;

/// How much of a batch is done before the next batch has its turn.
const SHARE: usize = 32;

/// Batches of work, served in turn.
#[derive(Debug)]
pub struct FairQueue<T> {
    batches: VecDeque<Vec<T>>,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        FairQueue { batches: VecDeque::new() }
    }
}

impl<T> FairQueue<T> {
    /// Puts a batch at the end of the row.
    pub fn push(&mut self, batch: Vec<T>) {
        if !batch.is_empty() {
            self.batches.push_back(batch);
        }
    }

    /// How many pieces of work wait.
    pub fn len(&self) -> usize {
        self.batches.iter().map(Vec::len).sum()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Does up to `budget` pieces of work, a share of each batch in turn. Whether nothing is left.
    pub fn work(&mut self, budget: usize, mut work: impl FnMut(T)) -> bool {
        let mut left = budget;
        while left > 0 {
            let Some(mut batch) = self.batches.pop_front() else { return true };
            let share = batch.len().min(SHARE).min(left);
            left -= share;
            batch.drain(batch.len() - share..).for_each(&mut work);
            self.push(batch);
        }
        self.batches.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_batch_does_not_wait_for_a_large_one() {
        let mut turns = FairQueue::default();
        turns.push(vec!["large"; 9_000]);
        turns.push(vec!["small"; 10]);
        let mut done = Vec::new();
        assert!(!turns.work(200, |piece| done.push(piece)));
        assert_eq!(done.len(), 200);
        assert_eq!(done.iter().filter(|piece| **piece == "small").count(), 10);
        let mut rest = 0;
        while !turns.work(200, |_| rest += 1) {}
        assert_eq!(rest, 9_010 - 200, "all is done, once");
    }
}
