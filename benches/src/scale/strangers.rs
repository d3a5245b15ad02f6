//! Two who talk, while a thousand connections without a session pour what they may, or ten accounts join and
//! leave a large room: what the two feel, and what it costs the server. Limits are the defaults, but those
//! on connections and registrations of one address.

mod crowd;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{percentile_ms, point};
use crate::compare::progress_bar;
use crate::error::BenchError;
use crate::fleet::Fleet;
use crate::process;
use crate::report::Point;
use crate::scenario::{Measured, Pace, Run, Scenario};
use crate::target::{Place, Target};
use crate::wire::Seat;
use crate::wire::veche::Veche;
use crowd::{Crowd, Load, Origin, Restless};

/// Limits that the other rows lift, as they are by default.
const DEFAULTS: [&str; 3] =
    ["limits.messages_per_second=20", "limits.logins_per_minute=60", "limits.login_timeout_seconds=120"];
/// How long the two talk.
const SECONDS: u32 = 10;
/// How long the others have been at it when they begin.
const AHEAD: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Who is in the room of the storm and does nothing, and who joins and leaves.
const READERS: u32 = 140;
const RESTLESS: u32 = 10;

/// Measures each load with as many strangers; the storm has ten.
pub fn measure(size: u64, target: Target, place: &Place) -> Result<Vec<Point>, BenchError> {
    let mut place = place.clone();
    let given = std::mem::take(&mut place.set);
    place.set = DEFAULTS.map(str::to_owned).into_iter().chain(given).collect();
    let mut points = vec![one("strangers, none", 0, None, target, &place)?];
    for load in Load::ALL {
        let row = format!("strangers, {}", load.name());
        points.push(one(&row, size, Some((load, Origin::One)), target, &place)?);
    }
    for load in [Load::LargePings, Load::SmallPings, Load::Tokens] {
        let row = format!("strangers of many addresses, {}", load.name());
        points.push(one(&row, size, Some((load, Origin::Many)), target, &place)?);
    }
    points.push(storm(target, &place)?);
    Ok(points)
}

fn two() -> Scenario {
    Scenario {
        pace: Pace::Open { per_second: 30 },
        messages: u64::from(30 * SECONDS),
        ..Scenario::two_elsewhere()
    }
}

fn one(
    row: &str,
    size: u64,
    load: Option<(Load, Origin)>,
    target: Target,
    place: &Place,
) -> Result<Point, BenchError> {
    let bar = progress_bar(&format!("{row}, {size}"), 1_000);
    let running = target.start(place)?;
    let mut fleet = Fleet::new(Box::new(Veche::default()))?;
    fleet.enter(running.address, Scenario::seats_elsewhere(), 1, || {})?;
    let log = running.dir().join("data/veche.log");
    let (pid, address, done) = (running.pid(), running.address, AtomicBool::new(false));
    let first_kib = process::resident_kib(pid)?;
    let (measured, seen) = thread::scope(|scope| {
        let done = &done;
        let pour = move |(load, origin)| Crowd::connect(address, load, origin, size as usize)?.pour(done);
        let crowd = load.map(|load| scope.spawn(move || pour(load)));
        let watcher = scope.spawn(|| watch(pid, &log, done));
        thread::sleep(AHEAD); // how long the load lasts before, not how long is waited for luck
        let measured = Run::new(&two(), &mut fleet).measure(pid, |share| bar.set_position(share));
        done.store(true, Ordering::Relaxed);
        let broken = |_| BenchError::Server("a thread of the measurement died".into());
        if let Some(crowd) = crowd {
            crowd.join().map_err(broken)??;
        }
        let seen = watcher.join().map_err(broken)??;
        Ok::<_, BenchError>((measured?, seen))
    })?;
    bar.finish_and_clear();
    Ok(point(row, target, size, &told(&measured, &seen, first_kib)))
}

fn storm(target: Target, place: &Place) -> Result<Point, BenchError> {
    let bar = progress_bar("presence storm", 1_000);
    let running = target.start(place)?;
    let mut fleet = Fleet::new(Box::new(Veche::default()))?;
    fleet.enter(running.address, Scenario::seats_elsewhere(), 1, || {})?;
    let mut readers = Fleet::new(Box::new(Veche::default()))?;
    readers.enter(running.address, seats(0, READERS), 64, || {})?;
    let mut restless = Fleet::new(Box::new(Restless))?;
    restless.enter(running.address, seats(READERS, RESTLESS), 64, || {})?;
    let log = running.dir().join("data/veche.log");
    let (pid, done) = (running.pid(), AtomicBool::new(false));
    let first_kib = process::resident_kib(pid)?;
    let (measured, seen) = thread::scope(|scope| {
        let turning = |fleet: &mut Fleet| -> Result<(), BenchError> {
            while !done.load(Ordering::Relaxed) {
                fleet.turn(Some(LOOK_EVERY), |_, _, _| {})?;
            }
            Ok(())
        };
        let read = scope.spawn(move || (turning(&mut readers), readers).0);
        let storm = scope.spawn(move || (turning(&mut restless), restless).0);
        let watcher = scope.spawn(|| watch(pid, &log, &done));
        thread::sleep(AHEAD); // how long the load lasts before, not how long is waited for luck
        let measured = Run::new(&two(), &mut fleet).measure(pid, |share| bar.set_position(share));
        done.store(true, Ordering::Relaxed);
        let broken = |_| BenchError::Server("a thread of the measurement died".into());
        read.join().map_err(broken)??;
        storm.join().map_err(broken)??;
        let seen = watcher.join().map_err(broken)??;
        Ok::<_, BenchError>((measured?, seen))
    })?;
    bar.finish_and_clear();
    let values = told(&measured, &seen, first_kib);
    Ok(point("strangers, presence storm", target, u64::from(RESTLESS), &values))
}

fn seats(from: u32, count: u32) -> Vec<Seat> {
    (from..from + count).map(|number| Seat { number, room: 0, token: Vec::new() }).collect()
}

fn told(measured: &Measured, seen: &Seen, first_kib: u64) -> [(&'static str, f64); 7] {
    let wall = measured.wall.as_secs_f64();
    [
        ("honest_p50_ms", percentile_ms(&measured.latency, 50.0)),
        ("honest_p99_ms", percentile_ms(&measured.latency, 99.0)),
        ("honest_max_ms", percentile_ms(&measured.latency, 100.0)),
        ("server_cores", measured.server_cpu.total().as_secs_f64() / wall),
        ("grown_kib", seen.most_kib.saturating_sub(first_kib) as f64),
        ("log_kib_a_minute", seen.log_bytes as f64 / 1024.0 * 60.0 / seen.watched.as_secs_f64()),
        ("faults", measured.faults.total() as f64),
    ]
}

/// What was seen of the server from outside.
struct Seen {
    most_kib: u64,
    log_bytes: u64,
    watched: Duration,
}

fn watch(pid: u32, log: &Path, done: &AtomicBool) -> Result<Seen, BenchError> {
    // A log that is not there has no bytes.
    let log_bytes = || fs::metadata(log).map_or(0, |log| log.len());
    let (start, before) = (Instant::now(), log_bytes());
    let mut most_kib = 0;
    while !done.load(Ordering::Relaxed) {
        most_kib = most_kib.max(process::resident_kib(pid)?);
        thread::sleep(LOOK_EVERY); // how often is looked, not how long is waited
    }
    Ok(Seen { most_kib, log_bytes: log_bytes().saturating_sub(before), watched: start.elapsed() })
}
