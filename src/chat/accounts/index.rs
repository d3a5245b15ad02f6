//! Which accounts there are, and which names are free.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::confusables::ConfusableIndex;
use crate::model::{Account, AccountChange, AccountsByRow, FormerSpellings, Spellings, UserName};

/// The accounts in memory, by row and by name, and the names that are about to become accounts, or were those
/// of accounts a moment ago.
#[derive(Debug, Default)]
pub struct Accounts {
    by_row: AccountsByRow,
    rows: HashMap<UserName, u64>,
    /// Names that are no account's and that nobody can take: whose account is on its way to the disk, or whose
    /// last owner's messages are still on theirs.
    reserved: HashSet<UserName>,
    /// All names that are an account's or reserved, and `server`.
    confusables: ConfusableIndex,
    /// The accounts whose names were made under former rules.
    former: Arc<FormerSpellings>,
    /// How often an account's password was changed since the start; none for 0.
    password_changes: HashMap<u64, u64>,
    next_row: u64,
}

impl Accounts {
    /// The accounts of a file, whose largest number so far is `highest_row`.
    pub fn new(by_row: AccountsByRow, highest_row: u64) -> Self {
        let mut accounts = Accounts { next_row: highest_row.saturating_add(1), ..Accounts::default() };
        accounts.confusables.add(&UserName::server());
        for account in by_row.into_values() {
            accounts.insert(account);
        }
        let rows = &accounts.rows;
        accounts.former = Spellings::of_users(rows.keys(), |name| rows.contains_key(name)).into();
        accounts
    }

    /// The accounts whose names were made under former rules, for whoever reads names.
    pub fn former_spellings(&self) -> &Arc<FormerSpellings> {
        &self.former
    }

    /// How many accounts there are.
    pub fn len(&self) -> usize {
        self.by_row.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_row.is_empty()
    }

