//! The bundled client as a person has it, at a terminal, against the real server: what is typed goes where the
//! prompt says and nowhere else, what is secret stays so, and whoever waits is told.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::client::texts;
use crate::support::server::{Options, VECHE};
use crate::support::terminal::Terminal;
use crate::support::{Client, PASSWORD, Server, eventually};

/// The client's program, which cargo puts beside the server's when it builds the workspace.
fn client_program() -> PathBuf {
    let program = PathBuf::from(VECHE).with_file_name("veche-client");
    assert!(program.exists(), "there is no {}; run `cargo build --workspace` first", program.display());
    program
}

/// A person who has logged in, and stands in this room.
fn person(server: &Server, name: &str, room: &str) -> Terminal {
    server.register(name);
    let program = client_program();
    let line = format!("{} --plain {} --name {name} --room {room}", program.display(), server.address);
    let terminal = Terminal::running(&line);
    terminal.has("Password:");
    terminal.enter(PASSWORD);
    prompts(&terminal, room);
    terminal.has(&format!("You are in {room}"));
    terminal
}

/// Waits until the screen ends with the prompt of this room, and nothing typed.
fn prompts(terminal: &Terminal, room: &str) {
    terminal.shows(&format!("the prompt of {room}"), |screen| {
        screen.lines().last().is_some_and(|line| line.trim_end() == format!("{room}>"))
    });
}

/// Waits until this was said in this room.
fn is_said(watcher: &mut Client, room: &str, text: &str) {
    eventually(&format!("{text:?} is said in {room}"), || {
        texts(&Value::from(watcher.whole_history(room))).contains(&text.to_owned()).then_some(())
    });
}

/// Nothing of this was ever said in one of these rooms.
fn nowhere(watcher: &mut Client, rooms: &[&str], words: &str) {
    for room in rooms {
        let said = texts(&Value::from(watcher.whole_history(room)));
        assert!(!said.iter().any(|text| text.contains(words)), "{words:?} in {room}: {said:?}");
    }
}

// issue 7: "The prompt names one room and the line goes to another"
#[test]
fn a_line_goes_where_the_prompt_said_when_enter_was_pressed() {
    let mut server = Server::start();
    let address = server.address.to_string();
    let mut watcher = server.register("watcher");
    let terminal = person(&server, "alice", "staff");

    // The server answers late.
    server.signal(Signal::STOP);
    terminal.enter("/join lobby");
    prompts(&terminal, "lobby");
    terminal.enter("before the answer");
    server.signal(Signal::CONT);
    terminal.has("You are in lobby");
    prompts(&terminal, "lobby");
    terminal.enter("after the answer");
    is_said(&mut watcher, "lobby", "before the answer");
    is_said(&mut watcher, "lobby", "after the answer");

    // A line that is being typed keeps its prompt.
    terminal.enter("/join attic");
    prompts(&terminal, "attic");
    terminal.enter("/leave");
    terminal.has("You left attic");
    prompts(&terminal, "lobby");
    terminal.enter("/leave");
    terminal.has("You left lobby");
    prompts(&terminal, "staff");
    terminal.enter("for the staff");
    is_said(&mut watcher, "staff", "for the staff");

    // The server is away.
    server.crash();
    terminal.has("The connection is lost");
    terminal.enter("/join lobby");
    terminal.has("you enter lobby as soon as");
    prompts(&terminal, "lobby");
    terminal.enter("while it was away");
    terminal.enter("/join staff");
    prompts(&terminal, "staff");
    terminal.enter("this too");
    server = Options::new().listen(&address).start_in(Arc::clone(&server.dir));
    let mut watcher = server.login("watcher");
    terminal.has("Connected again");
    is_said(&mut watcher, "lobby", "while it was away");
    is_said(&mut watcher, "staff", "this too");
    prompts(&terminal, "staff");
    terminal.enter("still here");
    is_said(&mut watcher, "staff", "still here");

    nowhere(&mut watcher, &["lobby", "attic"], "staff");
    nowhere(&mut watcher, &["lobby", "attic"], "this too");
    nowhere(&mut watcher, &["lobby", "attic"], "still here");
    nowhere(&mut watcher, &["staff", "attic"], "the answer");
    nowhere(&mut watcher, &["staff", "attic"], "while it was away");
    terminal.enter("exit");
    terminal.has("ended with 0");
}

