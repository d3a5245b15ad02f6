//! What every log promises, whoever keeps it: one suite, and each implementation passes it.
//!
//! A log is driven through random schedules beside a model, which is a plain list of what the log said it has
//! stored. Another implementation joins by a [`LogRig`] and a line at the end.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;

use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::log::{LogEvent, LogFault, LogTail, MessageLog, PlannedPage, RefusedDraft};
use super::log_rig::{CsvRig, LogRig};
use super::memory_log::{MemoryStore, is_in, page_of};
use crate::model::{
    Draft, MAX_MESSAGE_ID, MessageId, MessageKey, MessageKind, MessageList, MessagePage, MessageText, Page,
    PageQuery, RoomName, StoredMessage, Target, UserName,
};

/// A log, and what is known of it.
struct World<R> {
    rig: R,
    log: Box<dyn MessageLog>,
    runtime: Runtime,
    /// What waits to be appended, and what was.
    queue: VecDeque<Draft>,
    under_way: VecDeque<Draft>,
    /// For each sync that was not told of, how many drafts were under way, and how many of them are told of.
    syncs: VecDeque<usize>,
    told: usize,
    stored: Vec<StoredMessage>,
    used: Option<MessageId>,
    /// Pages that are planned and not read, and what has to be in them.
    planned: Vec<(Box<dyn PlannedPage>, MessagePage)>,
}

impl<R: LogRig> World<R> {
    fn new(seed: u64) -> Self {
        let rig = R::new(seed);
        let mut log = rig.open();
        assert_eq!(log.tail(), LogTail::default(), "it is empty");
        World {
            rig,
            log,
            runtime: tokio::runtime::Builder::new_current_thread().build().expect("a runtime"),
            queue: VecDeque::new(),
            under_way: VecDeque::new(),
            syncs: VecDeque::new(),
            told: 0,
            stored: Vec::new(),
            used: None,
            planned: Vec::new(),
        }
    }

    fn append(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        let (ready, before) = (self.log.is_ready(), self.queue.clone());
        self.log.append(&mut self.queue);
        let taken = before.len() - self.queue.len();
        assert_eq!(ready, taken > 0, "it takes something when it is ready, and only then");
        assert!(before.range(taken..).eq(&self.queue), "from the front");
        self.under_way.extend(before.into_iter().take(taken));
    }

    /// Hears what there is to hear now.
    fn hear_now(&mut self) {
        while let Poll::Ready(event) =
            self.runtime.block_on(poll_fn(|task| Poll::Ready(self.log.poll_event(task))))
        {
            self.hear(event);
        }
    }

    /// Appends all that waits, and hears of all of it.
    fn settle(&mut self) {
        loop {
            self.append();
            if self.under_way.is_empty() && self.syncs.is_empty() {
                return self.hear_now();
            }
            let event = self.runtime.block_on(poll_fn(|task| self.log.poll_event(task)));
            self.hear(event);
        }
    }

    fn hear(&mut self, event: LogEvent) {
        match event {
            LogEvent::Committed(messages) => {
                assert!(!messages.is_empty());
                for message in messages {
                    let draft = self.next_under_way();
                    self.found(&draft, message);
                }
            }
            LogEvent::Refused { drafts, why } => {
                assert!(!drafts.is_empty() && !why.to_string().is_empty());
                for refused in drafts {
                    let draft = self.next_under_way();
                    assert_eq!(refused, RefusedDraft { from: draft.from, key: draft.key });
                }
            }
            LogEvent::Synced(result) => {
                let before = self.syncs.pop_front().expect("it was asked for");
                assert!(self.told >= before, "what was appended before it was told of before");
                assert_eq!(result, Ok(()));
            }
            LogEvent::Notice(notice) => panic!("nothing strange has happened: {notice}"),
            LogEvent::Replicated(messages) => panic!("there is nobody else: {messages:?}"),
        }
    }

    fn next_under_way(&mut self) -> Draft {
        self.told += 1;
        self.under_way.pop_front().expect("it was appended and not told of")
    }

    /// A draft has become this message.
    fn found(&mut self, draft: &Draft, message: StoredMessage) {
        let list = MessageList::of(&draft.target, &draft.from);
        let before = self.stored.iter().rfind(|message| is_in(message, &list)).map(|message| message.id);
        let expected = StoredMessage {
            id: message.id,
            at: message.at,
            prev: before.filter(|id| Some(*id) > draft.visible_from),
            target: draft.target.clone(),
            from: draft.from.clone(),
            kind: draft.kind.clone(),
            key: draft.key.clone(),
        };
        assert_eq!(message, expected);
        assert!(Some(message.id) > self.used, "{} was used", message.id);
        self.used = Some(message.id);
        self.stored.push(message);
        assert!(self.log.newest(&list) >= self.used, "an event is told of when it is in the lists");
    }

