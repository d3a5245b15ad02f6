//! Receipts a second: senders that each say the next message when the receipt of the last has come, alone in
//! their rooms, so that storing is all that there is to do.

use std::time::{Duration, Instant};

use super::{percentile_ms, point, us_each};
use crate::check::new_histogram;
use crate::compare::progress_bar;
use crate::error::BenchError;
use crate::fleet::Fleet;
use crate::process;
use crate::report::Point;
use crate::target::{Place, Target};
use crate::text::{Label, Texts};
use crate::wire::{Heard, Seat};

const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(4);

/// Measures this many senders.
pub fn measure(size: u64, target: Target, place: &Place) -> Result<Vec<Point>, BenchError> {
    let bar = progress_bar(&format!("{size} senders, {}", target.name()), 2);
    let running = target.start(place)?;
    let mut fleet = Fleet::new(target.wire())?;
    let seat = |number: u32| Seat { number, room: number, token: Vec::new() };
    let seats = (0..u32::try_from(size).unwrap_or(u32::MAX)).map(seat).collect();
    fleet.enter(running.address, seats, target.entering(), || {})?;
    let mut senders = Senders { said_at: vec![Instant::now(); fleet.len()], said: 0, fleet };
    (0..senders.said_at.len()).for_each(|sender| senders.say(sender));
    senders.go_on(WARM_UP)?;
    bar.inc(1);
    let cpu = process::cpu_time(running.pid())?;
    let (receipts, latency) = senders.go_on(MEASURED)?;
    let cpu = process::cpu_time(running.pid())? - cpu;
    bar.finish_and_clear();
    let values = [
        ("receipts_per_second", receipts as f64 / MEASURED.as_secs_f64()),
        ("p50_ms", percentile_ms(&latency, 50.0)),
        ("p99_ms", percentile_ms(&latency, 99.0)),
        ("cpu_us", us_each(cpu.total(), receipts)),
    ];
    Ok(vec![point("receipts", target, size, &values)])
}

struct Senders {
    fleet: Fleet,
    said_at: Vec<Instant>,
    said: u32,
}

impl Senders {
    fn say(&mut self, sender: usize) {
        let mut text = Vec::new();
        Texts::new(128).write(Label { room: 0, talker: 0, number: self.said }, &mut text);
        self.said += 1;
        self.said_at[sender] = Instant::now();
        self.fleet.say(sender, &text);
    }

    /// Goes on for this long; gives how many receipts came, and after how many nanoseconds.
    fn go_on(&mut self, time: Duration) -> Result<(u64, hdrhistogram::Histogram<u64>), BenchError> {
        let mut latency = new_histogram();
        let end = Instant::now() + time;
        let mut free = Vec::new();
        while Instant::now() < end {
            let said_at = &self.said_at;
            self.fleet.turn(Some(Duration::from_millis(100)), |sender, heard, now| {
                if heard == Heard::Receipt {
                    let waited = now.saturating_duration_since(said_at[sender]).as_nanos();
                    latency.saturating_record(u64::try_from(waited).unwrap_or(u64::MAX));
                    free.push(sender);
                }
            })?;
            free.drain(..).for_each(|sender| self.say(sender));
        }
        Ok((latency.len(), latency))
    }
}
