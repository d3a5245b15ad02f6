//! A room over a real journal on every log that there is, with stand-ins for the fan-out and the directory.

use std::sync::Arc;

use super::*;
use crate::actors::messages::observe::Observe;
use crate::actors::messages::stand_in::Neighbours;
use crate::actors::test_rig::journal_on;
use crate::config::Limits;
use crate::model::{IoThread, Member, Ticket};
use crate::store::log_rig::{CsvRig, LogRig};
use crate::store::memory_log::MemoryStore;

/// A room, and who is around it.
struct Stage {
    around: Neighbours,
    room: RoomWays,
    next_ticket: u64,
}

/// Runs a story with a room over each log.
fn on_every_log(limits: &Limits, story: impl AsyncFn(Stage)) {
    fn stage(rig: &impl LogRig, limits: &Limits) -> Stage {
        let mut around = Neighbours::start(limits.clone());
        around.handles.journal = journal_on(rig.open(), &around.handles);
        let (handles, fanouts) = (around.handles.clone(), Arc::clone(&around.fanouts));
        let room = ChatRoomActor::begin(RoomId(1), RoomName::lobby(), handles, fanouts);
        Stage { around, room, next_ticket: 1 }
    }
    actix_rt::System::new().block_on(async {
        let csv = CsvRig::<true>::new(1);
        story(stage(&csv, limits)).await;
        let memory = MemoryStore::new(1);
        story(stage(&memory, limits)).await;
    });
}

impl Stage {
    fn reply_to(&mut self, member: &Member) -> ReplyTo {
        self.next_ticket += 1;
        ReplyTo { connection: member.connection, ticket: Ticket(self.next_ticket) }
    }

    async fn join(&mut self, member: &Member, page: Page) -> JoinAccepted {
        let reply_to = self.reply_to(member);
        let room = RoomName::lobby();
        self.room.do_send(Join { member: member.clone(), room, page, reset: false, limit: 50, reply_to });
        let accepted = self.around.fanout.next::<JoinAccepted>().await;
        assert_eq!(accepted.reply_to, reply_to);
        accepted
    }

    fn say(&mut self, member: &Member, text: &str) -> ReplyTo {
        let reply_to = self.reply_to(member);
        let text = MessageText::parse(text).expect("a text");
        self.room.do_send(Say { member: member.clone(), visible_from: None, text, key: None, reply_to });
        reply_to
    }

    /// What the fan-out was given of the next `count` messages, in whichever batches.
    async fn delivered(&self, count: usize) -> (Vec<String>, Vec<AuthorReceipt>) {
        let (mut texts, mut receipts) = (Vec::new(), Vec::new());
        while texts.len() < count {
            let batch = self.around.fanout.next::<Deliver>().await;
            texts.extend(batch.messages.iter().map(|message| message.text().as_str().to_owned()));
            receipts.extend(batch.receipts.iter().cloned());
        }
        (texts, receipts)
    }
}

fn member(name: &str) -> Member {
    let account = UserName::parse(name).expect("a name");
    Member { account, connection: ConnectionId::fresh(IoThread(0)) }
}

#[test]
fn what_is_said_comes_back_stored_in_one_order_with_a_receipt_for_its_author() {
    on_every_log(&Limits::default(), async |mut stage: Stage| {
        let (alice, bob) = (member("alice"), member("bob"));
        let first = stage.join(&alice, Page::Newest).await;
        assert_eq!((first.members, first.page.messages.len(), first.page.more), (1, 0, false));
        assert_eq!(stage.join(&bob, Page::Newest).await.members, 2);
        let asked = [stage.say(&alice, "one"), stage.say(&bob, "two"), stage.say(&alice, "three")];
        let (texts, receipts) = stage.delivered(3).await;
        assert_eq!(texts, ["one", "two", "three"]);
        assert_eq!(receipts.iter().map(|of| of.reply_to).collect::<Vec<_>>(), asked);
        let stored: Vec<_> = receipts.iter().map(|of| *of.outcome.as_ref().expect("stored")).collect();
        assert!(stored[0].prev.is_none());
        assert_eq!([stored[1].prev, stored[2].prev], [Some(stored[0].id), Some(stored[1].id)]);
        assert!(receipts.iter().all(|of| of.own.is_some()), "each is spared its own");
    });
}