// issue 7: "The prompt names one room and the line goes to another"
#[test]
fn a_room_that_is_refused_is_left_by_the_prompt_and_its_lines_are_given_back() {
    let server = Server::with(&["limits.rooms_per_session=1"]);
    let mut watcher = server.register("watcher");
    let terminal = person(&server, "alice", "staff");
    server.signal(Signal::STOP);
    terminal.enter("/join attic");
    prompts(&terminal, "attic");
    terminal.enter("said too early");
    terminal.type_text("half a li");
    terminal.shows("the draft", |screen| screen.ends_with("attic> half a li"));
    server.signal(Signal::CONT);
    terminal.has("You cannot enter attic");
    terminal.shows("what was not said, and the draft where it was begun", |screen| {
        screen.contains("Not said in attic: \u{201c}said too early\u{201d}")
            && screen.ends_with("attic> half a li")
    });
    terminal.enter("ne");
    terminal.has("Not said in attic: \u{201c}half a line\u{201d}");
    prompts(&terminal, "staff");
    terminal.enter("for the staff");
    is_said(&mut watcher, "staff", "for the staff");
    nowhere(&mut watcher, &["staff", "attic", "lobby"], "half a line");
    nowhere(&mut watcher, &["staff", "attic", "lobby"], "too early");
}

// issue 7: "A secret becomes a message"
#[test]
fn a_secret_never_becomes_a_message() {
    let server = Server::start();
    let mut bob = server.member("bob", "lobby");
    let terminal = person(&server, "alice", "lobby");
    terminal.enter("/passwd");
    terminal.has("Old password:");
    terminal.enter("not the old one");
    terminal.has("That is not your password");
    terminal.shows("the question again", |screen| screen.matches("Old password:").count() == 2);
    terminal.enter(PASSWORD);
    terminal.has("New password (8 to 256 bytes):");
    terminal.enter("short");
    terminal.shows("the question again", |screen| screen.matches("New password (").count() == 2);
    terminal.enter("a long new secret");
    terminal.has("The same again:");
    terminal.enter("another long secret");
    terminal.has("not the same");
    terminal.shows("the question again", |screen| screen.matches("New password (").count() == 3);

    // Nothing that arrives is printed into a question.
    bob.say("lobby", "what a nice day");
    terminal.type_text("a long new secret");
    bob.say("lobby", "is it not");
    terminal.keys(&["Enter"]);
    let screen = terminal.shows("the question", |screen| screen.matches("The same again:").count() == 2);
    assert!(screen.ends_with("The same again:"), "{screen}");
    assert!(!screen.contains("nice day"), "{screen}");
    terminal.enter("a long new secret");
    let screen = terminal.has("The password is changed");
    assert!(screen.contains("what a nice day") && screen.contains("is it not"), "{screen}");
    prompts(&terminal, "lobby");

    // Ctrl-C gives up the question, not the program.
    for answers in 0..3 {
        terminal.enter("/passwd");
        for answer in &["a long new secret", "quite another secret"][..answers] {
            terminal.enter(answer);
        }
        terminal.type_text("half a secr");
        terminal.keys(&["C-c"]);
        terminal.shows("that nothing was changed", |screen| {
            screen.matches("Your password stays as it is").count() == answers + 1
        });
        prompts(&terminal, "lobby");
    }

    let screen = terminal.screen();
    for secret in [PASSWORD, "secret", "short", "secr", "old one"] {
        assert!(!screen.contains(secret), "{secret} is seen: {screen}");
        nowhere(&mut bob, &["lobby"], secret);
    }
    server.login_with("alice", "a long new secret");
}

// issue 7: "A secret becomes a message"
#[test]
fn secrets_that_are_typed_ahead_answer_their_questions() {
    let server = Server::start();
    let mut bob = server.member("bob", "lobby");
    let terminal = person(&server, "alice", "lobby");
    // All at once, as somebody types who knows what will be asked, or a program.
    let burst = format!("/passwd\r{PASSWORD}\ra long new secret\ra long new secret\rhello\r");
    terminal.type_text(&burst);
    terminal.has("The password is changed");
    is_said(&mut bob, "lobby", "hello");
    let screen = terminal.screen();
    for secret in [PASSWORD, "secret"] {
        assert!(!screen.contains(secret), "{screen}");
        nowhere(&mut bob, &["lobby"], secret);
    }
    server.login_with("alice", "a long new secret");
}

