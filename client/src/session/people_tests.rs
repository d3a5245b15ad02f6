//! What a person relies on: a line goes where it was said to go or comes back, and whoever waits is told.

use serde_json::json;

use super::tests::{AT, Bench, receipt, session};
use super::*;

// issue 7: "Nobody is told"
#[test]
fn a_message_without_a_receipt_is_told_once_and_so_is_its_end() {
    let mut bench = Bench::in_lobby();
    bench.say("hello?");
    let say = bench.expect("say");
    bench.pass(1);
    assert!(bench.told().is_empty(), "two seconds are not over");
    bench.pass(1);
    let told = bench.told();
    assert!(told.len() == 1 && told[0].contains("no receipt yet"), "{told:?}");
    (0..20).for_each(|_| bench.pass(1));
    bench.say("still there?");
    assert!(bench.told().is_empty(), "once");
    bench.reply(&say, receipt(6, 5));
    assert!(bench.told().is_empty(), "the second has none yet");
    let say = bench.expect("say");
    bench.reply(&say, receipt(7, 6));
    let told = bench.told();
    assert!(told.len() == 1 && told[0].contains("receipts now"), "{told:?}");
    bench.say("one more");
    bench.pass(2);
    assert_eq!(bench.told().len(), 1, "another wait is told again");
}

// issue 7: "Nobody is told"
#[test]
fn what_the_client_does_about_it_is_told_for_each_cause() {
    let mut bench = Bench::in_lobby();
    let full = json!({"type": "error", "code": "storage_unavailable", "text": "x", "retry_after_ms": 1000});
    bench.say("full?");
    for _ in 0..5 {
        let say = bench.expect("say");
        bench.reply(&say, full.clone());
        bench.pass(1);
    }
    let told = bench.told();
    assert!(told.len() == 1 && told[0].contains("cannot store"), "{told:?}");
    bench.sent.clear();
    bench.lose();
    bench.pass(0);
    let told = bench.told();
    assert!(told.len() == 1 && told[0].contains("there is no connection"), "{told:?}");
    // A new connection is given its own two seconds.
    let resume = bench.reconnect();
    bench.reply(&resume, session("T2"));
    bench.pass(1);
    assert!(bench.told().is_empty());
    bench.pass(1);
    assert!(bench.told().iter().any(|told| told.contains("does not answer")));
}

// issue 7: "Nobody is told"
#[test]
fn a_server_that_gives_receipts_answers() {
    let mut bench = Bench::in_lobby();
    (0..10).for_each(|number| bench.say(&format!("line {number}")));
    for number in 0..9 {
        let say = bench.expect("say");
        bench.pass(1);
        bench.reply(&say, receipt(6 + number, 5 + number));
    }
    assert!(bench.told().is_empty(), "each waits for the one before, and that was answered");
    bench.pass(2);
    assert_eq!(bench.told().len(), 1);
}

// issue 7: "Nobody is told"
#[test]
fn whatever_a_person_asked_for_is_told_when_it_is_not_answered() {
    let tea = || RoomName::parse("tea").expect("a room");
    for command in
        [Command::Who(None), Command::Rooms, Command::Join(tea()), Command::Leave(RoomName::lobby())]
    {
        let mut bench = Bench::in_lobby();
        bench.command(command.clone());
        bench.pass(2);
        let told = bench.told();
        assert!(told.len() == 1 && told[0].contains("not answered yet"), "{command:?}: {told:?}");
    }
    let mut bench = Bench::in_lobby();
    bench.command(Command::Who(None));
    bench.lose();
    assert!(bench.told().iter().any(|told| told.contains("was not answered")));
    bench.command(Command::Who(None));
    assert!(bench.told().iter().any(|told| told.contains("no connection")));
    bench.command(Command::Join(tea()));
    assert!(bench.told().iter().any(|told| told.contains("you enter tea as soon as")));
}

