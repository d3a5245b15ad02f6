use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::protocol::Password;
use crate::secrets::password::PasswordHashing;

struct House {
    dir: tempfile::TempDir,
    sealer: Arc<Sealer>,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let keys = open_keys(dir.path(), &dir.path().join("key")).expect("a key");
        House { dir, sealer: Arc::new(Sealer::new(&keys)) }
    }

    fn try_open(&self) -> Result<OpenedAccounts, AccountsError> {
        AccountFile::open(self.dir.path(), Arc::clone(&self.sealer), &self.dir.path().join("key"))
    }

    fn open(&self) -> OpenedAccounts {
        self.try_open().expect("an account file")
    }

    /// A house with these accounts, in rows 1, 2, …
    fn with(names: &[&str]) -> Self {
        let house = House::new();
        let mut opened = house.open();
        for (at, name) in names.iter().enumerate() {
            opened
                .file
                .commit(&[AccountChange::Add(account(at as u64 + 1, name))])
                .expect("room on the disk");
        }
        house
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(FILE_NAME)
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).expect("text")
    }

    fn lines(&self) -> Vec<String> {
        self.text().lines().map(str::to_owned).collect()
    }

    fn write_lines(&self, lines: &[String]) {
        fs::write(self.path(), lines.join("\n") + "\n").expect("written");
    }

    fn set_aside(&self) -> String {
        fs::read_to_string(self.dir.path().join(REJECTED_NAME)).unwrap_or_default()
    }
}

fn account(row: u64, name: &str) -> Arc<Account> {
    let hashing = PasswordHashing::new(8, 1).expect("small parameters");
    Arc::new(Account {
        row,
        name: UserName::parse(name).expect("a name"),
        password: hashing.hash(&Password::given("password of ".to_owned() + name)).expect("a hash"),
        addresses: vec!["192.0.2.1".parse().expect("an address"), "2001:db8::1".parse().expect("an address")],
        created_at: Timestamp::from_millis(1_795_284_321_311),
        first_id: MessageId::new(row * 10),
        last_seen_at: None,
        banned: false,
    })
}

fn names(accounts: &Accounts) -> Vec<&str> {
    accounts.values().map(|account| account.name.as_str()).collect()
}

fn faults(opened: &OpenedAccounts) -> Vec<(usize, RowFault)> {
    opened.rejected.iter().map(|row| (row.line, row.fault)).collect()
}

#[test]
fn what_is_committed_is_there_after_opening_again_and_secret() {
    let house = House::with(&["alice", "жанна"]);
    let before = house.text();
    let opened = house.open();
    assert_eq!(names(&opened.accounts), ["alice", "жанна"]);
    assert_eq!(opened.accounts[&1].addresses, account(1, "alice").addresses);
    assert_eq!(opened.accounts[&2].first_id, MessageId::new(20));
    assert_eq!(opened.rejected_count, 0);
    assert_eq!(house.text(), before, "a sound file is not touched");
    for secret in ["alice", "жанна", "argon2", "192.0.2.1"] {
        assert!(!before.contains(secret), "{secret}");
    }
    for line in before.lines() {
        for cell in line.split(',') {
            assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\'']), "{cell}");
        }
    }
    assert_eq!(fs::metadata(house.path()).expect("the file").permissions().mode() & 0o777, 0o600);
}

#[test]
fn every_change_comes_back() {
    let house = House::with(&["alice", "bob", "carol", "dave"]);
    let mut opened = house.open();
    let new = account(9, "other").password.clone();
    let from: IpAddr = "198.51.100.7".parse().expect("an address");
    let at = Timestamp::from_millis(1_800_000_000_000);
    let changes = [
        AccountChange::Password { row: 1, password: new.clone() },
        AccountChange::Banned { row: 2, banned: true },
        AccountChange::Remove { row: 3 },
        AccountChange::Seen { row: 4, at, from: Some(from) },
        AccountChange::Rehash { row: 4, old: new.clone(), new: new.clone() },
        AccountChange::Banned { row: 77, banned: true },
    ];
    opened.file.commit(&changes).expect("written");
    let again = house.open();
    assert_eq!(names(&again.accounts), ["alice", "bob", "dave"]);
    assert_eq!(again.accounts[&1].password, new);
    assert!(again.accounts[&2].banned);
    assert_eq!((again.accounts[&4].addresses[0], again.accounts[&4].last_seen_at), (from, Some(at)));
    assert_ne!(again.accounts[&4].password, new, "the hash it replaces was not the one there");
    let mut ours = opened.accounts.clone();
    for change in &changes {
        change.apply(&mut ours);
    }
    assert_eq!(ours, again.accounts, "the same changes give the same accounts elsewhere");
}

