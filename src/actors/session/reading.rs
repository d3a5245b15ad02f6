//! The turns of a session: how much it reads and handles before it lets others of its thread go first.
//!
//! A turn is counted in frames and in bytes, for a frame may cost a thousand times what another does. A
//! session's turn comes again when the thread has looked at its sockets. Strangers, who have no session, have
//! smaller turns and wait for them in turn ([`crate::chat::limits::crowd`]); so does a session that a limit refused
//! something a moment ago, so that refusing costs nobody else anything.

use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use actix::Context;
use bytes::{Buf, BytesMut};

use super::SessionActor;
use crate::actors::connection::Turn;
use crate::actors::yield_now;
use crate::chat::limits::crowd::Lane;
use crate::chat::session::machine::Readiness;
use crate::model::ByeReason;
use crate::wire::{Decoded, WireError, WireState};

/// Frames that a session handles in one turn.
const FRAMES: usize = 64;
/// Frames that a stranger has handled in one turn.
const STRANGERS_FRAMES: usize = 16;

/// What is left of a turn.
struct Left {
    frames: usize,
    bytes: usize,
}

/// What became of the frame that some bytes begin with.
enum Handled {
    /// It is done with, and so many bytes long.
    Done(usize),
    /// It has not come as a whole.
    Incomplete,
    /// It cannot begin yet.
    Waits,
    /// It is the last one that counts: the peer ends with it.
    Ends,
    /// Nothing can be made of it, nor of what is behind it.
    Broken(WireError),
}

impl SessionActor {
    /// Whether it waits for its turns among the strangers.
    pub(super) fn is_stranger(&self) -> bool {
        self.machine().is_stranger(&self.context.rules, self.now())
    }

    /// Reads and handles frames until nothing has come, something has to wait, or it is others' turn. Whether it
    /// waits for the peer to read what it was sent.
    pub(super) fn read_frames(&mut self, ctx: &mut Context<Self>, task: &mut TaskContext<'_>) -> bool {
        let is_stranger = self.is_stranger();
        // What cannot be handled anyway needs no turn.
        if is_stranger && self.readiness() == Readiness::Ready && !self.has_turn() {
            self.machine().listen(false);
            return false;
        }
        let limits = &self.context.rules.limits;
        let mut left = match is_stranger {
            true => Left { frames: STRANGERS_FRAMES, bytes: limits.stranger_bytes },
            false => Left { frames: FRAMES, bytes: limits.turn_bytes },
        };
        self.machine().listen(true);
        let context = Rc::clone(&self.context);
        let mut buffer = context.read_buffer.borrow_mut();
        loop {
            let mut unread = std::mem::take(&mut self.unread);
            let kept = self.kept_bytes;
            let (used, readiness) = self.handle_frames(&mut unread, &mut left, ctx);
            unread.advance(used);
            if kept > self.kept_bytes {
                // The next frame's beginning does not keep the memory of a large one.
                unread = BytesMut::from(&*unread);
            }
            self.keep(unread);
            if !self.machine().reads() {
                return false;
            }
            if left.frames == 0 || left.bytes == 0 {
                self.ends_turn(is_stranger, task);
                return false;
            }
            if readiness != Readiness::Ready {
                // Whoever answers wakes a session that does not listen.
                self.machine().listen(false);
                return readiness == Readiness::WaitsForWrite;
            }
            if let Some(bytes) = self.needs_room() {
                self.machine().listen(false);
                context.strangers.queue(&self.connection, Lane::Large(bytes));
                return false;
            }
            let most = left.bytes.min(buffer.len());
            match self.connection.poll_read(task, &mut buffer[..most]) {
                Poll::Pending => return false,
                Poll::Ready(Ok(0)) => self.machine().peer_ended(),
                Poll::Ready(Ok(count)) => {
                    left.bytes -= count;
                    self.read_bytes = self.read_bytes.saturating_add(count);
                    let came = &mut buffer[..count];
                    if self.unread.is_empty() {
                        let (used, _) = self.handle_frames(came, &mut left, ctx);
                        self.unread.extend_from_slice(&came[used..]);
                    } else {
                        self.unread.extend_from_slice(came);
                    }
                }
                Poll::Ready(Err(_)) => self.machine().broken(),
            }
        }
    }

    // ------------------------------------------------------------ turns

    fn has_turn(&self) -> bool {
        self.context.strangers.has_turn(&self.connection, self.lane())
    }

    fn lane(&self) -> Lane {
        if self.read_bytes < self.context.rules.limits.stranger_bytes { Lane::New } else { Lane::Known }
    }

    /// It has had its turn, and wants another one.
    fn ends_turn(&self, is_stranger: bool, task: &mut TaskContext<'_>) {
        if is_stranger {
            self.machine().listen(false);
            self.context.strangers.queue(&self.connection, self.lane());
        } else {
            yield_now(task);
        }
    }

