//! What the directory tells of itself.

#[cfg(test)]
use std::collections::HashSet;

use actix::{Context, Handler, MessageResult};

use super::DirectoryActor;
use crate::actors::messages::directory::DirectorySnapshot;
use crate::actors::messages::observe::Observe;
#[cfg(test)]
use crate::model::RoomName;

impl Handler<Observe<DirectorySnapshot>> for DirectoryActor {
    type Result = MessageResult<Observe<DirectorySnapshot>>;

    fn handle(&mut self, asked: Observe<DirectorySnapshot>, _: &mut Context<Self>) -> Self::Result {
        MessageResult(asked.answer(DirectorySnapshot {
            accounts_online: self.online.len(),
            sessions_online: self.online.values().map(Vec::len).sum(),
            rooms_occupied: self.occupied.len(),
            rooms_open: self.rooms.len(),
            rooms_retiring: self.rooms.values().filter(|room| room.retiring.is_some()).count(),
            accounts_with_rates: self.rates.len(),
            direct_messages_waiting: self.direct_messages.len(),
            operators_waiting: self.operators.len(),
        }))
    }
}

#[cfg(test)]
impl crate::actors::invariants::Invariants for DirectoryActor {
    /// The list of rooms says what the rooms have said, who is online has a connection and rates, and joins
    /// wait at their own room.
    fn check_invariants(&self) {
        assert!(self.occupied.contains_key(&RoomName::lobby()), "the lobby is always listed");
        for (name, accounts) in &self.occupied {
            assert!(*accounts > 0 || *name == RoomName::lobby(), "{name} is listed and empty");
            let room = self.rooms.get(name).map_or(0, |room| room.accounts);
            assert_eq!(room, *accounts, "the accounts in {name}");
        }
        for (name, room) in &self.rooms {
            assert!(room.accounts == 0 || self.occupied.contains_key(name), "{name} is not listed");
            let mut waiting = room.retiring.iter().flatten();
            assert!(waiting.all(|join| join.room == *name), "a join waits at another room than {name}");
        }
        let mut connections = HashSet::new();
        for (account, sessions) in &self.online {
            assert!(!sessions.is_empty(), "{account} is online without a connection");
            assert!(self.rates.contains_key(account), "{account} is online without rates");
            assert!(sessions.iter().all(|id| connections.insert(*id)), "{account} has another's connection");
        }
        let next = self.first_direct_message + self.direct_messages.len() as u64;
        assert!(self.flushed.iter().all(|(number, _)| *number <= next), "who waits for what never comes");
    }
}
