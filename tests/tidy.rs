//! The rules of the repository, as tests: what stays out of which room of the house, and that the documents
//! say what the code does. `ARCHITECTURE.md` and `CONTRIBUTING.md` give the reasons.
//!
//! - [`layers`]: who may import whom, and that every public type has a name of its own;
//! - [`documents`]: what documents name is there.

mod documents;
mod layers;

use std::fs;
use std::path::PathBuf;

/// A file is read as a whole by a person; one that has grown beyond this wants to be two. (We aim at 500.)
const MOST_LINES: usize = 650;

/// What must not appear in the code (comments and unit tests aside) of which files.
const ABSENCES: &[(&[&str], &[&str])] = &[
    // Pure decisions: no actors, no files, no sockets, no clock.
    (
        &["src/chat.rs", "src/chat/"],
        &[
            "actix",
            "actors::",
            "tokio",
            "std::fs",
            "TcpStream",
            "TcpListener",
            "UdpSocket",
            "Instant::now",
            "SystemTime",
            "Timestamp::now",
            "log::",
        ],
    ),
    // Files, and nothing that talks.
    (
        &["src/store.rs", "src/store/", "src/secrets.rs", "src/secrets/"],
        &["actix", "actors::", "tokio", "std::net::Tcp"],
    ),
    // Files are touched through a folder that is held open.
    (
        &["src/store/", "src/secrets.rs", "src/secrets/", "src/chat/"],
        &["std::fs", "OpenOptions", "fs::read", "fs::write", "fs::rename", "fs::remove"],
    ),
    // The dictionary of the wire says what can be said; it does nothing.
    (
        &["src/wire.rs", "src/wire/", "src/model.rs", "src/model/"],
        &["actix", "actors::", "tokio::", "std::fs", "TcpStream", "TcpListener", "UdpSocket"],
    ),
    // The ground floor stands on nothing of ours. A link in a comment is no import.
    (&["src/model.rs", "src/model/"], &["use crate::"]),
    // A byte stream, whatever it carries.
    (&["src/transport.rs", "src/transport/"], &["actix", "use crate::"]),
    // Frames know nothing of what is in them.
    (&["src/codec.rs"], &["serde", "actix", "actors::", "crate::wire::json", "crate::chat"]),
    // Options → settings → the task → exit status.
    (&["src/main.rs"], &["actix", "actors"]),
    // Actors talk in messages; what is shared is shared by one thread, or is an atomic.
    (&["src/actors/"], &["Mutex", "RwLock"]),
    // Nothing writes to the terminal behind the console's back.
    (&["src/"], &["println!", "eprintln!", "print!(", "dbg!", "todo!", "unimplemented!"]),
    // The client depends on the codec and the protocol alone.
    (&["client/src/"], &["actix", "todo!", "unimplemented!", "dbg!"]),
    // A wall clock that is set must not cost a connection: the session is told the time by one that counts.
    (
        &["client/src/session.rs", "client/src/session/", "client/src/driver.rs", "client/src/clock.rs"],
        &["SystemTime", "Timestamp::now", "Instant::now"],
    ),
];

/// Where a word may stand all the same, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    // The lock is the kernel's, on an open file; whose the directory is, the system's accounts tell.
    ("src/store/lock.rs", "std::fs"),
    ("src/store/lock.rs", "OpenOptions"),
    ("src/store/owner.rs", "std::fs"),
    ("src/store/owner.rs", "fs::read"),
    // What was stored comes by a channel that a task can wait for; nothing of it runs here.
    ("src/store/history/log.rs", "tokio"),
    // The hash threads, which are no actors, share the end of their queue.
    ("src/actors/auth/hashing.rs", "Mutex"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files below a folder whose names end like this, as paths from the root, with `/` between.
fn files(folder: &str, end: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                let path = path.strip_prefix(root()).expect("below the root");
                found.push(path.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    assert!(!found.is_empty(), "no *{end} below {folder}");
    found.sort();
    found
}

fn sources() -> Vec<String> {
    ["src", "client/src"].iter().flat_map(|folder| files(folder, ".rs")).collect()
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("tests.rs")
}

/// A file's code: no comments that fill a line, and nothing from its unit tests on, which stand last.
fn code(path: &str) -> Vec<(usize, String)> {
    let text = read(path);
    let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").enumerate();
    lines
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(number, line)| (number + 1, line.to_owned()))
        .collect()
}

#[test]
fn what_stays_out_stays_out() {
    let mut found = Vec::new();
    for path in sources().iter().filter(|path| !is_test_file(path)) {
        let rules = ABSENCES.iter().filter(|(places, _)| places.iter().any(|place| path.starts_with(place)));
        let words: Vec<_> = rules
            .flat_map(|(_, words)| words.iter())
            .filter(|word| !EXCEPTIONS.contains(&(path.as_str(), **word)))
            .collect();
        for (number, line) in code(path) {
            let bad = words.iter().filter(|word| line.contains(**word));
            found.extend(
                bad.map(|word| format!("{path}:{number}: `{word}` has no place here: {}", line.trim())),
            );
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_root_of_the_crate_is_a_reading_list() {
    for (number, line) in code("src/lib.rs") {
        let expected = ["pub mod ", "mod ", "pub use ", "#[", "#!["];
        let fits = line.is_empty() || expected.iter().any(|start| line.starts_with(start));
        assert!(fits, "src/lib.rs:{number}: logic lives in the modules, not here: {line}");
    }
}

#[test]
fn every_file_tells_a_newcomer_where_they_are() {
    for path in sources().iter().filter(|path| !is_test_file(path)) {
        assert!(read(path).starts_with("//! "), "{path} begins with no `//!` paragraph");
    }
}

#[test]
fn no_file_is_longer_than_one_reads() {
    for path in sources() {
        let lines = read(&path).lines().count();
        assert!(lines <= MOST_LINES, "{path} has {lines} lines; at most {MOST_LINES}, better 500");
    }
}
