//! MQTT 5 with QoS 0: a room is a topic, and "no local" keeps a talker's own messages from it.

use super::{Heard, Reading, Seat, Wire, shown};

const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;
const DISCONNECT: u8 = 0xe0;
/// QoS 0, no local.
const NO_LOCAL: u8 = 0x04;

/// The MQTT wire.
#[derive(Debug, Clone, Copy)]
pub struct Mqtt;

impl Wire for Mqtt {
    fn hello(&self, seat: &Seat, out: &mut Vec<u8>) {
        // Protocol name and level 5, clean start, no keep-alive, no properties, then the client's name.
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 5, 0x02, 0, 0, 0];
        put_text(&mut body, &format!("u{}", seat.number));
        packet(out, CONNECT, &[&body]);
    }

    fn read<'a>(&self, seat: &mut Seat, bytes: &'a [u8], out: &mut Vec<u8>) -> Reading<'a> {
        let Some((kind, body, used)) = whole(bytes) else { return Ok(None) };
        let heard = match kind & 0xf0 {
            PUBLISH => {
                let text = published(body).ok_or_else(|| shown(body))?;
                Heard::Delivery { text, order: None }
            }
            CONNACK if body.get(1) == Some(&0) => {
                let mut subscribe = vec![0, 1, 0]; // packet 1, no properties
                put_text(&mut subscribe, &format!("r{}", seat.room));
                subscribe.push(NO_LOCAL);
                packet(out, SUBSCRIBE, &[&subscribe]);
                Heard::Other
            }
            SUBACK if body.last() == Some(&0) => Heard::Ready,
            CONNACK | SUBACK | DISCONNECT => return Err(format!("packet {kind:#x} with {body:?}")),
            _ => Heard::Other,
        };
        Ok(Some((used, heard)))
    }

    fn say(&self, seat: &Seat, text: &[u8], out: &mut Vec<u8>) {
        let mut head = Vec::with_capacity(16);
        put_text(&mut head, &format!("r{}", seat.room));
        head.push(0); // no properties
        packet(out, PUBLISH, &[&head, text]);
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX); // names are a few bytes long
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn packet(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    out.push(kind);
    let mut length: usize = parts.iter().map(|part| part.len()).sum();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// The first packet's kind and body, and how many bytes it takes.
fn whole(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (kind, rest) = bytes.split_first()?;
    let (length, digits) = variable(rest)?;
    let body = rest.get(digits..digits + length)?;
    Some((*kind, body, 1 + digits + length))
}

/// A number in MQTT's variable length, and how many bytes it takes.
fn variable(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut number = 0;
    for (place, byte) in bytes.iter().take(4).enumerate() {
        number |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((number, place + 1));
        }
    }
    None
}

/// The payload behind topic and properties.
fn published(body: &[u8]) -> Option<&[u8]> {
    let topic = usize::from(u16::from_be_bytes(*body.first_chunk()?));
    let rest = body.get(2 + topic..)?;
    let (properties, digits) = variable(rest)?;
    rest.get(digits + properties..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_can_be_heard() {
        let (mut seat, mut out) = (Seat { number: 1, room: 2, token: Vec::new() }, Vec::new());
        Mqtt.say(&seat, &[b'x'; 200], &mut out);
        for cut in 0..out.len() {
            assert_eq!(Mqtt.read(&mut seat, &out[..cut], &mut Vec::new()), Ok(None));
        }
        let heard = Heard::Delivery { text: &[b'x'; 200], order: None };
        assert_eq!(Mqtt.read(&mut seat, &out, &mut Vec::new()), Ok(Some((out.len(), heard))));
        assert!(Mqtt.read(&mut seat, &[CONNACK, 3, 0, 0x85, 0], &mut Vec::new()).is_err());
    }
}
