use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;

use super::rejected::FILE_NAME as REJECTED_NAME;
use super::rows::AccountRowFault;
use super::*;
use crate::disk::real::open_folder;
use crate::model::{MAX_ADDRESSES, MessageId, Password, SessionsFrom, UserName};
use crate::secrets::keys::Keys;
use crate::secrets::password::PasswordHashing;

struct Rig {
    dir: tempfile::TempDir,
    sealer: Arc<Sealer>,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = open_folder(dir.path()).expect("a folder");
        let keys = open_keys(&*folder, &*folder, "key").expect("a key");
        Rig { dir, sealer: Arc::new(Sealer::new(&keys)) }
    }

    fn folder(&self) -> Arc<dyn Folder> {
        open_folder(self.dir.path()).expect("a folder")
    }

    fn try_open(&self, accept_loss: bool) -> Result<OpenedAccounts, AccountsError> {
        let key = self.dir.path().join("key");
        AccountFile::open(self.folder(), Arc::clone(&self.sealer), key, accept_loss)
    }

    /// Whatever is lost of it.
    fn open(&self) -> OpenedAccounts {
        self.try_open(true).expect("an account file")
    }

    /// A rig with these accounts, in rows 1, 2, …
    fn with(names: &[&str]) -> Self {
        let rig = Rig::new();
        let mut opened = rig.open();
        for (at, name) in names.iter().enumerate() {
            opened
                .file
                .commit(&[AccountChange::Add(account(at as u64 + 1, name))])
                .expect("room on the disk");
        }
        rig
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
        visible_from: MessageId::new(row * 10),
        last_seen_at: None,
        sessions: SessionsFrom::default(),
        banned: false,
    })
}

fn names(accounts: &AccountsByRow) -> Vec<&str> {
    accounts.values().map(|account| account.name.as_str()).collect()
}

fn faults(opened: &OpenedAccounts) -> Vec<(usize, AccountRowFault)> {
    opened.rejected.iter().map(|row| (row.line, row.fault)).collect()
}

#[test]
fn what_is_committed_is_there_after_opening_again_and_secret() {
    let rig = Rig::with(&["alice", "жанна"]);
    let before = rig.text();
    let opened = rig.open();
    assert_eq!(names(&opened.accounts), ["alice", "жанна"]);
    assert_eq!(opened.accounts[&1].addresses, account(1, "alice").addresses);
    assert_eq!(opened.accounts[&2].visible_from, MessageId::new(20));
    assert_eq!(opened.rejected_count, 0);
    assert_eq!(rig.text(), before, "a sound file is not touched");
    for secret in ["alice", "жанна", "argon2", "192.0.2.1"] {
        assert!(!before.contains(secret), "{secret}");
    }
    for line in before.lines() {
        for cell in line.split(',') {
            assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\'']), "{cell}");
        }
    }
    assert_eq!(fs::metadata(rig.path()).expect("the file").permissions().mode() & 0o777, 0o600);
}

#[test]
fn every_change_comes_back() {
    let rig = Rig::with(&["alice", "bob", "carol", "dave"]);
    let mut opened = rig.open();
    let new = account(9, "other").password.clone();
    let from: IpAddr = "198.51.100.7".parse().expect("an address");
    let later = SessionsFrom { number: 7, and: Some(3) };
    let at = Timestamp::from_millis(1_800_000_000_000);
    let changes = [
        AccountChange::Password { row: 1, password: new.clone(), sessions: later },
        AccountChange::Ban { row: 2, sessions: SessionsFrom { number: 9, and: None } },
        AccountChange::Remove { row: 3 },
        AccountChange::Seen { row: 4, at, from: Some(from) },
        AccountChange::Rehash { row: 4, old: new.clone(), new: new.clone() },
        AccountChange::Unban { row: 77 },
        AccountChange::EndSessions { row: 4, sessions: later },
    ];
    opened.file.commit(&changes).expect("written");
    let again = rig.open();
    assert_eq!(names(&again.accounts), ["alice", "bob", "dave"]);
    assert_eq!(again.accounts[&1].password, new);
    assert!(again.accounts[&2].banned);
    assert!(later.admits(3) && later.admits(7) && !later.admits(4));
    assert_eq!((again.accounts[&1].sessions, again.accounts[&4].sessions), (later, later));
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
    let mut accounts = AccountsByRow::from([(1, account(1, "alice"))]);
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
    let rig = Rig::with(&["alice"]);
    let before = rig.text();
    let mut opened = rig.open();
    let at = Timestamp::from_millis(1_800_000_000_000);
    opened.file.commit(&[AccountChange::Seen { row: 1, at, from: None }]).expect("nothing to write");
    assert_eq!(rig.text(), before);
    assert!(opened.file.is_dirty());
    opened.file.flush().expect("written");
    assert!(!opened.file.is_dirty());
    assert_eq!(rig.open().accounts[&1].last_seen_at, Some(at));
}

