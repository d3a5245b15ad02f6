//! Lines that come at somebody else's pace: the first few are written, the others counted.
//!
//! What the server does of its own accord or for the operator is logged line by line. What a stranger or an
//! account can make it log as often as they like (connecting, wrong tokens, logins, refusals) is said with
//! whose doing it is, as the key `by` of the record; of those, each place in the program writes a few lines
//! a minute for each address or account, and all of them together a bounded number of bytes. What is folded
//! is told when the minute is over: how many, and what the first of them said.

use std::collections::HashMap;
use std::time::Duration;

use log::Level;

/// The time in which lines are counted together.
pub const INTERVAL: Duration = Duration::from_secs(60);
/// Whose lines are counted apart, at most; those of others are counted by their kind alone.
const MOST_KEPT: usize = 1_000;
/// How much of a folded line is shown with its count, in bytes.
const EXAMPLE_BYTES: usize = 200;

/// What is counted together: lines of one place in the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallSite {
    /// The module.
    pub module: &'static str,
    /// The line of its file.
    pub line: u32,
}

/// A line, as far as folding needs it.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// What kind it is.
    pub kind: CallSite,
    /// Whose doing it is.
    pub by: &'a str,
    /// How important it is.
    pub level: Level,
    /// The part of the server that speaks.
    pub target: &'a str,
}

/// Lines that were counted and not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    /// How many.
    pub lines: u64,
    /// What the first of them said.
    pub example: String,
    /// How important they were.
    pub level: Level,
    /// The part of the server that spoke.
    pub target: String,
}

/// Counts lines. Times are since any fixed moment.
#[derive(Debug)]
pub struct Folds {
    /// Lines of one kind and by one that are written in an interval. 0: all.
    repeats: u32,
    /// Bytes of all such lines in an interval. 0: any.
    most_bytes: usize,
    began: Duration,
    bytes: usize,
    any_folded: bool,
    seen: HashMap<(CallSite, Box<str>), Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    written: u32,
    folded: Option<Folded>,
}

impl Folds {
    /// Nothing counted yet.
    pub fn new(repeats: u32, most_bytes: usize) -> Self {
        Folds {
            repeats,
            most_bytes,
            began: Duration::ZERO,
            bytes: 0,
            any_folded: false,
            seen: HashMap::new(),
        }
    }

    /// Whether a line is written; else it is counted. `text` is asked for the first one that is not.
    /// To be called after [`Folds::due`] with the same time.
    pub fn admits(&mut self, line: Line<'_>, text: impl FnOnce() -> String) -> bool {
        if self.repeats == 0 {
            return true;
        }
        let mut key = (line.kind, Box::from(line.by));
        if self.seen.len() >= MOST_KEPT && !self.seen.contains_key(&key) {
            key.1 = "".into();
        }
        let room = self.most_bytes == 0 || self.bytes < self.most_bytes;
        let seen = self.seen.entry(key).or_default();
        if seen.written < self.repeats && room {
            seen.written += 1;
            return true;
        }
        self.any_folded = true;
        match &mut seen.folded {
            Some(folded) => folded.lines += 1,
            None => {
                let example = cut(text());
                let (level, target) = (line.level, line.target.to_owned());
                seen.folded = Some(Folded { lines: 1, example, level, target });
            }
        }
        false
    }

    /// Counts the bytes of a line that is written.
    pub fn wrote(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// What was folded in the interval that is over, if one is; what comes from now on counts anew.
    pub fn due(&mut self, now: Duration) -> Vec<Folded> {
        if self.seen.is_empty() {
            self.began = now;
        }
        if now.saturating_sub(self.began) < INTERVAL { Vec::new() } else { self.take(now) }
    }

    /// What was folded until now.
    pub fn take(&mut self, now: Duration) -> Vec<Folded> {
        (self.began, self.bytes, self.any_folded) = (now, 0, false);
        let mut folded: Vec<_> =
            std::mem::take(&mut self.seen).into_values().filter_map(|seen| seen.folded).collect();
        folded.sort_by(|a, b| (b.lines, &a.example).cmp(&(a.lines, &b.example)));
        folded
    }

    /// How long until something is due, when something is.
    pub fn wait(&self, now: Duration) -> Option<Duration> {
        self.any_folded.then(|| (self.began + INTERVAL).saturating_sub(now))
    }
}

fn cut(mut text: String) -> String {
    if text.len() > EXAMPLE_BYTES {
        let end = (0..=EXAMPLE_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: CallSite = CallSite { module: "veche::x", line: 1 };
    const OTHER: CallSite = CallSite { module: "veche::x", line: 2 };

    fn line(kind: CallSite, by: &str) -> Line<'_> {
        Line { kind, by, level: Level::Info, target: "veche::x" }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_few_are_written_and_the_others_counted_by_kind_and_address() {
        let mut folds = Folds::new(3, 0);
        assert!(folds.due(at(100)).is_empty());
        let mut written = 0;
        for number in 0..1_000 {
            let mut say =
                |kind, by| written += u32::from(folds.admits(line(kind, by), || format!("{by} {number}")));
            say(KIND, "192.0.2.1");
            say(KIND, "192.0.2.2");
        }
        assert!(folds.admits(line(OTHER, "192.0.2.1"), || panic!("it is written")));
        assert_eq!(written, 6);
        assert!(folds.due(at(159)).is_empty());
        assert_eq!(folds.wait(at(159)), Some(at(1)));
        let folded = folds.due(at(160));
        let told: Vec<_> = folded.iter().map(|folded| (folded.lines, folded.example.as_str())).collect();
        assert_eq!(told, [(997, "192.0.2.1 3"), (997, "192.0.2.2 3")]);
        assert!(folds.admits(line(KIND, "192.0.2.1"), || panic!("it is written")), "a new minute");
        assert_eq!(folds.wait(at(160)), None);
    }

    #[test]
    fn all_of_them_together_are_bounded_whoever_they_are_by() {
        let mut folds = Folds::new(3, 10_000);
        folds.due(at(0));
        let mut bytes = 0;
        for number in 0..100_000 {
            let by = format!("10.0.{}.{}", number / 256, number % 256);
            if folds.admits(line(KIND, &by), || "x".repeat(1_000)) {
                folds.wrote(100);
                bytes += 100;
            }
        }
        assert!(bytes <= 10_100, "{bytes}");
        let folded = folds.due(at(60));
        assert_eq!(folded.iter().map(|folded| folded.lines).sum::<u64>(), 100_000 - bytes / 100);
        assert!(folded.len() <= MOST_KEPT + 1 && folded.iter().all(|folded| folded.example.len() < 210));
    }

    #[test]
    fn zero_lifts_it() {
        let mut folds = Folds::new(0, 1);
        assert!((0..100).all(|_| folds.admits(line(KIND, "x"), || panic!("it is written"))));
    }
}
