//! The strangers: connections of one thread that pour one thing without end, and come again when they are
//! let go; and the restless, who join and leave.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::BenchError;
use crate::poller::{Poller, Ready};
use crate::wire::veche::{Veche, frame, kind, put};
use crate::wire::{Heard, Reading, Seat, Wire};

/// The longest wait for sockets.
const IDLE: Duration = Duration::from_millis(50);
/// Bytes of the payload of a large ping, and of half a frame.
const LARGE_BYTES: usize = 60_000;
/// Small frames are written so many at a time.
const AT_ONCE: usize = 128;

/// What strangers pour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Pings of 60 kB.
    LargePings,
    /// Pings of 15 bytes.
    SmallPings,
    /// Names, whether they are registered.
    Names,
    /// Tokens that are none.
    Tokens,
    /// All of a large frame but its last byte, and then nothing.
    HalfFrames,
    /// Nothing: they connect and go.
    Comings,
}

impl Load {
    /// All there are.
    pub const ALL: [Load; 6] =
        [Load::LargePings, Load::SmallPings, Load::Names, Load::Tokens, Load::HalfFrames, Load::Comings];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Load::LargePings => "large pings",
            Load::SmallPings => "small pings",
            Load::Names => "names to identify",
            Load::Tokens => "wrong tokens",
            Load::HalfFrames => "half frames",
            Load::Comings => "connect and go",
        }
    }

    /// What is written again and again.
    fn bytes(self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut many = |payload: &dyn Fn(usize) -> String| {
            (0..AT_ONCE).for_each(|number| put(&mut out, &[payload(number).as_bytes()]));
        };
        match self {
            Load::SmallPings => many(&|_| r#"{"type":"ping"}"#.to_owned()),
            Load::Names => many(&|number| format!(r#"{{"type":"identify","name":"nobody{number}"}}"#)),
            Load::Tokens => many(&|number| format!(r#"{{"type":"resume","token":"{number:043}"}}"#)),
            Load::LargePings | Load::HalfFrames => {
                put(&mut out, &[br#"{"type":"ping","x":""#, "x".repeat(LARGE_BYTES).as_bytes(), br#""}"#]);
            }
            Load::Comings => {}
        }
        if self == Load::HalfFrames {
            out.pop();
        }
        out
    }
}

/// One of them.
struct Stranger {
    stream: TcpStream,
    /// How much of the bytes is written.
    written: usize,
}

/// Where they come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// All from one address.
    One,
    /// Each from an address of its own.
    Many,
}

/// All of them.
pub struct Crowd {
    address: SocketAddr,
    load: Load,
    origin: Origin,
    bytes: Vec<u8>,
    poller: Poller,
    strangers: Vec<Stranger>,
}

impl Crowd {
    /// Connects so many, at most 65 536 where each has an address of its own.
    ///
    /// # Errors
    /// What the system says.
    pub fn connect(
        address: SocketAddr,
        load: Load,
        origin: Origin,
        count: usize,
    ) -> Result<Self, BenchError> {
        let poller = Poller::new().map_err(BenchError::doing("make an epoll"))?;
        let mut crowd = Crowd { address, load, origin, bytes: load.bytes(), poller, strangers: Vec::new() };
        let count = if load == Load::Comings { 0 } else { count };
        for key in 0..count {
            let stranger = crowd.another(key);
            crowd.strangers.push(stranger.map_err(BenchError::doing("connect a stranger"))?);
        }
        Ok(crowd)
    }

    fn another(&self, key: usize) -> io::Result<Stranger> {
        let stream = match self.origin {
            Origin::One => TcpStream::connect(self.address)?,
            Origin::Many => connect_from(own_address(key), self.address)?,
        };
        stream.set_nonblocking(true)?;
        self.poller.add(&stream, key)?;
        self.poller.want_write(&stream, key, true)?;
        Ok(Stranger { stream, written: 0 })
    }

    /// Pours until it is done.
    ///
    /// # Errors
    /// What the system says of waiting; a connection that ends is made anew.
    pub fn pour(mut self, done: &AtomicBool) -> Result<(), BenchError> {
        let mut ready: Vec<Ready> = Vec::new();
        let mut scratch = vec![0; 64 * 1024];
        while !done.load(Ordering::Relaxed) {
            if self.load == Load::Comings {
                // Refused or not, it goes at once.
                drop(TcpStream::connect(self.address));
                continue;
            }
            self.poller.wait(Some(IDLE), &mut ready).map_err(BenchError::doing("wait for sockets"))?;
            for event in &ready {
                let ended = (event.readable && self.read(event.key, &mut scratch).is_err())
                    || (event.writable && self.write(event.key).is_err());
                if ended && let Ok(fresh) = self.another(event.key) {
                    self.strangers[event.key] = fresh;
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, key: usize, scratch: &mut [u8]) -> io::Result<()> {
        match self.strangers[key].stream.read(scratch) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn write(&mut self, key: usize) -> io::Result<()> {
        let Stranger { stream, written } = &mut self.strangers[key];
        match stream.write(&self.bytes[*written..]) {
            Ok(count) => *written += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        if *written == self.bytes.len() {
            if self.load == Load::HalfFrames {
                self.poller.want_write(&*stream, key, false)?;
            } else {
                *written = 0;
            }
        }
        Ok(())
    }
}

/// An address of this machine that nobody else of the crowd has.
fn own_address(key: usize) -> Ipv4Addr {
    let [.., high, low] = key.to_be_bytes();
    Ipv4Addr::new(127, 1, high, low)
}

fn connect_from(source: Ipv4Addr, address: SocketAddr) -> io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let stream = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&stream, &SocketAddrV4::new(source, 0))?;
    connect(&stream, &address)?;
    Ok(stream.into())
}

/// Veche's wire, for those who are in a room and out again as fast as they may.
#[derive(Debug, Clone, Copy)]
pub struct Restless;

impl Wire for Restless {
    fn hello(&self, _: &Seat, _: &mut Vec<u8>) {}

    fn read<'a>(&self, seat: &mut Seat, bytes: &'a [u8], out: &mut Vec<u8>) -> Reading<'a> {
        let Some((payload, used)) = frame(bytes) else { return Ok(None) };
        let request = |kind: &str, seat: &Seat, out: &mut Vec<u8>| {
            let (head, tail) = (format!(r#"{{"type":"{kind}","room":"r{}","token":""#, seat.room), br#""}"#);
            put(out, &[head.as_bytes(), &seat.token, tail]);
        };
        match kind(payload) {
            b"joined" => request("leave", seat, out),
            // Also when it was refused: at once again.
            b"ok" | b"error" => request("join", seat, out),
            _ => return Veche::default().read(seat, bytes, out),
        }
        Ok(Some((used, Heard::Ready)))
    }

    fn say(&self, _: &Seat, _: &[u8], _: &mut Vec<u8>) {}
}
