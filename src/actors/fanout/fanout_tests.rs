//! The fan-out over connections in memory, with stand-ins for rooms, sessions and all others.

use bytes::Bytes;
use std::cell::RefCell;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::*;
use crate::actors::messages::room::RoomWays;
use crate::actors::messages::stand_in::{Neighbours, StandIn};
use crate::chat::session::active::ActiveSession;
use crate::chat::session::admission::{Admission, IncomingRequest};
use crate::chat::session::rules::SessionRules;
use crate::config::Limits;
use crate::model::{
    Keep, MessageId, MessageKind, MessagePage, MessageText, Page, PresenceChange, Reference, Refusal,
    ReplyTo, Request, RequestKind, RoomName, SessionId, StoredMessage, TOKEN_HASH_BYTES, Target, Ticket,
    Timestamp, TokenHash, UserName,
};
use crate::transport::DetachedStream;
use crate::transport::memory::{MemoryStream, pair};
use crate::wire::json::ServerFrame;

thread_local! {
    /// The connections that were taken over on this thread. No session reads from them.
    static CONNECTIONS: RefCell<Vec<Rc<Connection>>> = const { RefCell::new(Vec::new()) };
}

fn no_session(connection: Rc<Connection>, _: Rc<SessionContext>, _: bool, _: Bytes) {
    CONNECTIONS.with_borrow_mut(|connections| connections.push(connection));
}

/// A connection, from both of its ends.
struct Peer {
    connection: Rc<Connection>,
    far: MemoryStream,
}

impl Peer {
    /// The next frame, and the `ref` that it answers.
    async fn reads(&mut self) -> (ServerFrame, Option<String>) {
        let length = self.far.read_u32().await.expect("a header");
        let mut payload = vec![0; length as usize];
        self.far.read_exact(&mut payload).await.expect("a payload");
        ServerFrame::parse(&payload).expect("a frame of the dictionary")
    }

    async fn reads_text(&mut self) -> String {
        match self.reads().await {
            (ServerFrame::Message(message), None) => message.text,
            other => panic!("no message: {other:?}"),
        }
    }

    /// Begins a request that is answered by others.
    fn asks(&self, mark: &str, request: Request) -> ReplyTo {
        let rules = SessionRules::new(&Limits::default());
        let frame = Ok(Asked { mark: mark.to_owned(), request });
        let admission = self.connection.machine().admit(frame, 1, &rules, Duration::ZERO);
        let Admission::Begun(ticket, _) = admission else { panic!("{admission:?}") };
        self.connection.reply_to(ticket)
    }
}

/// A request of the session that every connection has here.
struct Asked {
    mark: String,
    request: Request,
}

impl IncomingRequest for Asked {
    fn kind(&self) -> RequestKind {
        self.request.kind()
    }

    fn reference(&self) -> Option<Reference> {
        Reference::parse(&self.mark)
    }

    fn token(&self) -> Option<TokenHash> {
        Some(token())
    }

    fn request(&self) -> Result<Request, Refusal> {
        Ok(self.request.clone())
    }
}

fn token() -> TokenHash {
    TokenHash::from_bytes([7; TOKEN_HASH_BYTES])
}

fn join() -> Request {
    Request::Join { room: RoomName::lobby(), page: Page::Newest, limit: 0, term: None }
}

fn say() -> Request {
    let text = MessageText::parse("it is what the room says that counts").expect("a text");
    Request::Say { room: RoomName::lobby(), text, key: None }
}

struct Stage {
    around: Neighbours,
    fanout: FanoutHandle,
    room: RoomHandle,
    in_room: StandIn,
}

impl Stage {
    fn new() -> Self {
        let around = Neighbours::start(Limits::default());
        let actor = FanoutActor::new(IoThread(0), around.handles.clone(), no_session);
        let (in_room, to_room) = StandIn::start_new();
        let room = RoomHandle { id: RoomId(1), name: RoomName::lobby(), ways: RoomWays::of(&to_room) };
        Stage { around, fanout: FanoutHandle::of(&actor.start()), room, in_room }
    }

    async fn connect(&self) -> Peer {
        let (near, far) = pair(1 << 16);
        let before = CONNECTIONS.with_borrow(Vec::len);
        self.around.handles.newcomers.fetch_add(1, Ordering::Relaxed);
        let peer = ([127, 0, 0, 1], 1).into();
        self.fanout.do_send(NewConnection::native(DetachedStream::Memory(near), peer, None));
        loop {
            if let Some(connection) = CONNECTIONS.with_borrow(|all| all.get(before).cloned()) {
                let account = UserName::parse("someone").expect("a name");
                let session = ActiveSession::new(SessionId::new(1, 0), account, None, token(), None);
                connection.machine().opened(Box::new(session)).expect("nobody has gone");
                return Peer { connection, far };
            }
            tokio::task::yield_now().await;
        }
    }

    /// A connection that is in the room, with its `joined` read.
    async fn member(&self) -> Peer {
        let mut peer = self.connect().await;
        self.fanout.do_send(self.joined(peer.asks("join", join())));
        let (joined, mark) = peer.reads().await;
        assert!(matches!(joined, ServerFrame::Joined { members: 3, more: false, .. }), "{joined:?}");
        assert_eq!(mark.as_deref(), Some("join"));
        peer
    }

    fn joined(&self, reply_to: ReplyTo) -> JoinAccepted {
        JoinAccepted {
            reply_to,
            room: self.room.clone(),
            members: 3,
            reset: false,
            page: MessagePage::default(),
            keep: Keep::Newest,
            events_begin_behind: None,
        }
    }