#[test]
fn swapped_cells_cost_their_rows_alone() {
    for column in 0..10 {
        let rig = Rig::with(&["alice", "bob", "carol"]);
        let mut rows: Vec<Vec<String>> =
            rig.lines().iter().map(|line| line.split(',').map(str::to_owned).collect()).collect();
        if rows[1][column] == rows[2][column] {
            rows[1][column] = "banned".into();
        }
        let (one, other) = (rows[1][column].clone(), rows[2][column].clone());
        (rows[1][column], rows[2][column]) = (other, one);
        rig.write_lines(&rows.iter().map(|row| row.join(",")).collect::<Vec<_>>());
        let opened = rig.open();
        assert_eq!(names(&opened.accounts).last(), Some(&"carol"), "column {column}");
        assert!(opened.rejected_count > 0, "column {column}");
        for RejectedRow { line, fault, .. } in &opened.rejected {
            assert!(
                matches!(fault, AccountRowFault::Changed | AccountRowFault::Reformatted),
                "column {column}"
            );
            assert!(rig.set_aside().contains(&rows[*line - 1].join(",")), "column {column}");
        }
        let again = rig.open();
        assert_eq!(again.rejected_count, 0, "they are reported once");
    }
}

#[test]
fn a_row_of_a_backup_is_refused() {
    let rig = Rig::with(&["alice", "bob"]);
    let backup = rig.lines();
    let mut opened = rig.open();
    let (_, copy) = opened.file.clear(Timestamp::now()).expect("written");
    opened.file.commit(&[AccountChange::Add(account(3, "alice"))]).expect("written");
    opened.file.commit(&[AccountChange::Add(account(4, "bob"))]).expect("written");
    drop(opened);
    let mut lines = rig.lines();
    lines[1] = backup[1].clone();
    lines.push(lines[2].clone());
    rig.write_lines(&lines);
    let opened = rig.open();
    assert_eq!(names(&opened.accounts), ["bob"]);
    assert_eq!(faults(&opened), [(2, AccountRowFault::OtherEpoch), (4, AccountRowFault::Twice)]);
    assert!(opened.kept_names.contains(&rig.sealer.index("alice")), "nobody takes her name");
    fs::remove_file(copy).expect("removed");
    rig.write_lines(&backup);
    assert_eq!(names(&rig.open().accounts), ["alice", "bob"], "a whole backup is a file of its own");
}

#[test]
fn a_flipped_byte_costs_one_row_at_most() {
    let rig = Rig::with(&["alice", "bob", "carol"]);
    let whole = fs::read(rig.path()).expect("the file");
    for at in (0..whole.len()).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x01;
        fs::write(rig.path(), &bytes).expect("written");
        let opened = rig.open();
        let lost = if bytes[at] == b'\n' || whole[at] == b'\n' { 2 } else { 1 };
        assert!(opened.accounts.len() + lost >= 3, "byte {at}: {:?}", faults(&opened));
        assert_eq!(opened.accounts.len() == 3, opened.rejected_count == 0, "byte {at}");
    }
}

