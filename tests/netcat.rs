//! The netcat helper against the real server: what it waits for, what it says and what it does not say
//! (issue 7). Its everyday use is in [`super::clients`], its screens are in [`super::screens`].

use serde_json::Value;

use crate::clients::netcat_helper;
use crate::support::Server;
use crate::support::client::texts;
use crate::support::program::{Ended, end_of};

fn typed(server: &Server, lines: &str) -> Ended {
    end_of(netcat_helper(server), &format!("register ann secret-of-ann\njoin lobby\n{lines}"))
}

fn said(server: &Server) -> Vec<String> {
    let mut watcher = server.register("watcher");
    texts(&Value::from(watcher.whole_history("lobby")))
}

// issue 7: "its input thread dies of a lone surrogate and the program lives on"
#[test]
fn a_line_that_cannot_be_sent_is_told_and_the_next_one_is_sent() {
    let server = Server::start();
    let surrogate = r#"{"type":"say","room":"lobby","text":"\ud800"}"#;
    let deep = "{\"a\":".to_owned() + &"[".repeat(60_000);
    let digits = format!("{{\"type\":\"who\",\"limit\":{}}}", "9".repeat(5_000));
    let infinite = r#"{"type":"who","limit":1e999}"#;
    let long = format!("{{\"type\":\"say\",\"text\":\"{}\"}}", "x".repeat(70_000));
    let lines = [surrogate, &deep, &digits, infinite, &long, "still here"].join("\n");
    let ended = typed(&server, &lines);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stderr.matches("was not sent").count(), 5, "{}", ended.stderr);
    assert_eq!(said(&server), ["still here"]);
}

// issue 7: "`{"type":"who","ref":7}` and `{"type":"pong"}` are waited for for ever"
#[test]
fn a_request_without_a_reply_of_its_own_is_not_waited_for() {
    let server = Server::start();
    let lines = [
        r#"{"type":"who","ref":7}"#,
        r#"{"type":"pong"}"#,
        r#"{"type":"who","ref":null}"#,
        r#"{"type":"who","ref":"1"}"#,
        r#"{"type":"ping","ref":"veche-nc probe"}"#,
        r#"{"type":"who","limit":0}"#,
        r#"{"no":"type"}"#,
        r#"{"type":"no such type","ref":["a"]}"#,
        r#"{"type":"join","room":"attic"}"#,
        "in the attic",
        r#"{"type":"exit"}"#,
        "never read",
    ];
    let ended = typed(&server, &lines.join("\n"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout.matches("online: ann").count(), 2, "{}", ended.stdout);
    assert!(said(&server).is_empty());
    let mut other = server.register("other");
    assert_eq!(texts(&Value::from(other.whole_history("attic"))), ["in the attic"]);
}

// issue 7: "`help`, `quit` are said to the room"
#[test]
fn help_and_quit_are_commands_and_no_slash_is_said_by_accident() {
    let server = Server::start();
    let lines = [
        "help",
        "help me",
        "quit it",
        "/quit",
        "/msg bob secret",
        "/",
        "//x",
        "/say",
        "/say ",
        "/say /quit",
        " who",
        "quit",
        "never read",
    ];
    let ended = typed(&server, &lines.join("\n"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("What to type:"), "{}", ended.stdout);
    assert_eq!(said(&server), ["help me", "quit it", "/quit", " who"]);
    assert_eq!(ended.stderr.matches("is no command").count(), 6, "{}", ended.stderr);
}
