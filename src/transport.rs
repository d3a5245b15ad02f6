//! A byte stream to one peer, whatever carries it: TCP, or memory in tests.
//!
//! A [`Stream`] offers what two worlds want of it. Tokio's [`AsyncRead`] and [`AsyncWrite`], and `Send`, are what
//! an HTTP library asks for before it hands an upgraded connection on. The fan-out wants to write without
//! waiting: [`Stream::try_write`] takes what fits and says [`io::ErrorKind::WouldBlock`] when nothing does.
//!
//! **How TLS fits in.** As a further variant, in a box, that holds the socket and the state of the
//! encryption. Such a stream buffers: `try_write` takes as much as its own buffer has room for and encrypts
//! it, so that bytes can be taken and not yet be on their way. [`Stream::try_flush`] passes on what a stream
//! holds itself; [`Stream::poll_write_ready`] asks the socket below; `poll_read` gives first what is decrypted
//! already. Nobody above needs to know: whoever writes calls `try_flush` when it has nothing more to write, and
//! takes its `WouldBlock` for a full socket. The stream in memory can buffer in the same way
//! ([`MemoryStream::hold_back`]), so that this seam is tested before TLS is there.

pub mod memory;

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::net::SendFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use self::memory::MemoryStream;

/// A byte stream that is served by the thread it lives on. In place, without a box: a connection that idles is
/// hardly more than this.
#[derive(Debug)]
pub enum Stream {
    /// TCP as it is.
    Plain(TcpStream),
    /// Two ends in one process.
    Memory(MemoryStream),
}

/// A stream on its way to the thread that will serve it: a socket works only on the runtime that registered it.
#[derive(Debug)]
pub enum DetachedStream {
    /// TCP as it is; the socket does not block.
    Plain(std::net::TcpStream),
    /// Two ends in one process.
    Memory(MemoryStream),
}

impl DetachedStream {
    /// Registers the stream with the runtime of this thread.
    ///
    /// # Errors
    /// What the system says when it cannot watch the socket.
    pub fn attach(self) -> io::Result<Stream> {
        Ok(match self {
            DetachedStream::Plain(socket) => Stream::Plain(TcpStream::from_std(socket)?),
            DetachedStream::Memory(end) => Stream::Memory(end),
        })
    }
}

impl Stream {
    /// Writes the beginning of `piece`, as much as fits now: how many bytes, at least one.
    ///
    /// `rustix` makes the system call itself: the C library puts two calls of its own around every write of a
    /// program with threads, for a cancellation that nobody uses, and they were a twentieth of all that a
    /// delivery took.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing fits; anything else means that the peer cannot be reached.
    pub fn try_write(&mut self, piece: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket
                .try_io(Interest::WRITABLE, || Ok(rustix::net::send(&*socket, piece, SendFlags::NOSIGNAL)?)),
            Stream::Memory(end) => end.try_write(&[IoSlice::new(piece)]),
        }
    }

    /// Writes the beginning of what lies in several slices, as much as fits now.
    ///
    /// # Errors
    /// As [`Stream::try_write`].
    pub fn try_write_slices(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => {
                socket.try_io(Interest::WRITABLE, || Ok(rustix::io::writev(&*socket, slices)?))
            }
            Stream::Memory(end) => end.try_write(slices),
        }
    }

    /// Passes on what the stream has taken and holds itself.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when some of it is left.
    pub fn try_flush(&mut self) -> io::Result<()> {
        match self {
            // The kernel sends what it has without being told.
            Stream::Plain(_) => Ok(()),
            Stream::Memory(end) => end.try_flush(),
        }
    }

    /// Waits until more can be written.
    ///
    /// # Errors
    /// When the runtime that watches the socket is gone.
    pub fn poll_write_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(socket) => socket.poll_write_ready(task),
            Stream::Memory(end) => end.poll_write_ready(task),
        }
    }

    /// Tells the peer that nothing more will come. What was written before reaches it.
    ///
    /// # Errors
    /// When there is no peer any more.
    pub fn shut_down_writing(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket2::SockRef::from(&*socket).shutdown(Shutdown::Write),
            Stream::Memory(end) => {
                end.shut_down_writing();
                Ok(())
            }
        }
    }

    /// Sets the kernel's send buffer, in bytes, where there is one; 0 leaves it as it is.
    pub fn set_send_buffer(&self, bytes: usize) {
        match self {
            Stream::Plain(socket) => set_kernel_buffers(socket, bytes, 0),
            Stream::Memory(_) => {}
        }
    }
}

