//! The wire of browsers: RFC 6455 from the first frame behind the upgrade on, subprotocol `veche.v1`. One text
//! message is one payload; there are no extensions, so nothing is compressed.
//!
//! The server's messages are one frame each and not masked, so that a batch's payloads are the native wire's,
//! byte by byte, behind other headers. A client's frames are masked. They are unmasked where they lie, and the
//! mask in their header is set to zeros then: who looks again finds the same payload.
//!
//! | what the peer does | close code |
//! | --- | --- |
//! | closes | its own code comes back |
//! | sends a binary message | 1003 |
//! | sends a text that is no UTF-8, also as its reason to close | 1007 |
//! | sends a message over `max_frame` | 1009 |
//! | breaks another rule of RFC 6455 | 1002 |
//! | breaks a rule of the protocol, or is too slow, or silent | 1008 |
//! | `exit`s, is resumed elsewhere, kicked, or its session expires | 1000 |
//! | is there when the server stops | 1001 |

use std::io::Cursor;

use bytes::{BufMut, Bytes, BytesMut};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use super::framing::{Decoded, Peeked, WireError};
use crate::model::{ByeReason, ErrorCode};

/// The longest header of a frame of the server's, in bytes.
pub(super) const LONGEST_HEADER: usize = 10;
/// The longest payload of a control frame, in bytes.
const MOST_CONTROL_BYTES: usize = 125;
/// Bytes of a mask.
const MASK_BYTES: usize = 4;

/// What is remembered of the frames that have come. There is one only between the pieces of a message, and when
/// the connection ends.
#[derive(Debug)]
pub struct State {
    /// The pieces that have come of a message.
    message: Vec<u8>,
    /// How long `message` is without the last piece, which is put behind it whenever it is looked at.
    kept_bytes: usize,
    /// The code that the connection is closed with: the peer's own, or what it did wrong. `Status` means none.
    close: Option<CloseCode>,
}

impl State {
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    fn boxed(message: Vec<u8>, close: Option<CloseCode>) -> Option<Box<Self>> {
        Some(Box::new(State { kept_bytes: message.len(), message, close }))
    }
}

// ---------------------------------------------------------------- reading

pub(super) fn peek<'a>(
    state: &'a mut Option<Box<State>>,
    bytes: &'a mut [u8],
    max_frame_bytes: usize,
) -> Result<Option<Peeked<'a>>, WireError> {
    match first_of(state, bytes, max_frame_bytes) {
        Ok(None) => Ok(None),
        Ok(Some((FrameRead::Control(answer), used))) => Ok(Some((Decoded::Control(answer), used))),
        Ok(Some((FrameRead::End(code), used))) => {
            *state = State::boxed(Vec::new(), Some(code));
            Ok(Some((Decoded::End, used)))
        }
        Ok(Some((FrameRead::Here { start }, used))) => {
            Ok(Some((Decoded::Payload(&bytes[start..used]), used)))
        }
        Ok(Some((FrameRead::InPieces, used))) => {
            Ok(Some((Decoded::Payload(state.as_ref().map_or(&[], |state| &state.message)), used)))
        }
        Err(why) => {
            *state = State::boxed(Vec::new(), Some(close_code(why)));
            Err(why)
        }
    }
}

/// What a frame comes to.
enum FrameRead {
    Control(Option<Bytes>),
    End(CloseCode),
    /// A payload that lies in the frame, from here to its end.
    Here {
        start: usize,
    },
    /// A payload whose pieces lie in the state.
    InPieces,
}

/// Looks at the first frame; with its length, once it is whole.
fn first_of(
    state: &mut Option<Box<State>>,
    bytes: &mut [u8],
    max_frame_bytes: usize,
) -> Result<Option<(FrameRead, usize)>, WireError> {
    let Some((header, start, length)) = header(bytes)? else { return Ok(None) };
    if header.len(length) != start || length > i64::MAX as u64 {
        return Err(WireError::Broken("a length that is not written as short as can be"));
    }
    check(&header, length, state.as_deref(), max_frame_bytes)?;
    // Within the bound now.
    let end = usize::try_from(length).map_or(usize::MAX, |length| start.saturating_add(length));
    if bytes.len() < end {
        return Ok(None);
    }
    unmask(&mut bytes[start - MASK_BYTES..end]);
    let payload = &bytes[start..end];
    let found = match header.opcode {
        OpCode::Data(Data::Text) if header.is_final => {
            std::str::from_utf8(payload).map_err(|_| WireError::NotUtf8)?;
            FrameRead::Here { start }
        }
        OpCode::Data(_) => piece(state, payload, header.is_final, max_frame_bytes)?,
        OpCode::Control(Control::Ping) => FrameRead::Control(Some(control(Control::Pong, payload))),
        OpCode::Control(Control::Close) => FrameRead::End(asked_close(payload)?),
        OpCode::Control(_) => FrameRead::Control(None),
    };
    Ok(Some((found, end)))
}

/// The header that `bytes` begin with, its own length, and that of its payload; once it is there.
fn header(bytes: &[u8]) -> Result<Option<(FrameHeader, usize, u64)>, WireError> {
    let mut cursor = Cursor::new(bytes);
    let parsed = FrameHeader::parse(&mut cursor);
    let parsed = parsed.map_err(|_| WireError::Broken("a frame of a kind that there is not"))?;
    Ok(parsed.map(|(header, length)| (header, usize::try_from(cursor.position()).unwrap_or(0), length)))
}

