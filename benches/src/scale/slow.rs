//! One session of 20 that never reads, while 1 000 messages of 400 bytes a second go to its room: when it is
//! let go, and what the others notice.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use super::{percentile_ms, point};
use crate::compare::progress_bar;
use crate::error::BenchError;
use crate::fleet::Fleet;
use crate::process;
use crate::report::Point;
use crate::scenario::{Measured, Pace, Run, Scenario};
use crate::target::{Place, Target};

const MEMBERS: u32 = 20;
const SECONDS: u32 = 10;
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The receive buffer of the one that never reads, in bytes: small, so that it is the server's patience that
/// is measured.
const RECEIVE_BYTES: usize = 4_096;

/// Measures it with this many who do not read.
pub fn measure(deaf: u64, target: Target, place: &Place) -> Result<Vec<Point>, BenchError> {
    let Flood { measured, seen } =
        flood(u32::try_from(deaf).unwrap_or(MEMBERS).min(MEMBERS - 1), target, place)?;
    let mut values = vec![
        ("others_p50_ms", percentile_ms(&measured.latency, 50.0)),
        ("others_p99_ms", percentile_ms(&measured.latency, 99.0)),
        ("faults", measured.faults.total() as f64),
        ("grown_kib", seen.most_kib.saturating_sub(seen.first_kib) as f64),
    ];
    values.extend(seen.let_go.map(|time| ("let_go_seconds", time.as_secs_f64())));
    Ok(vec![point("slow", target, deaf, &values)])
}

struct Flood {
    measured: Measured,
    seen: Seen,
}

/// What was seen of the server from outside.
struct Seen {
    let_go: Option<Duration>,
    first_kib: u64,
    most_kib: u64,
}

fn flood(deaf: u32, target: Target, place: &Place) -> Result<Flood, BenchError> {
    let bar = progress_bar(&format!("{deaf} of {MEMBERS} never read"), 1_000);
    let scenario = Scenario {
        name: "slow".into(),
        what: "one that never reads".into(),
        rooms: 1,
        members: MEMBERS,
        talkers: 10,
        pace: Pace::Open { per_second: 1_000 },
        messages: u64::from(1_000 * SECONDS),
        least: Duration::ZERO,
        text_bytes: 400,
        deaf,
    };
    let running = target.start(place)?;
    let mut fleet = Fleet::new(target.wire())?;
    fleet.enter(running.address, scenario.seats(), 8, || {})?;
    for client in (0..MEMBERS as usize).rev().take(deaf as usize) {
        let small = sockopt::set_socket_recv_buffer_size(fleet.stream(client), RECEIVE_BYTES);
        small.map_err(BenchError::doing("make a receive buffer small"))?;
        fleet.deafen(client)?;
    }
    let (pid, done) = (running.pid(), AtomicBool::new(false));
    thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(pid, &done));
        let measured = Run::new(&scenario, &mut fleet).measure(pid, |share| bar.set_position(share));
        done.store(true, Ordering::Relaxed);
        bar.finish_and_clear();
        let seen =
            watcher.join().map_err(|_| BenchError::Server("the watcher of the server died".into()))??;
        Ok(Flood { measured: measured?, seen })
    })
}

/// Looks at the server's memory, and for the moment at which it has a descriptor less.
fn watch(pid: u32, done: &AtomicBool) -> Result<Seen, BenchError> {
    let start = Instant::now();
    let first_kib = process::resident_kib(pid)?;
    // Files are opened on the way, too: it is from the most that one is missing.
    let mut most = descriptors(pid)?;
    let mut seen = Seen { let_go: None, first_kib, most_kib: first_kib };
    while !done.load(Ordering::Relaxed) {
        seen.most_kib = seen.most_kib.max(process::resident_kib(pid)?);
        let now = descriptors(pid)?;
        if seen.let_go.is_none() && now < most {
            seen.let_go = Some(start.elapsed());
        }
        most = most.max(now);
        thread::sleep(LOOK_EVERY); // how often is looked, not how long is waited
    }
    Ok(seen)
}

fn descriptors(pid: u32) -> Result<usize, BenchError> {
    let path = format!("/proc/{pid}/fd");
    Ok(fs::read_dir(&path).map_err(BenchError::doing(format!("read {path}")))?.count())
}
