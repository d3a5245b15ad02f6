//! The session of a connection: who it is, the tokens that its requests show, the rooms that it is in.

use std::fmt::Debug;
use std::time::Duration;

use crate::model::{ErrorCode, MessageId, RoomId, RoomName, SessionId, TokenHash, UserName};

/// What the machine keeps and gives back without looking into it.
pub trait SessionTypes {
    /// A reply that waits for its turn.
    type Reply: Debug;
    /// The way to a room.
    type Room: Debug;

    /// Which room it is, and its name.
    fn room(room: &Self::Room) -> (RoomId, &RoomName);
}

/// The session of a connection, from `register`, `login` or `resume` on.
#[derive(Debug)]
pub struct ActiveSession<T: SessionTypes> {
    /// What the accounts know it by.
    pub id: SessionId,
    /// Whose it is.
    pub account: UserName,
    /// The newest message when the account was made; it sees only direct messages above it.
    pub visible_from: Option<MessageId>,
    token: TokenHash,
    /// The token before a `resume`. In a box, for it is seldom there.
    pub(super) previous: Option<Box<PreviousToken>>,
    pub(super) rooms: Vec<JoinedRoom<T::Room>>,
}

/// The token before a `resume`: good until the fresh one is used, or its time is over.
#[derive(Debug)]
pub(super) struct PreviousToken {
    pub token: TokenHash,
    /// When its time is over.
    pub until: Duration,
    pub death: Death,
}

/// How far a previous token is on its way to die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    /// The fresh one was not used yet.
    NotYet,
    /// The fresh one was shown, and it is being stored that this one is dead.
    Asked,
    /// That cannot be stored, and the request that showed the fresh one is refused.
    Refused(ErrorCode),
}

/// A room that a session is in.
#[derive(Debug)]
pub struct JoinedRoom<R> {
    /// The room.
    pub room: R,
    /// While the client fetches the pages between its last message and its first event: where they end.
    pub pages_up_to: Option<MessageId>,
}

impl<T: SessionTypes> ActiveSession<T> {
    /// A session that has just been opened, in no room. `previous` is the token before a `resume`, and when its
    /// time is over.
    pub fn new(
        id: SessionId,
        account: UserName,
        visible_from: Option<MessageId>,
        token: TokenHash,
        previous: Option<(TokenHash, Duration)>,
    ) -> Self {
        let previous =
            previous.map(|(token, until)| Box::new(PreviousToken { token, until, death: Death::NotYet }));
        ActiveSession { id, account, visible_from, token, previous, rooms: Vec::new() }
    }

    /// The rooms that it is in.
    pub fn rooms(&self) -> &[JoinedRoom<T::Room>] {
        &self.rooms
    }

    /// The room of this name, if the session is in it.
    pub fn room(&self, name: &RoomName) -> Option<&JoinedRoom<T::Room>> {
        self.rooms.iter().find(|joined| T::room(&joined.room).1 == name)
    }

    pub(super) fn has_token(&self, shown: TokenHash) -> bool {
        shown == self.token
    }

    /// Whether a token is this session's.
    pub(super) fn accepts_token(&self, shown: TokenHash, now: Duration) -> bool {
        let is_previous = |previous: &PreviousToken| shown == previous.token && now < previous.until;
        self.has_token(shown) || self.previous.as_deref().is_some_and(is_previous)
    }

    pub(super) fn previous_mut(&mut self) -> Option<&mut PreviousToken> {
        self.previous.as_deref_mut()
    }
}
