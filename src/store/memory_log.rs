//! A log in memory, for tests, that behaves as a replicated one does.
//!
//! An id is not known before the acknowledgement, and that comes late: of what is under way, the first few
//! are acknowledged at a time, after any number of looks. Ids have gaps. Others may store something in
//! between. Any draft may be refused, also one in the midst of what was appended together. All of it follows
//! from a seed and from what a [`MemoryStore`] is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::log::{LogEvent, LogFault, LogTail, MessageLog, PageRead, PlannedPage, RefusedDraft};
use crate::disk::simulated::Random;
use crate::model::{
    Draft, MessageId, MessageList, MessagePage, Page, PageQuery, StoredMessage, Target, Timestamp,
};

/// Drafts that may be under way.
const MOST_UNDER_WAY: usize = 16;
/// Ids that lie between two messages, at most.
const MAX_GAP: usize = 9;

/// What is kept, and what is to happen. Clones are the same one; it outlives the log that is opened over it.
#[derive(Debug, Clone)]
pub struct MemoryStore(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    random: Random,
    messages: Vec<StoredMessage>,
    next_id: u64,
    /// What others say, of which the log has not heard.
    replicated: VecDeque<Draft>,
    /// Drafts that are refused, the next ones.
    refusals: usize,
    /// Drafts that may be acknowledged before it is held up; `None` for any number.
    allowed: Option<usize>,
    fault: Option<LogFault>,
    waker: Option<Waker>,
}

impl MemoryStore {
    /// An empty one.
    pub fn new(seed: u64) -> Self {
        MemoryStore(Arc::new(Mutex::new(State {
            random: Random(seed),
            messages: Vec::new(),
            next_id: 1,
            replicated: VecDeque::new(),
            refusals: 0,
            allowed: None,
            fault: None,
            waker: None,
        })))
    }

    /// Opens a log over it.
    pub fn open(&self) -> MemoryLog {
        MemoryLog { store: self.clone(), under_way: VecDeque::new() }
    }

    /// Acknowledges nothing more by itself.
    pub fn hold(&self) {
        self.state().allowed = Some(0);
    }

    /// Acknowledges so many more.
    pub fn acknowledge(&self, drafts: usize) {
        self.change(|state| state.allowed = Some(state.allowed.unwrap_or(0) + drafts));
    }

    /// Acknowledges whatever there is.
    pub fn let_go(&self) {
        self.change(|state| state.allowed = None);
    }

    /// Refuses the next so many drafts, in the place of those that it was to refuse.
    pub fn refuse(&self, drafts: usize) {
        self.state().refusals = drafts;
    }

    /// Whether, as far as anybody can tell, nothing could be stored now.
    pub fn set_fault(&self, fault: Option<LogFault>) {
        self.state().fault = fault;
    }

    /// Has another server store this.
    pub fn replicate(&self, draft: Draft) {
        self.change(|state| state.replicated.push_back(draft));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        state.waker.take().into_iter().for_each(Waker::wake);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn store(&mut self, draft: Draft) -> StoredMessage {
        let id = MessageId::new(self.next_id + self.random.below(MAX_GAP) as u64).expect("ids are left");
        self.next_id = id.get() + 1;
        let list = MessageList::of(&draft.target, &draft.from);
        let prev = self.messages.iter().rev().find(|message| is_in(message, &list)).map(|message| message.id);
        let prev = prev.filter(|prev| Some(*prev) > draft.visible_from);
        let Draft { target, from, kind, key, .. } = draft;
        let message = StoredMessage { id, prev, at: Timestamp::now(), target, from, kind, key };
        self.messages.push(message.clone());
        message
    }
}

/// The log. What is under way when it is dropped is lost.
#[derive(Debug)]
pub struct MemoryLog {
    store: MemoryStore,
    under_way: VecDeque<UnderWay>,
}

#[derive(Debug)]
enum UnderWay {
    Draft(Draft),
    Sync,
}

impl MemoryLog {
    fn drafts_under_way(&self) -> usize {
        self.under_way.iter().filter(|one| matches!(one, UnderWay::Draft(_))).count()
    }

