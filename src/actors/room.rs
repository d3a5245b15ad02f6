//! One ChatRoomActor for each room that someone is in: it knows who, and what was said last.
//!
//! Whatever must stand in order with the room's messages takes the room's way: what is said goes to the
//! journal and comes back stored, in the order of its ids; who comes and goes, goes through here to the same
//! fan-outs. So a member's events begin right behind its `joined` and end right before the reply to its
//! `leave`.

mod observe;
mod presence_update;

use actix::fut::ActorFutureExt;
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Recipient, WrapFuture};
use log::{debug, error};

use super::Handles;
use super::messages::directory::{Flush, Join, OperatorSaid, RoomCount};
use super::messages::fanout::{
    Answer, AuthorReceipt, Deliver, FanoutHandle, Fanouts, JoinAccepted, LeaveAccepted, RoomCrashed,
};
use super::messages::journal::{
    Append, CommitOutcome, Committed, PageAnswer, ReadPage, Requester, Subscribe, Subscriber,
};
use super::messages::room::{Leave, ListMembers, Retire, RoomHandle, RoomWays, Say, SayByOperator};
use crate::chat::room::members::{Entered, Left, Members};
use crate::chat::room::presence::{self, Presence};
use crate::chat::room::recent::RecentMessages;
use crate::model::{
    ConnectionId, Draft, ErrorCode, Keep, MessageId, MessageKey, MessageKind, MessageList, MessagePage,
    MessageText, Page, PageQuery, Reply, ReplyTo, RoomId, RoomName, Target, Timestamp, UserName,
};

/// How often a page for a join is read again because more was said meanwhile than the window holds.
const PAGE_ATTEMPTS: usize = 8;

/// Who says something, and the newest message when that account was made.
type Sender = (UserName, Option<MessageId>);

/// A room.
pub struct ChatRoomActor {
    id: RoomId,
    name: RoomName,
    handles: Handles,
    fanouts: Fanouts,
    members: Members<ConnectionId>,
    /// How many members live on each I/O thread.
    on_thread: Vec<usize>,
    recent: RecentMessages,
    presence: Presence<ConnectionId>,
    /// Whether it will be looked at.
    ticking: bool,
    /// Joins that wait for their page.
    entering: usize,
    /// Messages at the journal.
    under_way: usize,
}

impl ChatRoomActor {
    /// An empty room.
    pub fn new(id: RoomId, name: RoomName, handles: Handles, fanouts: Fanouts) -> Self {
        let on_thread = vec![0; fanouts.len()];
        let recent = RecentMessages::new(handles.config.limits.room_window_messages);
        ChatRoomActor {
            id,
            name,
            handles,
            fanouts,
            members: Members::default(),
            on_thread,
            recent,
            presence: Presence::default(),
            ticking: false,
            entering: 0,
            under_way: 0,
        }
    }

    /// Starts an empty room on the current thread.
    pub fn begin(id: RoomId, name: RoomName, handles: Handles, fanouts: Fanouts) -> RoomWays {
        RoomWays::of(&ChatRoomActor::new(id, name, handles, fanouts).start())
    }

    // ------------------------------------------------------------ entering

    /// Reads the page for a join that the window does not have.
    fn read_page(&mut self, join: Join, attempt: usize, ctx: &mut Context<Self>) {
        // A newest page also fills the window, so that the next one who joins need not ask the disk.
        let at_least =
            if join.page == Page::Newest { self.handles.config.limits.room_window_messages } else { 0 };
        let read = ReadPage(PageQuery {
            list: MessageList::Room(self.name.clone()),
            page: join.page,
            limit: join.limit.max(at_least),
            visible_from: None,
            up_to: None,
        });
        self.entering += 1;
        let read = self.handles.journal.send(read).into_actor(self);
        ctx.spawn(read.map(move |read, act, ctx| {
            act.entering -= 1;
            match read {
                Ok(Ok(page)) => act.page_came(join, page, attempt, ctx),
                Ok(Err(code)) => act.refuse_join(&join, code),
                Err(_) => act.refuse_join(&join, ErrorCode::Internal),
            }
        }));
    }

    fn page_came(&mut self, join: Join, read: PageAnswer, attempt: usize, ctx: &mut Context<Self>) {
        let PageAnswer { page, newest: newest_read } = read;
        if join.page == Page::Newest {
            self.recent.prefill(&page);
        }
        match self.recent.complete(page, join.page, join.limit) {
            Some(page) => self.enter(&join, page, newest_read, ctx),
            None if attempt < PAGE_ATTEMPTS => self.read_page(join, attempt + 1, ctx),
            None => {
                error!("room {}: a page could not catch up with the room in {attempt} attempts", self.name);
                self.refuse_join(&join, ErrorCode::Internal);
            }
        }
    }

