//! The rule of terms against a model: a history that is written, copied, put back in whole or in part, and
//! gone on with, and clients that remember what they saw of each of its lives.

use proptest::prelude::*;

use super::*;
use crate::model::Timestamp;

fn id(number: u64) -> Option<MessageId> {
    MessageId::new(number)
}

fn term(name: &str, after: u64) -> StoredTerm {
    StoredTerm { name: TermName::new(name), after: id(after), at: Timestamp::from_millis(0) }
}

/// Whether (`after`, `name`) is of another history.
fn reset(terms: &Terms, after: u64, name: Option<&str>, given: u64) -> bool {
    terms.is_of_another_history(id(after), name.map(TermName::new).as_ref(), id(given))
}

#[test]
fn what_a_copy_does_not_have_is_of_another_history() {
    // Copied when the second term had come to 80, put back after the third had come to 150.
    let terms = Terms::begin(vec![term("one", 0), term("two", 50)], term("four", 80), id(80));
    assert_eq!(terms.present().as_str(), "four");
    for (after, name, expected) in [
        (50, "one", false),
        (51, "one", true),
        (80, "two", false),
        (81, "two", true),
        (70, "three", true),
        (1, "", true),
        (80, "four", false),
        (81, "four", true),
    ] {
        assert_eq!(reset(&terms, after, Some(name), 80), expected, "{after} of {name}");
    }
    assert!(!reset(&terms, 81, Some("four"), 81), "it was said in this term");
    assert!(reset(&terms, 81, Some("two"), 90), "another 81 was said meanwhile");
}

#[test]
fn without_a_term_only_what_lies_beyond_the_newest_is_seen() {
    // 90 may have been given, and 80 is what is stored.
    let terms = Terms::begin(Vec::new(), term("one", 80), id(90));
    for (after, given, expected) in
        [(0, 90, false), (80, 90, false), (81, 90, true), (81, 91, false), (92, 91, true)]
    {
        assert_eq!(reset(&terms, after, None, given), expected, "{after} when {given} was given");
    }
    assert!(!reset(&terms, 0, Some("unknown"), 90), "nothing was seen yet, in whatever term");
    let empty = Terms::begin(Vec::new(), term("one", 0), None);
    assert!(reset(&empty, 1, None, 0));
    assert!(!reset(&empty, 0, None, 0));
}

#[test]
fn the_newest_thousand_are_known() {
    let past: Vec<_> = (0..1_500).map(|n| term(&format!("t{n}"), n)).collect();
    let terms = Terms::begin(past, term("now", 1_500), id(1_500));
    assert_eq!(terms.known().len(), KNOWN_TERMS);
    assert!(reset(&terms, 1, Some("t500"), 1_500), "forgotten");
    assert!(!reset(&terms, 1, Some("t501"), 1_500));
}

/// What is on a disk: the messages, each with a text that is told once in the whole world, and the terms.
#[derive(Debug, Clone, Default)]
struct Disk {
    rows: Vec<(u64, u64)>,
    terms: Vec<StoredTerm>,
}

impl Disk {
    fn newest(&self) -> u64 {
        self.rows.last().map_or(0, |(id, _)| *id)
    }

    fn has(&self, row: (u64, u64)) -> bool {
        self.rows.contains(&row)
    }
}

/// What happens to a server and its disk.
#[derive(Debug, Clone)]
enum Deed {
    /// Messages are stored, and seen by a client.
    Say(u8),
    /// It stops and starts, or is killed and starts. So many of the newest messages were never forced to the
    /// disk (`durability = "os"`), and their ids may be known as used or not.
    Restart { lost: u8, counted: bool },
    /// A copy is made while it runs.
    Copy,
    /// It is stopped, one of the copies is put back, and it starts.
    PutBack(u8),
    /// The same with the newest messages alone, cut back to where they were in a copy: the terms stay.
    PutBackMessages(u8),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (1_u8..6).prop_map(Deed::Say),
        2 => (0_u8..4, any::<bool>()).prop_map(|(lost, counted)| Deed::Restart { lost, counted }),
        2 => Just(Deed::Copy),
        2 => any::<u8>().prop_map(Deed::PutBack),
        1 => any::<u8>().prop_map(Deed::PutBackMessages),
    ]
}

struct World {
    disk: Disk,
    copies: Vec<Disk>,
    terms: Terms,
    given: u64,
    starts: u64,
    texts: u64,
    /// Whether messages and terms were always put back together.
    whole: bool,
    /// What clients saw: the term, the id, the text.
    seen: Vec<(TermName, (u64, u64))>,
}

impl World {
    fn new() -> Self {
        let disk = Disk::default();
        let terms = Terms::begin(Vec::new(), term("t0", 0), None);
        let mut world = World {
            disk,
            copies: Vec::new(),
            terms,
            given: 0,
            starts: 0,
            texts: 0,
            whole: true,
            seen: Vec::new(),
        };
        world.start(0);
        world
    }

    /// A start, at which ids up to `used` count as given.
    fn start(&mut self, used: u64) {
        self.starts += 1;
        let present = term(&format!("t{}", self.starts), self.disk.newest());
        self.given = used.max(self.disk.newest());
        self.terms = Terms::begin(std::mem::take(&mut self.disk.terms), present, id(self.given));
        self.disk.terms = self.terms.known().to_vec();
    }

    fn carry_out(&mut self, deed: &Deed) {
        match *deed {
            Deed::Say(count) => {
                for _ in 0..count {
                    self.given += 1;
                    self.texts += 1;
                    self.disk.rows.push((self.given, self.texts));
                    self.seen.push((self.terms.present().clone(), (self.given, self.texts)));
                }
            }
            Deed::Restart { lost, counted } => {
                let used = if counted { self.given } else { 0 };
                let kept = self.disk.rows.len().saturating_sub(usize::from(lost));
                self.disk.rows.truncate(kept);
                self.start(used);
            }
            Deed::Copy => self.copies.push(self.disk.clone()),
            Deed::PutBack(which) => {
                if let Some(copy) = self.copy(which) {
                    self.disk = copy;
                    self.start(0);
                }
            }
            Deed::PutBackMessages(which) => {
                if let Some(copy) = self.copy(which).filter(|copy| self.disk.rows.starts_with(&copy.rows)) {
                    self.disk.rows = copy.rows;
                    self.whole = false;
                    self.start(0);
                }
            }
        }
    }

    fn copy(&self, which: u8) -> Option<Disk> {
        let last = self.copies.len().checked_sub(1)?;
        self.copies.get(usize::from(which).min(last)).cloned()
    }

    /// Nobody goes on behind a message that is not here; and nobody is told that a message is gone that is
    /// here, unless the list of terms was not put back with it.
    fn check(&self) -> Result<(), TestCaseError> {
        for (term, row) in &self.seen {
            let known = self.disk.terms.iter().any(|known| known.name == *term);
            let reset = self.terms.is_of_another_history(id(row.0), Some(term), id(self.given));
            prop_assert!(reset || self.disk.has(*row), "{} of {term} is not here, and nobody says so", row.0);
            if known && self.whole {
                prop_assert!(!reset || !self.disk.has(*row), "{} of {term} is here", row.0);
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn nobody_goes_on_behind_a_message_of_another_history(deeds in prop::collection::vec(deed(), 1..60)) {
        let mut world = World::new();
        for deed in &deeds {
            world.carry_out(deed);
            world.check()?;
        }
    }
}
