//! The DirectoryActor knows which rooms there are and who is online.
//!
//! It makes a room when somebody joins one that is not there, and ends one that has been empty for a while;
//! joins pass through it, so that none reaches a room that has just ended. Direct messages take its way as a
//! room's messages take the room's: to the journal, back stored, and on to the sessions of both accounts.

mod direct_messages;
mod observe;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::fut::{self, ActorFuture, ActorFutureExt};
use actix::{
    Actor, AsyncContext, Context, Handler, MessageResult, ResponseActFuture, ResponseFuture, WrapFuture,
};
use log::error;
use tokio::sync::oneshot;

use super::Handles;
use super::messages::auth::AccountInfo;
use super::messages::directory::{Announce, AskOnline, AskRooms, OnlineAccount, SayAsServer, SayError};
use super::messages::directory::{
    FindRoom, Flush, Join, ListOnline, ListRooms, Offline, Online, OperatorSaid, RoomCount, Tell,
};
use super::messages::fanout::{Answer, Broadcast, Fanouts, RoomCrashed, SessionAccepted};
use super::messages::journal::{ReadPage, Subscribe, Subscriber};
use super::messages::room::{Retire, RoomWays, SayByOperator};
use super::panic_watch::Critical;
use crate::chat::limits::rate_limiter::{AccountRates, Rate, too_fast};
use crate::chat::room::members::name_page;
use crate::model::{
    ConnectionId, ErrorCode, MessageList, Page, PageQuery, Receipt, Refusal, Reply, RoomId, RoomName, Ticket,
    Timestamp, UserName,
};
use crate::suggest::nearest;

/// How often empty rooms and idle rates are looked for.
const SWEEP: Duration = Duration::from_secs(10);
/// How long a room stays when nobody is in it.
const EMPTY_ROOM_STAYS: Duration = Duration::from_secs(30);
/// How long an account's rates are remembered when it is offline; longer than any burst takes to refill.
const RATES_STAY: Duration = Duration::from_secs(120);

/// Starts the actor of a room on the current thread.
pub type StartRoom = fn(RoomId, RoomName, Handles, Fanouts) -> RoomWays;

/// A room that is there.
struct Room {
    ways: RoomWays,
    accounts: usize,
    empty_since: Instant,
    /// Joins that wait for the room's word whether it has ended; `None` when it was not asked.
    retiring: Option<Vec<Join>>,
}

/// How fast an account may do things, over all of its sessions and for a while after the last one.
struct Rates {
    shared: Arc<AccountRates>,
    used: Instant,
}

/// Rooms, and who is online.
pub struct DirectoryActor {
    _critical: Critical,
    handles: Handles,
    fanouts: Fanouts,
    start_room: StartRoom,
    rooms: HashMap<RoomName, Room>,
    /// Rooms with someone in them, and `lobby`, with their number of accounts.
    occupied: BTreeMap<RoomName, usize>,
    next_room: u64,
    online: BTreeMap<UserName, Vec<ConnectionId>>,
    rates: HashMap<UserName, Rates>,
    new_room_rate: Option<Rate>,
    /// Direct messages whose recipient is being looked up, in the order in which they came.
    direct_messages: VecDeque<(Tell, Option<Option<AccountInfo>>)>,
    /// The number of the first of `direct_messages`.
    first_direct_message: u64,
    /// Who waits until the direct messages before this number have gone on.
    flushed: Vec<(u64, oneshot::Sender<()>)>,
    /// Operators who wait for a receipt.
    operators: HashMap<Ticket, oneshot::Sender<Result<Receipt, Refusal>>>,
    next_ticket: u64,
}

impl DirectoryActor {
    /// A directory of a server that nobody is in yet.
    pub fn new(handles: Handles, fanouts: Fanouts, start_room: StartRoom) -> Self {
        let per_minute = handles.config.limits.new_rooms_per_minute;
        DirectoryActor {
            _critical: handles.critical.of("the directory"),
            handles,
            fanouts,
            start_room,
            rooms: HashMap::new(),
            occupied: BTreeMap::from([(RoomName::lobby(), 0)]),
            next_room: 1,
            online: BTreeMap::new(),
            rates: HashMap::new(),
            new_room_rate: Rate::per_minute(per_minute),
            direct_messages: VecDeque::new(),
            first_direct_message: 0,
            flushed: Vec::new(),
            operators: HashMap::new(),
            next_ticket: 1,
        }
    }

    /// The room of this name, made if it is not there.
    fn open_room(&mut self, name: &RoomName) -> &mut Room {
        self.rooms.entry(name.clone()).or_insert_with(|| {
            let id = RoomId(self.next_room);
            self.next_room += 1;
            let ways = (self.start_room)(id, name.clone(), self.handles.clone(), Arc::clone(&self.fanouts));
            Room { ways, accounts: 0, empty_since: Instant::now(), retiring: None }
        })
    }

