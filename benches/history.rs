//! How the history grows: opening it, its memory, and a page from anywhere.
//!
//! `cargo bench --bench history -- ROWS [ROOMS]` writes that many rows (1 000 000 in 1 000 rooms by default)
//! into a temporary folder, opens it in a process of its own, and prints CPU time, resident memory and the
//! time of pages of 50 from random places. It asserts nothing.

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use veche::config::Durability;
use veche::disk;
use veche::model::{
    MessageId, MessageKind, MessageList, MessageText, Page, PageQuery, RoomName, StoredMessage, Target,
    Timestamp, UserName,
};
use veche::store::history::{self, HistoryOptions, Opened};

const BATCH_ROWS: u64 = 1_000;
const PAGES: usize = 2_000;

fn main() -> Result<(), Box<dyn Error>> {
    let numbers: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    // `cargo test --all-targets` runs this too, without `--bench`: then it only shows that it works.
    let bench = std::env::args().any(|argument| argument == "--bench");
    let rows = numbers.first().copied().unwrap_or(if bench { 1_000_000 } else { 1_000 });
    let rooms = numbers.get(1).copied().unwrap_or(1_000).max(1);
    if let Some(dir) = std::env::var_os("VECHE_BENCH_DIR") {
        return measure(Path::new(&dir), rows, rooms);
    }
    let dir = tempfile::tempdir()?;
    write(dir.path(), rows, rooms)?;
    // A fresh process, so that its memory is that of the opened history alone.
    Command::new(std::env::current_exe()?)
        .args([rows.to_string(), rooms.to_string()])
        .env("VECHE_BENCH_DIR", dir.path())
        .status()?;
    Ok(())
}

fn open(dir: &Path) -> Result<Opened, Box<dyn Error>> {
    let options = HistoryOptions { now: Timestamp::now(), key_seconds: 120, keys_per_account: 1_000 };
    Ok(history::open(&disk::real::open_folder(dir)?, options)?)
}

fn write(dir: &Path, rows: u64, rooms: u64) -> Result<(), Box<dyn Error>> {
    let mut history = open(dir)?;
    let (cpu, start) = (cpu_ms()?, Instant::now());
    let ids: Vec<u64> = (1..=rows).collect();
    for batch in ids.chunks(BATCH_ROWS as usize) {
        let batch = batch.iter().map(|id| row(*id, rooms)).collect::<Result<Vec<StoredMessage>, _>>()?;
        history.writer.commit(&batch, Durability::Os)?;
    }
    history.writer.sync()?;
    println!("write {rows} rows: {} ms of CPU, {} ms", cpu_ms()? - cpu, start.elapsed().as_millis());
    Ok(())
}

/// Nine of ten rows go to a room; a third of the texts has a comma, and is quoted for it.
fn row(id: u64, rooms: u64) -> Result<StoredMessage, Box<dyn Error>> {
    let scattered = scatter(id);
    let user = |number: u64| UserName::parse(&format!("user{}", number % 2_000));
    let target = if scattered.is_multiple_of(10) {
        Target::Account(user(scattered / 10)?)
    } else {
        Target::Room(RoomName::parse(&format!("room{}", scattered % rooms))?)
    };
    let text = match scattered % 3 {
        0 => format!("message {id}, with a comma and about as many words as people use in a chat"),
        _ => format!("message {id} with about as many words as people use in a chat; some say more"),
    };
    Ok(StoredMessage {
        id: MessageId::new(id).ok_or("ids are small here")?,
        prev: MessageId::new(id.saturating_sub(rooms)),
        at: Timestamp::from_millis(1_795_284_321_311 + id as i64),
        target,
        from: user(scattered / 7)?,
        kind: MessageKind::Text(MessageText::parse(&text)?),
        key: None,
    })
}

fn measure(dir: &Path, rows: u64, rooms: u64) -> Result<(), Box<dyn Error>> {
    let (cpu, memory, start) = (cpu_ms()?, resident_kib()?, Instant::now());
    let history = open(dir)?;
    println!(
        "open: {} ms of CPU, {} ms, {} KiB more resident, {} damaged",
        cpu_ms()? - cpu,
        start.elapsed().as_millis(),
        resident_kib()? - memory,
        history.damage.total
    );
    let (mut planned_ns, mut read_us) = (Vec::new(), Vec::new());
    for page in 0..PAGES as u64 {
        let list = MessageList::Room(RoomName::parse(&format!("room{}", scatter(page) % rooms))?);
        let page = Page::Before(MessageId::new(scatter(page + 7) % rows));
        let query = PageQuery { list, page, limit: 50, visible_from: None, up_to: None };
        let start = Instant::now();
        let plan = history.index.plan(&query);
        planned_ns.push(start.elapsed().as_nanos());
        let start = Instant::now();
        plan.read()?;
        read_us.push(start.elapsed().as_micros());
    }
    println!("plan a page: {}", percentiles(&mut planned_ns, "ns"));
    println!("read a page of 50: {}", percentiles(&mut read_us, "µs"));
    Ok(())
}

/// A number that looks random, always the same for the same one.
fn scatter(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 17
}

fn percentiles(samples: &mut [u128], unit: &str) -> String {
    samples.sort_unstable();
    let at = |percent: usize| samples.get(samples.len() * percent / 100).copied().unwrap_or_default();
    format!("p50 {} {unit}, p99 {} {unit}", at(50), at(99))
}

/// User and system time of this process, in milliseconds; the kernel counts in steps of 10.
fn cpu_ms() -> Result<u64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    Ok(ticks.sum::<Result<u64, _>>()? * 10)
}

fn resident_kib() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
