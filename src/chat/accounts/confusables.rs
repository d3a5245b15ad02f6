//! Which names can be taken for each other: by how they look, or by case alone.
//!
//! Names look alike when their UTS 39 skeletons are equal; they differ by case alone when their case keys
//! are, as those of `strasse` and `straße`. Two names of ASCII letters may look alike; one with another letter
//! may look like no other.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::model::UserName;

/// The names that are taken, by what they can be confused with.
#[derive(Debug, Default)]
pub struct ConfusableIndex {
    /// How many names have a skeleton: by a hash of it, which costs less than the skeleton. Two that collide
    /// (one pair in 2^64) refuse each other, no more.
    alike: HashMap<u64, LookAlikes>,
    skeletons: RandomState,
    /// How many names have this case key and another spelling; most names are their own.
    case_keys: HashMap<String, u32>,
}

/// Names that look alike.
#[derive(Debug, Default, PartialEq, Eq)]
struct LookAlikes {
    ascii: u32,
    other: u32,
}

impl ConfusableIndex {
    /// Puts a name in. One that is in twice has to be taken out twice.
    pub fn add(&mut self, name: &UserName) {
        let key = name.case_key();
        if *key != *name.as_str() {
            *self.case_keys.entry(key.into_owned()).or_default() += 1;
        }
        let skeleton = self.skeletons.hash_one(name.skeleton());
        *self.alike.entry(skeleton).or_default().count_of(name) += 1;
    }

    /// Takes a name out that was put in.
    pub fn remove(&mut self, name: &UserName) {
        let key = name.case_key();
        if let Some(count) = self.case_keys.get_mut(&*key) {
            *count -= u32::from(*key != *name.as_str());
            if *count == 0 {
                self.case_keys.remove(&*key);
            }
        }
        let skeleton = self.skeletons.hash_one(name.skeleton());
        if let Some(alike) = self.alike.get_mut(&skeleton) {
            let count = alike.count_of(name);
            *count = count.saturating_sub(1);
            if *alike == LookAlikes::default() {
                self.alike.remove(&skeleton);
            }
        }
    }

    /// Whether a new name could be taken for one that is in. `is_taken` tells which spellings are in.
    pub fn confuses(&self, name: &UserName, is_taken: impl Fn(&str) -> bool) -> bool {
        let key = name.case_key();
        if is_taken(&key) || self.case_keys.contains_key(&*key) {
            return true;
        }
        let alike = self.alike.get(&self.skeletons.hash_one(name.skeleton()));
        alike.is_some_and(|alike| !name.as_str().is_ascii() || alike.other > 0)
    }

    /// Panics unless exactly these names are in.
    #[cfg(test)]
    pub fn check_holds<'a>(&self, names: impl Iterator<Item = &'a UserName>) {
        let mut expected =
            ConfusableIndex { skeletons: self.skeletons.clone(), ..ConfusableIndex::default() };
        names.for_each(|name| expected.add(name));
        assert_eq!(self.alike, expected.alike, "names that look alike");
        assert_eq!(self.case_keys, expected.case_keys, "names that differ by case");
    }
}

impl LookAlikes {
    fn count_of(&mut self, name: &UserName) -> &mut u32 {
        if name.as_str().is_ascii() { &mut self.ascii } else { &mut self.other }
    }
}
