//! Crashes: what was acknowledged is there afterwards, and the order of system calls that makes it so.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::support::client::{id, text};
use crate::support::{Client, Options, PASSWORD, Server, eventually};

/// How often the server is killed.
const ROUNDS: usize = 20;
/// How many talk at once.
const SENDERS: usize = 4;
/// Messages on the way of each of them.
const WINDOW: usize = 16;

/// What the server has promised, over all rounds.
#[derive(Default)]
struct Promised {
    /// The text of each message that has a receipt, by its id.
    messages: BTreeMap<u64, String>,
    accounts: Vec<String>,
}

// issue 2, lines 8, 10, 12 and 18
#[test]
fn what_was_acknowledged_outlives_every_kill() {
    let mut server = Server::start();
    for n in 0..SENDERS {
        drop(server.register(&format!("sender{n}")));
    }
    let mut promised = Promised::default();
    for round in 0..ROUNDS {
        kill_under_load(&mut server, round, &mut promised);
        server = server.start_again();
        check(&server, &promised);
    }
    assert!(promised.messages.len() > ROUNDS * 10, "there was load: {}", promised.messages.len());
    assert!(promised.accounts.len() > ROUNDS, "and people came: {}", promised.accounts.len());
}

/// Lets people talk and register, and kills the server when it has promised something.
fn kill_under_load(server: &mut Server, round: usize, promised: &mut Promised) {
    let (receipts, accounts) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let talkers: Vec<_> = (0..SENDERS)
        .map(|n| {
            let mut client = server.login(&format!("sender{n}"));
            client.join("lobby");
            let receipts = Arc::clone(&receipts);
            thread::spawn(move || talk_until_the_end(client, round, &receipts))
        })
        .collect();
    let address = server.address;
    let came = Arc::clone(&accounts);
    let newcomers = thread::spawn(move || register_until_the_end(address, round, &came));
    // Each round is killed at another moment.
    let enough = 20 + round * 13;
    eventually("there are receipts and accounts", || {
        let loaded = receipts.load(Ordering::Relaxed) >= enough && accounts.load(Ordering::Relaxed) >= 2;
        loaded.then_some(())
    });
    server.crash();
    for talker in talkers {
        promised.messages.extend(talker.join().expect("it talked"));
    }
    promised.accounts.extend(newcomers.join().expect("they came"));
}

/// Talks with several messages on the way; the receipts that came.
fn talk_until_the_end(mut client: Client, round: usize, count: &AtomicUsize) -> Vec<(u64, String)> {
    let mut receipts = Vec::new();
    let text = |name: &str, n: usize| format!("{round} {name} {n}");
    for n in 0.. {
        let text = text(&client.name, n);
        let say = json!({"type": "say", "room": "lobby", "key": text, "text": text, "ref": n.to_string()});
        if !client.try_send(say) {
            break;
        }
        if n >= WINDOW && !take_receipt(&mut client, &mut receipts) {
            break;
        }
        count.store(receipts.len().max(count.load(Ordering::Relaxed)), Ordering::Relaxed);
    }
    while take_receipt(&mut client, &mut receipts) {}
    let name = client.name;
    receipts.into_iter().enumerate().map(|(n, id)| (id, text(&name, n))).collect()
}

/// Waits for the next receipt, passing over events; whether there was one.
fn take_receipt(client: &mut Client, receipts: &mut Vec<u64>) -> bool {
    while let Some(payload) = client.next_payload() {
        let frame: Value = serde_json::from_slice(&payload).expect("JSON");
        match frame["type"].as_str() {
            Some("ok") => {
                assert_eq!(frame["ref"], receipts.len().to_string(), "in order");
                receipts.push(id(&frame));
                return true;
            }
            Some("message" | "presence") => {}
            _ => panic!("not expected here: {frame}"),
        }
    }
    false
}

/// Makes one account after the other; the names of those whose session was sent.
fn register_until_the_end(address: std::net::SocketAddr, round: usize, count: &AtomicUsize) -> Vec<String> {
    let mut names = Vec::new();
    let mut client = Client::raw(address);
    loop {
        let name = format!("r{round}n{}", names.len());
        let register = json!({"type": "register", "name": name, "password": PASSWORD});
        if client.next_payload().is_none() || !client.try_send(register) || client.next_payload().is_none() {
            return names;
        }
        names.push(name);
        count.fetch_add(1, Ordering::Relaxed);
        let Ok(stream) = std::net::TcpStream::connect(address) else { return names };
        client = Client::over(stream);
    }
}

fn check(server: &Server, promised: &Promised) {
    let mut reader = server.login("sender0");
    let history = reader.whole_history("lobby");
    assert!(history.iter().map(id).is_sorted_by(|a, b| a < b), "ids ascend over all crashes");
    let mut last_of: HashMap<String, (usize, usize)> = HashMap::new();
    let mut before = 0;
    for message in &history {
        assert_eq!(message["prev"], before, "nothing is missing between");
        before = id(message);
        let mut words = text(message).split(' ');
        let (round, sender, n) = (words.next(), words.next(), words.next());
        let number = |word: Option<&str>| word.and_then(|word| word.parse::<usize>().ok()).expect("a number");
        let place = (number(round), number(n));
        let sender = sender.expect("a name").to_owned();
        assert_eq!(message["from"], sender);
        let last = last_of.insert(sender, place);
        assert!(last.is_none_or(|last| last < place), "each once and in the order of its sender: {message}");
    }
    let stored: HashMap<u64, &str> = history.iter().map(|message| (id(message), text(message))).collect();
    for (id, text) in &promised.messages {
        assert_eq!(stored.get(id), Some(&text.as_str()), "message {id} had a receipt");
    }
    for name in &promised.accounts {
        let known = reader.expect("identified", json!({"type": "identify", "name": name}));
        assert_eq!(known["known"], true, "{name} had a session");
    }
    if let Some(name) = promised.accounts.last() {
        server.login(name);
    }
}

