//! Texts in rows of a terminal, none of which can pass for another's.
//!
//! How wide a terminal draws a character is known of no terminal for certain: tables differ by version, fonts
//! and settings, and some draw each part of a sequence by itself. So nothing here relies on exact counts.
//! [`Screen::most_cells`] is an upper bound, whatever the terminal; rows are broken by it, so that the
//! terminal has nothing left to break; and what could not be bounded was told by its number before (see
//! `reading`). Every row but the first begins with our mark ([`MARK`]), the first with `lead`, which
//! is ours as well. Who writes to a terminal turns its own wrapping off meanwhile ([`UNWRAPPED`]): should a
//! bound not hold after all, a row is cut, and still nobody else's text begins one.

use unicode_properties::{GeneralCategory, UnicodeEmoji, UnicodeGeneralCategory as _};
use unicode_width::UnicodeWidthChar;

use super::reading::{self, LRM, RLM, Shown, ZWJ};

/// What every row of a text begins with, behind its indentation, but for the first.
pub const MARK: &str = "| ";
/// What to write before and behind rows, on a terminal that knows control sequences: its own wrapping off, and
/// on again (DECAWM).
pub const UNWRAPPED: (&str, &str) = ("\x1b[?7l", "\x1b[?7h");

/// Cells that a tab is shown as.
const TAB: &str = "    ";
/// Indented is only where the rest of the row has at least this many cells.
const LEAST_ROOM: usize = 12;
/// The narrowest terminal on which a row can have a mark and something behind it.
const NARROWEST: usize = 3;

/// How large a terminal's rows are, and how it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// Cells in a row. Fewer than 3 count as 3.
    pub width_cells: usize,
    /// Whether characters that Unicode calls ambiguous (Greek and Cyrillic letters among them) may take two
    /// cells, as they do on many terminals of Chinese, Japanese and Korean users.
    pub ambiguous_is_wide: bool,
}

impl Screen {
    /// A terminal of this width, under the locale of the environment.
    pub fn of_this_locale(width_cells: usize) -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
        let ambiguous_is_wide = ["zh", "ja", "ko"].iter().any(|language| locale.starts_with(language));
        Screen { width_cells, ambiguous_is_wide }
    }

    /// The most cells that a terminal takes for a character that is shown as it is.
    pub fn most_cells(self, c: char) -> usize {
        if matches!(c, ' '..='~') {
            return 1;
        }
        if reading::is_invisible(c) {
            // Behind a joiner there may have to be a mark that ends its work.
            return if c == ZWJ { 2 } else { 1 };
        }
        if reading::is_mark(c) {
            // A terminal that does not combine gives it cells of its own.
            return if c >= '\u{2e80}' { 2 } else { 1 };
        }
        if self.ambiguous_is_wide {
            return c.width_cjk().unwrap_or(1).max(2);
        }
        let uncertain = matches!(c, '\u{1160}'..='\u{11ff}' | '\u{d7b0}'..='\u{d7ff}' | '\u{1f000}'..='\u{1faff}')
            || c.is_emoji_char()
            || c.general_category() == GeneralCategory::SpaceSeparator;
        c.width().unwrap_or(1).max(if uncertain { 2 } else { 1 })
    }

    /// The cells that may be written to: where there are many, not the last, for there are terminals that
    /// begin a new row as soon as it is taken.
    fn usable_cells(self) -> usize {
        let width = self.width_cells.max(NARROWEST);
        if width > LEAST_ROOM { width - 1 } else { width }
    }
}

/// A text of many lines behind a head, as rows that end with newlines. `lead` is ours, in ASCII: a time, a
/// mark. Whatever came from others is in `head` (who, where: each name through [`super::one_line`]) or `text`,
/// which need not be safe.
pub fn paragraph(lead: &str, head: &str, text: &str, screen: Screen) -> String {
    let mut lines = text.split('\n');
    let head = super::escaped(head);
    let first = format!("{lead}{head}{}", lines.next().unwrap_or_default());
    let indent_cells = screen.cells(&format!("{lead}{head}")).min(screen.width_cells / 3);
    let mut rows = Rows::new(screen, indent_cells);
    rows.put_line(&first, lead.len());
    for line in lines {
        rows.go_on();
        rows.put_line(line, 0);
    }
    rows.finish()
}

/// The text on one line of at most this many cells, cut with an ellipsis where it is longer: for a prompt, or a
/// column.
pub fn fit(text: &str, cells: usize, screen: Screen) -> String {
    let shown = super::one_line(text);
    if screen.cells(&shown) <= cells {
        return shown.into_owned();
    }
    let (mut out, mut used) = (String::new(), 0);
    for cluster in clusters(&shown, screen) {
        used += cluster.cells;
        if used + 2 > cells {
            break;
        }
        out.push_str(&cluster.text);
    }
    // What is left of a line need not have the letters that its marks were there for.
    out.retain(|c| !matches!(c, LRM | RLM));
    out.extend(reading::closing(&out));
    out.push('\u{2026}');
    out
}

