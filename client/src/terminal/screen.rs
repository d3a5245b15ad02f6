//! What stands at the bottom of the screen: a question with the line that is being typed, and above it,
//! sometimes, a line that tells how things are now. Everything else scrolls by above them.
//!
//! It gives the bytes to write and writes nothing itself. Rows are ended here and never by the terminal's own
//! wrapping, one cell before its edge, so that the number of rows is known. What is rubbed out never reaches
//! higher than it is sure to: a leftover of the question is a blemish, a message that is gone is a loss.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use veche::sanitize;

/// What a row of a draft begins with behind a line break: the mark of everything that goes on.
const GOES_ON: &str = "| ";
/// What the further rows of a line begin with that tells how things are.
const STATUS_GOES_ON: &str = "  | ";
/// The narrowest screen that rows are computed for, in cells.
const NARROWEST_CELLS: usize = 8;

/// A question with what is typed, as it is to be seen.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// What is asked.
    pub prompt: &'a str,
    /// What is typed, if it may be seen.
    pub text: &'a str,
    /// The bytes of it before the cursor.
    pub cursor: usize,
}

/// How large a screen is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Its width, in cells.
    pub cells: usize,
    /// Its height.
    pub rows: usize,
}

/// The rows of a frame, and the cursor's place in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Rows {
    rows: Vec<Row>,
    cursor_row: usize,
    cursor_cells: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Row {
    text: String,
    cells: usize,
}

/// The bottom of the screen.
#[derive(Debug)]
pub struct Screen {
    size: Size,
    /// Whether the terminal understands how to move the cursor.
    moves: bool,
    /// Whether the terminal folds its rows anew when it is made narrower.
    reflows: bool,
    drawn: Option<Rows>,
    /// How things are, told above the question for as long as they are so.
    status: Option<String>,
}

impl Screen {
    /// An empty screen.
    pub fn new(size: Size, moves: bool, reflows: bool) -> Self {
        Screen { size, moves, reflows, drawn: None, status: None }
    }

    /// Whether a question stands there.
    pub fn is_drawn(&self) -> bool {
        self.drawn.is_some()
    }

    /// The terminal has this size now.
    pub fn resize(&mut self, size: Size, frame: Option<Frame<'_>>) -> String {
        if size == self.size {
            return String::new();
        }
        if self.reflows && size.cells < self.size.cells {
            self.fold(size.cells);
        }
        let mut out = self.erase();
        self.size = size;
        frame.into_iter().for_each(|frame| out.push_str(&self.draw(frame)));
        out
    }

    /// The rows as a narrower terminal has folded them: the cursor stands lower.
    fn fold(&mut self, width_cells: usize) {
        let Some(drawn) = &mut self.drawn else { return };
        let width = width_cells.max(1);
        let above = drawn.rows.iter().take(drawn.cursor_row);
        let rows_above: usize = above.map(|row| row.cells.max(1).div_ceil(width)).sum();
        drawn.cursor_row = rows_above + drawn.cursor_cells / width;
    }

    /// Rubs the question out; the cursor stands where it began.
    fn erase(&mut self) -> String {
        match self.drawn.take() {
            None => String::new(),
            Some(_) if !self.moves => "\r\n".to_owned(),
            Some(rows) => format!("{}\r\x1b[J", up(rows.cursor_row)),
        }
    }

    /// Draws the question as it is now, in the place of what it was.
    pub fn draw(&mut self, frame: Frame<'_>) -> String {
        let mut rows = self.rows(frame);
        rows.keep_around_cursor(self.size.rows.saturating_sub(1).max(1));
        self.draw_rows(rows)
    }

    fn draw_rows(&mut self, rows: Rows) -> String {
        if let Some(suffix) = self.drawn.as_ref().and_then(|drawn| appended(drawn, &rows)) {
            let out = suffix.to_owned();
            self.drawn = Some(rows);
            return out;
        }
        let mut out = self.erase();
        for (position, row) in rows.rows.iter().enumerate() {
            if position > 0 {
                out.push_str("\r\n");
            }
            out.push_str(&row.text);
        }
        if self.moves {
            out.push_str(&up(rows.rows.len() - 1 - rows.cursor_row));
            out.push('\r');
            if rows.cursor_cells > 0 {
                out.push_str(&format!("\x1b[{}C", rows.cursor_cells));
            }
        }
        self.drawn = Some(rows);
        out
    }

