//! What the history promises, with real files in temporary folders. Paging has `page_tests.rs`.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::config::Durability;
use crate::disk::real;
use crate::model::{
    MessageKey, MessageKind, MessageList, MessageText, Page, PageQuery, RoomName, Target, UserName,
};

/// 2026-11-21T18:05:21.311Z.
const NOVEMBER_MS: i64 = 1_795_284_321_311;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

pub(super) fn options() -> HistoryOptions {
    HistoryOptions { now: Timestamp::from_millis(NOVEMBER_MS), key_seconds: 120, keys_per_account: 1_000 }
}

pub(super) fn reopen(dir: &Path) -> Opened {
    open_with(dir, options())
}

/// Opens the history whose folder is `dir`.
pub(super) fn open_with(dir: &Path, options: HistoryOptions) -> Opened {
    let data = real::make_folder(dir.parent().expect("a data directory")).expect("a folder");
    open(&data, options).expect("it opens")
}

/// The folder of a history, in a data directory of its own.
pub(super) struct HistoryDir {
    _data: tempfile::TempDir,
    path: PathBuf,
}

impl HistoryDir {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

pub(super) fn dir() -> HistoryDir {
    let data = tempfile::tempdir().expect("a temporary folder");
    let path = data.path().join("history");
    fs::create_dir(&path).expect("made");
    HistoryDir { _data: data, path }
}

pub(super) fn user(name: &str) -> UserName {
    UserName::parse(name).expect("a name")
}

pub(super) fn room(name: &str) -> RoomName {
    RoomName::parse(name).expect("a name")
}

pub(super) fn row(id: u64, target: Target, text: &str) -> StoredMessage {
    StoredMessage {
        id: MessageId::new(id).expect("an id"),
        prev: MessageId::new(id - 1),
        at: Timestamp::from_millis(NOVEMBER_MS),
        target,
        from: user("bob"),
        kind: MessageKind::Text(MessageText::parse(text).expect("a text")),
        key: None,
    }
}

pub(super) fn lobby_row(id: u64, text: &str) -> StoredMessage {
    row(id, Target::Room(RoomName::lobby()), text)
}

/// Commits rows and tells the index, as the journal does.
pub(super) fn store(history: &mut Opened, rows: &[StoredMessage]) {
    let positions = history.writer.commit(rows, Durability::Os).expect("room on the disk");
    for (row, position) in rows.iter().zip(positions) {
        history.index.record(row, position);
    }
}

/// Asks for the newest messages.
pub(super) fn newest(list: MessageList, limit: usize) -> PageQuery {
    PageQuery { list, page: Page::Newest, limit, visible_from: None, up_to: None }
}

fn lobby_page(history: &Opened) -> PageRows {
    let plan = history.index.plan(&newest(MessageList::Room(RoomName::lobby()), 1_000));
    plan.read().expect("it reads")
}

pub(super) fn lobby_ids(history: &Opened) -> Vec<u64> {
    lobby_page(history).rows.iter().map(|row| row.id.get()).collect()
}

/// A folder with rows 1 to `count` in the lobby, and its one file.
fn filled(count: u64) -> (HistoryDir, PathBuf) {
    let dir = dir();
    let rows: Vec<StoredMessage> =
        (1..=count).map(|id| lobby_row(id, &format!("text {id}, \"quoted\""))).collect();
    store(&mut reopen(dir.path()), &rows);
    let path = dir.path().join("2026-11.csv");
    (dir, path)
}

#[test]
fn a_row_looks_as_documented() {
    let dir = dir();
    let mut history = reopen(dir.path());
    let mut keyed = row(2, Target::Account(user("eve")), "=cmd\n\"a\", b");
    keyed.key = MessageKey::parse("k-1");
    store(&mut history, &[lobby_row(1, "hello"), keyed]);
    let written = fs::read_to_string(dir.path().join("2026-11.csv")).expect("it is there");
    assert_eq!(
        written,
        "id,prev,at,room,from,to,text,key,crc32\n\
         1,0,2026-11-21T18:05:21.311Z,lobby,bob,,hello,,xabeeb076\n\
         2,1,2026-11-21T18:05:21.311Z,,bob,eve,\"'=cmd\\n\"\"a\"\", b\",k-1,x53ef4d33\n"
    );
}

#[test]
fn a_fresh_folder_is_empty_and_writable() {
    let dir = dir();
    let path = dir.path().join("data/history");
    let mut history = reopen(&path);
    assert_eq!(history.last_id, None);
    assert_eq!(history.damage, DamageList::default());
    assert_eq!(history.writer.commit(&[], Durability::Fsync).expect("nothing to do").len(), 0);
    store(&mut history, &[lobby_row(7, "hi")]);
    let history = reopen(&path);
    assert_eq!((lobby_ids(&history), history.last_id), (vec![7], MessageId::new(7)));
    assert_eq!(history.index.newest(&MessageList::Room(RoomName::lobby())), MessageId::new(7));
}

#[test]
fn a_last_row_torn_at_any_byte_is_set_aside() {
    let (dir, path) = filled(3);
    let whole = fs::read(&path).expect("it is there");
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').expect("a line before") + 1;
    for cut in last..whole.len() {
        fs::write(&path, &whole[..cut]).expect("written");
        let _ = fs::remove_file(dir.path().join("2026-11.torn"));
        let mut history = reopen(dir.path());
        let complete = cut == whole.len() - 1;
        let mut expected = if complete { vec![1, 2, 3] } else { vec![1, 2] };
        assert_eq!(lobby_ids(&history), expected, "cut at {cut}");
        let torn = !complete && cut > last;
        assert_eq!(history.damage.total, u64::from(torn), "cut at {cut}");
        let aside = fs::read(dir.path().join("2026-11.torn")).unwrap_or_default();
        assert!(!torn || aside.ends_with(&[&whole[last..cut], b"\n"].concat()), "cut at {cut}");
        store(&mut history, &[lobby_row(9, "after")]);
        expected.push(9);
        let history = reopen(dir.path());
        assert_eq!((lobby_ids(&history), history.damage.total), (expected, 0), "cut at {cut}");
    }
}

#[test]
fn garbage_behind_the_last_row_costs_nothing() {
    let (dir, path) = filled(2);
    let whole = fs::read(&path).expect("it is there");
    let zeros = vec![0; 300_000];
    // The newline is gone in the second case, as it can be when blocks are lost.
    for (kept, garbage) in [(whole.len(), &zeros[..]), (whole.len() - 1, &zeros), (whole.len(), b"\xff,\"x")]
    {
        fs::write(&path, [&whole[..kept], garbage].concat()).expect("written");
        let mut history = reopen(dir.path());
        assert_eq!((lobby_ids(&history), history.damage.total), (vec![1, 2], 1));
        store(&mut history, &[lobby_row(9, "after")]);
        assert_eq!(lobby_ids(&reopen(dir.path())), [1, 2, 9]);
    }
    assert!(fs::metadata(dir.path().join("2026-11.torn")).expect("it is there").len() > 600_000);
}

#[test]
fn one_flipped_byte_costs_its_row_alone() {
    let (dir, path) = filled(4);
    let whole = fs::read(&path).expect("it is there");
    for at in 0..whole.len() {
        for flip in [1, 0x20, whole[at] ^ b'\n', whole[at] ^ b'"', whole[at] ^ b',', 0xff] {
            if flip == 0 {
                continue;
            }
            let mut spoiled = whole.clone();
            spoiled[at] ^= flip;
            fs::write(&path, &spoiled).expect("written");
            // The header is line 0; a newline belongs to the line before it.
            let line = whole[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
            let history = reopen(dir.path());
            let mut expected = vec![1, 2, 3, 4];
            if whole[at] != b'\n' {
                expected.retain(|id| *id != line);
            }
            let what = format!("byte {at} ^ {flip:#x}");
            assert_eq!(lobby_ids(&history), expected, "{what}");
            assert!(history.damage.total > 0 || whole[at..] == *b"\n", "{what}");
            assert!(history.last_id >= MessageId::new(4), "{what}: no id is used twice");
        }
    }
}

#[test]
fn damage_that_comes_while_running_is_reported_and_skipped() {
    let (dir, path) = filled(3);
    let history = reopen(dir.path());
    let content = fs::read(&path).expect("it is there");
    let second = content.windows(6).position(|part| part == b"text 2").expect("its text");
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|file| file.write_at(b"T", second as u64))
        .expect("spoiled");
    let page = lobby_page(&history);
    assert_eq!(page.rows.iter().map(|row| row.id.get()).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(page.damage.len(), 1);
    assert_eq!(page.damage[0].why, RowFault::Checksum);
    fs::write(&path, "").expect("emptied");
    let page = lobby_page(&history);
    assert_eq!((page.rows.len(), page.damage.len(), page.more), (0, 3, false));
    assert_eq!(page.go_on, None, "nothing lies beyond");
}

#[test]
fn files_that_other_programs_wrote_are_read() {
    let (dir, path) = filled(3);
    let text = fs::read_to_string(&path).expect("it is there");
    let requoted: String = text
        .lines()
        .map(|line| {
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
            let record = reader.records().next().expect("a record").expect("valid");
            let mut out = csv::WriterBuilder::new().quote_style(csv::QuoteStyle::Always).from_writer(vec![]);
            out.write_record(&record).expect("written");
            String::from_utf8(out.into_inner().expect("flushed")).expect("UTF-8")
        })
        .collect();
    assert!(requoted.starts_with("\"id\",\"prev\""));
    let variants = [
        text.replace('\n', "\r\n"),
        format!("\u{feff}{text}"),
        format!("\u{feff}{}", requoted.replace('\n', "\r\n")),
        requoted,
        text.replace('\n', "\n\n"),
        text.trim_end().to_owned(),
        format!("{}\r", text.trim_end()),
        text.lines().skip(1).map(|line| format!("{line}\n")).collect(),
    ];
    for variant in variants {
        fs::write(&path, &variant).expect("written");
        let mut history = reopen(dir.path());
        assert_eq!((lobby_ids(&history), history.damage.total), (vec![1, 2, 3], 0), "{variant:?}");
        store(&mut history, &[lobby_row(4, "four")]);
        assert_eq!(lobby_ids(&reopen(dir.path())), [1, 2, 3, 4], "{variant:?}");
    }
    for empty in ["", "id,prev,at,room,from,to,text,key,crc32", "id,pre", "\u{feff}"] {
        fs::write(&path, empty).expect("written");
        let mut history = reopen(dir.path());
        assert_eq!(lobby_ids(&history), [] as [u64; 0], "{empty:?}");
        store(&mut history, &[lobby_row(4, "four")]);
        let history = reopen(dir.path());
        assert_eq!((lobby_ids(&history), history.damage.total), (vec![4], 0), "{empty:?}");
    }
}

#[test]
fn a_broken_quote_or_an_endless_line_does_not_swallow_what_follows() {
    let (dir, path) = filled(1);
    let text = fs::read_to_string(&path).expect("it is there");
    let (header, first) = text.split_once('\n').expect("two lines");
    for bad in ["2,1,\"", "\"", &"x".repeat(700_000), "2,1,,,,,,,,,,", "\0\0"] {
        fs::write(&path, format!("{header}\n{bad}\n{first}")).expect("written");
        let history = reopen(dir.path());
        assert_eq!((lobby_ids(&history), history.damage.total), (vec![1], 1));
        assert_eq!(history.damage.first[0].place, Place::Line(2));
    }
}

#[test]
fn ids_that_do_not_grow_are_skipped() {
    let (dir, path) = filled(2);
    let text = fs::read_to_string(&path).expect("it is there");
    fs::write(&path, format!("{text}{text}")).expect("written");
    let history = reopen(dir.path());
    assert_eq!((lobby_ids(&history), history.damage.total), (vec![1, 2], 2));
    assert_eq!(
        history.damage.first[0].to_string(),
        "2026-11.csv, line 5: its id is not above the id of the row before"
    );
}

#[test]
fn only_regular_files_with_the_name_of_a_month_are_read() {
    let (dir, path) = filled(1);
    let elsewhere = dir.path().join("elsewhere.csv");
    fs::copy(&path, &elsewhere).expect("copied");
    fs::write(dir.path().join("2026-13.csv"), "x").expect("written");
    fs::write(dir.path().join("2026-1.csv"), "x").expect("written");
    std::os::unix::fs::symlink(&elsewhere, dir.path().join("2027-01.csv")).expect("linked");
    fs::create_dir(dir.path().join("2027-02.csv")).expect("made");
    let mut history = reopen(dir.path());
    assert_eq!((lobby_ids(&history), history.damage.total), (vec![1], 2));
    let mut later = lobby_row(2, "two");
    later.at = Timestamp::from_millis(NOVEMBER_MS + 50 * DAY_MS);
    let refused = history.writer.commit(&[later.clone()], Durability::Os).expect_err("a link in its place");
    assert!(matches!(refused, CommitError::Refused(_)), "{refused}");
    fs::remove_file(dir.path().join("2027-01.csv")).expect("removed");
    store(&mut history, &[later]);
    assert_eq!(lobby_ids(&history), [1, 2]);
}

#[test]
fn months_turn_and_never_turn_back() {
    let dir = dir();
    let mut history = reopen(dir.path());
    for (id, days) in [(1, 0), (2, 20), (3, -400), (4, 25), (5, 45)] {
        let mut row = lobby_row(id, "x");
        row.at = Timestamp::from_millis(NOVEMBER_MS + days * DAY_MS);
        store(&mut history, &[row]);
    }
    let lines = |name: &str| fs::read_to_string(dir.path().join(name)).expect("it is there").lines().count();
    assert_eq!([lines("2026-11.csv"), lines("2026-12.csv"), lines("2027-01.csv")], [2, 4, 2]);
    assert_eq!(lobby_ids(&history), [1, 2, 3, 4, 5], "pages cross the turn");
    let mut history = reopen(dir.path());
    assert_eq!(lobby_ids(&history), [1, 2, 3, 4, 5]);
    store(&mut history, &[lobby_row(6, "the clock is back in November")]);
    assert_eq!(lines("2027-01.csv"), 3);
}

#[test]
fn a_file_that_goes_away_is_noticed_before_the_next_receipt() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 5] = [
        ("deleted", |path| fs::remove_file(path).expect("removed")),
        ("moved", |path| fs::rename(path, path.with_extension("old")).expect("moved")),
        ("emptied", |path| fs::write(path, "").expect("emptied")),
        ("replaced", |path| {
            let text = fs::read(path).expect("it is there");
            fs::remove_file(path).expect("removed");
            fs::write(path, [&text[..], b"3,2,torn"].concat()).expect("written");
        }),
        ("the whole folder", |path| {
            fs::remove_dir_all(path.parent().expect("a folder")).expect("removed");
        }),
    ];
    for (what, change) in changes {
        let outer = dir();
        let path = outer.path().join("history/2026-11.csv");
        let dir = path.parent().expect("a folder");
        let mut history = reopen(dir);
        store(&mut history, &[lobby_row(1, "one"), lobby_row(2, "two")]);
        assert_eq!(history.writer.take_notices(), [] as [String; 0]);
        change(&path);
        store(&mut history, &[lobby_row(4, "four")]);
        assert!(!history.writer.take_notices().is_empty(), "{what}");
        store(&mut history, &[lobby_row(5, "five")]);
        assert_eq!(history.writer.take_notices(), [] as [String; 0], "{what}: told once");
        let page = lobby_page(&history);
        let seen: Vec<u64> = page.rows.iter().map(|row| row.id.get()).collect();
        let lost_at_once = what == "emptied";
        assert_eq!(seen, if lost_at_once { vec![4, 5] } else { vec![1, 2, 4, 5] }, "{what}");
        let kept = what == "replaced";
        let expected = if kept { vec![1, 2, 4, 5] } else { vec![4, 5] };
        assert_eq!(lobby_ids(&reopen(dir)), expected, "{what}: nothing acknowledged later is lost");
    }
}

