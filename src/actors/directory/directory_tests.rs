//! The directory, with stand-ins for everybody else, the rooms included.

use std::cell::RefCell;

use super::*;
use crate::actors::messages::auth::LookUp;
use crate::actors::messages::directory::DirectoryHandle;
use crate::actors::messages::fanout::Unicast;
use crate::actors::messages::journal::{
    Append, CommitOutcome, CommitResult, Committed, PageAnswer, Requester,
};
use crate::actors::messages::observe::Observe;
use crate::actors::messages::stand_in::{Neighbours, StandIn};
use crate::config::Limits;
use crate::model::{
    IoThread, Member, MessageId, MessageKind, MessagePage, MessageText, ReplyTo, SessionGrant, StoredMessage,
    Target, TokenText,
};

thread_local! {
    /// The rooms that the directory of this thread has made.
    static ROOMS: RefCell<Vec<(RoomName, StandIn)>> = const { RefCell::new(Vec::new()) };
}

fn stand_in_room(_: RoomId, name: RoomName, _: Handles, _: Fanouts) -> RoomWays {
    let (room, to_room) = StandIn::start_new();
    ROOMS.with_borrow_mut(|rooms| rooms.push((name, room)));
    RoomWays::of(&to_room)
}

fn rooms() -> Vec<(RoomName, StandIn)> {
    ROOMS.with_borrow(Clone::clone)
}

struct Stage {
    around: Neighbours,
    directory: DirectoryHandle,
    next_ticket: u64,
}

impl Stage {
    fn new(limits: Limits) -> Self {
        let around = Neighbours::start(limits);
        let actor = DirectoryActor::new(around.handles.clone(), Arc::clone(&around.fanouts), stand_in_room);
        Stage { around, directory: DirectoryHandle::of(&actor.start()), next_ticket: 1 }
    }

    fn reply_to(&mut self, member: &Member) -> ReplyTo {
        self.next_ticket += 1;
        ReplyTo { connection: member.connection, ticket: Ticket(self.next_ticket) }
    }

    async fn online(&mut self, name: &str) -> Member {
        let account = UserName::parse(name).expect("a name");
        let member = Member { account: account.clone(), connection: ConnectionId::fresh(IoThread(0)) };
        let grant = Box::new(SessionGrant {
            account,
            token: TokenText::new("t"),
            expires_in_seconds: 1,
            new: false,
            last_seen: None,
            greeting: String::new(),
        });
        let reply_to = self.reply_to(&member);
        self.directory.do_send(Online { member: member.clone(), reply_to, grant });
        assert_eq!(self.around.fanout.next::<SessionAccepted>().await.reply_to, reply_to);
        member
    }

    fn join(&mut self, member: &Member, room: &str) -> ReplyTo {
        let (member, reply_to) = (member.clone(), self.reply_to(member));
        let room = RoomName::parse(room).expect("a name");
        self.directory.do_send(Join { member, room, page: Page::Newest, reset: false, limit: 5, reply_to });
        reply_to
    }

    fn tell(&mut self, member: &Member, to: &str, text: &str) -> ReplyTo {
        let reply_to = self.reply_to(member);
        let (to, text) = (UserName::parse(to).expect("a name"), MessageText::parse(text).expect("a text"));
        self.directory.do_send(Tell {
            member: member.clone(),
            visible_from: None,
            to,
            text,
            key: None,
            reply_to,
        });
        reply_to
    }
}

fn run(story: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(story);
}

#[test]
fn a_room_is_made_once_and_not_more_of_them_than_there_may_be() {
    run(async {
        let mut stage = Stage::new(Limits { rooms: 2, ..Limits::default() });
        let alice = stage.online("alice").await;
        let asked = [stage.join(&alice, "lobby"), stage.join(&alice, "tea"), stage.join(&alice, "tea")];
        let third = stage.join(&alice, "coffee");
        let refused = stage.around.fanout.next::<Answer>().await;
        assert_eq!(refused.reply_to, third);
        let Reply::Refused(refusal) = refused.reply else { panic!("{:?}", refused.reply) };
        assert_eq!(refusal.code, ErrorCode::RateLimited);
        assert!(refusal.retry_after_ms.is_some());
        let [(lobby, in_lobby), (tea, in_tea)] = &rooms()[..] else { panic!("two rooms") };
        assert_eq!([lobby.as_str(), tea.as_str()], ["lobby", "tea"]);
        assert_eq!(in_lobby.next::<Join>().await.reply_to, asked[0]);
        assert_eq!(in_tea.next::<Join>().await.reply_to, asked[1]);
        assert_eq!(in_tea.next::<Join>().await.reply_to, asked[2]);
    });
}

