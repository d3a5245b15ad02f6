//! One message, followed by its raw bytes from one person's keyboard to another's screen.
//!
//! To read before all other tests: it is the whole protocol in one conversation. Every frame is four bytes of
//! length, big-endian, and then that many bytes of JSON. Nothing is hidden behind a helper here but the
//! socket itself.

use crate::support::client::frame;
use crate::support::files::{csv_rows, lines, newest_history};
use crate::support::{Client, Server};

/// The text that travels. It has a quote, a letter of two bytes, a newline, and begins like a formula.
const TEXT: &str = r#"=\"Grüß dich\",\nBob"#;

// issue 2, lines 1 to 12: the path that all of them serve
#[test]
fn one_message_by_its_raw_bytes() {
    let server = Server::start();

    // Whoever connects is greeted, before anything is asked.
    let mut alice = Client::raw(server.address);
    let welcome = text_of(&mut alice);
    assert!(welcome.starts_with(r#"{"type":"welcome","protocol":1,"server":"veche/"#), "{welcome}");
    assert!(welcome.contains(r#""max_frame":65536"#), "{welcome}");

    // Alice makes an account. The header counts the bytes that follow: 71.
    let register = br#"{"type":"register","name":"Alice","password":"correct horse","ref":"1"}"#;
    assert_eq!(frame(register)[..4], [0, 0, 0, 71]);
    alice.send_bytes(&frame(register));
    // The reply has the name in its canonical form, the token that goes with every request from now on, and
    // the `ref` of the request that it answers.
    let session = text_of(&mut alice);
    assert!(session.starts_with(r#"{"type":"session","name":"alice","token":""#), "{session}");
    assert!(session.contains(r#""new":true,"last_seen":null,"greeting":""#), "{session}");
    assert!(session.ends_with(r#","ref":"1"}"#), "{session}");
    let alices = between(&session, r#""token":""#, '"');

    let mut bob = Client::raw(server.address);
    text_of(&mut bob);
    bob.send_bytes(&frame(br#"{"type":"register","name":"bob","password":"battery staple"}"#));
    let bobs = between(&text_of(&mut bob), r#""token":""#, '"');

    // Both join a room. `members` counts accounts; nobody has said anything yet.
    alice.send_bytes(&frame(format!(r#"{{"type":"join","token":"{alices}","room":"lobby"}}"#).as_bytes()));
    let joined = r#"{"type":"joined","room":"lobby","members":1,"messages":[],"more":false}"#;
    assert_eq!(text_of(&mut alice), joined);
    bob.send_bytes(&frame(format!(r#"{{"type":"join","token":"{bobs}","room":"lobby"}}"#).as_bytes()));
    let joined = r#"{"type":"joined","room":"lobby","members":2,"messages":[],"more":false}"#;
    assert_eq!(text_of(&mut bob), joined);
    // Alice is told that Bob came; nobody is told about himself.
    let presence = text_of(&mut alice);
    let expected = r#"{"type":"presence","room":"lobby","name":"bob","status":"joined","at":""#;
    assert!(presence.starts_with(expected), "{presence}");

    // ① Alice speaks. The `key` is her own name for the message, in case that she has to send it again.
    let say =
        format!(r#"{{"type":"say","token":"{alices}","room":"lobby","text":"{TEXT}","key":"k1","ref":"2"}}"#);
    alice.send_bytes(&frame(say.as_bytes()));

    // ⑥ The receipt comes back: the message is stored. It has an id, and the id before it in this room.
    let receipt = text_of(&mut alice);
    let at = between(&receipt, r#""at":""#, '"');
    assert_eq!(receipt, format!(r#"{{"type":"ok","id":1,"prev":0,"at":"{at}","ref":"2"}}"#));
    assert_eq!((at.len(), &at[10..11], &at[23..]), (24, "T", "Z"), "UTC with milliseconds: {at}");

    // ④ By then the row lies on the disk: one physical line under the header, whatever the text has in it.
    // The apostrophe keeps a spreadsheet from computing it; the quotes are doubled because CSV wants it so.
    let file = newest_history(&server.data_dir());
    assert_eq!(file.file_name().expect("a name").to_str(), Some(&*format!("{}.csv", &at[..7])));
    let stored = lines(&file);
    assert_eq!(stored[0], "id,prev,at,room,from,to,text,key,crc32");
    let row = format!(r#"1,0,{at},lobby,alice,,"'=""Grüß dich"",\nBob",k1,x"#);
    assert!(stored[1].starts_with(&row), "{}\n{row}", stored[1]);
    assert_eq!(stored.len(), 2);
    // The checksum is over the eight fields before it.
    let fields = &csv_rows(&file)[1];
    assert_eq!(fields[8], format!("x{:08x}", crc32fast::hash(fields[..8].join(",").as_bytes())));

    // ⑤ Bob gets the event: the same id, prev and time, and the text exactly as it was said.
    let event = text_of(&mut bob);
    let expected = format!(
        r#"{{"type":"message","id":1,"prev":0,"at":"{at}","room":"lobby","from":"alice","text":"{TEXT}"}}"#
    );
    assert_eq!(event, expected);

    // The receipt was lost, let us say. The same message under the same key gets the first one's receipt.
    alice.send_bytes(&frame(say.as_bytes()));
    assert_eq!(text_of(&mut alice), receipt);
    assert_eq!(lines(&file).len(), 2, "and is not stored again");

    // Later Bob reads the past. A message in a list is the event without its `type`.
    let history = format!(r#"{{"type":"history","token":"{bobs}","room":"lobby"}}"#);
    bob.send_bytes(&frame(history.as_bytes()));
    let page = expected.replacen(r#""type":"message","#, "", 1);
    let expected = format!(r#"{{"type":"history","room":"lobby","messages":[{page}],"more":false}}"#);
    assert_eq!(text_of(&mut bob), expected);

    // Alice goes. The `bye` is the reply and the last frame, and her token is dead from now on.
    alice.send_bytes(&frame(br#"{"type":"exit"}"#));
    assert_eq!(text_of(&mut alice), r#"{"type":"bye","reason":"exit","text":"Goodbye."}"#);
    alice.expect_end();
    let presence = text_of(&mut bob);
    let expected = r#"{"type":"presence","room":"lobby","name":"alice","status":"left","at":""#;
    assert!(presence.starts_with(expected), "{presence}");
}

/// The next frame's payload, as text.
fn text_of(client: &mut Client) -> String {
    String::from_utf8(client.next_payload().expect("a frame")).expect("frames are UTF-8")
}

/// What stands between a mark and the next `end`.
fn between(text: &str, mark: &str, end: char) -> String {
    let (_, rest) = text.split_once(mark).unwrap_or_else(|| panic!("no {mark} in {text}"));
    rest.split(end).next().unwrap_or_default().to_owned()
}
