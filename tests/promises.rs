//! What was acknowledged is kept, also over several lives and on a disk that fails (issue 7, "A promise is
//! broken"). Every crash point of several lives is tried inside the crate (`store::history::lives_tests`, and
//! `tests/lives` for long); here it is the real program, its real files and the system's own calls.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::{id, ids, texts};
use crate::support::files::{edit_line, newest_history};
use crate::support::program::veche;
use crate::support::{Client, Options, PASSWORD, Server, eventually};

/// The largest id there is, 2^53 - 1.
const MAX_ID: u64 = 9_007_199_254_740_991;

fn make_pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe is made");
}

/// Enters the lobby with its newest messages.
fn enter(client: &mut Client) -> Value {
    client.expect("joined", json!({"type": "join", "room": "lobby"}))
}

fn directory() -> Arc<TempDir> {
    Arc::new(tempfile::tempdir().expect("a temporary folder"))
}

// "What a predecessor left unsynced is trusted"
#[test]
fn what_a_predecessor_left_is_forced_before_anyone_is_let_in() {
    let mut server = Server::start();
    server.member("alice", "lobby").say("lobby", "left behind");
    server.crash();
    let trace_file = tempfile::NamedTempFile::new().expect("a temporary file");
    let path = trace_file.path().to_str().expect("UTF-8").to_owned();
    let calls = "trace=write,pwrite64,fdatasync,fsync";
    let wrapper = ["strace", "-D", "-f", "-y", "-s", "200", "-e", calls, "-o", &path];
    let again = Options::new().wrapped_in(&wrapper).start_in(Arc::clone(&server.dir));
    let trace = eventually("strace has written the line of the listener", || {
        let trace = fs::read_to_string(&path).ok()?;
        trace.contains("listening on").then_some(trace)
    });
    let before = &trace[..trace.find("listening on").expect("it is there")];
    let dir = server.dir.path().canonicalize().expect("a path");
    let data = dir.join("data");
    let month = newest_history(&data.canonicalize().expect("a path"));
    let rewritten = before
        .find(&format!("<{}>, \"id,prev,at", month.display()))
        .expect("the end of the month is written anew");
    let forced = |path: &Path| {
        let descriptor = format!("<{}>", path.display());
        before[rewritten..].lines().any(|line| line.contains("sync(") && line.contains(&descriptor))
    };
    assert!(forced(&month), "and forced");
    assert!(forced(&data.join("history")), "and so is its name");
    for folder in [&data, &dir] {
        let descriptor = format!("<{}>", folder.display());
        assert!(
            before.lines().any(|line| line.contains("sync(") && line.contains(&descriptor)),
            "{folder:?}"
        );
    }
    drop(again);
}

// "A folder's fsync that fails once"
#[test]
fn nothing_is_acknowledged_under_a_name_that_was_never_forced() {
    let dir = directory();
    let history = dir.path().canonicalize().expect("a path").join("data/history");
    fs::create_dir_all(&history).expect("made");
    let trace_file = tempfile::NamedTempFile::new().expect("a temporary file");
    let trace_path = trace_file.path().to_str().expect("UTF-8");
    let folder = history.to_str().expect("UTF-8");
    // Each thread's second fsync of the folder fails: the writer's, behind the rename of the month's file.
    let wrapper = ["strace", "-D", "-f", "-y", "-o", trace_path, "-P", folder, "-e", "trace=fsync"];
    let wrapper = [&wrapper[..], &["-e", "inject=fsync:error=EIO:when=2"]].concat();
    let server = Options::new().wrapped_in(&wrapper).start_in(dir);
    let mut alice = server.member("alice", "lobby");
    let say = json!({"type": "say", "room": "lobby", "text": "where?", "key": "k"});
    alice.expect_error("storage_unavailable", say.clone());
    alice.expect("ok", say);
    let trace = fs::read_to_string(trace_path).expect("a trace");
    let failed = trace.find("(INJECTED)").expect("it has failed");
    assert!(trace[failed..].contains("= 0"), "and was made good before the receipt: {trace}");
}

