//! Whether an id that a client remembers is of this history at all.
//!
//! A data directory may be restored from a copy while clients remember what came after it; then the ids that
//! they remember are given again, to other messages. So each start of the server opens a *term* and notes
//! which id was the newest one stored when it began. A client says of an id in which term it saw it, and
//! [`Terms::is_of_another_history`] knows whether this history had that id by the end of that term.
//!
//! A term has ended where the next one began, but what is put back may be a part only (the messages without
//! the list of terms, a copy that was made while the server ran), and then a *later* term may begin below an
//! earlier one's end. What a term has left in this history is therefore what lay below the beginnings of
//! **all** later terms: a start never finds more of the past than there is.

use std::collections::HashMap;

use crate::model::{MessageId, StoredTerm, TermName};

/// How many terms are known, the newest ones.
pub const KNOWN_TERMS: usize = 1_000;

/// The terms of a history, the present one included.
#[derive(Debug)]
pub struct Terms {
    /// Oldest first; the last is the present one.
    known: Vec<StoredTerm>,
    /// The newest id that a term which is over has left here.
    ends: HashMap<TermName, Option<MessageId>>,
    present: TermName,
    /// The newest id that was stored when the present term began, …
    stored: Option<MessageId>,
    /// … and the largest one that may have been given by then: what this term stores lies above.
    used: Option<MessageId>,
}

impl Terms {
    /// Begins a term, behind those that are known of (`past`, oldest first). `used` is the largest id that
    /// may have been given before, which may lie above the newest one that is stored.
    pub fn begin(past: Vec<StoredTerm>, present: StoredTerm, used: Option<MessageId>) -> Self {
        let (name, stored) = (present.name.clone(), present.after);
        let mut known = past;
        known.push(present);
        known.drain(..known.len().saturating_sub(KNOWN_TERMS));
        let mut ends = HashMap::with_capacity(known.len());
        let mut left = None;
        for term in known.iter().rev() {
            if let Some(end) = left {
                ends.insert(term.name.clone(), end);
            }
            left = Some(left.map_or(term.after, |left: Option<MessageId>| left.min(term.after)));
        }
        Terms { known, ends, present: name, stored, used: used.max(stored) }
    }

    /// The terms that are known, oldest first, to be stored.
    pub fn known(&self) -> &[StoredTerm] {
        &self.known
    }

    /// The present term.
    pub fn present(&self) -> &TermName {
        &self.present
    }

    /// Whether the id behind which a client wants to read is none of this history's: it names a term that is
    /// not known here, or one by whose end this history had not come so far; or it names none, and the id
    /// lies beyond everything that is stored. `given` is the largest id that was given so far. An `after` of
    /// `None`, the 0 of the wire, is every history's.
    pub fn is_of_another_history(
        &self,
        after: Option<MessageId>,
        term: Option<&TermName>,
        given: Option<MessageId>,
    ) -> bool {
        let Some(after) = after else { return false };
        let newest = if given > self.used { given } else { self.stored };
        match term {
            Some(term) if *term != self.present => self.ends.get(term).is_none_or(|end| Some(after) > *end),
            _ => Some(after) > newest,
        }
    }
}

#[cfg(test)]
#[path = "terms_tests.rs"]
mod tests;