// issue 7: "A secret becomes a message"
#[test]
fn a_password_that_is_typed_twice_in_impatience_is_no_message() {
    let mut server = Server::start();
    let mut bob = server.member("bob", "lobby");
    server.register("alice");
    let terminal = Terminal::running(&format!("{} {}", client_program().display(), server.address));
    terminal.has("Name:");
    // A name that is not known brings a question that nobody expects: what was typed for the password is not seen.
    server.signal(Signal::STOP);
    terminal.enter("alcie");
    terminal.enter("secret of alice");
    terminal.has("Waiting for");
    server.signal(Signal::CONT);
    terminal.has("Make a new account? [y]:");
    terminal.enter("n");
    terminal.shows("the name", |screen| screen.ends_with("Name:"));
    terminal.enter("alice");
    terminal.shows("the password", |screen| screen.ends_with("Password:"));
    server.signal(Signal::STOP);
    terminal.enter(PASSWORD);
    terminal.enter(PASSWORD);
    terminal.shows("that it takes long", |screen| screen.matches("Waiting for").count() == 2);
    server.signal(Signal::CONT);
    prompts(&terminal, "lobby");
    // Nor is one that is typed for /passwd while the server is away.
    let address = server.address.to_string();
    server.crash();
    terminal.has("The connection is lost");
    terminal.type_text(&format!("/passwd\r{PASSWORD}\ra long new secret\ra long new secret\r"));
    terminal.has("as soon as the server is back");
    server = Options::new().listen(&address).start_in(Arc::clone(&server.dir));
    terminal.has("The password is changed");
    let screen = terminal.screen();
    bob = {
        drop(bob);
        server.login("bob")
    };
    for secret in [PASSWORD, "secret"] {
        assert!(!screen.contains(secret), "{screen}");
        nowhere(&mut bob, &["lobby"], secret);
    }
}

// issue 7: "A secret becomes a message"
#[test]
fn every_question_before_the_chat_asks_again_and_ctrl_c_gives_up_one() {
    let server = Server::start();
    server.register("alice");
    let port = server.address.port().to_string();
    let terminal = Terminal::running(&client_program().display().to_string());
    terminal.has("Host [127.0.0.1]:");
    terminal.keys(&["C-c"]);
    terminal.has("Ctrl-D ends the program");
    terminal.shows("the host again", |screen| screen.matches("Host [").count() == 2);
    terminal.enter("no such host");
    terminal.has("That is no host");
    terminal.enter("");
    terminal.has("Port [7878]:");
    terminal.enter("seven");
    terminal.has("That is no port");
    terminal.keys(&["C-c"]);
    terminal.shows("the host again", |screen| screen.matches("Host [").count() == 4);
    terminal.enter("");
    terminal.shows("the port again", |screen| screen.ends_with("Port [7878]:"));
    // "a refused connection does not answer (… os error 111)"
    terminal.enter("1");
    let screen = terminal.has("127.0.0.1 port 1 refused the connection");
    assert!(!screen.contains("os error") && !screen.contains("does not answer"), "{screen}");
    terminal.enter("");
    terminal.shows("the port again", |screen| screen.ends_with("Port [7878]:"));
    terminal.enter(&port);
    terminal.shows("the name", |screen| screen.ends_with("Name:"));
    terminal.keys(&["C-c"]);
    terminal.shows("the host again", |screen| screen.ends_with("Host [127.0.0.1]:"));
    terminal.enter(&format!("127.0.0.1:{port}"));
    terminal.shows("the name", |screen| screen.ends_with("Name:"));
    terminal.enter("no name");
    terminal.has("That is no name");
    terminal.enter("carl");
    terminal.has("Make a new account? [y]:");
    terminal.enter("perhaps");
    terminal.has("Answer y or n");
    terminal.keys(&["C-c"]);
    terminal.shows("the name", |screen| screen.ends_with("Name:"));
    terminal.enter("carl");
    terminal.enter("y");
    terminal.has("New password (8 to 256 bytes):");
    terminal.enter("short");
    terminal.has("8 to 256 bytes.");
    terminal.enter("a secret of carl");
    terminal.has("The same again:");
    terminal.keys(&["C-c"]);
    terminal.shows("the name", |screen| screen.ends_with("Name:"));
    terminal.enter("alice");
    terminal.shows("the password", |screen| screen.ends_with("Password:"));
    terminal.enter("wrong one");
    terminal.shows("the password again", |screen| {
        screen.ends_with("Password:") && screen.matches("\nPassword:").count() == 2
    });
    terminal.keys(&["C-c"]);
    terminal.shows("the name", |screen| screen.ends_with("Name:"));
    terminal.enter("alice");
    terminal.enter(PASSWORD);
    prompts(&terminal, "lobby");
    let screen = terminal.screen();
    for secret in [PASSWORD, "secret of", "wrong one"] {
        assert!(!screen.contains(secret), "{secret} is seen: {screen}");
    }
    terminal.keys(&["C-c"]);
    terminal.has("exit or Ctrl-D ends the session");
    terminal.keys(&["C-d"]);
    terminal.shows("the end, and the echo back", |screen| {
        screen.contains("ended with 0") && screen.ends_with("echo")
    });
}