#[test]
fn addresses_are_the_last_eight() {
    let mut accounts = Accounts::from([(1, account(1, "alice"))]);
    for host in [1, 2, 3, 4, 5, 6, 7, 8, 9, 3] {
        let from = Some(IpAddr::from([10, 0, 0, host]));
        AccountChange::Seen { row: 1, at: Timestamp::default(), from }.apply(&mut accounts);
    }
    let hosts: Vec<String> = accounts[&1].addresses.iter().map(IpAddr::to_string).collect();
    assert_eq!(hosts.len(), MAX_ADDRESSES);
    assert_eq!(hosts[..3], ["10.0.0.3", "10.0.0.9", "10.0.0.8"]);
}

#[test]
fn what_can_wait_waits_for_the_flush() {
    let house = House::with(&["alice"]);
    let before = house.text();
    let mut opened = house.open();
    let at = Timestamp::from_millis(1_800_000_000_000);
    opened.file.commit(&[AccountChange::Seen { row: 1, at, from: None }]).expect("nothing to write");
    assert_eq!(house.text(), before);
    assert!(opened.file.is_dirty());
    opened.file.flush().expect("written");
    assert!(!opened.file.is_dirty());
    assert_eq!(house.open().accounts[&1].last_seen_at, Some(at));
}

#[test]
fn swapped_cells_cost_their_rows_alone() {
    for column in 0..10 {
        let house = House::with(&["alice", "bob", "carol"]);
        let mut rows: Vec<Vec<String>> =
            house.lines().iter().map(|line| line.split(',').map(str::to_owned).collect()).collect();
        if rows[1][column] == rows[2][column] {
            rows[1][column] = "banned".into();
        }
        let (one, other) = (rows[1][column].clone(), rows[2][column].clone());
        (rows[1][column], rows[2][column]) = (other, one);
        house.write_lines(&rows.iter().map(|row| row.join(",")).collect::<Vec<_>>());
        let opened = house.open();
        assert_eq!(names(&opened.accounts).last(), Some(&"carol"), "column {column}");
        assert!(opened.rejected_count > 0, "column {column}");
        for RejectedRow { line, fault } in &opened.rejected {
            assert_eq!(*fault, RowFault::Changed, "column {column}");
            assert!(house.set_aside().contains(&rows[*line - 1].join(",")), "column {column}");
        }
        let again = house.open();
        assert_eq!(again.rejected_count, 0, "they are reported once");
    }
}

#[test]
fn a_row_of_a_backup_is_refused() {
    let house = House::with(&["alice", "bob"]);
    let backup = house.lines();
    let mut opened = house.open();
    let new = account(1, "alice").password.clone();
    opened.file.commit(&[AccountChange::Password { row: 1, password: new.clone() }]).expect("written");
    drop(opened);
    let mut lines = house.lines();
    lines[1] = backup[1].clone();
    lines.push(lines[2].clone());
    house.write_lines(&lines);
    let opened = house.open();
    assert_eq!(names(&opened.accounts), ["bob"]);
    assert_eq!(faults(&opened), [(2, RowFault::OtherEpoch), (4, RowFault::Twice)]);
    house.write_lines(&backup);
    assert_eq!(names(&house.open().accounts), ["alice", "bob"], "a whole backup is a file of its own");
}

#[test]
fn a_flipped_byte_costs_one_row_at_most() {
    let house = House::with(&["alice", "bob", "carol"]);
    let whole = fs::read(house.path()).expect("the file");
    for at in (0..whole.len()).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x01;
        fs::write(house.path(), &bytes).expect("written");
        let opened = house.open();
        let lost = if bytes[at] == b'\n' || whole[at] == b'\n' { 2 } else { 1 };
        assert!(opened.accounts.len() + lost >= 3, "byte {at}: {:?}", faults(&opened));
        assert_eq!(opened.accounts.len() == 3, opened.rejected_count == 0, "byte {at}");
    }
}

#[test]
fn a_torn_last_line_is_set_aside_and_the_rest_serves() {
    let house = House::with(&["alice", "bob"]);
    let whole = fs::read(house.path()).expect("the file");
    let start = whole.len() - house.lines()[2].len() - 1;
    for cut in (start + 1..whole.len()).step_by(7).chain([whole.len() - 2, whole.len() - 1]) {
        fs::write(house.path(), &whole[..cut]).expect("written");
        let opened = house.open();
        let expected: &[&str] = if cut == whole.len() - 1 { &["alice", "bob"] } else { &["alice"] };
        assert_eq!(names(&opened.accounts), expected, "cut at {cut}");
        let mut file = opened.file;
        file.commit(&[AccountChange::Add(account(7, "carol"))]).expect("written");
        assert_eq!(names(&house.open().accounts).last(), Some(&"carol"));
    }
    fs::write(house.path(), [&whole[..start], b"\0\xff\x80garbage\0"].concat()).expect("written");
    assert_eq!(names(&house.open().accounts), ["alice"]);
    assert!(house.set_aside().contains("\\x00\\xff\\x80garbage"));
}

