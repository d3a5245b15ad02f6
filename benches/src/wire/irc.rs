//! IRC, as ngircd, inspircd and ergo speak it (RFC 2812): a room is a channel.

use memchr::memmem;

use super::{Heard, Reading, Seat, Wire, line, shown};

const PRIVMSG: &[u8] = b" PRIVMSG #";

/// The IRC wire.
#[derive(Debug, Clone, Copy)]
pub struct Irc;

impl Wire for Irc {
    fn hello(&self, seat: &Seat, out: &mut Vec<u8>) {
        let number = seat.number;
        out.extend_from_slice(format!("NICK u{number}\r\nUSER u{number} 0 * :u{number}\r\n").as_bytes());
    }

    fn read<'a>(&self, seat: &mut Seat, bytes: &'a [u8], out: &mut Vec<u8>) -> Reading<'a> {
        let Some((line, used)) = line(bytes) else { return Ok(None) };
        if let Some(at) = memmem::find(line, PRIVMSG) {
            let text = memmem::find(&line[at..], b" :").ok_or_else(|| shown(line))?;
            return Ok(Some((used, Heard::Delivery { text: &line[at + text + 2..], order: None })));
        }
        let heard = match command(line) {
            b"PING" => {
                out.extend_from_slice(b"PONG");
                out.extend_from_slice(&line[4..]);
                out.extend_from_slice(b"\r\n");
                Heard::Other
            }
            b"001" => {
                out.extend_from_slice(format!("JOIN #r{}\r\n", seat.room).as_bytes());
                Heard::Other
            }
            b"366" => Heard::Ready, // the end of the channel's names
            b"ERROR" | b"404" | b"403" | b"471" | b"433" | b"465" => return Err(shown(line)),
            _ => Heard::Other,
        };
        Ok(Some((used, heard)))
    }

    fn say(&self, seat: &Seat, text: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(format!("PRIVMSG #r{} :", seat.room).as_bytes());
        out.extend_from_slice(text);
        out.extend_from_slice(b"\r\n");
    }
}

/// The command of a line, behind the prefix when there is one.
fn command(line: &[u8]) -> &[u8] {
    let mut words = line.split(|byte| *byte == b' ');
    let first = words.next().unwrap_or_default();
    if first.starts_with(b":") { words.next().unwrap_or_default() } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_they_say() {
        let (mut seat, mut out) = (Seat { number: 1, room: 2, token: Vec::new() }, Vec::new());
        let mut read = |text: &'static [u8]| {
            out.clear();
            let heard = Irc.read(&mut seat, text, &mut out).map(|read| read.map(|(_, heard)| heard));
            (heard, String::from_utf8_lossy(&out).into_owned())
        };
        assert_eq!(read(b"PING :abc\r\n"), (Ok(Some(Heard::Other)), "PONG :abc\r\n".to_owned()));
        assert_eq!(read(b":s 001 u1 :Hi\r\n"), (Ok(Some(Heard::Other)), "JOIN #r2\r\n".to_owned()));
        assert_eq!(read(b":s 366 u1 #r2 :End\r\n").0, Ok(Some(Heard::Ready)));
        let heard = Heard::Delivery { text: b"r00002t0001 x", order: None };
        assert_eq!(read(b":u7!u7@h PRIVMSG #r2 :r00002t0001 x\r\n").0, Ok(Some(heard)));
        assert_eq!(read(b":u7!u7@h PRIV").0, Ok(None));
        assert!(read(b":s 433 * u1 :taken\r\n").0.is_err());
    }
}