// issue 7: "Nobody is told"
#[test]
fn a_server_that_takes_long_to_let_one_in_is_told_and_can_be_given_up() {
    let server = Server::start();
    server.register("alice");
    let line = format!("{} {} --name alice", client_program().display(), server.address);
    let terminal = Terminal::running(&line);
    terminal.has("Password:");
    server.signal(Signal::STOP);
    terminal.enter(PASSWORD);
    let port = server.address.port();
    terminal.has(&format!("Waiting for 127.0.0.1 port {port}; Ctrl-C gives it up."));
    terminal.keys(&["C-c"]);
    terminal.shows("the name", |screen| screen.ends_with("Name:"));
    server.signal(Signal::CONT);
    terminal.enter("alice");
    terminal.shows("the password", |screen| screen.ends_with("Password:"));
    terminal.enter(PASSWORD);
    prompts(&terminal, "lobby");
}

// issue 7: bytes that are no UTF-8
#[test]
fn a_secret_with_bytes_that_are_no_text_is_told() {
    let server = Server::start();
    server.register("alice");
    let line = format!("{} {} --name alice", client_program().display(), server.address);
    let terminal = Terminal::running(&line);
    terminal.has("Password:");
    // As a terminal that is set to Latin-1 sends it.
    terminal.keys(&["-H", "70", "fc", "70"]);
    terminal.keys(&["Enter"]);
    terminal.has("bytes that are no UTF-8");
    terminal.enter(PASSWORD);
    prompts(&terminal, "lobby");
}

// issue 7: "Kicked"
#[test]
fn who_is_kicked_reads_who_did_it_and_why() {
    let mut server = Server::start();
    let terminal = person(&server, "alice", "lobby");
    server.console("kick alice stop it");
    terminal.has("ended with 1");
    terminal.has("veche-client: The operator ended this session (kick): stop it");
    server.log_line(&["kicks", "alice", "stop it"]);
}

// issue 7: "Nobody is told"
#[test]
fn a_line_without_a_receipt_is_told_after_two_seconds_once() {
    let server = Server::start();
    let mut bob = server.member("bob", "lobby");
    let terminal = person(&server, "alice", "lobby");
    server.signal(Signal::STOP);
    terminal.enter("does anybody hear me");
    terminal.has("Your message has no receipt yet");
    terminal.enter("well");
    server.signal(Signal::CONT);
    let screen = terminal.has("What you said has its receipts now");
    assert_eq!(screen.matches("no receipt yet").count(), 1, "{screen}");
    is_said(&mut bob, "lobby", "well");
}

// issue 7: "Nobody is told"
#[test]
fn the_attempts_of_a_long_outage_are_one_line_rewritten() {
    let mut server = Server::start();
    let terminal = person(&server, "alice", "lobby");
    terminal.type_text("half a li");
    server.crash();
    let seconds = |screen: &str| {
        let line = screen.lines().find(|line| line.contains("Trying again in"))?;
        line.rsplit_once("Trying again in ").map(|(_, rest)| rest.to_owned())
    };
    let seen = RefCell::new(BTreeSet::new());
    terminal.shows("three attempts", |screen| {
        assert!(screen.matches("The connection is lost").count() <= 1, "{screen}");
        seen.borrow_mut().extend(seconds(screen));
        seen.borrow().len() >= 3
    });
    let screen = terminal.screen();
    assert!(screen.contains("refused the connection"), "{screen}");
    assert!(screen.ends_with("lobby> half a li"), "{screen}");
    // Also when something is said meanwhile.
    terminal.enter("ne");
    terminal.has("no receipt yet: there is no connection");
    seen.borrow_mut().clear();
    terminal.shows("two more attempts", |screen| {
        assert!(screen.matches("The connection is lost").count() <= 1, "{screen}");
        seen.borrow_mut().extend(seconds(screen));
        seen.borrow().len() >= 2
    });
}

