//! What the directory tells of itself.

use actix::{Context, Handler, MessageResult};

use super::DirectoryActor;
use crate::actors::messages::directory::DirectorySnapshot;
use crate::actors::messages::observe::Observe;

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