#[test]
fn a_folder_that_is_moved_or_covered_refuses_until_it_is_back() {
    let dir = dir();
    let data = dir.path().parent().expect("a data directory");
    let mut history = reopen(dir.path());
    store(&mut history, &[lobby_row(1, "one")]);
    for covered in [false, true] {
        fs::rename(dir.path(), data.join("aside")).expect("moved");
        if covered {
            fs::create_dir(dir.path()).expect("made");
        }
        for _ in 0..2 {
            let refused =
                history.writer.commit(&[lobby_row(2, "lost?")], Durability::Fsync).expect_err("moved");
            assert!(
                matches!(&refused, CommitError::Refused(why) if why.to_string().contains("moved")),
                "{refused}"
            );
        }
        assert_eq!(lobby_ids(&history), [1], "reading goes on");
        if covered {
            fs::remove_dir(dir.path()).expect("nothing is in it");
        }
        assert!(!dir.path().exists(), "nothing was made");
        fs::rename(data.join("aside"), dir.path()).expect("put back");
    }
    store(&mut history, &[lobby_row(2, "two")]);
    assert_eq!(lobby_ids(&reopen(dir.path())), [1, 2]);
}

#[test]
fn a_file_with_larger_ids_that_is_put_in_place_is_moved_aside() {
    let dir = dir();
    let path = dir.path().join("2026-11.csv");
    let mut history = reopen(dir.path());
    store(&mut history, &[lobby_row(5_000_000, "from elsewhere")]);
    let foreign = fs::read(&path).expect("it is there");
    drop(history);
    fs::remove_file(&path).expect("removed");
    let mut history = reopen(dir.path());
    store(&mut history, &[lobby_row(1, "one")]);
    let other = dir.path().join("other");
    fs::write(&other, &foreign).expect("written");
    fs::rename(&other, &path).expect("put in place");
    store(&mut history, &[lobby_row(2, "two")]);
    let notices = history.writer.take_notices().join("\n");
    assert!(notices.contains("it is moved to"), "{notices}");
    assert_eq!(lobby_ids(&reopen(dir.path())), [2], "what was acknowledged since is there");
    let kept = fs::read_dir(dir.path()).expect("a folder").filter_map(Result::ok);
    let kept = kept.filter(|entry| entry.file_name().to_string_lossy().contains("csv.replaced-"));
    assert_eq!(kept.map(|entry| fs::read(entry.path()).expect("a file")).collect::<Vec<_>>(), [foreign]);
}

