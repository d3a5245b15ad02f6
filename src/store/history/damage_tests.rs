//! Damage anywhere in a history, by chance or by whoever can say a text and hopes for a byte to rot: what was not
//! touched is found as it was, nothing else is found, no id is given again, and the next start finds the same.

use std::collections::BTreeMap;
use std::ops::Range;

use super::tests::{newest, options, row, user};
use super::*;
use crate::config::Durability;
use crate::disk::simulated::{Random, SimulatedDisk};
use crate::model::{MessageKey, MessageKind, MessageList, MessageText, RoomName, Target};

const FILE: &str = "history/2026-11.csv";

/// A disk with rows in the lobby, each of a batch and a millisecond of its own, and where they lie.
struct Kept {
    disk: SimulatedDisk,
    rows: Vec<(Range<usize>, StoredMessage)>,
    content: Vec<u8>,
}

impl Kept {
    fn new(texts: &[String]) -> Self {
        let disk = SimulatedDisk::new(1);
        let mut history = open(&disk.root(), options()).expect("it opens");
        let rows: Vec<StoredMessage> = (1..).zip(texts).map(|(id, text)| said(id, text)).collect();
        for row in &rows {
            history.writer.commit(std::slice::from_ref(row), Durability::Fsync).expect("room on the disk");
        }
        let mut content = Vec::new();
        disk.tamper(FILE, |bytes| content.clone_from(bytes));
        let mut start = content.iter().position(|byte| *byte == b'\n').expect("a header") + 1;
        let ranges = content[start..].split_inclusive(|byte| *byte == b'\n').map(|line| {
            let range = start..start + line.len() - 1;
            start += line.len();
            range
        });
        let rows = ranges.zip(rows).collect();
        Kept { disk, rows, content }
    }

    /// What starts find after the file has become `content`. Everything has to be as it was.
    fn found_in(&self, content: &[u8], what: &str) -> BTreeMap<u64, StoredMessage> {
        let disk = self.disk.copy();
        disk.tamper(FILE, |bytes| content.clone_into(bytes));
        let history = open(&disk.root(), options()).unwrap_or_else(|why| panic!("{what}: {why}"));
        let found = lobby(&history);
        for (id, row) in &found {
            let said = self.rows.get(*id as usize - 1).map(|(_, row)| row);
            assert_eq!(Some(row), said, "{what}: nobody has said this");
        }
        let newest = MessageId::new(self.rows.len() as u64);
        assert!(
            history.last_id >= newest,
            "{what}: {newest:?} may be given again, after {:?}",
            history.last_id
        );
        drop(history);
        let mut again = open(&disk.root(), options()).unwrap_or_else(|why| panic!("{what}, again: {why}"));
        assert_eq!(lobby(&again), found, "{what}: the second start");
        assert!(again.last_id >= newest, "{what}: {newest:?} may be given again by the second start");
        if !crc32fast::hash(content).is_multiple_of(4) {
            // Not each time, for the time that it takes.
            return found;
        }
        let next = said(MessageId::or_zero(again.last_id) + 1, "after all");
        again.writer.commit(std::slice::from_ref(&next), Durability::Fsync).expect("room on the disk");
        let third = lobby(&open(&disk.root(), options()).expect("it opens"));
        assert_eq!(third.get(&next.id.get()), Some(&next), "{what}: what is said behind it");
        assert_eq!(third.len(), found.len() + 1, "{what}: the third start");
        found
    }

    /// Writes `damage` over the file, and looks that the rows which it does not touch are found.
    fn overwrite(&self, damage: &[(usize, Vec<u8>)]) {
        let mut content = self.content.clone();
        for (at, bytes) in damage {
            let end = content.len().min(at + bytes.len());
            content[*at..end].copy_from_slice(&bytes[..end - at]);
        }
        let what = format!("{damage:?}");
        let found = self.found_in(&content, &what);
        for (range, row) in &self.rows {
            if content[range.clone()] == self.content[range.clone()] {
                assert!(
                    found.contains_key(&row.id.get()),
                    "{what}: row {} was not touched\n{}",
                    row.id,
                    String::from_utf8_lossy(&content)
                );
            }
        }
    }
}

fn said(id: u64, text: &str) -> StoredMessage {
    let mut row = row(id, Target::Room(RoomName::lobby()), "x");
    row.kind = MessageKind::Text(MessageText::parse(text).expect("a text"));
    row.from = user("eve");
    row.at = Timestamp::from_millis(options().now.as_millis() + 7 * id as i64 % 1_000_000);
    row.key = if id.is_multiple_of(3) { MessageKey::parse(&format!("k,{id}")) } else { None };
    row
}

fn lobby(history: &Opened) -> BTreeMap<u64, StoredMessage> {
    let plan = history.index.plan(&newest(MessageList::Room(RoomName::lobby()), 10_000));
    let page = plan.read().expect("it reads");
    assert_eq!(page.damage, []);
    page.rows.into_iter().map(|row| (row.id.get(), row)).collect()
}

/// A row that was never said, as a line.
fn forged(id: u64) -> String {
    let cells = format!("{id},{},2026-11-21T18:05:21.311Z,lobby,alice,,I owe eve a fortune,", id - 1);
    format!("{cells},x{:08x}", crc32fast::hash(cells.as_bytes()))
}

fn texts() -> Vec<String> {
    [
        "hi",
        "one, \"two\", three",
        &format!("{}\n{}", forged(3), forged(4)),
        "x12345678,x12345678 ,x1234567,",
        "12,11,2026-11-21T18:05:21.311Z,",
        "gr\u{fc}\u{df} dich, \u{1f600}\\",
        &format!("\"{}\"", forged(9)),
        "bye",
    ]
    .map(str::to_owned)
    .to_vec()
}

