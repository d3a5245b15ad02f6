//! What the fan-out tells of itself.

use actix::{Context, Handler, MessageResult};

use super::FanoutActor;
use crate::actors::messages::fanout::FanoutSnapshot;
use crate::actors::messages::observe::Observe;

impl Handler<Observe<FanoutSnapshot>> for FanoutActor {
    type Result = MessageResult<Observe<FanoutSnapshot>>;

    fn handle(&mut self, asked: Observe<FanoutSnapshot>, _: &mut Context<Self>) -> Self::Result {
        let connections = self.connections.values();
        MessageResult(asked.answer(FanoutSnapshot {
            thread: self.thread.0,
            connections: self.connections.len(),
            sessions: connections.clone().filter(|connection| connection.machine().was_accepted()).count(),
            rooms: self.rooms.len(),
            members: self.rooms.values().map(|room| room.members.len()).sum(),
            outbox_bytes: connections.map(|connection| connection.waiting_bytes()).sum(),
            writes_waiting: self.unwritten.len() + self.deliveries.len(),
            batches: self.batches,
            deliveries: self.delivered,
        }))
    }
}

#[cfg(test)]
use crate::chat::session::active::ActiveSession;

#[cfg(test)]
impl crate::actors::invariants::Invariants for FanoutActor {
    /// Members stand in the order of their ids, none twice; who takes frames is a member wherever it has
    /// joined. The other way round need not be so: a session that goes has forgotten its rooms before they
    /// have let it out.
    fn check_invariants(&self) {
        for (id, local) in &self.rooms {
            assert_eq!(local.room.id, *id, "a room under another's id");
            assert!(!local.members.is_empty(), "{id:?} has nobody on this thread");
            assert!(local.members.is_sorted_by(|one, next| one.id < next.id), "{id:?} is out of order");
            for member in &local.members {
                let same =
                    self.connections.get(&member.id).is_none_or(|known| std::rc::Rc::ptr_eq(known, member));
                assert!(same, "{} is another connection in {id:?}", member.id);
            }
        }
        for (id, connection) in &self.connections {
            assert_eq!((connection.id, id.thread()), (*id, self.thread), "a connection under another's id");
            let machine = connection.machine();
            let joined = machine.session().map_or(&[][..], ActiveSession::rooms);
            for (place, room) in joined.iter().map(|joined| joined.room.id).enumerate() {
                assert!(joined[..place].iter().all(|before| before.room.id != room), "{id} is in twice");
                let is_in = self.rooms.get(&room).is_some_and(|local| local.place_of(*id).is_ok());
                assert!(is_in || !machine.takes_frames(), "{id} has joined {room:?}, which does not know it");
            }
        }
    }
}
