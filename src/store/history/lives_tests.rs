//! Several lives of a server over one simulated disk: each is killed or loses its power at any of its calls, or
//! has a call of it fail, and what one life acknowledged, its own or what it found, has to outlive all later ones.
//!
//! `tests/lives` runs this for as long as you like, with a seed.

use std::collections::BTreeMap;

use rustix::io::Errno;

use super::tests::{newest, options, row};
use super::*;
use crate::config::Durability;
use crate::disk::simulated::{Faults, Random, SimulatedDisk};
use crate::model::{MessageKey, MessageList, RoomName, Target};

/// What is promised about a disk.
#[derive(Debug, Clone, Default)]
struct Promised {
    /// Rows that have to be there whatever ends a life.
    for_good: BTreeMap<u64, StoredMessage>,
    /// Rows that have to be there unless the power goes.
    till_the_power_goes: BTreeMap<u64, StoredMessage>,
    /// Whether a life went without fsync: several batches of it may have holes in them.
    unforced: bool,
}

impl Promised {
    fn force(&mut self) {
        self.for_good.append(&mut self.till_the_power_goes);
    }
}

/// One life, as it would go if nothing happened to it.
#[derive(Debug, Clone, Copy)]
struct Plan {
    seed: u64,
    batches: usize,
    durability: Durability,
}

/// How a life ends, after what was to happen to it has happened.
#[derive(Debug, Clone, Copy)]
enum End {
    Kill,
    PowerCut(u64),
}

impl End {
    fn of(self, disk: &SimulatedDisk, promised: &mut Promised) -> SimulatedDisk {
        match self {
            End::Kill => disk.after_kill(),
            End::PowerCut(seed) => {
                promised.till_the_power_goes.clear();
                disk.after_power_cut(seed)
            }
        }
    }
}

/// Lives, and sees to it that the life finds what was promised before it.
fn live(disk: &SimulatedDisk, plan: Plan, faults: Faults, promised: &mut Promised) {
    disk.begin(faults);
    let mut history = match open(&disk.root(), options()) {
        Ok(history) => history,
        // Whoever starts it is told.
        Err(why) if disk.is_dead() || faults.fails_at_call.is_some() => {
            assert!(!why.to_string().is_empty());
            return;
        }
        Err(why) => panic!("a start fails: {why}"),
    };
    let spoiled = disk.is_dead() || faults.fails_at_call.is_some();
    if !spoiled {
        look(&history, promised);
    }
    promised.unforced |= plan.durability == Durability::Os;
    let mut random = Random(plan.seed);
    let mut next_id = MessageId::or_zero(history.last_id) + 1;
    let mut poisoned = false;
    for _ in 0..plan.batches {
        let batch = draw_batch(&history, &mut random, &mut next_id);
        match history.writer.commit(&batch, plan.durability) {
            Ok(positions) => {
                assert!(!poisoned, "nothing is acknowledged after an fsync has failed");
                for (row, position) in batch.iter().zip(positions) {
                    history.index.record(row, position);
                    promised.till_the_power_goes.insert(row.id.get(), row.clone());
                }
                if plan.durability == Durability::Fsync {
                    promised.force();
                }
            }
            Err(CommitError::Poisoned(_)) => poisoned = true,
            Err(CommitError::Refused(_)) => {}
        }
        if disk.is_dead() {
            return;
        }
    }
    if history.writer.sync().is_ok() {
        promised.force();
    }
}

/// Rows for one of three lists each, sometimes of the next months, sometimes long.
fn draw_batch(history: &Opened, random: &mut Random, next_id: &mut u64) -> Vec<StoredMessage> {
    let at = Timestamp::from_millis(options().now.as_millis() + random.below(3) as i64 * 25 * 86_400_000);
    let mut newest = BTreeMap::new();
    let mut rows = Vec::new();
    for _ in 0..=random.below(6) {
        let room = RoomName::parse(["lobby", "tea", "coffee"][random.below(3)]).expect("a name");
        let text = "text, ".repeat(1 + random.below(40) * usize::from(random.below(4) == 0));
        let mut row = row(*next_id, Target::Room(room.clone()), &text);
        row.at = at;
        row.key = MessageKey::parse(&format!("key {next_id}")).filter(|_| random.below(2) == 0);
        row.prev =
            newest.insert(room.clone(), row.id).or_else(|| history.index.newest(&MessageList::Room(room)));
        rows.push(row);
        *next_id += 1 + random.below(2) as u64;
    }
    rows
}

