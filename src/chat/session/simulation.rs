//! Random lives of a connection: a client that asks for anything, in any order, and goes in any way; neighbours
//! that answer late, in any order, or refuse; a socket that takes little; an end at any moment. Whatever
//! happens, each request has one reply, in order and with its `ref`; there is one goodbye, and nothing after it;
//! what was taken is given back once; and nobody waits for ever.
//!
//! The world wakes the session as its sockets and neighbours would, and no more: a wake that nobody gives shows
//! as a life that does not end.

mod promises;
mod steps;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use self::steps::{
    FRAME_BYTES, Frame, Incoming, Members, OUTBOX_BYTES, Shape, Shows, Step, TICKS_TO_GO, is_exclusive,
    limits, request, room_name, step, user,
};
use super::active::{ActiveSession, SessionTypes};
use super::admission::{Admission, NoRequest};
use super::deadlines::Timeouts;
use super::goodbye::{Goodbye, LastWords};
use super::machine::{Action, Readiness, SessionMachine};
use super::rules::SessionRules;
use crate::config::Limits;
use crate::model::{
    ByeReason, ErrorCode, Reference, Refusal, Request, RequestKind, RoomId, RoomName, SessionId,
    TOKEN_HASH_BYTES, Ticket, TokenHash,
};

/// The machine's types, as small as they can be.
#[derive(Debug)]
struct Small;

impl SessionTypes for Small {
    type Reply = Reply;
    type Room = Room;

    fn room(room: &Room) -> (RoomId, &RoomName) {
        (room.id, &room.name)
    }
}

#[derive(Debug, Clone)]
struct Room {
    id: RoomId,
    name: RoomName,
}

/// A reply, by the number of the frame that it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reply {
    of: usize,
    reference: Option<Reference>,
}

/// What goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Out {
    Event,
    Reply(Reply),
    Error,
    Bye(ByeReason, Option<Reference>),
}

/// A question under way.
#[derive(Debug, Clone)]
enum Asked {
    /// What the client asked for.
    Request(Request),
    /// A session is open, and its reply comes when others know.
    Accept,
}

/// The session that the world believes the connection to have.
#[derive(Debug, Clone, Copy)]
struct Believed {
    id: SessionId,
    token: TokenHash,
    previous: Option<(TokenHash, Duration)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    Detached,
    Ended,
}

struct World {
    machine: SessionMachine<Small>,
    rules: SessionRules,
    timeouts: Timeouts,
    now: Duration,
    // The client and the stream.
    sent: usize,
    /// How many replies are due to what it has sent.
    due: usize,
    on_the_way: VecDeque<Frame>,
    ended: bool,
    broken: bool,
    got: Vec<Out>,
    // The session's actor.
    woken: bool,
    over: bool,
    outbox: VecDeque<(Out, usize)>,
    window: usize,
    // Its neighbours.
    asked: Vec<(Ticket, Asked)>,
    asked_for_death: bool,
    sessions: BTreeMap<SessionId, Fate>,
    /// Where the rooms think that the connection is.
    in_rooms: BTreeSet<RoomId>,
    next_room: u64,
    // What has to hold.
    session: Option<Believed>,
    /// Where the client knows that it is.
    knows_rooms: BTreeMap<RoomName, RoomId>,
    /// The requests that a reply is due to, in order.
    taken: Vec<(usize, Option<Reference>)>,
    numbers: HashMap<Ticket, usize>,
    goodbye: Option<Option<LastWords>>,
    bad_frames: u32,
    /// How many ticks it has had since it was told to go.
    ticks_to_go: u32,
    panicked: bool,
}

fn fresh_token(session: u8) -> TokenHash {
    TokenHash::from_bytes([2 * session; TOKEN_HASH_BYTES])
}

fn previous_token(session: u8) -> TokenHash {
    TokenHash::from_bytes([2 * session + 1; TOKEN_HASH_BYTES])
}

impl World {
    fn new(limits: &Limits, refused: Option<ErrorCode>) -> Self {
        let mut world = World {
            machine: SessionMachine::new(refused),
            rules: SessionRules::new(limits),
            timeouts: Timeouts::new(limits),
            now: Duration::from_secs(1),
            sent: 0,
            due: 0,
            on_the_way: VecDeque::new(),
            ended: false,
            broken: false,
            got: Vec::new(),
            woken: true,
            over: false,
            outbox: VecDeque::new(),
            window: 4,
            asked: Vec::new(),
            asked_for_death: false,
            sessions: BTreeMap::new(),
            in_rooms: BTreeSet::new(),
            next_room: 0,
            session: None,
            knows_rooms: BTreeMap::new(),
            taken: Vec::new(),
            numbers: HashMap::new(),
            goodbye: None,
            bad_frames: 0,
            ticks_to_go: 0,
            panicked: false,
        };
        world.drive();
        world
    }

