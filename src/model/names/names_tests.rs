//! Names that are one, names that are none, and names that were stored under former rules.

use super::rules::{by_the_tables, canonical, former};
use super::*;
use proptest::prelude::*;
use unicode_normalization::UnicodeNormalization;

fn user(text: &str) -> Result<String, NameError> {
    UserName::parse(text).map(|name| name.to_string())
}

#[test]
fn case_and_width_twins_are_one_name() {
    for twin in ["alice", "Alice", "ALICE", "Ａｌｉｃｅ"] {
        assert_eq!(user(twin).as_deref(), Ok("alice"), "{twin}");
    }
    assert_eq!(user("ЖАННА").as_deref(), Ok("жанна"));
    assert_eq!(user("e\u{301}lan").as_deref(), Ok("élan"), "composed");
}

#[test]
fn what_is_no_name_is_refused_with_its_reason() {
    assert_eq!(user(""), Err(NameError::Empty));
    assert_eq!(user(&"a".repeat(33)), Err(NameError::TooLong { max: 32 }));
    assert_eq!(user(&"a".repeat(70_000)), Err(NameError::TooLong { max: 32 }));
    let bad = [
        ".",
        "..",
        "../x",
        "-a",
        "_a",
        "a b",
        "a\0",
        "a\nb",
        "a\u{1b}[2J",
        "a/b",
        "a%2fb",
        "@a",
        "a,b",
        "a\u{200d}b",
        "a\u{200b}b",
        "\u{202e}abc",
        "a\u{2028}",
        "a\u{b7}b",
        "ℵ0\u{20dd}",
        "a\u{fe0f}",
        "😀",
        "\u{301}a",
        "l\u{b7}l",
        "③",
    ];
    for text in bad {
        assert!(user(text).is_err(), "{text:?}");
    }
    assert_eq!(user("pаypal"), Err(NameError::MixedScripts), "a Cyrillic а");
    assert_eq!(user("abcжд"), Err(NameError::MixedScripts));
}

#[test]
fn names_of_the_world_are_names() {
    for text in ["bob", "r2-d2", "jean_luc", "a.b", "жанна", "山田太郎", "yamada山田", "명수", "नमस्ते", "0day"]
    {
        assert!(user(text).is_ok(), "{text}: {:?}", user(text));
    }
    assert!(RoomName::parse(&"r".repeat(50)).is_ok());
    assert!(RoomName::parse(&"r".repeat(51)).is_err());
}

/// UTS 39, 5.4: what a screen shows as another name, or does not show.
#[test]
fn marks_that_vanish_or_merge_make_no_name() {
    let bad = [
        "e\u{301}\u{301}", // the accent doubled
        "\u{e9}\u{301}",
        "a\u{342}\u{303}", // two tildes that look alike
        "i\u{307}\u{307}van",
        "\u{130}\u{307}van",
        "\u{131}\u{307}van", // a dotless i with a dot
        "l\u{307}van",
        "a\u{300}\u{301}\u{302}\u{303}\u{304}",
        "a\u{3099}", // Japanese voicing on a Latin letter
        "山\u{301}",
        "山\u{3099}",
        "а\u{64b}", // an Arabic mark on a Cyrillic letter
        "o\u{338}", // a stroke laid over a letter
        "e\u{335}va",
        "a1\u{301}",
        "a-\u{301}b",
        "\u{644}\u{651}\u{651}",
        "\u{4cf}\u{307}",
        "a\u{34f}\u{301}",
        "葛\u{e0100}",
    ];
    for text in bad {
        assert!(
            matches!(user(text), Err(NameError::Marks | NameError::BadCharacter | NameError::MixedScripts)),
            "{text:?}"
        );
        assert!(RoomName::parse(text).is_err(), "{text:?}");
    }
    let good = [
        "é",
        "ế",
        "o\u{331}\u{301}",
        "й",
        "а\u{301}",
        "שָׁלוֹם",
        "مُحَمَّد",
        "नमस्ते",
        "ព្រះ",
        "བསྒྲུབས",
        "မျှော်",
        "が",
        "ทั้ง",
        "ŷ",
    ];
    for text in good {
        assert!(user(text).is_ok(), "{text:?}: {:?}", user(text));
    }
}

#[test]
fn a_dot_above_a_dotted_letter_falls_away() {
    for (text, name) in [
        ("İspir", "ispir"),
        ("i\u{307}van", "ivan"),
        ("j\u{307}", "j"),
        ("і\u{307}ван", "іван"),
        ("i\u{307}\u{301}", "í"),
        ("i\u{323}\u{307}", "ị"),
        ("\u{12f}\u{307}", "\u{12f}"),
        ("ż", "ż"),
        ("ISPİR", "ispir"),
    ] {
        assert_eq!(user(text).as_deref(), Ok(name), "{text:?}");
        assert_eq!(RoomName::parse(text).map(|room| room.to_string()).as_deref(), Ok(name));
    }
}

#[test]
fn case_is_mapped_by_the_whole_word() {
    for text in ["Γιώργος", "ΓΙΏΡΓΟΣ", "γιώργος"] {
        assert_eq!(user(text).as_deref(), Ok("γιώργος"), "{text}");
    }
    let key = |text: &str| UserName::parse(text).expect("a name").case_key().into_owned();
    for (one, other) in [("straße", "strasse"), ("Straße", "STRASSE"), ("γιώργοσ", "Γιώργος")]
    {
        assert_eq!(key(one), key(other), "{one} {other}");
    }
    assert_ne!(user("straße"), user("strasse"), "two spellings");
    assert_ne!(key("ı"), key("i"));
}

