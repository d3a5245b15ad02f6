//! Which devices an account was opened on before: whoever shows a token that the account had within the last
//! months, also one that has ended, is known. It opens nothing; see [`crate::chat::accounts::login_throttle`] for what it does.
//!
//! Only tokens that have died are remembered here, by their hashes, each with the number of its session. The
//! living ones are in [`crate::chat::accounts::sessions`].

use std::collections::{HashMap, VecDeque};

use crate::model::{Device, Timestamp, TokenHash};

/// The tokens that accounts had.
#[derive(Debug)]
pub struct Devices {
    most: usize,
    life_ms: i64,
    by_account: HashMap<u64, VecDeque<Device>>,
}

impl Devices {
    /// None yet: at most `most` of an account are remembered, each for so many days.
    pub fn new(most: usize, days: u32) -> Self {
        Devices { most, life_ms: i64::from(days) * 24 * 3_600_000, by_account: HashMap::new() }
    }

    /// Remembers a token. With too many of them, one goes: the oldest of a session that has a later one, since
    /// a device keeps its latest token, else the oldest.
    pub fn add(&mut self, device: Device) {
        if self.most == 0 {
            return;
        }
        let of_account = self.by_account.entry(device.account).or_default();
        of_account.retain(|known| known.token != device.token);
        of_account.push_back(device);
        if of_account.len() > self.most {
            let has_later = |(at, known): (usize, &Device)| {
                of_account.iter().skip(at + 1).any(|later| later.session == known.session)
            };
            let goes = (0..of_account.len()).find(|at| has_later((*at, &of_account[*at]))).unwrap_or(0);
            of_account.remove(goes);
        }
    }

    /// The session that had a token of this account, `None` when the account did not have it, or too long ago.
    pub fn find(&self, account: u64, token: &TokenHash, now: Timestamp) -> Option<u64> {
        let found = self.by_account.get(&account)?.iter().find(|device| device.token == *token)?;
        is_alive(found, now, self.life_ms).then_some(found.session)
    }

    /// Forgets an account that is no more.
    pub fn forget(&mut self, account: u64) {
        self.by_account.remove(&account);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.by_account.clear();
    }

    /// How many tokens are remembered.
    pub fn len(&self) -> usize {
        self.by_account.values().map(VecDeque::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All that are remembered, those of an account in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Device> {
        self.by_account.values().flatten()
    }

    /// Keeps those that are to be kept, and forgets those whose time is over.
    pub fn retain(&mut self, now: Timestamp, keep: impl Fn(u64) -> bool) {
        let life_ms = self.life_ms;
        self.by_account.retain(|account, devices| {
            devices.retain(|device| is_alive(device, now, life_ms));
            keep(*account) && !devices.is_empty()
        });
    }
}

/// A moment in the future is no age: the clock was set back.
fn is_alive(device: &Device, now: Timestamp, life_ms: i64) -> bool {
    now.as_millis().saturating_sub(device.at.as_millis()) <= life_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 24 * 3_600_000;

    fn device(account: u64, session: u64, token: u8, day: i64) -> Device {
        Device { account, session, token: hash(token), at: Timestamp::from_millis(day * DAY_MS) }
    }

    fn hash(byte: u8) -> TokenHash {
        TokenHash::from_bytes([byte; 16])
    }

    #[test]
    fn a_token_is_known_for_its_time_and_to_its_account() {
        let mut devices = Devices::new(8, 90);
        devices.add(device(1, 5, 1, 0));
        let at = |day: i64| Timestamp::from_millis(day * DAY_MS);
        assert_eq!(devices.find(1, &hash(1), at(90)), Some(5));
        assert_eq!(devices.find(1, &hash(1), at(91)), None);
        assert_eq!(devices.find(1, &hash(1), at(-9)), Some(5), "the clock was set back");
        assert_eq!(devices.find(2, &hash(1), at(1)), None, "another account's");
        assert_eq!(devices.find(1, &hash(2), at(1)), None);
        devices.retain(at(91), |_| true);
        assert!(devices.is_empty());
        devices.add(device(1, 5, 1, 0));
        devices.forget(1);
        assert!(devices.is_empty());
    }

    #[test]
    fn a_device_that_comes_back_often_drives_no_other_out() {
        let mut devices = Devices::new(3, 90);
        devices.add(device(1, 5, 1, 0));
        for token in 10..200 {
            devices.add(device(1, 6, token, 1));
        }
        let now = Timestamp::from_millis(DAY_MS);
        assert_eq!(devices.find(1, &hash(1), now), Some(5));
        assert_eq!(devices.find(1, &hash(199), now), Some(6));
        assert_eq!(devices.len(), 3);
        for session in 7..20 {
            devices.add(device(1, session, session as u8 + 200, 2));
        }
        assert_eq!(devices.len(), 3);
        assert_eq!(devices.find(1, &hash(1), now), None, "the oldest of many devices goes");
        assert_eq!(devices.find(1, &hash(219), now), Some(19));
    }
}