    // ------------------------------------------------------------ steps

    fn take(&mut self, step: &Step) {
        match step {
            Step::Send(shape, marked) if !self.ended && !self.broken => {
                let reference =
                    marked.then(|| format!("r{}", self.sent)).and_then(|mark| Reference::parse(&mark));
                self.on_the_way.push_back(Frame { number: self.sent, reference, shape: shape.clone() });
                self.sent += 1;
                self.due += usize::from(!matches!(shape, Shape::Request { kind: RequestKind::Pong, .. }));
                self.readable();
            }
            Step::EndWriting if !self.broken => {
                self.ended = true;
                self.readable();
            }
            Step::Send(..) | Step::EndWriting => {}
            Step::Break => {
                (self.broken, self.on_the_way) = (true, VecDeque::new());
                self.readable();
                self.writable();
            }
            Step::Answer { which, good } if !self.asked.is_empty() => {
                let (ticket, asked) = self.asked.remove(which % self.asked.len());
                self.answer(ticket, asked, *good);
            }
            Step::Answer { .. } => {}
            Step::PreviousDied(well) => self.previous_died(*well),
            Step::Deliver(bytes) => {
                self.put_out(Out::Event, *bytes);
                self.flush();
            }
            Step::Write(count) => {
                self.window += count;
                self.writable();
            }
            Step::LetGo(reason) => {
                self.machine.let_go(*reason, None);
                self.changed();
            }
            Step::RoomCrashed(room) => {
                if let Some(id) = self.knows_rooms.remove(&room_name(*room)) {
                    self.in_rooms.remove(&id);
                    self.machine.left(id);
                    self.machine.let_go(ByeReason::Fault(ErrorCode::Internal), None);
                    self.changed();
                }
            }
            Step::Ticks(count) => (0..*count).for_each(|_| {
                self.ticks_to_go += u32::from(!self.machine.takes_requests());
                if self.machine.tick(&self.timeouts) {
                    self.put_out(Out::Event, FRAME_BYTES);
                    self.flush();
                }
                self.changed();
            }),
            Step::Pass(ms) => self.now += Duration::from_millis(*ms),
            Step::Stop => self.rules.stopping.set(true),
            Step::Panic => {
                self.panicked = true;
                self.stop();
            }
        }
        self.drive();
    }

    /// Something has come, or the stream has ended: whoever reads notices.
    fn readable(&mut self) {
        self.woken |= !self.machine.needs_driving() || self.machine.is_draining();
    }

    /// The socket takes more: whoever waits for that notices.
    fn writable(&mut self) {
        self.woken |= !self.outbox.is_empty();
    }

    /// Another than the session has changed the machine.
    fn changed(&mut self) {
        self.woken |= self.machine.needs_driving();
    }

    // ------------------------------------------------------------ the session's actor

    fn drive(&mut self) {
        for _ in 0..1_000 {
            if !std::mem::take(&mut self.woken) || self.over {
                return;
            }
            self.drive_once();
        }
        panic!("the session turns in circles");
    }

    fn drive_once(&mut self) {
        let waits_for_write = self.machine.reads() && self.read();
        self.write();
        // What it waited for was room in the outbox, and there may be room now.
        self.woken |= waits_for_write && self.outbox.is_empty();
        while let Some(action) = self.machine.next_action(self.outbox.is_empty()) {
            match action {
                Action::Goodbye(goodbye) => self.say_goodbye(goodbye),
                Action::CloseWriting => assert!(self.outbox.is_empty() && self.goodbye.is_some()),
                Action::Stop => return self.stop(),
            }
            self.write();
        }
        if self.machine.is_draining() {
            self.on_the_way.clear();
            if self.ended || self.broken {
                self.machine.peer_ended();
                self.woken = true;
            }
        }
    }