#[test]
fn direct_messages_go_on_in_their_order_whoever_is_looked_up_first() {
    run(async {
        let mut stage = Stage::new(Limits::default());
        let alice = stage.online("alice").await;
        let (found, is_found) = oneshot::channel::<()>();
        let mut is_found = Some(is_found);
        stage.around.auth.answers(move |LookUp { name }: LookUp| {
            let waits = if name.as_str() == "slow" { is_found.take() } else { None };
            async move {
                if let Some(waits) = waits {
                    let _ = waits.await;
                }
                (name.as_str() != "nobody").then_some(AccountInfo { name, visible_from: MessageId::new(7) })
            }
        });
        stage.around.journal.next::<Subscribe>().await;
        stage.tell(&alice, "slow", "one");
        let to_nobody = stage.tell(&alice, "nobody", "two");
        stage.tell(&alice, "quick", "three");
        // Two questions behind them: what is looked up at once has been by then.
        for _ in 0..2 {
            assert_eq!(stage.directory.send(AskOnline).await.expect("it is there").len(), 1);
        }
        assert_eq!(
            (stage.around.journal.unseen(), stage.around.fanout.unseen()),
            (0, 0),
            "all wait for the first"
        );
        let _ = found.send(());
        let first = stage.around.journal.next::<Append>().await;
        assert_eq!(first.draft.kind.text().as_str(), "one");
        assert_eq!(first.draft.visible_from, MessageId::new(7), "the later of the two accounts' beginnings");
        assert_eq!(stage.around.journal.next::<Append>().await.draft.kind.text().as_str(), "three");
        let answer = stage.around.fanout.next::<Answer>().await;
        assert_eq!(answer.reply_to, to_nobody);
        assert_eq!(answer.reply, Reply::Refused(ErrorCode::NoSuchAccount.into()));
        stage.directory.send(Flush).await.expect("nothing is left to pass on");
    });
}

#[test]
fn a_stored_direct_message_reaches_both_accounts_but_not_the_connection_that_sent_it() {
    run(async {
        let mut stage = Stage::new(Limits::default());
        let (desk, phone, bob) =
            (stage.online("alice").await, stage.online("alice").await, stage.online("bob").await);
        stage.online("carl").await;
        let reply_to = stage.reply_to(&desk);
        let message = StoredMessage {
            id: MessageId::new(3).expect("not zero"),
            prev: None,
            at: Timestamp::from_millis(0),
            target: Target::Account(bob.account.clone()),
            from: desk.account.clone(),
            kind: MessageKind::Text(MessageText::parse("psst").expect("a text")),
            key: None,
        };
        let requester = Some(Requester::Session(reply_to));
        let outcome = CommitOutcome::Stored(message.clone());
        stage.directory.do_send(Committed { results: vec![CommitResult { requester, outcome }] });
        let unicast = stage.around.fanout.next::<Unicast>().await;
        assert_eq!(
            (&*unicast.connections, &unicast.message),
            (&[phone.connection, bob.connection][..], &message)
        );
        let answer = stage.around.fanout.next::<Answer>().await;
        assert_eq!((answer.reply_to, answer.reply), (reply_to, Reply::Receipt(message.receipt())));
        // Of another server, nobody here waits for it.
        let outcome = CommitOutcome::Stored(message);
        stage.directory.do_send(Committed { results: vec![CommitResult { requester: None, outcome }] });
        assert_eq!(stage.around.fanout.next::<Unicast>().await.connections.len(), 3);
        assert_eq!(stage.around.fanout.unseen(), 0);
    });
}

#[test]
fn the_operator_speaks_only_in_rooms_that_people_have_made() {
    run(async {
        let mut stage = Stage::new(Limits::default());
        let alice = stage.online("alice").await;
        stage.join(&alice, "tea-room");
        stage
            .directory
            .do_send(RoomCount { room: RoomName::parse("tea-room").expect("a name"), accounts: 1 });
        stage
            .around
            .journal
            .answers(|_: ReadPage| async { Ok(PageAnswer { page: MessagePage::default(), newest: None }) });
        let say = |room: &str| SayAsServer {
            room: RoomName::parse(room).expect("a name"),
            text: MessageText::parse("closing time").expect("a text"),
        };
        let refused = stage.directory.send(say("tea-rom")).await.expect("it is there");
        let nearest = Some(RoomName::parse("tea-room").expect("a name"));
        assert_eq!(refused, Err(SayError::NoSuchRoom { nearest }));

        let said = stage.directory.send(say("tea-room"));
        let (said, ()) = tokio::join!(said, async {
            let (_, tea_room) = rooms().into_iter().next().expect("it was made");
            let asked = tea_room.next_of::<SayByOperator>().await;
            let outcome = Err(ErrorCode::StorageUnavailable.into());
            stage.directory.do_send(OperatorSaid { ticket: asked.ticket, outcome });
        });
        assert_eq!(said.expect("it is there"), Err(SayError::Refused(ErrorCode::StorageUnavailable.into())));
    });
}

#[test]
fn it_can_be_observed() {
    run(async {
        let mut stage = Stage::new(Limits::default());
        let alice = stage.online("alice").await;
        stage.online("bob").await;
        stage.join(&alice, "tea");
        let tea = RoomName::parse("tea").expect("a name");
        stage.directory.do_send(RoomCount { room: tea, accounts: 1 });
        let seen = stage.directory.send(Observe::now()).await.expect("the directory is there").state;
        assert_eq!((seen.accounts_online, seen.sessions_online), (2, 2));
        assert_eq!(
            (seen.rooms_open, seen.rooms_occupied, seen.rooms_retiring),
            (1, 2, 0),
            "the lobby is listed"
        );
        stage.directory.do_send(Offline { member: alice });
        let seen = stage.directory.send(Observe::now()).await.expect("the directory is there").state;
        assert_eq!((seen.accounts_online, seen.accounts_with_rates), (1, 2), "rates stay for a while");
    });
}