// issue 2, lines 7, 8 and 10: write, then fdatasync, then the acknowledgement
#[test]
fn nothing_is_acknowledged_before_the_fdatasync_that_covers_it() {
    let trace_file = tempfile::NamedTempFile::new().expect("a temporary file");
    let path = trace_file.path().to_str().expect("UTF-8").to_owned();
    let calls = "trace=write,writev,pwrite64,pwritev,sendto,sendmsg,fdatasync,fsync";
    // -D: the server stays our child, and strace is its helper. -y: descriptors are shown with their files.
    let wrapper = ["strace", "-D", "-f", "-y", "-s", "400", "-e", calls, "-o", &path];
    let is_there = std::process::Command::new("strace").arg("--version").output().is_ok();
    assert!(is_there, "this test needs strace; install it, or run the tests by tests/run");
    let mut server = Options::new().wrapped_in(&wrapper).start();
    let (mut alice, mut bob) = (server.member("alice", "lobby"), server.member("bob", "lobby"));
    for n in 0..10 {
        let reference = format!("receipt-{n}");
        alice.expect(
            "ok",
            json!({"type": "say", "room": "lobby", "text": format!("text-{n}."), "ref": reference}),
        );
        bob.message();
    }
    drop((alice, bob));
    server.stop();
    let trace = eventually("strace has written all", || {
        let trace = fs::read_to_string(&path).ok()?;
        let pid = server.pid().to_string();
        let is_end =
            |line: &str| line.split_whitespace().next() == Some(&pid) && line.ends_with("exited with 0 +++");
        trace.lines().any(is_end).then_some(trace)
    });
    let calls = read_trace(&trace);
    for n in 0..10 {
        let text = format!("text-{n}.");
        let stored = first(&calls, "history/", &text, 0);
        let synced = sync_after(&calls, "history/", stored);
        assert!(
            first(&calls, "socket:[", &format!(r#"\"receipt-{n}\""#), 0) > synced,
            "the receipt comes behind"
        );
        assert!(first(&calls, "socket:[", &text, 0) > synced, "and so does what others see");
    }
    // An account, and its session, are on the disk before the session is sent.
    for name in ["alice", "bob"] {
        let sent = first(&calls, "socket:[", &format!(r#"\"session\",\"name\":\"{name}\""#), 0);
        for file in ["clients.csv", "sessions.csv"] {
            let row =
                calls[..sent].iter().rposition(|call| call.is_write_to(file)).expect("a row was written");
            assert!(sync_after(&calls, file, row) < sent, "{file}: fdatasync, then the session of {name}");
        }
    }
}

/// A system call at the moment that matters: a write when it begins, a sync when it has succeeded.
struct Call<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl Call<'_> {
    fn is_write_to(&self, file: &str) -> bool {
        !self.name.ends_with("sync") && self.descriptor().contains(file)
    }

    /// The descriptor with its file, `7</data/history/2026-11.csv>`.
    fn descriptor(&self) -> &str {
        self.arguments.split(['>', ',']).next().unwrap_or_default()
    }
}

/// The calls of a trace, in the order in which they count.
fn read_trace(trace: &str) -> Vec<Call<'_>> {
    let mut calls = Vec::new();
    let mut unfinished: HashMap<&str, Call<'_>> = HashMap::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if rest.starts_with("<... f") {
            let sync = unfinished.remove(thread).expect("it has begun");
            if rest.ends_with("= 0") {
                calls.push(sync);
            }
            continue;
        }
        let Some((name, arguments)) = rest.split_once('(') else { continue };
        let call = Call { name, arguments };
        if name.ends_with("sync") && rest.ends_with("<unfinished ...>") {
            unfinished.insert(thread, call);
        } else if !name.ends_with("sync") || rest.ends_with("= 0") {
            calls.push(call);
        }
    }
    calls
}

/// The first write to a file, from a place on, that has these words.
fn first(calls: &[Call<'_>], file: &str, words: &str, from: usize) -> usize {
    let found =
        calls[from..].iter().position(|call| call.is_write_to(file) && call.arguments.contains(words));
    from + found.unwrap_or_else(|| panic!("nobody wrote {words} to {file}"))
}

/// The first successful sync of a file behind a write.
fn sync_after(calls: &[Call<'_>], file: &str, write: usize) -> usize {
    let is_sync = |call: &Call<'_>| call.name.ends_with("sync") && call.descriptor().contains(file);
    let found = calls[write..].iter().position(is_sync);
    write + found.unwrap_or_else(|| panic!("{file} was written and never synced"))
}
