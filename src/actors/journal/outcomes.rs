//! Where outcomes go: to the room that a message was said in, or to the directory.

use std::collections::HashMap;

use actix::Recipient;

use crate::actors::messages::journal::{
    CommitOutcome, CommitResult, Committed, Requester, Subscribe, Subscriber,
};
use crate::model::{RoomId, RoomName, Target};

/// Who has to hear of what becomes of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) route: Subscriber,
    pub(super) requester: Requester,
}

/// Who takes outcomes.
#[derive(Default)]
pub(super) struct Subscribers {
    routes: HashMap<Subscriber, Recipient<Committed>>,
    /// The live room of each name: what other servers store knows names alone.
    rooms: HashMap<RoomName, RoomId>,
}

impl Subscribers {
    pub(super) fn subscribe(&mut self, Subscribe { route, room, to }: Subscribe) {
        if let (Subscriber::Room(id), Some(name)) = (route, room) {
            if to.is_some() {
                self.rooms.insert(name, id);
            } else if self.rooms.get(&name) == Some(&id) {
                // The name may have a newer room by now.
                self.rooms.remove(&name);
            }
        }
        match to {
            Some(to) => drop(self.routes.insert(route, to)),
            None => drop(self.routes.remove(&route)),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.routes.len()
    }

    /// Who takes what another server has stored; nobody when nobody here is in the room.
    pub(super) fn of(&self, target: &Target) -> Option<Subscriber> {
        match target {
            Target::Room(name) => self.rooms.get(name).copied().map(Subscriber::Room),
            Target::Account(_) => Some(Subscriber::Direct),
        }
    }

    /// Tells one outcome.
    pub(super) fn tell(&self, waiting: Waiting, outcome: CommitOutcome) {
        let result = CommitResult { requester: Some(waiting.requester), outcome };
        self.send(waiting.route, vec![result]);
    }

    fn send(&self, route: Subscriber, results: Vec<CommitResult>) {
        if let Some(to) = self.routes.get(&route) {
            to.do_send(Committed { results });
        }
    }
}

/// The outcomes of one moment, on their way.
#[derive(Default)]
pub(super) struct Outcomes(Vec<(Subscriber, CommitResult)>);

impl Outcomes {
    /// Those of so many drafts, and perhaps some more.
    pub(super) fn with_capacity(drafts: usize) -> Self {
        Outcomes(Vec::with_capacity(drafts))
    }

    pub(super) fn push(&mut self, waiting: Waiting, outcome: CommitOutcome) {
        self.0.push((waiting.route, CommitResult { requester: Some(waiting.requester), outcome }));
    }

    /// One that nobody here waits for.
    pub(super) fn push_unasked(&mut self, route: Subscriber, outcome: CommitOutcome) {
        self.0.push((route, CommitResult { requester: None, outcome }));
    }

    /// Sends each route its outcomes in one message, in the order of their ids: the sort is a stable one.
    pub(super) fn send(mut self, subscribers: &Subscribers) {
        self.0.sort_by_key(|(route, _)| *route);
        let mut outcomes = self.0.into_iter().peekable();
        while let Some((route, first)) = outcomes.next() {
            let same_way = std::iter::from_fn(|| outcomes.next_if(|(next, _)| *next == route));
            let results = std::iter::once(first).chain(same_way.map(|(_, result)| result)).collect();
            subscribers.send(route, results);
        }
    }
}
