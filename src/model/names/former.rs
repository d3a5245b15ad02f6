//! Names that were stored under former rules, and who is meant by them now.
//!
//! The rules of names have changed once: see [`super::rules`]. What was stored stays as it is, so an account
//! `i̇van` (with a dot above its `i`) may be beside `ivan`. Each is reached by exactly its stored spelling, and
//! by what reached it before as long as that is nobody else's.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use super::{MAX_ROOM_NAME_CHARS, MAX_USER_NAME_CHARS, NameError, RoomName, UserName, rules};

/// The stored names that the present rules would not make, or not of everything that they were made of.
/// There are seldom any.
#[derive(Debug, Default)]
pub struct FormerSpellings {
    names: HashMap<Box<str>, Entry>,
    /// What the present rules make of such a name, where nothing else is stored so.
    presents: HashMap<String, Box<str>>,
}

#[derive(Debug)]
struct Entry {
    /// Another stored name is what the present rules make of it: only the exact spelling is this one.
    exact_only: bool,
    /// It is stored no more.
    gone: AtomicBool,
}

impl FormerSpellings {
    fn new<'a>(stored: impl Iterator<Item = &'a str>, is_stored: impl Fn(&str) -> bool, max: usize) -> Self {
        let mut former = FormerSpellings::default();
        let mut shared = HashSet::new();
        for name in stored.filter(|name| !name.is_ascii()) {
            let presents = presents(name, max);
            if presents.is_empty() && rules::canonical(name, max).is_ok() {
                continue;
            }
            let exact_only = presents.iter().any(|present| is_stored(present));
            for present in presents.into_iter().filter(|_| !exact_only) {
                if former.presents.insert(present.clone(), name.into()).is_some_and(|other| *other != *name) {
                    shared.insert(present);
                }
            }
            former.names.insert(name.into(), Entry { exact_only, gone: AtomicBool::new(false) });
        }
        // What two of them would be now is neither.
        former.presents.retain(|present, _| !shared.contains(present));
        former
    }

    /// The stored name that a text means, if it is one of these.
    fn meant<'t>(&'t self, text: &'t str, max: usize) -> Option<Cow<'t, str>> {
        if self.names.is_empty() {
            return None;
        }
        let there = |name: &str| self.names.get(name).filter(|entry| !entry.gone.load(Ordering::Relaxed));
        if there(text).is_some() {
            return Some(text.into());
        }
        let present = rules::canonical(text, max).ok();
        if let Some(name) = present.as_ref().and_then(|present| self.presents.get(present)) {
            return there(name).map(|_| (&**name).into());
        }
        let former = rules::former(text, max).ok()?;
        there(&former).is_some_and(|entry| !entry.exact_only).then_some(former.into())
    }

    /// A name is stored no more: its spelling means what it means by the present rules from now on.
    pub fn remove(&self, name: &str) {
        if let Some(entry) = self.names.get(name) {
            entry.gone.store(true, Ordering::Relaxed);
        }
    }
}

/// What the present rules make of a stored name, and of its capitals where those had another final sigma; but
/// for the name itself.
fn presents(name: &str, max: usize) -> Vec<String> {
    let of_name = rules::canonical(name, max).ok();
    let of_capitals = rules::canonical(&name.to_uppercase(), max).ok();
    let by_sigma = of_capitals.filter(|present| present.replace('ς', "σ") == name.replace('ς', "σ"));
    let mut presents: Vec<String> =
        of_name.into_iter().chain(by_sigma).filter(|present| present != name).collect();
    presents.dedup();
    presents
}

/// How names that somebody types or sends are read where names are stored.
#[derive(Debug, Default)]
pub struct Spellings {
    /// Of accounts.
    pub users: std::sync::Arc<FormerSpellings>,
    /// Of rooms.
    pub rooms: FormerSpellings,
}

impl Spellings {
    /// The spellings of stored accounts; `is_stored` tells whether a name is one of them.
    pub fn of_users<'a>(
        stored: impl Iterator<Item = &'a UserName>,
        is_stored: impl Fn(&str) -> bool,
    ) -> FormerSpellings {
        FormerSpellings::new(stored.map(UserName::as_str), is_stored, MAX_USER_NAME_CHARS)
    }

    /// The spellings of stored rooms; `is_stored` tells whether a name is one of them. What the present rules
    /// make of a room's name is always another room, as a client expects that asks for it.
    pub fn of_rooms<'a>(
        stored: impl Iterator<Item = &'a RoomName>,
        is_stored: impl Fn(&str) -> bool,
    ) -> FormerSpellings {
        let former = FormerSpellings::new(stored.map(RoomName::as_str), is_stored, MAX_ROOM_NAME_CHARS);
        FormerSpellings { presents: HashMap::new(), ..former }
    }

    /// The account that a text names.
    ///
    /// # Errors
    /// As for [`UserName::parse`].
    pub fn user(&self, text: &str) -> Result<UserName, NameError> {
        Self::user_among(&self.users, text)
    }

    /// The account that a text names, where only accounts matter.
    ///
    /// # Errors
    /// As for [`UserName::parse`].
    pub fn user_among(users: &FormerSpellings, text: &str) -> Result<UserName, NameError> {
        match users.meant(text, MAX_USER_NAME_CHARS) {
            Some(stored) => UserName::from_canonical(&stored),
            None => UserName::parse(text),
        }
    }

    /// The room that a text names.
    ///
    /// # Errors
    /// As for [`RoomName::parse`].
    pub fn room(&self, text: &str) -> Result<RoomName, NameError> {
        match self.rooms.meant(text, MAX_ROOM_NAME_CHARS) {
            Some(stored) => RoomName::from_canonical(&stored),
            None => RoomName::parse(text),
        }
    }
}
