//! NATS core: a room is a subject, and nobody hears their own echo.

use super::{Heard, Reading, Seat, Wire, line, shown};

/// The NATS wire.
#[derive(Debug, Clone, Copy)]
pub struct Nats;

impl Wire for Nats {
    fn hello(&self, _: &Seat, _: &mut Vec<u8>) {}

    fn read<'a>(&self, seat: &mut Seat, bytes: &'a [u8], out: &mut Vec<u8>) -> Reading<'a> {
        let Some((line, used)) = line(bytes) else { return Ok(None) };
        if line.starts_with(b"MSG ") {
            let end = used + length(line).ok_or_else(|| shown(line))?;
            let text = bytes.get(..end + 2).map(|whole| &whole[used..end]);
            return Ok(text.map(|text| (end + 2, Heard::Delivery { text, order: None })));
        }
        let heard = match line.split(|byte| *byte == b' ').next().unwrap_or_default() {
            b"INFO" => {
                let connect = br#"CONNECT {"verbose":false,"pedantic":false,"echo":false}"#;
                out.extend_from_slice(connect);
                // The answer to the ping shows that the subscription stands.
                out.extend_from_slice(format!("\r\nSUB r{} 1\r\nPING\r\n", seat.room).as_bytes());
                Heard::Other
            }
            b"PONG" => Heard::Ready,
            b"PING" => {
                out.extend_from_slice(b"PONG\r\n");
                Heard::Other
            }
            b"-ERR" => return Err(shown(line)),
            _ => Heard::Other,
        };
        Ok(Some((used, heard)))
    }

    fn say(&self, seat: &Seat, text: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(format!("PUB r{} {}\r\n", seat.room, text.len()).as_bytes());
        out.extend_from_slice(text);
        out.extend_from_slice(b"\r\n");
    }
}

/// The last word of `MSG subject sid bytes`.
fn length(line: &[u8]) -> Option<usize> {
    std::str::from_utf8(line).ok()?.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_whole_or_not_there() {
        let bytes = b"MSG r2 1 5\r\nhello\r\nPING\r\n";
        let (mut seat, mut out) = (Seat::default(), Vec::new());
        for cut in 0..19 {
            assert_eq!(Nats.read(&mut seat, &bytes[..cut], &mut out), Ok(None), "{cut}");
        }
        let heard = Heard::Delivery { text: b"hello", order: None };
        assert_eq!(Nats.read(&mut seat, bytes, &mut out), Ok(Some((19, heard))));
        assert_eq!(Nats.read(&mut seat, &bytes[19..], &mut out), Ok(Some((6, Heard::Other))));
        assert_eq!(out, b"PONG\r\n");
    }
}
