//! What others send never begins a row of a screen without our mark, and ordinary writing looks ordinary
//! (issue 7), in both clients, in a real terminal at several widths.

use std::path::Path;

use serde_json::json;

use crate::support::server::VECHE;
use crate::support::terminal::Terminal;
use crate::support::{Client, PASSWORD, Server};

const FORGED: &str = "00:01 alice: I owe you";
const WIDTHS: [u16; 6] = [80, 24, 47, 13, 100, 8];

/// Texts that go on with alice's line where a terminal of some width begins a row.
fn forgeries(width: usize) -> Vec<String> {
    let fillers = [
        "\u{3164}",
        " ",
        "\u{3000}",
        "\u{2003}",
        "\u{a0}",
        "\u{1160}",
        "\u{ffa0}",
        "\u{2800}",
        "\u{378}",
        "\u{e000}",
        "a\u{302a}",
        "Ж",
        "¡",
        "\u{1f9d1}\u{200d}\u{1f91d}\u{200d}\u{1f9d1}",
        "\u{1f1e6}",
        "✔\u{fe0f}",
        "क्\u{200d}",
        "\u{fdfd}",
        "\u{5d0}\u{200e}",
        "x\u{301}\u{302}\u{303}",
    ];
    let mut texts = vec![
        format!("hi{}{FORGED}", "\u{3164}".repeat(31)),
        format!("hi\n{FORGED}"),
        format!("hi\t\t\t{FORGED}"),
    ];
    for filler in fillers {
        for count in [width.saturating_sub(16), width / 2, width] {
            texts.push(format!("hi{}{FORGED}", filler.repeat(count)));
        }
    }
    texts
}

fn say_all(bob: &mut Client, room: &str, texts: &[String]) {
    for text in texts {
        bob.say(room, text);
    }
}

/// Every row of the screen begins as ours do.
fn looks_sound(screen: &str, heads: &[&str], width: u16) {
    for row in screen.lines() {
        let ours = row.is_empty()
            || row.trim_start_matches(' ').starts_with('|')
            || heads.iter().any(|head| row.starts_with(head) || head.starts_with(row));
        let timed = row.as_bytes().get(2) == Some(&b':') && !row.starts_with("00:01");
        assert!(ours || timed, "at {width}: {row:?} in\n{screen}");
    }
}

// issue 7: "A text that looks like another's line"
#[test]
fn a_text_that_looks_like_anothers_line_does_not_begin_a_row() {
    let server = Server::with(&["server.motd=Welcome"]);
    let mut bob = server.member("bob", "lobby");
    server.register("carol");
    for width in WIDTHS {
        let program = Path::new(VECHE).with_file_name("veche-client");
        let terminal = Terminal::running(&format!(
            "read ready; {} --plain {} --name carol",
            program.display(),
            server.address
        ));
        terminal.resize(width);
        terminal.keys(&["Enter"]);
        terminal.shows("a question", |screen| screen.replace('\n', "").contains("assword:"));
        terminal.enter(PASSWORD);
        terminal.shows("the prompt", |screen| screen.ends_with("lobby>") || screen.ends_with("…>"));
        for (number, texts) in forgeries(usize::from(width)).chunks(4).enumerate() {
            say_all(&mut bob, "lobby", texts);
            bob.say("lobby", &format!("end{number}"));
            let end = format!("end{number}");
            let screen = terminal.shows(&end, |screen| screen.replace([' ', '|', '\n'], "").contains(&end));
            looks_sound(&screen, &["* ", "! ", "lobby>", "lo…>", "…>", "Password"], width);
        }
    }
}

// issue 7: "A text that looks like another's line", in the netcat helper
#[test]
fn a_text_that_looks_like_anothers_line_does_not_begin_a_row_of_the_helper() {
    let server = Server::start();
    let mut bob = server.register("bob");
    server.register("carol");
    for width in WIDTHS {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/client/veche-nc");
        let (host, port) = (server.address.ip(), server.address.port());
        let terminal = Terminal::running(&format!("read ready; {program} {host} {port}"));
        terminal.resize(width);
        terminal.keys(&["Enter"]);
        let has = |words: &str| {
            let words = words.replace(' ', "");
            terminal.shows(&words, |screen| screen.replace([' ', '|', '\n'], "").contains(&words))
        };
        has("veche/");
        terminal.enter(&format!("login carol {PASSWORD}"));
        has("Welcome");
        let room = format!("w{width}");
        bob.join(&room);
        terminal.enter(&format!("join {room}"));
        has("you are in");
        // Half a line is typed while others talk.
        terminal.type_text("dra");
        for (number, texts) in forgeries(usize::from(width)).chunks(4).enumerate() {
            say_all(&mut bob, &room, texts);
            bob.say(&room, &format!("end{number}"));
            looks_sound(&has(&format!("end{number}")), &["-- ", "dra", "login", "join"], width);
        }
        terminal.enter("ft");
        assert_eq!(bob.message()["text"], "draft", "nothing of it was lost");
    }
}

// issue 7: "Ordinary writing looks broken"
#[test]
fn ordinary_writing_is_shown_as_it_is() {
    let server = Server::start();
    let mut bob = server.member("bob", "lobby");
    server.register("carol");
    let program = Path::new(VECHE).with_file_name("veche-client");
    let terminal =
        Terminal::running(&format!("{} --plain {} --name carol", program.display(), server.address));
    terminal.has("Password:");
    terminal.enter(PASSWORD);
    terminal.has("lobby>");
    let ordinary =
        ["می\u{200c}خواهم", "क्\u{200d}ष", "שלום C++\u{200e} עולם", "👩\u{200d}💻", "a\u{200c}b\u{202e}c"];
    for text in ordinary {
        bob.request(json!({"type": "say", "room": "lobby", "text": text}));
    }
    let screen = terminal.has("\\u{202e}");
    assert!(screen.contains("a\\u{200c}b\\u{202e}c"), "{screen}");
    assert_eq!(screen.matches("\\u{").count(), 2, "nothing else is told by its number: {screen}");
    assert!(screen.contains("خواهم"), "{screen}");
}