impl Screen {
    /// The most cells of a line, as it is shown.
    fn cells(self, line: &str) -> usize {
        clusters(line, self).map(|cluster| cluster.cells).sum()
    }
}

/// Characters that are not parted.
struct Cluster {
    text: String,
    cells: usize,
    ends_word: bool,
}

impl Cluster {
    fn of(c: char, cells: usize) -> Self {
        Cluster { text: c.into(), cells, ends_word: c == ' ' }
    }

    /// The same by numbers, one character of ASCII at a time: for a row that is too narrow for it.
    fn by_numbers(&self) -> impl Iterator<Item = Cluster> {
        let numbers: String = self.text.chars().map(super::number).collect();
        numbers.into_bytes().into_iter().map(|b| Cluster::of(char::from(b), 1))
    }
}

fn clusters(line: &str, screen: Screen) -> impl Iterator<Item = Cluster> {
    let mut read = reading::read(line).peekable();
    let mut numbers = String::new().into_bytes().into_iter();
    std::iter::from_fn(move || {
        if let Some(b) = numbers.next() {
            return Some(Cluster::of(char::from(b), 1));
        }
        let mut cluster = match read.next()? {
            Shown::ByNumber(c) => {
                numbers = super::number(c).into_bytes().into_iter();
                return numbers.next().map(|b| Cluster::of(char::from(b), 1));
            }
            Shown::AsItIs { c, .. } => Cluster::of(c, screen.most_cells(c)),
        };
        while let Some(Shown::AsItIs { c, .. }) =
            read.next_if(|shown| matches!(shown, Shown::AsItIs { joins: true, .. }))
        {
            cluster.text.push(c);
            cluster.cells += screen.most_cells(c);
            cluster.ends_word = false;
        }
        Some(cluster)
    })
}

struct Rows {
    screen: Screen,
    begin: String,
    out: String,
    /// Where the present row's text begins in `out`, behind its mark.
    row_text: usize,
    used_cells: usize,
    usable_cells: usize,
    /// Whether the present line's direction has to be set right; there is room for the marks that do it.
    turns: bool,
}

impl Rows {
    fn new(screen: Screen, indent_cells: usize) -> Self {
        let room = screen.usable_cells().saturating_sub(indent_cells + MARK.len());
        let indent_cells = if room < LEAST_ROOM { 0 } else { indent_cells };
        let begin = " ".repeat(indent_cells) + MARK;
        Rows {
            screen,
            begin,
            out: String::new(),
            row_text: 0,
            used_cells: 0,
            usable_cells: screen.usable_cells(),
            turns: false,
        }
    }

    /// Puts a line, the first `lead_bytes` of which are ours.
    fn put_line(&mut self, line: &str, lead_bytes: usize) {
        let (lead, line) = line.split_at(lead_bytes);
        // Room for the marks that set the direction right, should the terminal show them.
        self.usable_cells = self.screen.usable_cells();
        self.turns = reading::turns(line) && self.usable_cells > LEAST_ROOM;
        self.usable_cells -= if self.turns { 2 } else { 0 };
        for cluster in lead.chars().map(|c| Cluster::of(c, 1)) {
            self.put(&cluster);
        }
        self.row_text = self.out.len();
        let line = line.replace('\t', TAB);
        let mut word: Vec<Cluster> = Vec::new();
        for cluster in clusters(&line, self.screen) {
            let ends = cluster.ends_word;
            word.push(cluster);
            if ends {
                self.put_word(&mut word);
            }
        }
        self.put_word(&mut word);
    }

    /// A word goes whole to the next row, unless it would not fit there either.
    fn put_word(&mut self, word: &mut Vec<Cluster>) {
        let cells: usize = word.iter().map(|cluster| cluster.cells).sum();
        let fits_next = self.begin.len() + cells <= self.usable_cells;
        let fresh = self.used_cells <= self.begin.len();
        if !fresh && self.used_cells + cells > self.usable_cells && fits_next {
            self.go_on();
        }
        for cluster in word.drain(..) {
            self.put(&cluster);
        }
    }

    fn put(&mut self, cluster: &Cluster) {
        if self.begin.len() + cluster.cells > self.usable_cells && cluster.cells > 1 {
            cluster.by_numbers().for_each(|cluster| self.put(&cluster));
            return;
        }
        if self.used_cells + cluster.cells > self.usable_cells {
            self.go_on();
        }
        self.out.push_str(&cluster.text);
        self.used_cells += cluster.cells;
    }

    /// Begins the next row.
    fn go_on(&mut self) {
        self.end_row();
        self.out.push_str(&self.begin);
        self.row_text = self.out.len();
        self.used_cells = self.begin.len();
    }

    /// Ends a row, its direction set right: it begins and ends as left-to-right writing.
    fn end_row(&mut self) {
        let row = &self.out[self.row_text..];
        if self.turns && reading::turns(row) {
            self.out.insert(self.row_text, LRM);
            self.out.push(LRM);
        } else if row.ends_with(ZWJ) {
            self.out.push(LRM);
        }
        self.out.push('\n');
    }

    fn finish(mut self) -> String {
        self.end_row();
        self.out
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
