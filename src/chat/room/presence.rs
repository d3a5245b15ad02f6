//! Who came and who went, gathered: what a room's members are told of it, and when.
//!
//! A change is told when it has stood for a moment; one that was undone before is no change. So whoever joins
//! and leaves as fast as possible costs the others nothing, and many who come at once cost each member one
//! write. What counts for each member is what it knows: those who entered while somebody was in for a moment
//! have counted that one in, and are told that it left, though nobody else ever heard of it.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use crate::model::{Timestamp, UserName};

/// How often is looked for changes that have stood long enough.
pub const TICK: Duration = Duration::from_millis(200);
/// How long a change has to stand before it is told: with a tick on top of it, it is told within a second.
const STANDS: Duration = Duration::from_millis(600);

/// The changes of one room that are not told yet. `C` names a connection.
#[derive(Debug)]
pub struct Presence<C> {
    pending: HashMap<UserName, Pending<C>>,
}

#[derive(Debug)]
struct Pending<C> {
    /// Whether the account is in, as those who are told later believe.
    told: bool,
    /// Whether it is in.
    now: bool,
    /// When that began, by the caller's clock.
    since: Duration,
    at: Timestamp,
    /// Connections that believe the opposite of `told`: they entered in between.
    others: HashSet<C>,
}

/// A change that is to be told.
#[derive(Debug, PartialEq, Eq)]
pub struct Change<C: Eq + Hash> {
    /// Who came or went. Its own connections are not told.
    pub account: UserName,
    /// Whether it is in.
    pub is_in: bool,
    /// Since when.
    pub at: Timestamp,
    /// Who is told.
    pub to: Audience<C>,
}

/// Who of a room's connections is told of a change.
#[derive(Debug, PartialEq, Eq)]
pub enum Audience<C: Eq + Hash> {
    /// All but these, who know.
    AllBut(HashSet<C>),
    /// These alone.
    Only(HashSet<C>),
}

impl<C: Eq + Hash> Audience<C> {
    /// Whether it is for this connection.
    pub fn has(&self, connection: &C) -> bool {
        match self {
            Audience::AllBut(others) => !others.contains(connection),
            Audience::Only(these) => these.contains(connection),
        }
    }

    /// The connections that are not like all the others.
    pub fn named(&self) -> &HashSet<C> {
        match self {
            Audience::AllBut(named) | Audience::Only(named) => named,
        }
    }
}

impl<C> Default for Presence<C> {
    fn default() -> Self {
        Presence { pending: HashMap::new() }
    }
}

impl<C: Copy + Eq + Hash> Presence<C> {
    /// An account's first connection came in, or its last one went out, at `since` of the caller's clock.
    pub fn changed(&mut self, account: &UserName, is_in: bool, since: Duration, at: Timestamp) {
        if let Some(pending) = self.pending.get_mut(account) {
            (pending.now, pending.since, pending.at) = (is_in, since, at);
            if pending.now == pending.told && pending.others.is_empty() {
                self.pending.remove(account);
            }
        } else {
            let pending = Pending { told: !is_in, now: is_in, since, at, others: HashSet::new() };
            self.pending.insert(account.clone(), pending);
        }
    }

    /// A connection came in, and knows who is in now.
    pub fn entered(&mut self, connection: C) {
        for pending in self.pending.values_mut() {
            if pending.now == pending.told {
                pending.others.remove(&connection);
            } else {
                pending.others.insert(connection);
            }
        }
    }

    /// Takes the changes that have stood long enough, in the order in which they came about.
    pub fn due(&mut self, now: Duration) -> Vec<Change<C>> {
        let stands = |pending: &Pending<C>| now.saturating_sub(pending.since) >= STANDS;
        let mut due: Vec<_> = self.pending.extract_if(|_, pending| stands(pending)).collect();
        due.sort_by_key(|(_, pending)| pending.since);
        let change = |(account, pending): (UserName, Pending<C>)| Change {
            account,
            is_in: pending.now,
            at: pending.at,
            to: match pending.now == pending.told {
                true => Audience::Only(pending.others),
                false => Audience::AllBut(pending.others),
            },
        };
        due.into_iter().map(change).collect()
    }

