//! Veche's own wire: length-headed JSON. What matters is found by searching for it; a JSON parser would make
//! the generator cost more than the server.

use memchr::memmem;

use super::{Heard, Reading, Seat, Wire, shown};

const HEADER_BYTES: usize = 4;

/// How a seat gets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// It makes its account.
    Register,
    /// Its account is there already.
    Login,
    /// It takes over the session whose token the seat has.
    Resume,
}

/// Veche's wire.
#[derive(Debug, Clone, Copy)]
pub struct Veche {
    /// How the seats get in.
    pub entry: Entry,
    /// Whether they join their room; without it, they are ready when they have a session.
    pub joins: bool,
}

impl Default for Veche {
    fn default() -> Self {
        Veche { entry: Entry::Register, joins: true }
    }
}

impl Wire for Veche {
    fn hello(&self, _: &Seat, _: &mut Vec<u8>) {}

    fn read<'a>(&self, seat: &mut Seat, bytes: &'a [u8], out: &mut Vec<u8>) -> Reading<'a> {
        let Some((payload, used)) = frame(bytes) else { return Ok(None) };
        let heard = match kind(payload) {
            b"message" => delivery(payload).ok_or_else(|| shown(payload))?,
            b"ok" => Heard::Receipt,
            b"welcome" => {
                self.enter(seat, out);
                Heard::Other
            }
            b"session" => {
                let token = member(payload, b"\"token\":\"").ok_or_else(|| shown(payload))?;
                seat.token = token.to_vec();
                if self.joins {
                    join(seat, out);
                    Heard::Other
                } else {
                    Heard::Ready
                }
            }
            b"joined" => Heard::Ready,
            b"history" => Heard::Page,
            b"ping" => {
                put(out, &[br#"{"type":"pong"}"#]);
                Heard::Other
            }
            b"error" | b"bye" => return Err(shown(payload)),
            _ => Heard::Other,
        };
        Ok(Some((used, heard)))
    }

    fn say(&self, seat: &Seat, text: &[u8], out: &mut Vec<u8>) {
        let room = format!("r{}", seat.room);
        let parts: [&[u8]; 7] = [
            br#"{"type":"say","token":""#,
            &seat.token,
            br#"","room":""#,
            room.as_bytes(),
            br#"","text":""#,
            text,
            br#""}"#,
        ];
        put(out, &parts);
    }
}

impl Veche {
    fn enter(self, seat: &Seat, out: &mut Vec<u8>) {
        let request = match self.entry {
            Entry::Register => "register",
            Entry::Login => "login",
            Entry::Resume => {
                return put(out, &[br#"{"type":"resume","token":""#, &seat.token, br#""}"#]);
            }
        };
        let number = seat.number;
        let payload =
            format!(r#"{{"type":"{request}","name":"u{number}","password":"correct horse {number}"}}"#);
        put(out, &[payload.as_bytes()]);
    }
}

fn join(seat: &Seat, out: &mut Vec<u8>) {
    let room = format!(r#"","room":"r{}","history":0}}"#, seat.room);
    put(out, &[br#"{"type":"join","token":""#, &seat.token, room.as_bytes()]);
}

/// Asks for the page of 50 before the message `before` of the seat's room.
pub fn ask_page(seat: &Seat, before: u64, out: &mut Vec<u8>) {
    let rest = format!(r#"","room":"r{}","before":{before},"limit":50}}"#, seat.room);
    put(out, &[br#"{"type":"history","token":""#, &seat.token, rest.as_bytes()]);
}

/// Writes one frame.
pub fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let header = u32::try_from(length).unwrap_or(u32::MAX); // texts are bounded far below
    out.extend_from_slice(&header.to_be_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// The payload of the first frame in `bytes`, and how many bytes it takes with its header.
pub fn frame(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = HEADER_BYTES + u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    Some((bytes.get(HEADER_BYTES..end)?, end))
}

/// The `type`, which the server writes first.
pub fn kind(payload: &[u8]) -> &[u8] {
    member(&payload[..payload.len().min(40)], b"{\"type\":\"").unwrap_or_default()
}

/// What follows `name`, up to the next quote.
fn member<'a>(payload: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let start = memmem::find(payload, name)? + name.len();
    let end = memchr::memchr(b'"', &payload[start..])?;
    Some(&payload[start..start + end])
}

/// `{"type":"message","id":7,…,"text":"…"}`
pub fn delivery(payload: &[u8]) -> Option<Heard<'_>> {
    const ID: &[u8] = b"\"id\":";
    let id = memmem::find(payload, ID)? + ID.len();
    let digits = payload[id..].iter().take_while(|byte| byte.is_ascii_digit());
    let order = digits.fold(0_u64, |sum, digit| sum.wrapping_mul(10) + u64::from(digit - b'0'));
    Some(Heard::Delivery { text: member(payload, b"\"text\":\"")?, order: Some(order) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(payload: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(&mut bytes, &[payload.as_bytes()]);
        bytes
    }

    #[test]
    fn a_delivery_gives_its_text_and_its_place() {
        let bytes =
            framed(r#"{"type":"message","id":70,"prev":0,"at":"2026","room":"r1","from":"u2","text":"hi"}"#);
        let (mut seat, mut out) = (Seat::default(), Vec::new());
        for cut in 0..bytes.len() {
            assert_eq!(Veche::default().read(&mut seat, &bytes[..cut], &mut out), Ok(None));
        }
        let heard = Heard::Delivery { text: b"hi", order: Some(70) };
        assert_eq!(Veche::default().read(&mut seat, &bytes, &mut out), Ok(Some((bytes.len(), heard))));
    }

    #[test]
    fn the_way_in_is_register_and_join() {
        let (mut seat, mut out) = (Seat { number: 5, room: 7, token: Vec::new() }, Vec::new());
        let wire = Veche::default();
        wire.read(&mut seat, &framed(r#"{"type":"welcome","protocol":1}"#), &mut out).expect("welcome");
        assert!(memmem::find(&out, b"\"name\":\"u5\"").is_some());
        out.clear();
        wire.read(&mut seat, &framed(r#"{"type":"session","name":"u5","token":"abc"}"#), &mut out)
            .expect("session");
        assert_eq!(
            frame(&out).expect("whole").0,
            br#"{"type":"join","token":"abc","room":"r7","history":0}"#
        );
        let refused = framed(r#"{"type":"error","code":"rate_limited"}"#);
        assert!(wire.read(&mut seat, &refused, &mut out).is_err());
    }
}
