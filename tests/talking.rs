//! Talking: one order for all, direct messages, who comes and goes, and the lists of names.

use std::collections::HashMap;
use std::thread;

use serde_json::{Value, json};

use crate::support::client::{id, ids, texts};
use crate::support::{Client, Server};

// issue 2, line 9
#[test]
fn what_several_say_at_once_comes_to_all_in_one_order() {
    const SENDERS: usize = 6;
    const EACH: usize = 100;
    let server = Server::start();
    let mut listeners: Vec<_> = (0..4).map(|n| server.member(&format!("listener{n}"), "market")).collect();
    let senders: Vec<_> = (0..SENDERS).map(|n| server.member(&format!("sender{n}"), "market")).collect();
    let senders: Vec<_> = senders.into_iter().map(|client| thread::spawn(|| talk(client, EACH))).collect();
    let spoken: Vec<_> = senders.into_iter().map(|sender| sender.join().expect("it talked")).collect();
    let mut closing = server.member("closing", "market");
    closing.say("market", "that is all");

    let heard: Vec<Vec<Value>> =
        listeners.iter_mut().map(|client| all_messages(client, "that is all")).collect();
    assert_eq!(heard[0].len(), SENDERS * EACH + 1);
    assert!(heard[0].iter().map(id).is_sorted_by(|a, b| a < b), "ascending, each once");
    assert!(heard.iter().all(|messages| *messages == heard[0]), "the same for all");
    let prevs: Vec<_> = heard[0].iter().map(|message| message["prev"].as_u64()).collect();
    let before: Vec<_> = std::iter::once(0).chain(heard[0].iter().map(id)).map(Some).collect();
    assert_eq!(prevs[..], before[..prevs.len()], "each names the one before it");

    // Senders hear all the others in the same order; their own count by their receipts.
    let by_id: HashMap<u64, &Value> = heard[0].iter().map(|message| (id(message), message)).collect();
    for (mut client, receipts) in spoken {
        let others = all_messages(&mut client, "that is all");
        let expected: Vec<_> =
            heard[0].iter().filter(|message| message["from"] != client.name).cloned().collect();
        assert_eq!(others, expected, "{} hears the others, and not itself", client.name);
        assert!(receipts.iter().map(id).is_sorted_by(|a, b| a < b), "in the order in which it spoke");
        for (n, receipt) in receipts.iter().enumerate() {
            let event = by_id[&id(receipt)];
            assert_eq!(event["text"], format!("{} says {n}", client.name));
            assert_eq!((&event["prev"], &event["at"]), (&receipt["prev"], &receipt["at"]));
        }
    }
}

fn talk(mut client: Client, count: usize) -> (Client, Vec<Value>) {
    for n in 0..count {
        let text = format!("{} says {n}", client.name);
        client.send(json!({"type": "say", "room": "market", "text": text}));
    }
    let receipts = (0..count).map(|_| client.reply()).collect();
    (client, receipts)
}

fn all_messages(client: &mut Client, last: &str) -> Vec<Value> {
    let events = client.events_until(last);
    events.into_iter().filter(|event| event["type"] == "message").collect()
}

// issue 2, line 9
#[test]
fn the_sender_gets_the_receipt_and_its_other_session_the_event() {
    let server = Server::start();
    let mut first = server.member("alice", "lobby");
    let mut second = server.login("alice");
    second.join("lobby");
    let mut bob = server.member("bob", "lobby");
    let receipt = first.say("lobby", "from the first");
    assert_eq!(id(&second.message()), id(&receipt));
    assert_eq!(id(&bob.message()), id(&receipt));
    bob.say("lobby", "an answer");
    assert_eq!(first.message()["text"], "an answer", "its own did not come before");
}

// issue 2, line 9
#[test]
fn a_room_is_heard_between_joined_and_the_reply_to_leave() {
    let server = Server::start();
    let mut alice = server.member("alice", "lobby");
    let mut bob = server.register("bob");
    alice.say("lobby", "before");
    let joined = bob.expect("joined", json!({"type": "join", "room": "lobby"}));
    assert_eq!(texts(&joined["messages"]), ["before"]);
    alice.say("lobby", "between");
    assert_eq!(bob.message()["text"], "between");
    assert_eq!(bob.expect("ok", json!({"type": "leave", "room": "lobby"})), json!({"type": "ok"}));
    alice.say("lobby", "after");
    alice.tell("bob", "a word");
    assert_eq!(bob.message()["text"], "a word", "nothing of the room came before it");
    bob.expect_error("not_in_room", json!({"type": "leave", "room": "lobby"}));
    bob.expect_error("not_in_room", json!({"type": "say", "room": "lobby", "text": "x"}));
}

