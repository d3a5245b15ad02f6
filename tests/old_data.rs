//! A data directory that an older version left, served by this one (`tests/fixtures/c7dd64b/README.md`).
//!
//! What that version told of it is in `expected.json`, and has to be told still: who comes in and who does not,
//! which tokens are good, and every message byte for byte. Then it goes on, over a further start, and what was
//! in the files of the history stands where it stood.

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::client::{id, ids};
use crate::support::files::{files_below, history_files};
use crate::support::{Client, Options, Server};

/// Messages in a page: few, so that there are seams.
const PAGE: usize = 7;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/c7dd64b")
}

fn expected() -> Value {
    let text = fs::read_to_string(fixture().join("expected.json")).expect("it is in the repository");
    serde_json::from_str(&text).expect("JSON")
}

fn list<'a>(expected: &'a Value, name: &str) -> &'a [Value] {
    expected[name].as_array().unwrap_or_else(|| panic!("{name} is no list"))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} is no text in {value}"))
}

/// A server on a copy of the fixture. The repository keeps no modes, and the server wants its own.
fn serve(expected: &Value) -> Server {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = fixture().join("data");
    for file in files_below(&data) {
        let copy = dir.path().join("data").join(file.strip_prefix(&data).expect("below it"));
        let folder = copy.parent().expect("a folder above");
        fs::create_dir_all(folder).expect("a folder");
        fs::set_permissions(folder, Permissions::from_mode(0o700)).expect("our folder");
        fs::copy(&file, &copy).expect("a copy");
        fs::set_permissions(&copy, Permissions::from_mode(0o600)).expect("our copy");
    }
    fs::set_permissions(dir.path().join("data"), Permissions::from_mode(0o700)).expect("our folder");
    let settings = list(expected, "settings").iter().map(|setting| setting.as_str().expect("a setting"));
    settings.fold(Options::new(), |options, setting| options.set(setting)).start_in(Arc::new(dir))
}

fn log_in(server: &Server, expected: &Value, name: &str) -> Client {
    let account = list(expected, "accounts").iter().find(|account| text(account, "name") == name);
    let account = account.unwrap_or_else(|| panic!("{name} is no account of the fixture"));
    let mut client = server.connect();
    let session = client.open("login", name, text(account, "password"));
    assert_eq!((text(&session, "name"), &session["new"]), (name, &json!(false)));
    client
}

/// Everything that this request lists, by small pages from the first message on.
fn all_pages(client: &mut Client, request: &Value) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let mut request = request.clone();
        request["after"] = json!(after);
        request["limit"] = json!(PAGE);
        let kind = text(&request, "type").to_owned();
        let page = client.expect(&kind, request);
        let messages = page["messages"].as_array().expect("a list");
        all.extend(messages.iter().cloned());
        if page["more"] == false {
            return all;
        }
        after = id(messages.last().expect("a page with more behind it is not empty"));
    }
}

/// Every account sees what it saw, and of each message all that there was of it. Messages of this test's own come
/// behind.
fn everyone_sees_what_they_saw(server: &Server, expected: &Value) {
    let messages: HashMap<u64, &Value> =
        list(expected, "messages").iter().map(|message| (id(message), message)).collect();
    let last = messages.keys().copied().max().expect("messages");
    let mut clients: HashMap<&str, Client> = HashMap::new();
    for view in list(expected, "views") {
        let name = text(view, "account");
        let client = clients.entry(name).or_insert_with(|| log_in(server, expected, name));
        let told = all_pages(client, &view["request"]);
        let old: Vec<&Value> = told.iter().filter(|message| id(message) <= last).collect();
        let seen: Vec<u64> = old.iter().map(|message| id(message)).collect();
        let due: Vec<u64> = list(view, "ids").iter().filter_map(Value::as_u64).collect();
        assert_eq!(seen, due, "{name} {}", view["request"]);
        for message in old {
            let members = messages[&id(message)].as_object().expect("an object");
            for (member, value) in members {
                assert_eq!(&message[member], value, "{member} of message {}", id(message));
            }
        }
    }
}