    /// The next drafts that are acknowledged together: some of those before the next sync.
    fn next_drafts(&mut self, state: &mut State) -> Vec<Draft> {
        let before_sync = self.under_way.iter().take_while(|one| matches!(one, UnderWay::Draft(_))).count();
        let count = before_sync.min(state.allowed.unwrap_or(before_sync));
        let count = if count == 0 { 0 } else { 1 + state.random.below(count) };
        let same_end = |refused: bool, left: usize| if refused { left > 0 } else { left == 0 };
        let is_refused = state.refusals > 0;
        let mut drafts = Vec::new();
        while drafts.len() < count && same_end(is_refused, state.refusals) {
            if let Some(UnderWay::Draft(draft)) = self.under_way.pop_front() {
                drafts.push(draft);
                state.refusals = state.refusals.saturating_sub(1);
                state.allowed = state.allowed.map(|allowed| allowed - 1);
            }
        }
        drafts
    }
}

impl MessageLog for MemoryLog {
    fn tail(&mut self) -> LogTail {
        let state = self.store.state();
        let keyed = state.messages.iter().filter(|message| message.key.is_some());
        LogTail { used: MessageId::new(state.next_id - 1), recent_keyed: keyed.cloned().collect() }
    }

    fn messages(&self) -> u64 {
        self.store.state().messages.len() as u64
    }

    fn newest(&self, list: &MessageList) -> Option<MessageId> {
        let state = self.store.state();
        state.messages.iter().rev().find(|message| is_in(message, list)).map(|message| message.id)
    }

    fn plan(&self, query: &PageQuery) -> Box<dyn PlannedPage> {
        Box::new(PlannedCopy(page_of(&self.store.state().messages, query)))
    }

    fn is_ready(&self) -> bool {
        self.drafts_under_way() < MOST_UNDER_WAY
    }

    fn append(&mut self, queue: &mut VecDeque<Draft>) {
        let room = MOST_UNDER_WAY.saturating_sub(self.drafts_under_way());
        self.under_way.extend(queue.drain(..room.min(queue.len())).map(UnderWay::Draft));
    }

    fn sync(&mut self) {
        self.under_way.push_back(UnderWay::Sync);
    }

    fn poll_event(&mut self, task: &mut Context<'_>) -> Poll<LogEvent> {
        let store = self.store.clone();
        let mut state = store.state();
        state.waker = Some(task.waker().clone());
        if let Some(draft) = state.replicated.pop_front() {
            return Poll::Ready(LogEvent::Replicated(vec![state.store(draft)]));
        }
        if let Some(UnderWay::Sync) = self.under_way.front() {
            self.under_way.pop_front();
            return Poll::Ready(LogEvent::Synced(Ok(())));
        }
        if self.under_way.is_empty() || state.allowed == Some(0) {
            return Poll::Pending;
        }
        if state.random.below(2) == 0 {
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        let is_refused = state.refusals > 0;
        let drafts = self.next_drafts(&mut state);
        Poll::Ready(if is_refused {
            let drafts = drafts.into_iter().map(|draft| RefusedDraft { from: draft.from, key: draft.key });
            LogEvent::Refused { drafts: drafts.collect(), why: LogFault::Unavailable("no leader".into()) }
        } else {
            LogEvent::Committed(drafts.into_iter().map(|draft| state.store(draft)).collect())
        })
    }

    fn check(&self) -> Result<(), LogFault> {
        self.store.state().fault.clone().map_or(Ok(()), Err)
    }
}

#[derive(Debug)]
struct PlannedCopy(MessagePage);

impl PlannedPage for PlannedCopy {
    fn read(self: Box<Self>) -> Result<PageRead, LogFault> {
        Ok(PageRead { page: self.0, ..PageRead::default() })
    }
}

/// What a page has to be, from all messages: the rule, as simple as it can be said.
pub fn page_of(messages: &[StoredMessage], query: &PageQuery) -> MessagePage {
    let PageQuery { list, page, limit, visible_from, up_to } = query;
    let wanted = |message: &&StoredMessage| {
        is_in(message, list)
            && Some(message.id) > *visible_from
            && up_to.is_none_or(|up_to| message.id <= up_to)
            && match page {
                Page::Newest => true,
                Page::Before(id) => Some(message.id) < *id,
                Page::After(id) => Some(message.id) > *id,
            }
    };
    let mut messages: Vec<StoredMessage> = messages.iter().filter(wanted).cloned().collect();
    let beyond = messages.len().saturating_sub(*limit);
    if matches!(page, Page::After(_)) {
        messages.truncate(*limit);
    } else {
        messages.drain(..beyond);
    }
    MessagePage { messages, more: beyond > 0 }
}

/// Whether a message stands in a list.
pub fn is_in(message: &StoredMessage, list: &MessageList) -> bool {
    match (list, &message.target) {
        (MessageList::Room(room), Target::Room(to)) => room == to,
        (MessageList::Pair(one, other), Target::Account(to)) => {
            (&message.from, to) == (one, other) || (&message.from, to) == (other, one)
        }
        (MessageList::Inbox(account), Target::Account(to)) => &message.from == account || to == account,
        _ => false,
    }
}