    /// The question is answered: it stays as it is, among what scrolls by.
    pub fn finish(&mut self, frame: Frame<'_>) -> String {
        let at_end = Frame { cursor: frame.text.len(), ..frame };
        let mut out = String::new();
        if self.status.is_some() || self.drawn.is_none() {
            // What stands above it is to stand below it: both are drawn anew.
            out.push_str(&self.erase());
            let status = self.status.take();
            let rows = self.rows(at_end);
            self.status = status;
            out.push_str(&self.draw_rows(rows));
        } else {
            let rows = self.rows(at_end);
            out.push_str(&self.draw_rows(rows));
        }
        out.push_str("\r\n");
        self.drawn = None;
        out
    }

    /// From now on this is told above the question, in the place of what was.
    pub fn set_status(&mut self, status: String, frame: Option<Frame<'_>>) -> String {
        let mut out = self.erase();
        self.status = Some(status);
        frame.into_iter().for_each(|frame| out.push_str(&self.draw(frame)));
        out
    }

    /// Things are not so any more: what was told of them last scrolls by.
    pub fn settle_status(&mut self, frame: Option<Frame<'_>>) -> String {
        let mut out = self.erase();
        if let Some(status) = self.status.take() {
            let mut rows = Filling::new(self.usable_cells(), STATUS_GOES_ON);
            rows.push_words(&status);
            for row in rows.done.rows {
                out.push_str(&row.text);
                out.push_str("\r\n");
            }
        }
        frame.into_iter().for_each(|frame| out.push_str(&self.draw(frame)));
        out
    }

    /// Prints whole lines above the question.
    pub fn print(&mut self, lines: &str, frame: Option<Frame<'_>>) -> String {
        let mut out = self.erase();
        for line in lines.lines() {
            out.push_str(line);
            out.push_str("\r\n");
        }
        frame.into_iter().for_each(|frame| out.push_str(&self.draw(frame)));
        out
    }

    /// Begins at the top of an empty screen.
    pub fn clear(&mut self, frame: Option<Frame<'_>>) -> String {
        let mut out = self.erase();
        if self.moves {
            out.push_str("\x1b[H\x1b[2J");
        }
        frame.into_iter().for_each(|frame| out.push_str(&self.draw(frame)));
        out
    }

    /// Something else was on the screen meanwhile: whatever stood there is not touched any more.
    pub fn begin_anew(&mut self, frame: Option<Frame<'_>>) -> String {
        self.drawn = None;
        frame.map(|frame| format!("\r\n{}", self.draw(frame))).unwrap_or_default()
    }

    fn usable_cells(&self) -> usize {
        self.size.cells.saturating_sub(1).max(NARROWEST_CELLS)
    }

    fn rows(&self, frame: Frame<'_>) -> Rows {
        let mut rows = Filling::new(self.usable_cells(), STATUS_GOES_ON);
        if let Some(status) = &self.status {
            rows.push_words(status);
            rows.done.rows.push(Row::default());
        }
        rows.goes_on = "";
        rows.push_all(frame.prompt);
        let mut at = 0;
        let mut shown = sanitize::shown(frame.text);
        for piece in frame.text.graphemes(true) {
            if at == frame.cursor {
                rows.mark_cursor();
            }
            let seen: String = shown.by_ref().take(piece.chars().count()).collect();
            match piece {
                "\n" | "\r\n" => rows.break_line(GOES_ON),
                "\t" => rows.push(" ", " "),
                piece => rows.push(piece, &seen),
            }
            at += piece.len();
        }
        if at <= frame.cursor {
            rows.mark_cursor();
        }
        rows.done
    }
}

impl Rows {
    /// Leaves out what does not fit on the screen, above the cursor first: what is higher than the screen could
    /// not be rubbed out, and would be left behind among what was said.
    fn keep_around_cursor(&mut self, most: usize) {
        let first = (self.cursor_row + 1).saturating_sub(most);
        self.rows.drain(..first);
        self.rows.truncate(most);
        self.cursor_row -= first;
    }
}

/// Rows while they are being filled.
struct Filling {
    width_cells: usize,
    /// What a row begins with that goes on with the one before.
    goes_on: &'static str,
    done: Rows,
}

