//! A history that was put back from a copy: what this client remembers of it may never have been, and the
//! same ids are given to other messages. See `docs/protocol.md`, "Histories that were put back".
//!
//! Whoever comes back to a server that was started meanwhile asks first whether the newest id that is
//! remembered is of its history ([`Session::check_or_go_back`]). If so, all that is remembered is. If not
//! (`reset`), nothing of it is relied on any more: the person is told, and every room and the inbox begin anew
//! where the history ends now. Of what lies there, that is news which was said after everything that was seen
//! of that list: ids tell nothing any more, so the time has to.

use veche::model::{MessageId, Request, RoomName, Target, TermName, Timestamp, UserName};
use veche::wire::json::Message;
use veche::wire::json::frame::ReceiptMembers;

use super::timeline::Timeline;
use super::{Asked, Session, Show};

/// What the person is told.
const TOLD: &str = "The server's history was put back to an earlier state: some of what you saw may be gone from \
                    it, and messages may be missing. You see what it has now.";

/// What is remembered of the server's history as a whole.
#[derive(Debug, Default)]
pub struct Past {
    /// The term of this connection, where the server names terms.
    term: Option<TermName>,
    /// The term in which all that is remembered was seen, or was found to be there.
    seen_in: Option<TermName>,
    /// The largest id that was seen, 0 for none.
    newest: u64,
    /// Whether the server was asked about the newest id and has not answered.
    pub checking: bool,
}

/// When the messages of a list were said that were seen.
#[derive(Debug, Default)]
pub struct Moments {
    /// The latest of those that were shown.
    latest: Option<Timestamp>,
    /// The latest of one's own, which may come before others' that were said before it.
    own: Option<Timestamp>,
    /// The two when the history was put back.
    before: (Option<Timestamp>, Option<Timestamp>),
}

impl Moments {
    fn saw(&mut self, at: Timestamp) {
        self.latest = self.latest.max(Some(at));
    }

    fn stored(&mut self, at: Timestamp) {
        self.own = self.own.max(Some(at));
    }

    fn put_back(&mut self) {
        self.before = (self.latest, self.own);
    }

    /// Whether a message that is read from the history was seen in the one before, as far as its time tells.
    pub fn are_of(&self, message: &Message, me: &UserName) -> bool {
        let (latest, own) = self.before;
        let before = if message.from == me.as_str() { latest.max(own) } else { latest };
        before.is_some_and(|moment| message.at <= moment)
    }
}

impl Past {
    /// Nothing was seen yet, and this is the first connection's term.
    pub fn new(term: Option<TermName>) -> Self {
        Past { seen_in: term.clone(), term, ..Past::default() }
    }

    /// There is a connection, and this is its term.
    pub fn connected(&mut self, term: Option<TermName>) {
        self.term = term;
    }

    /// The term of ids that are remembered, for the server.
    pub fn term(&self) -> Option<TermName> {
        self.term.clone()
    }

    /// Whether the server has to be asked whether its history is the one that is remembered.
    fn is_in_doubt(&self) -> bool {
        self.newest > 0 && self.term.is_some() && self.term != self.seen_in
    }
}

impl Session {
    /// A message was seen.
    pub(super) fn saw(&mut self, message: &Message) {
        self.past.newest = self.past.newest.max(message.id);
        match message.room.as_deref().map(RoomName::parse) {
            Some(Ok(room)) => {
                if let Some(room) = self.rooms.get_mut(&room) {
                    room.moments.saw(message.at);
                }
            }
            Some(Err(_)) => {}
            None => self.inbox.moments.saw(message.at),
        }
    }

    /// A message of one's own was stored.
    pub(super) fn saw_receipt(&mut self, target: &Target, receipt: &ReceiptMembers) {
        self.past.newest = self.past.newest.max(receipt.id);
        match target {
            Target::Room(room) => {
                if let Some(room) = self.rooms.get_mut(room) {
                    room.moments.stored(receipt.at);
                }
            }
            Target::Account(_) => self.inbox.moments.stored(receipt.at),
        }
    }

    /// The session is open anew: goes back to the rooms and letters, or asks first whether what is remembered
    /// is of this history.
    pub(super) fn check_or_go_back(&mut self) {
        if !self.past.is_in_doubt() {
            return self.checked(false);
        }
        self.past.checking = true;
        // Direct messages that come meanwhile may have ids that were seen in another history.
        self.inbox.start_reading();
        let (after, term) = (MessageId::new(self.past.newest), self.past.seen_in.clone());
        self.ask(&Request::Inbox { after, limit: 1, term }, Asked::Check);
    }

    /// It is known whether what is remembered is of another history.
    pub(super) fn checked(&mut self, reset: bool) {
        self.past.checking = false;
        self.past.seen_in = self.past.term.clone();
        if reset {
            self.forget_history();
            self.info(TOLD.to_owned());
        }
        self.ask_for_rooms();
        // What was held waits for the pages before it; where none are shown, it waits for nothing.
        if !self.reads_inbox_to_show() {
            for held in self.inbox.release() {
                if let Show::Message { message, .. } = &held {
                    self.direct_message(message.id, held);
                }
            }
        }
        self.read_inbox();
    }

    fn forget_history(&mut self) {
        self.past.newest = 0;
        self.inbox.forget();
        self.inbox.moments.put_back();
        for room in self.rooms.values_mut() {
            room.moments.put_back();
            (room.timeline, room.anew) = (Timeline::default(), room.known);
        }
    }

    /// The newest messages of a room that begins anew.
    pub(super) fn begin_room_anew(&mut self, name: &RoomName, messages: Vec<Message>) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        room.timeline.begin(messages.last().map_or(0, |message| message.id));
        // Whoever sees a room's newest messages on entering it sees them now.
        let shown = if self.options.shows_history { self.options.history } else { 0 };
        let old = messages.len().saturating_sub(shown);
        let is_news: Vec<bool> =
            messages.iter().map(|message| !room.moments.are_of(message, &self.name)).collect();
        for (position, (message, is_news)) in messages.into_iter().zip(is_news).enumerate() {
            if (position >= old || is_news) && !self.is_met(&message) {
                self.show(Show::Message { message, past: true, payload: None });
            }
        }
    }
}