// issue 7: "Resizing the window while a long draft stands eats a message"
#[test]
fn resizing_the_window_while_a_long_draft_stands_eats_nothing() {
    let server = Server::start();
    let mut bob = server.member("bob", "lobby");
    let terminal = person(&server, "alice", "lobby");
    terminal.resize(80);
    bob.say("lobby", "message one");
    bob.say("lobby", "message two");
    terminal.has("message two");
    let draft = "word ".repeat(40);
    terminal.type_text(&draft);
    let whole = |screen: &str| {
        let words = screen.matches("word").count();
        // A word may stand on both sides of a row's end.
        (38..=40).contains(&words) && screen.matches("lobby> word").count() == 1
    };
    terminal.shows("the draft", whole);
    terminal.resize(50);
    terminal.shows("the draft, narrower", whole);
    bob.say("lobby", "message three");
    bob.say("lobby", "message four");
    terminal.has("message four");
    terminal.resize(110);
    terminal.shows("the draft, wider", |screen| {
        whole(screen) && screen.lines().any(|line| line.trim_end().len() > 100)
    });
    bob.say("lobby", "message five");
    let screen = terminal.has("message five");
    for number in ["one", "two", "three", "four", "five"] {
        assert_eq!(screen.matches(&format!("message {number}")).count(), 1, "{screen}");
    }
    terminal.keys(&["Enter"]);
    is_said(&mut bob, "lobby", &draft);
}

// issue 7: "A final newline in a paste sends an empty line"
#[test]
fn what_is_pasted_is_said_once_without_its_final_newline() {
    let server = Server::start();
    let mut bob = server.member("bob", "lobby");
    let terminal = person(&server, "alice", "lobby");
    terminal.paste("one\ntwo\n");
    terminal.shows("what was pasted", |screen| screen.contains("| two"));
    terminal.keys(&["Enter"]);
    assert_eq!(bob.event_of("message")["text"], "one\ntwo");
    terminal.enter("/passwd");
    terminal.has("Old password:");
    terminal.paste(&format!("{PASSWORD}\n"));
    terminal.keys(&["Enter"]);
    terminal.has("New password");
}

// issue 7: "Did you mean"
#[test]
fn commands_of_other_programs_are_understood_and_no_far_guess_is_made() {
    let server = Server::start();
    let mut bob = server.member("bob", "lobby");
    let terminal = person(&server, "alice", "lobby");
    for alias in ["msg", "query", "dm"] {
        terminal.enter(&format!("/{alias} bob psst {alias}"));
        assert_eq!(bob.event_of("message")["text"], format!("psst {alias}"));
    }
    for (command, answer) in [
        ("/names", "In lobby: alice, bob"),
        ("/list", "Rooms: lobby (2)"),
        ("/join attic", "You are in attic"),
        ("/part", "You left attic"),
        ("/logout", "There is no /logout; /help lists"),
        ("/prat", "did you mean /part?"),
    ] {
        terminal.enter(command);
        terminal.has(answer);
    }
    terminal.enter("/quit");
    terminal.has("ended with 0");
}

#[test]
fn a_terminal_that_cannot_move_its_cursor_does_all_the_same() {
    let server = Server::start();
    let mut bob = server.member("bob", "lobby");
    server.register("alice");
    let line = format!("TERM=dumb {} {} --name alice", client_program().display(), server.address);
    let terminal = Terminal::running(&line);
    terminal.has("Password:");
    terminal.enter(PASSWORD);
    terminal.has("You are in lobby");
    bob.say("lobby", "hello");
    terminal.has("bob: hello");
    terminal.enter("hello yourself");
    assert_eq!(bob.event_of("message")["text"], "hello yourself");
    terminal.enter("exit");
    terminal.has("ended with 0");
}

// issue 7: bytes that are no UTF-8 in VECHE_PASSWORD
#[test]
fn a_password_in_the_environment_that_is_no_text_is_told() {
    let server = Server::start();
    server.register("alice");
    let line = format!(
        "VECHE_PASSWORD=$(printf 'p\\377ssword') {} {} --name alice",
        client_program().display(),
        server.address
    );
    let terminal = Terminal::running(&line);
    terminal.has("VECHE_PASSWORD is no text in UTF-8");
    terminal.has("ended with 2");
}
