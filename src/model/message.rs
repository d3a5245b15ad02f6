//! Messages: what is said, where it goes, what is stored of it, and where a page of the past lies.

use super::{MessageId, MessageKey, MessageText, RoomName, Timestamp, UserName};

/// Where a message goes: to a room, or to one account.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// A room, and everybody in it.
    Room(RoomName),
    /// One account, online or not.
    Account(UserName),
}

/// What a receipt says of a stored message: its id, the id before it there, and when it was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The message's id.
    pub id: MessageId,
    /// The id of the message before it in that room or between those two accounts, `None` for the first.
    pub prev: Option<MessageId>,
    /// When it was stored, by the server's wall clock.
    pub at: Timestamp,
}

/// Where a page of messages lies. An id of `None` is the 0 of the wire: before the first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The newest messages.
    Newest,
    /// The newest that lie before this id.
    Before(Option<MessageId>),
    /// The oldest that follow this id.
    After(Option<MessageId>),
}

/// What a message does. Whatever changes a room is to be a message of another kind: stored by the same write,
/// in the same order, with the same receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageKind {
    /// It says something.
    Text(MessageText),
}

impl MessageKind {
    /// What is said.
    pub fn text(&self) -> &MessageText {
        match self {
            MessageKind::Text(text) => text,
        }
    }
}

/// A message that is not stored yet: it has no id, for only the log gives one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Where it is to go.
    pub target: Target,
    /// Who says it.
    pub from: UserName,
    /// What it does.
    pub kind: MessageKind,
    /// The sender's own name for it.
    pub key: Option<MessageKey>,
    /// Messages up to this id do not count as the one before it (direct messages: the larger of the ids at which
    /// the two accounts began).
    pub visible_from: Option<MessageId>,
}

/// A message that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its id; ids grow from message to message.
    pub id: MessageId,
    /// The id of the message before it in that room or between those two accounts, `None` for the first.
    pub prev: Option<MessageId>,
    /// When it was stored, by the server's wall clock.
    pub at: Timestamp,
    /// Where it went.
    pub target: Target,
    /// Who said it.
    pub from: UserName,
    /// What it does.
    pub kind: MessageKind,
    /// The sender's own name for it.
    pub key: Option<MessageKey>,
}

impl StoredMessage {
    /// What its receipt says.
    pub fn receipt(&self) -> Receipt {
        Receipt { id: self.id, prev: self.prev, at: self.at }
    }

    /// What is said.
    pub fn text(&self) -> &MessageText {
        self.kind.text()
    }
}

/// A list of messages that somebody can page through.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MessageList {
    /// What was said in a room.
    Room(RoomName),
    /// What two accounts told each other; the order of the two does not matter, and they may be the same.
    Pair(UserName, UserName),
    /// What an account told others and was told by them.
    Inbox(UserName),
}

impl MessageList {
    /// The list that a message of `from`'s stands in, and that its `prev` looks back in.
    pub fn of(target: &Target, from: &UserName) -> Self {
        match target {
            Target::Room(room) => MessageList::Room(room.clone()),
            // One list, whichever of the two speaks.
            Target::Account(to) if to < from => MessageList::Pair(to.clone(), from.clone()),
            Target::Account(to) => MessageList::Pair(from.clone(), to.clone()),
        }
    }
}

/// Which page of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageQuery {
    /// The list.
    pub list: MessageList,
    /// Where the page lies.
    pub page: Page,
    /// How many messages at most.
    pub limit: usize,
    /// Messages up to this id do not exist for the reader.
    pub visible_from: Option<MessageId>,
    /// Messages beyond this id are left for later.
    pub up_to: Option<MessageId>,
}

/// A page of the past, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MessagePage {
    /// The messages.
    pub messages: Vec<StoredMessage>,
    /// Whether others lie beyond the page, on the side that it is turned to.
    pub more: bool,
}

impl MessagePage {
    /// Adds the `missing` messages that follow on the side that the page is turned to: those of the page that
    /// lies `beyond` it, of which there may be more than that.
    pub fn join(&mut self, mut beyond: MessagePage, turned: Page, missing: usize) {
        let too_many = beyond.messages.len().saturating_sub(missing);
        self.more = beyond.more || too_many > 0;
        if matches!(turned, Page::After(_)) {
            beyond.messages.truncate(missing);
            self.messages.append(&mut beyond.messages);
        } else {
            beyond.messages.drain(..too_many);
            beyond.messages.append(&mut self.messages);
            self.messages = beyond.messages;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(ids: std::ops::Range<u64>, more: bool) -> MessagePage {
        let message = |id| StoredMessage {
            id: MessageId::new(id).expect("not zero"),
            prev: None,
            at: Timestamp::default(),
            target: Target::Room(RoomName::lobby()),
            from: UserName::server(),
            kind: MessageKind::Text(MessageText::parse("hi").expect("a text")),
            key: None,
        };
        MessagePage { messages: ids.map(message).collect(), more }
    }

    #[test]
    fn what_is_missing_from_a_page_is_taken_from_the_one_beyond_it() {
        for (beyond, missing, expected) in [
            (page(5..9, false), 2, page(1..7, true)),
            (page(5..7, true), 2, page(1..7, true)),
            (page(5..7, false), 4, page(1..7, false)),
        ] {
            let mut forwards = page(1..5, true);
            forwards.join(beyond, Page::After(None), missing);
            assert_eq!(forwards, expected);
        }
        let mut backwards = page(5..9, true);
        backwards.join(page(1..5, false), Page::Newest, 3);
        assert_eq!(backwards, page(2..9, true), "the newest of those before it");
    }
}
