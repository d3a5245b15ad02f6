//! How long Veche takes to start with rows of history in 1 000 rooms, what memory it has then, how long a page
//! of 50 from anywhere takes, and what two people in a room feel of someone who asks for one after another.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use veche::config::Durability;
use veche::disk;
use veche::model::{
    MessageId, MessageKind, MessageText, RoomName, StoredMessage, Target as To, Timestamp, UserName,
};
use veche::store::history::{self, HistoryOptions};

use super::{percentile_ms, point};
use crate::check::new_histogram;
use crate::compare::progress_bar;
use crate::error::BenchError;
use crate::fleet::Fleet;
use crate::process;
use crate::report::Point;
use crate::scenario::{Run, Scenario};
use crate::target::{Place, Target};
use crate::text::{Label, Texts};
use crate::wire::veche::ask_page;
use crate::wire::{Heard, Seat};

const ROOMS: u64 = 1_000;
const BATCH_ROWS: u64 = 1_000;
const PAGES: u64 = 2_000;
/// A page that takes longer has got lost.
const PAGE_PATIENCE: Duration = Duration::from_secs(10);

/// Measures this many rows.
pub fn measure(rows: u64, target: Target, place: &Place) -> Result<Vec<Point>, BenchError> {
    let bar = progress_bar(&format!("{rows} rows"), rows + PAGES);
    let dir = tempfile::Builder::new()
        .prefix("veche-bench-")
        .tempdir_in(&place.scratch)
        .map_err(BenchError::doing("make a folder"))?;
    write(dir.path(), rows, |done| bar.inc(done))?;
    let mut place = place.clone();
    place.set.push("limits.requests_per_second=0".into());
    let begun = Instant::now();
    let running = target.start_in(&place, dir)?;
    let start_ms = begun.elapsed().as_secs_f64() * 1e3;
    let cpu_ms = process::cpu_time(running.pid())?.total().as_secs_f64() * 1e3;
    let resident_kib = process::resident_kib(running.pid())?;
    let mut fleet = Fleet::new(target.wire())?;
    fleet.enter(running.address, vec![Seat::default()], 1, || {})?;
    let mut latency = new_histogram();
    for page in 0..PAGES {
        latency.saturating_record(ask(&mut fleet, scatter(page) % ROOMS, scatter(page + 7) % rows)?);
        bar.inc(1);
    }
    let mut others = Fleet::new(target.wire())?;
    others.enter(running.address, Scenario::seats_elsewhere(), 1, || {})?;
    let (pair, pid) = (Scenario::two_elsewhere(), running.pid());
    let felt = thread::scope(|scope| {
        let beside = scope.spawn(|| Run::new(&pair, &mut others).measure(pid, |_| {}));
        let mut page = PAGES;
        while !beside.is_finished() {
            ask(&mut fleet, scatter(page) % ROOMS, scatter(page + 7) % rows)?;
            page += 1;
        }
        beside.join().map_err(|_| BenchError::Server("the two in a room died".into()))?
    })?;
    let dir: TempDir = running.stop()?;
    dir.close().map_err(BenchError::doing("remove the folder"))?;
    bar.finish_and_clear();
    let values = [
        ("start_ms", start_ms),
        ("start_cpu_ms", cpu_ms),
        ("resident_kib", resident_kib as f64),
        ("page_p50_ms", percentile_ms(&latency, 50.0)),
        ("page_p99_ms", percentile_ms(&latency, 99.0)),
        ("room_p50_ms", percentile_ms(&felt.latency, 50.0)),
        ("room_p99_ms", percentile_ms(&felt.latency, 99.0)),
    ];
    Ok(vec![point("rows", target, rows, &values)])
}

/// Asks for one page, and gives how long it took, in nanoseconds.
fn ask(fleet: &mut Fleet, room: u64, before: u64) -> Result<u64, BenchError> {
    let begun = Instant::now();
    fleet.send(0, |seat, out| {
        let seat = Seat { room: room as u32, ..seat.clone() };
        ask_page(&seat, before.max(1), out);
    });
    let mut taken = None;
    while taken.is_none() && begun.elapsed() < PAGE_PATIENCE {
        fleet.turn(Some(Duration::from_millis(100)), |_, heard, now| {
            if heard == Heard::Page {
                taken = u64::try_from(now.saturating_duration_since(begun).as_nanos()).ok();
            }
        })?;
    }
    taken.ok_or_else(|| BenchError::Server("a page did not come within 10 s".into()))
}

fn write(dir: &Path, rows: u64, progress: impl Fn(u64)) -> Result<(), BenchError> {
    let failed =
        |error: &dyn std::fmt::Display| BenchError::Server(format!("cannot write the history: {error}"));
    let data = dir.join("data");
    DirBuilder::new().mode(0o700).create(&data).map_err(BenchError::doing("make the data folder"))?;
    let options = HistoryOptions { now: Timestamp::now(), key_seconds: 120, keys_per_account: 1_000 };
    let data = disk::real::open_folder(&data).map_err(|error| failed(&error))?;
    let mut history = history::open(&data, options).map_err(|error| failed(&error))?;
    let mut newest = vec![None; ROOMS as usize];
    let ids: Vec<u64> = (1..=rows).collect();
    for batch in ids.chunks(BATCH_ROWS as usize) {
        let rows = batch.iter().map(|id| row(*id, &mut newest)).collect::<Option<Vec<StoredMessage>>>();
        let rows = rows.ok_or_else(|| failed(&"a row of it is not valid"))?;
        history.writer.commit(&rows, Durability::Os).map_err(|error| failed(&error))?;
        progress(batch.len() as u64);
    }
    history.writer.sync().map_err(|error| failed(&error))
}

fn row(id: u64, newest: &mut [Option<MessageId>]) -> Option<StoredMessage> {
    let scattered = scatter(id);
    let room = scattered % ROOMS;
    let label = Label { room: room as u32, talker: 0, number: id as u32 };
    let mut text = Vec::new();
    Texts::new(100).write(label, &mut text);
    let id = MessageId::new(id)?;
    let prev = newest[room as usize].replace(id);
    Some(StoredMessage {
        id,
        prev,
        at: Timestamp::from_millis(1_780_000_000_000 + id.get() as i64),
        target: To::Room(RoomName::parse(&format!("r{room}")).ok()?),
        from: UserName::parse(&format!("u{}", scattered / 7 % 2_000)).ok()?,
        kind: MessageKind::Text(MessageText::parse(std::str::from_utf8(&text).ok()?).ok()?),
        key: None,
    })
}

/// A number that looks random, always the same for the same one.
fn scatter(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 17
}