const PATTERNS: [u8; 8] = [0, 0xff, b'1', b'\n', b',', b'"', b'x', b'\r'];

#[test]
fn damage_of_any_place_and_length_costs_the_rows_that_it_touches() {
    let kept = Kept::new(&texts());
    let mut random = Random(7);
    for at in 0..kept.content.len() {
        for pattern in PATTERNS {
            let len = if random.below(3) == 0 { 1 } else { 1 + random.below(40) };
            kept.overwrite(&[(at, vec![pattern; len])]);
        }
    }
}

#[test]
#[ignore = "minutes long"]
fn damage_of_every_place_and_length_costs_the_rows_that_it_touches() {
    let kept = Kept::new(&texts());
    for at in 0..kept.content.len() {
        for len in 1..=40 {
            for pattern in PATTERNS {
                kept.overwrite(&[(at, vec![pattern; len])]);
            }
        }
    }
}

#[test]
fn two_damages_near_each_other_cost_the_rows_that_they_touch() {
    let kept = Kept::new(&texts());
    let mut random = Random(11);
    for _ in 0..1_500 {
        let first = random.below(kept.content.len());
        let second = (first + random.below(150)).min(kept.content.len() - 1);
        // One of them a quote would leave it open which of the rows behind it are texts.
        let mut bytes = || vec![[0, 0xff, b'1', b'\n', b','][random.below(5)]; 1 + random.below(4)];
        kept.overwrite(&[(first, bytes()), (second, bytes())]);
    }
}

#[test]
fn bytes_that_come_or_go_cost_the_rows_that_they_touch() {
    let kept = Kept::new(&texts());
    for at in 0..=kept.content.len() {
        let (before, after) = kept.content.split_at(at);
        let touched = |range: &Range<usize>| range.contains(&at) && range.start != at;
        for inserted in [&b"\n"[..], b"\r", b"\n\n", b"\"", b"1", b"\0", b"\r\n"] {
            let what = format!("{inserted:?} at {at}");
            let found = kept.found_in(&[before, inserted, after].concat(), &what);
            let missing =
                kept.rows.iter().find(|(range, row)| !touched(range) && !found.contains_key(&row.id.get()));
            assert!(missing.is_none(), "{what}: {missing:?}");
        }
        for deleted in 1..=after.len().min(3) {
            let what = format!("{deleted} deleted at {at}");
            let found = kept.found_in(&[before, &after[deleted..]].concat(), &what);
            let gone = at..at + deleted;
            let touches = |range: &Range<usize>| gone.start < range.end && range.start < gone.end;
            let mut taken_by_the_row_before = false;
            for (range, row) in &kept.rows {
                let there = found.contains_key(&row.id.get());
                // Where the first digit of an id is the last one of the checksum before it, the other row is the
                // damaged one.
                assert!(there || touches(range) || taken_by_the_row_before, "{what}: {row:?}");
                taken_by_the_row_before = there && touches(range);
            }
        }
    }
}

#[test]
fn a_row_within_a_text_is_never_a_message_whatever_rots_or_is_torn_off() {
    let kept = Kept::new(&["hi".into(), format!("{},{}", "y".repeat(20), forged(3)), forged(4)]);
    for at in 0..kept.content.len() {
        for byte in 0..=u8::MAX {
            if byte.is_multiple_of(61) || PATTERNS.contains(&byte) {
                let mut content = kept.content.clone();
                content[at] = byte;
                kept.found_in(&content, &format!("{byte:#x} at {at}"));
            }
        }
        // Torn off here: what was acknowledged is gone, and nothing comes in its place.
        let disk = kept.disk.copy();
        disk.tamper(FILE, |bytes| bytes.truncate(at));
        let history = open(&disk.root(), options()).expect("it opens");
        for (id, row) in lobby(&history) {
            assert_eq!(row, kept.rows[id as usize - 1].1, "cut at {at}");
        }
    }
}

#[test]
fn a_page_of_zeros_costs_the_rows_in_it() {
    let texts: Vec<String> = (0..400).map(|n| format!("text, \"{}\" {n}", "z".repeat(n % 40))).collect();
    let kept = Kept::new(&texts);
    for size in [512, 4_096] {
        for page in 0..kept.content.len().div_ceil(size) {
            // But for the last row: whether it was acknowledged nobody can tell from the file.
            let end = ((page + 1) * size).min(kept.content.len());
            let behind = kept.rows.iter().filter(|(range, _)| range.start >= end).count();
            if behind != 1 {
                kept.overwrite(&[(page * size, vec![0; size])]);
            }
        }
    }
}

#[test]
fn whole_rows_are_never_set_aside() {
    let kept = Kept::new(&["one".into(), "two, \"2\"".into(), "three".into()]);
    let newlines: Vec<usize> = kept.rows.iter().map(|(range, _)| range.end).collect();
    for byte in [b'#', b'"', 0, b'1'] {
        // Two rows run together, and the last one lacks its end.
        kept.overwrite(&[(newlines[1], vec![byte]), (newlines[2], vec![byte])]);
        kept.overwrite(&[(newlines[1] - 1, vec![byte; 2]), (newlines[2], vec![byte])]);
        kept.overwrite(&[(newlines[0], vec![byte]), (newlines[1], vec![byte]), (newlines[2], vec![byte])]);
    }
}