    fn reopen(&mut self) {
        self.rig.set_refusing(false);
        self.settle();
        // Before the next one is opened: there is one writer.
        self.log = Box::new(MemoryStore::new(0).open());
        self.log = self.rig.open();
        let tail = self.log.tail();
        let keyed: Vec<_> = self.stored.iter().filter(|message| message.key.is_some()).cloned().collect();
        assert_eq!(tail.recent_keyed, keyed);
        assert!(tail.used >= self.used);
        self.used = tail.used;
    }

    /// Whether the log shows what it has told of, and nothing else.
    fn check(&mut self, asked: &[Asked]) {
        assert_eq!(self.log.messages(), self.stored.len() as u64);
        for list in lists() {
            let newest = self.stored.iter().rfind(|message| is_in(message, &list)).map(|message| message.id);
            assert_eq!(self.log.newest(&list), newest, "{list:?}");
            for asked in asked {
                let query = asked.query(list.clone(), &self.stored);
                let read = self.log.plan(&query).read().expect("it can be read");
                assert_eq!(read.page, page_of(&self.stored, &query), "{query:?}");
                assert!(read.damage.is_empty() && read.go_on.is_none());
            }
        }
        for (planned, expected) in self.planned.drain(..) {
            assert_eq!(planned.read().expect("it can be read").page, expected, "as it was planned");
        }
        assert_eq!(self.log.check(), Ok(()));
    }

    fn carry_out(&mut self, step: Step) {
        match step {
            Step::Say(sayings) => {
                let ids: Vec<_> = self.stored.iter().map(|message| message.id).collect();
                self.queue.extend(sayings.into_iter().map(|said| said.draft(&ids)));
                self.append();
            }
            Step::Append => self.append(),
            Step::Hear => self.hear_now(),
            Step::Settle => self.settle(),
            Step::Sync => {
                self.syncs.push_back(self.told + self.under_way.len());
                self.log.sync();
            }
            Step::Refuse(refuses) => self.rig.set_refusing(refuses),
            Step::Plan(asked) => {
                for list in lists() {
                    let query = asked.query(list, &self.stored);
                    self.planned.push((self.log.plan(&query), page_of(&self.stored, &query)));
                }
            }
            Step::Reopen => self.reopen(),
        }
    }
}

/// Rooms and accounts, each.
const PEOPLE: usize = 3;

fn room(number: usize) -> RoomName {
    RoomName::parse(["coffee", "lobby", "tea"][number]).expect("a name")
}

fn user(number: usize) -> UserName {
    UserName::parse(["ann", "bob", "eve"][number]).expect("a name")
}

fn lists() -> Vec<MessageList> {
    let pairs = [(0, 0), (0, 1), (2, 1)].map(|(one, other)| MessageList::Pair(user(one), user(other)));
    let rooms = (0..PEOPLE).map(|number| MessageList::Room(room(number)));
    rooms.chain(pairs).chain((0..PEOPLE).map(|number| MessageList::Inbox(user(number)))).collect()
}

/// What is said. Bounds are places among what is stored, since nobody knows ids beforehand.
#[derive(Debug, Clone)]
struct Said {
    from: usize,
    to: Result<usize, usize>,
    text: String,
    key: Option<u8>,
    visible_from: Option<prop::sample::Index>,
}

impl Said {
    fn draft(self, stored: &[MessageId]) -> Draft {
        Draft {
            target: self.to.map_or_else(|to| Target::Account(user(to)), |to| Target::Room(room(to))),
            from: user(self.from),
            kind: MessageKind::Text(MessageText::parse(&self.text).expect("a text")),
            key: self.key.and_then(|key| MessageKey::parse(&format!("key {key}"))),
            visible_from: self.visible_from.and_then(|at| pick(at, stored)),
        }
    }
}

fn said() -> impl Strategy<Value = Said> {
    let to = prop_oneof![(0..PEOPLE).prop_map(Ok), (0..PEOPLE).prop_map(Err)];
    let text = prop_oneof![9 => "[a-z,\" ]{1,9}[a-z]", 1 => "[a-z]{2000}"];
    let bound = prop::option::weighted(0.2, any::<prop::sample::Index>());
    (0..PEOPLE, to, text, prop::option::of(any::<u8>()), bound)
        .prop_map(|(from, to, text, key, visible_from)| Said { from, to, text, key, visible_from })
}

