//! A message sent twice under one key is stored once.
//!
//! The sender names a message with a key of its own. While the first one is on its way, a second one waits
//! for the same outcome; once it is stored, a second one gets the first one's receipt. Keys are remembered
//! for a time and a number of them for each account; after a restart they are read back from the history.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::model::{MessageId, MessageKey, Receipt, Target, UserName};

/// What a message was, so that another one under its key is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a message to this target with this text.
    pub fn of(target: &Target, text: &str) -> Self {
        let (kind, name) = match target {
            Target::Room(room) => (b'#', room.as_str()),
            Target::Account(account) => (b'@', account.as_str()),
        };
        let mut hash = Sha256::new();
        // No name contains a newline, so no two targets and texts run together.
        hash.update([kind]);
        hash.update(name);
        hash.update("\n");
        hash.update(text);
        Fingerprint(hash.finalize().into())
    }
}

/// What to do with a message that carries a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup<W> {
    /// It is the first one: store it, and tell the outcome with [`IdempotencyTable::settle`]. The one who waits is
    /// given back.
    First(W),
    /// It was stored: this is its receipt.
    Stored(W, Receipt),
    /// The first one is on its way: this one has joined those who wait for it.
    Waits,
    /// The key stands for another message.
    Conflict(W),
}

#[derive(Debug)]
enum State<W> {
    OnItsWay(Vec<W>),
    Stored(Receipt),
}

#[derive(Debug)]
struct Entry<W> {
    fingerprint: Fingerprint,
    state: State<W>,
}

/// The keys of one account, and the order in which they were stored.
#[derive(Debug)]
struct AccountKeys<W> {
    entries: HashMap<MessageKey, Entry<W>>,
    stored: VecDeque<(Duration, MessageKey)>,
}

/// All keys that are remembered. `W` is someone who waits for an outcome. Times are since any fixed moment.
#[derive(Debug)]
pub struct IdempotencyTable<W> {
    accounts: HashMap<UserName, AccountKeys<W>>,
    keys_per_account: usize,
    remembered_for: Duration,
    swept: Duration,
}

impl<W> IdempotencyTable<W> {
    /// A table that remembers the newest `keys_per_account` keys of an account, each `remembered_for`.
    pub fn new(keys_per_account: usize, remembered_for: Duration) -> Self {
        IdempotencyTable { accounts: HashMap::new(), keys_per_account, remembered_for, swept: Duration::ZERO }
    }

    /// Takes in the key of a message that is stored already: before the server started, or by another server.
    pub fn restore(
        &mut self,
        from: &UserName,
        key: MessageKey,
        print: Fingerprint,
        receipt: Receipt,
        now: Duration,
    ) {
        let entry = self.accounts.get(from).and_then(|keys| keys.entries.get(&key));
        if entry.is_some_and(|entry| matches!(entry.state, State::OnItsWay(_))) {
            // Those who wait for it hear of it when it comes.
            return;
        }
        self.insert(from, &key, print);
        self.settle(from, &key, Some(receipt), now);
    }

    /// Decides what to do with a message under a key. What an earlier account of the sender's
    /// name has stored, up to `visible_from`, is none of its business.
    pub fn look_up(
        &mut self,
        from: &UserName,
        visible_from: Option<MessageId>,
        key: &MessageKey,
        print: Fingerprint,
        waits: W,
        now: Duration,
    ) -> Lookup<W> {
        self.sweep(now);
        if let Some(keys) = self.accounts.get_mut(from) {
            keys.forget_old(now.saturating_sub(self.remembered_for));
            keys.forget_up_to(visible_from, key);
            if let Some(entry) = keys.entries.get_mut(key) {
                return match &mut entry.state {
                    _ if entry.fingerprint != print => Lookup::Conflict(waits),
                    State::Stored(receipt) => Lookup::Stored(waits, *receipt),
                    State::OnItsWay(others) => {
                        others.push(waits);
                        Lookup::Waits
                    }
                };
            }
        }
        self.insert(from, key, print);
        Lookup::First(waits)
    }

