//! Every request: its reply, its `ref`, the order of replies, and the order of checks.

use serde_json::{Value, json};

use crate::support::{Client, PASSWORD, Server};

/// Every request in a form that a session in `lobby` may make, with the type of its reply. `pong` is not
/// among them, having none, nor are those that open a session.
fn in_session() -> Vec<(Value, &'static str)> {
    vec![
        (json!({"type": "identify", "name": "alice"}), "identified"),
        (json!({"type": "join", "room": "lobby"}), "joined"),
        (json!({"type": "say", "room": "lobby", "text": "hello"}), "ok"),
        (json!({"type": "tell", "to": "alice", "text": "note"}), "ok"),
        (json!({"type": "history", "room": "lobby"}), "history"),
        (json!({"type": "history", "with": "alice"}), "history"),
        (json!({"type": "inbox"}), "inbox"),
        (json!({"type": "rooms"}), "rooms"),
        (json!({"type": "who"}), "who"),
        (json!({"type": "who", "room": "lobby"}), "who"),
        (json!({"type": "passwd", "old": PASSWORD, "new": "another horse"}), "ok"),
        (json!({"type": "ping"}), "pong"),
        (json!({"type": "leave", "room": "lobby"}), "ok"),
        (json!({"type": "exit"}), "bye"),
    ]
}

/// Those that open a session.
fn opening() -> Vec<Value> {
    vec![
        json!({"type": "register", "name": "newcomer", "password": PASSWORD}),
        json!({"type": "login", "name": "alice", "password": PASSWORD}),
        json!({"type": "resume", "token": "AAAAAAAAAAAAAAAAAAAAAA"}),
    ]
}

// issue 2, line 3
#[test]
fn every_request_is_answered_once_with_its_ref_and_in_order() {
    let server = Server::start();
    let mut client = server.connect();
    client.open("register", "alice", PASSWORD);
    let requests = in_session();
    for (number, (request, _)) in requests.iter().enumerate() {
        let mut request = request.clone();
        request["ref"] = json!(format!("r{number}"));
        client.send(request);
    }
    for (number, (request, kind)) in requests.iter().enumerate() {
        let reply = client.reply();
        assert_eq!(reply["type"], *kind, "{request} was answered with {reply}");
        assert_eq!(reply["ref"], format!("r{number}"), "{reply}");
    }
    client.expect_end();
}

