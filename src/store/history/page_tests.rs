//! Paging, against a model that is too simple to be wrong.

use proptest::prelude::*;

use super::tests::{dir, newest, reopen, room, row, store, user};
use super::*;
use crate::model::{MessageList, MessagePage, Page, PageQuery, Target};
use crate::store::memory_log::{is_in, page_of};

const NAMES: [&str; 3] = ["ann", "bob", "eve"];

/// Who says what to whom; `0..3` are rooms, the rest accounts.
fn messages() -> impl Strategy<Value = Vec<StoredMessage>> {
    let message = (1_u64..4, 0_usize..3, prop_oneof![3 => 0_usize..1, 2 => 0_usize..6]);
    prop::collection::vec(message, 0..700).prop_map(|messages| {
        let mut id = 0;
        let said = messages.into_iter().map(|(gap, from, target)| {
            id += gap;
            let target = match target.checked_sub(3) {
                None => Target::Room(room(NAMES[target])),
                Some(to) => Target::Account(user(NAMES[to])),
            };
            StoredMessage { from: user(NAMES[from]), ..row(id, target, "x") }
        });
        said.collect()
    })
}

fn lists() -> Vec<MessageList> {
    let mut lists = vec![MessageList::Room(room("nobody")), MessageList::Inbox(user("nobody"))];
    for (at, one) in NAMES.iter().enumerate() {
        lists.push(MessageList::Room(room(one)));
        lists.push(MessageList::Inbox(user(one)));
        lists.extend(NAMES[..=at].iter().map(|other| MessageList::Pair(user(one), user(other))));
    }
    lists
}

/// What a reader asks for.
#[derive(Debug, Clone, Copy)]
struct Asked {
    page: Page,
    visible_from: Option<MessageId>,
    limit: usize,
    up_to: Option<MessageId>,
}

impl Asked {
    fn query(self, list: &MessageList) -> PageQuery {
        let Asked { page, visible_from, limit, up_to } = self;
        PageQuery { list: list.clone(), page, limit, visible_from, up_to }
    }
}

/// What a page has to be, from all rows.
fn naive(rows: &[StoredMessage], list: &MessageList, asked: Asked) -> (Vec<u64>, bool) {
    ids_of(page_of(rows, &asked.query(list)))
}

fn ids_of(page: MessagePage) -> (Vec<u64>, bool) {
    (page.messages.iter().map(|message| message.id.get()).collect(), page.more)
}

fn read(index: &HistoryIndex, list: &MessageList, asked: Asked) -> (Vec<u64>, bool) {
    let page = index.plan(&asked.query(list)).read().expect("it reads");
    assert_eq!(page.damage, []);
    ids_of(MessagePage { messages: page.rows, more: page.more })
}

fn asked() -> impl Strategy<Value = Asked> {
    let id = || (0_u64..1_500).prop_map(MessageId::new);
    let page = prop_oneof![Just(Page::Newest), id().prop_map(Page::Before), id().prop_map(Page::After)];
    let bound = || prop_oneof![2 => Just(None), 1 => id()];
    (page, bound(), 0_usize..300, bound()).prop_map(|(page, visible_from, limit, up_to)| Asked {
        page,
        visible_from,
        limit,
        up_to,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_page_is_that_of_the_model(
        rows in messages(),
        batch in 1_usize..100,
        asked in prop::collection::vec(asked(), 20),
    ) {
        let dir = dir();
        let mut history = reopen(dir.path());
        for batch in rows.chunks(batch) {
            store(&mut history, batch);
        }
        let reopened = reopen(dir.path());
        for list in lists() {
            let newest = rows.iter().rfind(|row| is_in(row, &list)).map(|row| row.id);
            for index in [&history.index, &reopened.index] {
                prop_assert_eq!(index.newest(&list), newest);
                for asked in &asked {
                    prop_assert_eq!(read(index, &list, *asked), naive(&rows, &list, *asked), "{:?} {:?}", list, asked);
                }
            }
        }
    }

    #[test]
    fn walking_by_pages_meets_every_row_once(
        rows in messages(),
        limit in 1_usize..200,
        visible_from in (0_u64..1_500).prop_map(MessageId::new),
    ) {
        let dir = dir();
        let mut history = reopen(dir.path());
        store(&mut history, &rows);
        for list in lists() {
            let all = Asked { page: Page::After(None), visible_from, limit: usize::MAX, up_to: None };
            let (expected, _) = naive(&rows, &list, all);
            let (mut forwards, mut more) = (Vec::new(), true);
            while more {
                let last = forwards.last().copied().and_then(MessageId::new);
                let (ids, others) = read(&history.index, &list, Asked { page: Page::After(last), limit, ..all });
                forwards.extend(ids);
                more = others;
            }
            prop_assert_eq!(&forwards, &expected);
            let (mut backwards, mut page, mut more) = (Vec::new(), Page::Newest, true);
            while more {
                let (mut ids, others) = read(&history.index, &list, Asked { page, limit, ..all });
                page = Page::Before(ids.first().copied().and_then(MessageId::new));
                ids.append(&mut backwards);
                (backwards, more) = (ids, others);
            }
            prop_assert_eq!(&backwards, &expected);
        }
    }
}

#[test]
fn a_plan_holds_whatever_happens_afterwards() {
    let dir = dir();
    let mut history = reopen(dir.path());
    let said = |id| row(id, Target::Room(room("ann")), "x");
    store(&mut history, &[said(1), said(2)]);
    let plan = history.index.plan(&newest(MessageList::Room(room("ann")), 10));
    store(&mut history, &[said(3)]);
    std::fs::remove_dir_all(dir.path()).expect("removed");
    drop(history);
    let page = std::thread::spawn(|| plan.read().expect("it reads")).join().expect("no panic");
    assert_eq!(page.rows.iter().map(|row| row.id.get()).collect::<Vec<_>>(), [1, 2]);
}
