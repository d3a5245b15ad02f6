//! What waits to be written to one socket.
//!
//! A queue of shared bytes: a frame for a thousand people is one allocation and a thousand references. It is
//! bounded in bytes; a consumer that lets it run over is let go.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

/// What one entry of the queue costs beside its bytes, so that many tiny frames count for what they take.
const ENTRY_BYTES: usize = 64;

/// More waits than this consumer may have waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

/// The frames that wait for one socket. Every entry is a whole number of frames.
///
/// One entry is what most sockets have waiting at any time, and it lies here without an allocation.
#[derive(Debug, Default)]
pub struct Outbox {
    first: Option<Bytes>,
    /// What waits behind the first entry.
    rest: VecDeque<Bytes>,
    /// How much of the first entry is written already.
    written: usize,
    cost_bytes: usize,
}

impl Outbox {
    /// Puts frames at the end of the queue.
    ///
    /// # Errors
    /// [`Overflow`] when they do not fit within `limit_bytes`; nothing is put then. An empty queue takes
    /// anything.
    pub fn push(&mut self, frames: Bytes, limit_bytes: usize) -> Result<(), Overflow> {
        let cost = frames.len() + ENTRY_BYTES;
        if self.first.is_none() {
            self.first = Some(frames);
        } else if self.cost_bytes + cost > limit_bytes {
            return Err(Overflow);
        } else {
            self.rest.push_back(frames);
        }
        self.cost_bytes += cost;
        Ok(())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// What waits, in bytes, the cost of its entries included.
    pub fn cost_bytes(&self) -> usize {
        self.cost_bytes
    }

    /// What waits when it is one piece: for a plain write, which is cheaper than a vectored one.
    pub fn only_piece(&self) -> Option<&[u8]> {
        let first = self.first.as_ref().filter(|_| self.rest.is_empty())?;
        Some(&first[self.written..])
    }

    /// Fills `slices` with what waits, from the front, for one vectored write; how many were filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut skip = self.written;
        let mut count = 0;
        for (slice, entry) in slices.iter_mut().zip(self.first.iter().chain(&self.rest)) {
            *slice = IoSlice::new(&entry[skip..]);
            skip = 0;
            count += 1;
        }
        count
    }

    /// Takes off what a write has taken: `count` bytes from the front.
    pub fn advance(&mut self, count: usize) {
        self.written += count;
        while let Some(first) = &self.first {
            if self.written < first.len() {
                return;
            }
            self.written -= first.len();
            self.cost_bytes -= first.len() + ENTRY_BYTES;
            self.first = self.rest.pop_front();
        }
        // An idle session shall not keep the room that a busy hour needed.
        if self.rest.capacity() > 0 {
            self.rest = VecDeque::new();
        }
    }

    /// Forgets everything: nobody will read it.
    pub fn clear(&mut self) {
        *self = Outbox::default();
    }

    /// Forgets what has not been begun, so that a last word can follow: only the rest of the frame that is
    /// half written stays. `end_of_frame` tells of whole frames where the one ends that the byte before a
    /// position belongs to.
    pub fn keep_started_frame(&mut self, end_of_frame: impl FnOnce(&[u8], usize) -> usize) {
        let (first, written) = (self.first.take(), self.written);
        self.clear();
        if let Some(mut entry) = first.filter(|_| written > 0) {
            entry.truncate(end_of_frame(&entry, written));
            self.cost_bytes = entry.len() + ENTRY_BYTES;
            (self.first, self.written) = (Some(entry), written);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn waiting(outbox: &Outbox) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let count = outbox.slices(&mut slices);
        slices[..count].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn over_the_bound_nothing_is_put() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(Bytes::from(vec![0; 1_000]), 100), Ok(()), "an empty queue takes anything");
        assert_eq!(outbox.push(Bytes::from_static(b"x"), 100), Err(Overflow));
        outbox.advance(1_000);
        assert!(outbox.is_empty());
        assert_eq!(outbox.cost_bytes(), 0);
    }

    #[test]
    fn only_the_frame_that_was_begun_stays() {
        let both = b"one   1two   2";
        for written in 0..both.len() {
            let mut outbox = Outbox::default();
            outbox.push(Bytes::from_static(both), 1_000).expect("room");
            outbox.push(Bytes::from_static(b"three 3"), 1_000).expect("room");
            outbox.advance(written);
            outbox.keep_started_frame(|_, written| written.div_ceil(7) * 7);
            let end = if written == 0 { 0 } else { written.div_ceil(7) * 7 };
            assert_eq!(waiting(&outbox), &both[written..end], "after {written} bytes");
        }
    }

    proptest! {
        #[test]
        fn what_was_put_comes_out_in_order(
            entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..20),
            writes in prop::collection::vec(1_usize..40, 1..60),
        ) {
            let mut outbox = Outbox::default();
            for entry in &entries {
                outbox.push(Bytes::from(entry.clone()), usize::MAX).expect("no bound");
            }
            let expected = entries.concat();
            let mut got = Vec::new();
            for write in writes.iter().cycle() {
                if outbox.is_empty() { break; }
                let bytes = waiting(&outbox);
                let count = (*write).min(bytes.len());
                got.extend_from_slice(&bytes[..count]);
                outbox.advance(count);
            }
            prop_assert_eq!(got, expected);
            prop_assert_eq!(outbox.cost_bytes(), 0);
        }
    }
}
