//! A thread that actors live on.
//!
//! Like an actix `Arbiter` it runs actors, and nothing in them knows the difference. It is built on tokio's
//! `LocalRuntime` and not on a `LocalSet`, because of what a wake costs: a `LocalSet` is one future among
//! others of its runtime, and whatever wakes an actor in it, a socket or the actor beside it, wakes that
//! future through an eventfd, with another `epoll_wait` to hear it. A message that comes from one socket and
//! goes to another paid for four of those. Here a wake from the same thread is a push to a queue.

use std::io;
use std::thread::{self, JoinHandle};

use actix::dev::channel::{self, AddressReceiver};
use actix::{Actor, Addr, Context};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::oneshot;

use super::resources::{KEEP_THREADS, one_more_thread};

/// The room of a mailbox, which binds nobody: everything is sent with `do_send`.
const MAILBOX: usize = 16;

/// Starts an actor on the thread that calls it.
pub type Starter = Box<dyn FnOnce() + Send>;

/// A thread that waits for its actors.
pub struct IdleThread {
    begin: oneshot::Sender<Vec<Starter>>,
    thread: ActorThread,
}

impl IdleThread {
    /// Starts a thread of this name.
    ///
    /// # Errors
    /// When the system has no thread or no epoll left.
    pub fn start(name: String) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (begin, begun) = oneshot::channel::<Vec<Starter>>();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = thread::Builder::new().name(name).spawn(move || {
            // The runtime cannot change its thread, so it is made here.
            let (runtime, result) = match runtime() {
                Ok(runtime) => (Some(runtime), Ok(())),
                Err(why) => (None, Err(why)),
            };
            // Who started the thread waits for this word.
            let _ = ready.send(result);
            if let Some(runtime) = runtime {
                runtime.block_on(async {
                    // Who gives up before there is anything to do drops the sender.
                    let Ok(starters) = begun.await else { return };
                    starters.into_iter().for_each(|start| start());
                    // A sender that is dropped says the same.
                    let _ = stopped.await;
                });
            }
        })?;
        is_ready.recv().unwrap_or_else(|_| Err(io::Error::other("a thread ended while it began")))?;
        Ok(IdleThread { begin, thread: ActorThread { stop, thread } })
    }

    /// Starts these actors on it.
    pub fn begin(self, starters: Vec<Starter>) -> ActorThread {
        // The thread waits for just this.
        let _ = self.begin.send(starters);
        self.thread
    }
}

fn runtime() -> io::Result<LocalRuntime> {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().thread_keep_alive(KEEP_THREADS).build_local(LocalOptions::default())?;
    one_more_thread()?;
    drop(runtime.spawn_blocking(|| {}));
    Ok(runtime)
}

/// A running thread. It ends when this is told to or dropped.
#[derive(Debug)]
pub struct ActorThread {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl ActorThread {
    /// Ends the thread, and every actor on it. Whether it had ended without a panic of its own.
    pub fn stop(self) -> bool {
        // A thread that has ended already needs no telling.
        let _ = self.stop.send(());
        self.thread.join().is_ok()
    }
}

/// The place of an actor whose address is known before it is there.
pub struct Mailbox<A: Actor>(AddressReceiver<A>);

/// An address, and the place where its actor will sit.
pub fn mailbox<A: Actor<Context = Context<A>>>() -> (Addr<A>, Mailbox<A>) {
    let (sender, receiver) = channel::channel(MAILBOX);
    (Addr::new(sender), Mailbox(receiver))
}

impl<A: Actor<Context = Context<A>>> Mailbox<A> {
    /// Starts the actor that `make` makes, on the thread that runs the result.
    pub fn take(self, make: impl FnOnce() -> A + Send + 'static) -> Starter {
        Box::new(move || {
            Context::with_receiver(self.0).run(make());
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix::{Handler, Message};

    #[derive(Message)]
    #[rtype(result = "usize")]
    struct Count;

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Panic;

    #[derive(Default)]
    struct Counter(usize);

    impl Actor for Counter {
        type Context = Context<Self>;
    }

    impl Handler<Count> for Counter {
        type Result = usize;
        fn handle(&mut self, _: Count, _: &mut Self::Context) -> usize {
            self.0 += 1;
            self.0
        }
    }

    impl Handler<Panic> for Counter {
        type Result = ();
        fn handle(&mut self, _: Panic, _: &mut Self::Context) {
            panic!("for the test");
        }
    }

    #[test]
    fn what_was_sent_before_the_actor_came_is_not_lost() {
        let (counter, its_mailbox) = mailbox::<Counter>();
        counter.do_send(Count);
        let thread =
            IdleThread::start("test".into()).unwrap().begin(vec![its_mailbox.take(Counter::default)]);
        let counted = actix_rt::System::new().block_on(counter.send(Count)).unwrap();
        assert_eq!(counted, 2);
        assert!(thread.stop());
        assert!(!counter.connected(), "its actors end with the thread");
    }

    #[test]
    fn an_actor_that_panics_takes_nobody_with_it() {
        let ((one, its_mailbox), (other, others_mailbox)) = (mailbox::<Counter>(), mailbox::<Counter>());
        let seats = vec![its_mailbox.take(Counter::default), others_mailbox.take(Counter::default)];
        let thread = IdleThread::start("test".into()).unwrap().begin(seats);
        actix_rt::System::new().block_on(async {
            assert!(one.send(Panic).await.is_err());
            assert_eq!(other.send(Count).await.unwrap(), 1);
        });
        assert!(thread.stop());
    }
}