    fn deliver(&self, messages: Vec<StoredMessage>, receipts: Vec<AuthorReceipt>) {
        let room = self.room.id;
        self.fanout.do_send(Deliver { room, messages: messages.into(), receipts: receipts.into() });
    }
}

fn message(id: u64, text: &str) -> StoredMessage {
    StoredMessage {
        id: MessageId::new(id).expect("not zero"),
        prev: MessageId::new(id - 1),
        at: Timestamp::from_millis(0),
        target: Target::Room(RoomName::lobby()),
        from: UserName::parse("alice").expect("a name"),
        kind: MessageKind::Text(MessageText::parse(text).expect("a text")),
        key: None,
    }
}

fn run(story: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(story);
}

#[test]
fn a_batch_reaches_everybody_and_its_authors_get_receipts_for_their_own() {
    run(async {
        let stage = Stage::new();
        let (mut alice, mut bob) = (stage.member().await, stage.member().await);
        let [one, three] = ["one", "three"].map(|mark| alice.asks(mark, say()));
        let all: Vec<_> =
            ["one", "two", "three", "four"].iter().zip(1..).map(|(text, id)| message(id, text)).collect();
        let receipt = |reply_to, own: usize| AuthorReceipt {
            reply_to,
            outcome: Ok(all[own].receipt()),
            own: Some(own),
        };
        stage.deliver(all.clone(), vec![receipt(one, 0), receipt(three, 2)]);
        for text in ["one", "two", "three", "four"] {
            assert_eq!(bob.reads_text().await, text);
        }
        assert_eq!([alice.reads_text().await, alice.reads_text().await], ["two", "four"]);
        for (mark, id) in [("one", 1), ("three", 3)] {
            let (reply, answers) = alice.reads().await;
            let ServerFrame::Ok { receipt: Some(receipt) } = reply else { panic!("{reply:?}") };
            assert_eq!((receipt.id, answers.as_deref()), (id, Some(mark)));
        }
    });
}

#[test]
fn each_member_is_told_of_those_whom_it_does_not_know() {
    run(async {
        let stage = Stage::new();
        let (mut alice, mut bob) = (stage.member().await, stage.member().await);
        let change = |name: &str, is_in| PresenceChange {
            account: UserName::parse(name).expect("a name"),
            is_in,
            at: Timestamp::from_millis(0),
        };
        stage.fanout.do_send(PresenceUpdate {
            room: stage.room.id,
            changes: [change("carl", true), change("dora", false), change("erin", true)].into(),
            most: [0, 2].into(),
            instead: Arc::new(HashMap::from([(bob.connection.id, vec![1, 2])])),
        });
        for (peer, expected) in [(&mut alice, ["carl", "erin"]), (&mut bob, ["dora", "erin"])] {
            for expected in expected {
                let (told, _) = peer.reads().await;
                let ServerFrame::Presence { room, name, .. } = told else { panic!("{told:?}") };
                assert_eq!((room.as_str(), name.as_str()), ("lobby", expected));
            }
        }
    });
}

#[test]
fn a_room_hears_that_whoever_was_joining_has_gone_and_a_member_that_left_hears_no_more() {
    run(async {
        let stage = Stage::new();
        let (mut alice, mut bob) = (stage.member().await, stage.member().await);
        let gone = stage.connect().await;
        let reply_to = gone.asks("join", join());
        stage.fanout.do_send(ConnectionClosed { connection: gone.connection.id });
        stage.fanout.do_send(stage.joined(reply_to));
        let leave = stage.in_room.next::<Leave>().await;
        assert_eq!((leave.connection, leave.request), (gone.connection.id, None));

        let asked = bob.asks("leave", Request::Leave { room: RoomName::lobby() });
        let (connection, room) = (bob.connection.id, stage.room.id);
        stage.fanout.do_send(LeaveAccepted { connection, room, request: Some(asked.ticket) });
        stage.deliver(vec![message(1, "is bob gone?")], vec![]);
        stage.fanout.do_send(Broadcast {
            text: MessageText::parse("nobody is in a session").expect("a text"),
            at: Timestamp::from_millis(0),
        });
        assert_eq!(alice.reads_text().await, "is bob gone?");
        assert_eq!(bob.reads().await, (ServerFrame::Ok { receipt: None }, Some("leave".into())));
        let direct = Unicast { connections: [connection].into(), message: message(2, "yes") };
        stage.fanout.do_send(direct);
        assert_eq!(bob.reads_text().await, "yes");
    });
}

#[test]
fn closing_is_over_when_the_last_connection_is() {
    run(async {
        let stage = Stage::new();
        let (alice, bob) = (stage.connect().await, stage.connect().await);
        let closing = stage.fanout.send(CloseAll);
        let ends = async {
            // The sessions, which stand behind these, have been told.
            while alice.connection.machine().takes_requests() {
                tokio::task::yield_now().await;
            }
            for peer in [&alice, &bob] {
                stage.fanout.do_send(ConnectionClosed { connection: peer.connection.id });
            }
        };
        let (closed, ()) = tokio::join!(closing, ends);
        closed.expect("it answers");
        assert!(!bob.connection.machine().takes_requests());
        // Another thread's business is not this one's.
        let elsewhere = ReplyTo { connection: ConnectionId::fresh(IoThread(1)), ticket: Ticket(1) };
        stage.fanout.do_send(Answer { reply_to: elsewhere, reply: Reply::Done });
        stage.fanout.send(CloseAll).await.expect("nobody is left");
    });
}