// "A page with a hole": a passing error
#[test]
fn a_page_of_which_one_row_cannot_be_read_now_is_refused_and_whole_the_next_time() {
    let mut server = Server::start();
    let mut alice = server.member("alice", "lobby");
    let said: Vec<u64> = (0..20).map(|n| id(&alice.say("lobby", &format!("text {n}")))).collect();
    server.stop();
    let month = newest_history(&server.data_dir());
    // Each thread's fifteenth read of the month fails: of a page of twenty that is one in the middle.
    let path = month.canonicalize().expect("a path");
    let wrapper =
        ["strace", "-D", "-f", "-o", "/dev/null", "-P", path.to_str().expect("UTF-8"), "-e", "trace=pread64"];
    let wrapper = [&wrapper[..], &["-e", "inject=pread64:error=EIO:when=15"]].concat();
    let server = Options::new().wrapped_in(&wrapper).start_in(Arc::clone(&server.dir));
    let mut alice = server.login("alice");
    let refused = alice.request(json!({"type": "join", "room": "lobby"}));
    assert_eq!(refused["code"], "storage_unavailable", "{refused}");
    let joined = eventually("a page can be read", || {
        let joined = alice.request(json!({"type": "join", "room": "lobby"}));
        (joined["type"] == "joined").then_some(joined)
    });
    assert_eq!(ids(&joined["messages"]), said, "nothing is missing");
    // The room remembers its newest messages: nobody else meets the hole.
    let joined = enter(&mut server.login("alice"));
    assert_eq!(ids(&joined["messages"]), said);
}

// "A page with a hole": lasting damage
#[test]
fn sixty_damaged_rows_do_not_end_a_catch_up() {
    let server = Server::start();
    let mut alice = server.member("alice", "lobby");
    let said: Vec<u64> = (0..400).map(|n| id(&alice.say("lobby", &format!("text {n}.")))).collect();
    let month = newest_history(&server.data_dir());
    // Row 0 is the header. The file keeps its length, and the server its open file.
    let mut text = fs::read_to_string(&month).expect("a file");
    for n in 100..160 {
        text = text.replace(&format!("text {n}."), &format!("text {n}!"));
    }
    {
        use std::os::unix::fs::FileExt;
        let file = fs::OpenOptions::new().write(true).open(&month).expect("a file");
        file.write_all_at(text.as_bytes(), 0).expect("spoiled");
    }
    let sound: Vec<u64> = said[..100].iter().chain(&said[160..]).copied().collect();
    for limit in [1, 50, 60, 500] {
        let (mut seen, mut after) = (Vec::<u64>::new(), 0);
        loop {
            let page = alice.expect(
                "history",
                json!({"type": "history", "room": "lobby", "after": after, "limit": limit}),
            );
            let found = ids(&page["messages"]);
            assert!(!found.is_empty(), "no page is empty while others follow");
            seen.extend(&found);
            after = *found.last().expect("one");
            if page["more"] == false {
                break;
            }
        }
        assert_eq!(seen, sound, "with pages of {limit}");
    }
    let (mut seen, mut before) = (Vec::<u64>::new(), MAX_ID);
    loop {
        let request = json!({"type": "history", "room": "lobby", "before": before, "limit": 45});
        let page = alice.expect("history", request);
        let mut found = ids(&page["messages"]);
        before = *found.first().expect("no page is empty while others lie before it");
        found.extend(seen);
        seen = found;
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(seen, sound, "and backwards");
}

// "Damage across a line's end"
#[test]
fn damage_across_the_end_of_a_line_costs_one_row_and_no_id_or_key_is_given_again() {
    let mut server = Server::start();
    let mut alice = server.member("alice", "lobby");
    let mut said = Vec::new();
    for n in 1..=6 {
        let say =
            json!({"type": "say", "room": "lobby", "text": format!("text {n}"), "key": format!("key {n}")});
        said.push(id(&alice.expect("ok", say)));
    }
    server.stop();
    let month = newest_history(&server.data_dir());
    let whole = fs::read(&month).expect("a file");
    let newlines: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] == b'\n').collect();
    // The last byte of row 5 and its newline.
    let last = whole[newlines[5] - 1];
    let other_digits = if matches!(last, b'1' | b'a') { [*b"22", *b"b,"] } else { [*b"12", *b"a,"] };
    for damage in [*b"##", *b"\"\"", [0, 0], *b"\n\n"].into_iter().chain(other_digits) {
        let mut spoiled = whole.clone();
        spoiled[newlines[5] - 1..=newlines[5]].copy_from_slice(&damage);
        fs::write(&month, spoiled).expect("written");
        let mut server = server.start_again();
        let mut alice = server.login("alice");
        let joined = enter(&mut alice);
        assert_eq!(
            texts(&joined["messages"]),
            ["text 1", "text 2", "text 3", "text 4", "text 6"],
            "{damage:?}"
        );
        let again = json!({"type": "say", "room": "lobby", "text": "text 6", "key": "key 6"});
        assert_eq!(id(&alice.expect("ok", again)), said[5], "its key is known");
        assert!(id(&alice.say("lobby", "text 7")) > said[5], "no id is given again");
        server.stop();
    }
}