impl Filling {
    fn new(width_cells: usize, goes_on: &'static str) -> Self {
        Filling { width_cells, goes_on, done: Rows { rows: vec![Row::default()], ..Rows::default() } }
    }

    fn push_all(&mut self, text: &str) {
        let mut shown = sanitize::shown(text);
        for piece in text.graphemes(true) {
            let seen: String = shown.by_ref().take(piece.chars().count()).collect();
            self.push(piece, &seen);
        }
    }

    fn push(&mut self, piece: &str, shown: &str) {
        // What is escaped is longer than a cell or two, and may be parted.
        let parts: Vec<&str> = if shown == piece { vec![piece] } else { shown.graphemes(true).collect() };
        for part in parts {
            let cells = part.width();
            if self.last().cells + cells > self.width_cells {
                self.break_line(self.goes_on);
            }
            let row = self.last();
            row.text.push_str(part);
            row.cells += cells;
        }
    }

    /// Words go whole to the next row, where they fit there.
    fn push_words(&mut self, text: &str) {
        for word in text.split_inclusive(' ') {
            let cells = word.trim_end().width();
            let fits_below = self.goes_on.len() + cells <= self.width_cells;
            if self.last().cells + cells > self.width_cells && fits_below {
                self.break_line(self.goes_on);
            }
            self.push_all(word);
        }
    }

    fn break_line(&mut self, mark: &str) {
        self.done.rows.push(Row { text: mark.to_owned(), cells: mark.len() });
    }

    fn mark_cursor(&mut self) {
        let cells = self.last().cells;
        (self.done.cursor_row, self.done.cursor_cells) = (self.done.rows.len() - 1, cells);
    }

    fn last(&mut self) -> &mut Row {
        if self.done.rows.is_empty() {
            self.done.rows.push(Row::default());
        }
        let last = self.done.rows.len() - 1;
        &mut self.done.rows[last]
    }
}

/// What has to be written to get from one drawing to the next, where something was typed at the very end.
fn appended<'a>(before: &Rows, after: &'a Rows) -> Option<&'a str> {
    let at_end = |rows: &Rows| {
        rows.cursor_row + 1 == rows.rows.len()
            && rows.rows.last().is_some_and(|row| row.cells == rows.cursor_cells)
    };
    let (last_before, above_before) = before.rows.split_last()?;
    let (last, above) = after.rows.split_last()?;
    let grows = above == above_before && at_end(before) && at_end(after);
    let suffix = last.text.strip_prefix(last_before.text.as_str()).filter(|_| grows)?;
    // A mark joins the character before it: that is drawn anew.
    (suffix.is_empty() || last.cells == last_before.cells + suffix.width()).then_some(suffix)
}

