//! What a session tells of itself.

use actix::{Context, Handler, MessageResult};

use super::SessionActor;
use crate::actors::messages::observe::Observe;
use crate::actors::messages::session::SessionSnapshot;

impl Handler<Observe<SessionSnapshot>> for SessionActor {
    type Result = MessageResult<Observe<SessionSnapshot>>;

    fn handle(&mut self, asked: Observe<SessionSnapshot>, _: &mut Context<Self>) -> Self::Result {
        let connection = &self.connection;
        MessageResult(asked.answer(SessionSnapshot {
            peer: connection.peer.to_string(),
            account: self.member().map(|member| member.account.to_string()),
            rooms: connection.rooms.borrow().len(),
            unanswered_requests: connection.unanswered(),
            outbox_bytes: connection.waiting_bytes(),
            open: connection.is_open(),
        }))
    }
}