    /// Reads until nothing has come, or something has to wait; whether it waits for the peer to read.
    fn read(&mut self) -> bool {
        self.machine.listen(true);
        while self.machine.reads() {
            let bytes = self.waiting_bytes();
            let readiness = self.machine.readiness(&self.rules, bytes);
            if readiness != Readiness::Ready {
                self.machine.listen(false);
                return readiness == Readiness::WaitsForWrite;
            }
            let most = if self.session.is_some() { OUTBOX_BYTES / 2 } else { OUTBOX_BYTES / 4 };
            assert!(bytes <= most, "it reads while {bytes} bytes are unread");
            assert!(self.unanswered() < 4, "it reads while {} requests are unanswered", self.unanswered());
            let Some(frame) = self.on_the_way.pop_front() else {
                if self.broken {
                    self.machine.broken();
                } else if self.ended {
                    self.machine.peer_ended();
                }
                return false;
            };
            if self.admit(&frame) {
                self.on_the_way.push_front(frame);
                self.machine.listen(false);
                return false;
            }
        }
        false
    }

    /// Hands a frame over; whether it has to wait.
    fn admit(&mut self, frame: &Frame) -> bool {
        let expected = self.expected(frame);
        let read = self.read_frame(frame);
        match self.machine.admit(read, 10, &self.rules, self.now) {
            Admission::Waits => return true,
            Admission::WaitsForToken(session) => {
                assert_eq!(self.session.map(|known| known.id), Some(session));
                assert!(!std::mem::replace(&mut self.asked_for_death, true), "it is asked for once");
                return true;
            }
            Admission::Done => {}
            Admission::Refused(ticket, refusal) => {
                let by_a_limit =
                    [ErrorCode::RateLimited, ErrorCode::StorageUnavailable].contains(&refusal.code);
                assert!(
                    by_a_limit || expected == Err(refusal.code),
                    "{refusal} for {frame:?}, not {expected:?}"
                );
                self.bad_frames += u32::from(refusal.code == ErrorCode::BadRequest);
                assert!(self.bad_frames <= self.rules.limits.bad_frames, "one bad frame too many is taken");
                self.begun(ticket, frame);
                self.reply(ticket);
            }
            Admission::Begun(ticket, request) => {
                assert_eq!(expected, Ok(()), "carried out: {frame:?}");
                assert!(self.asked.iter().all(|(_, asked)| match asked {
                    Asked::Request(under_way) => !is_exclusive(under_way.kind()),
                    Asked::Accept => false,
                }));
                assert!(!is_exclusive(request.kind()) || self.unanswered() == 0, "not alone: {frame:?}");
                if let Request::Join { room, .. } = &request {
                    let most = self.rules.limits.rooms_per_session;
                    let fits = most == 0 || self.knows_rooms.len() < most;
                    assert!(fits || self.knows_rooms.contains_key(room), "in one room too many");
                }
                self.begun(ticket, frame);
                match request {
                    Request::Ping => self.reply(ticket),
                    Request::Exit if self.session.is_none() => self.machine.exited(ticket),
                    request => self.asked.push((ticket, Asked::Request(request))),
                }
            }
        }
        false
    }

    /// A reply is due to this frame from now on.
    fn begun(&mut self, ticket: Ticket, frame: &Frame) {
        assert_eq!(self.machine.reference(ticket), frame.reference.as_ref());
        self.taken.push((frame.number, frame.reference.clone()));
        assert!(self.numbers.insert(ticket, frame.number).is_none(), "a ticket is given once");
    }

    fn reply(&mut self, ticket: Ticket) {
        let reference = self.machine.reference(ticket).cloned();
        self.machine.answer(ticket, Reply { of: self.numbers[&ticket], reference });
        while let Some(reply) = self.machine.next_reply() {
            self.put_out(Out::Reply(reply), FRAME_BYTES);
        }
        self.changed();
    }

    fn put_out(&mut self, out: Out, bytes: usize) {
        if !self.machine.takes_frames() {
            return;
        }
        if self.outbox.is_empty() || self.waiting_bytes() + bytes <= OUTBOX_BYTES {
            self.outbox.push_back((out, bytes));
        } else {
            self.machine.let_go(ByeReason::Fault(ErrorCode::SlowConsumer), None);
            self.changed();
        }
    }

    /// The fan-out writes; the session waits for what the socket does not take.
    fn flush(&mut self) {
        self.write();
        self.woken |= !self.outbox.is_empty();
    }

    fn write(&mut self) {
        if self.broken && !self.outbox.is_empty() {
            self.outbox.clear();
            self.machine.broken();
            self.woken = true;
        }
        while self.window > 0
            && let Some((out, _)) = self.outbox.pop_front()
        {
            self.window -= 1;
            self.got.push(out);
        }
    }

