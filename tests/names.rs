//! Names that look like another's, names that differ by case, and names from before these rules (issue 7).

use std::fs;
use std::sync::Arc;

use serde_json::json;
use veche::model::{Account, AccountChange, Password, Timestamp, UserName};
use veche::secrets::password::PasswordHashing;
use veche::secrets::seal::Sealer;
use veche::store::accounts::{AccountFile, open_keys};

use crate::support::client::texts;
use crate::support::{Client, PASSWORD, Server};

/// Look-alikes: `i̇van`, `İspir`, `é` with the accent doubled.
#[test]
fn look_alikes_are_no_names_or_the_name_they_look_like() {
    let server = Server::start();
    for name in ["ivan", "ispir", "é"] {
        drop(server.register(name));
    }
    let mut client = server.connect();
    let register = |name: &str| json!({"type": "register", "name": name, "password": PASSWORD});
    for name in ["i\u{307}van", "İspir", "İSPİR", "I\u{307}van"] {
        client.expect_error("name_taken", register(name));
    }
    for name in [
        "\u{e9}\u{301}",
        "e\u{301}\u{301}",
        "ı\u{307}van",
        "a\u{3099}",
        "o\u{338}",
        "a\u{300}\u{301}\u{302}\u{303}\u{304}",
    ] {
        client.expect_error("bad_name", register(name));
    }
    let mut ispir = server.connect();
    assert_eq!(ispir.open("login", "İspir", PASSWORD)["name"], "ispir");
    let joined = ispir.request(json!({"type": "join", "room": "İzmi\u{307}r"}));
    assert_eq!(joined["room"], "izmir", "{joined}");
    ispir.expect_error("bad_room", json!({"type": "join", "room": "e\u{301}\u{301}"}));
}

/// Case: `Γιώργος` and `ΓΙΏΡΓΟΣ` are one account, and who types capitals logs in.
#[test]
fn capitals_reach_the_account_and_folded_twins_cannot_be_made() {
    let server = Server::start();
    for name in ["Γιώργος", "straße"] {
        drop(server.register(name));
    }
    let open = |name: &str| server.connect().open("login", name, PASSWORD)["name"].clone();
    assert_eq!(open("ΓΙΏΡΓΟΣ"), "γιώργος");
    assert_eq!(open("Straße"), "straße");
    let mut client = server.connect();
    for name in ["ΓΙΏΡΓΟΣ", "γιώργοσ", "strasse", "STRASSE", "Straße"] {
        client.expect_error("name_taken", json!({"type": "register", "name": name, "password": PASSWORD}));
    }
    let login = json!({"type": "login", "name": "strasse", "password": PASSWORD});
    client.expect_error("wrong_password", login);
    assert_eq!(client.request(json!({"type": "identify", "name": "STRASSE"}))["known"], false);
}