/// A line of a history file.
fn row(id: u64, prev: u64, at: &str, text: &str) -> String {
    let fields = format!("{id},{prev},{at},lobby,alice,,{text},");
    format!("{fields},x{:08x}\n", crc32fast::hash(fields.as_bytes()))
}

// "A hole in an unsynced tail"
#[test]
fn what_stands_behind_a_hole_in_the_last_batch_is_set_aside() {
    const PAGE_BYTES: usize = 4_096;
    let mut server = Server::start();
    let mut alice = server.member("alice", "lobby");
    let said = [id(&alice.say("lobby", "one")), id(&alice.say("lobby", "two"))];
    server.stop();
    let month = newest_history(&server.data_dir());
    let acknowledged = fs::read(&month).expect("a file");
    // Of a batch over two pages the first one never got to the disk; with one time for all of it, as a batch
    // has, and with a time for each row, as no batch has.
    for is_batch in [true, false] {
        let mut content = acknowledged.clone();
        for n in 0..120 {
            let second = if is_batch { 0 } else { n % 60 };
            let at = format!("2026-11-25T12:00:{second:02}.000Z");
            content
                .extend(row(said[1] + 1 + n, said[1] + n, &at, &format!("unacknowledged {n}")).into_bytes());
        }
        let next_page = acknowledged.len().next_multiple_of(PAGE_BYTES);
        content[acknowledged.len()..next_page].fill(0);
        fs::write(&month, &content).expect("written");
        let mut server = server.start_again();
        let mut alice = server.login("alice");
        let joined = enter(&mut alice);
        let receipt = alice.say("lobby", "three");
        assert!(id(&receipt) > said[1] + 120, "no id is given again");
        if is_batch {
            assert_eq!(texts(&joined["messages"]), ["one", "two"]);
            assert_eq!(receipt["prev"], said[1], "what it names is there");
            let torn = fs::read(month.with_extension("torn")).expect("it is kept");
            assert!(String::from_utf8_lossy(&torn).contains("unacknowledged 119"));
            server.log_line(&["never got to the disk"]);
        } else {
            assert!(texts(&joined["messages"]).contains(&"unacknowledged 119".to_owned()), "damage, no hole");
        }
        server.stop();
    }
}

// Behind "Damage across a line's end": the same for what somebody else can say
#[test]
fn a_row_that_somebody_says_is_never_a_message_when_a_byte_rots() {
    let mut server = Server::start();
    let mut eve = server.member("eve", "lobby");
    let cells = "3,2,2026-11-21T18:05:21.311Z,lobby,alice,,I owe eve a fortune,";
    let text = format!("look: {cells},x{:08x}, and so on", crc32fast::hash(cells.as_bytes()));
    eve.say("lobby", &text);
    let last = id(&eve.say("lobby", "the last"));
    server.stop();
    let month = newest_history(&server.data_dir());
    let whole = fs::read(&month).expect("a file");
    let start = whole.windows(6).position(|part| part == b"look: ").expect("the text") + 5;
    for (at, byte) in
        [(start, b'\n'), (start, b'"'), (start - 6, b'#'), (start - 6, b'\n'), (whole.len() - 1, b'#')]
    {
        let mut spoiled = whole.clone();
        spoiled[at] = byte;
        fs::write(&month, spoiled).expect("written");
        for _ in 0..2 {
            server = server.start_again();
            let joined = enter(&mut server.login("eve"));
            let expected =
                if at < whole.len() - 1 { vec!["the last"] } else { vec![text.as_str(), "the last"] };
            assert_eq!(texts(&joined["messages"]), expected, "{byte} at {at}");
            server.stop();
        }
    }
    // The last row is damaged to its end, and set aside: no start forgets its id.
    fs::write(&month, &whole[..whole.len() - 3]).expect("cut");
    for _ in 0..2 {
        server = server.start_again();
        server.stop();
    }
    server = server.start_again();
    let mut eve = server.login("eve");
    eve.join("lobby");
    assert!(id(&eve.say("lobby", "after all")) > last);
}

