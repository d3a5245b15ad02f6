//! A thread that writes, and the queue in front of it: for whatever blocks, and must keep nobody waiting.
//!
//! Accounts and sessions, the journal, the log and the console each have one. They differ in what they do
//! with a job ([`BatchWriter`]) and in what may wait; how a job gets to the thread, how what gathered
//! meanwhile is taken together, and how the thread ends is the same for all of them, and stands here.
//!
//! - A writer takes all that waits at once, up to a number, in the order in which it was given, or one job
//!   at a time where that number is 1.
//! - What came of a job goes back the way that its writer knows: a closure, a `Recipient`, or a sender in
//!   the job itself.
//! - When nobody can give it anything any more, it does what waits, then [`BatchWriter::finish`], and ends.
//! - What is kept for it ([`start`]'s `kept`) is dropped when it ends, by a panic too: a `Critical` of
//!   `actors::panic_watch` tells the server.

mod queue;

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::vec::Drain;

use self::queue::{Received, Receiver, Sender, queue};

/// What a writer thread does with the jobs that it is given.
pub trait BatchWriter: Send + 'static {
    /// Something to do.
    type Job: Send + 'static;

    /// Does these jobs, in their order; at least one. `Break` ends the thread at once: what still waits is
    /// dropped with the queue, whose senders notice.
    fn write(&mut self, jobs: Drain<'_, Self::Job>) -> ControlFlow<()>;

    /// How long it may be idle before [`BatchWriter::wake`] is called, `None` for any time. Asked before each
    /// wait.
    fn wakes_in(&self) -> Option<Duration> {
        None
    }

    /// Its time has come, and no job has.
    fn wake(&mut self) {}

    /// Nobody will give it anything more, and all that waited is done.
    fn finish(&mut self) {}
}

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub struct QueueBounds {
    /// Jobs that may wait, `None` where whoever sends them counts.
    pub most_waiting: Option<usize>,
    /// Jobs that are taken at once, at most; at least 1.
    pub most_at_once: usize,
}

/// The way to a writer thread. Cheap to clone; the thread ends after the last clone is gone.
pub struct WriterQueue<J>(Sender<J>);

impl<J> fmt::Debug for WriterQueue<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WriterQueue({} waiting)", self.waiting())
    }
}

impl<J> Clone for WriterQueue<J> {
    fn clone(&self) -> Self {
        WriterQueue(self.0.clone())
    }
}

impl<J> WriterQueue<J> {
    /// Gives the thread a job. Never waits.
    ///
    /// # Errors
    /// The job, when the queue is full or the thread has ended.
    pub fn send(&self, job: J) -> Result<(), J> {
        self.0.send(job, Some(Instant::now()))
    }

    /// Like [`WriterQueue::send`], but waits for room in a full queue, not longer than `patience`.
    ///
    /// # Errors
    /// The job, when there was no room in that time or the thread has ended.
    pub fn send_within(&self, job: J, patience: Duration) -> Result<(), J> {
        self.0.send(job, Some(Instant::now() + patience))
    }

    /// Like [`WriterQueue::send`], but waits for room in a full queue for as long as it takes.
    ///
    /// # Errors
    /// The job, when the thread has ended.
    pub fn send_patiently(&self, job: J) -> Result<(), J> {
        self.0.send(job, None)
    }

    /// How many jobs wait. Those that the thread is at do not.
    pub fn waiting(&self) -> usize {
        self.0.len()
    }
}

/// A writer thread of one owner, who waits for its end by dropping it: then everything is written, and
/// whatever its writer held is closed.
#[derive(Debug)]
pub struct WriterThread<J> {
    /// `None` once it is being dropped.
    queue: Option<WriterQueue<J>>,
    thread: Option<JoinHandle<()>>,
}

impl<J> WriterThread<J> {
    /// [`WriterQueue::send`].
    ///
    /// # Errors
    /// The job, when the queue is full or the thread has ended.
    pub fn send(&self, job: J) -> Result<(), J> {
        match &self.queue {
            Some(queue) => queue.send(job),
            None => Err(job),
        }
    }

    /// [`WriterQueue::waiting`].
    pub fn waiting(&self) -> usize {
        self.queue.as_ref().map_or(0, WriterQueue::waiting)
    }

    /// The way to the thread alone: nobody waits for its end, which comes after the last clone is gone.
    pub fn detached(mut self) -> WriterQueue<J> {
        self.thread = None;
        self.queue.take().expect("it is there until the drop")
    }
}

impl<J> Drop for WriterThread<J> {
    fn drop(&mut self) {
        self.queue = None;
        let Some(thread) = self.thread.take() else { return };
        let name = thread.thread().name().unwrap_or("without a name").to_owned();
        if thread.join().is_err() {
            log::error!("the thread `{name}` ended by a panic");
        }
    }
}

/// Starts a writer thread. `kept` is dropped when the thread ends, also by a panic.
///
/// # Errors
/// When the system has no thread left.
pub fn start<W: BatchWriter>(
    name: &str,
    bounds: QueueBounds,
    kept: impl Send + 'static,
    writer: W,
) -> io::Result<WriterThread<W::Job>> {
    let (sender, jobs) = queue(bounds.most_waiting);
    let thread = thread::Builder::new().name(name.into()).spawn(move || {
        let _kept = kept;
        work_off(writer, &jobs, bounds.most_at_once);
    })?;
    Ok(WriterThread { queue: Some(WriterQueue(sender)), thread: Some(thread) })
}