    fn refuse_join(&self, join: &Join, code: ErrorCode) {
        let reply = Reply::Refused(code.into());
        self.fanout(join.reply_to.connection).do_send(Answer { reply_to: join.reply_to, reply });
    }

    fn enter(
        &mut self,
        join: &Join,
        page: MessagePage,
        newest_read: Option<MessageId>,
        ctx: &mut Context<Self>,
    ) {
        let connection = join.member.connection;
        let entered = self.members.enter(&join.member.account, connection);
        if entered == Entered::AccountCame {
            self.count_changed();
            self.account_changed(&join.member.account, true, ctx);
        }
        if entered != Entered::WasIn {
            self.on_thread[connection.thread().0] += 1;
            self.presence.entered(connection);
        }
        self.fanout(connection).do_send(JoinAccepted {
            reply_to: join.reply_to,
            room: RoomHandle { id: self.id, name: self.name.clone(), ways: RoomWays::of(&ctx.address()) },
            members: self.members.accounts(),
            reset: join.reset,
            page,
            keep: if join.page == Page::Newest { Keep::Newest } else { Keep::Oldest },
            events_begin_behind: self.recent.newest().max(newest_read),
        });
    }

    // ------------------------------------------------------------ delivering

    /// Sends a stored batch to every thread that has members in the room, or authors of it.
    fn deliver(&mut self, committed: Committed) {
        let count = committed.results.len();
        let (mut messages, mut receipts) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for result in committed.results {
            let (outcome, own) = match result.outcome {
                CommitOutcome::Stored(message) => {
                    let receipt = message.receipt();
                    messages.push(message);
                    (Ok(receipt), Some(messages.len() - 1))
                }
                CommitOutcome::Duplicate(receipt) => (Ok(receipt), None),
                CommitOutcome::Refused(refusal) => (Err(refusal), None),
            };
            match result.requester {
                None => {}
                Some(Requester::Session(reply_to)) => receipts.push(AuthorReceipt { reply_to, outcome, own }),
                Some(Requester::Operator(ticket)) => {
                    self.handles.directory.do_send(OperatorSaid { ticket, outcome });
                }
            }
        }
        messages.iter().for_each(|message| self.recent.push(message.clone()));
        let batch = Deliver { room: self.id, messages: messages.into(), receipts: receipts.into() };
        for (thread, fanout) in self.fanouts.iter().enumerate() {
            let has_author = |receipt: &AuthorReceipt| receipt.reply_to.connection.thread().0 == thread;
            if self.on_thread[thread] > 0 || batch.receipts.iter().any(has_author) {
                fanout.do_send(batch.clone());
            }
        }
    }

    // ------------------------------------------------------------ who comes and goes

    /// An account came or went; the members are told when it has stood for a moment.
    fn account_changed(&mut self, account: &UserName, is_in: bool, ctx: &mut Context<Self>) {
        if self.is_too_large_for_presence() || self.members.accounts() == 0 {
            return self.presence.clear();
        }
        self.presence.changed(account, is_in, self.handles.started.elapsed(), Timestamp::now());
        if !self.presence.is_empty() && !std::mem::replace(&mut self.ticking, true) {
            ctx.run_later(presence::TICK, Self::tell_presence);
        }
    }

    fn is_too_large_for_presence(&self) -> bool {
        let most = self.handles.config.limits.presence_members;
        most != 0 && self.members.accounts() > most
    }

    /// Tells what has stood long enough: one batch, encoded once, one write for each member.
    fn tell_presence(&mut self, ctx: &mut Context<Self>) {
        let changes = self.presence.due(self.handles.started.elapsed());
        self.ticking = !self.presence.is_empty();
        if self.ticking {
            ctx.run_later(presence::TICK, Self::tell_presence);
        }
        if changes.is_empty() {
            return;
        }
        let update = presence_update::of(self.id, changes, &self.members);
        for (members, fanout) in self.on_thread.iter().zip(self.fanouts.iter()) {
            if *members > 0 {
                fanout.do_send(update.clone());
            }
        }
    }

    fn count_changed(&self) {
        let count = RoomCount { room: self.name.clone(), accounts: self.members.accounts() };
        self.handles.directory.do_send(count);
    }

    fn fanout(&self, connection: ConnectionId) -> &FanoutHandle {
        &self.fanouts[connection.thread().0]
    }

