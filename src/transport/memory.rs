//! A byte stream between two ends in one process, bounded like a socket, for tests.
//!
//! What makes a network unpleasant can be had at will: an end takes no more than its peer allows
//! ([`MemoryStream::allow`]: nothing at all, or a few bytes a write), ends one direction and reads on in the
//! other, or holds back what it was given until it is flushed ([`MemoryStream::hold_back`]).

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Two ends: what is written to one is read from the other. Each direction holds up to `capacity_bytes` bytes.
pub fn pair(capacity_bytes: usize) -> (MemoryStream, MemoryStream) {
    let [one, other] = [(); 2].map(|()| Arc::new(Mutex::new(Pipe::new(capacity_bytes))));
    (
        MemoryStream { reads: Arc::clone(&one), writes: Arc::clone(&other) },
        MemoryStream { reads: other, writes: one },
    )
}

/// One direction of a stream.
#[derive(Debug)]
struct Pipe {
    /// On its way to the reader.
    bytes: VecDeque<u8>,
    capacity_bytes: usize,
    /// The most that one write takes.
    write_bytes: usize,
    /// Taken from the writer, and not on its way before a flush.
    held: VecDeque<u8>,
    hold_bytes: usize,
    /// The writer has said that nothing more comes.
    ended: bool,
    /// The reader is gone.
    abandoned: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn new(capacity_bytes: usize) -> Self {
        Pipe {
            bytes: VecDeque::new(),
            capacity_bytes,
            write_bytes: usize::MAX,
            held: VecDeque::new(),
            hold_bytes: 0,
            ended: false,
            abandoned: false,
            reader: None,
            writer: None,
        }
    }

    /// How many bytes the next write may have.
    fn room(&self) -> usize {
        let (held, most) = match self.hold_bytes {
            0 => (self.bytes.len(), self.capacity_bytes),
            hold_bytes => (self.held.len(), hold_bytes),
        };
        most.saturating_sub(held).min(self.write_bytes.max(1))
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.ended || self.abandoned {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.room() == 0 && self.hold_bytes > 0 {
            self.pass_on();
        }
        let mut room = self.room();
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut written = 0;
        for slice in slices {
            let taken = &slice[..slice.len().min(room)];
            match self.hold_bytes {
                0 => self.bytes.extend(taken),
                _ => self.held.extend(taken),
            }
            room -= taken.len();
            written += taken.len();
        }
        wake(&mut self.reader);
        Ok(written)
    }

    /// Passes on what is held back, as far as there is room; whether that is all of it.
    fn pass_on(&mut self) -> bool {
        let room = self.capacity_bytes.saturating_sub(self.bytes.len());
        let count = room.min(self.held.len());
        self.bytes.extend(self.held.drain(..count));
        wake(&mut self.reader);
        self.held.is_empty()
    }

    fn poll_room(&mut self, task: &mut Context<'_>) -> Poll<()> {
        if self.ended || self.abandoned || self.bytes.len() < self.capacity_bytes {
            return Poll::Ready(());
        }
        self.writer = Some(task.waker().clone());
        Poll::Pending
    }
}

fn wake(place: &mut Option<Waker>) {
    if let Some(waker) = place.take() {
        waker.wake();
    }
}

/// One end of a stream in memory. When it is dropped, its peer reads what was sent and then the end, and can
/// write no more.
#[derive(Debug)]
pub struct MemoryStream {
    reads: Arc<Mutex<Pipe>>,
    writes: Arc<Mutex<Pipe>>,
}

/// A test that panics says why itself; the other end goes on as it would over a socket.
fn lock(pipe: &Mutex<Pipe>) -> MutexGuard<'_, Pipe> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryStream {
    /// Lets the peer have up to `capacity_bytes` unread bytes on the way to this end, and put in at most
    /// `write_bytes` of them in one write. A capacity of 0 blocks it.
    pub fn allow(&self, capacity_bytes: usize, write_bytes: usize) {
        let mut pipe = lock(&self.reads);
        (pipe.capacity_bytes, pipe.write_bytes) = (capacity_bytes, write_bytes);
        wake(&mut pipe.writer);
    }

    /// Makes this end take up to `bytes` bytes that are on their way only when it is flushed, or has no more
    /// room, as encryption does.
    pub fn hold_back(&self, bytes: usize) {
        lock(&self.writes).hold_bytes = bytes;
    }