    fn insert(&mut self, from: &UserName, key: &MessageKey, fingerprint: Fingerprint) {
        let keys = self.accounts.entry(from.clone()).or_default();
        keys.entries.insert(key.clone(), Entry { fingerprint, state: State::OnItsWay(Vec::new()) });
    }

    /// Tells what became of the first message under a key: its receipt, or nothing when it was refused. Gives
    /// back those who waited for the same outcome.
    pub fn settle(
        &mut self,
        from: &UserName,
        key: &MessageKey,
        receipt: Option<Receipt>,
        now: Duration,
    ) -> Vec<W> {
        let Some(keys) = self.accounts.get_mut(from) else { return Vec::new() };
        let Some(receipt) = receipt else {
            return keys.entries.remove(key).map_or_else(Vec::new, Entry::into_waiting);
        };
        let Some(entry) = keys.entries.get_mut(key) else { return Vec::new() };
        let state = std::mem::replace(&mut entry.state, State::Stored(receipt));
        keys.stored.push_back((now, key.clone()));
        if keys.stored.len() > self.keys_per_account {
            keys.forget_oldest();
        }
        if let State::OnItsWay(waiting) = state { waiting } else { Vec::new() }
    }

    /// Drops what is too old, of all accounts, once in a while.
    fn sweep(&mut self, now: Duration) {
        if now.saturating_sub(self.swept) < self.remembered_for {
            return;
        }
        self.swept = now;
        let oldest = now.saturating_sub(self.remembered_for);
        self.accounts.retain(|_, keys| {
            keys.forget_old(oldest);
            !keys.entries.is_empty()
        });
    }
}

impl<W> Default for AccountKeys<W> {
    fn default() -> Self {
        AccountKeys { entries: HashMap::new(), stored: VecDeque::new() }
    }
}

impl<W> AccountKeys<W> {
    fn forget_old(&mut self, oldest: Duration) {
        while self.stored.front().is_some_and(|(at, _)| *at < oldest) {
            self.forget_oldest();
        }
    }

    /// Forgets what a key stands for when that was stored up to a message.
    fn forget_up_to(&mut self, newest: Option<MessageId>, key: &MessageKey) {
        let stored = self.entries.get(key).map(|entry| &entry.state);
        if matches!(stored, Some(State::Stored(receipt)) if Some(receipt.id) <= newest) {
            self.entries.remove(key);
            self.stored.retain(|(_, known)| known != key);
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.stored.pop_front() {
            self.entries.remove(&key);
        }
    }
}

impl<W> Entry<W> {
    fn into_waiting(self) -> Vec<W> {
        if let State::OnItsWay(waiting) = self.state { waiting } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RoomName, Timestamp};

    const SECOND: Duration = Duration::from_secs(1);

    fn alice() -> UserName {
        UserName::parse("alice").expect("a name")
    }

    fn key(text: &str) -> MessageKey {
        MessageKey::parse(text).expect("a key")
    }

    fn print(text: &str) -> Fingerprint {
        Fingerprint::of(&Target::Room(RoomName::lobby()), text)
    }

    fn receipt(number: u64) -> Receipt {
        Receipt { id: MessageId::new(number).expect("not zero"), prev: None, at: Timestamp::from_millis(0) }
    }

    fn table() -> IdempotencyTable<&'static str> {
        IdempotencyTable::new(3, 120 * SECOND)
    }

