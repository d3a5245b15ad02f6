//! Bytes ↔ frames: a 4-byte unsigned big-endian length N, then N bytes of payload.
//!
//! The server and the client share this file. "Not enough yet" is a value (`Ok(None)`), not an error, and
//! nothing is ever allocated for a length that was only announced. What the payload means is the business
//! of [`crate::wire::json`].

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

/// Bytes of the length header.
pub const HEADER_BYTES: usize = 4;
/// The default bound on a payload, in bytes.
pub const DEFAULT_MAX_FRAME_BYTES: usize = 65_536;

/// Why no frame can come of these bytes, ever. The connection cannot be used after it.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The peer announced, or we were asked to write, more than the bound.
    #[error("a frame of {announced_bytes} bytes is over the bound of {max_bytes}")]
    FrameTooLarge {
        /// The announced length, in bytes.
        announced_bytes: u64,
        /// The bound, in bytes.
        max_bytes: usize,
    },
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Splits a stream of bytes into payloads, and puts a header before each payload that goes out.
///
/// A payload of 0 bytes decodes as an empty frame: it breaks the protocol, not the framing, so that the
/// connection can stay.
#[derive(Debug, Clone, Copy)]
pub struct FrameCodec {
    max_frame_bytes: usize,
}

impl FrameCodec {
    /// A codec that lets payloads of up to `max_frame_bytes` bytes through, in both directions.
    pub fn new(max_frame_bytes: usize) -> Self {
        FrameCodec { max_frame_bytes }
    }

    /// The bound on a payload, in bytes.
    pub fn max_frame_bytes(&self) -> usize {
        self.max_frame_bytes
    }

    /// The length of the payload that `bytes` begin with, once its header is there.
    ///
    /// # Errors
    /// [`CodecError::FrameTooLarge`] when the header announces more than the bound.
    fn announced(&self, bytes: &[u8]) -> Result<Option<usize>, CodecError> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let announced = u32::from_be_bytes(*header);
        match usize::try_from(announced) {
            Ok(length) if length <= self.max_frame_bytes => Ok(Some(length)),
            _ => Err(CodecError::FrameTooLarge {
                announced_bytes: announced.into(),
                max_bytes: self.max_frame_bytes,
            }),
        }
    }

    /// The first frame in `bytes`, borrowed, and how many bytes it takes with its header; `None` while it is
    /// not complete. This is how the server reads from a buffer that many connections share.
    ///
    /// # Errors
    /// [`CodecError::FrameTooLarge`] when the header announces more than the bound.
    pub fn peek<'a>(&self, bytes: &'a [u8]) -> Result<Option<(&'a [u8], usize)>, CodecError> {
        let Some(length) = self.announced(bytes)? else {
            return Ok(None);
        };
        let end = HEADER_BYTES + length;
        Ok(bytes.get(HEADER_BYTES..end).map(|payload| (payload, end)))
    }
}

impl Default for FrameCodec {
    fn default() -> Self {
        FrameCodec::new(DEFAULT_MAX_FRAME_BYTES)
    }
}

impl Decoder for FrameCodec {
    type Item = Bytes;
    type Error = CodecError;

    fn decode(&mut self, source: &mut BytesMut) -> Result<Option<Bytes>, CodecError> {
        let Some(length) = self.announced(source)? else {
            return Ok(None);
        };
        if source.len() < HEADER_BYTES + length {
            // No `reserve(length)` here: the buffer grows with what has come, not with what was promised.
            return Ok(None);
        }
        source.advance(HEADER_BYTES);
        Ok(Some(source.split_to(length).freeze()))
    }
}

impl<P: AsRef<[u8]>> Encoder<P> for FrameCodec {
    type Error = CodecError;

    fn encode(&mut self, payload: P, target: &mut BytesMut) -> Result<(), CodecError> {
        let payload = payload.as_ref();
        match u32::try_from(payload.len()) {
            Ok(header) if payload.len() <= self.max_frame_bytes => {
                target.reserve(HEADER_BYTES + payload.len());
                target.put_u32(header);
                target.put_slice(payload);
                Ok(())
            }
            _ => Err(CodecError::FrameTooLarge {
                announced_bytes: payload.len() as u64,
                max_bytes: self.max_frame_bytes,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(payloads: &[Vec<u8>]) -> BytesMut {
        let mut bytes = BytesMut::new();
        for payload in payloads {
            FrameCodec::default().encode(payload, &mut bytes).expect("the test keeps under the bound");
        }
        bytes
    }

    fn decode_all(codec: &mut FrameCodec, buffer: &mut BytesMut) -> Vec<Bytes> {
        std::iter::from_fn(|| codec.decode(buffer).expect("the test keeps under the bound")).collect()
    }

    #[test]
    fn an_announced_length_over_the_bound_is_an_error_and_allocates_nothing() {
        for announced in [65_537_u32, u32::MAX] {
            let mut buffer = BytesMut::from(&announced.to_be_bytes()[..]);
            let capacity = buffer.capacity();
            let error = FrameCodec::default().decode(&mut buffer).expect_err("over the bound");
            assert!(
                matches!(error, CodecError::FrameTooLarge { announced_bytes, .. } if announced_bytes == u64::from(announced))
            );
            assert_eq!(buffer.capacity(), capacity);
        }
        let mut buffer = BytesMut::from(&65_536_u32.to_be_bytes()[..]);
        assert!(FrameCodec::default().decode(&mut buffer).expect("at the bound").is_none());
        assert!(buffer.capacity() < 1024, "nothing is reserved for a promise");
    }

    #[test]
    fn an_empty_frame_is_a_frame() {
        let mut buffer = BytesMut::from(&[0, 0, 0, 0][..]);
        assert_eq!(FrameCodec::default().decode(&mut buffer).expect("framing is whole"), Some(Bytes::new()));
    }

    #[test]
    fn a_payload_over_the_bound_is_not_written() {
        let mut buffer = BytesMut::new();
        assert!(FrameCodec::new(3).encode(b"four", &mut buffer).is_err());
        assert!(buffer.is_empty());
    }

    proptest! {
        #[test]
        fn frames_survive_any_split(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8),
            cuts in prop::collection::vec(1_usize..40, 1..20),
        ) {
            let wire = encoded(&payloads);
            let mut codec = FrameCodec::default();
            let (mut buffer, mut decoded, mut rest) = (BytesMut::new(), Vec::new(), &wire[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                buffer.extend_from_slice(now);
                decoded.extend(decode_all(&mut codec, &mut buffer));
                rest = later;
            }
            prop_assert_eq!(&decoded, &payloads);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn peek_sees_what_decode_takes(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8), cut in 0_usize..2000) {
            let wire = encoded(&payloads);
            let shown = &wire[..cut.min(wire.len())];
            let codec = FrameCodec::default();
            let (mut at, mut seen) = (0, Vec::new());
            while let Some((payload, used)) = codec.peek(&shown[at..]).expect("the test keeps under the bound") {
                seen.push(Bytes::copy_from_slice(payload));
                at += used;
            }
            prop_assert_eq!(seen, decode_all(&mut FrameCodec::default(), &mut BytesMut::from(shown)));
        }
    }
}