#[test]
fn a_torn_last_line_is_set_aside_and_the_rest_serves() {
    let rig = Rig::with(&["alice", "bob"]);
    let whole = fs::read(rig.path()).expect("the file");
    let start = whole.len() - rig.lines()[2].len() - 1;
    for cut in (start + 1..whole.len()).step_by(7).chain([whole.len() - 2, whole.len() - 1]) {
        fs::write(rig.path(), &whole[..cut]).expect("written");
        let opened = rig.open();
        let expected: &[&str] = if cut == whole.len() - 1 { &["alice", "bob"] } else { &["alice"] };
        assert_eq!(names(&opened.accounts), expected, "cut at {cut}");
        let mut file = opened.file;
        file.commit(&[AccountChange::Add(account(7, "carol"))]).expect("written");
        assert_eq!(names(&rig.open().accounts).last(), Some(&"carol"));
    }
    fs::write(rig.path(), [&whole[..start], b"\0\xff\x80garbage\0"].concat()).expect("written");
    assert_eq!(names(&rig.open().accounts), ["alice"]);
    assert!(rig.set_aside().contains("\\x00\\xff\\x80garbage"));
}

#[test]
fn what_a_spreadsheet_does_to_it_is_forgiven() {
    let rig = Rig::with(&["alice", "bob"]);
    let quoted: Vec<String> = rig.lines()[1..]
        .iter()
        .map(|line| line.split(',').map(|cell| format!("\"{cell}\"")).collect::<Vec<_>>().join(","))
        .collect();
    let text = format!("\u{feff}{}\r\n{}\r\n", rig.lines()[0], quoted.join("\r\n"));
    fs::write(rig.path(), text).expect("written");
    assert_eq!(names(&rig.open().accounts), ["alice", "bob"]);
    assert!(!rig.text().contains(['\r', '"', '\u{feff}']));
    fs::write(rig.path(), "").expect("written");
    assert!(rig.open().accounts.is_empty());
}

#[test]
fn a_wrong_or_missing_key_stops_the_start_and_changes_nothing() {
    let rig = Rig::with(&["alice"]);
    let before = rig.text();
    let key = rig.dir.path().join("key");
    let stranger = Arc::new(Sealer::new(&Keys::derive(&[9; 32])));
    let error = AccountFile::open(rig.folder(), stranger, key.clone(), true).expect_err("another key");
    assert!(matches!(error, AccountsError::WrongKey { .. }), "{error}");
    fs::remove_file(&key).expect("removed");
    let error = open_keys(&*rig.folder(), &*rig.folder(), "key").expect_err("no key");
    assert!(error.to_string().contains("clients.csv") && matches!(error, AccountsError::KeyMissing { .. }));
    assert!(!key.exists(), "no key is made over sealed rows");
    assert_eq!(rig.text(), before);
    fs::rename(rig.path(), rig.dir.path().join("clients-2026-01-01T00-00-00Z.csv")).expect("moved");
    assert!(open_keys(&*rig.folder(), &*rig.folder(), "key").is_err(), "a copy is sealed too");
}

#[test]
fn clearing_keeps_every_copy() {
    let rig = Rig::with(&["alice"]);
    let mut opened = rig.open();
    let now = Timestamp::from_millis(1_795_284_321_311);
    let (count, first) = opened.file.clear(now).expect("room on the disk");
    assert_eq!(
        (count, first.file_name().and_then(|n| n.to_str())),
        (1, Some("clients-2026-11-21T18-05-21Z.csv"))
    );
    opened.file.commit(&[AccountChange::Add(account(2, "bob"))]).expect("written");
    let (_, second) = opened.file.clear(now).expect("room on the disk");
    assert_ne!(first, second);
    assert!(rig.open().accounts.is_empty());
    for (copy, name) in [(first, "alice"), (second, "bob")] {
        fs::rename(copy, rig.path()).expect("moved");
        assert_eq!(names(&rig.open().accounts), [name], "a copy can be put back");
    }
}