// issue 2, line 9
#[test]
fn rooms_do_not_hear_each_other() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.member("alice", "tea"), server.member("bob", "coffee"));
    alice.say("tea", "tea is better");
    bob.say("coffee", "coffee is better");
    alice.tell("bob", "what did you say?");
    assert_eq!(bob.message()["text"], "what did you say?");
    let receipt = alice.say("tea", "hm");
    assert_eq!(id(&receipt) - 3, receipt["prev"].as_u64().unwrap(), "`prev` counts within the room");
}

// issue 2, line 9
#[test]
fn joining_again_gives_the_same_reply_and_no_presence() {
    let server = Server::start();
    let mut alice = server.member("alice", "lobby");
    let mut bob = server.register("bob");
    let join = json!({"type": "join", "room": "lobby"});
    let first = bob.expect("joined", join.clone());
    assert_eq!(bob.expect("joined", join.clone()), first);
    assert_eq!(alice.event_of("presence")["name"], "bob");
    assert_eq!(bob.expect("joined", join.clone()), first);
    let _carol = server.member("carol", "lobby");
    assert_eq!(alice.event_of("presence")["name"], "carol", "nobody is told of the third");
    assert_eq!(bob.event_of("presence")["name"], "carol");
    alice.say("lobby", "and each message once");
    alice.say("lobby", "end");
    let heard: Vec<_> = bob.events_until("end").iter().map(|event| event["text"].clone()).collect();
    assert_eq!(heard, ["and each message once", "end"]);
}

// issue 2, line 9
#[test]
fn a_room_has_one_name_however_it_is_written() {
    let server = Server::start();
    let mut alice = server.member("alice", "Tee-Haus");
    let mut bob = server.register("bob");
    let joined = bob.expect("joined", json!({"type": "join", "room": "ＴＥＥ-haus"}));
    assert_eq!((&joined["room"], &joined["members"]), (&json!("tee-haus"), &json!(2)));
    bob.say("tee-HAUS", "found");
    assert_eq!(alice.message()["room"], "tee-haus");
}

// issue 2, line 9
#[test]
fn presence_tells_of_the_first_session_and_of_the_last() {
    let server = Server::start();
    let mut watcher = server.member("watcher", "lobby");
    let mut first = server.member("alice", "lobby");
    let mut second = server.login("alice");
    let told = watcher.event_of("presence");
    assert_eq!((&told["name"], &told["status"]), (&json!("alice"), &json!("joined")));
    assert!(told["at"].as_str().unwrap().ends_with('Z'));
    second.join("lobby");
    first.send(json!({"type": "exit"}));
    first.expect_bye("exit");
    let _bob = server.member("bob", "lobby");
    assert_eq!(watcher.event_of("presence")["name"], "bob", "alice is still there");
    drop(second);
    let left = watcher.event_of("presence");
    assert_eq!(
        (&left["name"], &left["status"]),
        (&json!("alice"), &json!("left")),
        "a lost connection leaves"
    );
}

// issue 2, line 9
#[test]
fn nobody_hears_about_himself() {
    let server = Server::start();
    let mut first = server.member("alice", "lobby");
    let mut second = server.login("alice");
    second.join("lobby");
    second.expect("ok", json!({"type": "leave", "room": "lobby"}));
    second.join("lobby");
    let mut bob = server.member("bob", "lobby");
    assert_eq!(first.event_of("presence")["name"], "bob");
    assert_eq!(second.event_of("presence")["name"], "bob");
    bob.say("lobby", "end");
    assert_eq!(first.event()["text"], "end");
}

// issue 2, line 9
#[test]
fn large_rooms_are_spared_presence() {
    let server = Server::with(&["limits.presence_members=2"]);
    let mut alice = server.member("alice", "lobby");
    let mut bob = server.member("bob", "lobby");
    assert_eq!(alice.event_of("presence")["name"], "bob", "two are not too many");
    let mut carol = server.member("carol", "lobby");
    carol.say("lobby", "three are");
    let kinds: Vec<_> = alice.events_until("three are").iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds, ["message"]);
    assert_eq!(bob.event()["type"], "message");
}

// issue 2, line 9
#[test]
fn a_direct_message_reaches_both_accounts_sessions_and_nobody_else() {
    let server = Server::start();
    let mut alice = server.member("alice", "lobby");
    let mut alice_too = server.login("alice");
    let (mut bob, mut bob_too) = (server.register("bob"), server.login("bob"));
    let mut carol = server.member("carol", "lobby");
    let receipt = alice.tell("Bob", "between us");
    for session in [&mut alice_too, &mut bob, &mut bob_too] {
        let direct_message = session.message();
        assert_eq!((&direct_message["from"], &direct_message["to"]), (&json!("alice"), &json!("bob")));
        assert_eq!((id(&direct_message), &direct_message["text"]), (id(&receipt), &json!("between us")));
        assert!(direct_message.get("room").is_none(), "{direct_message}");
    }
    alice.say("lobby", "for all");
    assert_eq!(carol.message()["text"], "for all", "nothing before it");
}

