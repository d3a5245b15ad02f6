//! What a session tells of itself.

use actix::{Context, Handler, MessageResult};

use super::SessionActor;
use crate::actors::messages::observe::Observe;
use crate::actors::messages::session::SessionSnapshot;

impl Handler<Observe<SessionSnapshot>> for SessionActor {
    type Result = MessageResult<Observe<SessionSnapshot>>;

    fn handle(&mut self, asked: Observe<SessionSnapshot>, _: &mut Context<Self>) -> Self::Result {
        let outbox_bytes = self.connection.waiting_bytes();
        let machine = self.machine();
        let session = machine.session();
        MessageResult(asked.answer(SessionSnapshot {
            peer: self.connection.peer.to_string(),
            account: session.map(|session| session.account.to_string()),
            rooms: session.map_or(0, |session| session.rooms().len()),
            unanswered_requests: machine.unanswered(),
            outbox_bytes,
            open: machine.takes_frames(),
        }))
    }
}
