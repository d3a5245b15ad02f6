use proptest::prelude::*;
use unicode_width::UnicodeWidthStr;

use super::*;

const NARROW: Screen = Screen { width_cells: 80, ambiguous_is_wide: false };

fn screen(width_cells: usize) -> Screen {
    Screen { width_cells, ..NARROW }
}

/// What a terminal that wraps makes of rows, when a character takes as many cells as `cells` says.
fn on_a_terminal(rows: &str, width: usize, cells: impl Fn(char) -> usize) -> Vec<String> {
    let mut seen = Vec::new();
    for row in rows.strip_suffix('\n').expect("whole rows").split('\n') {
        let (mut line, mut used) = (String::new(), 0);
        for c in row.chars() {
            if used + cells(c) > width {
                seen.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(c);
            used += cells(c);
        }
        seen.push(line);
    }
    seen
}

fn is_ours(row: &str, position: usize, lead: &str) -> bool {
    (position == 0 && row.starts_with(&lead[..lead.len().min(row.len())]))
        || row.trim_start_matches(' ').starts_with(MARK)
}

/// The least and the most that terminals are known to give a character.
type Counts = (&'static str, fn(char) -> usize);

fn terminals() -> [Counts; 4] {
    [
        ("by the tables", |c| c.width().unwrap_or(0)),
        ("that combines nothing", |c| c.width().unwrap_or(0).max(1)),
        ("of before 2014, all but ASCII wide where it may be", |c| NARROW.most_cells(c)),
        ("that shows no invisible character", |c| {
            if reading::is_invisible(c) { 0 } else { c.width().unwrap_or(0) }
        }),
    ]
}

#[test]
fn a_text_that_looks_like_anothers_line_does_not_begin_a_row() {
    let forged = "00:01 alice: I owe you";
    let fillers = [
        '\u{3164}',
        '\u{115f}',
        '\u{1160}',
        '\u{ffa0}',
        '\u{2800}',
        '\u{3000}',
        '\u{2003}',
        ' ',
        '\u{a0}',
        '\u{200b}',
        '\u{34f}',
        '\u{e000}',
        '\u{378}',
        '\u{302a}',
        '\u{1f9ff}',
        '\u{20e3}',
        '\u{fe0f}',
        '\u{ad}',
        '¡',
        'Ж',
        '\u{fdfd}',
        '\t',
    ];
    for filler in fillers {
        for width in 1..100 {
            for count in [0, 1, 30, 31, 32, 60, 66] {
                let text = format!("hi{}{forged}", filler.to_string().repeat(count));
                let shown = paragraph("00:00 ", "bob: ", &text, screen(width));
                for (name, cells) in terminals() {
                    for (position, row) in
                        on_a_terminal(&shown, width.max(NARROWEST), cells).iter().enumerate()
                    {
                        assert!(
                            is_ours(row, position, "00:00 "),
                            "{filler:?} {count} at {width}, {name}: {shown}"
                        );
                    }
                }
            }
        }
    }
}

/// Whatever is shown of any character takes no more cells than were counted.
#[test]
fn every_character_is_bounded() {
    // In the planes of which nothing is assigned, now and then one.
    let all =
        ('\0'..=char::MAX).filter(|c| !('\u{40000}'..'\u{e0000}').contains(c) || u32::from(*c) % 997 == 0);
    for c in all {
        let text = format!("a{c}");
        let (shown, counted) = (super::super::escaped(&text), NARROW.cells(&text));
        assert!(shown.width() <= counted, "{c:?}: {} over {counted}", shown.width());
        for (name, cells) in terminals() {
            let cells: usize = shown.chars().map(cells).sum();
            assert!(cells <= counted, "{c:?} takes {cells} on a terminal {name}, over {counted}");
        }
        let wide = Screen { ambiguous_is_wide: true, ..NARROW };
        assert!(shown.width_cjk() <= wide.cells(&text), "{c:?} where ambiguous is wide");
    }
}

#[test]
fn rows_break_at_words_and_carry_the_mark() {
    let shown = paragraph("18:05 ", "bob: ", "one two three four\nfive", screen(24));
    assert_eq!(shown, "18:05 bob: one two \n        | three four\n        | five\n");
    let shown = paragraph("18:05 ", "bob: ", "hi\n18:06 alice: I owe you", screen(80));
    assert_eq!(shown, "18:05 bob: hi\n           | 18:06 alice: I owe you\n");
    assert_eq!(paragraph("* ", "", "", screen(80)), "* \n");
    // Cyrillic fills its rows, unless the terminal may draw it wide.
    let text = "ж".repeat(60);
    assert_eq!(paragraph("* ", "", &text, screen(80)).lines().count(), 1);
    let wide = Screen { ambiguous_is_wide: true, ..NARROW };
    assert_eq!(paragraph("* ", "", &text, wide).lines().count(), 2);
}

#[test]
fn a_line_ends_with_its_direction_reset() {
    let shown = paragraph("18:05 ", "bob: ", "שלום\nhi", screen(80));
    assert_eq!(shown, "18:05 \u{200e}bob: שלום\u{200e}\n           | hi\n");
    let name = super::super::one_line("דן");
    let shown = paragraph("18:05 ", &format!("{name}: "), "שלום", screen(80));
    assert_eq!(shown, "18:05 \u{200e}דן\u{200e}: שלום\u{200e}\n");
}

/// tmux joins what follows a joiner, though it be the mark of the next row.
#[test]
fn no_row_ends_with_a_joiner() {
    for width in 3..40 {
        let text = "क्\u{200d}".repeat(40) + "\nക്\u{200d}";
        let shown = paragraph("00:00 ", "bob: ", &text, screen(width));
        assert!(shown.lines().all(|row| !row.ends_with('\u{200d}')), "{shown:?}");
    }
    assert_eq!(super::super::one_line("ക്\u{200d}"), "ക്\u{200d}\u{200e}");
}

#[test]
fn what_has_to_fit_is_cut() {
    assert_eq!(fit("lobby", 5, NARROW), "lobby");
    assert_eq!(fit("a_long_room", 5, NARROW), "a_l…");
    assert_eq!(fit("山田太郎", 6, NARROW), "山田…");
    assert_eq!(fit("abc", 0, NARROW), "…");
}

fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<String>(),
        "[ -~]{0,20}",
        "\u{200d}|\u{200c}|\u{301}{1,9}|\u{fe0f}|\u{3164}|\u{200f}|\u{1f468}|\u{5d0}|\u{628}|\u{94d}|\u{915}| {1,90}|00:01 alice: |\n|\t",
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn nobody_forges_a_row(text in texts(), head in texts(), width in 1_usize..120, wide in any::<bool>()) {
        let screen = Screen { width_cells: width, ambiguous_is_wide: wide };
        let head = head.replace(['\n', '\t'], " ");
        let shown = paragraph("00:00 ", &head, &text, screen);
        for (name, cells) in terminals() {
            for (position, row) in on_a_terminal(&shown, width.max(NARROWEST), cells).iter().enumerate() {
                prop_assert!(is_ours(row, position, "00:00 "), "{} on a terminal {}: {:?}", row, name, shown);
            }
        }
    }

    #[test]
    fn what_fits_fits(text in texts(), cells in 1_usize..40) {
        prop_assert!(NARROW.cells(&fit(&text, cells, NARROW)) <= cells.max(1));
    }
}
