//! A connection to the server: frames in, frames out. What they mean is the business of others.
//!
//! Reading and writing are two tasks, so that a server that does not read cannot keep us from hearing it.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::codec::{FramedRead, FramedWrite};
use veche::codec::{CodecError, DEFAULT_MAX_FRAME_BYTES, FrameCodec};
use veche::model::TermName;
use veche::wire::json::ServerFrame;

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Frames that may wait for the network.
const OUT_FRAMES: usize = 1_024;
/// Frames that may wait for us. They can be large, so they are few.
const IN_FRAMES: usize = 64;
/// No server's `max_frame` is believed above this, in bytes.
const LARGEST_FRAME_BYTES: usize = 16 * 1024 * 1024;

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A name or an IP address.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why there is no connection (any more): a part of a sentence.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The name stands for no address.
    #[error("the host {host} is not known: {}", unresolved(error))]
    Host {
        /// The name.
        host: String,
        /// What the resolver said.
        error: Error,
    },
    /// Nobody took the connection.
    #[error("{}", unconnected(host, *port, error))]
    Connect {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// What the system said.
        error: Error,
    },
    /// The stream ended.
    #[error("the server closed the connection")]
    Closed,
    /// The stream failed.
    #[error("{}", failed(.0))]
    Failed(#[from] CodecError),
    /// Too much waits to be written.
    #[error("the server does not read what it is sent")]
    Stuck,
}

fn unresolved(error: &Error) -> String {
    let text = words(error);
    // What the C library says of a name that nobody has, behind what every such error begins with.
    match text.rsplit_once(": ").map_or(text.as_str(), |(_, reason)| reason) {
        "Temporary failure in name resolution" => {
            "no name server answers; is this machine on a network?".to_owned()
        }
        "Name or service not known" | "No address associated with hostname" => {
            "no such name; is it spelled right?".to_owned()
        }
        reason => reason.to_owned(),
    }
}

fn unconnected(host: &str, port: u16, error: &Error) -> String {
    let place = format!("{host} port {port}");
    match error.kind() {
        ErrorKind::ConnectionRefused => format!("{place} refused the connection; no server listens there"),
        ErrorKind::TimedOut => format!("{place} does not answer"),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            format!("there is no way to {place} from here")
        }
        ErrorKind::PermissionDenied => format!("this system does not let programs connect to {place}"),
        _ => format!("there is no way to {place} ({})", words(error)),
    }
}

fn failed(error: &CodecError) -> String {
    match error {
        CodecError::Io(error) => match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
                "the server broke the connection off".to_owned()
            }
            ErrorKind::TimedOut => "the server is not heard any more".to_owned(),
            ErrorKind::UnexpectedEof => {
                "the server closed the connection in the middle of a frame".to_owned()
            }
            _ => format!("the connection failed ({})", words(error)),
        },
        error => error.to_string(),
    }
}

impl LinkError {
    /// What to look at when there never was a connection: a part of a sentence, or nothing.
    pub fn advice(&self) -> &'static str {
        let LinkError::Connect { error, .. } = self else { return "" };
        match error.kind() {
            ErrorKind::ConnectionRefused => " (is it running, and is that its port?)",
            ErrorKind::TimedOut => " (is that the host, and does a firewall let you through?)",
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                " (is this machine on the network?)"
            }
            _ => "",
        }
    }
}

/// What the system says of an error, without its number, which says nothing to whoever reads it.
pub fn words(error: &Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error ").map_or(text.as_str(), |(words, _)| words).to_owned()
}

/// An open connection. Dropping it closes it.
pub struct Link {
    frames: mpsc::Receiver<Result<Bytes, LinkError>>,
    out: mpsc::Sender<Vec<u8>>,
    term: Option<TermName>,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
}

impl Link {
    /// Connects, to the first of the host's addresses that answers.
    ///
    /// # Errors
    /// [`LinkError::Host`] and [`LinkError::Connect`].
    pub async fn connect(address: &Address) -> Result<Self, LinkError> {
        let (host, port) = (address.host.clone(), address.port);
        let resolved = tokio::net::lookup_host((host.as_str(), port)).await;
        let addresses: Vec<_> =
            resolved.map_err(|error| LinkError::Host { host: host.clone(), error })?.collect();
        let attempt = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(addresses.as_slice())).await;
        let connected = attempt.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
        let stream = connected.map_err(|error| LinkError::Connect { host, port, error })?;
        // A chat line is small and wants to go at once. A system that cannot promise it still works.
        let _ = stream.set_nodelay(true);
        let (read_half, write_half) = stream.into_split();
        let (frames_in, frames) = mpsc::channel(IN_FRAMES);
        let (out, frames_out) = mpsc::channel(OUT_FRAMES);
        let reader = tokio::spawn(read(read_half, frames_in));
        let writer = tokio::spawn(write(write_half, frames_out));
        Ok(Link { frames, out, term: None, reader, writer })
    }

    /// The next payload. Cancelling it loses nothing.
    ///
    /// # Errors
    /// When there will be none any more.
    pub async fn next(&mut self) -> Result<Bytes, LinkError> {
        let payload = self.frames.recv().await.unwrap_or(Err(LinkError::Closed))?;
        if let Some(ServerFrame::Welcome { term, .. }) = as_welcome(&payload) {
            self.term = term.map(TermName::new);
        }
        Ok(payload)
    }

    /// The term that the server's `welcome` named, once that was read.
    pub fn term(&self) -> Option<TermName> {
        self.term.clone()
    }

    /// Sends a payload, behind those before it.
    ///
    /// # Errors
    /// [`LinkError::Stuck`] when the server has not read for long. That the connection is gone is told by
    /// [`Link::next`], behind what the server said last.
    pub fn send(&self, payload: Vec<u8>) -> Result<(), LinkError> {
        match self.out.try_send(payload) {
            Err(mpsc::error::TrySendError::Full(_)) => Err(LinkError::Stuck),
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reader.abort();
        self.writer.abort();
    }
}

