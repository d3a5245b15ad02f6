//! What a room tells of itself.

use actix::{Context, Handler, MessageResult};

use super::ChatRoomActor;
use crate::actors::messages::observe::Observe;
use crate::actors::messages::room::RoomSnapshot;

impl Handler<Observe<RoomSnapshot>> for ChatRoomActor {
    type Result = MessageResult<Observe<RoomSnapshot>>;

    fn handle(&mut self, asked: Observe<RoomSnapshot>, _: &mut Context<Self>) -> Self::Result {
        MessageResult(asked.answer(RoomSnapshot {
            name: self.name.to_string(),
            accounts: self.members.accounts(),
            connections: self.on_thread.clone(),
            recent_messages: self.recent.len(),
            joins_waiting: self.entering,
            messages_at_journal: self.under_way,
        }))
    }
}

#[cfg(test)]
impl crate::actors::invariants::Invariants for ChatRoomActor {
    /// The counts by thread are those of the members, and every connection's account is in.
    fn check_invariants(&self) {
        let mut on_thread = vec![0; self.on_thread.len()];
        for (connection, _) in self.members.connections() {
            on_thread[connection.thread().0] += 1;
        }
        assert_eq!(on_thread, self.on_thread, "the members by thread");
        assert!(self.members.accounts() <= on_thread.iter().sum(), "accounts without a connection");
    }
}