fn pick(at: prop::sample::Index, ids: &[MessageId]) -> Option<MessageId> {
    if ids.is_empty() { None } else { Some(ids[at.index(ids.len())]) }
}

/// What a reader asks for.
#[derive(Debug, Clone, Copy)]
struct Asked {
    direction: u8,
    at: prop::sample::Index,
    limit: usize,
    visible_from: Option<prop::sample::Index>,
    up_to: Option<prop::sample::Index>,
}

impl Asked {
    fn query(&self, list: MessageList, stored: &[StoredMessage]) -> PageQuery {
        let ids: Vec<_> = stored.iter().map(|message| message.id).collect();
        let page = match self.direction {
            0 => Page::Newest,
            1 => Page::Before(pick(self.at, &ids)),
            2 => Page::After(pick(self.at, &ids)),
            _ => Page::After(None),
        };
        PageQuery {
            list,
            page,
            limit: self.limit,
            visible_from: self.visible_from.and_then(|at| pick(at, &ids)),
            up_to: self.up_to.and_then(|at| pick(at, &ids)),
        }
    }
}

fn asked() -> impl Strategy<Value = Asked> {
    let bound = || prop::option::weighted(0.3, any::<prop::sample::Index>());
    (0_u8..4, any::<prop::sample::Index>(), 0_usize..20, bound(), bound()).prop_map(
        |(direction, at, limit, visible_from, up_to)| Asked { direction, at, limit, visible_from, up_to },
    )
}