/// What lay in the history's files lies there still, byte for byte, and only what is new stands behind it.
fn the_files_only_grew(server: &Server) {
    let now = server.data_dir().join("history");
    for file in history_files(&fixture().join("data")) {
        let name = file.file_name().expect("a file");
        let (before, after) = (fs::read(&file).expect("a file"), fs::read(now.join(name)).expect("a file"));
        assert!(after.starts_with(&before), "{} is not what it was", file.display());
    }
}

#[test]
fn who_came_in_comes_in_and_who_did_not_does_not() {
    let expected = expected();
    let server = serve(&expected);
    for kept in list(&expected, "kept_tokens") {
        let session = server.connect().resume(text(kept, "token"));
        assert_eq!(session["name"], kept["name"]);
    }
    for token in list(&expected, "ended_tokens") {
        server.connect().expect_error("bad_token", json!({"type": "resume", "token": token}));
    }
    for account in list(&expected, "accounts") {
        log_in(&server, &expected, text(account, "name"));
    }
    let login =
        |account: &Value| json!({"type": "login", "name": account["name"], "password": account["password"]});
    server.connect().expect_error("banned", login(&expected["banned"]));
    for old in list(&expected, "old_passwords") {
        server.connect().expect_error("wrong_password", login(old));
    }
    // Its spelling is no name's canonical form any more; it has an account all the same, by either.
    assert_eq!(server.login_with("İvan", "ivans new password").name, "i\u{307}van");
    for account in list(&expected, "accounts").iter().chain([&expected["banned"]]) {
        let register = json!({"type": "register", "name": account["name"], "password": "somebody else's"});
        server.connect().expect_error("name_taken", register);
    }
}

#[test]
fn every_message_is_there_byte_for_byte_and_it_goes_on() {
    let expected = expected();
    let mut server = serve(&expected);
    everyone_sees_what_they_saw(&server, &expected);
    the_files_only_grew(&server);

    // What is sent again under its key is not stored again.
    let mut kept = HashMap::new();
    for keyed in list(&expected, "keyed") {
        let name = text(keyed, "account");
        let mut client = log_in(&server, &expected, name);
        if let Some(room) = keyed["request"]["room"].as_str() {
            client.join(room);
        }
        let receipt = client.expect("ok", keyed["request"].clone());
        for member in ["id", "prev", "at"] {
            assert_eq!(receipt[member], keyed["receipt"][member], "{member} of {}", keyed["request"]);
        }
        kept.insert(name.to_owned(), client);
    }

    // New messages come behind the old ones, and each leads back to the one before it.
    let messages = list(&expected, "messages");
    let last_of = |is_of: &dyn Fn(&Value) -> bool| {
        id(messages.iter().rev().find(|message| is_of(message)).expect("there is one"))
    };
    let last = last_of(&|_| true);
    let mut anna = log_in(&server, &expected, "anna");
    let mut janna = log_in(&server, &expected, "жанна");
    let token = janna.token.clone();
    anna.join("кухня");
    janna.join("кухня");
    let said = anna.say("кухня", "still\there");
    assert!(id(&said) > last, "{said}");
    assert_eq!(said["prev"], last_of(&|message| message["room"] == "кухня"));
    assert_eq!(id(&janna.message()), id(&said));
    let told = janna.tell("anna", "and so am I");
    assert!(id(&told) > id(&said));
    let between = |message: &Value| {
        [&message["from"], &message["to"]].iter().all(|name| ["anna", "жанна"].iter().any(|one| *name == one))
    };
    assert_eq!(told["prev"], last_of(&between));
    drop((anna, janna, kept));

    // A second start serves both.
    server.restart();
    everyone_sees_what_they_saw(&server, &expected);
    the_files_only_grew(&server);
    let mut janna = server.connect();
    janna.resume(&token);
    let newest = json!({"type": "history", "room": "кухня", "limit": 1});
    assert_eq!(ids(&janna.expect("history", newest)["messages"]), [id(&said)]);
    let inbox = all_pages(&mut janna, &json!({"type": "inbox"}));
    assert_eq!(inbox.last().map(id), Some(id(&told)));
}