    /// Writes what fits now; see [`super::Stream::try_write_slices`].
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing fits, [`io::ErrorKind::BrokenPipe`] when nobody reads any more.
    pub fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        lock(&self.writes).write(slices)
    }

    /// Passes on what this end holds back.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when some of it is left.
    pub fn try_flush(&self) -> io::Result<()> {
        if lock(&self.writes).pass_on() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    /// Waits until more can be written, or nothing ever.
    ///
    /// # Errors
    /// None; the outcome is that of a socket.
    pub fn poll_write_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.writes).poll_room(task).map(Ok)
    }

    /// Tells the peer that nothing more will come from this end. What is held back still is lost.
    pub fn shut_down_writing(&self) {
        let mut pipe = lock(&self.writes);
        pipe.ended = true;
        wake(&mut pipe.reader);
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        self.shut_down_writing();
        let mut pipe = lock(&self.reads);
        pipe.abandoned = true;
        wake(&mut pipe.writer);
    }
}

impl AsyncRead for MemoryStream {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut pipe = lock(&self.reads);
        if pipe.bytes.is_empty() && !pipe.ended {
            pipe.reader = Some(task.waker().clone());
            return Poll::Pending;
        }
        let read = pipe.bytes.read(buffer.initialize_unfilled())?;
        buffer.advance(read);
        wake(&mut pipe.writer);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MemoryStream {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut pipe = lock(&self.writes);
        match pipe.write(&[IoSlice::new(bytes)]) {
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => {
                pipe.writer = Some(task.waker().clone());
                Poll::Pending
            }
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = lock(&self.writes);
        if pipe.pass_on() || pipe.abandoned {
            return Poll::Ready(Ok(()));
        }
        pipe.writer = Some(task.waker().clone());
        Poll::Pending
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(task))?;
        self.get_mut().shut_down_writing();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn would_block<T: std::fmt::Debug>(result: io::Result<T>) -> bool {
        result.is_err_and(|why| why.kind() == io::ErrorKind::WouldBlock)
    }

    #[tokio::test]
    async fn the_reader_says_how_much_it_takes() {
        let (near, mut far) = pair(8);
        assert_eq!(near.try_write(&[IoSlice::new(b"12345"), IoSlice::new(b"67890")]).expect("room"), 8);
        assert!(would_block(near.try_write(&[IoSlice::new(b"x")])));
        far.allow(100, 3);
        assert_eq!(near.try_write(&[IoSlice::new(b"abcdef")]).expect("room"), 3);
        far.allow(0, 3);
        assert!(would_block(near.try_write(&[IoSlice::new(b"x")])));
        drop(near);
        let mut got = String::new();
        far.read_to_string(&mut got).await.expect("memory");
        assert_eq!(got, "12345678abc");
    }

    #[tokio::test]
    async fn what_is_held_back_comes_with_a_flush() {
        let (mut near, mut far) = pair(4);
        near.hold_back(6);
        assert_eq!(near.try_write(&[IoSlice::new(b"123456789")]).expect("room"), 6);
        let mut got = [0; 4];
        assert!(is_pending(far.read(&mut got)), "nothing is on its way");
        assert!(would_block(near.try_flush()), "four of six have room");
        far.read_exact(&mut got).await.expect("four");
        assert_eq!(&got, b"1234");
        near.shutdown().await.expect("room for the rest");
        let mut rest = String::new();
        far.read_to_string(&mut rest).await.expect("memory");
        assert_eq!(rest, "56");
    }

    fn is_pending(future: impl Future) -> bool {
        std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    #[tokio::test]
    async fn a_writer_waits_for_its_reader_and_ends_with_it() {
        let (mut near, mut far) = pair(4);
        let read = async {
            let mut got = [0; 10];
            far.read_exact(&mut got).await.expect("ten bytes");
            drop(far);
            got
        };
        let (written, got) = tokio::join!(near.write_all(b"0123456789"), read);
        written.expect("someone reads");
        assert_eq!(&got, b"0123456789");
        let why = near.write_all(b"x").await.expect_err("nobody reads");
        assert_eq!(why.kind(), io::ErrorKind::BrokenPipe);
    }
}
