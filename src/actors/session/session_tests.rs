//! The session over a stream in memory, with stand-ins for all others.

use std::cell::Cell;
use std::sync::Arc;

use actix::{Addr, Message, Recipient};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::actors::connection::Turn;
use crate::actors::messages::auth::{OpenSession, OpenedSession};
use crate::actors::messages::directory::{Join, Online};
use crate::actors::messages::room::{RoomHandle, RoomWays, Say};
use crate::actors::messages::stand_in::{Neighbours, StandIn};
use crate::actors::strangers::Waiting;
use crate::chat::limits::crowd::Next;
use crate::chat::session::deadlines::Timeouts;
use crate::config::Limits;
use crate::model::{
    ConnectionId, ErrorCode, IoThread, Keep, MessageId, MessagePage, Receipt, ReplyTo, RoomId, RoomName,
    SessionId, Timestamp, TokenText,
};
use crate::transport::Stream;
use crate::transport::memory::{MemoryStream, pair};
use crate::wire::Wire;
use crate::wire::json::ServerFrame;

/// Ends the session as a fault in it would.
#[derive(Message)]
#[rtype(result = "()")]
struct Panic;

impl Handler<Panic> for SessionActor {
    type Result = ();

    fn handle(&mut self, _: Panic, _: &mut Context<Self>) {
        panic!("for the test");
    }
}

/// A session, everybody around it, and the other end of its stream. The test does what the fan-out would.
struct Stage {
    around: Neighbours,
    in_room: StandIn,
    room: Rc<RoomHandle>,
    connection: Rc<Connection>,
    session: Addr<SessionActor>,
    far: MemoryStream,
    end: Rc<Cell<Option<Recipient<EndSession>>>>,
}

impl Stage {
    fn new(refused: Option<ErrorCode>) -> Self {
        let around = Neighbours::start(Limits { strangers_time_percent: 0, ..Limits::default() });
        let (in_room, to_room) = StandIn::start_new();
        let room =
            Rc::new(RoomHandle { id: RoomId(1), name: RoomName::lobby(), ways: RoomWays::of(&to_room) });
        let (near, far) = pair(1 << 16);
        let context = Rc::new(SessionContext::new(&around.handles, around.fanouts[0].clone()));
        actix_rt::spawn(give_turns(Rc::clone(&context)));
        let (id, peer) = (ConnectionId::fresh(IoThread(0)), ([127, 0, 0, 1], 1).into());
        let limits = Arc::clone(&context.rules.limits);
        let stream = Stream::Memory(near);
        let connection = Rc::new(Connection::new(id, peer, stream, Wire::Native, limits, refused));
        let actor = SessionActor::new(Rc::clone(&connection), context, refused.is_some(), Bytes::new());
        let session = actor.start();
        Stage { around, in_room, room, connection, session, far, end: Rc::default() }
    }

    /// A session of alice's that is in the lobby.
    async fn in_lobby() -> Self {
        let mut stage = Stage::new(None);
        assert!(matches!(stage.reads().await, (ServerFrame::Welcome { .. }, None)));
        let (hasher, end) = (stage.around.handles.hasher.clone(), Rc::clone(&stage.end));
        stage.around.auth.answers(move |open: OpenSession| {
            end.set(Some(open.end));
            let token = TokenText::new("T");
            let opened = OpenedSession {
                session: SessionId::new(7, 0),
                account: UserName::parse("alice").expect("a name"),
                visible_from: None,
                token_hash: hasher.hash(&token),
                token,
                previous: None,
                expires_in_seconds: 9,
                new: false,
                last_seen: None,
                greeting: String::new(),
            };
            async { Ok(opened) }
        });
        stage.asks(&json!({"type": "login", "name": "alice", "password": "secret"})).await;
        let online = stage.around.directory.next::<Online>().await;
        stage.connection.machine().accepted(Arc::default());
        stage.answers(online.reply_to, &Reply::Session(online.grant));
        assert!(matches!(stage.reads().await, (ServerFrame::Session(_), None)));

        stage.asks(&json!({"type": "join", "room": "lobby", "token": "T"})).await;
        let join = stage.around.directory.next::<Join>().await;
        stage.connection.machine().joined(Rc::clone(&stage.room), None).expect("it is there");
        let (room, page) = (join.room, MessagePage::default());
        let joined = Reply::Joined { room, members: 1, reset: false, page, keep: Keep::Newest };
        stage.answers(join.reply_to, &joined);
        assert!(matches!(stage.reads().await, (ServerFrame::Joined { .. }, None)));
        stage
    }