/// Whether a client may send such a frame now.
fn check(
    header: &FrameHeader,
    length: u64,
    state: Option<&State>,
    max_frame_bytes: usize,
) -> Result<(), WireError> {
    let in_pieces = state.is_some();
    let broken = |why| Err(WireError::Broken(why));
    if header.mask.is_none() {
        return broken("a frame that is not masked");
    }
    if header.rsv1 || header.rsv2 || header.rsv3 {
        return broken("a reserved bit that is set");
    }
    match header.opcode {
        OpCode::Control(_) if !header.is_final => return broken("a control frame in pieces"),
        OpCode::Control(_) if length > MOST_CONTROL_BYTES as u64 => return broken("a long control frame"),
        OpCode::Control(_) => return Ok(()),
        OpCode::Data(Data::Continue) if !in_pieces => return broken("a piece of no message"),
        OpCode::Data(Data::Continue) => {}
        OpCode::Data(_) if in_pieces => return broken("a message amid another one"),
        OpCode::Data(Data::Text) => {}
        OpCode::Data(_) => return Err(WireError::NotText),
    }
    let announced_bytes = length.saturating_add(state.map_or(0, State::kept_bytes) as u64);
    if announced_bytes > max_frame_bytes as u64 {
        return Err(WireError::TooLarge { announced_bytes, max_bytes: max_frame_bytes });
    }
    Ok(())
}

/// Takes a piece of a message. The last one is not kept, but put behind the others each time it is looked at.
fn piece(
    state: &mut Option<Box<State>>,
    payload: &[u8],
    is_last: bool,
    max_frame_bytes: usize,
) -> Result<FrameRead, WireError> {
    let state =
        state.get_or_insert_with(|| Box::new(State { message: Vec::new(), kept_bytes: 0, close: None }));
    state.message.truncate(state.kept_bytes);
    // It grows by doubling, but not beyond what a message may have.
    let (needed, capacity) = (state.kept_bytes + payload.len(), state.message.capacity());
    if needed > capacity {
        let grown = (2 * capacity).min(max_frame_bytes).max(needed);
        state.message.reserve_exact(grown - state.kept_bytes);
    }
    state.message.extend_from_slice(payload);
    if !is_last {
        state.kept_bytes = state.message.len();
        return Ok(FrameRead::Control(None));
    }
    std::str::from_utf8(&state.message).map_err(|_| WireError::NotUtf8)?;
    Ok(FrameRead::InPieces)
}

/// The code that a peer closes with, which is also the answer.
fn asked_close(payload: &[u8]) -> Result<CloseCode, WireError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(CloseCode::Status)
        } else {
            Err(WireError::Broken("half a code to close with"))
        };
    };
    let code = CloseCode::from(u16::from_be_bytes(*code));
    if !code.is_allowed() {
        return Err(WireError::Broken("a code that nobody closes with"));
    }
    std::str::from_utf8(reason).map_err(|_| WireError::NotUtf8)?;
    Ok(code)
}

/// Takes the mask, which the frame begins with here, off what follows, and sets it to zeros.
fn unmask(masked: &mut [u8]) {
    let Some((mask, payload)) = masked.split_first_chunk_mut::<MASK_BYTES>() else { return };
    let [a, b, c, d] = *mask;
    let twice = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ twice).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    *mask = [0; MASK_BYTES];
}

/// The whole frame that begins here, in bytes.
pub(super) fn announced_bytes(bytes: &[u8]) -> Option<usize> {
    let (_, start, length) = header(bytes).ok()??;
    Some(usize::try_from(length).unwrap_or(usize::MAX).saturating_add(start))
}

// ---------------------------------------------------------------- writing

/// The header of a message of the server's.
fn text_header() -> FrameHeader {
    FrameHeader { opcode: OpCode::Data(Data::Text), ..FrameHeader::default() }
}

pub(super) fn header_bytes(payload_bytes: usize) -> usize {
    text_header().len(payload_bytes as u64)
}

pub(super) fn put_header(frame: &mut impl BufMut, payload_bytes: usize) {
    let header = text_header();
    header.format(payload_bytes as u64, &mut frame.writer()).expect("room in memory was made for it");
}

/// The lengths of header and payload of the frame of the server's that begins here.
pub(super) fn first_frame(frames: &[u8]) -> Option<(usize, usize)> {
    let (_, start, length) = header(frames).ok()??;
    Some((start, usize::try_from(length).ok()?))
}

/// A control frame of the server's. Its payload is short.
fn control(opcode: Control, payload: &[u8]) -> Bytes {
    let header = FrameHeader { opcode: OpCode::Control(opcode), ..FrameHeader::default() };
    let mut frame = BytesMut::with_capacity(2 + payload.len()).writer();
    header.format(payload.len() as u64, &mut frame).expect("memory takes all that is written");
    let mut frame = frame.into_inner();
    frame.put_slice(payload);
    frame.freeze()
}

/// The last frame of a connection.
pub(super) fn closing(state: Option<&State>, reason: Option<ByeReason>) -> Bytes {
    let code = state.and_then(|state| state.close).unwrap_or(match reason {
        Some(ByeReason::ShuttingDown | ByeReason::Fault(ErrorCode::ShuttingDown)) => CloseCode::Away,
        Some(ByeReason::Fault(_)) => CloseCode::Policy,
        Some(_) | None => CloseCode::Normal,
    });
    match code {
        CloseCode::Status => control(Control::Close, &[]),
        code => control(Control::Close, &u16::from(code).to_be_bytes()),
    }
}

/// The code that tells what a peer did wrong.
fn close_code(why: WireError) -> CloseCode {
    match why {
        WireError::TooLarge { .. } => CloseCode::Size,
        WireError::NotText => CloseCode::Unsupported,
        WireError::NotUtf8 => CloseCode::Invalid,
        WireError::Broken(_) => CloseCode::Protocol,
    }
}

#[cfg(test)]
mod tests;
