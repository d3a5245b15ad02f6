//! The requests that read: pages of the past, and lists of names.

use std::sync::atomic::Ordering;

use actix::Context;

use super::SessionActor;
use crate::actors::messages::auth::LookUp;
use crate::actors::messages::directory::{FindRoom, ListOnline, ListRooms};
use crate::actors::messages::journal::ReadPage;
use crate::actors::messages::room::ListMembers;
use crate::model::{
    ErrorCode, HistoryOf, Keep, MessageId, MessageList, Page, PageQuery, Reply, RoomName, TermName, Ticket,
    UserName,
};

/// Where a page begins, after a look at whether the client's id is of this history.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    /// The page.
    pub page: Page,
    /// Whether the client's id is of another history, and `page` is what is given without one.
    pub reset: bool,
}

impl SessionActor {
    /// Where a page begins that the client wants behind an id of this term.
    pub(super) fn start(&self, page: Page, term: Option<&TermName>) -> Start {
        let Page::After(after) = page else { return Start { page, reset: false } };
        let given = MessageId::new(self.context.handles.newest_id.load(Ordering::Acquire));
        let reset = self.context.handles.terms.is_of_another_history(after, term, given);
        Start { page: if reset { Page::Newest } else { page }, reset }
    }

    pub(super) fn history(
        &self,
        of: HistoryOf,
        start: Start,
        limit: usize,
        ticket: Ticket,
        ctx: &mut Context<Self>,
    ) -> Result<(), ErrorCode> {
        match of {
            HistoryOf::Room(room) => self.room_history(room, start, limit, ticket, ctx),
            HistoryOf::With(with) => self.history_with(with, start, limit, ticket, ctx)?,
        }
        Ok(())
    }

    fn room_history(
        &self,
        room: RoomName,
        start: Start,
        limit: usize,
        ticket: Ticket,
        ctx: &mut Context<Self>,
    ) {
        let Start { page, reset } = start;
        // Between a `join` with `after` and its last page, pages end where the room's events began.
        let up_to = match page {
            Page::After(_) => self.machine().room(&room).and_then(|joined| joined.pages_up_to),
            _ => None,
        };
        let list = MessageList::Room(room.clone());
        let read = ReadPage(PageQuery { list, page, limit, visible_from: None, up_to });
        self.ask(self.context.handles.journal.send(read), ticket, ctx, move |act, read, _| match read {
            Ok(read) => {
                let of = HistoryOf::Room(room.clone());
                let reply = Reply::History { of, reset, page: read.into(), keep: keep(page) };
                let more = act.connection.answer(ticket, &reply);
                if up_to.is_some() && !more {
                    act.machine().pages_are_fetched(&room);
                }
            }
            Err(code) => act.refuse_code(ticket, code),
        });
    }

    fn history_with(
        &self,
        with: UserName,
        start: Start,
        limit: usize,
        ticket: Ticket,
        ctx: &mut Context<Self>,
    ) -> Result<(), ErrorCode> {
        let (member, visible_from) = self.author()?;
        let Start { page, reset } = start;
        let list = MessageList::Pair(member.account, with.clone());
        let read = ReadPage(PageQuery { list, page, limit, visible_from, up_to: None });
        let (journal, auth) = (self.context.handles.journal.clone(), self.context.handles.auth.clone());
        let asked = with.clone();
        let question = async move {
            // Direct messages from an account that is gone stay readable; only where there are none does it matter
            // whether there is such an account.
            let read = journal.send(read).await?;
            let nobody = matches!(&read, Ok(page) if page.newest.is_none())
                && auth.send(LookUp { name: asked }).await?.is_none();
            Ok(if nobody { Err(ErrorCode::NoSuchAccount) } else { read })
        };
        self.ask(question, ticket, ctx, move |act, read, _| match read {
            Ok(read) => {
                let of = HistoryOf::With(with);
                act.reply(ticket, &Reply::History { of, reset, page: read.into(), keep: keep(page) });
            }
            Err(code) => act.refuse_code(ticket, code),
        });
        Ok(())
    }

    pub(super) fn inbox(
        &self,
        after: Option<MessageId>,
        reset: bool,
        limit: usize,
        ticket: Ticket,
        ctx: &mut Context<Self>,
    ) -> Result<(), ErrorCode> {
        let (member, visible_from) = self.author()?;
        let list = MessageList::Inbox(member.account);
        let read = ReadPage(PageQuery { list, page: Page::After(after), limit, visible_from, up_to: None });
        self.ask(self.context.handles.journal.send(read), ticket, ctx, move |act, read, _| match read {
            Ok(read) => {
                act.reply(ticket, &Reply::Inbox { reset, page: read.into() });
            }
            Err(code) => act.refuse_code(ticket, code),
        });
        Ok(())
    }

    pub(super) fn rooms(
        &self,
        after: Option<RoomName>,
        limit: usize,
        ticket: Ticket,
        ctx: &mut Context<Self>,
    ) {
        let list = self.context.handles.directory.send(ListRooms { after, limit });
        self.ask(list, ticket, ctx, move |act, (rooms, more), _| {
            act.reply(ticket, &Reply::Rooms { rooms, more });
        });
    }

    pub(super) fn who(
        &self,
        room: Option<RoomName>,
        after: Option<UserName>,
        limit: usize,
        ticket: Ticket,
        ctx: &mut Context<Self>,
    ) {
        let directory = self.context.handles.directory.clone();
        let question = async move {
            let Some(room) = room else {
                return directory.send(ListOnline { after, limit }).await;
            };
            match directory.send(FindRoom { room }).await? {
                // A room that ends between the two questions is as empty as one that was not there.
                Some(room) => Ok(room.send(ListMembers { after, limit }).await.unwrap_or_default()),
                None => Ok((Vec::new(), false)),
            }
        };
        self.ask(question, ticket, ctx, move |act, (names, more), _| {
            act.reply(ticket, &Reply::Who { names, more });
        });
    }
}

/// Which end of a page stays when not all of it fits.
fn keep(page: Page) -> Keep {
    if matches!(page, Page::After(_)) { Keep::Oldest } else { Keep::Newest }
}