    /// A stranger that has the beginning of a large frame needs room for all of it, before more is read: how
    /// much, when there is none at the moment.
    fn needs_room(&mut self) -> Option<usize> {
        let limits = &self.context.rules.limits;
        let has_come = self.unread.len() + self.wire_state.kept_bytes();
        if self.machine().session().is_some() || self.kept_bytes > 0 || has_come < limits.stranger_bytes {
            return None;
        }
        let frame_bytes = self.connection.wire.announced_bytes(&self.unread);
        let unread_bytes = frame_bytes.unwrap_or(0) + limits.stranger_bytes;
        let bytes = match self.wire_state.is_amid_message() {
            // How many pieces come nobody knows: as much as there may be, and the largest piece.
            true => 2 * limits.max_frame_bytes + limits.stranger_bytes,
            false => frame_bytes.map(|_| unread_bytes)?,
        };
        if !self.context.strangers.keep(bytes) {
            return Some(bytes);
        }
        self.kept_bytes = bytes;
        // As much as is kept, and not the double of it that growing might come to.
        let mut whole = BytesMut::with_capacity(unread_bytes);
        whole.extend_from_slice(&self.unread);
        self.unread = whole;
        None
    }

    /// Gives back the room for a large frame.
    pub(super) fn give_back_room(&mut self) {
        self.context.strangers.release(std::mem::take(&mut self.kept_bytes));
    }

    /// It is no stranger any more.
    pub(super) fn has_come_in(&mut self) {
        let limits = &self.context.rules.limits;
        self.connection.set_send_buffer(limits.socket_send_buffer_bytes);
        self.connection.turn.set(Turn::None);
        self.give_back_room();
    }

    // ------------------------------------------------------------ frames

    /// Keeps what is unread; nothing is kept of a buffer that is used up, so that an idle session has none.
    fn keep(&mut self, unread: BytesMut) {
        let is_open = !unread.is_empty() || self.wire_state.is_amid_message();
        self.machine().frame_is_open(is_open);
        self.unread = if unread.is_empty() { BytesMut::new() } else { unread };
    }

    /// Handles the frames that `bytes` begin with: how many bytes were used, and what the rest waits for, if not
    /// for more bytes.
    fn handle_frames(
        &mut self,
        bytes: &mut [u8],
        left: &mut Left,
        ctx: &mut Context<Self>,
    ) -> (usize, Readiness) {
        let mut used = 0;
        while self.machine().reads() && left.frames > 0 {
            let readiness = self.readiness();
            if readiness != Readiness::Ready {
                return (used, readiness);
            }
            match self.handle_first(&mut bytes[used..], ctx) {
                Handled::Done(length) => {
                    used += length;
                    left.frames -= 1;
                    if !self.wire_state.is_amid_message() {
                        self.machine().frame_completed();
                        self.give_back_room();
                    }
                }
                Handled::Incomplete => break,
                Handled::Waits => return (used, Readiness::WaitsForAnswer),
                Handled::Ends => {
                    self.machine().peer_ended();
                    used = bytes.len();
                }
                Handled::Broken(why) => {
                    let text = match why {
                        WireError::TooLarge { .. } => None,
                        why => Some(format!("This breaks the framing: {why}.")),
                    };
                    self.machine().let_go(ByeReason::Fault(why.code()), text);
                    used = bytes.len();
                }
            }
        }
        (used, Readiness::Ready)
    }

    /// Handles the frame that `bytes` begin with.
    fn handle_first(&mut self, bytes: &mut [u8], ctx: &mut Context<Self>) -> Handled {
        let mut state = std::mem::take(&mut self.wire_state);
        let handled = self.handle_with(&mut state, bytes, ctx);
        self.wire_state = state;
        handled
    }

    fn handle_with(&mut self, state: &mut WireState, bytes: &mut [u8], ctx: &mut Context<Self>) -> Handled {
        match self.connection.wire.peek(state, bytes, self.context.rules.limits.max_frame_bytes) {
            Ok(Some((Decoded::Payload(payload), length))) => match self.take(payload, ctx) {
                true => {
                    state.taken();
                    Handled::Done(length)
                }
                false => Handled::Waits,
            },
            Ok(Some((Decoded::Control(answer), length))) => {
                self.machine().count(length, &self.context.rules, self.now());
                if let Some(answer) = answer {
                    self.connection.push(answer);
                }
                Handled::Done(length)
            }
            Ok(Some((Decoded::End, _))) => Handled::Ends,
            Ok(None) => Handled::Incomplete,
            Err(why) => Handled::Broken(why),
        }
    }

    /// Whether another frame may be looked at.
    fn readiness(&self) -> Readiness {
        self.machine().readiness(&self.context.rules, self.connection.waiting_bytes())
    }

    /// Reads what nobody looks at any more; `Ready` when the peer has ended its side.
    pub(super) fn read_to_the_end(&mut self, task: &mut TaskContext<'_>) -> Poll<()> {
        let is_stranger = self.is_stranger();
        if is_stranger && !self.has_turn() {
            return Poll::Pending;
        }
        let context = Rc::clone(&self.context);
        let mut buffer = context.read_buffer.borrow_mut();
        // A peer that pours without end is dropped by the deadline for closing.
        match self.connection.poll_read(task, &mut buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(()),
            Poll::Ready(Ok(_)) => {
                self.ends_turn(is_stranger, task);
                Poll::Pending
            }
        }
    }
}
