//! The hash threads: the one place where passwords are hashed, with few permits and a bounded queue.
//!
//! They are threads of their own, because one hash takes tens of milliseconds and tens of MiB; they are
//! nicer than the others, so that 500 logins at once do not hold up the chat; and one that panics over a
//! hash goes on with the next. Jobs are served in
//! turn by whose they are ([`Owner`]): one account, or one address, that wants a thousand hashes makes nobody
//! else wait for more than one of them.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::chat::limits::address_key::AddressKey;
use crate::chat::limits::owner_queue::OwnerQueue;
use crate::model::refusal::wait_ms;
use crate::model::{ErrorCode, Password, Refusal, StoredPassword};
use crate::secrets::password::{Md5Hex, PasswordError, PasswordHashing};

/// How much nicer than the rest of the process a hash thread is.
const NICENESS: i32 = 10;

/// Whose a job is. Each has its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// An account (its row): somebody who has one waits for no stranger's crowd.
    Account(u64),
    /// Whoever has none, by address.
    Stranger(AddressKey),
    /// The operator.
    Operator,
}

/// What a hash thread is to do.
#[derive(Debug)]
pub enum Work {
    /// Hash a chosen password.
    Hash(Password),
    /// Hash what an older server kept.
    HashMd5(Md5Hex),
    /// Compare, and hash anew when the stored hash is not as a fresh one would be.
    Compare {
        /// What someone takes for the password.
        given: Password,
        /// What is stored.
        stored: StoredPassword,
    },
    /// Compare, and hash the new password when the old one is right.
    Change {
        /// What someone takes for the password.
        old: Password,
        /// What is stored.
        stored: StoredPassword,
        /// The new password.
        new: Password,
    },
    /// What no hash does, for the test of what happens if one does.
    #[cfg(test)]
    Panic,
}

/// What came of it.
#[derive(Debug)]
pub enum Hashed {
    /// A hash was made; for [`Work::Change`] the old password was right.
    Fresh(StoredPassword),
    /// The password is right; with a new hash of it when the stored one is not as it would be made today.
    Right(Option<StoredPassword>),
    /// It is wrong.
    Wrong,
}

/// Why nothing came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotHashed {
    /// Nobody waited for it any more.
    Unwanted,
    /// Too much is waiting.
    Busy {
        /// When to try again, in milliseconds.
        retry_after_ms: u64,
    },
    /// It could not be hashed; the log says why.
    Failed,
    /// The threads are gone.
    Stopping,
}

impl From<NotHashed> for Refusal {
    fn from(why: NotHashed) -> Self {
        match why {
            NotHashed::Busy { retry_after_ms } => Refusal::new(
                ErrorCode::RateLimited,
                "Many people are logging in just now; try again in a moment.",
            )
            .retry_after_ms(retry_after_ms),
            NotHashed::Unwanted | NotHashed::Failed => ErrorCode::Internal.into(),
            NotHashed::Stopping => ErrorCode::ShuttingDown.into(),
        }
    }
}

/// Where a job's outcome goes.
pub type HashWaiter = oneshot::Sender<Result<Hashed, NotHashed>>;

struct Job {
    work: Work,
    waiter: HashWaiter,
    wanted: Box<dyn Fn() -> bool + Send>,
}

/// Hash threads, and their queue.
pub struct HashPool {
    queue: Arc<Queue>,
    load: Arc<Load>,
    max_jobs: usize,
    max_wait: Duration,
}

/// Jobs that wait for a thread.
struct Queue {
    jobs: Mutex<Jobs>,
    came: Condvar,
}

struct Jobs {
    waiting: OwnerQueue<Owner, Job>,
    /// Whether nobody will put another one in.
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job, when there is one; `None` when there will be none.
    fn next(&self) -> Option<Job> {
        let mut jobs = self.lock();
        while jobs.waiting.is_empty() && !jobs.closed {
            jobs = self.came.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
        jobs.waiting.pop()
    }
}

impl Drop for HashPool {
    /// Whoever waits finds that nobody answers.
    fn drop(&mut self) {
        let mut jobs = self.queue.lock();
        jobs.closed = true;
        jobs.waiting = OwnerQueue::default();
        drop(jobs);
        self.queue.came.notify_all();
    }
}

/// How much there is to do.
struct Load {
    threads: u32,
    /// Jobs that wait or run.
    jobs: AtomicUsize,
    /// What a job takes of late, in microseconds.
    mean_micros: AtomicU64,
    /// Refusals of late: each is told to come back a little later than the one before.
    refused: AtomicUsize,
}

impl HashPool {
    /// Starts `threads` threads (at least one) with a queue of `max_jobs` jobs, that refuse what would wait
    /// longer than `max_wait`. One job is measured before anything is refused.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(
        hashing: &PasswordHashing,
        threads: usize,
        max_jobs: usize,
        max_wait: Duration,
    ) -> io::Result<Self> {
        let threads = threads.max(1);
        let jobs = Jobs { waiting: OwnerQueue::default(), closed: false };
        let queue = Arc::new(Queue { jobs: Mutex::new(jobs), came: Condvar::new() });
        let load = Arc::new(Load {
            threads: u32::try_from(threads).unwrap_or(u32::MAX),
            jobs: AtomicUsize::new(0),
            mean_micros: AtomicU64::new(0),
            refused: AtomicUsize::new(0),
        });
        for number in 0..threads {
            let (queue, load, hashing) = (Arc::clone(&queue), Arc::clone(&load), hashing.clone());
            thread::Builder::new()
                .name(format!("hash-{number}"))
                .spawn(move || work_off(&queue, &load, &hashing))?;
        }
        Ok(HashPool { queue, load, max_jobs, max_wait })
    }