    fn say_goodbye(&mut self, goodbye: Goodbye<Small>) {
        assert!(self.goodbye.is_none(), "it says goodbye once");
        if let Some(words) = &goodbye.words {
            if words.drop_unsent() {
                self.outbox.clear();
            } else if words.reason != ByeReason::Exit {
                assert_eq!(self.unanswered(), 0, "it is let go with requests under way");
            }
            let error = words.fault().map(|_| Out::Error);
            let bye = Out::Bye(words.reason, words.reference.clone());
            self.outbox.extend(error.into_iter().chain([bye]).map(|out| (out, FRAME_BYTES)));
        }
        if let Some(session) = goodbye.session {
            for joined in session.rooms() {
                assert!(self.in_rooms.remove(&joined.room.id), "it leaves a room that it is not in");
            }
            let fate = self.sessions.get_mut(&session.id).expect("a session that was opened");
            assert_eq!(*fate == Fate::Ended, goodbye.ended, "what is ended is not to be resumed");
            if !goodbye.ended {
                *fate = Fate::Detached;
            }
        }
        assert_eq!(self.machine.unanswered(), 0);
        self.goodbye = Some(goodbye.words);
    }

    fn stop(&mut self) {
        self.over = true;
        if let Some(goodbye) = self.machine.abandon() {
            assert!(goodbye.words.is_none(), "nobody is there to hear it");
            self.say_goodbye(goodbye);
        }
        assert!(self.machine.abandon().is_none());
    }

    // ------------------------------------------------------------ its neighbours

    fn answer(&mut self, ticket: Ticket, asked: Asked, good: bool) {
        let request = match asked {
            Asked::Accept => {
                if self.machine.takes_frames() {
                    self.machine.accepted(Arc::default());
                    self.reply(ticket);
                    self.flush();
                }
                return;
            }
            Asked::Request(request) => request,
        };
        match request {
            Request::Register { .. } | Request::Login { .. } | Request::Resume { .. } if good => {
                return self.open(ticket, matches!(request, Request::Resume { .. }));
            }
            Request::Join { room, .. } if good => {
                let id = self.knows_rooms.get(&room).copied().unwrap_or(RoomId(self.next_room));
                self.next_room += 1;
                self.in_rooms.insert(id);
                match self.machine.joined(Room { id, name: room.clone() }, None) {
                    Ok(()) => drop(self.knows_rooms.insert(room, id)),
                    Err(room) => assert!(self.in_rooms.remove(&room.id)),
                }
            }
            Request::Leave { room } => {
                if let Some(id) = self.knows_rooms.remove(&room) {
                    self.in_rooms.remove(&id);
                    self.machine.left(id);
                }
            }
            Request::Exit if good => {
                let id = self.session.take().expect("only a session asks").id;
                // Another connection may have it by now.
                if let Some(fate) = self.sessions.get_mut(&id).filter(|fate| **fate == Fate::Open) {
                    *fate = Fate::Ended;
                }
                self.machine.exited(ticket);
                self.changed();
                return;
            }
            _ => {}
        }
        self.reply(ticket);
        self.flush();
    }

    fn open(&mut self, ticket: Ticket, resumed: bool) {
        let number = self.sessions.len() as u8;
        let id = SessionId::new(number.into(), 0);
        let (token, until) = (fresh_token(number), self.now + Duration::from_millis(300));
        let previous = resumed.then_some((previous_token(number), until));
        let session = ActiveSession::new(id, user(), None, token, previous);
        match self.machine.opened(Box::new(session)) {
            Ok(()) => {
                self.sessions.insert(id, Fate::Open);
                self.session = Some(Believed { id, token, previous });
                self.asked.push((ticket, Asked::Accept));
            }
            Err(session) => drop(self.sessions.insert(session.id, Fate::Detached)),
        }
        self.changed();
    }

    fn previous_died(&mut self, well: bool) {
        if !std::mem::take(&mut self.asked_for_death) {
            return;
        }
        self.machine.previous_died(if well { Ok(()) } else { Err(ErrorCode::StorageUnavailable) });
        if well && let Some(session) = &mut self.session {
            session.previous = None;
        }
        self.changed();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(debug_assertions) { 2_000 } else { 100_000 }, ..ProptestConfig::default() })]

    #[test]
    fn every_life_keeps_the_promises(
        limits in limits(),
        logged_in in prop::bool::weighted(0.7),
        refused in prop::option::weighted(0.05, Just(ErrorCode::ServerFull)),
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let mut world = World::new(&limits, refused);
        if logged_in {
            let login = Shape::Request {
                kind: RequestKind::Login, shows: Shows::Nothing, members: Members::Good, room: 0,
            };
            world.take(&Step::Send(login, false));
            world.calm_down(2);
        }
        steps.iter().for_each(|step| world.take(step));
        world.calm_down(60);
        world.check();
    }
}