    /// Whether nothing waits to be told.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Forgets what was to be told: nobody is told in this room.
    pub fn clear(&mut self) {
        self.pending.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn name(number: usize) -> UserName {
        UserName::parse(&format!("u{number}")).expect("a name")
    }

    fn at(millis: u64) -> (Duration, Timestamp) {
        (Duration::from_millis(millis), Timestamp::from_millis(millis as i64))
    }

    #[test]
    fn what_was_undone_in_between_is_no_change() {
        let mut presence = Presence::<u32>::default();
        let (since, when) = at(0);
        presence.changed(&name(1), true, since, when);
        let (since, when) = at(590);
        presence.changed(&name(1), false, since, when);
        assert!(presence.is_empty());
        // However often, and however long.
        for round in 0..1_000 {
            let (since, when) = at(1_000 + round * 100);
            presence.changed(&name(1), round % 2 == 0, since, when);
            assert!(presence.due(since).is_empty());
        }
        assert!(presence.is_empty());
    }

    #[test]
    fn what_stands_is_told_once_within_a_second() {
        let mut presence = Presence::<u32>::default();
        let (since, when) = at(1_000);
        presence.changed(&name(1), true, since, when);
        let told =
            (0..).map(|tick| TICK * tick).find_map(|late| presence.due(since + late).pop().zip(Some(late)));
        let (change, late) = told.expect("told");
        assert!(late + TICK <= Duration::from_secs(1));
        assert_eq!((change.is_in, change.at, change.to), (true, when, Audience::AllBut(HashSet::new())));
        assert!(presence.is_empty());
    }

    proptest! {
        /// Whatever people do, each connection that is in knows who is in when all is told: what its `joined`
        /// counted, and what it was told since.
        #[test]
        fn everybody_knows_in_the_end(
            steps in prop::collection::vec((0_usize..5, any::<bool>(), 0_u64..500), 1..100),
        ) {
            let mut presence = Presence::default();
            // By account: the connection that is in, and whom it believes to be in.
            let mut inside: BTreeMap<usize, (usize, HashSet<UserName>)> = BTreeMap::new();
            let (mut now, mut connections) = (0, 0);
            let tell = |presence: &mut Presence<usize>, inside: &mut BTreeMap<usize, (usize, HashSet<_>)>, now| {
                for change in presence.due(at(now).0) {
                    for (account, (connection, believed)) in inside.iter_mut() {
                        if name(*account) == change.account || !change.to.has(connection) {
                            continue;
                        }
                        let news = match change.is_in {
                            true => believed.insert(change.account.clone()),
                            false => believed.remove(&change.account),
                        };
                        prop_assert!(news, "it is told what it does not know");
                    }
                }
                Ok(())
            };
            for (account, comes_back_by_the_same, wait) in steps {
                now += wait;
                let (since, when) = at(now);
                if let Some((connection, _)) = inside.remove(&account) {
                    presence.changed(&name(account), false, since, when);
                    if comes_back_by_the_same {
                        presence.changed(&name(account), true, since, when);
                        presence.entered(connection);
                        let believed = inside.keys().map(|other| name(*other)).collect();
                        inside.insert(account, (connection, believed));
                    }
                } else {
                    presence.changed(&name(account), true, since, when);
                    connections += 1;
                    presence.entered(connections);
                    let believed = inside.keys().map(|other| name(*other)).collect();
                    inside.insert(account, (connections, believed));
                }
                tell(&mut presence, &mut inside, now)?;
            }
            tell(&mut presence, &mut inside, now + 10_000)?;
            prop_assert!(presence.is_empty());
            let all: HashSet<_> = inside.keys().map(|account| name(*account)).collect();
            for (account, (_, mut believed)) in inside {
                believed.insert(name(account));
                prop_assert_eq!(&believed, &all);
            }
        }
    }
}