// "The data directory is renamed or unmounted while the server runs"
#[test]
fn nothing_is_acknowledged_into_a_directory_that_is_not_the_locked_one() {
    let mut server = Server::start();
    let mut alice = server.member("alice", "lobby");
    let first = id(&alice.say("lobby", "before"));
    let (data, moved) = (server.data_dir(), server.dir.path().join("moved"));
    for replaced in [false, true] {
        fs::rename(&data, &moved).expect("moved");
        if replaced {
            fs::create_dir(&data).expect("another one is there");
        }
        alice.expect_error("storage_unavailable", json!({"type": "say", "room": "lobby", "text": "lost?"}));
        let status = server.console("status");
        assert!(status.contains("was moved"), "the operator can see why: {status}");
        let found = if replaced { kept_files_in(&data) } else { 0 };
        assert_eq!((data.exists(), found), (replaced, 0), "nothing is made there");
        if replaced {
            fs::remove_dir_all(&data).expect("removed");
        }
        fs::rename(&moved, &data).expect("put back");
        alice.say("lobby", &format!("after {replaced}"));
    }
    server.restart();
    let joined = enter(&mut server.login("alice"));
    assert_eq!(texts(&joined["messages"]), ["before", "after false", "after true"]);
    assert_eq!(ids(&joined["messages"])[0], first);
}

/// Files but for the log, which is opened anew wherever its path leads.
fn kept_files_in(folder: &Path) -> usize {
    let names = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    names.filter(|name| name != "veche.log").count()
}

// "A FIFO (or device, or link) in the place of any file", at the start
#[test]
fn a_pipe_or_a_link_in_the_place_of_any_file_never_hangs_a_start() {
    let mut server = Server::start();
    server.member("alice", "lobby").say("lobby", "here");
    server.stop();
    let data = server.data_dir();
    let month = newest_history(&data);
    let month = month.strip_prefix(&data).expect("below").to_str().expect("UTF-8");
    let names = [
        "key",
        "lock",
        "format",
        "clients.csv",
        "sessions.csv",
        "veche.log",
        "control.sock",
        "history",
        month,
    ];
    for name in names.into_iter().chain(["history/terms.txt", "devices.csv", "console_history"]) {
        let links = ["key", "clients.csv", "sessions.csv", month].contains(&name);
        for kind in if links { &["pipe", "link"][..] } else { &["pipe"] } {
            let dir = directory();
            let copied = std::process::Command::new("cp")
                .args(["-a", &data.display().to_string(), &dir.path().join("data").display().to_string()])
                .status();
            assert!(copied.expect("cp runs").success());
            let place = dir.path().join("data").join(name);
            let _ = fs::rename(&place, dir.path().join("aside"));
            if *kind == "pipe" {
                make_pipe(&place);
            } else {
                std::os::unix::fs::symlink("/dev/zero", &place).expect("linked");
            }
            let what = format!("{name} is a {kind}");
            match Options::new().try_start_in(&dir) {
                Ok(mut server) => server.stop(),
                Err((status, stderr)) => {
                    assert_eq!(status.code(), Some(1), "{what}: {stderr}");
                    assert_eq!(stderr.trim().lines().count(), 1, "{what}: one sentence: {stderr}");
                    let file = name.rsplit('/').next().expect("a name");
                    assert!(stderr.contains(file) && !stderr.contains("panic"), "{what}: {stderr}");
                }
            }
        }
    }
}