    /// Whether an account may bring one more room into being, or why not.
    fn may_open_room(&mut self, account: &UserName) -> Result<(), Refusal> {
        let most = self.handles.config.limits.rooms;
        if most != 0 && self.rooms.len() >= most {
            return Err(too_fast(EMPTY_ROOM_STAYS));
        }
        let (rate, now) = (self.new_room_rate, self.handles.started.elapsed());
        match rate {
            Some(rate) => self.rates_of(account).shared.new_rooms.take(rate, now).map_err(too_fast),
            None => Ok(()),
        }
    }

    fn rates_of(&mut self, account: &UserName) -> &mut Rates {
        let fresh = || Rates { shared: Arc::default(), used: Instant::now() };
        let rates = self.rates.entry(account.clone()).or_insert_with(fresh);
        rates.used = Instant::now();
        rates
    }

    fn join(&mut self, join: Join) {
        let is_new = !self.rooms.contains_key(&join.room) && join.room != RoomName::lobby();
        if is_new && let Err(refusal) = self.may_open_room(&join.member.account) {
            self.answer(Answer { reply_to: join.reply_to, reply: Reply::Refused(refusal) });
            return;
        }
        let room = self.open_room(&join.room);
        match &mut room.retiring {
            Some(waiting) => waiting.push(join),
            None => room.ways.do_send(join),
        }
    }

    fn answer(&self, answer: Answer) {
        self.fanouts[answer.reply_to.connection.thread().0].do_send(answer);
    }

    // ------------------------------------------------------------ sweeping

    /// Asks rooms that have been empty for a while whether they have ended, and forgets idle rates.
    fn sweep(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        for (name, room) in &mut self.rooms {
            let idle = room.accounts == 0 && now.duration_since(room.empty_since) > EMPTY_ROOM_STAYS;
            if !idle || room.retiring.is_some() {
                continue;
            }
            room.retiring = Some(Vec::new());
            let (name, question) = (name.clone(), room.ways.send(Retire));
            let question = actix::fut::wrap_future::<_, Self>(question);
            ctx.spawn(question.map(move |ended, act, _| act.retired(&name, ended.unwrap_or(true))));
        }
        let online = &self.online;
        self.rates.retain(|account, rates| {
            online.contains_key(account) || now.duration_since(rates.used) < RATES_STAY
        });
    }

    /// A room has said whether it has ended; joins that waited for that go on.
    fn retired(&mut self, name: &RoomName, ended: bool) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        let waiting = room.retiring.take().unwrap_or_default();
        if ended {
            self.rooms.remove(name);
        } else {
            room.empty_since = Instant::now();
        }
        for join in waiting {
            self.join(join);
        }
    }
}

impl Actor for DirectoryActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let to = Some(ctx.address().recipient());
        self.handles.journal.do_send(Subscribe { route: Subscriber::Direct, room: None, to });
        ctx.run_interval(SWEEP, Self::sweep);
        #[cfg(test)]
        ctx.spawn(super::invariants::CheckAfterEachStep);
    }
}

// ---------------------------------------------------------------- who is online

impl Handler<Online> for DirectoryActor {
    type Result = ();

    fn handle(&mut self, Online { member, reply_to, grant }: Online, _: &mut Context<Self>) {
        let rates = Arc::clone(&self.rates_of(&member.account).shared);
        self.online.entry(member.account).or_insert_with(|| Vec::with_capacity(1)).push(member.connection);
        self.fanouts[reply_to.connection.thread().0].do_send(SessionAccepted { reply_to, grant, rates });
    }
}

impl Handler<Offline> for DirectoryActor {
    type Result = ();

    fn handle(&mut self, Offline { member }: Offline, _: &mut Context<Self>) {
        if let Some(connections) = self.online.get_mut(&member.account) {
            connections.retain(|connection| *connection != member.connection);
            if connections.is_empty() {
                self.online.remove(&member.account);
                self.rates_of(&member.account);
            }
        }
    }
}

impl Handler<ListOnline> for DirectoryActor {
    type Result = MessageResult<ListOnline>;

    fn handle(&mut self, list: ListOnline, _: &mut Context<Self>) -> Self::Result {
        MessageResult(name_page(&self.online, list.after.as_ref(), list.limit))
    }
}

impl Handler<AskOnline> for DirectoryActor {
    type Result = Vec<OnlineAccount>;

    fn handle(&mut self, _: AskOnline, _: &mut Context<Self>) -> Vec<OnlineAccount> {
        let online = self.online.iter();
        online.map(|(name, on)| OnlineAccount { name: name.clone(), sessions: on.len() }).collect()
    }
}

impl Handler<Announce> for DirectoryActor {
    type Result = usize;

    fn handle(&mut self, announce: Announce, _: &mut Context<Self>) -> usize {
        let at = Timestamp::now();
        for fanout in self.fanouts.iter() {
            fanout.do_send(Broadcast { text: announce.text.clone(), at });
        }
        self.online.values().map(Vec::len).sum()
    }
}

// ---------------------------------------------------------------- rooms

impl Handler<Join> for DirectoryActor {
    type Result = ();

    fn handle(&mut self, join: Join, _: &mut Context<Self>) {
        self.join(join);
    }
}

impl Handler<RoomCount> for DirectoryActor {
    type Result = ();

