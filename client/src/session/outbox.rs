//! Messages on their way: from the moment that they are typed until their receipt is there.
//!
//! They are sent in order. A new connection sends again, with the same `key`, what has no receipt; the
//! server remembers a key for two minutes, so what is older than that is given back to the person instead:
//! nobody can say whether it was stored.
//!
//! How many may be unanswered at once, the *window*, starts at one and grows slowly to [`WINDOW`]. Once the
//! server has answered `rate_limited` it stays at one: with more on the way, the one behind the refused one
//! might be taken, and the order would be lost.

use std::collections::VecDeque;
use std::time::Duration;

use veche::model::{MessageKey, MessageText, Target};

/// Messages that may wait here; who has more to say waits.
pub const CAPACITY: usize = 64;
/// Messages that may be unanswered at once.
pub const WINDOW: usize = 64;
/// Receipts in a row after which the window doubles.
const RECEIPTS_TO_GROW: usize = 128;
/// The server remembers a key for 120 s; some of that may pass on the way.
const KEY_LIFE: Duration = Duration::from_secs(115);
/// How long to wait when the server gave no time of its own.
const DEFAULT_PAUSE: Duration = Duration::from_secs(1);

/// A message without a receipt.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The name under which the server knows it when it comes again.
    pub key: MessageKey,
    /// Where it goes.
    pub target: Target,
    /// What it says.
    pub text: MessageText,
    /// When it was typed.
    typed_at: Duration,
    /// When it was sent first, if it may have been stored.
    maybe_stored_since: Option<Duration>,
    attempts: u32,
    in_flight: bool,
    /// Whether it was met in the history of the room, before its receipt came.
    met: bool,
}

impl Entry {
    /// Whether it was sent and nobody has said that it was not stored.
    pub fn may_be_stored(&self) -> bool {
        self.maybe_stored_since.is_some()
    }
}

/// Why the server does not take messages, as its latest answer has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// They come faster than its limit.
    Rate,
    /// It cannot store them.
    Storage,
}

/// The messages without a receipt, oldest first.
#[derive(Debug)]
pub struct Outbox {
    entries: VecDeque<Entry>,
    window: usize,
    receipts: usize,
    limited: bool,
    held_until: Option<Duration>,
    obstacle: Option<Obstacle>,
}

impl Default for Outbox {
    fn default() -> Self {
        Outbox {
            entries: VecDeque::new(),
            window: 1,
            receipts: 0,
            limited: false,
            held_until: None,
            obstacle: None,
        }
    }
}

impl Outbox {
    /// Whether everything has its receipt.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many have no receipt.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether another message may be put in.
    pub fn has_room(&self) -> bool {
        self.entries.len() < CAPACITY
    }

    /// Puts a message at the end.
    pub fn push(&mut self, now: Duration, key: MessageKey, target: Target, text: MessageText) {
        let entry = Entry {
            key,
            target,
            text,
            typed_at: now,
            maybe_stored_since: None,
            attempts: 0,
            in_flight: false,
            met: false,
        };
        self.entries.push_back(entry);
    }

    /// The message that is to be sent now, if any may be; it counts as sent.
    pub fn send_next(&mut self, now: Duration, ready: impl Fn(&Target) -> bool) -> Option<&Entry> {
        if self.held_until.is_some_and(|until| now < until) {
            return None;
        }
        self.held_until = None;
        if self.entries.iter().filter(|entry| entry.in_flight).count() >= self.window {
            return None;
        }
        // What waits for a room that is not entered yet holds up nothing that goes elsewhere.
        let entry = self.entries.iter_mut().find(|entry| !entry.in_flight && ready(&entry.target))?;
        entry.in_flight = true;
        entry.attempts = entry.attempts.saturating_add(1);
        entry.maybe_stored_since.get_or_insert(now);
        Some(entry)
    }