// "A FIFO (or device, or link) in the place of any file", while it runs
#[test]
fn a_pipe_that_takes_the_place_of_a_file_leaves_the_server_answering() {
    let mut server = Server::start();
    let mut alice = server.member("alice", "lobby");
    alice.say("lobby", "before");
    let data = server.data_dir();
    for path in [newest_history(&data), data.join("clients.csv"), data.join("sessions.csv")] {
        fs::remove_file(&path).expect("removed");
        make_pipe(&path);
    }
    alice.expect_error("storage_unavailable", json!({"type": "say", "room": "lobby", "text": "where to?"}));
    let status = server.console("status");
    assert!(status.contains("has to be a file"), "{status}");
    // Whatever they come to, they are answered.
    alice.request(json!({"type": "passwd", "old": PASSWORD, "new": "another password"}));
    server.connect().request(json!({"type": "register", "name": "bob", "password": PASSWORD}));
    server.connect().request(json!({"type": "login", "name": "alice", "password": PASSWORD}));
    server.console("clear log");
    fs::remove_file(newest_pipe(&data)).expect("removed");
    alice.say("lobby", "after");
    server.signal(Signal::TERM);
    server.wait();
}

fn newest_pipe(data: &Path) -> std::path::PathBuf {
    let folder = fs::read_dir(data.join("history")).expect("a folder");
    let mut months: Vec<_> = folder.filter_map(|entry| Some(entry.ok()?.path())).collect();
    months.retain(|path| path.extension().is_some_and(|ending| ending == "csv"));
    months.pop().expect("the pipe")
}

// "At the last id (2^53 - 1) a request never gets its reply"
#[test]
fn at_the_last_id_every_request_gets_its_reply() {
    let mut server = Server::start();
    server.member("alice", "lobby").say("lobby", "the first");
    server.stop();
    let month = newest_history(&server.data_dir());
    edit_line(&month, 1, |line| {
        let cells = line.rsplit_once(',').expect("a checksum").0.split_once(',').expect("an id").1;
        let row = format!("{},{cells}", MAX_ID - 2);
        format!("{row},x{:08x}", crc32fast::hash(row.as_bytes()))
    });
    let mut server = server.start_again();
    let (mut alice, mut bob) = (server.login("alice"), server.register("bob"));
    alice.join("lobby");
    bob.join("lobby");
    alice.event_of("presence");
    assert_eq!(id(&alice.say("lobby", "the last but one")), MAX_ID - 1);
    assert_eq!(id(&bob.say("lobby", "the last")), MAX_ID);
    for client in [&mut alice, &mut bob] {
        let say = json!({"type": "say", "room": "lobby", "text": "one more", "key": "k"});
        client.send(say.clone());
        client.send(json!({"type": "tell", "to": "bob", "text": "and one"}));
        client.send(json!({"type": "who"}));
        for kind in ["error", "error", "who"] {
            let reply = client.reply();
            assert_eq!(reply["type"], kind, "{reply}");
            assert!(kind == "who" || reply["code"] == "storage_unavailable", "{reply}");
        }
    }
    server.stop();
    let server = server.start_again();
    let joined = enter(&mut server.login("alice"));
    assert_eq!(ids(&joined["messages"]), [MAX_ID - 2, MAX_ID - 1, MAX_ID]);
}

// "The data directory carries a format number from now on, and a newer one is refused with a sentence"
#[test]
fn a_data_directory_of_a_newer_format_is_refused_and_an_older_one_is_read() {
    let mut server = Server::start();
    server.member("alice", "lobby").say("lobby", "here");
    server.stop();
    let format = server.data_dir().join("format");
    let ours = fs::read_to_string(&format).expect("it is there");
    fs::write(&format, "veche-data-format: 99\n").expect("written");
    let (status, stderr) = Options::new().try_start_in(&server.dir).err().expect("refused");
    assert_eq!(status.code(), Some(1));
    assert!(stderr.contains("format 99") && stderr.contains("newer veche"), "{stderr}");
    veche(&server.data_dir(), &["account", "list"], "").failure(1, &["format 99"]);
    fs::remove_file(&format).expect("as before there was a number");
    let server = server.start_again();
    assert_eq!(texts(&enter(&mut server.login("alice"))["messages"]), ["here"]);
    assert_eq!(fs::read_to_string(&format).expect("it is there"), ours);
}