#[test]
fn a_page_ends_where_the_events_begin() {
    on_every_log(&Limits { room_window_messages: 2, ..Limits::default() }, async |mut stage: Stage| {
        let alice = member("alice");
        stage.join(&alice, Page::Newest).await;
        let said: Vec<String> = (0..7).map(|n| format!("message {n}")).collect();
        for text in &said {
            stage.say(&alice, text);
        }
        let (texts, receipts) = stage.delivered(7).await;
        assert_eq!(texts, said);
        let id = |index: usize| receipts[index].outcome.as_ref().expect("stored").id;
        // From memory, from the disk, and from both.
        for after in [None, Some(id(1)), Some(id(5)), Some(id(6))] {
            let accepted = stage.join(&member("bob"), Page::After(after)).await;
            let listed: Vec<_> = accepted.page.messages.iter().map(|message| message.id).collect();
            let expected: Vec<_> = (0..7).map(id).filter(|id| Some(*id) > after).collect();
            assert_eq!((listed, accepted.page.more), (expected, false));
            assert_eq!(accepted.events_begin_behind, Some(id(6)));
        }
        let newest = stage.join(&member("carl"), Page::Newest).await;
        assert_eq!(newest.page.messages.len(), 7);
    });
}

#[test]
fn whoever_is_not_in_says_nothing_and_an_empty_room_retires() {
    on_every_log(&Limits::default(), async |mut stage: Stage| {
        let alice = member("alice");
        let stranger = stage.say(&alice, "from the outside");
        let answer = stage.around.fanout.next::<Answer>().await;
        assert_eq!(answer.reply_to, stranger);
        assert_eq!(answer.reply, Reply::Refused(ErrorCode::NotInRoom.into()));

        stage.join(&alice, Page::Newest).await;
        let count = stage.around.directory.next::<RoomCount>().await;
        assert_eq!(count.accounts, 1);
        assert!(!stage.room.send(Retire).await.expect("it is there"), "somebody is in it");
        let list = ListMembers { after: None, limit: 5 };
        assert_eq!(stage.room.send(list).await.expect("it is there"), (vec![alice.account.clone()], false));

        let ticket = Ticket(99);
        stage.room.do_send(Leave { connection: alice.connection, request: Some(ticket) });
        let left = stage.around.fanout.next::<LeaveAccepted>().await;
        assert_eq!((left.connection, left.request), (alice.connection, Some(ticket)));
        assert_eq!(stage.around.directory.next::<RoomCount>().await.accounts, 0);
        assert!(stage.room.send(Retire).await.expect("it answers before it ends"));
    });
}

#[test]
fn a_message_of_the_operators_goes_to_the_members_and_its_receipt_to_the_directory() {
    on_every_log(&Limits::default(), async |mut stage: Stage| {
        stage.join(&member("alice"), Page::Newest).await;
        stage.around.directory.next::<RoomCount>().await;
        let text = MessageText::parse("from the operator").expect("a text");
        stage.room.do_send(SayByOperator { text, ticket: Ticket(5) });
        let batch = stage.around.fanout.next::<Deliver>().await;
        assert_eq!(batch.messages[0].from, UserName::server());
        assert!(batch.receipts.is_empty(), "nobody of the room asked for it");
        let said = stage.around.directory.next::<OperatorSaid>().await;
        assert_eq!(said.ticket, Ticket(5));
        assert_eq!(said.outcome, Ok(batch.messages[0].receipt()));
    });
}

#[test]
fn it_can_be_observed() {
    on_every_log(&Limits::default(), async |mut stage: Stage| {
        let alice = member("alice");
        stage.join(&alice, Page::Newest).await;
        stage.say(&alice, "one");
        stage.delivered(1).await;
        let seen = stage.room.send(Observe::now()).await.expect("the room is there").state;
        assert_eq!((seen.name.as_str(), seen.accounts, &seen.connections[..1]), ("lobby", 1, &[1][..]));
        assert_eq!((seen.recent_messages, seen.joins_waiting, seen.messages_at_journal), (1, 0, 0));
    });
}
