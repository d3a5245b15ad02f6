//! What a payload may and may not be, table by table.

use proptest::prelude::*;

use super::*;

fn read(payload: &str) -> Result<Request, Refusal> {
    let raw = RawRequest::parse(payload.as_bytes())?;
    let kind = raw.kind()?;
    raw.to_request(kind, &Spellings::default())
}

fn code(payload: &str) -> ErrorCode {
    match read(payload) {
        Ok(request) => panic!("{payload} was taken for {request:?}"),
        Err(refusal) => refusal.code,
    }
}

fn nested(depth: usize) -> String {
    let arrays = depth - 1;
    format!(r#"{{"type":"ping","x":{}{}}}"#, "[".repeat(arrays), "]".repeat(arrays))
}

#[test]
fn what_is_not_one_json_object_is_a_bad_request() {
    let bad = [
        "",
        " ",
        "null",
        "[]",
        "\"ping\"",
        "{",
        r#"{"type":"ping"}x"#,
        r#"{"type":"ping"}{}"#,
        "\u{feff}{\"type\":\"ping\"}",
        r#"{"type":"ping","type":"ping"}"#,
        r#"{"type":"ping","\u0074ype":"ping"}"#,
        r#"{"type":"ping","ref":null,"ref":"a"}"#,
        r#"{"type":"ping","x":1e}"#,
        r#"{"type":"ping","x":"\ud800"#,
        r#"{}"#,
        r#"{"type":null}"#,
        r#"{"type":7}"#,
        r#"{"type":"join","room":"lobby","history":1e999}"#,
        r#"{"type":"ping","x":1e999}"#,
        r#"{"type":"ping","x":[{"y":-1e999}]}"#,
        r#"{"type":"ping","x":"\ud800"}"#,
    ];
    for payload in bad {
        assert_eq!(code(payload), ErrorCode::BadRequest, "{payload}");
    }
    let not_utf8 = RawRequest::parse(b"{\"type\":\"\xff\"}").expect_err("not UTF-8");
    assert_eq!(not_utf8.code, ErrorCode::BadRequest);
}

#[test]
fn a_refusal_never_repeats_a_long_payload() {
    let refusal = RawRequest::parse(format!("\"{}\"", "x".repeat(60_000)).as_bytes()).expect_err("a string");
    assert!(refusal.text.len() < 1_000);
}

#[test]
fn depth_and_members_are_bounded_exactly() {
    assert_eq!(read(&nested(128)), Ok(Request::Ping));
    assert_eq!(code(&nested(129)), ErrorCode::BadRequest);
    assert_eq!(code(&nested(20_000)), ErrorCode::BadRequest);
    let brackets_in_text = format!(r#"{{"type":"ping","x":"{}\"{}"}}"#, "[".repeat(200), "{".repeat(200));
    assert_eq!(read(&brackets_in_text), Ok(Request::Ping));
    let members = |count: usize| {
        let unknown: String = (1..count).map(|n| format!(r#","x{n}":{n}"#)).collect();
        format!(r#"{{"type":"ping"{unknown}}}"#)
    };
    assert_eq!(read(&members(64)), Ok(Request::Ping));
    assert_eq!(code(&members(65)), ErrorCode::BadRequest);
    assert_eq!(code(&members(10_000)), ErrorCode::BadRequest);
}

#[test]
fn unknown_members_are_ignored_and_null_is_absent() {
    assert_eq!(read(r#"{"colour":{"a":[1,{}]},"type":"ping","ref":null}"#), Ok(Request::Ping));
    let join = read(r#"{"type":"join","room":"Lobby","after":null,"history":null}"#);
    assert_eq!(
        join,
        Ok(Request::Join { room: RoomName::lobby(), page: Page::Newest, limit: 50, term: None })
    );
}

#[test]
fn members_out_of_range_are_bad_requests() {
    let bad = [
        r#"{"type":"identify"}"#,
        r#"{"type":"identify","name":7}"#,
        r#"{"type":"join","room":"lobby","history":501}"#,
        r#"{"type":"join","room":"lobby","history":-1}"#,
        r#"{"type":"join","room":"lobby","history":1.5}"#,
        r#"{"type":"join","room":"lobby","history":"5"}"#,
        r#"{"type":"join","room":"lobby","after":9007199254740992}"#,
        r#"{"type":"join","room":"lobby","after":18446744073709551616}"#,
        r#"{"type":"history","room":"lobby","limit":0}"#,
        r#"{"type":"history","room":"lobby","limit":501}"#,
        r#"{"type":"history","room":"lobby","before":1,"after":1}"#,
        r#"{"type":"history","room":"lobby","with":"bob"}"#,
        r#"{"type":"history"}"#,
        r#"{"type":"say","room":"lobby","text":"x","key":""}"#,
        r#"{"type":"say","room":"lobby"}"#,
        r#"{"type":"resume"}"#,
        r#"{"type":"inbox","after":1,"term":7}"#,
        r#"{"type":"login","name":"bob","password":"x","device":7}"#,
    ];
    for payload in bad {
        assert_eq!(code(payload), ErrorCode::BadRequest, "{payload}");
    }
    let long = "k".repeat(65);
    assert_eq!(code(&format!(r#"{{"type":"ping","ref":"{long}"}}"#)), ErrorCode::BadRequest);
    assert_eq!(
        code(&format!(r#"{{"type":"say","room":"lobby","text":"x","key":"{long}"}}"#)),
        ErrorCode::BadRequest
    );
}

#[test]
fn values_have_codes_of_their_own() {
    assert_eq!(code(r#"{"type":"hello"}"#), ErrorCode::UnknownType);
    assert_eq!(code(r#"{"type":"identify","name":"a b"}"#), ErrorCode::BadName);
    assert_eq!(code(r#"{"type":"join","room":"../x"}"#), ErrorCode::BadRoom);
    assert_eq!(code(r#"{"type":"register","name":"bob","password":"short"}"#), ErrorCode::BadPassword);
    assert_eq!(code(r#"{"type":"say","room":"lobby","text":""}"#), ErrorCode::BadText);
    assert_eq!(code(r#"{"type":"say","room":"lobby","text":"a\u001bb"}"#), ErrorCode::BadText);
    assert_eq!(code(r#"{"type":"say","room":"lobby","text":"a\u2028b"}"#), ErrorCode::BadText);
    assert_eq!(code(r#"{"type":"say","room":"lobby","text":"a\u0085b"}"#), ErrorCode::BadText);
    let text = |bytes: usize| format!(r#"{{"type":"say","room":"lobby","text":"{}"}}"#, "x".repeat(bytes));
    assert_eq!(code(&text(4_097)), ErrorCode::TextTooLong);
    assert!(read(&text(4_096)).is_ok());
    assert!(read(r#"{"type":"say","room":"lobby","text":"a\tb\nc 😀"}"#).is_ok());
}

#[test]
fn a_secret_never_prints_itself() {
    let login = read(r#"{"type":"login","name":"bob","password":"hunter22"}"#);
    assert!(!format!("{login:?}").contains("hunter22"));
    let resume = read(r#"{"type":"resume","token":"s3cr3t"}"#);
    assert!(!format!("{resume:?}").contains("s3cr3t"));
}

#[test]
fn every_request_comes_back_from_its_own_bytes() {
    let user = || UserName::parse("bob").expect("a name");
    let room = RoomName::lobby;
    let text = || MessageText::parse("hi \"there\"").expect("a text");
    let id = MessageId::new(7);
    let chosen = |text: &str| Password::chosen(text).expect("long enough");
    let requests = [
        Request::Identify { name: user() },
        Request::Register { name: user(), password: chosen("longenough") },
        Request::Login { name: user(), password: Password::given("x"), device: Some(TokenText::new("t")) },
        Request::Resume { token: TokenText::new("abc") },
        Request::Join { room: room(), page: Page::After(None), limit: 0, term: Some(TermName::new("t1")) },
        Request::Leave { room: room() },
        Request::Say { room: room(), text: text(), key: MessageKey::parse("k") },
        Request::Tell { to: user(), text: text(), key: None },
        Request::History { of: HistoryOf::With(user()), page: Page::Before(id), limit: 500, term: None },
        Request::Inbox { after: id, limit: 1, term: Some(TermName::new("")) },
        Request::Rooms { after: Some(room()), limit: 50 },
        Request::Who { room: Some(room()), after: Some(user()), limit: 50 },
        Request::Passwd { old: Password::given("x"), new: chosen("longenough") },
        Request::Ping,
        Request::Pong,
        Request::Exit,
    ];
    assert_eq!(requests.len(), RequestKind::ALL.len(), "every kind is in this list");
    for request in requests {
        let payload = request.encode(Some("r1"), None);
        let raw = RawRequest::parse(&payload).expect("our own JSON");
        assert_eq!(raw.reference(), Reference::parse("r1"));
        assert_eq!(raw.to_request(request.kind(), &Spellings::default()), Ok(request));
    }
}

#[test]
fn a_text_has_no_control_characters() {
    for c in char::MIN..=char::MAX {
        let forbidden = (c.is_control() && !matches!(c, '\n' | '\t')) || matches!(c, '\u{2028}' | '\u{2029}');
        assert_eq!(MessageText::parse(&format!("a{c}b")).is_err(), forbidden, "{c:?}");
    }
}

proptest! {
    #[test]
    fn nothing_that_arrives_panics(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(raw) = RawRequest::parse(&payload)
            && let Ok(kind) = raw.kind() {
                let _ = raw.to_request(kind, &Spellings::default());
            }
    }

    #[test]
    fn any_text_round_trips(text in any::<String>()) {
        if let Ok(text) = MessageText::parse(&text) {
            let say = Request::Say { room: RoomName::lobby(), text, key: None };
            let payload = say.encode(None, None);
            let raw = RawRequest::parse(&payload).expect("our own JSON");
            prop_assert_eq!(raw.to_request(RequestKind::Say, &Spellings::default()), Ok(say));
        }
    }
}