#[derive(Debug, Clone)]
enum Step {
    Say(Vec<Said>),
    Append,
    Hear,
    Settle,
    Sync,
    Refuse(bool),
    Plan(Asked),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => prop::collection::vec(said(), 1..12).prop_map(Step::Say),
        3 => Just(Step::Append),
        4 => Just(Step::Hear),
        2 => Just(Step::Settle),
        1 => Just(Step::Sync),
        1 => any::<bool>().prop_map(Step::Refuse),
        2 => asked().prop_map(Step::Plan),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

fn what_is_told_is_what_is_there<R: LogRig>(seed: u64, steps: Vec<Step>, asked: &[Asked]) {
    let mut world = World::<R>::new(seed);
    for step in steps {
        world.carry_out(step);
    }
    world.settle();
    world.rig.set_refusing(false);
    world.check(asked);
    world.reopen();
    world.check(asked);
}

fn draft(text: &str) -> Draft {
    Said { from: 0, to: Ok(1), text: text.into(), key: Some(1), visible_from: None }.draft(&[])
}

fn what_is_refused_leaves_nothing<R: LogRig>() {
    let mut world = World::<R>::new(7);
    world.queue.push_back(draft("before"));
    world.settle();
    world.rig.set_refusing(true);
    world.queue.extend(["one", "two"].map(draft));
    world.settle();
    assert_eq!(world.stored.len(), 1, "both were refused");
    world.rig.set_refusing(false);
    world.queue.push_back(draft("after"));
    world.settle();
    assert_eq!(world.stored[1].prev, Some(world.stored[0].id));
    world.reopen();
    world.check(&[]);
}

fn walking_by_pages_meets_every_message_once<R: LogRig>(sayings: Vec<Said>, limit: usize) {
    let mut world = World::<R>::new(11);
    world.queue.extend(sayings.into_iter().map(|said| said.draft(&[])));
    world.settle();
    for list in lists() {
        let query = |page| PageQuery { list: list.clone(), page, limit, visible_from: None, up_to: None };
        let expected = page_of(&world.stored, &PageQuery { limit: usize::MAX, ..query(Page::Newest) });
        let (mut forwards, mut backwards) = (Vec::new(), VecDeque::new());
        let mut page = Page::After(None);
        loop {
            let read = world.log.plan(&query(page)).read().expect("it can be read").page;
            forwards.extend(read.messages);
            page = Page::After(forwards.last().map(|message: &StoredMessage| message.id));
            if !read.more {
                break;
            }
        }
        let mut page = Page::Newest;
        loop {
            let read = world.log.plan(&query(page)).read().expect("it can be read").page;
            read.messages.into_iter().rev().for_each(|message| backwards.push_front(message));
            page = Page::Before(backwards.front().map(|message: &StoredMessage| message.id));
            if !read.more {
                break;
            }
        }
        assert_eq!(forwards, expected.messages);
        assert_eq!(backwards, expected.messages);
    }
}

// issue 8: two who write to each other at once had no message before the second one's
fn messages_that_cross_are_of_one_list<R: LogRig>() {
    let mut world = World::<R>::new(5);
    let said = |from, to| Said { from, to: Err(to), text: "hi".into(), key: None, visible_from: None };
    world.queue.extend([said(0, 1), said(1, 0), said(0, 1)].map(|said| said.draft(&[])));
    world.settle();
    let prevs: Vec<_> = world.stored.iter().map(|message| message.prev).collect();
    assert_eq!(prevs, [None, Some(world.stored[0].id), Some(world.stored[1].id)]);
}

macro_rules! every_log {
    ($($name:ident: $rig:ty;)*) => {$(
        mod $name {
            use super::*;

            proptest! {
                #![proptest_config(ProptestConfig::with_cases(64))]
                #[test]
                fn what_is_told_is_what_is_there(
                    seed in any::<u64>(),
                    steps in steps(),
                    asked in prop::collection::vec(asked(), 8),
                ) {
                    super::what_is_told_is_what_is_there::<$rig>(seed, steps, &asked);
                }

                #[test]
                fn walking_by_pages_meets_every_message_once(
                    sayings in prop::collection::vec(said(), 0..100),
                    limit in 1_usize..30,
                ) {
                    super::walking_by_pages_meets_every_message_once::<$rig>(sayings, limit);
                }
            }

            #[test]
            fn what_is_refused_leaves_nothing() {
                super::what_is_refused_leaves_nothing::<$rig>();
            }

            #[test]
            fn messages_that_cross_are_of_one_list() {
                super::messages_that_cross_are_of_one_list::<$rig>();
            }
        }
    )*};
}

every_log! {
    csv_on_the_spot: CsvRig<false>;
    csv_by_a_thread: CsvRig<true>;
    memory: MemoryStore;
}

// ---------------------------------------------------------------- what is the CSV log's own

#[test]
fn without_fsync_a_start_passes_over_the_ids_that_may_have_been_seen() {
    for (used, first) in [(None, 1), (MessageId::new(7), 8 + (1 << 20))] {
        let mut world = World::<CsvRig<false>>::new(1);
        world.log = Box::new(world.rig.open_above(used));
        world.queue.push_back(draft("hi"));
        world.settle();
        assert_eq!(world.stored[0].id.get(), first);
    }
    let mut world = World::<CsvRig<true>>::new(1);
    world.log = Box::new(world.rig.open_above(MessageId::new(7)));
    world.queue.push_back(draft("hi"));
    world.settle();
    assert_eq!(world.stored[0].id.get(), 8, "an account was made at the seventh, wherever that went");
}

#[test]
fn when_all_ids_are_used_it_says_so() {
    let mut world = World::<CsvRig<true>>::new(1);
    world.log = Box::new(world.rig.open_above(MessageId::new(MAX_MESSAGE_ID - 2)));
    world.queue.extend(["one", "two", "three", "four"].map(draft));
    world.append();
    while world.under_way.len() + world.queue.len() > 2 {
        let event = world.runtime.block_on(poll_fn(|task| world.log.poll_event(task)));
        world.hear(event);
    }
    assert_eq!(world.stored.last().map(|message| message.id.get()), Some(MAX_MESSAGE_ID));
    world.append();
    let event = world.runtime.block_on(poll_fn(|task| world.log.poll_event(task)));
    let is_so = matches!(&event, LogEvent::Refused { drafts, why: LogFault::IdsUsedUp } if drafts.len() == 2);
    assert!(is_so, "{event:?}");
}

// ---------------------------------------------------------------- what is a replicated log's own

#[test]
fn what_others_store_has_its_place_among_the_own() {
    let store = MemoryStore::new(3);
    let mut log = store.open();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    store.hold();
    log.append(&mut ["one", "two"].map(draft).into());
    store.acknowledge(1);
    let mut next = || runtime.block_on(poll_fn(|task| log.poll_event(task)));
    let LogEvent::Committed(first) = next() else { panic!("the first") };
    store.replicate(draft("of another server"));
    let LogEvent::Replicated(theirs) = next() else { panic!("the other server's") };
    store.let_go();
    let LogEvent::Committed(second) = next() else { panic!("the second") };
    assert_eq!(theirs[0].prev, Some(first[0].id));
    assert_eq!(second[0].prev, Some(theirs[0].id), "whose id was not known when the draft was appended");
}
