//! Which accounts there are, and which names are free.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use crate::model::{Account, AccountChange, AccountsByRow, FormerSpellings, Spellings, UserName};

/// The accounts in memory, by row and by name, and the names that are about to become accounts.
#[derive(Debug, Default)]
pub struct People {
    accounts: AccountsByRow,
    rows: HashMap<UserName, u64>,
    /// Names whose account is on its way to the disk.
    pending: HashSet<UserName>,
    /// How many names, taken or pending, look like this: by a hash of the UTS 39 skeleton, which costs less
    /// than the skeleton; two that collide (one pair in 2^64) refuse each other, no more.
    looks: HashMap<u64, Looks>,
    skeletons: RandomState,
    /// How many names, taken or pending, have this case key and another spelling; most names are their own.
    case_keys: HashMap<String, u32>,
    /// The accounts whose names were made under former rules.
    former: Arc<FormerSpellings>,
    /// How often an account's password was changed since the start; none for 0.
    password_changes: HashMap<u64, u64>,
    next_row: u64,
}

/// Names that look alike.
#[derive(Debug, Default)]
struct Looks {
    ascii: u32,
    other: u32,
}

impl People {
    /// The accounts of a file, whose largest number so far is `highest_row`.
    pub fn new(accounts: AccountsByRow, highest_row: u64) -> Self {
        let mut people = People { next_row: highest_row.saturating_add(1), ..People::default() };
        people.look(&UserName::server(), true);
        for account in accounts.into_values() {
            people.insert(account);
        }
        people.former = Spellings::of_users(people.rows.keys(), |name| people.rows.contains_key(name)).into();
        people
    }

    /// The accounts whose names were made under former rules, for whoever reads names.
    pub fn former_spellings(&self) -> &Arc<FormerSpellings> {
        &self.former
    }