#[test]
fn what_a_spreadsheet_does_to_it_is_forgiven() {
    let house = House::with(&["alice", "bob"]);
    let quoted: Vec<String> = house.lines()[1..]
        .iter()
        .map(|line| line.split(',').map(|cell| format!("\"{cell}\"")).collect::<Vec<_>>().join(","))
        .collect();
    let text = format!("\u{feff}{}\r\n{}\r\n", house.lines()[0], quoted.join("\r\n"));
    fs::write(house.path(), text).expect("written");
    assert_eq!(names(&house.open().accounts), ["alice", "bob"]);
    assert!(!house.text().contains(['\r', '"', '\u{feff}']));
    fs::write(house.path(), "").expect("written");
    assert!(house.open().accounts.is_empty());
}

#[test]
fn a_wrong_or_missing_key_stops_the_start_and_changes_nothing() {
    let house = House::with(&["alice"]);
    let before = house.text();
    let key = house.dir.path().join("key");
    let stranger = Arc::new(Sealer::new(&Keys::derive(&[9; 32])));
    let error = AccountFile::open(house.dir.path(), stranger, &key).expect_err("another key");
    assert!(matches!(error, AccountsError::WrongKey { .. }), "{error}");
    fs::remove_file(&key).expect("removed");
    let error = open_keys(house.dir.path(), &key).expect_err("no key");
    assert!(error.to_string().contains("clients.csv") && matches!(error, AccountsError::KeyMissing { .. }));
    assert!(!key.exists(), "no key is made over sealed rows");
    assert_eq!(house.text(), before);
    fs::rename(house.path(), house.dir.path().join("clients-2026-01-01T00-00-00Z.csv")).expect("moved");
    assert!(open_keys(house.dir.path(), &key).is_err(), "a copy is sealed too");
}

#[test]
fn clearing_keeps_every_copy() {
    let house = House::with(&["alice"]);
    let mut opened = house.open();
    let now = Timestamp::from_millis(1_795_284_321_311);
    let (count, first) = opened.file.clear(now).expect("room on the disk");
    assert_eq!(
        (count, first.file_name().and_then(|n| n.to_str())),
        (1, Some("clients-2026-11-21T18-05-21Z.csv"))
    );
    opened.file.commit(&[AccountChange::Add(account(2, "bob"))]).expect("written");
    let (_, second) = opened.file.clear(now).expect("room on the disk");
    assert_ne!(first, second);
    assert!(house.open().accounts.is_empty());
    for (copy, name) in [(first, "alice"), (second, "bob")] {
        fs::rename(copy, house.path()).expect("moved");
        assert_eq!(names(&house.open().accounts), [name], "a copy can be put back");
    }
}

#[test]
fn a_file_that_vanishes_or_is_replaced_is_written_anew() {
    let house = House::with(&["alice"]);
    let mut opened = house.open();
    fs::remove_file(house.path()).expect("removed");
    opened.file.commit(&[AccountChange::Add(account(2, "bob"))]).expect("written");
    assert_eq!(names(&house.open().accounts), ["alice", "bob"]);
    let mut opened = house.open();
    fs::write(house.path(), "something else\n").expect("replaced");
    opened.file.commit(&[AccountChange::Add(account(3, "carol"))]).expect("written");
    assert_eq!(names(&house.open().accounts), ["alice", "bob", "carol"]);
    let kept = fs::read_dir(house.dir.path()).expect("a folder").flatten().any(|entry| {
        entry.file_name().to_string_lossy().starts_with("clients-")
            && fs::read_to_string(entry.path()).is_ok_and(|text| text == "something else\n")
    });
    assert!(kept, "what stood in its place is kept");
}

#[test]
fn what_cannot_be_written_is_not_there() {
    let house = House::with(&["alice"]);
    let mut opened = house.open();
    // A folder in place of the temporary file: it can be neither removed nor written.
    let obstacle = house.dir.path().join(".clients.csv.tmp");
    fs::create_dir(&obstacle).expect("a folder");
    let banned = AccountChange::Banned { row: 1, banned: true };
    assert!(opened.file.commit(std::slice::from_ref(&banned)).is_err());
    assert!(opened.file.clear(Timestamp::now()).is_err());
    assert!(opened.file.commit(&[AccountChange::Add(account(2, "bob"))]).is_err(), "the file is not trusted");
    assert!(!house.text().contains("banned"));
    fs::remove_dir(&obstacle).expect("removed");
    opened.file.commit(&[AccountChange::Add(account(3, "carol"))]).expect("written");
    let again = house.open();
    assert_eq!(names(&again.accounts), ["alice", "carol"]);
    assert!(!again.accounts[&1].banned);
}
