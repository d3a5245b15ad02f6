use std::fs;
use std::path::Path;

use super::*;
use crate::disk::real::open_folder;
use crate::secrets::keys::Keys;

fn sealer() -> Arc<Sealer> {
    Arc::new(Sealer::new(&Keys::derive(&[3; 32])))
}

fn session(number: u64) -> StoredSession {
    let at = Timestamp::from_millis(1_795_284_321_000 + i64::try_from(number).expect("small"));
    StoredSession {
        number,
        account: 100 + number,
        opened_at: at,
        token_at: at,
        token: TokenHash::from_bytes([u8::try_from(number).expect("small"); 16]),
        previous: None,
        seen_at: None,
    }
}

fn opened(number: u64) -> SessionEvent {
    SessionEvent::Open(Box::new(session(number)))
}

fn folder(dir: &Path) -> Arc<dyn Folder> {
    open_folder(dir).expect("a folder")
}

fn open(dir: &Path) -> OpenedSessions {
    SessionFile::open(folder(dir), sealer(), |_| true).expect("a session file")
}

fn numbers(opened: &OpenedSessions) -> Vec<u64> {
    opened.sessions.iter().map(|session| session.number).collect()
}

fn three(dir: &Path) -> SessionFile {
    let mut file = open(dir).file;
    commit(&mut file, &[opened(1), opened(2), opened(3)], true).expect("room on the disk");
    file
}

fn commit(file: &mut SessionFile, events: &[SessionEvent], durable: bool) -> Result<(), StoreError> {
    file.commit(&[Events { events, owed: false }], durable)
}

#[test]
fn events_come_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut file = three(dir.path());
    let seen = Timestamp::from_millis(1_795_284_400_000);
    let alive = Timestamp::from_millis(1_795_284_500_000);
    let mut resumed = session(3);
    resumed.previous = Some(resumed.token);
    resumed.token = TokenHash::from_bytes([9; 16]);
    commit(&mut file, &[SessionEvent::End { number: 1 }, SessionEvent::Seen { number: 2, at: seen }], false)
        .expect("ok");
    commit(
        &mut file,
        &[SessionEvent::Open(Box::new(resumed.clone())), SessionEvent::Alive { at: alive }],
        true,
    )
    .expect("ok");
    let found = open(dir.path());
    assert_eq!(found.next_number, 4);
    assert_eq!(numbers(&found), [2, 3]);
    assert_eq!(found.sessions[0].seen_at, Some(seen));
    assert_eq!(found.sessions[1], StoredSession { seen_at: Some(alive), ..resumed.clone() });
    let mut file = found.file;
    commit(&mut file, &[SessionEvent::Used { number: 3, token: resumed.token }], false).expect("ok");
    let found = open(dir.path());
    assert_eq!((found.sessions[1].previous, found.sessions[1].token), (None, resumed.token));
    assert_eq!(found.sessions[1].seen_at, Some(alive), "it stays over a second start");
}

#[test]
fn sessions_that_are_not_kept_are_gone_for_good() {
    let dir = tempfile::tempdir().expect("a folder");
    drop(three(dir.path()));
    let found =
        SessionFile::open(folder(dir.path()), sealer(), |session| session.account != 102).expect("a file");
    assert_eq!(numbers(&found), [1, 3]);
    assert_eq!(numbers(&open(dir.path())), [1, 3]);
}

#[test]
fn a_torn_last_line_costs_nothing_but_itself() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join(FILE_NAME);
    let mut file = three(dir.path());
    let whole = fs::read(&path).expect("the file");
    commit(&mut file, &[opened(3)], true).expect("ok");
    let longer = fs::read(&path).expect("the file");
    for cut in whole.len() + 1..longer.len() - 1 {
        fs::write(&path, &longer[..cut]).expect("written");
        let found = open(dir.path());
        assert_eq!((numbers(&found), found.damaged), (vec![1, 2, 3], 1), "cut at {cut}");
    }
}

/// A file in which session 2 was opened, resumed, and its fresh token used, and session 4 has ended; sessions
/// of the same accounts and of others stand around them. The text, and where each line begins.
fn eventful(dir: &Path) -> (Vec<u8>, Vec<usize>) {
    let mut file = three(dir);
    let mut twin = session(4);
    twin.account = session(3).account;
    let resumed = StoredSession {
        previous: Some(session(2).token),
        token: TokenHash::from_bytes([99; 16]),
        ..session(2)
    };
    for event in [
        SessionEvent::Open(Box::new(twin)),
        SessionEvent::Resume(Box::new(resumed)),
        SessionEvent::Used { number: 2, token: TokenHash::from_bytes([99; 16]) },
        SessionEvent::End { number: 4 },
        SessionEvent::Alive { at: Timestamp::from_millis(1_795_284_500_000) },
        opened(5),
    ] {
        commit(&mut file, &[event], true).expect("room on the disk");
    }
    let text = fs::read(dir.join(FILE_NAME)).expect("the file");
    let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let starts = std::iter::once(0).chain(ends).collect();
    (text, starts)
}