    /// When there is something to do next: sending what was held back.
    pub fn deadline(&self) -> Option<Duration> {
        self.held_until.filter(|_| !self.entries.is_empty())
    }

    /// When the oldest message that may have been stored loses its key.
    pub fn expiry(&self) -> Option<Duration> {
        let waiting = self.entries.iter().filter(|entry| !entry.in_flight);
        waiting.filter_map(|entry| entry.maybe_stored_since).min().map(|since| since + KEY_LIFE)
    }

    /// Since when the oldest waits for its receipt.
    pub fn waiting_since(&self) -> Option<Duration> {
        self.entries.iter().map(|entry| entry.typed_at).min()
    }

    /// Why they wait, where the server said so.
    pub fn obstacle(&self) -> Option<Obstacle> {
        self.obstacle
    }

    /// The receipt came.
    pub fn receipted(&mut self, key: &MessageKey) -> Option<Entry> {
        self.obstacle = None;
        self.receipts += 1;
        if self.receipts >= RECEIPTS_TO_GROW && !self.limited {
            (self.window, self.receipts) = ((self.window * 2).min(WINDOW), 0);
        }
        self.remove(key)
    }

    /// The server refused it for good.
    pub fn remove(&mut self, key: &MessageKey) -> Option<Entry> {
        let position = self.entries.iter().position(|entry| &entry.key == key)?;
        self.entries.remove(position)
    }

    /// The server refused it for now, without storing it: it is sent again after the pause.
    pub fn rate_limited(&mut self, key: &MessageKey, now: Duration, pause: Option<Duration>) {
        (self.limited, self.obstacle) = (true, Some(Obstacle::Rate));
        self.again_after(key, now, pause);
        let refused = self.entries.iter_mut().find(|entry| &entry.key == key && entry.attempts == 1);
        if let Some(entry) = refused {
            (entry.maybe_stored_since, entry.attempts) = (None, 0);
        }
    }

    /// The server does not know whether it was stored: it is sent again after a pause.
    pub fn unclear(&mut self, key: &MessageKey, now: Duration, pause: Option<Duration>) {
        self.obstacle = Some(Obstacle::Storage);
        self.again_after(key, now, pause);
    }

    fn again_after(&mut self, key: &MessageKey, now: Duration, pause: Option<Duration>) {
        (self.window, self.receipts) = (1, 0);
        let until = now + pause.unwrap_or(DEFAULT_PAUSE);
        self.held_until = Some(self.held_until.map_or(until, |held| held.max(until)));
        if let Some(entry) = self.entries.iter_mut().find(|entry| &entry.key == key) {
            entry.in_flight = false;
        }
    }

    /// The connection is gone: whatever was on the way has to be sent again.
    pub fn disconnected(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.in_flight = false);
        self.obstacle = None;
    }

    /// Takes out what was sent so long ago that its key is forgotten.
    pub fn expired(&mut self, now: Duration) -> Vec<Entry> {
        let too_old = |entry: &Entry| {
            !entry.in_flight && entry.maybe_stored_since.is_some_and(|since| now >= since + KEY_LIFE)
        };
        let (old, kept) = self.entries.drain(..).partition(too_old);
        self.entries = kept;
        Vec::from(old)
    }

    /// Takes out what waits for a target that nothing can be said to any more. What is on the way is answered.
    pub fn drop_waiting(&mut self, is_gone: impl Fn(&Target) -> bool) -> Vec<Entry> {
        let waits = |entry: &Entry| !entry.in_flight && is_gone(&entry.target);
        let (dropped, kept) = self.entries.drain(..).partition(waits);
        self.entries = kept;
        Vec::from(dropped)
    }

    /// Whether anything is meant for this target.
    pub fn has_for(&self, target: &Target) -> bool {
        self.entries.iter().any(|entry| &entry.target == target)
    }

    /// Whether a message to this target may be on the way.
    pub fn has_in_flight(&self, target: &Target) -> bool {
        self.entries.iter().any(|entry| entry.in_flight && &entry.target == target)
    }

    /// Whether a message of ours, met in the history, is one that still waits for its receipt.
    pub fn meet(&mut self, target: &Target, text: &str) -> bool {
        let waiting = self.entries.iter_mut().find(|entry| {
            let sent = entry.maybe_stored_since.is_some() && !entry.met;
            sent && &entry.target == target && entry.text.as_str() == text
        });
        waiting.is_some_and(|entry| {
            entry.met = true;
            true
        })
    }
}

