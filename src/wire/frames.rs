//! Several frames in one piece of bytes, of which everyone gets a reference: all of it, or slices. One such piece
//! for each wire that someone listens on.

use std::cell::OnceCell;
use std::ops::Range;

use bytes::Bytes;

use super::Wire;

/// Something that differs from wire to wire, made when it is wanted for the first time.
#[derive(Debug)]
pub struct PerWire<T>([OnceCell<T>; Wire::ALL.len()]);

impl<T> PerWire<T> {
    /// Nothing yet.
    pub fn new() -> Self {
        PerWire(Wire::ALL.map(|_| OnceCell::new()))
    }

    /// What there is for this wire, made by `make` the first time.
    pub fn get(&self, wire: Wire, make: impl FnOnce() -> T) -> &T {
        self.0[wire as usize].get_or_init(make)
    }
}

impl<T> Default for PerWire<T> {
    fn default() -> Self {
        PerWire::new()
    }
}

/// The same payloads for connections on any wire: encoded once, as frames of the native one. For another wire
/// that someone listens on, the payloads are copied behind other headers, once.
#[derive(Debug)]
pub struct SharedFrames {
    native: Frames,
    others: PerWire<Frames>,
}

impl SharedFrames {
    /// These frames of the native wire.
    pub fn new(native: Frames) -> Self {
        SharedFrames { native, others: PerWire::new() }
    }

    /// The frames for a connection on this wire.
    pub fn on(&self, wire: Wire) -> &Frames {
        match wire {
            Wire::Native => &self.native,
            other => self.others.get(other, || Wire::Native.reframe(self.native.all(), other)),
        }
    }
}

/// Frames, one behind the other.
#[derive(Debug, Clone, Default)]
pub struct Frames {
    bytes: Bytes,
    /// Where each frame ends.
    ends: Vec<usize>,
}

impl Frames {
    /// Frames that end at these places of `bytes`, the last one at its end.
    pub fn new(bytes: Bytes, ends: Vec<usize>) -> Self {
        debug_assert_eq!(
            ends.last().copied().unwrap_or(0),
            bytes.len(),
            "the last frame ends with the bytes"
        );
        Frames { bytes, ends }
    }

    /// All of them.
    pub fn all(&self) -> &Bytes {
        &self.bytes
    }

    /// Hands every frame but these to `push`, in as few pieces as there are; `left_out` grows.
    pub fn all_but(&self, left_out: impl Iterator<Item = usize>, mut push: impl FnMut(Bytes)) {
        let mut from = 0;
        for index in left_out {
            let Range { start, end } = self.place(index);
            if start > from {
                push(self.bytes.slice(from..start));
            }
            from = end;
        }
        if from < self.bytes.len() {
            push(self.bytes.slice(from..));
        }
    }

    /// Some of them, by growing number: what follows one another is one piece.
    pub fn only(&self, indexes: &[usize]) -> Vec<Bytes> {
        let mut pieces: Vec<Range<usize>> = Vec::new();
        for place in indexes.iter().map(|index| self.place(*index)) {
            match pieces.last_mut() {
                Some(last) if last.end == place.start => last.end = place.end,
                _ => pieces.push(place),
            }
        }
        pieces.into_iter().map(|piece| self.bytes.slice(piece)).collect()
    }

    fn place(&self, index: usize) -> Range<usize> {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        start..self.ends[index]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(lengths: &[usize]) -> (Frames, Vec<Vec<u8>>) {
        let each: Vec<Vec<u8>> =
            lengths.iter().zip(0..).map(|(length, number)| vec![number; *length]).collect();
        let ends = each.iter().scan(0, |end, frame| {
            *end += frame.len();
            Some(*end)
        });
        (Frames::new(each.concat().into(), ends.collect()), each)
    }

    proptest! {
        #[test]
        fn pieces_are_the_frames_that_were_asked_for(
            lengths in prop::collection::vec(1_usize..9, 0..12), chosen in any::<u16>(),
        ) {
            let (frames, each) = frames(&lengths);
            let is_chosen = |index: &usize| chosen >> index & 1 == 1;
            let indexes: Vec<usize> = (0..each.len()).filter(is_chosen).collect();
            let others: Vec<usize> = (0..each.len()).filter(|index| !is_chosen(index)).collect();
            let joined = |indexes: &[usize]| indexes.iter().flat_map(|i| each[*i].clone()).collect::<Vec<_>>();
            let only = frames.only(&indexes);
            prop_assert_eq!(only.concat(), joined(&indexes));
            let mut rest = Vec::new();
            frames.all_but(indexes.iter().copied(), |piece| rest.push(piece));
            prop_assert_eq!(rest.concat(), joined(&others));
            prop_assert!(rest.len() <= indexes.len() + 1 && rest.iter().chain(&only).all(|piece| !piece.is_empty()));
        }
    }
}