    /// Puts a job into the queue. It is not done when `wanted` says no by the time it is its turn. A waiter
    /// that is dropped unanswered finds that the threads are gone.
    pub fn submit(
        &self,
        owner: Owner,
        work: Work,
        waiter: HashWaiter,
        wanted: impl Fn() -> bool + Send + 'static,
    ) {
        let mut jobs = self.queue.lock();
        let before = jobs.waiting.before(&owner);
        if jobs.waiting.len() >= self.max_jobs || self.load.wait_of(before) > self.max_wait {
            drop(jobs);
            let busy = NotHashed::Busy { retry_after_ms: self.load.come_back(before) };
            return answer(waiter, Err(busy));
        }
        self.load.jobs.fetch_add(1, Ordering::Relaxed);
        jobs.waiting.push(owner, Job { work, waiter, wanted: Box::new(wanted) });
        drop(jobs);
        self.queue.came.notify_one();
    }

    /// How many jobs wait or run.
    pub fn jobs(&self) -> usize {
        self.load.jobs.load(Ordering::Relaxed)
    }
}

impl Load {
    /// How long a job waits that has so many before it.
    fn wait_of(&self, waiting: usize) -> Duration {
        let mean = Duration::from_micros(self.mean_micros.load(Ordering::Relaxed));
        mean.saturating_mul(u32::try_from(waiting).unwrap_or(u32::MAX)) / self.threads
    }

    /// When to come back, in milliseconds: after those that wait, and those that were told before.
    fn come_back(&self, waiting: usize) -> u64 {
        let before = self.refused.fetch_add(1, Ordering::Relaxed);
        wait_ms(self.wait_of(waiting.saturating_add(before % (waiting.max(1)))))
    }

    fn measured(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let mean = self.mean_micros.load(Ordering::Relaxed);
        let mean = if mean == 0 { took } else { (mean.saturating_mul(7).saturating_add(took)) / 8 };
        // Threads may lose each other's samples here; it is an estimate.
        self.mean_micros.store(mean, Ordering::Relaxed);
    }
}

/// The life of a hash thread: until the pool is dropped.
fn work_off(queue: &Queue, load: &Load, hashing: &PasswordHashing) {
    be_nice();
    while let Some(Job { work, waiter, wanted }) = queue.next() {
        let hashed = if wanted() {
            let start = Instant::now();
            let hashed = catch_unwind(AssertUnwindSafe(|| hash(hashing, &work))).unwrap_or_else(|_| {
                log::error!("hashing a password panicked; the thread goes on");
                Err(NotHashed::Failed)
            });
            load.measured(start.elapsed());
            hashed
        } else {
            Err(NotHashed::Unwanted)
        };
        load.jobs.fetch_sub(1, Ordering::Relaxed);
        answer(waiter, hashed);
    }
}

fn answer(waiter: HashWaiter, hashed: Result<Hashed, NotHashed>) {
    // Who asked may be gone.
    let _ = waiter.send(hashed);
}

fn hash(hashing: &PasswordHashing, work: &Work) -> Result<Hashed, NotHashed> {
    try_hash(hashing, work).map_err(|error| {
        log::error!("hashing a password failed: {error}");
        NotHashed::Failed
    })
}

fn try_hash(hashing: &PasswordHashing, work: &Work) -> Result<Hashed, PasswordError> {
    Ok(match work {
        Work::Hash(password) => Hashed::Fresh(hashing.hash(password)?),
        Work::HashMd5(md5) => Hashed::Fresh(hashing.hash_md5(md5)?),
        Work::Compare { given, stored } if !hashing.verify(given, stored)? => Hashed::Wrong,
        Work::Compare { stored, .. } if hashing.is_current(stored) => Hashed::Right(None),
        // A hash that cannot be renewed now is renewed another time: the password was right.
        Work::Compare { given, .. } => Hashed::Right(hashing.hash(given).ok()),
        Work::Change { old, stored, .. } if !hashing.verify(old, stored)? => Hashed::Wrong,
        Work::Change { new, .. } => Hashed::Fresh(hashing.hash(new)?),
        #[cfg(test)]
        Work::Panic => panic!("as a hash might"),
    })
}