    /// All accounts, by row.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.by_row.values()
    }

    /// The account of this name.
    pub fn named(&self, name: &UserName) -> Option<&Arc<Account>> {
        self.by_row.get(self.rows.get(name)?)
    }

    /// The account that a name means that was only taken as it was given ([`UserName::as_given`]).
    pub fn meant(&self, given: &UserName) -> Option<&Arc<Account>> {
        self.named(&Spellings::user_among(&self.former, given.as_str()).ok()?)
    }

    /// The account in this row.
    pub fn row(&self, row: u64) -> Option<&Arc<Account>> {
        self.by_row.get(&row)
    }

    /// How often the account's password was changed since the start: whoever compares one and acts later
    /// looks whether it is the same. A hash that is made anew for the same password is no change.
    pub fn password_changes(&self, row: u64) -> u64 {
        self.password_changes.get(&row).copied().unwrap_or(0)
    }

    /// Whether an account can be made of this name: no other is the same, or could be taken for it
    /// ([`ConfusableIndex`]).
    pub fn is_free(&self, name: &UserName) -> bool {
        let taken = |name: &str| self.rows.contains_key(name) || self.reserved.contains(name);
        !name.is_server() && !taken(name.as_str()) && !self.confusables.confuses(name, taken)
    }

    /// Keeps a free name for an account that is on its way. [`Accounts::release`] gives it back, an
    /// [`AccountChange::Add`] makes it an account. Returns whether it was free.
    pub fn reserve(&mut self, name: &UserName) -> bool {
        let free = self.is_free(name);
        if free {
            self.keep(name);
        }
        free
    }

    /// Keeps a name whose account is gone from becoming another's, until [`Accounts::release`].
    pub fn keep(&mut self, name: &UserName) {
        if self.reserved.insert(name.clone()) {
            self.confusables.add(name);
        }
    }

    /// Gives a reserved name back.
    pub fn release(&mut self, name: &UserName) {
        if self.reserved.remove(name) {
            self.confusables.remove(name);
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
                if let Some(account) = self.by_row.remove(row) {
                    self.rows.remove(&account.name);
                    self.former.remove(account.name.as_str());
                    self.password_changes.remove(row);
                    self.confusables.remove(&account.name);
                }
            }
            AccountChange::Password { row, .. } => {
                *self.password_changes.entry(*row).or_default() += 1;
                change.apply(&mut self.by_row);
            }
            other => other.apply(&mut self.by_row),
        }
    }

    /// Shares one account in memory with whoever else has it, if it says the same.
    pub fn share(&mut self, account: &Arc<Account>) {
        if let Some(own) = self.by_row.get_mut(&account.row)
            && !Arc::ptr_eq(own, account)
            && own == account
        {
            *own = Arc::clone(account);
        }
    }

    /// Forgets all accounts. Names that are on their way stay reserved, and rows are not used again.
    pub fn clear(&mut self) {
        for row in self.by_row.keys().copied().collect::<Vec<_>>() {
            self.apply(&AccountChange::Remove { row });
        }
    }

    fn insert(&mut self, account: Arc<Account>) {
        self.confusables.add(&account.name);
        self.rows.insert(account.name.clone(), account.row);
        self.next_row = self.next_row.max(account.row.saturating_add(1));
        self.by_row.insert(account.row, account);
    }

    /// Panics unless all that this knows agrees.
    #[cfg(test)]
    pub fn check_invariants(&self) {
        assert_eq!(self.rows.len(), self.by_row.len(), "a name for each account");
        for (row, account) in &self.by_row {
            assert_eq!((account.row, self.rows.get(&account.name)), (*row, Some(row)), "{:?}", account.name);
            assert!(*row < self.next_row, "row {row} would be given again");
        }
        let held = self.rows.keys().chain(&self.reserved);
        self.confusables.check_holds(held.chain([&UserName::server()]));
        assert!(
            self.rows.keys().all(|name| !self.reserved.contains(name)),
            "an account's name is not reserved"
        );
        assert!(self.password_changes.keys().all(|row| self.by_row.contains_key(row)));
        assert!(self.rows.keys().chain(&self.reserved).all(|name| !self.is_free(name)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{StoredPassword, Timestamp};

    fn name(text: &str) -> UserName {
        UserName::parse(text).expect("a name")
    }

    fn add(accounts: &mut Accounts, text: &str) -> u64 {
        let row = accounts.fresh_row();
        accounts.apply(&AccountChange::Add(Arc::new(Account {
            row,
            name: name(text),
            password: StoredPassword::of_password("a hash"),
            addresses: Vec::new(),
            created_at: Timestamp::default(),
            visible_from: None,
            last_seen_at: None,
            sessions: Default::default(),
            banned: false,
        })));
        row
    }

    #[test]
    fn a_name_is_reserved_once() {
        let mut accounts = Accounts::new(AccountsByRow::new(), 0);
        assert!(!accounts.reserve(&UserName::server()));
        assert!(accounts.reserve(&name("alice")) && !accounts.reserve(&name("alice")));
        assert!(accounts.named(&name("alice")).is_none(), "it is no account yet");
        accounts.release(&name("alice"));
        assert!(accounts.reserve(&name("alice")));
        add(&mut accounts, "alice");
        assert!(accounts.named(&name("alice")).is_some() && !accounts.is_free(&name("alice")));
        accounts.release(&name("alice"));
        assert!(!accounts.is_free(&name("alice")), "an account is not released");
    }

    #[test]
    fn a_name_that_looks_like_another_is_taken() {
        let mut accounts = Accounts::new(AccountsByRow::new(), 0);
        add(&mut accounts, "scope");
        let twin = name("ѕсоре");
        assert_eq!(twin.skeleton(), name("scope").skeleton());
        assert!(!accounts.is_free(&twin), "all Cyrillic, and looks Latin");
        add(&mut accounts, "modem");
        assert!(accounts.is_free(&name("rnodern")), "ASCII names may look alike");
        let row = accounts.named(&name("scope")).expect("an account").row;
        accounts.apply(&AccountChange::Remove { row });
        assert!(accounts.reserve(&twin));
        assert!(!accounts.is_free(&name("scope")), "also while the twin is on its way");
        accounts.release(&twin);
        assert!(accounts.is_free(&name("scope")) && accounts.is_free(&twin));
    }

    #[test]
    fn names_that_differ_by_case_alone_are_one_for_whoever_is_new() {
        let mut accounts = Accounts::new(AccountsByRow::new(), 0);
        add(&mut accounts, "straße");
        assert!(!accounts.is_free(&name("strasse")) && !accounts.is_free(&name("straße")));
        assert!(accounts.named(&name("strasse")).is_none(), "another spelling");
        let row = accounts.named(&name("straße")).expect("an account").row;
        accounts.apply(&AccountChange::Remove { row });
        assert!(accounts.reserve(&name("strasse")) && !accounts.is_free(&name("straße")));
        accounts.release(&name("strasse"));
        assert!(accounts.reserve(&name("straße")) && !accounts.is_free(&name("strasse")));
    }

    #[test]
    fn rows_are_not_used_again() {
        let mut accounts = Accounts::new(AccountsByRow::new(), 0);
        let first = add(&mut accounts, "alice");
        accounts.clear();
        assert!(accounts.is_empty() && accounts.is_free(&name("alice")));
        let second = add(&mut accounts, "alice");
        assert!(second > first);
        let again = Accounts::new(accounts.by_row.clone(), second);
        assert_eq!(again.next_row, second + 1);
    }

    /// Names that can be taken for each other in every way, and some that cannot.
    const NAMES: [&str; 8] = ["scope", "ѕсоре", "straße", "strasse", "alice", "bob", "modem", "rnodern"];

    proptest! {
        #[test]
        fn all_that_is_known_agrees_after_every_step(
            steps in prop::collection::vec((0_u8..8, 0_usize..NAMES.len()), 1..80),
        ) {
            let mut accounts = Accounts::new(AccountsByRow::new(), 0);
            for (step, at) in steps {
                let of = name(NAMES[at]);
                let row = accounts.named(&of).map(|account| account.row);
                match (step, row) {
                    (0..3, None) if accounts.reserve(&of) => drop(add(&mut accounts, NAMES[at])),
                    (3, _) => drop(accounts.reserve(&of)),
                    (4, _) => accounts.release(&of),
                    (5, Some(row)) => {
                        accounts.apply(&AccountChange::Remove { row });
                        accounts.keep(&of);
                    }
                    (6, Some(row)) => accounts.apply(&AccountChange::Password {
                        row,
                        password: StoredPassword::of_password("another hash"),
                        sessions: Default::default(),
                    }),
                    (7, _) if at == 0 => accounts.clear(),
                    _ => {}
                }
                accounts.check_invariants();
            }
        }
    }
}
