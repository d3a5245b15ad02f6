//! The journal on every log that there is, with stand-ins for the rooms and the directory.

use std::future::Future;

use actix::Addr;

use super::*;
use crate::actors::messages::journal::{
    CommitResult, Committed, JournalHandle, ReadPage, Requester, Subscriber,
};
use crate::actors::messages::stand_in::StandIn;
use crate::actors::panic_watch::PanicWatch;
use crate::model::{
    MessageKey, MessageKind, MessageList, MessageText, Page, PageQuery, Receipt, RoomId, RoomName, Target,
    Ticket, UserName,
};
use crate::store::log_rig::{CsvRig, LogRig};
use crate::store::memory_log::MemoryStore;

const TEA: Subscriber = Subscriber::Room(RoomId(1));
const COFFEE: Subscriber = Subscriber::Room(RoomId(2));

/// A journal, and who takes what it tells.
struct Stage<R> {
    rig: R,
    journal: JournalHandle,
    tea: StandIn,
    coffee: StandIn,
    direct: StandIn,
}

impl<R: LogRig> Stage<R> {
    fn new() -> Self {
        Self::over(R::new(7), Config::default())
    }

    fn over(rig: R, config: Config) -> Self {
        let critical = PanicWatch::new().0.of("the journal");
        let journal = JournalActor::new(Arc::new(config), rig.open(), Arc::default(), critical).start();
        let journal = JournalHandle::of(&journal);
        let ((tea, to_tea), (coffee, to_coffee)) = (StandIn::start_new(), StandIn::start_new());
        let (direct, to_direct) = StandIn::start_new();
        journal.do_send(subscribe(TEA, Some("tea"), Some(&to_tea)));
        journal.do_send(subscribe(COFFEE, Some("coffee"), Some(&to_coffee)));
        journal.do_send(subscribe(Subscriber::Direct, None, Some(&to_direct)));
        Stage { rig, journal, tea, coffee, direct }
    }

    /// Says something for which nobody but this ticket waits.
    fn say(&self, ticket: u64, route: Subscriber, text: &str, key: Option<&str>) {
        let draft = draft(route, text, key);
        self.journal.do_send(Append { route, requester: requester(ticket), visible_from: None, draft });
    }

    async fn status(&self) -> JournalSnapshot {
        self.journal.send(Observe::now()).await.expect("the journal is there").state
    }
}

fn subscribe(route: Subscriber, room: Option<&str>, to: Option<&Addr<StandIn>>) -> Subscribe {
    let room = room.map(|name| RoomName::parse(name).expect("a name"));
    Subscribe { route, room, to: to.map(|to| to.clone().recipient()) }
}

fn draft(route: Subscriber, text: &str, key: Option<&str>) -> Draft {
    let room = |name| Target::Room(RoomName::parse(name).expect("a name"));
    let target = match route {
        TEA => room("tea"),
        COFFEE => room("coffee"),
        _ => Target::Account(UserName::parse("bob").expect("a name")),
    };
    Draft {
        target,
        from: UserName::parse("alice").expect("a name"),
        kind: MessageKind::Text(MessageText::parse(text).expect("a text")),
        key: key.map(|key| MessageKey::parse(key).expect("a key")),
        visible_from: None,
    }
}

/// Tickets are all that tells them apart here.
fn requester(ticket: u64) -> Requester {
    Requester::Operator(Ticket(ticket))
}

/// The next so many results, in whichever portions they come.
async fn results(room: &StandIn, count: usize) -> Vec<CommitResult> {
    let mut results = Vec::new();
    while results.len() < count {
        results.extend(room.next::<Committed>().await.results);
    }
    assert_eq!(results.len(), count);
    results
}

fn tickets(results: &[CommitResult]) -> Vec<Option<Requester>> {
    results.iter().map(|result| result.requester).collect()
}

fn stored(result: &CommitResult) -> &StoredMessage {
    match &result.outcome {
        CommitOutcome::Stored(message) => message,
        other => panic!("not stored: {other:?}"),
    }
}

fn duplicate(result: &CommitResult) -> Receipt {
    match &result.outcome {
        CommitOutcome::Duplicate(receipt) => *receipt,
        other => panic!("no duplicate: {other:?}"),
    }
}