/// Which sessions there are, and whether session 2 still has its old token.
fn outcome(bytes: &[u8]) -> (Vec<u64>, bool, usize) {
    let found = ScannedSessions::read(&sealer(), bytes);
    let old = session(2).token;
    let revived = found.sessions.values().any(|s| s.token == old || s.previous == Some(old));
    (found.sessions.keys().copied().collect(), revived, found.ended_unnamed)
}

// issue 7: a damaged line fails open
#[test]
fn an_ended_session_stays_ended_under_every_change_of_one_byte() {
    let dir = tempfile::tempdir().expect("a folder");
    let (text, starts) = eventful(dir.path());
    assert_eq!(outcome(&text), (vec![1, 2, 3, 5], false, 0));
    let line = |number: usize| starts[number]..starts[number + 1];
    let words = |number: usize| text[line(number)].split(|b| *b == b',').next().expect("a word").to_vec();
    // The lines, and whom a change of one byte in each may cost its session.
    let cases = [(5, &b"open"[..], 2), (6, b"used", 2), (7, b"end", 4), (8, b"alive", 0)];
    for (number, word, whose) in cases {
        assert_eq!(words(number), word);
        // The byte before is the newline that keeps it apart from the line above.
        for at in line(number).start - 1..line(number).end {
            for value in 0..=255 {
                if value == text[at] {
                    continue;
                }
                let mut bytes = text.clone();
                bytes[at] = value;
                let (mut there, revived, unnamed) = outcome(&bytes);
                there.retain(|number| *number != whose);
                let others: Vec<u64> = [1, 2, 3, 5].into_iter().filter(|number| *number != whose).collect();
                let what = || format!("byte {at} of {} is {value:#x}", String::from_utf8_lossy(word));
                assert_eq!(there, others, "{}", what());
                assert!(!revived && unnamed == 0, "{}", what());
                if whose == 4 {
                    assert!(!outcome(&bytes).0.contains(&4), "{}", what());
                }
            }
        }
    }
}

// issue 7: a whole cell that still names it is enough
#[test]
fn a_whole_cell_tells_whose_end_it_was_and_without_one_all_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let (text, starts) = eventful(dir.path());
    let end = starts[7]..starts[8];
    let cells: Vec<&[u8]> =
        text[end.clone()].strip_suffix(b"\n").expect("a line").split(|b| *b == b',').collect();
    let smashed = |keep: &[usize]| {
        let cells: Vec<Vec<u8>> = (0..cells.len())
            .map(|at| if keep.contains(&at) { cells[at].to_vec() } else { vec![b'x'; cells[at].len()] })
            .collect();
        [&text[..end.start], &cells.join(&b','), &text[end.end - 1..]].concat()
    };
    assert_eq!(outcome(&smashed(&[1])), (vec![1, 2, 3, 5], false, 0), "its number");
    assert_eq!(outcome(&smashed(&[5])), (vec![1, 2, 3, 5], false, 0), "its token");
    assert_eq!(outcome(&smashed(&[2])), (vec![1, 2, 5], false, 0), "its account, which has another");
    assert_eq!(outcome(&smashed(&[])), (vec![5], false, 4), "all that were opened before");
    let mut zeroed = text.clone();
    zeroed[end].fill(0);
    assert_eq!(outcome(&zeroed), (vec![5], false, 4), "also when nothing is left of it");
}

// issue 7: what a crash leaves in the part that was not synced costs nobody's session
#[test]
fn a_torn_tail_ends_nobody() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut file = three(dir.path());
    let synced = fs::read(dir.path().join(FILE_NAME)).expect("the file");
    commit(&mut file, &[SessionEvent::End { number: 2 }, opened(6), opened(7)], true).expect("ok");
    let whole = fs::read(dir.path().join(FILE_NAME)).expect("the file");
    for garbage in
        [vec![0; 700], vec![0xff; 300], b"\0garbage\n".repeat(40), (0..=255).cycle().take(900).collect()]
    {
        let torn = [&synced[..], &garbage, b"\n"].concat();
        assert_eq!(outcome(&torn).0, [1, 2, 3], "{:?}", String::from_utf8_lossy(&garbage));
    }
    for cut in synced.len()..whole.len() {
        let there = outcome(&whole[..cut]).0;
        assert!(there.starts_with(&[1]) && there.contains(&3), "cut at {cut}: {there:?}");
    }
    let mut holed = whole.clone();
    holed[synced.len()..synced.len() + 200].fill(0);
    assert!(outcome(&holed).0.starts_with(&[1, 2, 3]), "the first of two pages lost");
}