    /// Has what is stored for the room come here, or nobody.
    fn subscribe(&self, to: Option<Recipient<Committed>>) {
        let (route, room) = (Subscriber::Room(self.id), Some(self.name.clone()));
        self.handles.journal.do_send(Subscribe { route, room, to });
    }

    fn append(
        &mut self,
        (from, visible_from): Sender,
        text: MessageText,
        key: Option<MessageKey>,
        requester: Requester,
    ) {
        self.under_way += 1;
        let target = Target::Room(self.name.clone());
        self.handles.journal.do_send(Append {
            route: Subscriber::Room(self.id),
            requester,
            visible_from,
            draft: Draft { target, from, kind: MessageKind::Text(text), key, visible_from: None },
        });
    }
}

impl Actor for ChatRoomActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        debug!("{} opened", self.name);
        let to = Some(ctx.address().recipient());
        self.subscribe(to);
        #[cfg(test)]
        ctx.spawn(super::invariants::CheckAfterEachStep);
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        debug!("{} closed", self.name);
        self.subscribe(None);
    }
}

/// A room that panics takes its members with it: what it knew of them is gone, and they are told.
impl Drop for ChatRoomActor {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let collapse = RoomCrashed { room: self.id, name: self.name.clone() };
            self.subscribe(None);
            self.handles.directory.do_send(collapse.clone());
            for fanout in self.fanouts.iter() {
                fanout.do_send(collapse.clone());
            }
        }
    }
}

impl Handler<Join> for ChatRoomActor {
    type Result = ();

    fn handle(&mut self, join: Join, ctx: &mut Context<Self>) {
        match self.recent.page(join.page, join.limit) {
            Some(page) => self.enter(&join, page, None, ctx),
            None => self.read_page(join, 1, ctx),
        }
    }
}

impl Handler<Leave> for ChatRoomActor {
    type Result = ();

    fn handle(&mut self, Leave { connection, request }: Leave, ctx: &mut Context<Self>) {
        let account = self.members.account_of(connection).cloned();
        let left = self.members.leave(connection);
        if left != Left::WasNotIn {
            self.on_thread[connection.thread().0] -= 1;
        }
        if left == Left::AccountLeft {
            // Before the reply, so that whoever has read it and asks for the rooms finds it done.
            self.count_changed();
        }
        self.fanout(connection).do_send(LeaveAccepted { connection, room: self.id, request });
        if let (Left::AccountLeft, Some(account)) = (left, account) {
            self.account_changed(&account, false, ctx);
        }
    }
}

impl Handler<Say> for ChatRoomActor {
    type Result = ();

    fn handle(&mut self, say: Say, _: &mut Context<Self>) {
        let Say { member, visible_from, text, key, reply_to } = say;
        if self.members.contains(member.connection) {
            self.append((member.account, visible_from), text, key, Requester::Session(reply_to));
        } else {
            let code = ErrorCode::NotInRoom;
            self.answer_refused(reply_to, code);
        }
    }
}

impl ChatRoomActor {
    /// Refuses a `say`.
    fn answer_refused(&self, reply_to: ReplyTo, code: ErrorCode) {
        self.fanout(reply_to.connection).do_send(Answer { reply_to, reply: Reply::Refused(code.into()) });
    }
}

impl Handler<SayByOperator> for ChatRoomActor {
    type Result = ();

    fn handle(&mut self, say: SayByOperator, _: &mut Context<Self>) {
        self.append((UserName::server(), None), say.text, None, Requester::Operator(say.ticket));
    }
}

impl Handler<Committed> for ChatRoomActor {
    type Result = ();

    fn handle(&mut self, settled: Committed, _: &mut Context<Self>) {
        self.under_way = self.under_way.saturating_sub(settled.results.len());
        self.deliver(settled);
    }
}

impl Handler<ListMembers> for ChatRoomActor {
    type Result = actix::MessageResult<ListMembers>;

    fn handle(&mut self, list: ListMembers, _: &mut Context<Self>) -> Self::Result {
        actix::MessageResult(self.members.page(list.after.as_ref(), list.limit))
    }
}

impl Handler<Retire> for ChatRoomActor {
    type Result = bool;

    fn handle(&mut self, _: Retire, ctx: &mut Context<Self>) -> bool {
        let idle = self.members.accounts() == 0 && self.entering == 0 && self.under_way == 0;
        if idle {
            ctx.stop();
        }
        idle
    }
}

impl Handler<Flush> for ChatRoomActor {
    type Result = ();

    /// Mailboxes keep their order: what was said before this has been passed on.
    fn handle(&mut self, _: Flush, _: &mut Context<Self>) {}
}

#[cfg(test)]
#[path = "room/room_tests.rs"]
mod tests;