/// On Linux a thread has a niceness of its own; elsewhere it would be the whole process's.
fn be_nice() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        log::debug!("a hash thread stays as urgent as the others: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    type Outcome = oneshot::Receiver<Result<Hashed, NotHashed>>;

    fn hashing() -> PasswordHashing {
        PasswordHashing::new(8, 1).expect("small parameters")
    }

    fn submit(pool: &HashPool, work: Work, wanted: impl Fn() -> bool + Send + 'static) -> Outcome {
        let (waiter, hashed) = oneshot::channel();
        pool.submit(Owner::Operator, work, waiter, wanted);
        hashed
    }

    fn came(outcome: Outcome) -> Result<Hashed, NotHashed> {
        outcome.blocking_recv().expect("an answer")
    }

    #[test]
    fn each_job_comes_to_what_it_has_to() {
        let pool = HashPool::start(&hashing(), 2, 10, PATIENCE).expect("threads");
        let given = || Password::given("password");
        let stored = hashing().hash(&given()).expect("a hash");
        let old = PasswordHashing::new(16, 1).expect("parameters").hash(&given()).expect("a hash");
        let jobs = [
            Work::Hash(given()),
            Work::Compare { given: given(), stored: stored.clone() },
            Work::Compare { given: given(), stored: old },
            Work::Compare { given: Password::given("another"), stored: stored.clone() },
            Work::Change { old: given(), stored: stored.clone(), new: Password::given("another") },
            Work::Change { old: Password::given("another"), stored, new: given() },
        ];
        let outcomes: Vec<_> = jobs.into_iter().map(|work| submit(&pool, work, || true)).collect();
        let unwanted = submit(&pool, Work::Hash(given()), || false);
        for (job, outcome) in outcomes.into_iter().map(came).enumerate() {
            let fits = matches!(
                (job, &outcome),
                (0 | 4, Ok(Hashed::Fresh(_)))
                    | (1, Ok(Hashed::Right(None)))
                    | (2, Ok(Hashed::Right(Some(_))))
                    | (3 | 5, Ok(Hashed::Wrong))
            );
            assert!(fits, "{job}: {outcome:?}");
        }
        assert_eq!(came(unwanted).expect_err("not done"), NotHashed::Unwanted);
    }

    #[test]
    fn a_full_queue_refuses() {
        let (hold, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let pool = HashPool::start(&hashing(), 1, 2, PATIENCE).expect("threads");
        let work = || Work::Hash(Password::given("password"));
        let first = submit(&pool, work(), move || {
            let _ = held.lock().unwrap_or_else(PoisonError::into_inner).recv();
            true
        });
        // Owners have their turns, but the queue is one.
        let outcomes: Vec<_> = (0..9).map(|_| submit(&pool, work(), || true)).collect();
        drop(hold);
        let all: Vec<_> = std::iter::once(first).chain(outcomes).map(came).collect();
        let refused = all.iter().position(Result::is_err).expect("two in the queue, one in work");
        assert!((2..=3).contains(&refused), "{refused}");
        let busy = |outcome: &Result<Hashed, NotHashed>| matches!(outcome, Err(NotHashed::Busy { retry_after_ms }) if *retry_after_ms > 0);
        assert!(all[refused..].iter().any(busy) && all.iter().all(|one| one.is_ok() || busy(one)));
    }

    #[test]
    fn a_panic_costs_its_own_job_alone() {
        let pool = HashPool::start(&hashing(), 1, 10, PATIENCE).expect("threads");
        for _ in 0..3 {
            let outcome = came(submit(&pool, Work::Panic, || true));
            assert_eq!(outcome.expect_err("it panicked"), NotHashed::Failed);
        }
        assert!(came(submit(&pool, Work::Hash(Password::given("password")), || true)).is_ok());
    }

    #[test]
    fn whoever_waits_for_a_pool_that_goes_hears_of_it() {
        let (hold, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let pool = HashPool::start(&hashing(), 1, 10, PATIENCE).expect("threads");
        let first = submit(&pool, Work::Hash(Password::given("password")), move || {
            let _ = held.lock().unwrap_or_else(PoisonError::into_inner).recv();
            true
        });
        let waits = submit(&pool, Work::Hash(Password::given("password")), || true);
        while pool.queue.lock().waiting.len() > 1 {
            thread::yield_now();
        }
        drop(pool);
        assert!(waits.blocking_recv().is_err());
        drop(hold);
        assert!(came(first).is_ok(), "what a thread is at is done");
    }
}
