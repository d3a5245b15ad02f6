//! Registrations, logins, and resumes by token: what each costs the server beside the hash, which is made
//! small here, and how fast they come.

use std::time::Instant;

use super::{point, us_each};
use crate::compare::progress_bar;
use crate::error::BenchError;
use crate::fleet::Fleet;
use crate::process;
use crate::report::Point;
use crate::target::{Place, Running, Target};
use crate::wire::Seat;
use crate::wire::veche::{Entry, Veche};

/// Registers this many accounts, lets them go, logs them in, lets them go, and resumes their sessions.
pub fn measure(size: u64, target: Target, place: &Place) -> Result<Vec<Point>, BenchError> {
    let running = target.start(place)?;
    let seats = (0..u32::try_from(size).unwrap_or(u32::MAX)).map(|number| Seat { number, ..Seat::default() });
    let seats: Vec<Seat> = seats.collect();
    let (registered, _) = enter(Entry::Register, seats.clone(), &running)?;
    let (logged_in, seats) = enter(Entry::Login, seats, &running)?;
    let (resumed, _) = enter(Entry::Resume, seats, &running)?;
    let rows = [("registrations", registered), ("logins", logged_in), ("resumes", resumed)];
    Ok(rows.map(|(row, values)| point(row, target, size, &values)).to_vec())
}

type Values = [(&'static str, f64); 3];

/// Brings these seats in, and gives them back with their tokens; their connections end without an `exit`.
fn enter(entry: Entry, seats: Vec<Seat>, running: &Running) -> Result<(Values, Vec<Seat>), BenchError> {
    let count = seats.len() as u64;
    let bar = progress_bar(&format!("{entry:?} {count}"), count);
    let mut fleet = Fleet::new(Box::new(Veche { entry, joins: false }))?;
    let (cpu, start) = (process::cpu_time(running.pid())?, Instant::now());
    fleet.enter(running.address, seats, running.target.entering(), || bar.inc(1))?;
    let (wall, cpu) = (start.elapsed(), process::cpu_time(running.pid())? - cpu);
    bar.finish_and_clear();
    let values = [
        ("per_second", count as f64 / wall.as_secs_f64()),
        ("all_seconds", wall.as_secs_f64()),
        ("cpu_us", us_each(cpu.total(), count)),
    ];
    Ok((values, fleet.seats().cloned().collect()))
}