/// The life of the thread.
fn work_off<W: BatchWriter>(mut writer: W, jobs: &Receiver<W::Job>, most_at_once: usize) {
    let mut batch = Vec::new();
    loop {
        match jobs.receive(writer.wakes_in(), most_at_once.max(1), &mut batch) {
            Received::Jobs => {
                if writer.write(batch.drain(..)).is_break() {
                    return;
                }
            }
            Received::Nothing => writer.wake(),
            Received::Ended => return writer.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);
    const ANY: QueueBounds = QueueBounds { most_waiting: None, most_at_once: 3 };

    /// Tells what it does, and does nothing before it is let.
    struct Recorder {
        told: mpsc::Sender<Told>,
        may_begin: mpsc::Receiver<()>,
        wakes_in: Option<Duration>,
    }

    #[derive(Debug, PartialEq, Eq)]
    enum Told {
        Batch(Vec<u32>),
        Woken,
        Finished,
        Dropped,
    }

    /// A job that ends the thread.
    const LAST: u32 = 99;
    /// A job that panics.
    const PANIC: u32 = 100;

    impl BatchWriter for Recorder {
        type Job = u32;

        fn write(&mut self, jobs: Drain<'_, u32>) -> ControlFlow<()> {
            let _ = self.may_begin.recv();
            let jobs: Vec<u32> = jobs.collect();
            assert!(!jobs.contains(&PANIC), "for the test");
            let is_last = jobs.contains(&LAST);
            let _ = self.told.send(Told::Batch(jobs));
            if is_last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }

        fn wakes_in(&self) -> Option<Duration> {
            self.wakes_in
        }

        fn wake(&mut self) {
            self.wakes_in = None;
            let _ = self.told.send(Told::Woken);
        }

        fn finish(&mut self) {
            let _ = self.told.send(Told::Finished);
        }
    }

    struct Kept(mpsc::Sender<Told>);

    impl Drop for Kept {
        fn drop(&mut self) {
            let _ = self.0.send(Told::Dropped);
        }
    }

    struct Stage {
        thread: WriterThread<u32>,
        /// Dropped, it lets the writer write whenever it likes.
        begin: mpsc::Sender<()>,
        told: mpsc::Receiver<Told>,
    }

    fn stage(bounds: QueueBounds, wakes_in: Option<Duration>) -> Stage {
        let ((tell, told), (begin, may_begin)) = (mpsc::channel(), mpsc::channel());
        let kept = Kept(tell.clone());
        let thread =
            start("recorder", bounds, kept, Recorder { told: tell, may_begin, wakes_in }).expect("a thread");
        Stage { thread, begin, told }
    }

    fn taken(stage: &Stage) {
        while stage.thread.waiting() > 0 {
            thread::yield_now();
        }
    }

    #[test]
    fn what_gathers_is_taken_together_in_its_order_and_all_of_it_before_the_end() {
        let stage = stage(ANY, None);
        stage.thread.send(1).expect("room");
        taken(&stage); // the writer is at the first, and these gather
        (2..=6).for_each(|job| stage.thread.send(job).expect("room"));
        assert_eq!(stage.thread.waiting(), 5);
        drop(stage.begin);
        drop(stage.thread);
        let told: Vec<_> = stage.told.try_iter().collect();
        let batches = [vec![1], vec![2, 3, 4], vec![5, 6]].map(Told::Batch);
        assert_eq!(told[..3], batches, "the drop has waited for them");
        assert_eq!(told[3..], [Told::Finished, Told::Dropped]);
    }

    #[test]
    fn a_full_queue_gives_the_job_back() {
        let stage = stage(QueueBounds { most_waiting: Some(2), most_at_once: 1 }, None);
        stage.thread.send(1).expect("room");
        taken(&stage);
        assert_eq!([2, 3, 4].map(|job| stage.thread.send(job)), [Ok(()), Ok(()), Err(4)]);
        let Stage { thread, begin, told } = stage;
        let queue = thread.detached();
        assert_eq!(queue.send_within(5, Duration::ZERO), Err(5));
        drop(begin);
        assert_eq!(queue.send_within(6, PATIENCE), Ok(()));
        assert_eq!(queue.clone().send_patiently(7), Ok(()));
        drop(queue);
        let told: Vec<_> = told.iter().collect(); // ends when the thread has
        assert_eq!(told[..5], [1, 2, 3, 6, 7].map(|job| Told::Batch(vec![job])), "one at a time");
    }

    #[test]
    fn an_idle_writer_is_woken_at_its_time() {
        let stage = stage(ANY, Some(Duration::from_millis(1)));
        assert_eq!(stage.told.recv_timeout(PATIENCE), Ok(Told::Woken));
        drop(stage.thread);
        assert_eq!(stage.told.recv_timeout(PATIENCE), Ok(Told::Finished));
    }

    #[test]
    fn a_writer_that_ends_is_noticed_by_whoever_sends() {
        for last in [LAST, PANIC] {
            let stage = stage(ANY, None);
            drop(stage.begin);
            stage.thread.send(last).expect("room");
            let end = stage.told.iter().last();
            assert_eq!(end, Some(Told::Dropped), "what is kept for it goes with it");
            while stage.thread.send(1).is_ok() {
                thread::yield_now();
            }
            drop(stage.thread);
        }
    }
}