    /// How many accounts there are.
    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// All accounts, by row.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.accounts.values()
    }

    /// The account of this name.
    pub fn named(&self, name: &UserName) -> Option<&Arc<Account>> {
        self.accounts.get(self.rows.get(name)?)
    }

    /// The account that a name means that was only taken as it was given ([`UserName::as_given`]).
    pub fn meant(&self, given: &UserName) -> Option<&Arc<Account>> {
        self.named(&Spellings::user_among(&self.former, given.as_str()).ok()?)
    }

    /// The account in this row.
    pub fn row(&self, row: u64) -> Option<&Arc<Account>> {
        self.accounts.get(&row)
    }

    /// How often the account's password was changed since the start: whoever compares one and acts later
    /// looks whether it is the same. A hash that is made anew for the same password is no change.
    pub fn password_changes(&self, row: u64) -> u64 {
        self.password_changes.get(&row).copied().unwrap_or(0)
    }

    /// Whether an account can be made of this name: no other is the same but for case, as `strasse` and
    /// `straße` are. Two names of ASCII letters may look alike; one with another letter may look like no other.
    pub fn is_free(&self, name: &UserName) -> bool {
        let key = name.case_key();
        let taken = |name: &str| self.rows.contains_key(name) || self.pending.contains(name);
        if name.is_server() || taken(name.as_str()) || taken(&key) || self.case_keys.contains_key(&*key) {
            return false;
        }
        let alike = self.looks.get(&self.skeletons.hash_one(name.skeleton()));
        alike.is_none_or(|alike| name.as_str().is_ascii() && alike.other == 0)
    }

    /// Keeps a free name for an account that is on its way. [`People::release`] gives it back, an
    /// [`AccountChange::Add`] makes it an account. Returns whether it was free.
    pub fn reserve(&mut self, name: &UserName) -> bool {
        let free = self.is_free(name);
        if free {
            self.pending.insert(name.clone());
            self.look(name, true);
        }
        free
    }

    /// Keeps a name whose account is gone from becoming another's, until [`People::release`].
    pub fn hold(&mut self, name: &UserName) {
        if self.pending.insert(name.clone()) {
            self.look(name, true);
        }
    }

    /// Gives a reserved name back.
    pub fn release(&mut self, name: &UserName) {
        if self.pending.remove(name) {
            self.look(name, false);
        }
    }

    /// A row that no account ever had.
    pub fn fresh_row(&mut self) -> u64 {
        let row = self.next_row;
        self.next_row += 1;
        row
    }

    /// Makes a change that is durable, or that need not be.
    pub fn apply(&mut self, change: &AccountChange) {
        match change {
            AccountChange::Add(account) => {
                self.release(&account.name);
                self.insert(Arc::clone(account));
            }
            AccountChange::Remove { row } => {
                if let Some(account) = self.accounts.remove(row) {
                    self.rows.remove(&account.name);
                    self.former.remove(account.name.as_str());
                    self.password_changes.remove(row);
                    self.look(&account.name, false);
                }
            }
            AccountChange::Password { row, .. } => {
                *self.password_changes.entry(*row).or_default() += 1;
                change.apply(&mut self.accounts);
            }
            other => other.apply(&mut self.accounts),
        }
    }

    /// Shares one account in memory with whoever else has it, if it says the same.
    pub fn share(&mut self, account: &Arc<Account>) {
        if let Some(own) = self.accounts.get_mut(&account.row)
            && !Arc::ptr_eq(own, account)
            && own == account
        {
            *own = Arc::clone(account);
        }
    }

    /// Forgets all accounts. Names that are on their way stay reserved, and rows are not used again.
    pub fn clear(&mut self) {
        for row in self.accounts.keys().copied().collect::<Vec<_>>() {
            self.apply(&AccountChange::Remove { row });
        }
    }

    fn insert(&mut self, account: Arc<Account>) {
        self.look(&account.name, true);
        self.rows.insert(account.name.clone(), account.row);
        self.next_row = self.next_row.max(account.row.saturating_add(1));
        self.accounts.insert(account.row, account);
    }

    /// Counts a name among those that look like it or differ by case, or takes it out.
    fn look(&mut self, name: &UserName, is_there: bool) {
        let key = name.case_key();
        if *key != *name.as_str() {
            let count = self.case_keys.entry(key.into_owned()).or_default();
            *count = if is_there { *count + 1 } else { count.saturating_sub(1) };
            if *count == 0 {
                self.case_keys.remove(&*name.case_key());
            }
        }
        let skeleton = self.skeletons.hash_one(name.skeleton());
        let looks = self.looks.entry(skeleton).or_default();
        let count = if name.as_str().is_ascii() { &mut looks.ascii } else { &mut looks.other };
        *count = if is_there { *count + 1 } else { count.saturating_sub(1) };
        if looks.ascii + looks.other == 0 {
            self.looks.remove(&skeleton);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{StoredPassword, Timestamp};

    fn name(text: &str) -> UserName {
        UserName::parse(text).expect("a name")
    }

    fn add(people: &mut People, text: &str) -> u64 {
        let row = people.fresh_row();
        people.apply(&AccountChange::Add(Arc::new(Account {
            row,
            name: name(text),
            password: StoredPassword::of_password("a hash"),
            addresses: Vec::new(),
            created_at: Timestamp::default(),
            first_id: None,
            last_seen_at: None,
            sessions: Default::default(),
            banned: false,
        })));
        row
    }

    #[test]
    fn a_name_is_reserved_once() {
        let mut people = People::new(AccountsByRow::new(), 0);
        assert!(!people.reserve(&UserName::server()));
        assert!(people.reserve(&name("alice")) && !people.reserve(&name("alice")));
        assert!(people.named(&name("alice")).is_none(), "it is no account yet");
        people.release(&name("alice"));
        assert!(people.reserve(&name("alice")));
        add(&mut people, "alice");
        assert!(people.named(&name("alice")).is_some() && !people.is_free(&name("alice")));
        people.release(&name("alice"));
        assert!(!people.is_free(&name("alice")), "an account is not released");
    }

    #[test]
    fn a_name_that_looks_like_another_is_taken() {
        let mut people = People::new(AccountsByRow::new(), 0);
        add(&mut people, "scope");
        let twin = name("ѕсоре");
        assert_eq!(twin.skeleton(), name("scope").skeleton());
        assert!(!people.is_free(&twin), "all Cyrillic, and looks Latin");
        add(&mut people, "modem");
        assert!(people.is_free(&name("rnodern")), "ASCII names may look alike");
        let row = people.named(&name("scope")).expect("an account").row;
        people.apply(&AccountChange::Remove { row });
        assert!(people.reserve(&twin));
        assert!(!people.is_free(&name("scope")), "also while the twin is on its way");
        people.release(&twin);
        assert!(people.is_free(&name("scope")) && people.is_free(&twin));
    }

    #[test]
    fn names_that_differ_by_case_alone_are_one_for_whoever_is_new() {
        let mut people = People::new(AccountsByRow::new(), 0);
        add(&mut people, "straße");
        assert!(!people.is_free(&name("strasse")) && !people.is_free(&name("straße")));
        assert!(people.named(&name("strasse")).is_none(), "another spelling");
        let row = people.named(&name("straße")).expect("an account").row;
        people.apply(&AccountChange::Remove { row });
        assert!(people.reserve(&name("strasse")) && !people.is_free(&name("straße")));
        people.release(&name("strasse"));
        assert!(people.reserve(&name("straße")) && !people.is_free(&name("strasse")));
    }

    #[test]
    fn rows_are_not_used_again() {
        let mut people = People::new(AccountsByRow::new(), 0);
        let first = add(&mut people, "alice");
        people.clear();
        assert!(people.is_empty() && people.is_free(&name("alice")));
        let second = add(&mut people, "alice");
        assert!(second > first);
        let again = People::new(people.accounts.clone(), second);
        assert_eq!(again.next_row, second + 1);
    }
}
