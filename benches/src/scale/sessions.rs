//! Memory of idle sessions, each logged in and in a room of 100, and the CPU time of holding them.

use std::fs;
use std::time::{Duration, Instant};

use super::point;
use crate::compare::progress_bar;
use crate::error::BenchError;
use crate::fleet::Fleet;
use crate::process;
use crate::report::Point;
use crate::target::{Place, Running, Target};
use crate::wire::Seat;
use crate::wire::veche::{Entry, Veche};

/// Members of a room.
const ROOM_MEMBERS: u32 = 100;
/// How long the server may put itself in order before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(3);
/// How long the CPU time of idle sessions is watched: long enough for a round of Veche's pings.
const WATCH: Duration = Duration::from_secs(75);
/// Fewer sessions than this cost too little to be watched.
const WATCHED_SESSIONS: u64 = 5_000;

/// Measures this many sessions.
pub fn measure(size: u64, target: Target, place: &Place) -> Result<Vec<Point>, BenchError> {
    let bar = progress_bar(&format!("{size} sessions, {}", target.name()), size);
    let seat = |number: u32| Seat { number, room: number / ROOM_MEMBERS, token: Vec::new() };
    let mut seats: Vec<Seat> = (0..u32::try_from(size).unwrap_or(u32::MAX)).map(seat).collect();
    let mut running = target.start(place)?;
    let mut values = Vec::new();
    let mut wire = target.wire();
    if target.is_veche() {
        // Accounts are there whether anyone is or not. Peers have none.
        let without = process::resident_kib(running.pid())?;
        running = with_accounts(running, &seats, place)?;
        wire = Box::new(Veche { entry: Entry::Login, joins: true });
        let with = process::resident_kib(running.pid())?;
        values.push(("account_kib", with.saturating_sub(without) as f64 / size as f64));
    }
    let mut fleet = Fleet::new(wire)?;
    let empty_kib = process::resident_kib(running.pid())?;
    let rest = seats.split_off(seats.len().min(1));
    fleet.enter(running.address, seats, 1, || {})?;
    fleet.enter(running.address, rest, target.entering(), || bar.inc(1))?;
    watch(&mut fleet, SETTLE)?;
    let held_kib = process::resident_kib(running.pid())?;
    values.extend([
        ("empty_kib", empty_kib as f64),
        ("held_kib", held_kib as f64),
        ("each_kib", held_kib.saturating_sub(empty_kib) as f64 / size as f64),
    ]);
    if size >= WATCHED_SESSIONS && target.is_veche() {
        let before = process::cpu_time(running.pid())?;
        watch(&mut fleet, WATCH)?;
        let used = process::cpu_time(running.pid())? - before;
        values.push(("idle_cpu_percent", used.total().as_secs_f64() / WATCH.as_secs_f64() * 100.0));
        values.push((
            "later_each_kib",
            process::resident_kib(running.pid())?.saturating_sub(empty_kib) as f64 / size as f64,
        ));
    }
    bar.finish_and_clear();
    Ok(vec![point("sessions", target, size, &values)])
}

/// Has everyone registered, and starts the server anew with these accounts and no sessions.
fn with_accounts(running: Running, seats: &[Seat], place: &Place) -> Result<Running, BenchError> {
    let mut fleet = Fleet::new(Box::new(Veche { entry: Entry::Register, joins: false }))?;
    let target = running.target;
    fleet.enter(running.address, seats.to_vec(), target.entering(), || {})?;
    drop(fleet);
    let dir = running.stop()?;
    let sessions = dir.path().join("data/sessions.csv");
    fs::remove_file(sessions).map_err(BenchError::doing("remove the sessions"))?;
    target.start_in(place, dir)
}

/// Reads what comes, pings among it, for this long.
fn watch(fleet: &mut Fleet, time: Duration) -> Result<(), BenchError> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        fleet.turn(Some(Duration::from_millis(100)), |_, _, _| {})?;
    }
    Ok(())
}