// issue 2, lines 9 and 12
#[test]
fn a_letter_to_someone_who_is_away_is_found_in_inbox_and_history() {
    let mut server = Server::start();
    let mut bob = server.register("bob");
    let mut alice = server.register("alice");
    let mut carol = server.register("carol");
    bob.send(json!({"type": "exit"}));
    bob.expect_bye("exit");
    let first = alice.tell("bob", "are you there?");
    let second = carol.tell("bob", "it is me, carol");
    let third = alice.tell("bob", "no matter");
    assert_eq!(third["prev"], first["id"], "`prev` counts between the two");
    drop((alice, carol));
    server.restart();

    let mut bob = server.login("bob");
    let inbox = bob.expect("inbox", json!({"type": "inbox"}));
    assert_eq!(ids(&inbox["messages"]), [id(&first), id(&second), id(&third)]);
    assert_eq!(inbox["more"], false);
    let rest = bob.expect("inbox", json!({"type": "inbox", "after": id(&first), "limit": 1}));
    assert_eq!((ids(&rest["messages"]), &rest["more"]), (vec![id(&second)], &json!(true)));
    let with_alice = bob.expect("history", json!({"type": "history", "with": "Alice"}));
    assert_eq!(with_alice["with"], "alice");
    assert_eq!(texts(&with_alice["messages"]), ["are you there?", "no matter"]);
    let mut alice = server.login("alice");
    let with_bob = alice.expect("history", json!({"type": "history", "with": "bob"}));
    assert_eq!(with_bob["messages"], with_alice["messages"], "the same from both ends");
}

// issue 2, line 9
#[test]
fn one_may_tell_oneself() {
    let server = Server::start();
    let (mut here, mut there) = (server.register("alice"), server.login("alice"));
    let receipt = here.tell("alice", "do not forget the milk");
    assert_eq!(id(&there.message()), id(&receipt));
    let inbox = here.expect("inbox", json!({"type": "inbox"}));
    assert_eq!(ids(&inbox["messages"]), [id(&receipt)], "once");
}

// issue 2, line 9
#[test]
fn who_and_rooms_list_sorted_names_page_by_page() {
    let server = Server::start();
    let mut people: Vec<_> =
        ["dora", "Anna", "ben", "cyril"].iter().map(|name| server.member(name, "lobby")).collect();
    let _twin = server.login("ben");
    let mut asks = server.register("zoe");
    let who = |asks: &mut Client, request: Value| {
        let reply = asks.expect("who", request);
        (reply["names"].clone(), reply["more"].as_bool().unwrap())
    };
    let all = json!(["anna", "ben", "cyril", "dora", "zoe"]);
    assert_eq!(who(&mut asks, json!({"type": "who"})), (all, false));
    let page = who(&mut asks, json!({"type": "who", "limit": 2, "after": "anna"}));
    assert_eq!(page, (json!(["ben", "cyril"]), true));
    let inside = json!(["anna", "ben", "cyril", "dora"]);
    assert_eq!(who(&mut asks, json!({"type": "who", "room": "LOBBY"})), (inside, false));
    let page = who(&mut asks, json!({"type": "who", "room": "lobby", "after": "cyril"}));
    assert_eq!(page, (json!(["dora"]), false));
    assert_eq!(who(&mut asks, json!({"type": "who", "room": "nowhere"})), (json!([]), false));

    people[0].join("alpha");
    people[1].join("zeta");
    people[2].join("zeta");
    let rooms = asks.expect("rooms", json!({"type": "rooms"}));
    let expected = json!([
        {"room": "alpha", "members": 1}, {"room": "lobby", "members": 4}, {"room": "zeta", "members": 2}
    ]);
    assert_eq!((&rooms["rooms"], &rooms["more"]), (&expected, &json!(false)));
    let page = asks.expect("rooms", json!({"type": "rooms", "after": "alpha", "limit": 1}));
    assert_eq!((&page["rooms"], &page["more"]), (&json!([{"room": "lobby", "members": 4}]), &json!(true)));
}

// issue 2, line 9
#[test]
fn the_lobby_is_always_there_and_other_rooms_while_somebody_is() {
    let server = Server::start();
    let mut alice = server.register("alice");
    let rooms = |client: &mut Client| client.expect("rooms", json!({"type": "rooms"}))["rooms"].clone();
    assert_eq!(rooms(&mut alice), json!([{"room": "lobby", "members": 0}]));
    alice.join("attic");
    alice.expect("ok", json!({"type": "leave", "room": "attic"}));
    assert_eq!(rooms(&mut alice), json!([{"room": "lobby", "members": 0}]));
}

// issue 2, line 9: "`lobby` always exists"
#[test]
fn the_lobby_is_open_also_when_no_other_room_may_be_made() {
    let server = Server::with(&["limits.rooms=1", "limits.new_rooms_per_minute=1"]);
    let mut alice = server.register("alice");
    alice.join("attic");
    alice.expect_error("rate_limited", json!({"type": "join", "room": "cellar"}));
    alice.join("lobby");
    alice.say("lobby", "here");
}
