//! One connection's stream, outbox and unanswered requests.
//!
//! A [`Connection`] is shared by two actors of one thread, without a lock: its `SessionActor` reads from it
//! and decides, the thread's `FanoutActor` puts into it what comes from rooms and writes at once, so that a
//! delivery passes no mailbox of its own. What the fan-out finds out (the peer does not read, its time has
//! run out) it leaves in `verdict` and wakes the session.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

use super::messages::room::RoomHandle;
use crate::chat::limits::rate_limiter::AccountRates;
use crate::chat::session::deadlines::{Deadlines, Due, Timeouts};
use crate::chat::session::outbox::Outbox;
use crate::chat::session::replies::{Concurrency, Replies};
use crate::config::Limits;
use crate::model::{ByeReason, ConnectionId, ErrorCode, MessageId, Reference, Reply, ReplyTo, Ticket};
use crate::transport::Stream;
use crate::wire::Wire;
use crate::wire::frames::SharedFrames;
use crate::wire::json::encode;

/// Pieces of one vectored write; more than this many entries are written in several.
const SLICES_PER_WRITE: usize = 64;

/// Where a connection stands among the strangers of its thread ([`crate::chat::limits::crowd`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nowhere.
    None,
    /// It waits.
    Waits,
    /// It is its turn.
    Given,
}

/// What has to become of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Say this, then goodbye.
    Dismiss {
        /// Why.
        reason: ByeReason,
        /// A sentence, where there is a better one than the reason's own.
        text: Option<String>,
    },
    /// The socket is broken, or its time to go is over.
    Drop,
}

/// A room that a connection is in.
#[derive(Debug)]
pub struct JoinedRoom {
    /// The room; one handle for all of a thread who are in it.
    pub room: Rc<RoomHandle>,
    /// While the client fetches the pages between its last message and its first event: where they end.
    pub pages_up_to: Option<MessageId>,
}

/// Writes what waits, as much as one call takes.
fn write(stream: &mut Stream, outbox: &Outbox) -> io::Result<usize> {
    if let Some(piece) = outbox.only_piece() {
        return stream.try_write(piece);
    }
    let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
    let count = outbox.slices(&mut slices);
    stream.try_write_slices(&slices[..count])
}

/// A stream with all that waits at it.
pub struct Connection {
    /// Its id.
    pub id: ConnectionId,
    /// Who is at the other end.
    pub peer: SocketAddr,
    /// How its payloads are framed.
    pub wire: Wire,
    /// The rooms that it is in.
    pub rooms: RefCell<Vec<JoinedRoom>>,
    /// How fast its account does things; there from the moment that a session is open.
    pub rates: RefCell<Option<Arc<AccountRates>>>,
    /// Whether the session reads from it at the moment.
    pub reading: Cell<bool>,
    /// Whether it waits for a turn; sessions need none.
    pub turn: Cell<Turn>,
    /// The fan-out's mark on those who spoke in the batch that it hands round.
    pub spoke: Cell<bool>,
    stream: RefCell<Stream>,
    outbox: RefCell<Outbox>,
    limits: Arc<Limits>,
    /// Whether the socket took no more at the last write, and the session waits until it does.
    blocked: Cell<bool>,
    replies: RefCell<Replies<Bytes>>,
    deadlines: Cell<Deadlines>,
    /// Whether it still takes frames; not since goodbye was said.
    open: Cell<bool>,
    /// In a box: hardly any connection has one.
    verdict: RefCell<Option<Box<Verdict>>>,
    waker: RefCell<Option<Waker>>,
}

impl Connection {
    /// A connection over this stream, within these limits.
    pub fn new(id: ConnectionId, peer: SocketAddr, stream: Stream, wire: Wire, limits: Arc<Limits>) -> Self {
        Connection {
            id,
            peer,
            wire,
            rooms: RefCell::default(),
            rates: RefCell::default(),
            reading: Cell::new(true),
            turn: Cell::new(Turn::None),
            spoke: Cell::new(false),
            stream: RefCell::new(stream),
            outbox: RefCell::default(),
            limits,
            blocked: Cell::new(false),
            replies: RefCell::default(),
            deadlines: Cell::new(Deadlines::connected()),
            open: Cell::new(true),
            verdict: RefCell::default(),
            waker: RefCell::default(),
        }
    }

    // ------------------------------------------------------------ requests and replies

    /// Whether a request may begin beside those that are unanswered.
    pub fn may_begin(&self, company: Concurrency) -> bool {
        self.replies.borrow().may_begin(company)
    }

    /// Begins a request.
    pub fn begin(&self, reference: Option<Reference>, company: Concurrency) -> Ticket {
        self.replies.borrow_mut().begin(reference, company)
    }

    /// How many requests are unanswered.
    pub fn unanswered(&self) -> usize {
        self.replies.borrow().len()
    }

    /// Where the reply to a request goes.
    pub fn reply_to(&self, ticket: Ticket) -> ReplyTo {
        ReplyTo { connection: self.id, ticket }
    }

    /// Takes the reply to a request, which leaves when those before it have left. Whether there is more than it
    /// has room for.
    pub fn answer(&self, ticket: Ticket, reply: &Reply) -> bool {
        let mut replies = self.replies.borrow_mut();
        let (frame, more) =
            encode::reply(self.wire, reply, replies.reference(ticket), self.limits.max_frame_bytes);
        replies.answer(ticket, frame);
        while let Some(frame) = replies.pop_ready() {
            self.push(frame);
        }
        drop(replies);
        if !self.reading.get() {
            self.wake();
        }
        more
    }

    // ------------------------------------------------------------ writing