    fn handle(&mut self, RoomCount { room: name, accounts }: RoomCount, _: &mut Context<Self>) {
        if let Some(room) = self.rooms.get_mut(&name) {
            room.accounts = accounts;
            room.empty_since = Instant::now();
        }
        if accounts > 0 || name == RoomName::lobby() {
            self.occupied.insert(name, accounts);
        } else {
            self.occupied.remove(&name);
        }
    }
}

impl Handler<RoomCrashed> for DirectoryActor {
    type Result = ();

    fn handle(&mut self, RoomCrashed { name, .. }: RoomCrashed, _: &mut Context<Self>) {
        error!("the room {name} collapsed; its members are let go and can join it anew");
        self.rooms.remove(&name);
        self.occupied.remove(&name);
        self.occupied.entry(RoomName::lobby()).or_insert(0);
    }
}

impl Handler<ListRooms> for DirectoryActor {
    type Result = MessageResult<ListRooms>;

    fn handle(&mut self, list: ListRooms, _: &mut Context<Self>) -> Self::Result {
        let behind = (list.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let mut rest = self.occupied.range::<RoomName, _>(behind);
        let entry = |(room, accounts): (&RoomName, &usize)| (room.clone(), *accounts);
        let rooms = rest.by_ref().take(list.limit).map(entry).collect();
        MessageResult((rooms, rest.next().is_some()))
    }
}

impl Handler<AskRooms> for DirectoryActor {
    type Result = Vec<(RoomName, usize)>;

    fn handle(&mut self, _: AskRooms, _: &mut Context<Self>) -> Vec<(RoomName, usize)> {
        self.occupied.iter().map(|(room, accounts)| (room.clone(), *accounts)).collect()
    }
}

impl Handler<FindRoom> for DirectoryActor {
    type Result = Option<RoomWays>;

    fn handle(&mut self, FindRoom { room }: FindRoom, _: &mut Context<Self>) -> Self::Result {
        self.rooms.get(&room).map(|room| room.ways.clone())
    }
}

impl Handler<SayAsServer> for DirectoryActor {
    type Result = ResponseActFuture<Self, Result<Receipt, SayError>>;

    fn handle(&mut self, mut say: SayAsServer, _: &mut Context<Self>) -> Self::Result {
        match self.handles.spellings.room(say.room.as_str()) {
            Ok(room) => say.room = room,
            Err(_) => return Box::pin(fut::err(SayError::NoSuchRoom { nearest: None })),
        }
        if self.occupied.contains_key(&say.room) {
            return Box::pin(self.say_as_server(say));
        }
        // Nobody is in it: does it have a past?
        let read = ReadPage(PageQuery {
            list: MessageList::Room(say.room.clone()),
            page: Page::Newest,
            limit: 1,
            visible_from: None,
            up_to: None,
        });
        let past = self.handles.journal.send(read).into_actor(self);
        Box::pin(past.then(move |past, act, _| match past {
            Ok(Ok(past)) if past.newest.is_some() => act.say_as_server(say).boxed_local(),
            Ok(Ok(_)) => {
                let rooms = act.occupied.keys().map(RoomName::as_str);
                let nearest =
                    nearest(say.room.as_str(), rooms).and_then(|near| RoomName::from_canonical(near).ok());
                fut::err(SayError::NoSuchRoom { nearest }).boxed_local()
            }
            Ok(Err(code)) => fut::err(SayError::Refused(code.into())).boxed_local(),
            Err(_) => fut::err(SayError::Refused(ErrorCode::Internal.into())).boxed_local(),
        }))
    }
}

impl DirectoryActor {
    /// Says it in a room that there is, and waits for the receipt.
    fn say_as_server(
        &mut self,
        say: SayAsServer,
    ) -> impl ActorFuture<Self, Output = Result<Receipt, SayError>> + 'static {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let (sender, receiver) = oneshot::channel();
        self.operators.insert(ticket, sender);
        self.open_room(&say.room).ways.do_send(SayByOperator { text: say.text, ticket });
        fut::wrap_future(async move {
            receiver.await.unwrap_or_else(|_| Err(ErrorCode::Internal.into())).map_err(SayError::from)
        })
    }
}

impl Handler<OperatorSaid> for DirectoryActor {
    type Result = ();

    fn handle(&mut self, said: OperatorSaid, _: &mut Context<Self>) {
        if let Some(operator) = self.operators.remove(&said.ticket) {
            // An operator who has gone away does not need the answer.
            let _ = operator.send(said.outcome);
        }
    }
}

impl Handler<Flush> for DirectoryActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Flush, _: &mut Context<Self>) -> ResponseFuture<()> {
        let rooms: Vec<_> = self.rooms.values().map(|room| room.ways.send(Flush)).collect();
        let (sender, passed_on) = oneshot::channel();
        self.flushed.push((self.first_direct_message + self.direct_messages.len() as u64, sender));
        self.pass_on_direct_messages();
        Box::pin(async move {
            // A directory that is gone sends no more direct messages.
            let _ = passed_on.await;
            for room in rooms {
                // A room that has ended has passed everything on.
                let _ = room.await;
            }
        })
    }
}

#[cfg(test)]
#[path = "directory/directory_tests.rs"]
mod tests;