#[test]
fn a_file_that_vanishes_or_is_replaced_is_written_anew() {
    let rig = Rig::with(&["alice"]);
    let mut opened = rig.open();
    fs::remove_file(rig.path()).expect("removed");
    opened.file.commit(&[AccountChange::Add(account(2, "bob"))]).expect("written");
    assert_eq!(names(&rig.open().accounts), ["alice", "bob"]);
    let mut opened = rig.open();
    fs::write(rig.path(), "something else\n").expect("replaced");
    opened.file.commit(&[AccountChange::Add(account(3, "carol"))]).expect("written");
    assert_eq!(names(&rig.open().accounts), ["alice", "bob", "carol"]);
    let kept = fs::read_dir(rig.dir.path()).expect("a folder").flatten().any(|entry| {
        entry.file_name().to_string_lossy().starts_with("clients-")
            && fs::read_to_string(entry.path()).is_ok_and(|text| text == "something else\n")
    });
    assert!(kept, "what stood in its place is kept");
}

#[test]
fn what_cannot_be_written_is_not_there() {
    let rig = Rig::with(&["alice"]);
    let mut opened = rig.open();
    // A folder in place of the temporary file: it can be neither removed nor written.
    let obstacle = rig.dir.path().join(".clients.csv.tmp");
    fs::create_dir(&obstacle).expect("a folder");
    fs::remove_file(rig.path()).expect("removed");
    let banned = AccountChange::Ban { row: 1, sessions: SessionsFrom::default() };
    assert!(opened.file.commit(std::slice::from_ref(&banned)).is_err());
    assert!(opened.file.clear(Timestamp::now()).is_err());
    assert!(opened.file.commit(&[AccountChange::Add(account(2, "bob"))]).is_err(), "the file is not trusted");
    assert!(opened.file.is_owed() && !rig.path().exists());
    fs::remove_dir(&obstacle).expect("removed");
    opened.file.commit(&[AccountChange::Add(account(3, "carol"))]).expect("written");
    let again = rig.open();
    assert_eq!(names(&again.accounts), ["alice", "carol"]);
    assert!(!again.accounts[&1].banned);
}

fn password(row: u64, text: &str) -> AccountChange {
    let hashing = PasswordHashing::new(8, 1).expect("small parameters");
    let password = hashing.hash(&Password::given(text)).expect("a hash");
    AccountChange::Password { row, password, sessions: SessionsFrom::default() }
}

// issue 7: one user's passwd loop rewrites the whole account file each time
#[test]
fn a_change_of_one_account_writes_one_row_and_the_file_stays_bounded() {
    let rig = Rig::with(&["alice", "bob", "carol"]);
    let mut opened = rig.open();
    let before = rig.text();
    let change = password(2, "another");
    opened.file.commit(std::slice::from_ref(&change)).expect("written");
    let after = rig.text();
    assert_eq!(after.strip_prefix(&before).map(|rest| rest.lines().count()), Some(1));
    let again = rig.open();
    assert_eq!((names(&again.accounts).len(), again.rejected_count), (3, 0));
    assert_eq!(Some(&again.accounts[&2].password), opened.file.account(2).map(|bob| &bob.password));
    assert_eq!(rig.text(), after, "a sound file is not touched");
    for _ in 0..3 * SPARE_ROWS {
        opened.file.commit(std::slice::from_ref(&change)).expect("written");
    }
    assert!(rig.lines().len() <= SPARE_ROWS + 8, "{}", rig.lines().len());
    assert_eq!(rig.open().accounts.len(), 3);
}

#[test]
fn a_removed_account_is_gone_and_its_number_is_not_given_again() {
    let rig = Rig::with(&["alice", "bob"]);
    let mut opened = rig.open();
    opened.file.commit(&[AccountChange::Remove { row: 2 }]).expect("written");
    for _ in 0..2 {
        let mut again = rig.open();
        assert_eq!((names(&again.accounts), again.highest_row), (vec!["alice"], 2));
        again.file.clear(Timestamp::now()).expect("written");
        again.file.commit(&[AccountChange::Add(account(1, "alice"))]).expect("written");
    }
}