    /// Puts frames that others get, too, into the outbox.
    pub fn push_shared(&self, frames: &SharedFrames) {
        self.push(frames.on(self.wire).all().clone());
    }

    /// Puts frames of its wire into the outbox; [`Connection::flush`] writes them. A consumer whose outbox is full is let
    /// go.
    pub fn push(&self, frames: Bytes) {
        if !self.open.get() {
            return;
        }
        if self.outbox.borrow_mut().push(frames, self.limits.outbox_bytes).is_err() {
            self.judge(Verdict::Dismiss { reason: ByeReason::Fault(ErrorCode::SlowConsumer), text: None });
        }
    }

    /// Takes the last words in and refuses all that comes behind them. A slow consumer's words stand before
    /// everything that it was too slow for.
    pub fn push_last_words(&self, words: impl IntoIterator<Item = Bytes>, drop_unsent: bool) {
        if !self.open.replace(false) {
            return;
        }
        let mut outbox = self.outbox.borrow_mut();
        if drop_unsent {
            outbox.keep_started_frame(|frames, position| self.wire.end_of_frame_at(frames, position));
        }
        for word in words {
            // The bound was kept until here; two last words may go over it.
            let _ = outbox.push(word, usize::MAX);
        }
        self.with_deadlines(Deadlines::closing);
    }

    /// Writes what waits, as far as the socket takes it. This is the fan-out's way; where the socket takes no
    /// more, the session is woken to wait for it.
    pub fn flush(&self) {
        if !self.blocked.get() && !self.write_out() {
            self.wake();
        }
    }

    /// Writes what waits, the session's way: `Pending` while the socket takes no more, with the task woken
    /// when it does.
    pub fn poll_flush(&self, task: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.blocked.get() {
                match self.stream.borrow().poll_write_ready(task) {
                    Poll::Ready(Ok(())) => self.blocked.set(false),
                    Poll::Ready(Err(_)) => {
                        self.judge(Verdict::Drop);
                        return Poll::Ready(());
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            if self.write_out() {
                return Poll::Ready(());
            }
        }
    }

    /// Writes until nothing waits (`true`, also when the stream is broken) or the stream is full (`false`).
    fn write_out(&self) -> bool {
        let (mut outbox, mut stream) = (self.outbox.borrow_mut(), self.stream.borrow_mut());
        loop {
            let result = match outbox.is_empty() {
                false => write(&mut stream, &outbox),
                true => match stream.try_flush() {
                    Ok(()) => return true,
                    Err(why) => Err(why),
                },
            };
            match result {
                Ok(written) => {
                    outbox.advance(written);
                    self.with_deadlines(Deadlines::write_moved);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.with_deadlines(Deadlines::write_blocked);
                    self.blocked.set(true);
                    return false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    outbox.clear();
                    self.judge(Verdict::Drop);
                    return true;
                }
            }
        }
    }

    /// Sets the kernel's send buffer, in bytes; 0 leaves it as it is.
    pub fn set_send_buffer(&self, bytes: usize) {
        self.stream.borrow().set_send_buffer(bytes);
    }

    /// Tells the peer that nothing more will come.
    pub fn shut_down_writing(&self) {
        // A peer that is gone already needs no telling.
        let _ = self.stream.borrow_mut().shut_down_writing();
    }

    /// What waits to be written, in bytes.
    pub fn waiting_bytes(&self) -> usize {
        self.outbox.borrow().cost_bytes()
    }

    // ------------------------------------------------------------ reading

    /// Reads into `buffer` what has come; `Ready(Ok(0))` at the end of the stream. After a read that did not
    /// fill the buffer the socket is known to be empty, and not asked again before it says so.
    pub fn poll_read(&self, task: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let read = Pin::new(&mut *self.stream.borrow_mut()).poll_read(task, &mut buffer);
        read.map_ok(|()| {
            self.with_deadlines(Deadlines::heard);
            buffer.filled().len()
        })
    }

    // ------------------------------------------------------------ time and verdicts

    /// Changes the running times.
    pub fn with_deadlines(&self, change: impl FnOnce(&mut Deadlines)) {
        let mut deadlines = self.deadlines.get();
        change(&mut deadlines);
        self.deadlines.set(deadlines);
    }

    /// One tick has passed. Whether a ping was put into the outbox.
    pub fn tick(&self, timeouts: &Timeouts, ping: &SharedFrames) -> bool {
        let mut due = Due::Nothing;
        self.with_deadlines(|deadlines| due = deadlines.tick(timeouts, self.reading.get()));
        match due {
            Due::Nothing => {}
            Due::Ping => self.push_shared(ping),
            Due::End(code) => self.judge(Verdict::Dismiss { reason: ByeReason::Fault(code), text: None }),
            Due::Drop => self.judge(Verdict::Drop),
        }
        due == Due::Ping
    }

    /// Leaves a verdict for the session and wakes it. The first one stands, unless the socket breaks.
    pub fn judge(&self, verdict: Verdict) {
        let mut place = self.verdict.borrow_mut();
        if place.is_none() || verdict == Verdict::Drop {
            *place = Some(Box::new(verdict));
        }
        drop(place);
        self.wake();
    }

    /// Takes the verdict away.
    pub fn take_verdict(&self) -> Option<Verdict> {
        self.verdict.borrow_mut().take().map(|verdict| *verdict)
    }

    /// Whether it still takes frames.
    pub fn is_open(&self) -> bool {
        self.open.get()
    }

    /// Keeps the task that [`Connection::judge`] and others wake.
    pub fn watch(&self, waker: &Waker) {
        let mut place = self.waker.borrow_mut();
        if !place.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *place = Some(waker.clone());
        }
    }

    /// Wakes the session's task.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}
