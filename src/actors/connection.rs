//! One connection's stream, its outbox, and where it is in its life.
//!
//! A [`Connection`] is shared by two actors of one thread, without a lock: its `SessionActor` reads from it,
//! the thread's `FanoutActor` puts into it what comes from rooms and writes at once, so that a delivery passes
//! no mailbox of its own. Both tell its [`SessionMachine`] what happens, which decides; what then has to be done
//! the session does, and is woken for.

use std::cell::{Cell, RefCell, RefMut};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

use super::messages::room::RoomHandle;
use crate::chat::session::active::SessionTypes;
use crate::chat::session::deadlines::Timeouts;
use crate::chat::session::machine::SessionMachine;
use crate::chat::session::outbox::Outbox;
use crate::config::Limits;
use crate::model::{ByeReason, ConnectionId, ErrorCode, Reply, ReplyTo, RoomId, RoomName, Ticket};
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

/// What a connection's [`SessionMachine`] keeps for the actors: replies as bytes of its wire, and one handle of
/// each room for all of a thread who are in it.
#[derive(Debug)]
pub struct OfActors;

impl SessionTypes for OfActors {
    type Reply = Bytes;
    type Room = Rc<RoomHandle>;

    fn room(room: &Rc<RoomHandle>) -> (RoomId, &RoomName) {
        (room.id, &room.name)
    }
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
    /// Whether it waits for a turn; sessions need none.
    pub turn: Cell<Turn>,
    /// The fan-out's mark on those who spoke in the batch that it hands round.
    pub spoke: Cell<bool>,
    stream: RefCell<Stream>,
    outbox: RefCell<Outbox>,
    limits: Arc<Limits>,
    /// Whether the socket took no more at the last write, and the session waits until it does.
    blocked: Cell<bool>,
    machine: RefCell<SessionMachine<OfActors>>,
    waker: RefCell<Option<Waker>>,
}

impl Connection {
    /// A connection over this stream, within these limits; with a code, one that may not stay.
    pub fn new(
        id: ConnectionId,
        peer: SocketAddr,
        stream: Stream,
        wire: Wire,
        limits: Arc<Limits>,
        refused: Option<ErrorCode>,
    ) -> Self {
        Connection {
            id,
            peer,
            wire,
            turn: Cell::new(Turn::None),
            spoke: Cell::new(false),
            stream: RefCell::new(stream),
            outbox: RefCell::default(),
            limits,
            blocked: Cell::new(false),
            machine: RefCell::new(SessionMachine::new(refused)),
            waker: RefCell::default(),
        }
    }

    /// Where it is in its life. Nothing else of the connection may be called while this is held.
    pub fn machine(&self) -> RefMut<'_, SessionMachine<OfActors>> {
        self.machine.borrow_mut()
    }

    // ------------------------------------------------------------ replies

    /// Where the reply to a request goes.
    pub fn reply_to(&self, ticket: Ticket) -> ReplyTo {
        ReplyTo { connection: self.id, ticket }
    }

    /// Takes the reply to a request, which leaves when those before it have left. Whether there is more than it
    /// has room for.
    pub fn answer(&self, ticket: Ticket, reply: &Reply) -> bool {
        let mut machine = self.machine();
        let (frame, more) =
            encode::reply(self.wire, reply, machine.reference(ticket), self.limits.max_frame_bytes);
        machine.answer(ticket, frame);
        while let Some(frame) = machine.next_reply() {
            drop(machine);
            self.push(frame);
            machine = self.machine();
        }
        let needs_driving = machine.needs_driving();
        drop(machine);
        if needs_driving {
            self.wake();
        }
        more
    }

    // ------------------------------------------------------------ the end

    /// Lets it go; see [`SessionMachine::let_go`].
    pub fn let_go(&self, reason: ByeReason, text: Option<String>) {
        self.machine().let_go(reason, text);
        self.wake();
    }

    fn broken(&self) {
        self.machine().broken();
        self.wake();
    }

    /// One tick has passed. Whether a ping was put into the outbox.
    pub fn tick(&self, timeouts: &Timeouts, ping: &SharedFrames) -> bool {
        let mut machine = self.machine();
        let is_ping_due = machine.tick(timeouts);
        let is_to_go = !machine.takes_requests();
        drop(machine);
        if is_ping_due {
            self.push_shared(ping);
        }
        if is_to_go {
            self.wake();
        }
        is_ping_due
    }

    // ------------------------------------------------------------ writing

    /// Puts frames that others get, too, into the outbox.
    pub fn push_shared(&self, frames: &SharedFrames) {
        self.push(frames.on(self.wire).all().clone());
    }

    /// Puts frames of its wire into the outbox; [`Connection::flush`] writes them. A consumer whose outbox is full is let
    /// go.
    pub fn push(&self, frames: Bytes) {
        if !self.machine.borrow().takes_frames() {
            return;
        }
        if self.outbox.borrow_mut().push(frames, self.limits.outbox_bytes).is_err() {
            self.let_go(ByeReason::Fault(ErrorCode::SlowConsumer), None);
        }
    }

    /// Puts the last words behind all that waits, or in its place: a slow consumer's words stand before
    /// everything that it was too slow for.
    pub fn push_last_words(&self, words: impl IntoIterator<Item = Bytes>, drop_unsent: bool) {
        let mut outbox = self.outbox.borrow_mut();
        if drop_unsent {
            outbox.keep_started_frame(|frames, position| self.wire.end_of_frame_at(frames, position));
        }
        for word in words {
            // The bound was kept until here; two last words may go over it.
            let _ = outbox.push(word, usize::MAX);
        }
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
                        self.broken();
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
                    self.machine().write_moved();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.machine().write_blocked();
                    self.blocked.set(true);
                    return false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    outbox.clear();
                    self.broken();
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
            self.machine().heard();
            buffer.filled().len()
        })
    }

    // ------------------------------------------------------------ waking

    /// Keeps the task that [`Connection::wake`] wakes.
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
