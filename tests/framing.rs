//! Connections and frames: many, whole, split, joined, cut off and broken.

use std::fs;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::client::{frame, json_frame};
use crate::support::{Client, PASSWORD, Server, eventually};

/// The largest payload of the tests' server.
const MAX_FRAME: usize = 65_536;

// issue 2, line 1
#[test]
fn many_clients_are_served_at_once() {
    let server = Server::start();
    let mut clients: Vec<_> = (0..100).map(|n| server.member(&format!("user{n}"), "lobby")).collect();
    clients[0].say("lobby", "to all");
    for client in &mut clients[1..] {
        assert_eq!(client.message()["text"], "to all");
    }
}

// issue 2, line 1
#[test]
fn a_login_cut_at_any_byte_by_fin_or_reset_leaves_the_server_listening() {
    let mut server = Server::start();
    let login = json_frame(&json!({"type": "register", "name": "cut", "password": PASSWORD}));
    for cut in 0..login.len() {
        let mut client = Client::raw(server.address);
        client.send_bytes(&login[..cut]);
        if cut % 2 == 0 {
            drop(client);
        } else {
            client.reset();
        }
        let mut client = server.connect();
        client.send_bytes(&login[..cut]);
        if cut % 2 == 0 { client.reset() } else { drop(client) }
    }
    eventually("the cut connections are freed", || {
        server.console("status").contains("connections 0").then_some(())
    });
    let mut back = server.connect();
    let free = back.expect("identified", json!({"type": "identify", "name": "cut"}));
    assert_eq!(free["known"], false, "half a frame did nothing");
    back.open("register", "cut", PASSWORD);
}

// issue 2, line 1
#[test]
fn a_client_that_vanishes_in_a_session_can_come_back() {
    let server = Server::start();
    let mut stays = server.member("stays", "lobby");
    for how in ["fin", "reset", "half a frame", "exit"] {
        let mut guest = if how == "fin" { server.register("guest") } else { server.login("guest") };
        guest.join("lobby");
        assert_eq!(stays.event_of("presence")["status"], "joined");
        match how {
            "fin" => drop(guest),
            "reset" => guest.reset(),
            "half a frame" => {
                guest.send_bytes(&frame(b"{}")[..5]);
                drop(guest);
            }
            _ => {
                guest.send(json!({"type": "exit"}));
                guest.expect_bye("exit");
            }
        }
        let left = stays.event_of("presence");
        assert_eq!((&left["name"], &left["status"]), (&json!("guest"), &json!("left")), "after {how}");
    }
}

// issue 2, line 1
#[test]
fn a_client_that_only_stops_writing_still_gets_its_replies() {
    let server = Server::start();
    let mut client = server.connect();
    client.send(json!({"type": "register", "name": "quick", "password": PASSWORD, "ref": "1"}));
    client.send(json!({"type": "ping", "ref": "2"}));
    client.finish_writing();
    assert_eq!(client.reply()["type"], "session");
    assert_eq!(client.reply(), json!({"type": "pong", "ref": "2"}));
    client.expect_end();
}

// issue 2, line 1: the end of the stream comes while a receipt is under way
#[test]
fn the_receipt_that_is_under_way_is_the_last_thing_a_half_closed_client_gets() {
    let server = Server::start();
    let mut client = server.member("quick", "lobby");
    client.send(json!({"type": "say", "room": "lobby", "text": "last words", "ref": "say"}));
    client.finish_writing();
    assert_eq!(client.reply()["ref"], "say");
    client.expect_end();
}

// issue 2, line 2
#[test]
fn three_frames_split_at_every_place_are_the_same_as_whole() {
    let server = Server::start();
    let frames = [
        json_frame(&json!({"type": "ping", "ref": "ü€😀"})),
        json_frame(&json!({"type": "identify", "name": "борис", "ref": "б"})),
        json_frame(&json!({"type": "ping", "ref": "last"})),
    ]
    .concat();
    let mut client = server.connect();
    for cut in 1..frames.len() {
        client.send_bytes(&frames[..cut]);
        wait_until_read(&server, &client);
        client.send_bytes(&frames[cut..]);
        assert_eq!(client.reply(), json!({"type": "pong", "ref": "ü€😀"}), "cut at {cut}");
        let identified = json!({"type": "identified", "name": "борис", "known": false, "ref": "б"});
        assert_eq!(client.reply(), identified, "cut at {cut}");
        assert_eq!(client.reply(), json!({"type": "pong", "ref": "last"}), "cut at {cut}");
    }
}

// issue 2, line 2
#[test]
fn a_thousand_frames_in_one_write_get_a_thousand_replies_in_order() {
    let server = Server::start();
    let mut client = server.connect();
    let frames: Vec<_> =
        (0..1_000).map(|n| json_frame(&json!({"type": "ping", "ref": n.to_string()}))).collect();
    client.send_bytes(&frames.concat());
    for n in 0..1_000 {
        assert_eq!(client.reply(), json!({"type": "pong", "ref": n.to_string()}));
    }
}

