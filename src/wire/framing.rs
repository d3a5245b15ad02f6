//! The wires, and what they have in common. Each match over [`Wire`] stands here.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::frames::Frames;
use super::{native, websocket};
use crate::model::{ByeReason, ErrorCode};

/// How payloads are framed on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wire {
    /// A 4-byte length, then the payload.
    Native,
    /// A text message of RFC 6455, subprotocol `veche.v1`, from the first frame behind the upgrade on.
    WebSocket,
}

/// Why nothing more can be read from a peer. Nothing behind it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A payload over the bound was announced. Nothing was allocated for it.
    #[error("a payload of {announced_bytes} bytes is over the bound of {max_bytes}")]
    TooLarge {
        /// What was announced, in bytes; with what came of the same message before.
        announced_bytes: u64,
        /// The bound, in bytes.
        max_bytes: usize,
    },
    /// A message that is not of the kind that carries payloads.
    #[error("a binary message, where all are texts")]
    NotText,
    /// A message that has to be UTF-8 and is not.
    #[error("a text that is no UTF-8")]
    NotUtf8,
    /// The rules of the framing are broken.
    #[error("{0}")]
    Broken(&'static str),
}

impl WireError {
    /// The code that tells the peer.
    pub fn code(self) -> ErrorCode {
        match self {
            WireError::TooLarge { .. } => ErrorCode::FrameTooLarge,
            WireError::NotText | WireError::NotUtf8 | WireError::Broken(_) => ErrorCode::BadRequest,
        }
    }
}

/// What a wire keeps about one connection beside the bytes that are no frame yet: nothing while it idles.
#[derive(Debug, Default)]
pub struct WireState(pub(super) Option<Box<websocket::State>>);

impl WireState {
    /// Whether a message has begun whose rest has not come.
    pub fn is_amid_message(&self) -> bool {
        self.0.is_some()
    }

    /// Bytes that are kept of that message.
    pub fn kept_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |state| state.kept_bytes())
    }

    /// The payload that was shown last is done with. Until this is called, it is shown again.
    pub fn taken(&mut self) {
        self.0 = None;
    }
}

/// What the bytes of a peer begin with.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A whole payload.
    Payload(&'a [u8]),
    /// Something of the wire's own, which is done with. Perhaps there is an answer, to be sent at once.
    Control(Option<Bytes>),
    /// The peer says that nothing more comes. Nothing behind it is looked at.
    End,
}

/// What was found, and how many bytes it takes.
pub type Peeked<'a> = (Decoded<'a>, usize);

impl Wire {
    /// All of them.
    pub const ALL: [Wire; 2] = [Wire::Native, Wire::WebSocket];

    // ------------------------------------------------------------ reading

    /// What `bytes` begin with, borrowed; `None` while that is not complete. The bytes may lie in a buffer that
    /// many connections share: they are changed in place (unmasked), in a way that bears being done again.
    ///
    /// Whatever is not a [`Decoded::Payload`] is done with when it is shown. A payload is shown again from the
    /// same bytes until [`WireState::taken`].
    ///
    /// # Errors
    /// [`WireError`] when nothing can come of these bytes.
    pub fn peek<'a>(
        self,
        state: &'a mut WireState,
        bytes: &'a mut [u8],
        max_frame_bytes: usize,
    ) -> Result<Option<Peeked<'a>>, WireError> {
        match self {
            Wire::Native => native::peek(bytes, max_frame_bytes),
            Wire::WebSocket => websocket::peek(&mut state.0, bytes, max_frame_bytes),
        }
    }

    /// The length of the frame that `bytes` begin with, its header included, once that is there. Nothing is
    /// checked; a frame that [`Wire::peek`] waits for is within the bound.
    pub fn announced_bytes(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Wire::Native => native::announced_bytes(bytes),
            Wire::WebSocket => websocket::announced_bytes(bytes),
        }
    }

    // ------------------------------------------------------------ writing

    /// One frame, whose payload `write` puts behind what is there already. `capacity_bytes` is about what it
    /// takes.
    pub fn frame(self, capacity_bytes: usize, write: impl FnOnce(&mut BytesMut)) -> Bytes {
        let room = match self {
            Wire::Native => native::HEADER_BYTES,
            Wire::WebSocket => websocket::LONGEST_HEADER,
        };
        let mut frame = BytesMut::with_capacity(capacity_bytes);
        frame.put_bytes(0, room);
        write(&mut frame);
        // The header stands right before the payload, however short it is.
        let payload_bytes = frame.len() - room;
        let start = room - self.header_bytes(payload_bytes);
        self.put_header(&mut &mut frame[start..room], payload_bytes);
        frame.advance(start);
        frame.freeze()
    }

    /// The same payloads, copied into the frames of another wire. `frames` are whole frames of this wire, one
    /// behind the other, as the server writes them.
    pub fn reframe(self, frames: &[u8], to: Wire) -> Frames {
        let payloads = || Payloads { wire: self, frames };
        let (count, bytes) = payloads().fold((0, 0), |(count, bytes), payload| {
            (count + 1, bytes + to.header_bytes(payload.len()) + payload.len())
        });
        let (mut reframed, mut ends) = (BytesMut::with_capacity(bytes), Vec::with_capacity(count));
        for payload in payloads() {
            to.put_header(&mut reframed, payload.len());
            reframed.put_slice(payload);
            ends.push(reframed.len());
        }
        Frames::new(reframed.freeze(), ends)
    }

    /// What stands behind the last word of a connection, where the wire has something of the kind: why it ends.
    /// `reason` is that of the `bye`, and there is none when the peer went first.
    pub fn ending(self, state: &WireState, reason: Option<ByeReason>) -> Option<Bytes> {
        match self {
            Wire::Native => None,
            Wire::WebSocket => Some(websocket::closing(state.0.as_deref(), reason)),
        }
    }

    /// Where the frame ends that the byte before `position` belongs to; `frames` are whole frames, as the
    /// server writes them.
    pub fn end_of_frame_at(self, frames: &[u8], position: usize) -> usize {
        let mut end = 0;
        while end < position {
            match self.first_frame(&frames[end..]) {
                Some((header, payload)) => end += header + payload,
                None => return frames.len(),
            }
        }
        end
    }

    /// Bytes of the header before a payload of this length.
    fn header_bytes(self, payload_bytes: usize) -> usize {
        match self {
            Wire::Native => native::HEADER_BYTES,
            Wire::WebSocket => websocket::header_bytes(payload_bytes),
        }
    }

    fn put_header(self, frame: &mut impl BufMut, payload_bytes: usize) {
        match self {
            Wire::Native => native::put_header(frame, payload_bytes),
            Wire::WebSocket => websocket::put_header(frame, payload_bytes),
        }
    }

    /// The lengths of header and payload of the frame of the server's that `frames` begin with, if it is whole.
    fn first_frame(self, frames: &[u8]) -> Option<(usize, usize)> {
        let (header, payload) = match self {
            Wire::Native => native::first_frame(frames),
            Wire::WebSocket => websocket::first_frame(frames),
        }?;
        (frames.len() - header >= payload).then_some((header, payload))
    }
}

/// The payloads of the server's frames.
struct Payloads<'a> {
    wire: Wire,
    frames: &'a [u8],
}

impl<'a> Iterator for Payloads<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (header, length) = self.wire.first_frame(self.frames)?;
        let (frame, rest) = self.frames.split_at(header + length);
        self.frames = rest;
        Some(&frame[header..])
    }
}