// issue 7: a malformed number deep in a request loses the `ref` that stood before it
#[test]
fn what_could_not_be_read_is_refused_with_its_ref() {
    let server = Server::with(&["limits.bad_frames=0"]);
    let mut client = server.connect();
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let crowd: Vec<String> = (0..100).map(|n| format!(r#""x{n}":{n}"#)).collect();
    for wrong in [
        r#""x":[{"y":1e999}]"#,
        r#""x":[1,{"y":18446744073709551616e999}]"#,
        r#""history":01"#,
        r#""x":"\ud800""#,
        r#""type":"ping","type":"ping""#,
        r#""room":"a","room":"b""#,
        &format!(r#""x":{deep}"#),
        &crowd.join(","),
        r#""type":7"#,
    ] {
        for payload in
            [format!(r#"{{"ref":"é","type":"join",{wrong}}}"#), format!(r#"{{{wrong},"ref":"é"}}"#)]
        {
            client.send_payload(payload.as_bytes());
            let reply = client.reply();
            assert_eq!((&reply["code"], &reply["ref"]), (&json!("bad_request"), &json!("é")), "{payload}");
        }
    }
    for cut in [&br#"{"type":"ping","ref":"r""#[..], b"{\"ref\":\"r\",\"x\":\"\xff\"}", br#"{"ref":"r"} {}"#]
    {
        client.send_payload(cut);
        assert_eq!(client.reply()["ref"], "r", "{}", String::from_utf8_lossy(cut));
    }
    client.expect("pong", json!({"type": "ping"}));
}

// issue 2, line 3
#[test]
fn requests_without_ref_get_replies_without() {
    let server = Server::start();
    let mut client = server.connect();
    for reply in [
        client.request(json!({"type": "identify", "name": "nobody"})),
        client.request(json!({"type": "ping"})),
        client.request(json!({"type": "samovar"})),
        client.open("register", "alice", PASSWORD),
        client.join("lobby"),
        client.say("lobby", "hello"),
    ] {
        assert!(reply.get("ref").is_none(), "{reply}");
    }
}

// issue 2, line 3
#[test]
fn refusals_carry_the_ref_too() {
    let server = Server::start();
    let mut client = server.connect();
    let longest = "é".repeat(32);
    for (request, code) in [
        (json!({"type": "samovar", "ref": longest}), "unknown_type"),
        (json!({"type": "identify", "ref": "a"}), "bad_request"),
        (json!({"type": "identify", "name": "a b", "ref": ""}), "bad_name"),
        (json!({"type": "say", "ref": "\u{0}\n"}), "unauthenticated"),
        (json!({"type": "login", "name": "nobody", "password": "x", "ref": "d"}), "wrong_password"),
    ] {
        let reference = request["ref"].clone();
        assert_eq!(client.expect_error(code, request)["ref"], reference);
    }
    let reply = client.expect_error("bad_request", json!({"type": "ping", "ref": "x".repeat(65)}));
    assert!(reply.get("ref").is_none(), "too long to be given back: {reply}");
    client.expect_error("bad_request", json!({"type": "ping", "ref": 7}));
}

// issue 2, line 3
#[test]
fn replies_stay_in_order_when_some_take_longer() {
    let server = Server::start();
    let mut client = server.member("alice", "lobby");
    let mut kinds = Vec::new();
    for round in 0..20 {
        let text = format!("round {round}");
        for (request, kind) in [
            (json!({"type": "say", "room": "lobby", "text": text}), "ok"),
            (json!({"type": "ping"}), "pong"),
            (json!({"type": "say", "room": "lobby", "text": text}), "ok"),
            (json!({"type": "tell", "to": "alice", "text": text}), "ok"),
            (json!({"type": "tell", "to": "nobody-there", "text": text}), "error"),
            (json!({"type": "say", "room": "elsewhere", "text": text}), "error"),
            (json!({"type": "join", "room": "attic"}), "joined"),
            (json!({"type": "history", "room": "lobby", "limit": 1}), "history"),
            (json!({"type": "who"}), "who"),
            (json!({"type": "leave", "room": "attic"}), "ok"),
        ] {
            let mut request = client.with_token(request);
            request["ref"] = json!(kinds.len().to_string());
            client.send_as_is(&request);
            kinds.push(kind);
        }
    }
    for (number, kind) in kinds.iter().enumerate() {
        let reply = client.reply();
        assert_eq!((&reply["ref"], &reply["type"]), (&json!(number.to_string()), &json!(kind)));
        if *kind == "history" {
            let shown = &reply["messages"][0]["text"];
            assert_eq!(*shown, format!("round {}", number / 10), "it sees what was said before it");
        }
    }
}

// issue 2, line 3
#[test]
fn pong_has_no_reply() {
    let server = Server::start();
    let mut client = server.connect();
    client.send(json!({"type": "pong", "ref": "none"}));
    assert_eq!(client.request(json!({"type": "ping", "ref": "1"})), json!({"type": "pong", "ref": "1"}));
}

// issue 2, line 3
#[test]
fn unknown_members_are_ignored_and_null_is_absent() {
    let server = Server::start();
    let mut client = server.connect();
    let request = json!({
        "type": "register", "name": "alice", "password": PASSWORD, "colour": {"deep": [1, 2.5, null]}, "ref": null,
        "token": null,
    });
    let reply = client.expect("session", request);
    client.token = reply["token"].as_str().unwrap().to_owned();
    let join = json!({"type": "join", "room": "lobby", "after": null, "history": null, "to": 7, "key": []});
    client.expect("joined", join);
    client.expect("ok", json!({"type": "say", "room": "lobby", "text": "x", "key": null}));
    client.expect("history", json!({"type": "history", "room": "lobby", "with": null, "before": null}));
}

/// A request of every kind whose members are all wrong, to see what is checked before them.
fn with_bad_members(kind: &str) -> Value {
    json!({
        "type": kind, "name": 1, "password": 1, "room": 1, "text": 1, "to": 1, "limit": -1, "after": [],
        "before": {}, "old": 1, "new": 1, "with": 1, "history": "x",
    })
}

/// The requests that need a session.
const NEED_SESSION: [&str; 9] =
    ["join", "leave", "say", "tell", "history", "inbox", "rooms", "who", "passwd"];

// issue 2, line 3
#[test]
fn the_session_is_checked_before_token_and_members() {
    let server = Server::start();
    let mut client = server.connect();
    for kind in NEED_SESSION {
        client.expect_error("unauthenticated", with_bad_members(kind));
    }
    client.open("register", "alice", PASSWORD);
    for kind in ["register", "login", "resume"] {
        let mut request = with_bad_members(kind);
        request["token"] = json!("wrong");
        client.expect_error("already_in_session", request);
    }
    client.join("lobby");
}

// issue 2, line 3
#[test]
fn the_token_is_checked_before_members_and_state() {
    let server = Server::start();
    let mut client = server.member("alice", "lobby");
    let stranger = server.register("stranger").token;
    for kind in NEED_SESSION.into_iter().chain(["identify"]) {
        for token in [json!("wrong"), json!(null), json!(7), json!(""), json!(stranger)] {
            let mut request = with_bad_members(kind);
            request["token"] = token;
            client.expect_error("bad_token", request);
        }
    }
    assert_eq!(client.whole_history("lobby"), Vec::<Value>::new(), "none of them did anything");
}

// issue 2, line 3
#[test]
fn members_are_checked_before_state() {
    let server = Server::start();
    let mut client = server.register("alice");
    client.expect_error("bad_text", json!({"type": "say", "room": "not-joined", "text": "\u{7}"}));
    client.expect_error("bad_room", json!({"type": "say", "room": "../x", "text": "x"}));
    client.expect_error("bad_text", json!({"type": "tell", "to": "nobody", "text": ""}));
    client.expect_error("bad_password", json!({"type": "passwd", "old": "wrong", "new": "short"}));
}

// issue 2, line 3
#[test]
fn members_that_are_missing_of_a_wrong_type_or_out_of_range_are_bad_requests() {
    let server = Server::with(&["limits.bad_frames=0"]);
    let mut client = server.member("alice", "lobby");
    let long_key = "k".repeat(65);
    for request in [
        json!({"type": "join"}),
        json!({"type": "join", "room": ["lobby"]}),
        json!({"type": "join", "room": "lobby", "history": 501}),
        json!({"type": "join", "room": "lobby", "history": -1}),
        json!({"type": "join", "room": "lobby", "history": 1.5}),
        json!({"type": "join", "room": "lobby", "after": 9_007_199_254_740_992_u64}),
        json!({"type": "join", "room": "lobby", "after": "1"}),
        json!({"type": "leave", "room": 1}),
        json!({"type": "say", "room": "lobby"}),
        json!({"type": "say", "room": "lobby", "text": true}),
        json!({"type": "say", "room": "lobby", "text": "x", "key": ""}),
        json!({"type": "say", "room": "lobby", "text": "x", "key": long_key}),
        json!({"type": "tell", "text": "x"}),
        json!({"type": "history"}),
        json!({"type": "history", "room": "lobby", "with": "bob"}),
        json!({"type": "history", "room": "lobby", "before": 1, "after": 1}),
        json!({"type": "history", "room": "lobby", "limit": 0}),
        json!({"type": "history", "room": "lobby", "limit": 501}),
        json!({"type": "inbox", "after": -1}),
        json!({"type": "inbox", "limit": 0}),
        json!({"type": "rooms", "limit": 0}),
        json!({"type": "who", "limit": "all"}),
        json!({"type": "passwd", "old": PASSWORD}),
        json!({"type": "identify"}),
    ] {
        client.expect_error("bad_request", request);
    }
    client.send_payload(br#"{"type":"history","room":"lobby","token":"x","limit":18446744073709551616}"#);
    assert_eq!(client.reply()["code"], "bad_token", "the token comes first");
    let request = format!(r#"{{"type":"inbox","token":"{}","after":18446744073709551616}}"#, client.token);
    client.send_payload(request.as_bytes());
    assert_eq!(client.reply()["code"], "bad_request", "2^64 is out of range, not a crash");
    client.say("lobby", "all is well");
}

// issue 2, line 3
#[test]
fn every_pair_of_requests_in_a_wrong_order_is_an_error_and_changes_nothing() {
    let server = Server::with(&["limits.bad_frames=0"]);
    drop(server.register("alice"));
    // Without a session: whatever comes first, what needs one is refused.
    for first in NEED_SESSION.into_iter().chain(["identify", "ping"]) {
        let mut client = server.connect();
        for second in NEED_SESSION {
            let first = if first == "identify" {
                json!({"type": first, "name": "x"})
            } else {
                json!({"type": first})
            };
            let kind = client.request(first)["type"].clone();
            assert!(["error", "identified", "pong"].contains(&kind.as_str().unwrap()), "{kind}");
            client.expect_error("unauthenticated", json!({"type": second, "room": "lobby", "text": "x"}));
        }
        assert_eq!(client.open("login", "alice", PASSWORD)["name"], "alice", "still able to log in");
    }
    // In a session: whatever was asked before, what opens one is refused, and the session goes on.
    for (request, _) in in_session() {
        if ["exit", "passwd"].contains(&request["type"].as_str().unwrap()) {
            continue;
        }
        let mut client = server.login("alice");
        client.join("lobby");
        for open in opening() {
            client.request(request.clone());
            client.expect_error("already_in_session", open);
        }
        client.expect("who", json!({"type": "who"}));
    }
    let mut client = server.login("alice");
    // In a session, but not in the room.
    for wrong in ["say", "leave"] {
        for also in ["say", "leave"] {
            client.expect_error("not_in_room", json!({"type": wrong, "room": "lobby", "text": "x"}));
            client.expect_error("not_in_room", json!({"type": also, "room": "attic", "text": "x"}));
        }
    }
    let said = client.whole_history("lobby");
    assert!(said.iter().all(|message| message["text"] == "hello"), "what was refused was not said: {said:?}");
    assert_eq!(client.whole_history("attic"), Vec::<Value>::new());
    let newcomer = client.expect("identified", json!({"type": "identify", "name": "newcomer"}));
    assert_eq!(newcomer["known"], false, "and nobody was registered");
}

// issue 2, line 3
#[test]
fn exit_is_for_connections_without_a_session_too_and_the_last_request() {
    let server = Server::start();
    let mut client = server.connect();
    client.send(json!({"type": "exit", "ref": "bye"}));
    client.send(json!({"type": "ping"}));
    let bye: Value = client.reply();
    assert_eq!((&bye["type"], &bye["reason"], &bye["ref"]), (&json!("bye"), &json!("exit"), &json!("bye")));
    client.expect_end();
    let _: Client = server.connect();
}