// issue 7: with appended changes an older row must not win over a newer one
#[test]
fn an_older_row_that_is_copied_behind_a_newer_one_is_refused() {
    let rig = Rig::with(&["alice", "bob"]);
    let mut opened = rig.open();
    opened.file.commit(&[password(1, "newer")]).expect("written");
    let newer = opened.file.account(1).expect("there").password.clone();
    let mut lines = rig.lines();
    lines.push(lines[1].clone());
    rig.write_lines(&lines);
    let again = rig.open();
    assert_eq!(faults(&again), [(5, AccountRowFault::Older)]);
    assert_eq!((again.accounts[&1].password.clone(), again.accounts.len()), (newer, 2));
}

// issue 7: a damaged line fails open, here a change of a password
#[test]
fn a_damaged_change_never_brings_the_old_password_back() {
    let rig = Rig::with(&["alice", "bob"]);
    let mut opened = rig.open();
    let old = opened.file.account(1).expect("there").password.clone();
    opened.file.commit(&[password(1, "newer")]).expect("written");
    let new = opened.file.account(1).expect("there").password.clone();
    let whole = fs::read(rig.path()).expect("the file");
    let start = whole.len() - rig.lines()[3].len() - 1;
    for at in start - 1..whole.len() {
        for value in [0, b'\n', b',', b'x', b'7', b'"', whole[at] ^ 1, whole[at] ^ 0x20] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            scan::repair(&rig.sealer, &mut bytes);
            let sorted = scan::ScannedAccounts::read(&rig.sealer, &bytes).sort_out(&rig.sealer);
            let what = || format!("byte {at} is {value:#x}: {:?}", sorted.rejected);
            assert!(sorted.accounts.contains_key(&2), "bob: {}", what());
            let index = rig.sealer.index("alice");
            match sorted.accounts.get(&1) {
                Some(alice) => assert!(alice.password == new && alice.password != old, "{}", what()),
                None => assert!(sorted.rejected.iter().any(|row| row.keeps.contains(&index)), "{}", what()),
            }
        }
    }
}

// issue 7: no refused row's name can be taken, also over later starts
#[test]
fn the_name_of_a_row_that_was_set_aside_stays_taken_for_as_long_as_it_lies_there() {
    let rig = Rig::with(&["alice", "bob", "carol"]);
    let mut lines = rig.lines();
    lines[2] = lines[2].replace("active", "banned");
    rig.write_lines(&lines);
    let kept = |opened: OpenedAccounts| opened.kept_names.contains(&rig.sealer.index("bob"));
    assert!(kept(rig.open()) && kept(rig.open()));
    let noted = rig.set_aside();
    // As a version before this one has written it.
    let old = noted.split(" [keeps ").next().expect("a note").to_owned() + ": " + &lines[2] + "\n";
    fs::write(rig.dir.path().join(REJECTED_NAME), old).expect("written");
    assert!(kept(rig.open()));
    fs::remove_file(rig.dir.path().join(REJECTED_NAME)).expect("removed");
    assert!(!kept(rig.open()), "that is how it is freed");
}

// issue 7: what was there and cannot be read is not what was never there
#[test]
fn a_file_that_is_empty_or_missing_where_accounts_were_stops_the_start() {
    for trace in ["sessions.csv", "clients.rejected", "clients-2026-01-01T00-00-00Z.csv", "devices.csv"] {
        let rig = Rig::with(&["alice"]);
        fs::write(rig.dir.path().join(trace), "").expect("written");
        for content in [None, Some(""), Some("\n"), Some("\u{feff}")] {
            match content {
                None => fs::remove_file(rig.path()).expect("removed"),
                Some(text) => fs::write(rig.path(), text).expect("written"),
            }
            let error = rig.try_open(false).expect_err("there were accounts").to_string();
            assert!(error.contains(trace) && error.contains("--accept-loss"), "{error}");
            assert_eq!(fs::read_to_string(rig.path()).ok().as_deref(), content, "it is left as it is");
        }
        assert!(rig.open().accounts.is_empty());
        assert!(rig.try_open(false).expect("its header is sound").accounts.is_empty());
    }
    let rig = Rig::new();
    assert!(rig.try_open(false).expect("there was nothing").accounts.is_empty());
}

