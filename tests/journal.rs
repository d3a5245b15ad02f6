//! The files of the history: what is in them, what they survive, and what becomes of damage.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::support::client::{id, ids, text, texts};
use crate::support::files::{
    csv_rows, edit_line, files_below, history_files, lines, newest_history, unescape,
};
use crate::support::{Client, Server, eventually};

/// Texts that a file, a terminal or a spreadsheet could take for something else.
const NASTY: [&str; 34] = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "'",
    "'=1",
    "''",
    "\t=1",
    "\n=1",
    "  =1",
    "\"=1",
    "＝1",
    "﹢1",
    "a;=1",
    "a; =1;+2",
    "a,b",
    "\"",
    "\"\"",
    "\"a\",\"b\"",
    "a\nb",
    "\n",
    "\t",
    "\\",
    "\\n",
    "\\u{1b}",
    "a\\",
    "🦀👩‍👩‍👧 ",
    "\u{feff}x",
    "\u{202e}gnitirw",
    "\u{200b}",
    " ",
    "x1234abcd",
    "id,prev,at,room,from,to,text,key,crc32",
    "1,0,2026-11-21T18:05:21.311Z,lobby,bob,,hello,,xabeeb076",
];

fn say_all<'a>(client: &mut Client, room: &str, texts: impl IntoIterator<Item = &'a str>) -> Vec<u64> {
    texts.into_iter().map(|text| id(&client.say(room, text))).collect()
}

// issue 2, lines 10 and 11
#[test]
fn history_survives_a_restart() {
    let mut server = Server::start();
    let mut alice = server.member("alice", "lobby");
    let said = say_all(&mut alice, "lobby", ["one", "two", "three"]);
    let before = alice.whole_history("lobby");
    server.restart();
    let mut alice = server.login("alice");
    let joined = alice.expect("joined", json!({"type": "join", "room": "lobby"}));
    assert_eq!(ids(&joined["messages"]), said);
    assert_eq!(alice.whole_history("lobby"), before, "to the last byte");
    let next = alice.say("lobby", "four");
    assert_eq!(next["prev"], said[2]);
    assert!(id(&next) > said[2]);
}

// issue 2, line 10
#[test]
fn a_row_is_what_the_documentation_says() {
    let server = Server::start();
    let mut alice = server.member("alice", "tea");
    let mut bob = server.register("bob");
    let first = alice.say("tea", "hello, \"world\"");
    alice.request(json!({"type": "say", "room": "tea", "text": "keyed", "key": "=k,1"}));
    let direct_message = bob.tell("alice", "a direct message");
    let rows = csv_rows(&newest_history(&server.data_dir()));
    let header = ["id", "prev", "at", "room", "from", "to", "text", "key", "crc32"];
    assert_eq!(rows[0], header);
    let number = |value: &Value| value.to_string();
    let at = |receipt: &Value| receipt["at"].as_str().unwrap().to_owned();
    assert_eq!(
        rows[1][..8],
        [
            number(&first["id"]),
            "0".into(),
            at(&first),
            "tea".into(),
            "alice".into(),
            "".into(),
            "hello, \"world\"".into(),
            "".into()
        ]
    );
    assert_eq!((&*rows[2][1], &*rows[2][7]), (&*rows[1][0], "'=k,1"));
    assert_eq!((&*rows[3][3], &*rows[3][4], &*rows[3][5]), ("", "bob", "alice"));
    assert_eq!(rows[3][0], number(&direct_message["id"]));
    for row in &rows[1..] {
        assert_eq!(row[8], format!("x{:08x}", crc32fast::hash(row[..8].join(",").as_bytes())));
    }
    let name = history_files(&server.data_dir())[0].file_stem().unwrap().to_owned();
    assert_eq!(name.to_str().unwrap(), &at(&first)[..7], "a file a month");
}

// issue 2, line 10
#[test]
fn any_text_comes_back_exactly_and_lies_in_one_line() {
    let mut server = Server::start();
    let mut alice = server.member("alice", "lobby");
    let mut bob = server.member("bob", "lobby");
    for text in NASTY {
        let key = text.chars().take(12).collect::<String>();
        alice.expect("ok", json!({"type": "say", "room": "lobby", "text": text, "key": key}));
        assert_eq!(bob.message()["text"], text);
    }
    let stored = newest_history(&server.data_dir());
    assert_eq!(lines(&stored).len(), 1 + NASTY.len(), "one row, one line");
    let cells: Vec<_> = csv_rows(&stored)[1..].iter().map(|row| unescape(&row[6])).collect();
    assert_eq!(cells, NASTY);
    server.restart();
    let mut bob = server.login("bob");
    let history = bob.whole_history("lobby");
    assert_eq!(texts(&json!(history)), NASTY);
}

