//! The clients: many connections in one thread, each read with one call a wake into one shared buffer.
//!
//! A connection keeps bytes of its own only while a message is not complete, and for what the kernel did not
//! take at once.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::error::BenchError;
use crate::poller::{Poller, Ready};
use crate::wire::{Heard, Seat, Wire};

/// Bytes read from one connection at once.
const READ_BYTES: usize = 256 * 1024;
/// How long nothing may happen while connections get in.
const ENTRY_PATIENCE: Duration = Duration::from_secs(20);

/// One connection.
#[derive(Debug)]
struct Client {
    stream: TcpStream,
    seat: Seat,
    /// The beginning of something that is not complete.
    partial: Vec<u8>,
    /// What has to go out; from `written` on.
    out: Vec<u8>,
    written: usize,
    dirty: bool,
    waits_to_write: bool,
    deaf: bool,
}

/// Many clients of one server.
pub struct Fleet {
    clients: Vec<Client>,
    wire: Box<dyn Wire>,
    poller: Poller,
    ready: Vec<Ready>,
    dirty: Vec<usize>,
    buffer: Vec<u8>,
}

impl Fleet {
    /// No clients yet.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(wire: Box<dyn Wire>) -> Result<Self, BenchError> {
        Ok(Fleet {
            clients: Vec::new(),
            wire,
            poller: Poller::new().map_err(BenchError::doing("make an epoll"))?,
            ready: Vec::new(),
            dirty: Vec::new(),
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Connects these seats and brings them into their rooms, `at_once` at a time; `entered` is told each time
    /// that one is in.
    ///
    /// # Errors
    /// A refusal, or no progress for 20 s.
    pub fn enter(
        &mut self,
        address: SocketAddr,
        seats: Vec<Seat>,
        at_once: usize,
        mut entered: impl FnMut(),
    ) -> Result<(), BenchError> {
        let (first, total) = (self.clients.len(), seats.len());
        let mut seats = seats.into_iter();
        let (mut begun, mut done, mut last) = (0, 0, Instant::now());
        while done < total {
            for seat in seats.by_ref().take(at_once.saturating_sub(begun - done)) {
                self.connect(address, seat)?;
                begun += 1;
            }
            let before = done;
            self.turn(Some(Duration::from_millis(100)), |client, heard, _| {
                if heard == Heard::Ready && client >= first {
                    done += 1;
                }
            })?;
            (before..done).for_each(|_| entered());
            if done > before {
                last = Instant::now();
            } else if last.elapsed() > ENTRY_PATIENCE {
                return Err(BenchError::Server(format!(
                    "only {done} of {total} clients got in, and then nothing happened for 20 s"
                )));
            }
        }
        Ok(())
    }

    /// Reads and writes once what can be, waiting for at most `timeout`. `on` is told what was heard, by
    /// whom and when.
    ///
    /// # Errors
    /// A connection that ended, or a refusal.
    pub fn turn(
        &mut self,
        timeout: Option<Duration>,
        mut on: impl FnMut(usize, Heard<'_>, Instant),
    ) -> Result<(), BenchError> {
        self.flush()?;
        let mut ready = std::mem::take(&mut self.ready);
        self.poller.wait(timeout, &mut ready).map_err(BenchError::doing("wait for sockets"))?;
        for event in &ready {
            if event.writable {
                self.write(event.key)?;
            }
            if event.readable {
                self.read(event.key, &mut on)?;
            }
        }
        self.ready = ready;
        self.flush()
    }

    /// Lets a client say a text in its room; it goes out with the next [`Fleet::turn`].
    pub fn say(&mut self, client: usize, text: &[u8]) {
        let to = &mut self.clients[client];
        self.wire.say(&to.seat, text, &mut to.out);
        self.soil(client);
    }

    /// Lets a client send anything.
    pub fn send(&mut self, client: usize, write: impl FnOnce(&Seat, &mut Vec<u8>)) {
        let to = &mut self.clients[client];
        write(&to.seat, &mut to.out);
        self.soil(client);
    }

    /// This client reads no more.
    ///
    /// # Errors
    /// What the system says.
    pub fn deafen(&mut self, client: usize) -> Result<(), BenchError> {
        let client = &mut self.clients[client];
        client.deaf = true;
        self.poller.remove(&client.stream).map_err(BenchError::doing("leave a socket alone"))
    }

    /// The socket of a client.
    pub fn stream(&self, client: usize) -> &TcpStream {
        &self.clients[client].stream
    }

    /// The seats, in the order in which they came.
    pub fn seats(&self) -> impl Iterator<Item = &Seat> {
        self.clients.iter().map(|client| &client.seat)
    }

    /// How many clients there are.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    fn connect(&mut self, address: SocketAddr, seat: Seat) -> Result<(), BenchError> {
        let key = self.clients.len();
        let stream = TcpStream::connect(address)
            .and_then(|stream| {
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Ok(stream)
            })
            .map_err(BenchError::doing(format!("connect client {key} to {address}")))?;
        self.poller.add(&stream, key).map_err(BenchError::doing("wait for a socket"))?;
        let mut out = Vec::new();
        self.wire.hello(&seat, &mut out);
        self.clients.push(Client {
            stream,
            seat,
            partial: Vec::new(),
            out,
            written: 0,
            dirty: false,
            waits_to_write: false,
            deaf: false,
        });
        self.soil(key);
        Ok(())
    }

    fn soil(&mut self, key: usize) {
        if !std::mem::replace(&mut self.clients[key].dirty, true) {
            self.dirty.push(key);
        }
    }

    fn flush(&mut self) -> Result<(), BenchError> {
        for key in std::mem::take(&mut self.dirty) {
            self.clients[key].dirty = false;
            self.write(key)?;
        }
        Ok(())
    }

    fn write(&mut self, key: usize) -> Result<(), BenchError> {
        let client = &mut self.clients[key];
        while client.written < client.out.len() {
            match client.stream.write(&client.out[client.written..]) {
                Ok(count) => client.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(BenchError::doing(format!("write for client {key}"))(error)),
            }
        }
        let blocked = client.written < client.out.len();
        if !blocked {
            client.out.clear();
            client.written = 0;
        }
        if blocked != client.waits_to_write && !client.deaf {
            client.waits_to_write = blocked;
            let change = self.poller.want_write(&client.stream, key, blocked);
            change.map_err(BenchError::doing("wait for a socket"))?;
        }
        Ok(())
    }

    fn read(&mut self, key: usize, on: &mut impl FnMut(usize, Heard<'_>, Instant)) -> Result<(), BenchError> {
        let client = &mut self.clients[key];
        let kept = client.partial.len();
        if self.buffer.len() < kept + READ_BYTES {
            self.buffer.resize(kept + READ_BYTES, 0);
        }
        self.buffer[..kept].copy_from_slice(&client.partial);
        let count = match client.stream.read(&mut self.buffer[kept..]) {
            Ok(0) => {
                return Err(BenchError::Server(format!("the server closed the connection of client {key}")));
            }
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(BenchError::doing(format!("read for client {key}"))(error)),
        };
        let now = Instant::now();
        let bytes = &self.buffer[..kept + count];
        let (mut at, out_before) = (0, client.out.len());
        loop {
            match self.wire.read(&mut client.seat, &bytes[at..], &mut client.out) {
                Ok(Some((used, heard))) => {
                    at += used;
                    on(key, heard, now);
                }
                Ok(None) => break,
                Err(text) => {
                    return Err(BenchError::Server(format!("the server refused client {key}: {text}")));
                }
            }
        }
        client.partial.clear();
        client.partial.extend_from_slice(&bytes[at..]);
        if client.out.len() > out_before {
            self.soil(key);
        }
        Ok(())
    }
}
