//! Reading the past: pages both ways, and the seam between pages and events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::client::{id, ids, texts};
use crate::support::{Client, PATIENCE, Server, eventually};

/// Says so many numbered things in a room, all at once; the ids.
fn fill(client: &mut Client, room: &str, count: usize) -> Vec<u64> {
    for n in 0..count {
        client.send(json!({"type": "say", "room": room, "text": format!("number {n}")}));
    }
    (0..count).map(|_| id(&client.reply())).collect()
}

// issue 2, line 11
#[test]
fn pages_walk_the_whole_past_both_ways() {
    let mut server = Server::start();
    let mut alice = server.member("alice", "lobby");
    alice.join("attic");
    let mut all = Vec::new();
    for _ in 0..5 {
        all.extend(fill(&mut alice, "lobby", 50));
        fill(&mut alice, "attic", 20);
    }
    for restarted in [false, true] {
        if restarted {
            server.restart();
        }
        let mut bob = if restarted { server.login("bob") } else { server.register("bob") };
        for limit in [1, 7, 50, 249, 250, 251, 500] {
            let forwards = walk(&mut bob, limit, "after", 0);
            assert_eq!(forwards.concat(), all, "forwards by {limit}");
            let mut backwards = walk(&mut bob, limit, "before", 9_007_199_254_740_991);
            backwards.reverse();
            assert_eq!(backwards.concat(), all, "backwards by {limit}");
        }
    }
}

/// All pages of `lobby` in one direction, each as its ids.
fn walk(client: &mut Client, limit: usize, direction: &str, mut at: u64) -> Vec<Vec<u64>> {
    let mut pages = Vec::new();
    loop {
        let mut request = json!({"type": "history", "room": "lobby", "limit": limit});
        request[direction] = json!(at);
        let page = client.expect("history", request);
        let ids = ids(&page["messages"]);
        assert!(ids.len() <= limit && ids.is_sorted(), "oldest first");
        let edge = if direction == "after" { ids.last() } else { ids.first() };
        at = edge.copied().unwrap_or(at);
        pages.push(ids);
        if page["more"] == false {
            return pages;
        }
    }
}

// issue 2, line 11
#[test]
fn the_edges_of_pages_are_where_the_contract_puts_them() {
    let server = Server::start();
    let mut alice = server.member("alice", "lobby");
    let said = fill(&mut alice, "lobby", 60);
    let mut page = |request: Value| {
        let reply = alice.expect("history", request);
        (ids(&reply["messages"]), reply["more"].as_bool().unwrap())
    };
    let of_lobby = |more: Value| {
        let mut request = json!({"type": "history", "room": "lobby"});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    assert_eq!(page(of_lobby(json!({}))), (said[10..].to_vec(), true), "the newest 50");
    assert_eq!(page(of_lobby(json!({"limit": 60}))), (said.clone(), false));
    assert_eq!(page(of_lobby(json!({"before": said[3], "limit": 3}))), (said[..3].to_vec(), false));
    assert_eq!(page(of_lobby(json!({"before": said[3], "limit": 2}))), (said[1..3].to_vec(), true));
    assert_eq!(page(of_lobby(json!({"before": said[0]}))), (vec![], false));
    assert_eq!(page(of_lobby(json!({"before": 0}))), (vec![], false));
    assert_eq!(page(of_lobby(json!({"after": said[57]}))), (said[58..].to_vec(), false));
    assert_eq!(page(of_lobby(json!({"after": said[57], "limit": 1}))), (vec![said[58]], true));
    assert_eq!(page(of_lobby(json!({"after": said[59]}))), (vec![], false));
    assert_eq!(page(json!({"type": "history", "room": "unknown"})), (vec![], false));
}

// issue 2, line 11
#[test]
fn a_page_holds_what_fits_into_a_frame_and_says_that_there_is_more() {
    let server = Server::start();
    let mut alice = server.member("alice", "lobby");
    let long = "\u{1f980}".repeat(1_024);
    let said: Vec<_> = (0..40).map(|_| id(&alice.say("lobby", &long))).collect();
    let newest = alice.expect("history", json!({"type": "history", "room": "lobby", "limit": 500}));
    assert!(newest.to_string().len() <= 65_536 && newest["more"] == true);
    let shown = ids(&newest["messages"]);
    assert!(shown.len() > 10 && said.ends_with(&shown), "the newest that fit");
    assert_eq!(ids(&json!(alice.whole_history("lobby"))), said, "nothing is lost between pages");
    let joined =
        alice.expect("joined", json!({"type": "join", "room": "lobby", "after": said[0], "history": 500}));
    assert_eq!(joined["more"], true);
    assert!(said[1..].starts_with(&ids(&joined["messages"])), "the oldest behind it");
}

// issue 2, line 11
#[test]
fn join_brings_the_newest_or_what_follows_an_id() {
    let mut server = Server::start();
    let mut alice = server.member("alice", "lobby");
    let said = fill(&mut alice, "lobby", 200);
    for restarted in [false, true] {
        if restarted {
            server.restart();
        }
        let mut bob = if restarted { server.login("bob") } else { server.register("bob") };
        let mut join = |request: Value| {
            let reply = bob.expect("joined", request);
            (ids(&reply["messages"]), reply["more"].as_bool().unwrap())
        };
        assert_eq!(join(json!({"type": "join", "room": "lobby"})), (said[150..].to_vec(), true));
        assert_eq!(join(json!({"type": "join", "room": "lobby", "history": 0})), (vec![], true));
        assert_eq!(join(json!({"type": "join", "room": "lobby", "history": 500})), (said.clone(), false));
        let after = |id: u64, history: usize| json!({"type": "join", "room": "lobby", "after": id, "history": history});
        assert_eq!(join(after(said[9], 5)), (said[10..15].to_vec(), true));
        assert_eq!(join(after(said[189], 50)), (said[190..].to_vec(), false));
        assert_eq!(join(after(said[199], 50)), (vec![], false));
        assert_eq!(join(after(said[198], 0)), (vec![], true));
        assert_eq!(join(after(0, 500)), (said.clone(), false));
        assert_eq!(join(json!({"type": "join", "room": "new"})), (vec![], false));
    }
}

/// Messages that fit into an outbox, events and all.
const MOST_SAID: usize = 2_000;

// issue 2, line 11
#[test]
fn join_pages_and_events_miss_nothing_and_repeat_nothing_while_others_talk() {
    let server = Server::start();
    let mut talker = server.member("talker", "lobby");
    let first = fill(&mut talker, "lobby", 30);
    let enough = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&enough);
    let talking = thread::spawn(move || {
        // What is said waits for those who have joined already: not more of it than may wait for anybody.
        let mut said = 0;
        while !until.load(Ordering::Relaxed) && said < MOST_SAID {
            fill(&mut talker, "lobby", 5);
            said += 5;
        }
        eventually("all have caught up", || until.load(Ordering::Relaxed).then_some(()));
        talker.say("lobby", "that is all");
        talker
    });
    let mut joiners: Vec<_> = (0..8).map(|n| server.register(&format!("joiner{n}"))).collect();
    let mut caught_up = Vec::new();
    for (n, joiner) in joiners.iter_mut().enumerate() {
        // Some of them fetch small pages, some large, one joins without `after`.
        let limit = [1, 2, 5, 10, 50, 200, 500, 3][n];
        caught_up.push(if n == 7 { newest(joiner) } else { catch_up(joiner, first[9], limit) });
    }
    enough.store(true, Ordering::Relaxed);
    let mut talker = talking.join().expect("it talked");
    let all: Vec<_> = talker.whole_history("lobby").iter().map(id).collect();
    for (joiner, mut seen) in joiners.iter_mut().zip(caught_up) {
        let events = joiner.events_until("that is all");
        seen.extend(events.iter().filter(|event| event["type"] == "message").map(id));
        let start = all.iter().position(|id| Some(id) == seen.first()).expect("a message that was said");
        assert_eq!(seen, all[start..], "{}", joiner.name);
    }
}