/// Sets a socket's buffers in the kernel, in bytes; 0 leaves one as it is. A kernel that does not take that
/// size keeps the one it has.
pub fn set_kernel_buffers(socket: &TcpStream, send_bytes: usize, receive_bytes: usize) {
    let socket = socket2::SockRef::from(socket);
    if send_bytes != 0 {
        let _ = socket.set_send_buffer_size(send_bytes);
    }
    if receive_bytes != 0 {
        let _ = socket.set_recv_buffer_size(receive_bytes);
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_read(task, buffer),
            Stream::Memory(end) => Pin::new(end).poll_read(task, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_write(task, bytes),
            Stream::Memory(end) => Pin::new(end).poll_write(task, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_flush(task),
            Stream::Memory(end) => Pin::new(end).poll_flush(task),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_shutdown(task),
            Stream::Memory(end) => Pin::new(end).poll_shutdown(task),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Both ends of a connection, of each kind that there is.
    async fn pairs() -> [(Stream, Stream); 2] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let near = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (far, _) = listener.accept().expect("it connects");
        let plain = [near, far].map(|socket| {
            socket.set_nonblocking(true).expect("a socket");
            DetachedStream::Plain(socket).attach().expect("a runtime")
        });
        let (near, far) = memory::pair(4_096);
        let in_memory =
            [near, far].map(|end| DetachedStream::Memory(end).attach().expect("nothing to register"));
        let pairs = [plain, in_memory].map(|[near, far]| (near, far));
        for (near, _) in &pairs {
            // Of a new socket the runtime has to hear first that it can be written.
            poll_fn(|task| near.poll_write_ready(task)).await.expect("a runtime");
        }
        pairs
    }

    fn is_send<T: Send + 'static>() {}

    #[test]
    fn an_http_library_can_have_it_and_a_connection_pays_for_no_other_kind() {
        is_send::<Stream>();
        is_send::<DetachedStream>();
        assert_eq!(size_of::<Stream>(), size_of::<TcpStream>());
    }

    #[tokio::test]
    async fn what_is_written_comes_out_in_order_until_the_end_and_the_other_way_stays_open() {
        for (mut near, mut far) in pairs().await {
            assert_eq!(near.try_write(b"one ").expect("room"), 4);
            let slices = [IoSlice::new(b"two "), IoSlice::new(b"three")];
            assert_eq!(near.try_write_slices(&slices).expect("room"), 9);
            near.write_all(b" four").await.expect("room");
            near.try_flush().expect("room");
            near.shut_down_writing().expect("a peer");
            let mut got = String::new();
            far.read_to_string(&mut got).await.expect("an open stream");
            assert_eq!(got, "one two three four");
            far.write_all(b"back").await.expect("that way is open");
            drop(far);
            let mut back = String::new();
            near.read_to_string(&mut back).await.expect("an open stream");
            assert_eq!(back, "back");
        }
    }

    #[tokio::test]
    async fn a_full_stream_would_block_and_is_ready_when_its_peer_has_read() {
        for (mut near, mut far) in pairs().await {
            let piece = [7; 1_000];
            let mut written = 0;
            let why = loop {
                match near.try_write(&piece) {
                    Ok(count) => written += count,
                    Err(why) => break why,
                }
            };
            assert_eq!(why.kind(), io::ErrorKind::WouldBlock);
            let mut got = vec![0; written];
            let (read, ready) =
                tokio::join!(far.read_exact(&mut got), poll_fn(|task| near.poll_write_ready(task)));
            read.expect("all of it");
            ready.expect("a runtime");
            assert!(got.iter().all(|byte| *byte == 7));
            assert!(near.try_write(b"more").is_ok());
        }
    }

    #[tokio::test]
    async fn nobody_is_written_to_who_is_gone() {
        for (mut near, far) in pairs().await {
            drop(far);
            let why = loop {
                poll_fn(|task| near.poll_write_ready(task)).await.expect("a runtime");
                match near.try_write(b"anyone?") {
                    Ok(_) => tokio::task::yield_now().await,
                    Err(why) => break why,
                }
            };
            assert!(
                matches!(why.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset),
                "{why}"
            );
        }
    }
}
