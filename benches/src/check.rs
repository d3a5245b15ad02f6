//! The bookkeeper: what was said, who has to hear it, and whether each heard it once, in order, as it was.

use std::collections::HashSet;
use std::time::Instant;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::text::{Label, Texts};

/// Latencies are kept to three digits, from 1 ns to a minute.
const LONGEST_NS: u64 = 60_000_000_000;

/// Deliveries that were not as they have to be. All of them have to be 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// Never came.
    pub lost: u64,
    /// Came again.
    pub doubled: u64,
    /// Came after a later one of the same talker, or against the server's own order.
    pub reordered: u64,
    /// Is no text that was said in that room.
    pub corrupt: u64,
}

impl Faults {
    /// All of them together.
    pub fn total(self) -> u64 {
        self.lost + self.doubled + self.reordered + self.corrupt
    }

    /// These and those.
    pub fn and(self, other: Faults) -> Faults {
        Faults {
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            reordered: self.reordered + other.reordered,
            corrupt: self.corrupt + other.corrupt,
        }
    }
}

/// A message that was said.
#[derive(Debug, Clone, Copy)]
struct Said {
    /// When it was to be said: a generator that is late counts as the server's delay.
    due: Instant,
    /// How many have not heard it.
    missing: u32,
}

/// What one client has heard.
#[derive(Debug, Clone)]
struct Ear {
    room: u32,
    /// By talker, the number that has to come next; its own is never to come.
    next: Vec<u32>,
    /// The last place in the server's order.
    order: u64,
}

/// Keeps the books of one run.
#[derive(Debug)]
pub struct Checker {
    texts: Texts,
    talkers: u32,
    listeners: u32,
    said: Vec<Vec<Said>>,
    ears: Vec<Ear>,
    /// Numbers that were skipped, so that one that comes late is told from one that comes twice.
    skipped: HashSet<(usize, u32, u32)>,
    faults: Faults,
    expected: u64,
    heard: u64,
    latency: Histogram<u64>,
}

impl Checker {
    /// Books for `rooms` rooms of `members` each, of whom the first `talkers` talk. Client number c sits in
    /// room c / members.
    pub fn new(rooms: u32, members: u32, talkers: u32, texts: Texts) -> Self {
        let ear = |client: u32| {
            let mut next = vec![0; talkers as usize];
            if let Some(own) = next.get_mut((client % members) as usize) {
                *own = u32::MAX;
            }
            Ear { room: client / members, next, order: 0 }
        };
        Checker {
            texts,
            talkers,
            listeners: members.saturating_sub(1),
            said: vec![Vec::new(); (rooms * talkers) as usize],
            ears: (0..rooms * members).map(ear).collect(),
            skipped: HashSet::new(),
            faults: Faults::default(),
            expected: 0,
            heard: 0,
            latency: new_histogram(),
        }
    }

    /// That many of each room's members will hear nothing.
    pub fn expect_nothing_of(&mut self, deaf: u32) {
        self.listeners = self.listeners.saturating_sub(deaf);
    }

    /// Notes that this talker says its next message, which is due at `due`, and writes its text.
    pub fn say(&mut self, room: u32, talker: u32, due: Instant, text: &mut Vec<u8>) {
        let said = &mut self.said[(room * self.talkers + talker) as usize];
        let number = u32::try_from(said.len()).unwrap_or(u32::MAX); // 2^32 messages would not fit anyway
        said.push(Said { due, missing: self.listeners });
        self.expected += u64::from(self.listeners);
        self.texts.write(Label { room, talker, number }, text);
    }

    /// Notes that this client heard a text, and tells whether it was the last who had to.
    pub fn hear(&mut self, client: usize, text: &[u8], order: Option<u64>, now: Instant) -> bool {
        let Some(label) = self.texts.read(text).filter(|label| self.belongs(client, *label)) else {
            self.faults.corrupt += 1;
            return false;
        };
        let ear = &mut self.ears[client];
        if let Some(order) = order {
            if order <= ear.order {
                self.faults.reordered += 1;
            }
            ear.order = ear.order.max(order);
        }
        let next = &mut ear.next[label.talker as usize];
        if label.number == *next {
            *next += 1;
        } else if label.number > *next {
            let skipped = (*next..label.number).map(|number| (client, label.talker, number));
            self.skipped.extend(skipped);
            *next = label.number + 1;
        } else if self.skipped.remove(&(client, label.talker, label.number)) {
            self.faults.reordered += 1;
        } else {
            self.faults.doubled += 1;
            return false;
        }
        self.heard += 1;
        let said = &mut self.said[(label.room * self.talkers + label.talker) as usize][label.number as usize];
        let waited = now.saturating_duration_since(said.due).as_nanos();
        self.latency.saturating_record(u64::try_from(waited).unwrap_or(LONGEST_NS));
        said.missing -= 1;
        said.missing == 0
    }

    fn belongs(&self, client: usize, label: Label) -> bool {
        let slot = (label.room * self.talkers + label.talker) as usize;
        self.ears[client].room == label.room
            && label.talker < self.talkers
            && self.said.get(slot).is_some_and(|said| (label.number as usize) < said.len())
    }

    /// Whether everybody has heard everything.
    pub fn is_complete(&self) -> bool {
        self.heard >= self.expected
    }

    /// Deliveries so far.
    pub fn heard(&self) -> u64 {
        self.heard
    }

    /// The faults so far; what has not come counts as lost.
    pub fn faults(&self) -> Faults {
        Faults { lost: self.expected.saturating_sub(self.heard), ..self.faults }
    }

    /// Takes the latencies since the last call, in nanoseconds.
    pub fn take_latency(&mut self) -> Histogram<u64> {
        std::mem::replace(&mut self.latency, new_histogram())
    }
}

/// A histogram for latencies in nanoseconds.
pub fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("three digits between 1 and a minute are allowed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(count: usize) -> (Checker, Vec<Vec<u8>>) {
        let mut checker = Checker::new(2, 2, 2, Texts::new(128));
        let texts = (0..count).map(|_| {
            let mut text = Vec::new();
            checker.say(0, 0, Instant::now(), &mut text);
            text
        });
        let texts = texts.collect();
        (checker, texts)
    }

    #[test]
    fn what_comes_as_it_was_said_has_no_faults() {
        let (mut checker, texts) = talk(3);
        for (order, text) in texts.iter().enumerate() {
            assert!(
                checker.hear(1, text, Some(order as u64 + 1), Instant::now()),
                "the only listener is the last"
            );
        }
        assert!(checker.is_complete());
        assert_eq!((checker.heard(), checker.faults().total()), (3, 0));
        assert_eq!(checker.take_latency().len(), 3);
    }

    #[test]
    fn every_kind_of_fault_is_counted() {
        let (mut checker, texts) = talk(4);
        let now = Instant::now();
        checker.hear(1, &texts[1], None, now);
        checker.hear(1, &texts[0], None, now); // late
        checker.hear(1, &texts[0], None, now); // twice
        checker.hear(1, b"nonsense", None, now);
        checker.hear(2, &texts[2], None, now); // in another room
        checker.hear(0, &texts[2], None, now); // back at its talker
        let expected = Faults { lost: 2, doubled: 2, reordered: 1, corrupt: 2 };
        assert_eq!(checker.faults(), expected);
        let (mut checker, texts) = talk(2);
        checker.hear(1, &texts[0], Some(9), now);
        checker.hear(1, &texts[1], Some(8), now);
        assert_eq!(checker.faults().reordered, 1, "against the server's own order");
    }
}