    async fn asks(&mut self, request: &Value) {
        let payload = request.to_string();
        self.far.write_u32(payload.len() as u32).await.expect("an open stream");
        self.far.write_all(payload.as_bytes()).await.expect("an open stream");
    }

    async fn says(&mut self, mark: &str) -> Say {
        let say = json!({"type": "say", "room": "lobby", "text": mark, "token": "T", "ref": mark});
        self.asks(&say).await;
        let say = self.in_room.next::<Say>().await;
        assert_eq!((say.text.as_str(), say.member.account.as_str()), (mark, "alice"));
        say
    }

    /// The next frame, and the `ref` that it answers.
    async fn reads(&mut self) -> (ServerFrame, Option<String>) {
        let length = self.far.read_u32().await.expect("a header");
        let mut payload = vec![0; length as usize];
        self.far.read_exact(&mut payload).await.expect("a payload");
        ServerFrame::parse(&payload).expect("a frame of the dictionary")
    }

    async fn reads_receipt(&mut self) -> (u64, Option<String>) {
        match self.reads().await {
            (ServerFrame::Ok { receipt: Some(receipt) }, mark) => (receipt.id, mark),
            other => panic!("no receipt: {other:?}"),
        }
    }

    async fn reads_bye(&mut self) -> String {
        match self.reads().await {
            (ServerFrame::Bye { reason, .. }, None) => reason,
            other => panic!("no bye: {other:?}"),
        }
    }

    async fn reads_the_end(&mut self) {
        assert!(self.far.read_u8().await.is_err(), "nothing comes after the end");
    }

    fn answers(&self, reply_to: ReplyTo, reply: &Reply) {
        self.connection.answer(reply_to.ticket, reply);
        self.connection.flush();
    }

    fn stores(&self, say: &Say, id: u64) {
        let id = MessageId::new(id).expect("not zero");
        let receipt = Receipt { id, prev: None, at: Timestamp::from_millis(0) };
        self.answers(say.reply_to, &Reply::Receipt(receipt));
    }

    /// All that the session had is given back, once.
    async fn gives_everything_back(&self) {
        let leave = self.in_room.next::<Leave>().await;
        assert_eq!((leave.connection, leave.request), (self.connection.id, None));
        assert_eq!(self.around.directory.next::<Offline>().await.member.account.as_str(), "alice");
        assert_eq!(self.around.auth.next::<Detach>().await.session, SessionId::new(7, 0));
        self.is_gone(false).await;
        for neighbour in [&self.in_room, &self.around.directory, &self.around.auth, &self.around.listener] {
            assert_eq!(neighbour.unseen(), 0);
        }
    }

    async fn is_gone(&self, refused: bool) {
        assert_eq!(self.around.fanout.next::<ConnectionClosed>().await.connection, self.connection.id);
        assert_eq!(self.around.listener.next::<Closed>().await.refused, refused);
    }
}

/// What the fan-out does for strangers.
async fn give_turns(context: Rc<SessionContext>) {
    loop {
        if let Next::Now(Waiting::Reader(stranger)) = context.strangers.next()
            && let Some(stranger) = stranger.upgrade()
        {
            stranger.turn.set(Turn::Given);
            stranger.wake();
        }
        tokio::task::yield_now().await;
    }
}

fn run(story: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(story);
}