/// What is promised is there, as it was, and once; everything has its place. What is there is promised from
/// now on: somebody may see it.
fn look(history: &Opened, promised: &mut Promised) {
    let whole = !promised.unforced;
    let damage = history.damage.first.iter().find(|damage| !is_of_a_crash(damage.why));
    assert!(damage.is_none() || !whole, "{damage:?}");
    let mut there = BTreeMap::new();
    for room in ["lobby", "tea", "coffee"] {
        let list = MessageList::Room(RoomName::parse(room).expect("a name"));
        let page = history.index.plan(&newest(list, 10_000)).read().expect("it can be read");
        assert_eq!(page.damage, []);
        let mut before = None;
        for row in page.rows {
            assert!(row.prev == before || !whole, "the row before {} in {room}", row.id);
            before = Some(row.id);
            assert!(Some(row.id) <= history.last_id, "{} may be given again", row.id);
            assert_eq!(there.insert(row.id.get(), row), None);
        }
    }
    for (id, row) in promised.for_good.iter().chain(&promised.till_the_power_goes) {
        assert_eq!(there.get(id), Some(row), "message {id}");
    }
    let keyed: Vec<&StoredMessage> = there.values().filter(|row| row.key.is_some()).collect();
    assert_eq!(history.recent_keyed.iter().collect::<Vec<_>>(), keyed, "the keys of what is there");
    // Forced by the start.
    promised.for_good.extend(there);
    promised.till_the_power_goes.clear();
}

fn is_of_a_crash(why: RowFault) -> bool {
    matches!(why, RowFault::Torn | RowFault::Hole)
}

/// What has been tried.
#[derive(Debug, Default)]
struct Tried {
    points: u64,
}

/// A first life that dies before each of its changes, or of which each call fails; after each of these, a second
/// one that dies before each of its first changes; after each of these, a third one that looks.
fn try_all(seed: u64, tried: &mut Tried) {
    let mut random = Random(seed);
    // All lives with fsync, all without, or now so, now so.
    let kinds: &[Durability] = match random.below(6) {
        0 => &[Durability::Os],
        1 => &[Durability::Os, Durability::Fsync],
        _ => &[Durability::Fsync],
    };
    let plan = |random: &mut Random| {
        let durability = kinds[random.below(kinds.len())];
        Plan { seed: random.bits(), batches: 2 + random.below(3), durability }
    };
    let (disk, mut promised) = (SimulatedDisk::new(random.bits()), Promised::default());
    let short_write_bytes = if random.below(3) == 0 { 7 } else { 0 };
    if random.below(2) == 0 {
        live(&disk, plan(&mut random), Faults::default(), &mut promised);
    }
    let (first, second) = (plan(&mut random), Plan { batches: 1, ..plan(&mut random) });
    for faults in faults_of(&disk, first, &promised, short_write_bytes) {
        let (disk, mut promised) = (disk.copy(), promised.clone());
        live(&disk, first, faults, &mut promised);
        for end in [End::Kill, End::PowerCut(random.bits()), End::PowerCut(random.bits())] {
            let mut promised = promised.clone();
            let disk = end.of(&disk, &mut promised);
            lives_after(&disk, second, &promised, &mut random, tried);
        }
    }
}

fn lives_after(
    disk: &SimulatedDisk,
    second: Plan,
    promised: &Promised,
    random: &mut Random,
    tried: &mut Tried,
) {
    let whole = disk.copy();
    live(&whole, second, Faults::default(), &mut promised.clone());
    for dies_at in 0..=whole.changes() {
        let (disk, mut promised) = (disk.copy(), promised.clone());
        live(&disk, second, Faults { dies_at_change: Some(dies_at), ..Faults::default() }, &mut promised);
        let end = if random.below(2) == 0 { End::Kill } else { End::PowerCut(random.bits()) };
        let disk = end.of(&disk, &mut promised);
        live(&disk, Plan { batches: 1, ..second }, Faults::default(), &mut promised);
        let disk = End::PowerCut(random.bits()).of(&disk, &mut promised);
        live(&disk, Plan { batches: 0, ..second }, Faults::default(), &mut promised);
        tried.points += 1;
    }
}

/// Everything that can happen to a life, once each.
fn faults_of(disk: &SimulatedDisk, plan: Plan, promised: &Promised, short_write_bytes: usize) -> Vec<Faults> {
    let whole = disk.copy();
    let none = Faults { short_write_bytes, ..Faults::default() };
    live(&whole, plan, none, &mut promised.clone());
    let dies = (0..whole.changes()).map(|at| Faults { dies_at_change: Some(at), ..none });
    let fails = (0..whole.calls()).flat_map(|at| {
        [Errno::IO, Errno::NOSPC, Errno::INTR]
            .map(|errno| Faults { fails_at_call: Some((at, errno)), ..none })
    });
    let full = [1, 200, 700, 1_500].map(|capacity_bytes| Faults { capacity_bytes, ..none });
    std::iter::once(none)
        .chain(dies)
        .chain(fails)
        .chain(full.into_iter().filter(|_| promised.for_good.is_empty()))
        .collect()
}

#[test]
fn what_a_life_acknowledged_or_found_outlives_every_later_one() {
    let mut tried = Tried::default();
    for seed in 0.. {
        try_all(seed, &mut tried);
        if tried.points > 4_000 {
            break;
        }
    }
}

#[test]
#[ignore = "as long as you like: tests/lives"]
fn many_lives() {
    crate::disk::lives::try_many("history", |seed| {
        let mut tried = Tried::default();
        try_all(seed, &mut tried);
        tried.points
    });
}