/// Where two old accounts meet, each is reached by exactly its stored spelling.
#[test]
fn accounts_and_rooms_from_before_the_rules_are_reached_by_their_spelling() {
    let mut server = Server::start();
    let mut ivan = server.register("ivan");
    ivan.join("lobby");
    ivan.say("lobby", "of old");
    drop(ivan);
    server.stop();
    let old = ["i\u{307}van", "i\u{307}spir", "γιώργοσ", "\u{e9}\u{301}"];
    store_accounts(&server, &old);
    rename_room(&server, "lobby", "i\u{307}zmir");
    server = server.start_again();

    assert!(!server.data_dir().join("clients.rejected").exists(), "no row is set aside");
    let mut clients: Vec<Client> = Vec::new();
    for name in ["ivan"].iter().chain(&old) {
        let mut client = server.connect();
        assert_eq!(client.open("login", name, PASSWORD)["name"], **name, "by its spelling");
        clients.push(client);
    }
    let open = |name: &str| server.connect().open("login", name, PASSWORD)["name"].clone();
    assert_eq!(open("İvan"), "ivan", "the canonical form is the other's");
    assert_eq!(open("İspir"), old[1], "nobody else's");
    assert_eq!(open("ispir"), old[1], "what it would be called now");
    assert_eq!(open("ΓΙΏΡΓΟΣ"), old[2]);

    // They are taken, talked to and read by that spelling, too.
    let mut ivan = clients.remove(0);
    for name in ["ispir", "γιώργος", "İvan"] {
        let register = json!({"type": "register", "name": name, "password": PASSWORD});
        server.connect().expect_error("name_taken", register);
    }
    for (client, name) in clients.iter_mut().zip(old) {
        ivan.request(json!({"type": "tell", "to": name, "text": name}));
        let direct_message = client.message();
        assert_eq!((&direct_message["to"], &direct_message["text"]), (&json!(name), &json!(name)));
        let past = ivan.request(json!({"type": "history", "with": name}));
        assert_eq!(texts(&past["messages"]), [name], "{past}");
    }
    let all = ivan.request(json!({"type": "who"}))["names"].clone();
    let mut paged = Vec::new();
    let mut after = String::new();
    for _ in 0..all.as_array().expect("names").len() {
        let who =
            json!({"type": "who", "limit": 1, "after": if after.is_empty() { None } else { Some(&after) }});
        let page = ivan.request(who);
        after = page["names"][0].as_str().expect("a name").to_owned();
        paged.push(json!(after));
    }
    assert_eq!(json!(paged), all, "each once");
    let old_room = ivan.request(json!({"type": "join", "room": "i\u{307}zmir"}));
    assert_eq!(texts(&old_room["messages"]), ["of old"], "{old_room}");
    assert_eq!(ivan.request(json!({"type": "join", "room": "izmir"}))["room"], "izmir");

    // The operator reaches them as well.
    let done = server.console("say #i\u{307}zmir hear, hear");
    assert_eq!(ivan.message()["room"], "i\u{307}zmir", "{done}");
    let done = server.console("kick i\u{307}van");
    assert!(done.contains("i\u{307}van"), "{done}");
    clients[0].expect_bye("kicked");
}

/// Adds accounts that the rules of today would not make, with the password of all.
fn store_accounts(server: &Server, names: &[&str]) {
    let dir = server.data_dir();
    let folder = veche::disk::real::open_folder(&dir).expect("the data directory");
    let keys = open_keys(&*folder, &*folder, "key").expect("the server's key");
    let sealer = Arc::new(Sealer::new(&keys));
    let opened = AccountFile::open(folder, sealer, dir.join("key"), false);
    let mut opened = opened.expect("the server's accounts");
    let hashing = PasswordHashing::new(64, 1).expect("small parameters");
    for (row, name) in (1_000..).zip(names) {
        let account = Account {
            row,
            name: UserName::from_canonical(name).expect("plausible"),
            password: hashing.hash(&Password::given(PASSWORD)).expect("a hash"),
            addresses: Vec::new(),
            created_at: Timestamp::now(),
            visible_from: None,
            last_seen_at: None,
            sessions: Default::default(),
            banned: false,
        };
        opened.file.commit(&[AccountChange::Add(Arc::new(account))]).expect("room on the disk");
    }
}

/// Gives the rows of one room to another.
fn rename_room(server: &Server, room: &str, other: &str) {
    for entry in fs::read_dir(server.data_dir().join("history")).expect("a history") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("text");
        let lines = text.lines().map(|line| match line.rsplit_once(',') {
            Some((row, _)) if row.contains(&format!(",{room},")) => {
                let row = row.replace(&format!(",{room},"), &format!(",{other},"));
                format!("{row},x{:08x}\n", crc32fast::hash(row.as_bytes()))
            }
            _ => format!("{line}\n"),
        });
        let lines: String = lines.collect();
        if lines != text {
            fs::write(&path, lines).expect("written");
        }
    }
}