// issue 2, line 10
#[test]
fn no_cell_of_any_file_starts_a_formula_or_drives_a_terminal() {
    let mut server = Server::start();
    let mut alice = server.member("alice", "lobby");
    for (n, text) in NASTY.iter().enumerate() {
        let key = format!("{}{n}", text.chars().next().unwrap());
        alice.expect("ok", json!({"type": "say", "room": "lobby", "text": text, "key": key}));
    }
    server.stop();
    let is_csv = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "csv");
    let files: Vec<_> = files_below(&server.data_dir()).into_iter().filter(is_csv).collect();
    assert!(!files.is_empty());
    for file in files {
        for cell in csv_rows(&file).into_iter().flatten() {
            for part in std::iter::once(&*cell).chain(cell.split(';').skip(1)) {
                let start = part.trim_start_matches([' ', '"', '\t', '\r', '\n', '\u{a0}']).chars().next();
                let formula = start.is_some_and(|c| "=+-@＝＋－＠﹦﹢﹣﹫".contains(c));
                assert!(!formula, "{}: {cell:?}", file.display());
            }
            let drives = cell.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'));
            assert!(!drives, "{}: {cell:?}", file.display());
        }
    }
}

/// Texts in which what matters to files is frequent, of all that the contract allows.
fn any_texts() -> impl Strategy<Value = String> {
    let spiced = "[=+@＝'\\\\\"; \\-\n\t,nu{}x0-9a-c\u{a0}-\u{2ff}🦀]{1,40}";
    let whatever = "[^\\p{Cc}\u{2028}\u{2029}]{1,60}";
    prop_oneof![spiced, whatever].prop_filter("not too long", |text: &String| text.len() <= 4_096)
}

// issue 2, line 10
#[test]
fn texts_drawn_by_lot_come_back_exactly() {
    const COUNT: usize = 400;
    let mut server = Server::start();
    let mut alice = server.member("alice", "lobby");
    let mut lot = TestRunner::deterministic();
    let drawn: Vec<String> = (0..COUNT).map(|_| any_texts().new_tree(&mut lot).unwrap().current()).collect();
    for text in &drawn {
        alice.send(json!({"type": "say", "room": "lobby", "text": text}));
    }
    for text in &drawn {
        let reply = alice.reply();
        assert_eq!(reply["type"], "ok", "{text:?}: {reply}");
    }
    assert_eq!(lines(&newest_history(&server.data_dir())).len(), 1 + COUNT, "one row, one line");
    server.crash_and_restart();
    let history = server.login("alice").whole_history("lobby");
    assert_eq!(texts(&json!(history)), drawn);
}

// issue 2, line 10
#[test]
fn control_characters_never_get_in() {
    let server = Server::with(&["limits.bad_frames=0"]);
    let mut alice = server.member("alice", "lobby");
    let controls = (0..=0x1f).chain(0x7f..=0x9f).chain(0x2028..=0x2029);
    for c in controls.filter_map(char::from_u32).filter(|c| !matches!(c, '\n' | '\t')) {
        let request = json!({"type": "say", "room": "lobby", "text": format!("a{c}b")});
        alice.expect_error("bad_text", request);
    }
    assert_eq!(alice.whole_history("lobby"), Vec::<Value>::new());
}

// issue 2, line 10
#[test]
fn a_torn_last_line_is_set_aside() {
    let mut server = Server::start();
    let mut alice = server.member("alice", "lobby");
    let said = say_all(&mut alice, "lobby", ["one", "two"]);
    server.crash();
    let file = newest_history(&server.data_dir());
    let torn = "3,2,2026-11-21T18:05:21.311Z,lobby,alice,,half a mess";
    let whole = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{whole}{torn}")).unwrap();
    server = server.start_again();
    let mut alice = server.login("alice");
    assert_eq!(ids(&json!(alice.whole_history("lobby"))), said);
    assert_eq!(fs::read_to_string(&file).unwrap(), whole, "it is cut off");
    let aside = fs::read_to_string(file.with_extension("torn")).unwrap();
    assert!(aside.contains(torn), "and kept beside: {aside}");
    server.log_line(&["WARN", "torn"]);
    alice.join("lobby");
    let next = alice.say("lobby", "three");
    assert!(id(&next) > 3, "an id that the torn line may have had is not used again: {next}");
    server.restart();
    let mut alice = server.login("alice");
    assert_eq!(texts(&json!(alice.whole_history("lobby"))), ["one", "two", "three"]);
}

// issue 2, line 10
#[test]
fn a_damaged_row_is_reported_with_its_line_and_skipped() {
    let mut server = Server::start();
    let mut alice = server.member("alice", "lobby");
    let said = say_all(&mut alice, "lobby", ["one", "two", "three", "four"]);
    server.stop();
    let file = newest_history(&server.data_dir());
    edit_line(&file, 2, |line| line.replace("two", "twö"));
    edit_line(&file, 3, |_| "\"not a row at all".into());
    let spoiled = fs::read_to_string(&file).unwrap();
    server = server.start_again();
    let mut alice = server.login("alice");
    let left = alice.whole_history("lobby");
    assert_eq!(ids(&json!(left)), [said[0], said[3]], "the others serve");
    assert_eq!(left[1]["prev"], said[2], "so that a client sees the gap");
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    let reports: Vec<_> =
        [3, 4].iter().map(|line| server.log_line(&["WARN", &name, &format!("line {line}")])).collect();
    assert_ne!(reports[0], reports[1]);
    assert_eq!(fs::read_to_string(&file).unwrap(), spoiled, "it stays for the operator to look at");
}