fn up(rows: usize) -> String {
    if rows == 0 { String::new() } else { format!("\x1b[{rows}A") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(cells: usize, moves: bool, reflows: bool) -> Screen {
        Screen::new(wide(cells), moves, reflows)
    }

    fn wide(cells: usize) -> Size {
        Size { cells, rows: 30 }
    }

    fn frame<'a>(prompt: &'a str, text: &'a str) -> Frame<'a> {
        Frame { prompt, text, cursor: text.len() }
    }

    #[test]
    fn what_is_typed_at_the_end_is_written_as_it_is() {
        let mut screen = screen(80, true, true);
        assert_eq!(screen.draw(frame("lobby> ", "")), "lobby> \r\x1b[7C");
        assert_eq!(screen.draw(frame("lobby> ", "h")), "h");
        assert_eq!(screen.draw(frame("lobby> ", "hi")), "i");
        assert_eq!(
            screen.print("bob: x\n", Some(frame("lobby> ", "hi"))),
            "\r\x1b[Jbob: x\r\nlobby> hi\r\x1b[9C"
        );
    }

    #[test]
    fn rows_end_before_the_edge_and_go_on_behind_a_mark() {
        let screen = screen(11, true, true);
        let rows = screen.rows(frame("> ", "0123456789\nab"));
        let texts: Vec<_> = rows.rows.iter().map(|row| row.text.as_str()).collect();
        assert_eq!(texts, ["> 01234567", "89", "| ab"]);
        assert_eq!((rows.cursor_row, rows.cursor_cells), (2, 4));
        let rows = screen.rows(Frame { prompt: "> ", text: "1234567\u{5c71}x", cursor: 7 });
        assert_eq!(rows.rows[0].text, "> 1234567", "a wide one does not fit any more");
        assert_eq!((rows.cursor_row, rows.cursor_cells), (0, 9));
        let rows = screen.rows(frame("> ", "a\u{1b}[2J"));
        assert!(!rows.rows.iter().any(|row| row.text.contains('\u{1b}')));
    }

    // issue 7: "Resizing the window while a long draft stands eats a message"
    #[test]
    fn a_narrower_window_is_reckoned_with_only_where_it_folds() {
        let long = "x".repeat(150);
        for (reflows, rows_up) in [(true, 3), (false, 1)] {
            let mut screen = screen(80, true, reflows);
            screen.draw(frame("lobby> ", &long));
            // 79 and 78 cells: two rows each at 50, the cursor in the last of them.
            let out = screen.resize(wide(50), Some(frame("lobby> ", &long)));
            assert!(out.starts_with(&format!("\x1b[{rows_up}A\r\x1b[J")), "{reflows}: {out:?}");
            let out = screen.resize(wide(110), Some(frame("lobby> ", &long)));
            assert!(out.starts_with("\x1b[3A\r\x1b[J"), "four rows of 49 stay four: {out:?}");
        }
    }

    #[test]
    fn a_draft_that_is_higher_than_the_screen_is_seen_around_the_cursor() {
        let mut screen = Screen::new(Size { cells: 80, rows: 4 }, true, true);
        let text = "one\ntwo\nthree\nfour\nfive";
        let out = screen.draw(frame("> ", text));
        assert_eq!(out, "| three\r\n| four\r\n| five\r\x1b[6C");
        let out = screen.draw(Frame { prompt: "> ", text, cursor: 0 });
        assert_eq!(out, "\x1b[2A\r\x1b[J> one\r\n| two\r\n| three\x1b[2A\r\x1b[2C");
        let out = screen.finish(frame("> ", text));
        assert!(out.starts_with("\r\x1b[J> one\r\n") && out.contains("| five"), "whole: {out:?}");
    }

    // issue 7: "During a long outage the attempts are one line, rewritten"
    #[test]
    fn how_things_are_is_told_once_right_above_the_question() {
        let mut screen = screen(20, true, true);
        screen.draw(frame("> ", "dra"));
        let mut out = screen.set_status("* try 1".to_owned(), Some(frame("> ", "dra")));
        assert_eq!(out, "\r\x1b[J* try 1\r\n> dra\r\x1b[5C");
        out = screen.set_status("* try 2 of a hundred".to_owned(), Some(frame("> ", "dra")));
        assert_eq!(out, "\x1b[1A\r\x1b[J* try 2 of a \r\n  | hundred\r\n> dra\r\x1b[5C");
        out = screen.print("news\n", Some(frame("> ", "dra")));
        assert_eq!(out, "\x1b[2A\r\x1b[Jnews\r\n* try 2 of a \r\n  | hundred\r\n> dra\r\x1b[5C");
        out = screen.finish(frame("> ", "dra"));
        assert_eq!(out, "\x1b[2A\r\x1b[J> dra\r\x1b[5C\r\n");
        out = screen.draw(frame("> ", ""));
        assert_eq!(out, "* try 2 of a \r\n  | hundred\r\n> \r\x1b[2C");
        out = screen.settle_status(Some(frame("> ", "")));
        assert_eq!(out, "\x1b[2A\r\x1b[J* try 2 of a \r\n  | hundred\r\n> \r\x1b[2C");
        assert_eq!(screen.draw(frame("> ", "x")), "x");
    }

    #[test]
    fn a_terminal_that_cannot_move_its_cursor_gets_no_sequences() {
        let mut screen = screen(80, false, false);
        let mut out = screen.draw(frame("> ", "a"));
        out += &screen.draw(frame("> ", "ab"));
        out += &screen.print("news\n", Some(frame("> ", "ab")));
        out += &screen.set_status("try".to_owned(), Some(frame("> ", "ab")));
        out += &screen.draw(frame("> ", "a"));
        out += &screen.resize(wide(40), Some(frame("> ", "a")));
        out += &screen.finish(frame("> ", "a"));
        assert!(!out.contains('\x1b'), "{out:?}");
        assert!(out.starts_with("> ab\r\nnews\r\n> ab\r\ntry\r\n"), "{out:?}");
    }
}
