//! The strangers of one I/O thread: who waits for a turn.
//!
//! The rule is [`crate::chat::limits::crowd`]'s; here it meets sockets. A session without a turn leaves its socket
//! unread, which TCP tells its peer. The fan-out gives the turns.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::connection::{Connection, Turn};
use super::messages::fanout::NewConnection;
use crate::chat::limits::crowd::{Crowd, Lane, Next};
use crate::config::Limits;

/// Someone who waits.
pub enum Waiting {
    /// A connection that is to be taken over.
    Newcomer(NewConnection),
    /// A connection that has something to read, if it is still there.
    Reader(Weak<Connection>),
}

/// Where strangers wait. Shared by the sessions of a thread and its fan-out.
pub struct Strangers {
    crowd: RefCell<Crowd<Waiting>>,
    /// Wakes whoever gives turns.
    waker: RefCell<Option<Waker>>,
    started: Instant,
}

impl Strangers {
    /// Nobody waits yet.
    pub fn new(limits: &Limits) -> Self {
        let crowd = Crowd::new(limits.strangers_time_percent, limits.strangers_frames_bytes);
        Strangers { crowd: RefCell::new(crowd), waker: RefCell::default(), started: Instant::now() }
    }

    /// Whether this connection has its turn: it was given one, or nobody is before it. Else it waits for one,
    /// and is woken.
    pub fn has_turn(&self, connection: &Rc<Connection>, lane: Lane) -> bool {
        match connection.turn.get() {
            Turn::Given => {}
            Turn::Waits => return false,
            Turn::None if self.crowd.borrow().is_free(lane, self.now()) => {}
            Turn::None => {
                self.queue(connection, lane);
                return false;
            }
        }
        connection.turn.set(Turn::None);
        true
    }

    /// Makes a connection wait for its next turn.
    pub fn queue(&self, connection: &Rc<Connection>, lane: Lane) {
        if connection.turn.replace(Turn::Waits) != Turn::Waits {
            self.put(Waiting::Reader(Rc::downgrade(connection)), lane);
        }
    }

    /// Makes a connection wait until it is taken over.
    pub fn queue_newcomer(&self, adopt: NewConnection) {
        self.put(Waiting::Newcomer(adopt), Lane::New);
    }

    /// Takes those who wait to be taken over: the server stops, and they are told.
    pub fn take_newcomers(&self) -> Vec<NewConnection> {
        let newcomer = |who| match who {
            Waiting::Newcomer(adopt) => Ok(adopt),
            reader @ Waiting::Reader(_) => Err(reader),
        };
        self.crowd.borrow_mut().extract(newcomer)
    }

    /// The processor time that this thread has used: while others have the processor, nobody pays.
    pub fn processor_time() -> Duration {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
    }

    /// Counts what was done for a stranger since the processor time `start`.
    pub fn charge(&self, start: Duration) {
        let took = Self::processor_time().saturating_sub(start);
        self.crowd.borrow_mut().charge(took, self.now());
    }

    /// Keeps room for a frame of so many bytes; whether there is.
    pub fn keep(&self, bytes: usize) -> bool {
        self.crowd.borrow_mut().keep(bytes)
    }

    /// Gives the room for a frame back.
    pub fn release(&self, bytes: usize) {
        if bytes > 0 {
            self.crowd.borrow_mut().release(bytes);
            self.wake();
        }
    }

    fn put(&self, who: Waiting, lane: Lane) {
        self.crowd.borrow_mut().queue(who, lane);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Keeps the task that is woken when somebody comes to wait.
    pub fn watch(&self, waker: &Waker) {
        let mut place = self.waker.borrow_mut();
        if !place.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *place = Some(waker.clone());
        }
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.crowd.borrow().is_empty()
    }

    /// Whose turn it is.
    pub fn next(&self) -> Next<Waiting> {
        self.crowd.borrow_mut().next(self.now())
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}
