//! Which rows a room, a pair of accounts and an account's inbox have, and where they lie.
//!
//! The index is in memory only: it is made from the files when they are opened and told of each commit. It
//! answers without touching a disk; the reading of the rows is the business of a [`PagePlan`].

use std::collections::HashMap;

use super::page::PagePlan;
use super::postings::{IdRange, Postings};
use super::row::RowFault;
use super::segment::Position;
use crate::model::{
    MAX_MESSAGE_ID, MessageId, MessageList, Page, PageQuery, RoomName, StoredMessage, Target, UserName,
};

/// An account's number in the index. Names come and go in rows; numbers make their keys small.
type AccountNumber = u32;

/// Where the rows of every list lie.
#[derive(Debug, Default)]
pub struct HistoryIndex {
    rows: u64,
    newest_id: u64,
    rooms: HashMap<RoomName, Postings>,
    accounts: HashMap<UserName, AccountNumber>,
    /// By account number.
    inboxes: Vec<Postings>,
    pairs: HashMap<(AccountNumber, AccountNumber), Postings>,
}

impl HistoryIndex {
    /// Takes in a row that was committed. Rows come in the order of their ids.
    pub fn record(&mut self, row: &StoredMessage, position: Position) {
        let id = row.id.get();
        (self.rows, self.newest_id) = (self.rows + 1, id);
        match &row.target {
            Target::Room(room) => match self.rooms.get_mut(room) {
                Some(postings) => postings.push(id, &position),
                None => self.rooms.entry(room.clone()).or_default().push(id, &position),
            },
            Target::Account(to) => {
                let from = self.account(row.from.as_str(), || Some(row.from.clone()));
                let to = self.account(to.as_str(), || Some(to.clone()));
                if let (Some(from), Some(to)) = (from, to) {
                    self.record_direct(id, from, to, &position);
                }
            }
        }
    }

    /// Takes in a row of which only the names are known yet, as they stand in a file. Names that are in the
    /// index already are not looked at twice.
    pub(super) fn record_names(
        &mut self,
        id: MessageId,
        room: &str,
        from: &str,
        to: &str,
        position: &Position,
    ) -> Result<(), RowFault> {
        match (room, to) {
            ("", to) => {
                let from = self
                    .account(from, || UserName::from_canonical(from).ok())
                    .ok_or(RowFault::Field("from"))?;
                let to =
                    self.account(to, || UserName::from_canonical(to).ok()).ok_or(RowFault::Field("to"))?;
                self.record_direct(id.get(), from, to, position);
            }
            (room, "") => match self.rooms.get_mut(room) {
                Some(postings) => postings.push(id.get(), position),
                None => {
                    let name = RoomName::from_canonical(room).map_err(|_| RowFault::Field("room"))?;
                    self.rooms.entry(name).or_default().push(id.get(), position);
                }
            },
            _ => return Err(RowFault::Field("to")),
        }
        (self.rows, self.newest_id) = (self.rows + 1, id.get());
        Ok(())
    }

    fn record_direct(&mut self, id: u64, from: AccountNumber, to: AccountNumber, position: &Position) {
        self.pairs.entry(pair(from, to)).or_default().push(id, position);
        self.inboxes[from as usize].push(id, position);
        if from != to {
            self.inboxes[to as usize].push(id, position);
        }
    }

    /// The number of an account; one that is new gets the next, under the name that `name` gives.
    fn account(&mut self, text: &str, name: impl FnOnce() -> Option<UserName>) -> Option<AccountNumber> {
        if let Some(number) = self.accounts.get(text) {
            return Some(*number);
        }
        let number = AccountNumber::try_from(self.inboxes.len()).ok()?;
        self.accounts.insert(name()?, number);
        self.inboxes.push(Postings::default());
        Some(number)
    }

    /// How many rows the index knows of.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The id of the newest row that it knows of.
    pub fn newest_id(&self) -> Option<MessageId> {
        MessageId::new(self.newest_id)
    }

    /// All rooms that something was said in.
    pub fn rooms(&self) -> impl Iterator<Item = &RoomName> {
        self.rooms.keys()
    }

    /// Whether something was said in a room of this name.
    pub fn has_room(&self, name: &str) -> bool {
        self.rooms.contains_key(name)
    }

    /// The id of the newest row of a list: the `prev` of the next one.
    pub fn newest(&self, list: &MessageList) -> Option<MessageId> {
        MessageId::new(self.postings(list)?.newest()?)
    }

    /// Plans a page, without touching the disk.
    pub fn plan(&self, query: &PageQuery) -> PagePlan {
        let PageQuery { list, page, limit, visible_from, up_to } = query;
        let mut range = IdRange {
            above: MessageId::or_zero(*visible_from),
            up_to: up_to.map_or(MAX_MESSAGE_ID, MessageId::get),
        };
        match *page {
            Page::Newest => {}
            Page::Before(id) => {
                range.up_to = range.up_to.min(MessageId::or_zero(id).saturating_sub(1));
            }
            Page::After(id) => range.above = range.above.max(MessageId::or_zero(id)),
        }
        let oldest_first = matches!(page, Page::After(_));
        // One row more than is asked for tells whether there are more.
        let rows = limit.saturating_add(1);
        let chunks = match self.postings(list) {
            None => Vec::new(),
            Some(postings) if oldest_first => postings.oldest_chunks(range, rows),
            Some(postings) => postings.newest_chunks(range, rows),
        };
        PagePlan { chunks, range, limit: *limit, oldest_first }
    }

    fn postings(&self, list: &MessageList) -> Option<&Postings> {
        match list {
            MessageList::Room(room) => self.rooms.get(room),
            MessageList::Pair(one, other) => {
                self.pairs.get(&pair(*self.accounts.get(one)?, *self.accounts.get(other)?))
            }
            MessageList::Inbox(account) => self.inboxes.get(*self.accounts.get(account)? as usize),
        }
    }
}

/// The key of two accounts, whichever of them speaks.
fn pair(one: AccountNumber, other: AccountNumber) -> (AccountNumber, AccountNumber) {
    (one.min(other), one.max(other))
}
