//! What the device file remembers, through starts, damage and growth.

use std::path::Path;

use super::*;
use crate::disk::real::open_folder;
use crate::disk::simulated::{Faults, Random, SimulatedDisk};
use crate::secrets::keys::Keys;

const LIMITS: DeviceLimits = DeviceLimits { per_account: 4, days: 90 };

fn sealer() -> Arc<Sealer> {
    Arc::new(Sealer::new(&Keys::derive(&[1; 32])))
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_795_284_321_311)
}

fn device(account: u64, token: u8) -> Device {
    Device { account, session: u64::from(token), token: TokenHash::from_bytes([token; 16]), at: now() }
}

fn open(dir: &Path) -> OpenedDevices {
    let folder = open_folder(dir).expect("a folder");
    DeviceFile::open(folder, sealer(), LIMITS, now(), |account| account < 100).expect("a sound folder")
}

fn knows(opened: &OpenedDevices, account: u64, token: u8) -> bool {
    opened.devices.find(account, &TokenHash::from_bytes([token; 16]), now()).is_some()
}

#[test]
fn what_was_written_is_known_to_the_next_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut opened = open(dir.path());
    let had = |account, token| DeviceEvent::Had(device(account, token));
    opened.file.commit(&[had(1, 1), had(2, 2), had(100, 3)], true).expect("space");
    opened.file.commit(&[had(3, 4), DeviceEvent::Gone(2)], false).expect("space");
    drop(opened);
    for _ in 0..2 {
        let opened = open(dir.path());
        assert!(knows(&opened, 1, 1) && knows(&opened, 3, 4));
        assert!(!knows(&opened, 2, 2), "that account is gone");
        assert!(!knows(&opened, 100, 3), "nobody knows that account");
        assert!(!knows(&opened, 3, 1), "another account's");
        assert_eq!(opened.damaged, 0);
    }
    let mut opened = open(dir.path());
    opened.file.clear().expect("space");
    assert!(open(dir.path()).devices.is_empty());
    let text = std::fs::read_to_string(dir.path().join(FILE_NAME)).expect("it is there");
    assert_eq!(text, HEADER);
}

#[test]
fn a_changed_byte_makes_no_other_device() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut opened = open(dir.path());
    opened
        .file
        .commit(&[DeviceEvent::Had(device(1, 1)), DeviceEvent::Had(device(1, 2))], true)
        .expect("space");
    let path = dir.path().join(FILE_NAME);
    let text = std::fs::read(&path).expect("it is there");
    for at in HEADER.len()..text.len() {
        let mut changed = text.clone();
        changed[at] ^= 1;
        std::fs::write(&path, &changed).expect("space");
        let opened = open(dir.path());
        assert!(opened.devices.iter().all(|it| *it == device(1, 1) || *it == device(1, 2)), "byte {at}");
        assert!(opened.devices.len() < 2, "byte {at}");
        assert_eq!(open(dir.path()).damaged, 0, "it was written anew");
    }
    // A crash tore the last line.
    std::fs::write(&path, &text[..text.len() - 3]).expect("space");
    let mut opened = open(dir.path());
    assert_eq!((opened.devices.len(), opened.damaged), (1, 0));
    opened.file.commit(&[DeviceEvent::Had(device(1, 3))], true).expect("space");
    assert_eq!(open(dir.path()).devices.len(), 2);
}

#[test]
fn a_file_that_has_grown_or_was_lost_is_written_anew() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut opened = open(dir.path());
    let path = dir.path().join(FILE_NAME);
    for round in 0..20_u64 {
        let events: Vec<_> = (0..2_000_u64)
            .map(|number| {
                DeviceEvent::Had(Device { session: round * 2_000 + number, ..device(1, number as u8) })
            })
            .collect();
        opened.file.commit(&events, false).expect("space");
    }
    let len = std::fs::metadata(&path).expect("it is there").len();
    assert!(len < 2 * COMPACT_ABOVE_BYTES, "{len}");
    assert_eq!(open(dir.path()).devices.len(), 4);
    std::fs::remove_file(&path).expect("it is there");
    opened.file.commit(&[DeviceEvent::Had(device(1, 9))], true).expect("space");
    assert!(knows(&open(dir.path()), 1, 9));
}

/// Lives that end at any step, by a kill or a power cut: a token whose death was acknowledged is known ever
/// after, nothing else is, and every start succeeds.
#[test]
fn what_was_acknowledged_outlives_every_later_crash() {
    let limits = DeviceLimits { per_account: 100, days: 90 };
    for seed in 0..400_u64 {
        let mut random = Random(seed);
        let mut disk = SimulatedDisk::new(seed);
        let (mut promised, mut given): (Vec<Device>, u8) = (Vec::new(), 0);
        for life in 0..5 {
            let dies_at_change = (random.below(4) > 0).then(|| random.below(12) as u64);
            disk.begin(Faults { dies_at_change, ..Faults::default() });
            if let Ok(mut opened) = DeviceFile::open(disk.root(), sealer(), limits, now(), |_| true) {
                let known: Vec<_> = opened.devices.iter().copied().collect();
                assert!(promised.iter().all(|device| known.contains(device)), "seed {seed}, life {life}");
                assert!(known.iter().all(|it| *it == device(it.account, it.session as u8)), "seed {seed}");
                for _ in 0..random.below(6) {
                    given += 1;
                    let had = device(1 + random.below(3) as u64, given);
                    if opened.file.commit(&[DeviceEvent::Had(had)], true).is_ok() {
                        promised.push(had);
                    }
                }
            } else {
                assert!(disk.is_dead(), "seed {seed}, life {life}: a start fails");
            }
            disk = if random.below(2) == 0 { disk.after_kill() } else { disk.after_power_cut(random.bits()) };
        }
    }
}