async fn read(half: OwnedReadHalf, frames: mpsc::Sender<Result<Bytes, LinkError>>) {
    let mut framed = FramedRead::new(half, FrameCodec::default());
    while let Some(frame) = framed.next().await {
        let failed = frame.is_err();
        if let Ok(payload) = &frame {
            adapt(framed.decoder_mut(), payload);
        }
        if frames.send(frame.map_err(LinkError::Failed)).await.is_err() || failed {
            return;
        }
    }
}

/// Takes over the bound that a `welcome` announces.
fn adapt(codec: &mut FrameCodec, payload: &Bytes) {
    if let Some(ServerFrame::Welcome { max_frame, .. }) = as_welcome(payload) {
        *codec = FrameCodec::new(max_frame.clamp(DEFAULT_MAX_FRAME_BYTES, LARGEST_FRAME_BYTES));
    }
}

/// A payload as a `welcome`, if it is one.
fn as_welcome(payload: &Bytes) -> Option<ServerFrame> {
    if !payload.starts_with(br#"{"type":"welcome""#) {
        return None;
    }
    ServerFrame::parse(payload).ok().map(|(frame, _)| frame)
}

async fn write(half: OwnedWriteHalf, mut payloads: mpsc::Receiver<Vec<u8>>) {
    let mut framed = FramedWrite::new(half, FrameCodec::default());
    while let Some(payload) = payloads.recv().await {
        if framed.feed(payload).await.is_err() {
            return;
        }
        // Whatever waits already goes out in the same write.
        while let Ok(payload) = payloads.try_recv() {
            if framed.feed(payload).await.is_err() {
                return;
            }
        }
        if SinkExt::<Vec<u8>>::flush(&mut framed).await.is_err() {
            return;
        }
    }
}

/// Reads `HOST`, `HOST:PORT`, `[IPv6]:PORT` or a bare IPv6 address; the port may be missing.
///
/// # Errors
/// A sentence when it is none of these.
pub fn parse_address(text: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None => return Err(format!("{text} is no address; write [IPv6]:PORT")),
        },
        None if text.matches(':').count() > 1 => (text, None),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '/';
    if host.is_empty() || host.contains(odd) {
        return Err(format!("{text:?} names no host; write HOST or HOST:PORT"));
    }
    Ok((host.to_owned(), port.map(parse_port).transpose()?))
}

/// Reads a port to connect to.
///
/// # Errors
/// A sentence when it is none.
pub fn parse_port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        _ => Err(format!("a port is a number from 1 to 65535, not {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // issue 7: a refused connection "does not answer (… os error 111)"
    #[test]
    fn why_there_is_no_connection_is_told_in_words() {
        let os = Error::from_raw_os_error;
        let (refused, reset, unreachable) = (os(111), os(104), os(101));
        let connect = |error| LinkError::Connect { host: "h".to_owned(), port: 1, error }.to_string();
        let told = [
            connect(refused),
            connect(unreachable),
            connect(os(13)),
            connect(os(99)),
            LinkError::Failed(CodecError::Io(reset)).to_string(),
            LinkError::Host {
                host: "h".to_owned(),
                error: Error::other("failed to lookup address information: Name or service not known"),
            }
            .to_string(),
        ];
        assert!(told[0].contains("h port 1 refused the connection"), "{}", told[0]);
        assert!(told.iter().all(|text| !text.contains("os error") && !text.ends_with('.')), "{told:?}");
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let read = |text: &str| parse_address(text).expect(text);
        assert_eq!(read("veche.example"), ("veche.example".to_owned(), None));
        assert_eq!(read("127.0.0.1:7878"), ("127.0.0.1".to_owned(), Some(7878)));
        assert_eq!(read("[::1]:80"), ("::1".to_owned(), Some(80)));
        assert_eq!(read("[::1]"), ("::1".to_owned(), None));
        assert_eq!(read("::1"), ("::1".to_owned(), None));
        for text in ["", ":80", "a:0", "a:65536", "a:x", "a:+1", "[::1]80", "a b", "http://a", "a:"] {
            assert!(parse_address(text).is_err(), "{text}");
        }
    }
}