// issue 2, line 2
#[test]
fn a_frame_that_is_too_large_ends_the_connection_before_its_payload_comes() {
    let server = Server::start();
    for length in [MAX_FRAME as u32 + 1, 0x8000_0000, u32::MAX] {
        let mut client = server.connect();
        client.send_bytes(&length.to_be_bytes());
        client.expect_dismissal("frame_too_large");
    }
}

// issue 2, line 2
#[test]
fn the_largest_frame_is_taken() {
    let server = Server::start();
    let mut client = server.connect();
    let mut request = json!({"type": "ping", "ref": "large", "padding": ""});
    let padding = MAX_FRAME - request.to_string().len();
    request["padding"] = json!("x".repeat(padding));
    assert_eq!(request.to_string().len(), MAX_FRAME);
    assert_eq!(client.request(request), json!({"type": "pong", "ref": "large"}));
}

// issue 2, line 2
#[test]
fn payloads_that_are_no_requests_are_refused_and_the_connection_stays() {
    let server = Server::start();
    let deep = |depth: usize| {
        format!("{{\"type\":\"ping\",\"x\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1))
    };
    let members = |count: usize| {
        let more: String = (1..count).map(|n| format!(",\"m{n}\":0")).collect();
        format!("{{\"type\":\"ping\"{more}}}")
    };
    let bad: [(&str, Vec<u8>); 19] = [
        ("nothing", vec![]),
        ("one byte", b"{".to_vec()),
        ("bad UTF-8", b"{\"type\":\"ping\",\"ref\":\"\xff\"}".to_vec()),
        ("a BOM", b"\xef\xbb\xbf{\"type\":\"ping\"}".to_vec()),
        ("an array", b"[]".to_vec()),
        ("a string", b"\"ping\"".to_vec()),
        ("two objects", b"{\"type\":\"ping\"}{\"type\":\"ping\"}".to_vec()),
        ("something behind it", b"{\"type\":\"ping\"} x".to_vec()),
        ("a member twice", b"{\"type\":\"ping\",\"ref\":\"a\",\"ref\":\"b\"}".to_vec()),
        ("type twice", b"{\"type\":\"ping\",\"type\":\"ping\"}".to_vec()),
        ("a member twice, once escaped", b"{\"type\":\"ping\",\"re\\u0066\":\"a\",\"ref\":\"b\"}".to_vec()),
        ("depth 129", deep(129).into_bytes()),
        ("65 members", members(65).into_bytes()),
        ("no type", b"{\"ref\":\"a\"}".to_vec()),
        ("type null", b"{\"type\":null}".to_vec()),
        ("type a number", b"{\"type\":1}".to_vec()),
        ("a lone surrogate", b"{\"type\":\"ping\",\"ref\":\"\\ud800\"}".to_vec()),
        ("1e999", b"{\"type\":\"ping\",\"x\":1e999,}".to_vec()),
        ("a bare control character", b"{\"type\":\"ping\",\"ref\":\"\n\"}".to_vec()),
    ];
    let mut client = server.connect();
    for (what, payload) in bad {
        client.send_payload(&payload);
        let reply = client.reply();
        assert_eq!(
            (&reply["type"], &reply["code"]),
            (&json!("error"), &json!("bad_request")),
            "{what}: {reply}"
        );
    }
    for good in [deep(128), members(64), "{\"type\":\"ping\",\"ref\":null}".into()] {
        client.send_payload(good.as_bytes());
        assert_eq!(client.reply(), json!({"type": "pong"}), "{good}");
    }
}

// issue 2, line 2
#[test]
fn twenty_bad_frames_are_forgiven_and_the_next_ends_the_connection() {
    let server = Server::start();
    let mut client = server.connect();
    for n in 0..20 {
        let bad = if n % 2 == 0 { json!({"no": "type"}) } else { json!({"type": "samovar"}) };
        assert_eq!(client.request(bad)["type"], "error");
    }
    assert_eq!(client.request(json!({"type": "ping"})), json!({"type": "pong"}), "still welcome");
    client.send(json!({"type": "samovar"}));
    client.expect_dismissal("too_many_errors");
}

// issue 2, line 2
#[test]
fn text_of_several_bytes_a_letter_comes_through_whole() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.member("alice", "lobby"), server.member("bob", "lobby"));
    let text = "Zażółć 日本語 🦀👩‍👩‍👧 e\u{301} \u{10ffff}\u{1}".replace('\u{1}', "");
    alice.say("lobby", &text);
    assert_eq!(bob.message()["text"], Value::from(text));
}

/// Waits until the server has read all that the client has sent, so that what is sent next comes by another
/// read. The kernel tells: `/proc/net/tcp` has the length of the server's receive queue.
fn wait_until_read(server: &Server, client: &Client) {
    let own = client.stream().local_addr().expect("a connected socket");
    let hex = |address: SocketAddr| {
        let SocketAddr::V4(address) = address else { panic!("the tests use IPv4") };
        format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
    };
    let ends = format!("{} {} ", hex(server.address), hex(own));
    eventually("the server reads", || {
        let table = fs::read_to_string("/proc/net/tcp").expect("Linux");
        let line = table.lines().find(|line| line.contains(&ends))?;
        let queues = line.split_whitespace().nth(4)?;
        queues.ends_with(":00000000").then_some(())
    });
}