fn refused(result: &CommitResult) -> &Refusal {
    match &result.outcome {
        CommitOutcome::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn newest_of(room: &str, limit: usize) -> ReadPage {
    let list = MessageList::Room(RoomName::parse(room).expect("a name"));
    ReadPage(PageQuery { list, page: Page::Newest, limit, visible_from: None, up_to: None })
}

fn in_a_system(test: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(test);
}

async fn each_route_gets_its_own_in_order<R: LogRig>() {
    let stage = Stage::<R>::new();
    for (ticket, route) in [TEA, COFFEE, TEA, Subscriber::Direct, TEA, COFFEE].into_iter().enumerate() {
        stage.say(ticket as u64, route, &format!("text {ticket}"), None);
    }
    let mut ids = Vec::new();
    for (room, own) in [(&stage.tea, &[0, 2, 4][..]), (&stage.coffee, &[1, 5]), (&stage.direct, &[3])] {
        let results = results(room, own.len()).await;
        let expected: Vec<_> = own.iter().map(|ticket| Some(requester(*ticket))).collect();
        assert_eq!(tickets(&results), expected);
        let mut before = None;
        for (result, ticket) in results.iter().zip(own) {
            let message = stored(result);
            assert_eq!(message.text().as_str(), format!("text {ticket}"));
            assert_eq!(message.prev, before);
            before = Some(message.id);
            ids.push((*ticket, message.id));
        }
    }
    ids.sort();
    assert!(ids.is_sorted_by_key(|(_, id)| *id), "the order is that in which they came: {ids:?}");
    let read = stage.journal.send(newest_of("tea", 2)).await.expect("it is there").expect("it can be read");
    assert_eq!((read.page.messages.len(), read.page.more, read.newest), (2, true, Some(ids[4].1)));
    assert_eq!(stage.status().await.messages, 6);
}

async fn a_duplicate_is_stored_once<R: LogRig>() {
    let stage = Stage::<R>::new();
    // The second comes while the first is on its way, the third says something else.
    for (ticket, text) in [(1, "hi"), (2, "hi"), (3, "ho")] {
        stage.say(ticket, TEA, text, Some("k"));
    }
    let refusal = results(&stage.tea, 1).await;
    assert_eq!(tickets(&refusal), [Some(requester(3))]);
    assert_eq!(refused(&refusal[0]).code, ErrorCode::BadRequest);
    let both = results(&stage.tea, 2).await;
    assert_eq!(tickets(&both), [Some(requester(2)), Some(requester(1))]);
    let receipt = stored(&both[1]).receipt();
    assert_eq!(duplicate(&both[0]), receipt);
    stage.say(4, TEA, "hi", Some("k"));
    assert_eq!(duplicate(&results(&stage.tea, 1).await[0]), receipt, "after it was stored");
    // Another start finds it in the log.
    stage.journal.send(Drain).await.expect("it is there");
    let again = Stage::over(stage.rig, Config::default());
    again.say(5, TEA, "hi", Some("k"));
    assert_eq!(duplicate(&results(&again.tea, 1).await[0]), receipt, "after a start");
    assert_eq!(again.status().await.messages, 1);
}

async fn what_cannot_be_stored_is_refused_and_may_be_said_again<R: LogRig>() {
    let stage = Stage::<R>::new();
    stage.rig.set_refusing(true);
    for ticket in [1, 2] {
        stage.say(ticket, TEA, "hi", Some("k"));
    }
    stage.say(3, COFFEE, "hi", None);
    for (room, count) in [(&stage.tea, 2), (&stage.coffee, 1)] {
        for result in results(room, count).await {
            let refusal = refused(&result);
            assert_eq!(refusal.code, ErrorCode::StorageUnavailable);
            assert_eq!(*refusal, retry(ErrorCode::StorageUnavailable, RETRY_STORAGE_MS));
        }
    }
    assert!(stage.status().await.fault.is_some());
    stage.rig.set_refusing(false);
    stage.say(4, TEA, "another text", Some("k"));
    assert_eq!(stored(&results(&stage.tea, 1).await[0]).prev, None, "nobody has seen the first");
    let status = stage.status().await;
    assert_eq!((status.fault, status.messages, status.waiting), (None, 1, 0));
    assert_eq!((status.stored, status.refused), (1, 2), "a duplicate is none of its own");
}

async fn a_drain_stores_what_was_accepted_and_takes_nothing_more<R: LogRig>() {
    let stage = Stage::<R>::new();
    (0..40).for_each(|ticket| stage.say(ticket, TEA, "hi", None));
    let drained = stage.journal.send(Drain);
    let drained_again = stage.journal.send(Drain);
    stage.say(99, COFFEE, "too late", None);
    drained.await.expect("it is there");
    drained_again.await.expect("it is there");
    assert!(results(&stage.tea, 40).await.iter().all(|result| stored(result).prev < Some(stored(result).id)));
    assert_eq!(refused(&results(&stage.coffee, 1).await[0]).code, ErrorCode::ShuttingDown);
    assert_eq!(stage.rig.open().messages(), 40);
}

async fn a_route_that_is_gone_holds_up_nobody<R: LogRig>() {
    let stage = Stage::<R>::new();
    stage.say(1, TEA, "hi", None);
    stage.journal.do_send(subscribe(TEA, Some("tea"), None));
    stage.say(2, COFFEE, "hi", None);
    assert_eq!(tickets(&results(&stage.coffee, 1).await), [Some(requester(2))]);
    stage.journal.send(CatchUp).await.expect("it is there");
    assert_eq!((stage.tea.unseen(), stage.status().await.messages), (0, 2), "stored all the same");
}

macro_rules! on_every_log {
    ($($log:ident: $rig:ty;)*) => {$(
        mod $log {
            use super::*;

            #[test]
            fn each_route_gets_its_own_in_order() {
                in_a_system(super::each_route_gets_its_own_in_order::<$rig>());
            }

            #[test]
            fn a_duplicate_is_stored_once() {
                in_a_system(super::a_duplicate_is_stored_once::<$rig>());
            }

            #[test]
            fn what_cannot_be_stored_is_refused_and_may_be_said_again() {
                in_a_system(super::what_cannot_be_stored_is_refused_and_may_be_said_again::<$rig>());
            }

            #[test]
            fn a_drain_stores_what_was_accepted_and_takes_nothing_more() {
                in_a_system(super::a_drain_stores_what_was_accepted_and_takes_nothing_more::<$rig>());
            }

            #[test]
            fn a_route_that_is_gone_holds_up_nobody() {
                in_a_system(super::a_route_that_is_gone_holds_up_nobody::<$rig>());
            }
        }
    )*};
}

on_every_log! {
    csv_on_the_spot: CsvRig<false>;
    csv_by_a_thread: CsvRig<true>;
    memory: MemoryStore;
}

#[test]
fn what_arrives_together_goes_back_together() {
    in_a_system(async {
        let stage = Stage::<CsvRig<false>>::new();
        (0..3).for_each(|ticket| stage.say(ticket, TEA, "hi", None));
        let together = stage.tea.next::<Committed>().await;
        assert_eq!(tickets(&together.results), [0, 1, 2].map(|ticket| Some(requester(ticket))));
    });
}

#[test]
fn ids_that_come_late_keep_nobody_from_being_told_what_is_known() {
    in_a_system(async {
        let mut config = Config::default();
        config.limits.journal_queue_messages = 4;
        let stage = Stage::over(MemoryStore::new(3), config);
        stage.rig.hold();
        // Sixteen are under way at most, and four wait.
        let mut waits = 0;
        while stage.status().await.waiting < 20 {
            stage.say(waits, TEA, "hi", None);
            waits += 1;
        }
        stage.say(99, COFFEE, "one too many", None);
        let full = results(&stage.coffee, 1).await;
        assert_eq!(*refused(&full[0]), retry(ErrorCode::RateLimited, RETRY_QUEUE_MS));
        let caught_up = stage.journal.send(CatchUp);
        stage.rig.acknowledge(2);
        assert_eq!(tickets(&results(&stage.tea, 2).await), [0, 1].map(|ticket| Some(requester(ticket))));
        stage.rig.acknowledge(18);
        let late = results(&stage.tea, 18).await;
        assert!(late.windows(2).any(|two| stored(&two[1]).id.get() > stored(&two[0]).id.get() + 1), "gaps");
        caught_up.await.expect("it is there");
    });
}

#[test]
fn to_catch_up_is_to_wait_for_what_came_before_alone() {
    in_a_system(async {
        let stage = Stage::<MemoryStore>::new();
        stage.journal.send(CatchUp).await.expect("nothing is under way");
        stage.rig.hold();
        stage.say(1, TEA, "before", None);
        let caught_up = stage.journal.send(CatchUp);
        stage.say(2, TEA, "behind", None);
        assert_eq!((stage.status().await.waiting, stage.tea.unseen()), (2, 0));
        stage.rig.acknowledge(1);
        caught_up.await.expect("it is there");
        assert_eq!(tickets(&results(&stage.tea, 1).await), [Some(requester(1))]);
        assert_eq!(stage.status().await.waiting, 1);
    });
}

#[test]
fn what_another_server_stores_is_delivered_and_acknowledged_to_nobody() {
    in_a_system(async {
        let stage = Stage::<MemoryStore>::new();
        stage.rig.replicate(draft(TEA, "from afar", Some("k")));
        let heard = results(&stage.tea, 1).await;
        assert_eq!((heard[0].requester, stored(&heard[0]).text().as_str()), (None, "from afar"));
        stage.rig.replicate(draft(Subscriber::Direct, "to bob", None));
        assert_eq!(tickets(&results(&stage.direct, 1).await), [None]);
        // Its sender has come over here, and does not know that it was stored.
        stage.say(1, TEA, "from afar", Some("k"));
        assert_eq!(duplicate(&results(&stage.tea, 1).await[0]), stored(&heard[0]).receipt());
        // The room's next life has its name; the end of the one before comes late.
        let (next, to_next) = StandIn::start_new();
        stage.journal.do_send(subscribe(Subscriber::Room(RoomId(3)), Some("tea"), Some(&to_next)));
        stage.journal.do_send(subscribe(TEA, Some("tea"), None));
        stage.status().await;
        stage.rig.replicate(draft(TEA, "to those who are there now", None));
        assert_eq!(tickets(&results(&next, 1).await), [None]);
        assert_eq!(stage.tea.unseen(), 0);
    });
}

#[test]
fn a_fault_that_nobody_has_met_yet_is_seen() {
    in_a_system(async {
        let stage = Stage::<MemoryStore>::new();
        assert_eq!(stage.status().await.fault, None);
        stage.rig.set_fault(Some(LogFault::Unavailable("no leader".into())));
        assert_eq!(stage.status().await.fault.as_deref(), Some("no leader"));
    });
}