#[cfg(test)]
mod tests {
    use veche::model::RoomName;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);

    fn lobby() -> Target {
        Target::Room(RoomName::lobby())
    }

    fn outbox(texts: &[&str]) -> Outbox {
        let mut outbox = Outbox::default();
        for text in texts {
            let key = MessageKey::parse(text).expect("a key");
            outbox.push(NOW, key, lobby(), MessageText::parse(text).expect("a text"));
        }
        outbox
    }

    fn sent(outbox: &mut Outbox, now: Duration) -> Vec<String> {
        let next = || outbox.send_next(now, |_| true).map(|entry| entry.text.as_str().to_owned());
        std::iter::from_fn(next).collect()
    }

    fn key(text: &str) -> MessageKey {
        MessageKey::parse(text).expect("a key")
    }

    #[test]
    fn the_window_grows_with_receipts_and_ends_at_its_bound() {
        let mut outbox = outbox(&[]);
        let mut largest = 0;
        for round in 0..3_000 {
            while outbox.has_room() {
                let name = format!("{round}-{}", outbox.len());
                outbox.push(NOW, key(&name), lobby(), MessageText::parse(&name).expect("a text"));
            }
            let now_sent = sent(&mut outbox, NOW);
            largest = largest.max(outbox.entries.iter().filter(|entry| entry.in_flight).count());
            for text in now_sent {
                outbox.receipted(&key(&text));
            }
        }
        assert_eq!(largest, WINDOW);
    }

    #[test]
    fn what_was_refused_for_now_goes_first_and_alone() {
        let mut outbox = outbox(&["a", "b", "c"]);
        assert_eq!(sent(&mut outbox, NOW), ["a"]);
        outbox.rate_limited(&key("a"), NOW, Some(Duration::from_millis(50)));
        assert!(sent(&mut outbox, NOW).is_empty());
        assert_eq!(outbox.deadline(), Some(NOW + Duration::from_millis(50)));
        assert_eq!(sent(&mut outbox, NOW + Duration::from_millis(50)), ["a"]);
        assert!(outbox.receipted(&key("a")).is_some());
        assert_eq!(sent(&mut outbox, NOW + Duration::from_secs(1)), ["b"]);
    }

    #[test]
    fn what_lost_its_key_is_given_back_and_what_was_never_sent_is_kept() {
        let mut outbox = outbox(&["a", "b"]);
        assert_eq!(sent(&mut outbox, NOW), ["a"]);
        assert!(outbox.expired(NOW + KEY_LIFE).is_empty(), "still on the way");
        outbox.disconnected();
        assert_eq!(outbox.expiry(), Some(NOW + KEY_LIFE));
        assert!(outbox.expired(NOW + KEY_LIFE - Duration::from_secs(1)).is_empty());
        let old = outbox.expired(NOW + KEY_LIFE);
        assert_eq!(old.iter().map(|entry| entry.text.as_str()).collect::<Vec<_>>(), ["a"]);
        assert_eq!(sent(&mut outbox, NOW + KEY_LIFE), ["b"]);
    }

    #[test]
    fn our_own_message_is_met_once() {
        let mut outbox = outbox(&["a"]);
        assert!(!outbox.meet(&lobby(), "a"), "not sent yet");
        sent(&mut outbox, NOW);
        assert!(outbox.meet(&lobby(), "a"));
        assert!(!outbox.meet(&lobby(), "a"));
    }
}