// issue 7: the format before is read, too
#[test]
fn a_file_of_the_format_before_is_read_and_damage_in_it_fails_closed() {
    let sealer = sealer();
    let bind = |cells: &str| {
        let columns: Vec<&str> = cells.split(',').collect();
        format!("{cells},{}\n", sealer.bind_session(&columns))
    };
    let hash = "v1:AQEBAQEBAQEBAQEBAQEBAQ";
    let at = "2026-11-21T18:05:21.311Z";
    let opens = |n: u64| bind(&format!("open,{n},{},{at},{at},{hash},", 100 + n));
    let text = [
        line::OLD_HEADER.to_owned(),
        opens(1),
        opens(2),
        bind("end,2,,,,,"),
        bind(&format!("alive,,,,{at},,")),
        opens(3),
    ]
    .concat();
    assert_eq!(outcome(text.as_bytes()).0, [1, 3]);
    assert_eq!(outcome(text.replace("end,2", "eNd,2").as_bytes()).0, [3], "it may have been anybody's");
    assert_eq!(outcome(text.replace("alive,,", "alive,x,").as_bytes()).0, [1, 3]);
    let torn = &text.as_bytes()[..text.len() - 5];
    assert_eq!(outcome(torn).0, [1], "what was torn off was never acknowledged");
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join(FILE_NAME), &text).expect("written");
    assert_eq!(numbers(&open(dir.path())), [1, 3]);
    assert!(fs::read_to_string(dir.path().join(FILE_NAME)).expect("text").starts_with(HEADER));
}

#[test]
fn another_accounts_cell_in_a_line_ends_that_session() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join(FILE_NAME);
    drop(three(dir.path()));
    let text = fs::read_to_string(&path).expect("text");
    let account = |line: &str| line.split(',').nth(2).expect("a cell").to_owned();
    let lines: Vec<&str> = text.lines().collect();
    fs::write(&path, text.replacen(&account(lines[1]), &account(lines[3]), 1)).expect("written");
    assert_eq!(numbers(&open(dir.path())), [2, 3]);
    fs::write(&path, b"\xff\0\n\n,,,,,,,\nopen,3\n").expect("written");
    assert!(open(dir.path()).sessions.is_empty());
    assert!(
        SessionFile::open(folder(dir.path()), Arc::new(Sealer::new(&Keys::derive(&[4; 32]))), |_| true)
            .is_ok()
    );
}

// issue 7: no number is given twice, also when those who had the largest are gone
#[test]
fn no_session_number_is_given_twice() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut file = three(dir.path());
    commit(&mut file, &[SessionEvent::End { number: 3 }, SessionEvent::End { number: 2 }], true).expect("ok");
    for _ in 0..3 {
        assert_eq!(open(dir.path()).next_number, 4);
    }
}

#[test]
fn the_file_does_not_grow_for_ever() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut file = three(dir.path());
    let alive = Timestamp::from_millis(1_795_284_500_000);
    commit(&mut file, &[SessionEvent::Alive { at: alive }], false).expect("ok");
    let many: Vec<_> = (0..5).map(|_| opened(1)).collect();
    let mut largest = 0;
    for _ in 0..100 {
        commit(&mut file, &many, false).expect("ok");
        largest = largest.max(file.file.len());
    }
    assert!(largest < 4 * COMPACT_ABOVE_BYTES, "{largest}");
    assert_eq!(numbers(&open(dir.path())), [1, 2, 3]);
}

#[test]
fn a_file_that_vanishes_is_written_anew() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut file = three(dir.path());
    fs::remove_file(dir.path().join(FILE_NAME)).expect("removed");
    commit(&mut file, &[opened(4)], true).expect("ok");
    assert_eq!(numbers(&open(dir.path())), [1, 2, 3, 4]);
}

// issue 7: an end that cannot be stored is refused; what is owed is written as soon as it can be
#[test]
fn what_cannot_be_written_has_not_happened_but_what_is_owed() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join(FILE_NAME);
    let mut file = three(dir.path());
    let obstacle = dir.path().join(".sessions.csv.tmp");
    fs::create_dir(&obstacle).expect("a folder");
    fs::remove_file(&path).expect("removed");
    let refused = [opened(4), SessionEvent::End { number: 1 }];
    let owed = [SessionEvent::End { number: 2 }];
    let batch = [Events { events: &refused, owed: false }, Events { events: &owed, owed: true }];
    assert!(file.commit(&batch, true).is_err() && file.is_owed());
    fs::remove_dir(&obstacle).expect("removed");
    file.settle().expect("room on the disk");
    assert_eq!(numbers(&open(dir.path())), [1, 3]);
    commit(&mut file, &[opened(5)], true).expect("ok");
    assert_eq!(numbers(&open(dir.path())), [1, 3, 5]);
}

#[test]
fn who_has_ended_is_not_resumed() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut file = three(dir.path());
    let resume = SessionEvent::Resume(Box::new(session(2)));
    commit(&mut file, &[SessionEvent::End { number: 2 }, resume], true).expect("ok");
    assert_eq!(numbers(&open(dir.path())), [1, 3]);
}

#[test]
fn nothing_in_it_is_a_token_or_a_formula() {
    let dir = tempfile::tempdir().expect("a folder");
    drop(three(dir.path()));
    let text = fs::read_to_string(dir.path().join(FILE_NAME)).expect("text");
    for cell in text.lines().flat_map(|line| line.split(',')) {
        assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\'']), "{cell}");
    }
}