/// What the former rules of names made, and the present ones do not.
#[test]
fn stored_names_are_reached_by_their_spelling() {
    let stored: Vec<UserName> =
        ["ivan", "i\u{307}van", "i\u{307}spir", "γιώργοσ", "e\u{301}\u{301}", "straße", "bob"]
            .map(|name| UserName::from_canonical(&name.nfc().collect::<String>()).expect("plausible"))
            .into();
    let is_stored = |name: &str| stored.iter().any(|stored| stored.as_str() == name);
    let users = Spellings::of_users(stored.iter(), is_stored);
    let spellings = Spellings { users: users.into(), ..Spellings::default() };
    let meant = |text: &str| spellings.user(text).map(|name| name.to_string());
    for name in &stored {
        assert_eq!(meant(name.as_str()).as_deref(), Ok(name.as_str()), "its own spelling");
        let given = UserName::as_given(name.as_str()).expect("a name by the former rules");
        assert_eq!(meant(given.as_str()).as_deref(), Ok(name.as_str()), "through a client");
    }
    // Where two meet, the canonical form is the other's.
    assert_eq!(meant("İvan").as_deref(), Ok("ivan"));
    // Where they do not, what reached it before reaches it still.
    assert_eq!(meant("İspir").as_deref(), Ok("i\u{307}spir"));
    assert_eq!(meant("ΓΙΏΡΓΟΣ").as_deref(), Ok("γιώργοσ"));
    assert_eq!(meant("γιώργος").as_deref(), Ok("γιώργοσ"), "what its capitals are now");
    assert_eq!(meant("STRASSE").as_deref(), Ok("strasse"));
    assert_eq!(meant("ispir").as_deref(), Ok("i\u{307}spir"), "what it would be called now");
    assert_eq!(meant("strasse").as_deref(), Ok("strasse"), "another spelling");
    // What would be the name of two is neither's.
    let two: Vec<UserName> =
        ["i\u{307}i", "ii\u{307}"].map(|name| UserName::from_canonical(name).expect("plausible")).into();
    let users = Spellings::of_users(two.iter(), |name| two.iter().any(|two| two.as_str() == name));
    assert_eq!(Spellings::user_among(&users, "ii").map(|name| name.to_string()).as_deref(), Ok("ii"));
    // Once it is gone, its spelling is as good as any.
    spellings.users.remove("i\u{307}van");
    assert_eq!(meant("i\u{307}van").as_deref(), Ok("ivan"));
    assert_eq!(UserName::as_given("Alice").as_ref().map(UserName::as_str), Ok("alice"));
    assert!(UserName::as_given("a b").is_err());
}

/// Every letter that can be a name is still one, and what is no name is not made one.
#[test]
fn every_letter_keeps_its_name() {
    let mut fewer = String::new();
    for c in '\0'..=char::MAX {
        let text = c.to_string();
        let (former, present) = (former(&text, 32), canonical(&text, 32));
        match (former, present) {
            (Ok(former), Ok(present)) if former == present => {}
            (Err(former), Err(present)) => assert_eq!(former, present, "{c:?}"),
            _ => fewer.push(c),
        }
    }
    assert_eq!(fewer, "İ", "its dot falls away");
}

/// No name holds what a screen does not show.
#[test]
fn no_name_holds_an_invisible_character() {
    for c in crate::sanitize::INVISIBLE.iter().cloned().flatten() {
        assert!(user(&format!("a{c}b")).is_err() && user(&format!("か{c}")).is_err(), "{c:?}");
    }
}

#[test]
fn timestamps_round_trip_at_the_ends_of_time() {
    for millis in [0, -1, 1_795_284_321_311, 4_291_747_200_000, i64::MIN, i64::MAX] {
        let moment = Timestamp::from_millis(millis);
        assert_eq!(moment.to_string().parse(), Ok(moment), "{moment}");
    }
    assert_eq!(Timestamp::from_millis(1_795_284_321_311).to_string(), "2026-11-21T18:05:21.311Z");
    assert_eq!(Timestamp::from_millis(1_795_284_321_000).to_string(), "2026-11-21T18:05:21.000Z");
    assert_eq!(Timestamp::from_millis(1_795_284_321_311).month(), (2026, 11));
}

proptest! {
    #[test]
    fn canonical_form_is_stable(text in any::<String>()) {
        if let Ok(name) = UserName::parse(&text) {
            prop_assert_eq!(UserName::parse(name.as_str()), Ok(name.clone()));
            prop_assert_eq!(UserName::from_canonical(name.as_str()), Ok(name));
        }
    }

    #[test]
    fn ascii_needs_no_tables(text in "[ -~]{1,40}|[a-zA-Z0-9._-]{1,40}") {
        match (canonical(&text, 32), by_the_tables(&text, 32)) {
            (Ok(name), tables) => prop_assert_eq!(Ok(name), tables),
            // Which of several faults is told first may differ.
            (Err(_), tables) => prop_assert!(tables.is_err()),
        }
    }

    #[test]
    fn twins_collide(text in "[a-zA-Z0-9äöüßжнаçé]{1,32}") {
        if let Ok(name) = UserName::parse(&text) {
            let upper = UserName::parse(&text.to_uppercase());
            // ß becomes SS in upper case, which is another spelling, not a twin.
            if !text.contains('ß') {
                prop_assert_eq!(upper, Ok(name.clone()));
            }
            let wide: String = text.chars().map(|c| match c {
                '!'..='~' => char::from_u32(c as u32 + 0xFEE0).expect("full-width forms mirror ASCII"),
                other => other,
            }).collect();
            prop_assert_eq!(UserName::parse(&wide), Ok(name));
        }
    }
}