#[test]
fn a_full_disk_refuses_a_batch_whole_and_writing_comes_back() {
    let dir = dir();
    let output = Command::new("sh")
        .args(["-c", r#"trap "" XFSZ; ulimit -f 8; exec "$0" "$@""#])
        .arg(std::env::current_exe().expect("this binary"))
        .args(["--exact", "store::history::tests::full_disk_child", "--ignored"])
        .env("VECHE_TEST_DIR", dir.path())
        .output()
        .expect("a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let history = reopen(dir.path());
    assert_eq!((lobby_ids(&history), history.damage.total), (vec![1, 4], 0), "the child ran");
}

#[test]
#[ignore = "runs as a child of the test above, under a file size limit"]
fn full_disk_child() {
    let Some(dir) = std::env::var_os("VECHE_TEST_DIR") else { return };
    let mut history = reopen(Path::new(&dir));
    store(&mut history, &[lobby_row(1, "one")]);
    let large = "x".repeat(4_096);
    let batch: Vec<StoredMessage> = (2..20).map(|id| lobby_row(id, &large)).collect();
    for _ in 0..2 {
        let refused = history.writer.commit(&batch, Durability::Fsync).expect_err("over the limit");
        assert!(matches!(refused, CommitError::Refused(_)), "{refused}");
        assert_eq!(lobby_ids(&history), [1], "reading goes on");
    }
    store(&mut history, &[lobby_row(4, "four")]);
    assert_eq!(lobby_ids(&history), [1, 4]);
}

#[test]
fn ids_of_damaged_rows_are_not_given_out_again() {
    let (dir, path) = filled(3);
    let text = fs::read_to_string(&path).expect("it is there");
    fs::write(&path, text.replace("text 3", "text E")).expect("written");
    assert!(reopen(dir.path()).last_id >= MessageId::new(3));
    fs::write(&path, text.replace("3,2,", "\0,2,")).expect("written");
    assert!(reopen(dir.path()).last_id >= MessageId::new(3));
    fs::write(&path, format!("{text}70,3,")).expect("written");
    assert!(reopen(dir.path()).last_id >= MessageId::new(4));
}

#[test]
fn keys_that_are_still_remembered_come_back() {
    let dir = dir();
    let mut history = reopen(dir.path());
    let keyed = |id, from: &str, ms_ago: i64| {
        let mut row = lobby_row(id, "x");
        row.from = user(from);
        row.at = Timestamp::from_millis(NOVEMBER_MS - ms_ago);
        row.key = MessageKey::parse(&format!("key {id}, \u{1b}\n"));
        row
    };
    let rows = [
        keyed(1, "bob", 121_000),
        keyed(2, "bob", 120_000),
        keyed(3, "eve", 60_000),
        keyed(4, "bob", 60_000),
        lobby_row(5, "no key"),
        keyed(6, "bob", 0),
        keyed(7, "bob", -1_000),
    ];
    store(&mut history, &rows);
    let expected: Vec<StoredMessage> = [1, 2, 3, 5, 6].map(|at: usize| rows[at].clone()).to_vec();
    assert_eq!(reopen(dir.path()).recent_keyed, expected);
    let few = open_with(dir.path(), HistoryOptions { keys_per_account: 2, ..options() });
    assert_eq!(few.recent_keyed.iter().map(|row| row.id.get()).collect::<Vec<_>>(), [3, 6, 7]);
}

/// Any row at all, of any account to any room or account.
fn rows() -> impl Strategy<Value = Vec<StoredMessage>> {
    let name = prop_oneof![Just("bob"), Just("жанна"), Just("山田太郎"), Just("a.b-c_d"), Just("2026")];
    let text = prop_oneof![any::<String>(), "[=+@;,\"'\\\\\n\t a-z😀\u{85}\u{a0}]{1,40}"];
    let key = prop::option::of("(?s).{1,16}");
    let at = prop_oneof![
        4 => NOVEMBER_MS - 40 * DAY_MS..NOVEMBER_MS + 40 * DAY_MS,
        1 => any::<i64>(),
    ];
    let row = (1_u64..1_000, any::<bool>(), name.clone(), name, text, key, at);
    prop::collection::vec(row, 1..20).prop_map(|rows| {
        let mut id = 0;
        rows.into_iter()
            .map(|(gap, to_room, from, target, text, key, at)| {
                id += gap;
                let target = if to_room { Target::Room(room(target)) } else { Target::Account(user(target)) };
                let text = MessageText::parse(&text).unwrap_or(MessageText::parse("x").expect("a text"));
                StoredMessage {
                    id: MessageId::new(id).expect("an id"),
                    prev: MessageId::new(id / 2),
                    at: Timestamp::from_millis(at),
                    target,
                    from: user(from),
                    kind: MessageKind::Text(text),
                    key: key.and_then(|key| MessageKey::parse(&key)),
                }
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_row_round_trips(rows in rows(), batch in 1_usize..20) {
        let dir = dir();
        let mut history = reopen(dir.path());
        for batch in rows.chunks(batch) {
            store(&mut history, batch);
        }
        let reopened = reopen(dir.path());
        prop_assert_eq!(&reopened.damage, &DamageList::default());
        prop_assert_eq!(reopened.last_id, rows.last().map(|row| row.id));
        for index in [&history.index, &reopened.index] {
            for row in &rows {
                let list = match &row.target {
                    Target::Room(room) => MessageList::Room(room.clone()),
                    Target::Account(to) => MessageList::Pair(to.clone(), row.from.clone()),
                };
                let page = index.plan(&PageQuery { up_to: Some(row.id), ..newest(list, 1) }).read().expect("it reads");
                prop_assert_eq!(&page.rows[..], std::slice::from_ref(row));
            }
        }
        for file in fs::read_dir(dir.path()).expect("a folder") {
            let text = fs::read_to_string(file.expect("an entry").path()).expect("UTF-8");
            let drives = text.contains(|c: char| c.is_control() && c != '\n');
            prop_assert!(!drives, "{text:?}");
        }
    }

    #[test]
    fn whatever_is_in_a_file_rows_can_be_added_behind_it(
        content in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            "[\n\r\",x0-9a-f\u{feff}]{0,300}".prop_map(String::into_bytes),
        ],
    ) {
        let dir = dir();
        fs::write(dir.path().join("2026-11.csv"), &content).expect("written");
        let mut history = reopen(dir.path());
        prop_assert_eq!(lobby_ids(&history), [] as [u64; 0]);
        let id = MessageId::or_zero(history.last_id) + 1;
        store(&mut history, &[lobby_row(id, "after all")]);
        let history = reopen(dir.path());
        prop_assert_eq!(lobby_ids(&history), [id]);
        prop_assert_eq!(history.last_id, MessageId::new(id));
    }
}