// issue 2, line 10
#[test]
fn a_file_that_other_programs_wrote_anew_is_read_all_the_same() {
    let mut server = Server::start();
    let mut alice = server.member("alice", "lobby");
    let said = say_all(&mut alice, "lobby", ["one", "two,", "three"]);
    server.stop();
    let file = newest_history(&server.data_dir());
    let all = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("\u{feff}{}", all.replace('\n', "\r\n"))).unwrap();
    server = server.start_again();
    let mut alice = server.login("alice");
    assert_eq!(ids(&json!(alice.whole_history("lobby"))), said);
    alice.join("lobby");
    alice.say("lobby", "four");
    server.restart();
    let mut alice = server.login("alice");
    assert_eq!(texts(&json!(alice.whole_history("lobby"))), ["one", "two,", "three", "four"]);
}

// issue 2, line 10
#[test]
fn a_clock_that_goes_back_does_not_lead_to_an_earlier_file() {
    let mut server = Server::start();
    let mut alice = server.member("alice", "lobby");
    say_all(&mut alice, "lobby", ["one"]);
    server.stop();
    let file = newest_history(&server.data_dir());
    let future = file.with_file_name("2999-01.csv");
    fs::rename(&file, &future).unwrap();
    server = server.start_again();
    let mut alice = server.login("alice");
    alice.join("lobby");
    alice.say("lobby", "two");
    assert_eq!(lines(&future).len(), 3);
    assert_eq!(history_files(&server.data_dir()), [future]);
    assert_eq!(texts(&json!(alice.whole_history("lobby"))), ["one", "two"]);
}

// issue 2, lines 10 and 11
#[test]
fn months_are_read_in_their_order() {
    let mut server = Server::start();
    let mut alice = server.member("alice", "lobby");
    say_all(&mut alice, "lobby", ["one", "two", "three", "four"]);
    server.stop();
    let file = newest_history(&server.data_dir());
    let all = lines(&file);
    for (month, row) in [("2001-01", 1), ("2001-12", 2), ("2002-01", 3)] {
        fs::write(file.with_file_name(format!("{month}.csv")), format!("{}\n{}\n", all[0], all[row]))
            .unwrap();
    }
    fs::write(&file, format!("{}\n{}\n", all[0], all[4])).unwrap();
    fs::write(file.with_file_name("2000-13.csv"), "not a month").unwrap();
    server = server.start_again();
    let mut alice = server.login("alice");
    assert_eq!(texts(&json!(alice.whole_history("lobby"))), ["one", "two", "three", "four"]);
}

// issue 2, line 10
#[test]
fn a_history_that_was_moved_away_is_noticed_before_the_next_receipt() {
    let server = Server::start();
    let mut alice = server.member("alice", "lobby");
    say_all(&mut alice, "lobby", ["one"]);
    let file = newest_history(&server.data_dir());
    let moved = server.dir.path().join("moved.csv");
    fs::rename(&file, &moved).unwrap();
    alice.say("lobby", "two");
    let stored = csv_rows(&file);
    assert_eq!((stored.len(), &*stored[1][6]), (2, "two"), "the file is there anew");
    assert_eq!(lines(&moved).len(), 2);
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    server.log_line(&["ERROR", &name]);
}

// issue 2, line 10
#[test]
fn without_fsync_it_works_the_same_and_ids_keep_growing() {
    let mut server = Server::with(&["journal.durability=os"]);
    let mut alice = server.member("alice", "lobby");
    let said = say_all(&mut alice, "lobby", ["one", "two"]);
    server.crash_and_restart();
    let mut alice = server.login("alice");
    assert_eq!(ids(&json!(alice.whole_history("lobby"))), said);
    alice.join("lobby");
    let next = alice.say("lobby", "three");
    assert!(id(&next) > said[1]);
    assert_eq!(next["prev"], said[1]);
}

// issue 2, line 10
#[test]
fn everything_in_the_data_directory_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let server = Server::start();
    let mut alice = server.member("alice", "lobby");
    alice.say("lobby", "hello");
    let mode = |path: &PathBuf| path.symlink_metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&server.data_dir()), 0o700);
    assert_eq!(mode(&server.data_dir().join("history")), 0o700);
    for file in files_below(&server.data_dir()) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

// issue 2, line 10
#[test]
fn what_the_operator_says_in_a_room_is_stored_like_any_message() {
    let mut server = Server::start();
    let mut alice = server.member("alice", "lobby");
    let answer = server.console("say #lobby tea is ready");
    let heard = alice.message();
    assert_eq!((&heard["from"], text(&heard)), (&json!("server"), "tea is ready"));
    assert!(answer.contains(&heard["id"].to_string()), "{answer}");
    eventually("it is stored", || {
        let rows = csv_rows(&newest_history(&server.data_dir()));
        (rows[1][4] == "server" && rows[1][6] == "tea is ready").then_some(())
    });
}
