use super::*;
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

fn open(dir: &Path) -> OpenedSessions {
    SessionFile::open(dir, sealer(), |_| true).expect("a session file")
}

fn numbers(opened: &OpenedSessions) -> Vec<u64> {
    opened.sessions.iter().map(|session| session.number).collect()
}

fn three(dir: &Path) -> SessionFile {
    let mut file = open(dir).file;
    file.commit(&[opened(1), opened(2), opened(3)], true).expect("room on the disk");
    file
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
    file.commit(&[SessionEvent::End { number: 1 }, SessionEvent::Seen { number: 2, at: seen }], false)
        .expect("ok");
    file.commit(&[SessionEvent::Open(Box::new(resumed.clone())), SessionEvent::Alive { at: alive }], true)
        .expect("ok");
    let found = open(dir.path());
    assert_eq!(found.next_number, 4);
    assert_eq!(numbers(&found), [2, 3]);
    assert_eq!(found.sessions[0].seen_at, Some(seen));
    assert_eq!(found.sessions[1], StoredSession { seen_at: Some(alive), ..resumed.clone() });
    let mut file = found.file;
    file.commit(&[SessionEvent::Used { number: 3 }], false).expect("ok");
    let found = open(dir.path());
    assert_eq!((found.sessions[1].previous, found.sessions[1].token), (None, resumed.token));
    assert_eq!(found.sessions[1].seen_at, Some(alive), "it stays over a second start");
}

#[test]
fn sessions_that_are_not_kept_are_gone_for_good() {
    let dir = tempfile::tempdir().expect("a folder");
    drop(three(dir.path()));
    let found = SessionFile::open(dir.path(), sealer(), |session| session.account != 102).expect("a file");
    assert_eq!(numbers(&found), [1, 3]);
    assert_eq!(numbers(&open(dir.path())), [1, 3]);
}

#[test]
fn a_torn_last_line_costs_nothing_but_itself() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join(FILE_NAME);
    let mut file = three(dir.path());
    let whole = fs::read(&path).expect("the file");
    file.commit(&[opened(3)], true).expect("ok");
    let longer = fs::read(&path).expect("the file");
    for cut in whole.len() + 1..longer.len() - 1 {
        fs::write(&path, &longer[..cut]).expect("written");
        let found = open(dir.path());
        assert_eq!((numbers(&found), found.damaged), (vec![1, 2, 3], 1), "cut at {cut}");
    }
}

#[test]
fn a_changed_line_ends_its_session() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join(FILE_NAME);
    let mut file = three(dir.path());
    file.commit(&[SessionEvent::End { number: 2 }], true).expect("ok");
    let text = fs::read_to_string(&path).expect("text");
    fs::write(&path, text.replace("end,2,", "eND,2,")).expect("written");
    let found = open(dir.path());
    assert_eq!((numbers(&found), found.damaged), (vec![1, 3], 1));
    // Another account's row, put into one's own session.
    let text = fs::read_to_string(&path).expect("text");
    fs::write(&path, text.replace(",101,", ",103,")).expect("written");
    assert_eq!(numbers(&open(dir.path())), [3]);
    fs::write(&path, b"\xff\0\n\n,,,,,,,\nopen,3\n").expect("written");
    assert!(open(dir.path()).sessions.is_empty());
    assert!(SessionFile::open(dir.path(), Arc::new(Sealer::new(&Keys::derive(&[4; 32]))), |_| true).is_ok());
}

#[test]
fn the_file_does_not_grow_for_ever() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut file = three(dir.path());
    let alive = Timestamp::from_millis(1_795_284_500_000);
    file.commit(&[SessionEvent::Alive { at: alive }], false).expect("ok");
    let many: Vec<_> = (0..200).map(|_| opened(1)).collect();
    let mut largest = 0;
    for _ in 0..100 {
        file.commit(&many, false).expect("ok");
        largest = largest.max(file.file.len());
    }
    assert!(largest < 2 * COMPACT_ABOVE_BYTES, "{largest}");
    assert_eq!(numbers(&open(dir.path())), [1, 2, 3]);
}

#[test]
fn a_file_that_vanishes_is_written_anew() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut file = three(dir.path());
    fs::remove_file(dir.path().join(FILE_NAME)).expect("removed");
    file.commit(&[opened(4)], true).expect("ok");
    assert_eq!(numbers(&open(dir.path())), [1, 2, 3, 4]);
}

#[test]
fn what_cannot_be_written_is_not_open_and_what_ended_stays_ended() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join(FILE_NAME);
    let mut file = three(dir.path());
    let obstacle = dir.path().join(".sessions.csv.tmp");
    fs::create_dir(&obstacle).expect("a folder");
    fs::remove_file(&path).expect("removed");
    assert!(file.commit(&[opened(4), SessionEvent::End { number: 1 }], true).is_err());
    fs::remove_dir(&obstacle).expect("removed");
    file.commit(&[opened(5)], true).expect("ok");
    assert_eq!(numbers(&open(dir.path())), [2, 3, 5]);
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
