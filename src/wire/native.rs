//! The wire of `veche-client` and of programs: [`crate::codec`], for a server that reads from a shared buffer.

use bytes::BufMut;

use super::framing::{Decoded, Peeked, WireError};
use crate::codec::{CodecError, FrameCodec};

pub use crate::codec::HEADER_BYTES;

pub fn peek(bytes: &[u8], max_frame_bytes: usize) -> Result<Option<Peeked<'_>>, WireError> {
    match FrameCodec::new(max_frame_bytes).peek(bytes) {
        Ok(frame) => Ok(frame.map(|(payload, used)| (Decoded::Payload(payload), used))),
        Err(CodecError::FrameTooLarge { announced_bytes, max_bytes }) => {
            Err(WireError::TooLarge { announced_bytes, max_bytes })
        }
        Err(CodecError::Io(_)) => Err(WireError::Broken("what lies in memory failed to be read")),
    }
}

/// The whole frame that begins here, in bytes.
pub fn announced_bytes(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_be_bytes(*bytes.first_chunk::<HEADER_BYTES>()?);
    Some(usize::try_from(length).unwrap_or(usize::MAX).saturating_add(HEADER_BYTES))
}

pub fn put_header(frame: &mut impl BufMut, payload_bytes: usize) {
    frame.put_u32(u32::try_from(payload_bytes).expect("a frame is built within max_frame, a u32"));
}

/// The lengths of header and payload of the frame that begins here.
pub fn first_frame(frames: &[u8]) -> Option<(usize, usize)> {
    Some((HEADER_BYTES, announced_bytes(frames)? - HEADER_BYTES))
}
