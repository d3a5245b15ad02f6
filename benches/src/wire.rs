//! The wires of Veche and its peers, as far as a chat needs them: get in, enter a room, say, hear.
//!
//! A [`Wire`] is a pure translator between bytes and [`Heard`]; sockets are the business of
//! [`crate::fleet`]. All of them use what their server is best at: IRC channels, NATS core subjects without
//! echo, MQTT 5 with QoS 0 and "no local". A message is never sent back to its talker.

pub mod floor;
pub mod irc;
pub mod mqtt;
pub mod nats;
pub mod veche;

/// Who sits behind one connection, and what its wire has to remember.
#[derive(Debug, Clone, Default)]
pub struct Seat {
    /// The account's number.
    pub number: u32,
    /// The room's number.
    pub room: u32,
    /// The session's token, where the wire has one.
    pub token: Vec<u8>,
}

/// What a server said, for one seat.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// The seat is in its room: the way in is over.
    Ready,
    /// Someone else's message.
    Delivery {
        /// Its text.
        text: &'a [u8],
        /// Its place in the server's order, where the server tells it; has to grow in a room.
        order: Option<u64>,
    },
    /// The seat's own message is stored.
    Receipt,
    /// A page of the past that was asked for.
    Page,
    /// Something that does not count, such as a ping, which is answered already.
    Other,
}

/// What a [`Wire`] makes of the bytes that have come: how many of them it used, and what they say; `None`
/// while they are not complete.
pub type Reading<'a> = Result<Option<(usize, Heard<'a>)>, String>;

/// One protocol, from a client's side.
pub trait Wire: Send {
    /// What a client says as soon as it is connected.
    fn hello(&self, seat: &Seat, out: &mut Vec<u8>);

    /// Reads the first thing in `bytes`, and writes what it has to be answered with.
    ///
    /// # Errors
    /// A refusal by the server, or bytes that make no sense, in words.
    fn read<'a>(&self, seat: &mut Seat, bytes: &'a [u8], out: &mut Vec<u8>) -> Reading<'a>;

    /// Says a text to the seat's room.
    fn say(&self, seat: &Seat, text: &[u8], out: &mut Vec<u8>);
}

/// The first line in `bytes`, without its end, and how many bytes it takes with it.
fn line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr::memchr(b'\n', bytes)?;
    let line = &bytes[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1))
}

/// Bytes of a server as words for an error.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned()
}
