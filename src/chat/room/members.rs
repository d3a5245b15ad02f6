//! Who is in a room: accounts, each on one or several connections.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::ops::Bound;

use crate::model::UserName;

/// What entering changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// The account's first connection came in.
    AccountCame,
    /// Another connection of an account that was there.
    AnotherConnection,
    /// This connection was in already.
    WasIn,
}

/// What leaving changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The account's last connection went out.
    AccountLeft,
    /// The account is still there on another connection.
    StillThere,
    /// This connection was not in.
    WasNotIn,
}

/// The accounts and connections of one room. `C` names a connection.
#[derive(Debug)]
pub struct Members<C> {
    connections: HashMap<C, UserName>,
    accounts: BTreeMap<UserName, usize>,
}

impl<C> Default for Members<C> {
    fn default() -> Self {
        Members { connections: HashMap::new(), accounts: BTreeMap::new() }
    }
}

impl<C: Copy + Eq + Hash> Members<C> {
    /// Lets a connection in.
    pub fn enter(&mut self, account: &UserName, connection: C) -> Entered {
        match self.connections.entry(connection) {
            Entry::Occupied(_) => Entered::WasIn,
            Entry::Vacant(place) => {
                place.insert(account.clone());
                let connections = self.accounts.entry(account.clone()).or_insert(0);
                *connections += 1;
                if *connections == 1 { Entered::AccountCame } else { Entered::AnotherConnection }
            }
        }
    }

    /// Lets a connection out.
    pub fn leave(&mut self, connection: C) -> Left {
        let Some(account) = self.connections.remove(&connection) else {
            return Left::WasNotIn;
        };
        match self.accounts.get_mut(&account) {
            Some(connections) if *connections > 1 => {
                *connections -= 1;
                Left::StillThere
            }
            _ => {
                self.accounts.remove(&account);
                Left::AccountLeft
            }
        }
    }

    /// Whether this connection is in.
    pub fn contains(&self, connection: C) -> bool {
        self.connections.contains_key(&connection)
    }

    /// How many accounts are in.
    pub fn accounts(&self) -> usize {
        self.accounts.len()
    }

    /// All connections that are in, with their accounts.
    pub fn connections(&self) -> impl Iterator<Item = (C, &UserName)> {
        self.connections.iter().map(|(connection, account)| (*connection, account))
    }

    /// Whose connection this is, if it is in.
    pub fn account_of(&self, connection: C) -> Option<&UserName> {
        self.connections.get(&connection)
    }

    /// The accounts behind a name, sorted, and whether there are more than `limit`.
    pub fn page(&self, after: Option<&UserName>, limit: usize) -> (Vec<UserName>, bool) {
        name_page(&self.accounts, after, limit)
    }
}

/// The keys of a map behind a name, sorted, and whether there are more than `limit`.
pub fn name_page<N: Ord + Clone, V>(
    names: &BTreeMap<N, V>,
    after: Option<&N>,
    limit: usize,
) -> (Vec<N>, bool) {
    let behind = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
    let mut rest = names.range::<N, _>(behind);
    let page = rest.by_ref().take(limit).map(|(name, _)| name.clone()).collect();
    (page, rest.next().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UserName {
        UserName::parse(text).expect("a name")
    }

    #[test]
    fn an_account_comes_with_its_first_connection_and_goes_with_its_last() {
        let mut members = Members::default();
        let alice = name("alice");
        assert_eq!(members.enter(&alice, 1), Entered::AccountCame);
        assert_eq!(members.enter(&alice, 1), Entered::WasIn);
        assert_eq!(members.enter(&alice, 2), Entered::AnotherConnection);
        assert_eq!(members.accounts(), 1);
        assert_eq!(members.leave(1), Left::StillThere);
        assert_eq!(members.leave(1), Left::WasNotIn);
        assert!(!members.contains(1) && members.contains(2));
        assert_eq!(members.leave(2), Left::AccountLeft);
        assert_eq!(members.accounts(), 0);
    }

    #[test]
    fn pages_are_sorted_and_say_whether_there_are_more() {
        let mut members = Members::default();
        for (connection, text) in ["dora", "bob", "alice", "carl"].into_iter().enumerate() {
            members.enter(&name(text), connection);
        }
        assert_eq!(members.page(None, 2), (vec![name("alice"), name("bob")], true));
        assert_eq!(members.page(Some(&name("bob")), 2), (vec![name("carl"), name("dora")], false));
        assert_eq!(members.page(Some(&name("bea")), 1), (vec![name("bob")], true));
        assert_eq!(members.page(Some(&name("zoe")), 5), (vec![], false));
    }
}