// issue 7: every row is refused, or more than ten and more than one in a hundred
#[test]
fn a_file_of_which_too_much_cannot_be_read_stops_the_start_and_is_left_as_it_is() {
    let names: Vec<String> = (0..30).map(|n| format!("user{n}")).collect();
    let rig = Rig::with(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let sound = rig.lines();
    let spoiled = |count: usize| {
        let mut lines = sound.clone();
        lines[1..=count].iter_mut().for_each(|line| *line = line.replace("2026-", "26/"));
        rig.write_lines(&lines);
    };
    for count in [11, 29, 30] {
        spoiled(count);
        if count == 30 {
            // The other program writes no last newline.
            fs::write(rig.path(), rig.text().trim_end()).expect("written");
        }
        let before = rig.text();
        let error = rig.try_open(false).expect_err("too much").to_string();
        assert!(error.contains(&format!("{count} of 30 rows")) && error.contains("spreadsheets"), "{error}");
        assert_eq!((rig.text(), rig.set_aside()), (before, String::new()));
    }
    let opened = rig.open();
    assert_eq!((opened.accounts.len(), opened.rejected_count), (0, 30));
    for name in &names {
        assert!(opened.kept_names.contains(&rig.sealer.index(name)), "{name}");
    }
    fs::remove_file(rig.dir.path().join(REJECTED_NAME)).expect("removed");
    spoiled(10);
    assert_eq!(rig.try_open(false).expect("ten are told and set aside").accounts.len(), 20);
}

// issue 7: semicolons between cells are called "another key"
#[test]
fn what_another_program_made_of_the_file_is_called_what_it_is() {
    let rig = Rig::with(&["alice", "bob"]);
    let sound = rig.text();
    let utf16 = sound.encode_utf16().flat_map(u16::to_le_bytes);
    let cases: [(&str, Vec<u8>); 5] = [
        ("semicolons", sound.replace(',', ";").into()),
        ("tabs", sound.replace(',', "\t").into()),
        ("UTF-16", [0xff, 0xfe].into_iter().chain(utf16.clone()).collect()),
        ("UTF-16", utf16.collect()),
        ("spreadsheets", sound.replace("\n1,", "\n1E+00,").replace("\n2,", "\n2E+00,").into()),
    ];
    for (word, bytes) in cases {
        fs::write(rig.path(), &bytes).expect("written");
        let error = rig.try_open(false).expect_err(word).to_string();
        assert!(error.contains(word) && !error.contains("another key"), "{error}");
        assert_eq!(fs::read(rig.path()).expect("there"), bytes, "it is left as it is");
        let opened = rig.open();
        assert!(opened.kept_names.contains(&rig.sealer.index("alice")), "{word}");
        fs::remove_file(rig.dir.path().join(REJECTED_NAME)).expect("removed");
    }
}

#[test]
fn a_file_of_the_format_before_is_read_and_written_anew() {
    let rig = Rig::with(&["alice", "bob"]);
    let cells: Vec<Vec<String>> =
        rig.lines().iter().map(|line| line.split(',').map(str::to_owned).collect()).collect();
    let epoch = cells[1][11].split_once('.').expect("an epoch").1.to_owned();
    let mut old =
        vec![format!("{},seal v1 key={} epoch={epoch}", cells[0][..9].join(","), rig.sealer.key_id())];
    for row in &cells[1..] {
        let bound: Vec<&str> =
            std::iter::once(epoch.as_str()).chain(row[..9].iter().map(String::as_str)).collect();
        old.push(format!("{},{}.{epoch}", row[..9].join(","), rig.sealer.bind_row(&bound)));
    }
    rig.write_lines(&old);
    let opened = rig.try_open(false).expect("it is read");
    assert_eq!((names(&opened.accounts), opened.rejected_count), (vec!["alice", "bob"], 0));
    assert!(rig.text().contains("seal v2 key="));
}
