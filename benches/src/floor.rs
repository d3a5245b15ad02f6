//! The floor: the cheapest program that does a chat server's socket work, to compare everything with.
//!
//! One thread, one epoll, one read a wake for each socket that has something, and for each room one batch of
//! whatever those reads brought. Each member gets the batch with one `writev`, without its own messages.
//! Nothing is parsed beyond the length header, nothing is stored, copied once in and not at all out; what
//! the kernel does not take at once waits. See [`crate::wire::floor`] for its protocol.

use std::collections::HashMap;
use std::io::{self, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::error::BenchError;
use crate::poller::{Poller, Ready};
use crate::wire::veche::frame;

/// Bytes read from one socket at once.
const READ_BYTES: usize = 64 * 1024;
/// What may wait for one member, in bytes; it is dropped over that.
const WAITING_BYTES: usize = 64 * 1024 * 1024;
/// Slices of one `writev`; the kernel's bound is 1 024.
const SLICES: usize = 256;
/// The key of the listener; sockets have their places in a list.
const LISTENER: usize = usize::MAX;

/// One connection.
struct Member {
    stream: TcpStream,
    room: Option<u32>,
    partial: Vec<u8>,
    waiting: Vec<u8>,
    blocked: bool,
    /// Whether it said something in the batch that is being gathered.
    spoke: bool,
}

/// One room, and what its members said since it was last sent out.
#[derive(Default)]
struct Room {
    members: Vec<usize>,
    batch: Vec<u8>,
    /// Who said it, and where in `batch` it ends.
    parts: Vec<(usize, usize)>,
}

struct Floor {
    poller: Poller,
    members: Vec<Option<Member>>,
    rooms: HashMap<u32, Room>,
    touched: Vec<u32>,
    buffer: Vec<u8>,
}

/// Serves at `listen` until the process is ended. Prints `listening on HOST:PORT` when it can be connected to.
///
/// # Errors
/// It cannot listen, or the system fails.
pub fn serve(listen: &str) -> Result<(), BenchError> {
    let listener = TcpListener::bind(listen).map_err(BenchError::doing(format!("listen on {listen}")))?;
    // The backlog of the standard library is 128; the generator lets few in at once.
    listener.set_nonblocking(true).map_err(BenchError::doing("listen without blocking"))?;
    let address = listener.local_addr().map_err(BenchError::doing("tell the address"))?;
    println!("listening on {address}");
    Floor::new()?.run(&listener)
}

impl Member {
    fn new(stream: TcpStream) -> Self {
        Member { stream, room: None, partial: Vec::new(), waiting: Vec::new(), blocked: false, spoke: false }
    }
}

impl Floor {
    fn new() -> Result<Self, BenchError> {
        Ok(Floor {
            poller: Poller::new().map_err(BenchError::doing("make an epoll"))?,
            members: Vec::new(),
            rooms: HashMap::new(),
            touched: Vec::new(),
            buffer: vec![0; READ_BYTES],
        })
    }

    fn run(&mut self, listener: &TcpListener) -> Result<(), BenchError> {
        self.poller.add(listener, LISTENER).map_err(BenchError::doing("wait for connections"))?;
        let mut ready: Vec<Ready> = Vec::new();
        loop {
            self.poller.wait(None, &mut ready).map_err(BenchError::doing("wait for sockets"))?;
            for event in &ready {
                if event.key == LISTENER {
                    self.accept(listener)?;
                    continue;
                }
                if event.writable {
                    self.write_waiting(event.key);
                }
                if event.readable {
                    self.read(event.key);
                }
            }
            self.fan_out();
        }
    }

    fn accept(&mut self, listener: &TcpListener) -> Result<(), BenchError> {
        while let Ok((stream, _)) = listener.accept() {
            let key = self.members.len();
            stream.set_nonblocking(true).map_err(BenchError::doing("make a socket non-blocking"))?;
            stream.set_nodelay(true).map_err(BenchError::doing("set TCP_NODELAY"))?;
            self.poller.add(&stream, key).map_err(BenchError::doing("wait for a socket"))?;
            self.members.push(Some(Member::new(stream)));
        }
        Ok(())
    }

    fn read(&mut self, key: usize) {
        let Some(member) = &mut self.members[key] else { return };
        let kept = member.partial.len();
        if self.buffer.len() < kept + READ_BYTES {
            self.buffer.resize(kept + READ_BYTES, 0);
        }
        self.buffer[..kept].copy_from_slice(&member.partial);
        let count = match member.stream.read(&mut self.buffer[kept..]) {
            Ok(0) => return self.drop_member(key),
            Ok(count) => count,
            Err(error) if would_block(&error) => return,
            Err(_) => return self.drop_member(key),
        };
        let bytes = &self.buffer[..kept + count];
        let mut at = 0;
        while let Some((payload, used)) = frame(&bytes[at..]) {
            let whole = &bytes[at..at + used];
            at += used;
            if let Some(room) = member.room {
                let in_room = self.rooms.entry(room).or_default();
                if in_room.parts.is_empty() {
                    self.touched.push(room);
                }
                in_room.batch.extend_from_slice(whole);
                in_room.parts.push((key, in_room.batch.len()));
                member.spoke = true;
            } else if let Ok(number) = <[u8; 4]>::try_from(payload) {
                let room = u32::from_be_bytes(number);
                member.room = Some(room);
                self.rooms.entry(room).or_default().members.push(key);
                member.waiting.extend_from_slice(whole);
            }
        }
        member.partial.clear();
        member.partial.extend_from_slice(&bytes[at..]);
        if !member.waiting.is_empty() {
            self.write_waiting(key);
        }
    }

    fn fan_out(&mut self) {
        for number in std::mem::take(&mut self.touched) {
            let Some(mut room) = self.rooms.remove(&number) else { continue };
            for key in &room.members {
                self.write_batch(*key, &room);
            }
            room.members.retain(|key| self.members[*key].is_some());
            room.batch.clear();
            room.parts.clear();
            self.rooms.insert(number, room);
        }
    }

    /// One `writev` with the batch, without what this member said.
    fn write_batch(&mut self, key: usize, room: &Room) {
        let Some(member) = &mut self.members[key] else { return };
        let spoke = std::mem::take(&mut member.spoke);
        let parts: Vec<&[u8]> = if spoke { others(key, room).collect() } else { Vec::new() };
        let parts: &[&[u8]] = if spoke { &parts } else { &[&room.batch] };
        let taken = match (parts, member.waiting.is_empty()) {
            ([], _) => return,
            (_, false) => Ok(0),
            ([one], true) => member.stream.write(one),
            (many, true) => {
                let slices: Vec<_> = many.iter().take(SLICES).map(|part| IoSlice::new(part)).collect();
                member.stream.write_vectored(&slices)
            }
        };
        let taken = match taken {
            Ok(count) => count,
            Err(error) if would_block(&error) => 0,
            Err(_) => return self.drop_member(key),
        };
        if taken < parts.iter().map(|part| part.len()).sum() {
            keep_rest(&mut member.waiting, parts, taken);
            self.write_waiting(key);
        }
    }

    fn write_waiting(&mut self, key: usize) {
        let Some(member) = &mut self.members[key] else { return };
        while !member.waiting.is_empty() {
            match member.stream.write(&member.waiting) {
                Ok(count) => drop(member.waiting.drain(..count)),
                Err(error) if would_block(&error) => break,
                Err(_) => return self.drop_member(key),
            }
        }
        if member.waiting.len() > WAITING_BYTES {
            return self.drop_member(key);
        }
        let blocked = !member.waiting.is_empty();
        if blocked != std::mem::replace(&mut member.blocked, blocked)
            && self.poller.want_write(&member.stream, key, blocked).is_err()
        {
            self.drop_member(key);
        }
    }

    fn drop_member(&mut self, key: usize) {
        if let Some(member) = self.members[key].take() {
            let _ = self.poller.remove(&member.stream); // closing it would do that too
        }
    }
}

/// The batch in as few pieces as it takes to leave out what `key` said itself.
fn others(key: usize, room: &Room) -> impl Iterator<Item = &[u8]> {
    let starts = std::iter::once(0).chain(room.parts.iter().map(|(_, end)| *end));
    let mut parts = starts.zip(&room.parts).peekable();
    std::iter::from_fn(move || {
        while parts.next_if(|(_, (talker, _))| *talker == key).is_some() {}
        let (start, &(_, mut end)) = parts.next()?;
        while let Some((_, (_, next_end))) = parts.next_if(|(_, (talker, _))| *talker != key) {
            end = *next_end;
        }
        Some(&room.batch[start..end])
    })
}

/// Keeps what follows the first `taken` bytes of `parts`.
fn keep_rest(waiting: &mut Vec<u8>, parts: &[&[u8]], mut taken: usize) {
    for part in parts {
        let skip = taken.min(part.len());
        waiting.extend_from_slice(&part[skip..]);
        taken -= skip;
    }
}

fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(said: &[(usize, &str)]) -> Room {
        let mut room = Room::default();
        for (talker, text) in said {
            room.batch.extend_from_slice(text.as_bytes());
            room.parts.push((*talker, room.batch.len()));
        }
        room
    }

    #[test]
    fn a_member_gets_the_batch_without_its_own_in_few_pieces() {
        let room = room(&[(1, "a"), (2, "b"), (3, "c"), (2, "d"), (2, "e"), (1, "f")]);
        let pieces = |key: usize| {
            others(key, &room).map(|part| String::from_utf8_lossy(part).into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(pieces(9), ["abcdef"]);
        assert_eq!(pieces(1), ["bcde"]);
        assert_eq!(pieces(2), ["a", "c", "f"]);
    }

    #[test]
    fn what_was_not_taken_is_kept() {
        let room = room(&[(1, "abc"), (2, "de"), (1, "fg")]);
        for (taken, rest) in [(0, "abcfg"), (2, "cfg"), (3, "fg"), (4, "g"), (5, "")] {
            let mut waiting = Vec::new();
            keep_rest(&mut waiting, &others(2, &room).collect::<Vec<_>>(), taken);
            assert_eq!(waiting, rest.as_bytes());
        }
    }
}
