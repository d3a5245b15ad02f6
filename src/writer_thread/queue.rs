//! The queue in front of a writer thread.
//!
//! Its own, and not a channel of a crate: those look again and again for a while before they sleep, which
//! costs a message that is forced to the disk alone a tenth of all that it takes (`docs/performance.md`).

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a queue and its ends share.
struct Shared<J> {
    state: Mutex<State<J>>,
    /// A job came, or no more will.
    came: Condvar,
    /// A job was taken, or none will be any more.
    went: Condvar,
    most_waiting: usize,
}

struct State<J> {
    jobs: VecDeque<J>,
    senders: usize,
    /// Whether the receiver is there.
    open: bool,
    /// Whether the receiver sleeps, and how many senders do: nobody else is woken for nothing.
    receiver_sleeps: bool,
    sleeping_senders: usize,
}

impl<J> Shared<J> {
    /// A job that panics does so outside the lock.
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts jobs in.
pub(super) struct Sender<J>(Arc<Shared<J>>);

/// Takes jobs out.
pub(super) struct Receiver<J>(Arc<Shared<J>>);

/// What a receiver got.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// At least one job.
    Jobs,
    /// None in the time that it had.
    Nothing,
    /// None, and none will come.
    Ended,
}

/// A queue in which so many jobs may wait, any number where that is `None`.
pub(super) fn queue<J>(most_waiting: Option<usize>) -> (Sender<J>, Receiver<J>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            jobs: VecDeque::new(),
            senders: 1,
            open: true,
            receiver_sleeps: false,
            sleeping_senders: 0,
        }),
        came: Condvar::new(),
        went: Condvar::new(),
        most_waiting: most_waiting.unwrap_or(usize::MAX),
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl<J> Sender<J> {
    /// Puts a job in; where the queue is full, waits for room until then, for ever with `None`.
    ///
    /// # Errors
    /// The job, when there was no room in that time or nobody takes jobs any more.
    pub(super) fn send(&self, job: J, until: Option<Instant>) -> Result<(), J> {
        let mut state = self.0.lock();
        while state.open && state.jobs.len() >= self.0.most_waiting {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(job);
            }
            state.sleeping_senders += 1;
            state = match left {
                None => self.0.went.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => self.0.went.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
            state.sleeping_senders -= 1;
        }
        if !state.open {
            return Err(job);
        }
        state.jobs.push_back(job);
        let wake = state.receiver_sleeps;
        drop(state);
        if wake {
            self.0.came.notify_one();
        }
        Ok(())
    }

    /// How many jobs wait.
    pub(super) fn len(&self) -> usize {
        self.0.lock().jobs.len()
    }
}

impl<J> Clone for Sender<J> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Sender(Arc::clone(&self.0))
    }
}

impl<J> Drop for Sender<J> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.senders -= 1;
        let last = state.senders == 0;
        drop(state);
        if last {
            self.0.came.notify_one();
        }
    }
}

impl<J> Receiver<J> {
    /// Waits for jobs, not longer than `patience`, and puts the first `most` of them behind those in `batch`.
    pub(super) fn receive(&self, patience: Option<Duration>, most: usize, batch: &mut Vec<J>) -> Received {
        let until = patience.map(|patience| Instant::now() + patience);
        let mut state = self.0.lock();
        while state.jobs.is_empty() {
            if state.senders == 0 {
                return Received::Ended;
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Received::Nothing;
            }
            state.receiver_sleeps = true;
            state = match left {
                None => self.0.came.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => self.0.came.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
            state.receiver_sleeps = false;
        }
        let count = state.jobs.len().min(most);
        batch.extend(state.jobs.drain(..count));
        let wake = state.sleeping_senders > 0;
        drop(state);
        if wake {
            self.0.went.notify_all();
        }
        Received::Jobs
    }
}

impl<J> Drop for Receiver<J> {
    /// What waits is dropped: nobody will do it.
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.open = false;
        let rest = std::mem::take(&mut state.jobs);
        drop(state);
        self.0.went.notify_all();
        drop(rest);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn jobs_come_in_their_order_from_many_and_every_one_once() {
        let (sender, receiver) = queue(Some(3));
        let threads: Vec<_> = (0..4)
            .map(|of: u32| {
                let sender = sender.clone();
                thread::spawn(move || {
                    (0..500).for_each(|number: u32| sender.send((of, number), None).expect("it is taken"));
                })
            })
            .collect();
        drop(sender);
        let (mut all, mut batch) = (Vec::new(), Vec::new());
        while receiver.receive(None, 2, &mut batch) == Received::Jobs {
            assert!((1..=2).contains(&batch.len()));
            all.append(&mut batch);
        }
        assert_eq!(receiver.receive(None, 2, &mut batch), Received::Ended);
        threads.into_iter().for_each(|thread| thread.join().expect("it sent all"));
        for of in 0..4 {
            let own: Vec<u32> = all.iter().filter(|(by, _)| *by == of).map(|(_, number)| *number).collect();
            assert!(own.iter().copied().eq(0..500), "{of}");
        }
    }

    #[test]
    fn a_full_queue_gives_the_job_back_and_so_does_one_that_nobody_empties() {
        let (sender, receiver) = queue(Some(1));
        let at_once = Some(Instant::now());
        assert_eq!((sender.send('a', at_once), sender.send('b', at_once)), (Ok(()), Err('b')));
        assert_eq!(sender.len(), 1);
        let waits = thread::spawn(move || sender.send('c', None));
        let mut batch = Vec::new();
        assert_eq!(receiver.receive(None, 1, &mut batch), Received::Jobs);
        assert_eq!((waits.join().expect("no panic"), &batch[..]), (Ok(()), &['a'][..]));

        let (sender, receiver) = queue(Some(1));
        assert_eq!(sender.send('a', None), Ok(()));
        let waits = thread::spawn(move || sender.send('b', None));
        drop(receiver);
        assert_eq!(waits.join().expect("no panic"), Err('b'));
    }

    #[test]
    fn who_waits_for_a_time_gets_nothing_when_nothing_comes() {
        let (sender, receiver) = queue::<char>(None);
        let mut batch = Vec::new();
        assert_eq!(receiver.receive(Some(Duration::ZERO), 1, &mut batch), Received::Nothing);
        drop(sender);
        assert_eq!(receiver.receive(Some(Duration::from_secs(60)), 1, &mut batch), Received::Ended);
    }
}