// issue 7: "Nobody is told"
#[test]
fn a_room_that_cannot_be_entered_yet_is_told_once() {
    let mut bench = Bench::in_lobby();
    bench.command(Command::Join(RoomName::parse("tea").expect("a room")));
    for round in 0..3 {
        let join = bench.expect("join");
        let error = json!({"type": "error", "code": "rate_limited", "text": "Too many joins.", "retry_after_ms": 3000});
        bench.reply(&join, error);
        assert_eq!(bench.told().len(), usize::from(round == 0));
        bench.pass(3);
    }
    // A minute is no wait for a room that one has never been in.
    let join = bench.expect("join");
    let error =
        json!({"type": "error", "code": "rate_limited", "text": "At most 1 room.", "retry_after_ms": 60_000});
    bench.reply(&join, error);
    assert!(bench.told().iter().any(|told| told.contains("You cannot enter tea: At most 1 room.")));
    bench.pass(60);
    assert!(!bench.sent.iter().any(|request| request["type"] == "join"), "{:?}", bench.sent);
}

// issue 7: "The prompt names one room and the line goes to another"
#[test]
fn a_line_goes_to_the_room_that_it_names_or_to_none() {
    let tea = || RoomName::parse("tea").expect("a room");
    let say = |room, text| Command::Say(room, MessageText::parse(text).expect("a text"));
    let mut bench = Bench::in_lobby();
    bench.command(Command::Join(tea()));
    let join = bench.expect("join");
    // What is said in a room that is not entered yet waits for it, and holds nothing else up.
    bench.command(say(tea(), "for tea"));
    bench.command(say(RoomName::lobby(), "for the lobby"));
    let first = bench.expect("say");
    assert_eq!((&first["room"], &first["text"]), (&json!("lobby"), &json!("for the lobby")));
    bench.reply(&join, json!({"type": "joined", "room": "tea", "members": 1, "messages": [], "more": false}));
    bench.reply(&first, receipt(6, 5));
    let second = bench.expect("say");
    assert_eq!((&second["room"], &second["text"]), (&json!("tea"), &json!("for tea")));
    // What has no receipt holds the way out.
    bench.command(Command::Leave(tea()));
    bench.command(say(tea(), "too late"));
    assert!(bench.sent.is_empty(), "{:?}", bench.sent);
    assert!(bench.told().iter().any(|told| told.contains("Not said in tea: \u{201c}too late\u{201d}")));
    bench.reply(&second, receipt(7, 0));
    let leave = bench.expect("leave");
    // Who wants back in before that is answered is let in again.
    bench.command(Command::Join(tea()));
    bench.command(say(tea(), "back"));
    assert!(bench.sent.is_empty());
    bench.reply(&leave, json!({"type": "ok"}));
    let join = bench.expect("join");
    assert_eq!(join["after"], 7);
    bench.reply(&join, json!({"type": "joined", "room": "tea", "members": 1, "messages": [], "more": false}));
    assert_eq!(bench.expect("say")["text"], "back");
}