/// Joins after an id and fetches the pages until there are no more, as the contract tells clients to.
fn catch_up(client: &mut Client, after: u64, limit: usize) -> Vec<u64> {
    let joined =
        client.expect("joined", json!({"type": "join", "room": "lobby", "after": after, "history": limit}));
    let mut seen = ids(&joined["messages"]);
    let mut more = joined["more"] == true;
    let start = Instant::now();
    while more {
        // They end where the events begin, however much is said meanwhile.
        assert!(start.elapsed() < PATIENCE, "the pages do not end");
        let after = *seen.last().expect("pages are not empty while there is more");
        let request = json!({"type": "history", "room": "lobby", "after": after, "limit": limit});
        let page = client.expect("history", request);
        seen.extend(ids(&page["messages"]));
        more = page["more"] == true;
    }
    seen
}

fn newest(client: &mut Client) -> Vec<u64> {
    let joined = client.expect("joined", json!({"type": "join", "room": "lobby", "history": 3}));
    ids(&joined["messages"])
}

// issue 2, lines 9 and 11
#[test]
fn direct_messages_page_like_rooms() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.register("alice"), server.register("bob"));
    let mut all = Vec::new();
    for n in 0..30 {
        let (from, to) = if n % 3 == 0 { (&mut bob, "alice") } else { (&mut alice, "bob") };
        all.push(id(&from.tell(to, &format!("direct message {n}"))));
    }
    let page =
        alice.expect("history", json!({"type": "history", "with": "bob", "limit": 10, "before": all[20]}));
    assert_eq!((ids(&page["messages"]), &page["more"]), (all[10..20].to_vec(), &json!(true)));
    let page =
        bob.expect("history", json!({"type": "history", "with": "alice", "limit": 10, "after": all[20]}));
    assert_eq!((ids(&page["messages"]), &page["more"]), (all[21..].to_vec(), &json!(false)));
    let page = bob.expect("inbox", json!({"type": "inbox", "limit": 500}));
    assert_eq!(texts(&page["messages"]).len(), 30);
    let prevs: Vec<_> =
        page["messages"].as_array().unwrap().iter().map(|m| m["prev"].as_u64().unwrap()).collect();
    assert_eq!(prevs[1..], all[..29]);
}

// issue 2, lines 3 and 11: a reader that falls behind is waited for, and not forgotten
#[test]
fn pages_that_are_asked_for_faster_than_they_are_read_all_come() {
    let server = Server::with(&["limits.outbox_bytes=131072", "limits.socket_send_buffer_bytes=16384"]);
    let mut alice = server.member("alice", "lobby");
    let text = "x".repeat(4_096);
    for _ in 0..20 {
        alice.say("lobby", &text);
    }
    for round in 0..5 {
        let mut reader = server.login("alice");
        socket2::SockRef::from(reader.stream()).set_recv_buffer_size(16_384).expect("a TCP socket");
        let asked: Vec<_> = (0..60).map(|number| format!("{round}.{number}")).collect();
        for reference in &asked {
            reader.send(json!({"type": "history", "room": "lobby", "limit": 500, "ref": reference}));
        }
        // Long enough for the server to have filled every buffer between the two.
        std::thread::sleep(std::time::Duration::from_millis(100 * round));
        for reference in &asked {
            assert_eq!(reader.reply()["ref"], json!(reference));
        }
    }
}