    #[test]
    fn the_second_one_gets_the_first_ones_receipt() {
        let mut table = table();
        let (alice, k) = (alice(), key("k"));
        assert_eq!(table.look_up(&alice, None, &k, print("hi"), "a", SECOND), Lookup::First("a"));
        assert_eq!(table.look_up(&alice, None, &k, print("hi"), "b", SECOND), Lookup::Waits);
        assert_eq!(table.look_up(&alice, None, &k, print("ho"), "c", SECOND), Lookup::Conflict("c"));
        assert_eq!(table.settle(&alice, &k, Some(receipt(7)), SECOND), ["b"]);
        assert_eq!(
            table.look_up(&alice, None, &k, print("hi"), "d", SECOND),
            Lookup::Stored("d", receipt(7))
        );
        assert_eq!(table.look_up(&alice, None, &k, print("ho"), "e", SECOND), Lookup::Conflict("e"));
    }

    #[test]
    fn what_was_refused_may_be_sent_again() {
        let mut table = table();
        let (alice, k) = (alice(), key("k"));
        table.look_up(&alice, None, &k, print("hi"), "a", SECOND);
        table.look_up(&alice, None, &k, print("hi"), "b", SECOND);
        assert_eq!(table.settle(&alice, &k, None, SECOND), ["b"]);
        assert_eq!(table.look_up(&alice, None, &k, print("ho"), "c", SECOND), Lookup::First("c"));
    }

    #[test]
    fn whoever_takes_a_freed_name_does_not_inherit_its_keys() {
        let mut table = table();
        let (alice, k) = (alice(), key("k"));
        table.restore(&alice, k.clone(), print("hi"), receipt(7), SECOND);
        let visible_from = MessageId::new(7);
        assert_eq!(table.look_up(&alice, visible_from, &k, print("hi"), "new", SECOND), Lookup::First("new"));
        table.settle(&alice, &k, Some(receipt(9)), SECOND);
        assert_eq!(
            table.look_up(&alice, visible_from, &k, print("hi"), "again", SECOND),
            Lookup::Stored("again", receipt(9))
        );
        let late = 120 * SECOND;
        assert!(matches!(
            table.look_up(&alice, visible_from, &k, print("hi"), "late", late),
            Lookup::Stored(..)
        ));
    }

    #[test]
    fn keys_are_forgotten_by_time_and_by_number() {
        let mut table = table();
        let alice = alice();
        for (second, k) in ["1", "2", "3", "4"].into_iter().enumerate() {
            table.restore(&alice, key(k), print(k), receipt(second as u64 + 1), SECOND * second as u32);
        }
        assert_eq!(
            table.look_up(&alice, None, &key("1"), print("1"), "w", 5 * SECOND),
            Lookup::First("w"),
            "the fourth"
        );
        assert!(matches!(
            table.look_up(&alice, None, &key("2"), print("2"), "w", 5 * SECOND),
            Lookup::Stored(..)
        ));
        let late = 122 * SECOND;
        assert_eq!(
            table.look_up(&alice, None, &key("2"), print("2"), "w", late),
            Lookup::First("w"),
            "too old"
        );
        assert!(matches!(table.look_up(&alice, None, &key("4"), print("4"), "w", late), Lookup::Stored(..)));
        let much_later = 999 * SECOND;
        table.look_up(&alice, None, &key("x"), print("x"), "w", much_later);
        assert!(table.accounts[&alice].stored.is_empty(), "swept");
    }

    #[test]
    fn what_another_server_has_stored_takes_nothing_from_those_who_wait_here() {
        let mut table = table();
        let (alice, k) = (alice(), key("k"));
        table.look_up(&alice, None, &k, print("hi"), "a", SECOND);
        table.look_up(&alice, None, &k, print("hi"), "b", SECOND);
        table.restore(&alice, k.clone(), print("hi"), receipt(5), SECOND);
        assert_eq!(table.settle(&alice, &k, Some(receipt(7)), SECOND), ["b"]);
    }

    #[test]
    fn another_target_is_another_message() {
        let room = Target::Room(RoomName::parse("bob").expect("a name"));
        let account = Target::Account(UserName::parse("bob").expect("a name"));
        assert_ne!(Fingerprint::of(&room, "x"), Fingerprint::of(&account, "x"));
    }
}
