//! The wire of the floor: a length header, then bytes that nobody looks at.
//!
//! The first frame of a connection is the number of its room, and is answered with the same; every further
//! one goes to the others in that room as it is. What the generator sends has the shape, and so the size, of
//! a `message` event of Veche, so that both move the same bytes.

use super::veche::{delivery, frame, put};
use super::{Heard, Reading, Seat, Wire, shown};

/// The floor's wire.
#[derive(Debug, Clone, Copy)]
pub struct Floor;

impl Wire for Floor {
    fn hello(&self, seat: &Seat, out: &mut Vec<u8>) {
        put(out, &[&seat.room.to_be_bytes()]);
    }

    fn read<'a>(&self, seat: &mut Seat, bytes: &'a [u8], _: &mut Vec<u8>) -> Reading<'a> {
        let Some((payload, used)) = frame(bytes) else { return Ok(None) };
        if payload == seat.room.to_be_bytes() {
            return Ok(Some((used, Heard::Ready)));
        }
        match delivery(payload) {
            Some(Heard::Delivery { text, .. }) => Ok(Some((used, Heard::Delivery { text, order: None }))),
            _ => Err(shown(payload)),
        }
    }

    fn say(&self, seat: &Seat, text: &[u8], out: &mut Vec<u8>) {
        let head = format!(
            r#"{{"type":"message","id":10000000,"prev":10000000,"at":"2026-11-21T18:05:21.311Z","room":"r{}","from":"u{}","text":""#,
            seat.room, seat.number
        );
        put(out, &[head.as_bytes(), text, br#""}"#]);
    }
}
