use proptest::prelude::*;

use super::*;

#[test]
fn ordinary_text_is_left_alone() {
    for text in ["", "hello", "жанна said: 山田太郎 \\n \"x\"", "e\u{301} 😀"] {
        assert!(matches!(one_line(text), Cow::Borrowed(same) if same == text), "{text}");
    }
}

#[test]
fn ordinary_writing_of_the_world_looks_as_it_is_written() {
    let ordinary = [
        "می‌خواهم", // Persian, a non-joiner in the word
        "کتاب‌های خوب",
        "नमस्ते क्‍ष क्‌ष", // Hindi, both joiners behind a virama
        "ශ්‍රී ලංකා",     // Sinhala
        "র‍্যাব",        // Bengali, a joiner before the virama
        "ನ್‍ನ",
        "👩‍👩‍👧‍👦 👩🏽‍💻 🏳️‍🌈 ❤️‍🔥 🏴‍☠️ 👁️‍🗨️", // emoji sequences
        "❤️ ✔︎ 1️⃣ #️⃣ 🇪🇺",
        "🏴󠁧󠁢󠁳󠁣󠁴󠁿 🏴󠁧󠁢󠁥󠁮󠁧󠁿!",
        "葛\u{e0100}飾区",
        "שָׁלוֹם C++\u{200e} עולם",
        "abc \u{200f}(עברית)\u{200f}",
        "བསྒྲུབས",
        "Việt Nam e\u{302}\u{301}",
        "한국어 ภาษาไทย မြန်မာ",
        "\u{1faff} \u{1facf}", // places of emoji to come
    ];
    for text in ordinary {
        assert_eq!(escaped(text), text);
        assert!(matches!(escaped(text), Cow::Borrowed(_)));
    }
}

#[test]
fn invisible_characters_out_of_their_place_show_themselves() {
    let told = |text: &str| escaped(text).into_owned();
    assert_eq!(told("a\u{200d}b\u{200c}c"), "a\\u{200d}b\\u{200c}c");
    assert_eq!(told("\u{200d}\u{1f468}\u{200d}"), "\\u{200d}\u{1f468}\\u{200d}");
    assert_eq!(told("ب\u{200c}\u{200c}ب"), "ب\\u{200c}\\u{200c}ب");
    assert_eq!(told("ا\u{200c}ب"), "ا\\u{200c}ب", "the alef does not join");
    assert_eq!(told("100 \u{200f}- 200"), "100 \\u{200f}- 200");
    assert_eq!(told("א\u{200e}\u{200e}"), "א\u{200e}\\u{200e}");
    assert_eq!(told("\u{202e}x\u{2067}y\u{2069}\u{61c}"), "\\u{202e}x\\u{2067}y\\u{2069}\\u{61c}");
    assert_eq!(told("a\u{fe0f}\u{e0100}"), "a\\u{fe0f}\\u{e0100}");
    assert_eq!(told("\u{1f3f4}\u{e0067}\u{e007f}"), "\u{1f3f4}\\u{e0067}\\u{e007f}");
    assert_eq!(told("\u{3164}\u{115f}\u{ffa0}\u{34f}"), "\\u{3164}\\u{115f}\\u{ffa0}\\u{34f}");
    assert_eq!(told("\u{e000}\u{378}\u{10ffff}"), "\\u{e000}\\u{378}\\u{10ffff}");
    assert_eq!(told("\u{301}a \u{301}"), "\\u{301}a \\u{301}", "marks on nothing");
    let zalgo = format!("a{}", "\u{301}".repeat(8));
    assert_eq!(told(&zalgo), format!("a{}\\u{{301}}\\u{{301}}", "\u{301}".repeat(6)));
}

#[test]
fn what_drives_a_terminal_or_forges_a_line_shows_itself() {
    assert_eq!(one_line("a\nb\r\tc"), "a\\nb\\r\\tc");
    assert_eq!(one_line("\u{1b}]0;x\u{7}\u{9b}2J\u{7f}"), "\\u{1b}]0;x\\u{7}\\u{9b}2J\\u{7f}");
    assert_eq!(one_line("\u{202e}evil\u{2066}\u{200b}\u{feff}"), "\\u{202e}evil\\u{2066}\\u{200b}\\u{feff}");
    assert_eq!(one_line("a\u{2028}b\u{2029}c\u{85}"), "a\\u{2028}b\\u{2029}c\\u{85}");
    assert_eq!(lines("a\nb\u{1b}"), "a\nb\\u{1b}");
}

#[test]
fn what_follows_right_to_left_writing_stands_where_it_should() {
    assert_eq!(one_line("דן"), "דן\u{200e}");
    assert_eq!(lines("דן\nx"), "דן\u{200e}\nx");
    assert_eq!(one_line(&one_line("דן")), "דן\u{200e}");
}

/// What no display may get, wherever it stands.
fn never(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}'
            | '\u{2060}' | '\u{feff}' | '\u{ad}' | '\u{3164}' | '\u{e000}'..='\u{f8ff}')
}

proptest! {
    #[test]
    fn nothing_that_drives_a_display_is_left(text in any::<String>()) {
        prop_assert!(!one_line(&text).contains(never));
        prop_assert!(one_line(&text).lines().count() <= 1);
        prop_assert_eq!(lines(&text).split('\n').count(), text.split('\n').count());
    }

    #[test]
    fn what_was_made_safe_is_safe(text in any::<String>()) {
        let once = escaped(&text).into_owned();
        prop_assert_eq!(escaped(&once), once.as_str());
    }
}
