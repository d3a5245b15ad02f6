//! The log: all messages, in the one order that everybody sees, whoever keeps them.
//!
//! A [`MessageLog`] is what the journal stores in and reads from. [`Draft`]s go in, and have no ids: a log that
//! several servers share knows an id only when the message is stored. What became of them comes out as
//! [`LogEvent`]s, in the order of the ids; with what others have stored in between, where there are others.
//!
//! Who is where: the log lives on the journal's thread, and none of its calls there waits for anything. What
//! blocks is elsewhere: the writing on a thread (or a task) of the log's own, which wakes whoever polls; the
//! reading of a page ([`PlannedPage::read`]) on any thread that may wait. A page is *planned* in its place
//! among the events, so it shows exactly what was told of before.
//!
//! There are two: [`CsvLog`](super::history::CsvLog), and for tests one in memory (`memory_log`) that behaves
//! as a replicated one would: its ids have gaps and come late, several batches are under way at once. Both
//! pass the suite in `log_tests`; what it checks is what a log promises.

use std::collections::VecDeque;
use std::fmt;
use std::task::{Context, Poll};

use crate::model::{
    Draft, MAX_MESSAGE_ID, MessageId, MessageKey, MessageList, MessagePage, Page, PageQuery, StoredMessage,
    UserName,
};

/// Where messages are kept in their order.
pub trait MessageLog: fmt::Debug + Send {
    /// What a start needs to know. Asked once, before anything else.
    fn tail(&mut self) -> LogTail;

    /// How many messages there are.
    fn messages(&self) -> u64;

    /// The newest message of a list: what the next one's `prev` is.
    fn newest(&self, list: &MessageList) -> Option<MessageId>;

    /// Plans a page, in microseconds, of what was told of so far.
    fn plan(&self, query: &PageQuery) -> Box<dyn PlannedPage>;

    /// Whether it would take a draft now. If not, a later event says so.
    fn is_ready(&self) -> bool;

    /// Begins to store what waits in `queue`: takes as many from its front as may be under way, together,
    /// at least one when it [is ready](MessageLog::is_ready). Each is told of once, by
    /// [`LogEvent::Committed`] or [`LogEvent::Refused`], in the order in which they came.
    fn append(&mut self, queue: &mut VecDeque<Draft>);

    /// Forces what was appended to where it outlives a crash of the machine. [`LogEvent::Synced`] tells when.
    fn sync(&mut self);

    /// What happened next. When nothing did, the task is woken when something does.
    fn poll_event(&mut self, task: &mut Context<'_>) -> Poll<LogEvent>;

    /// Whether it could store something now, as far as can be told without doing so.
    ///
    /// # Errors
    /// Why it could not, for the operator.
    fn check(&self) -> Result<(), LogFault>;
}

/// What a log knows at a start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogTail {
    /// The largest id that may have been given, which may lie above the newest message: new ids lie above it.
    pub used: Option<MessageId>,
    /// The messages with a key that is still to be remembered, in the order of their ids.
    pub recent_keyed: Vec<StoredMessage>,
}

/// What happened to a log.
#[derive(Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// The drafts that were appended first, of those that were not told of, are stored; at least one.
    Committed(Vec<StoredMessage>),
    /// Others have stored these; at least one.
    Replicated(Vec<StoredMessage>),
    /// The drafts that were appended first, of those that were not told of, are not stored; at least one.
    Refused {
        /// Which they are.
        drafts: Vec<RefusedDraft>,
        /// Why.
        why: LogFault,
    },
    /// Everything that was appended before one [`MessageLog::sync`] is safe, or is not.
    Synced(Result<(), LogFault>),
    /// Something that the operator has to know.
    Notice(String),
}

/// A draft that was not stored: what others know it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedDraft {
    /// Who wanted to say it.
    pub from: UserName,
    /// The sender's own name for it.
    pub key: Option<MessageKey>,
}

/// Why a log does not do what it is asked for, in a sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogFault {
    /// It cannot now; it may later.
    #[error("{0}")]
    Unavailable(String),
    /// It cannot before the server is started again.
    #[error("{0}")]
    Closed(String),
    /// No id is left, and never will be.
    #[error("all ids up to {MAX_MESSAGE_ID} are used; nothing more can be stored")]
    IdsUsedUp,
}

/// A page that is known but not read yet. It holds no lock, and what happens later does not change it.
pub trait PlannedPage: fmt::Debug + Send {
    /// Reads it. This may block.
    ///
    /// # Errors
    /// When what should be there cannot be read now. What is damaged for good is left out, and told.
    fn read(self: Box<Self>) -> Result<PageRead, LogFault>;
}

/// A page that was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PageRead {
    /// What there is of it.
    pub page: MessagePage,
    /// What is damaged for good and not in it, in sentences for the operator.
    pub damage: Vec<String>,
    /// Where to go on for as many messages as are missing from a full page because of that damage.
    pub go_on: Option<Page>,
}