#[test]
fn what_is_said_goes_to_its_room_and_receipts_come_in_the_order_of_the_requests() {
    run(async {
        let mut stage = Stage::in_lobby().await;
        let (one, two) = (stage.says("one").await, stage.says("two").await);
        stage.stores(&two, 2);
        stage.stores(&one, 1);
        assert_eq!(stage.reads_receipt().await, (1, Some("one".into())));
        assert_eq!(stage.reads_receipt().await, (2, Some("two".into())));
        // Elsewhere it is not, and nobody is asked.
        stage.asks(&json!({"type": "say", "room": "attic", "text": "x", "token": "T", "ref": "3"})).await;
        let (refused, mark) = stage.reads().await;
        assert!(matches!(refused, ServerFrame::Error { code: ErrorCode::NotInRoom, .. }), "{refused:?}");
        assert_eq!((mark.as_deref(), stage.in_room.unseen()), (Some("3"), 0));
    });
}

#[test]
fn who_ends_its_side_gets_the_answers_that_are_under_way() {
    run(async {
        let mut stage = Stage::in_lobby().await;
        let say = stage.says("one").await;
        stage.far.shutdown().await.expect("an open stream");
        stage.stores(&say, 1);
        assert_eq!(stage.reads_receipt().await, (1, Some("one".into())));
        stage.reads_the_end().await;
        stage.gives_everything_back().await;
    });
}

#[test]
fn an_answer_that_never_comes_holds_nobody_who_is_told_to_go_for_longer_than_there_is_time() {
    run(async {
        let mut stage = Stage::in_lobby().await;
        stage.says("never stored").await;
        stage.far.shutdown().await.expect("an open stream");
        stage.connection.let_go(ByeReason::ShuttingDown, None);
        let (limits, ping) = (Limits::default(), encode::event_for_all(&Event::Ping));
        let timeouts = Timeouts::new(&limits);
        for _ in 0..=2 * limits.close_timeout_seconds {
            tokio::task::yield_now().await;
            assert_eq!(stage.around.fanout.unseen(), 0, "it has time");
            stage.connection.tick(&timeouts, &ping);
        }
        stage.gives_everything_back().await;
        drop(stage.connection);
        stage.far.read_u8().await.expect_err("it says nothing more");
    });
}

#[test]
fn who_is_told_to_go_gets_the_answers_that_are_under_way_then_a_bye_and_nothing_more() {
    run(async {
        let mut stage = Stage::in_lobby().await;
        let say = stage.says("one").await;
        let end = stage.end.take().expect("the AuthActor was told where");
        end.send(EndSession { reason: ByeReason::Kicked, text: None }).await.expect("it is there");
        // What it asks from now on nobody looks at.
        stage.asks(&json!({"type": "ping"})).await;
        stage.stores(&say, 1);
        assert_eq!(stage.reads_receipt().await, (1, Some("one".into())));
        assert_eq!(stage.reads_bye().await, "kicked");
        stage.reads_the_end().await;
        stage.stores(&say, 1);
        stage.far.shutdown().await.expect("an open stream");
        stage.gives_everything_back().await;
    });
}

#[test]
fn a_session_that_panics_gives_everything_back() {
    run(async {
        let mut stage = Stage::in_lobby().await;
        stage.says("one").await;
        stage.session.do_send(Panic);
        stage.gives_everything_back().await;
    });
}

#[test]
fn who_may_not_stay_is_told_why_and_the_listener_counts_it_apart() {
    run(async {
        let mut stage = Stage::new(Some(ErrorCode::ServerFull));
        let (why, mark) = stage.reads().await;
        assert!(matches!(why, ServerFrame::Error { code: ErrorCode::ServerFull, .. }), "{why:?}");
        assert_eq!((mark, stage.reads_bye().await.as_str()), (None, "server_full"));
        stage.reads_the_end().await;
        stage.far.shutdown().await.expect("an open stream");
        stage.is_gone(true).await;
    });
}