// issue 7: "The prompt names one room and the line goes to another"
#[test]
fn who_is_not_let_in_or_put_out_gets_the_lines_back() {
    let tea = || RoomName::parse("tea").expect("a room");
    let say = |text| Command::Say(tea(), MessageText::parse(text).expect("a text"));
    let refusal = json!({"type": "error", "code": "banned", "text": "You are banned from it."});
    let mut bench = Bench::in_lobby();
    bench.command(Command::Join(tea()));
    let join = bench.expect("join");
    bench.command(say("one"));
    bench.command(say("two"));
    bench.reply(&join, refusal.clone());
    let told = bench.told();
    assert!(told[0].contains("You cannot enter tea"), "{told:?}");
    assert!(told[1].contains("Not said in tea: \u{201c}one\u{201d}") && told[2].contains("two"), "{told:?}");
    assert!(!bench.session.is_in(&tea()) && bench.session.is_in(&RoomName::lobby()));

    bench.command(Command::Join(tea()));
    let join = bench.expect("join");
    bench.reply(&join, json!({"type": "joined", "room": "tea", "members": 1, "messages": [], "more": false}));
    bench.frame(json!({"type": "message", "kind": "kick", "id": 8, "prev": 7, "at": AT, "room": "tea", "name": "carl", "from": "bob"}));
    assert!(bench.session.is_in(&tea()), "it was somebody else");
    bench.told();
    bench.frame(json!({"type": "message", "kind": "kick", "id": 9, "prev": 8, "at": AT, "room": "tea", "name": "ann", "from": "bob", "why": "noise"}));
    assert!(bench.told().iter().any(|told| told == "bob put you out of tea: noise"));
    assert!(!bench.session.is_in(&tea()));

    bench.command(Command::Join(tea()));
    let join = bench.expect("join");
    bench.reply(&join, json!({"type": "joined", "room": "tea", "members": 1, "messages": [], "more": false}));
    bench.command(say("three"));
    let three = bench.expect("say");
    bench.reply(&three, json!({"type": "error", "code": "not_in_room", "text": "x"}));
    assert!(bench.told().iter().any(|told| told.contains("Not said in tea: \u{201c}three\u{201d}")));
    assert!(!bench.session.is_in(&tea()) && bench.sent.is_empty());
}

// issue 7: "Kicked"
#[test]
fn who_ended_a_session_and_why_is_told() {
    for (text, told) in [
        ("stop it", "The operator ended this session (kick): stop it"),
        ("This session was ended.", "The operator ended this session (kick), without a reason."),
        ("The password of this account was changed.", "The password of this account was changed."),
    ] {
        let mut bench = Bench::in_lobby();
        bench.frame(json!({"type": "bye", "reason": "kicked", "text": text}));
        assert_eq!(bench.end.and_then(|end| end.sentence).as_deref(), Some(told));
    }
}

// issue 7: "A secret becomes a message"
#[test]
fn a_password_that_was_changed_perhaps_is_tried_after_the_old_one() {
    let mut bench = Bench::in_lobby();
    let (old, new) = (Password::given("secret"), Password::given("new secret"));
    assert!(bench.session.has_password(&old) && !bench.session.has_password(&new));
    bench.command(Command::Passwd(old.clone(), new.clone()));
    bench.expect("passwd");
    bench.lose();
    assert!(bench.told().iter().any(|told| told.contains("not known")));
    assert!(bench.session.has_password(&old) && bench.session.has_password(&new));
    let resume = bench.reconnect();
    bench.reply(&resume, json!({"type": "error", "code": "bad_token", "text": "x"}));
    let login = bench.expect("login");
    bench.reply(&login, json!({"type": "error", "code": "wrong_password", "text": "No."}));
    let login = bench.expect("login");
    assert_eq!(login["password"], "new secret");
    bench.reply(&login, session("T2"));
    bench.expect("join");
    assert!(bench.end.is_none() && bench.session.has_password(&new));
}

// issue 7: "A secret becomes a message"
#[test]
fn a_password_is_changed_when_the_server_is_back() {
    let mut bench = Bench::in_lobby();
    bench.lose();
    bench.command(Command::Passwd(Password::given("secret"), Password::given("new secret")));
    assert!(bench.told().iter().any(|told| told.contains("as soon as the server is back")));
    bench.command(Command::Leave(RoomName::lobby()));
    assert!(bench.shown.iter().any(|show| matches!(show, Show::Left { .. })), "{:?}", bench.shown);
    let resume = bench.reconnect();
    bench.reply(&resume, session("T2"));
    bench.expect("inbox");
    let passwd = bench.expect("passwd");
    assert_eq!((&passwd["old"], &passwd["new"]), (&json!("secret"), &json!("new secret")));
    bench.reply(&passwd, json!({"type": "ok"}));
    assert!(bench.told().iter().any(|told| told.contains("is changed")));
    assert!(bench.session.has_password(&Password::given("new secret")) && bench.sent.is_empty());
}
