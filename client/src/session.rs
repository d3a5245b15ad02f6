//! The client's side of the protocol as a pure state machine: events and the time go in, [`Action`]s come
//! out. It knows no socket, no terminal and no clock, so that a lost connection is an ordinary test.
//!
//! It begins with a session that [`crate::login`] opened, and keeps it: it answers pings, connects again
//! when the connection is lost, takes the session over (`resume`), enters its rooms again, reads what was
//! missed, and sends again what has no receipt. [`replies`] handles what the server says, [`places`] the
//! rooms, [`waiting`] what a person is told of an answer that does not come; this file what the person wants,
//! and what time brings.
//!
//! Which room a line goes to is not decided here: every command names its room. The place where the person
//! stands is the one in the prompt, and is kept where the prompt is (see `Chat`).

mod backoff;
mod inbox;
pub mod outbox;
mod places;
mod put_back;
mod replies;
mod room;
mod timeline;
mod vocabulary;
mod waiting;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use veche::model::{
    MAX_PAGE, MessageId, MessageKey, MessageText, Page, Password, Request, RoomName, Target, TermName,
    Timestamp, TokenText, UserName,
};
use veche::wire::json::SessionOpened;

use self::backoff::Backoff;
use self::inbox::{Inbox, Reading};
use self::outbox::Outbox;
use self::put_back::Past;
use self::room::{Room, Stage};
pub use self::vocabulary::{Action, Command, End, Options, Show};
use self::waiting::Waiting;

/// Silence of the server after which it is asked for a sign of life; it asks us after 60 s of ours.
const PING_AFTER: Duration = Duration::from_secs(75);
/// Silence of the server after which the connection counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(105);
/// How long opening the session anew may take, counted from the connection.
const OPENING_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection that lived this long makes the next pause a short one again.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);
/// How long the server may take to answer `exit`.
const BYE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait with a `join` that was refused for now, when the server gave no time.
const JOIN_PAUSE: Duration = Duration::from_secs(1);
/// How long to stay away at most while too many wrong passwords were tried: somebody may lift that.
const LONGEST_LOCKED_PAUSE: Duration = Duration::from_secs(60);
/// Events of a room that are kept while its history is read; with more, the history is read further.
const HELD_EVENTS: usize = 1_000;
/// Pages of names that one `/who` or `/rooms` shows at most.
const LIST_PAGES: u32 = 20;

/// Where the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing to do until then.
    Waiting { until: Duration },
    /// An attempt to connect is under way.
    Connecting,
    /// Connected: the `welcome`, then the reply to `resume` or `login` has to come.
    Opening { since: Duration },
    /// In session.
    Open { since: Duration },
    /// Over.
    Ended,
}

/// A request that has no reply yet.
#[derive(Debug)]
struct Pending {
    /// Its `ref`.
    reference: String,
    asked: Asked,
    /// When it was sent.
    at: Duration,
}

/// What a request was about.
#[derive(Debug)]
enum Asked {
    Open,
    Join(RoomName),
    Page(RoomName),
    Fill(RoomName, u64),
    Leave(RoomName),
    Message(MessageKey, Target),
    History,
    Inbox(Reading),
    Check,
    Rooms(u32),
    Who(Option<RoomName>, u32),
    Passwd(Password),
    Ping,
    Exit,
}

/// A source of random numbers, so that tests can do without.
pub type Random = Box<dyn FnMut() -> u64>;

/// The state of a client that is, or was a moment ago, in session.
pub struct Session {
    options: Options,
    name: UserName,
    password: Password,
    /// A new password whose `passwd` has no answer, because the connection was lost.
    password_perhaps: Option<Password>,
    /// The old password and the new one, when they were given while there was no connection.
    passwd_wanted: Option<(Password, Password)>,
    token: TokenText,
    /// Set after `bad_token`: the next connection logs in with the password.
    token_is_dead: bool,
    phase: Phase,
    asked: VecDeque<Pending>,
    count: u64,
    rooms: BTreeMap<RoomName, Room>,
    outbox: Outbox,
    inbox: Inbox,
    past: Past,
    /// The moment of the previous session, until the direct messages since then were read.
    away_since: Option<Option<Timestamp>>,
    backoff: Backoff,
    /// When the connection was lost, while it is.
    lost_since: Option<Duration>,
    /// What the server said went wrong, before its `bye`.
    fault: Option<String>,
    /// How long the server asked us to stay away.
    retry_after: Option<Duration>,
    joins_held_until: Option<Duration>,
    last_heard: Duration,
    pinged: bool,
    /// Since when the person wants to leave.
    leaving_since: Option<Duration>,
    exit_asked_at: Option<Duration>,
    something_was_lost: bool,
    waiting: Waiting,
    /// The time of the latest call.
    now: Duration,
    random: Random,
    actions: VecDeque<Action>,
}

impl Session {
    /// Goes on where the login ended: the connection is open and in session.
    pub fn new(
        options: Options,
        name: UserName,
        password: Password,
        opened: &SessionOpened,
        term: Option<TermName>,
        now: Duration,
        random: Random,
    ) -> Self {
        let mut session = Session {
            away_since: options.shows_missed_letters.then(|| opened.last_seen.as_ref().map(|seen| seen.at)),
            options,
            name,
            password,
            password_perhaps: None,
            passwd_wanted: None,
            token: TokenText::new(opened.token.clone()),
            token_is_dead: false,
            phase: Phase::Open { since: now },
            asked: VecDeque::new(),
            count: 0,
            rooms: BTreeMap::new(),
            outbox: Outbox::default(),
            inbox: Inbox::default(),
            past: Past::new(term),
            backoff: Backoff::default(),
            lost_since: None,
            fault: None,
            retry_after: None,
            joins_held_until: None,
            last_heard: now,
            pinged: false,
            leaving_since: None,
            exit_asked_at: None,
            something_was_lost: false,
            waiting: Waiting::default(),
            now,
            random,
            actions: VecDeque::new(),
        };
        // Without direct messages to show, the inbox waits for the first room, which tells where to begin.
        if session.away_since.is_some() {
            session.read_inbox();
        }
        session
    }

    /// Whether this is the account's password, as far as this session knows: it was opened with it, or changed
    /// it, and whoever changes it elsewhere ends this session. So the old password can be checked without a
    /// request, and a slip of the finger is no wrong guess that the server counts.
    pub fn has_password(&self, password: &Password) -> bool {
        self.password == *password || self.password_perhaps.as_ref() == Some(password)
    }

    /// Whether another message may be said just now.
    pub fn takes_messages(&self) -> bool {
        self.outbox.has_room() && self.leaving_since.is_none()
    }

    /// What is to be done, in order.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Session::tick`] is to be called at the latest.
    pub fn deadline(&self) -> Option<Duration> {
        let by_phase = match self.phase {
            Phase::Waiting { until } => Some(until),
            Phase::Connecting | Phase::Ended => None,
            Phase::Opening { since } => Some(since + OPENING_TIMEOUT),
            Phase::Open { .. } => Some(self.last_heard + if self.pinged { LOST_AFTER } else { PING_AFTER }),
        };
        let leaving = self.leaving_since.zip(self.options.exit_wait).map(|(since, wait)| since + wait);
        let giving_up = self.lost_since.zip(self.options.give_up_after).map(|(since, wait)| since + wait);
        [
            by_phase,
            leaving,
            giving_up,
            self.exit_asked_at.map(|at| at + BYE_TIMEOUT),
            self.outbox.deadline().filter(|_| self.is_open()),
            self.outbox.expiry(),
            self.joins_held_until.filter(|_| self.is_open()),
            self.notice_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
        .filter(|_| self.phase != Phase::Ended)
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Duration) {
        self.now = now;
        match self.phase {
            Phase::Waiting { until } if now >= until => {
                self.phase = Phase::Connecting;
                self.actions.push_back(Action::Connect);
            }
            Phase::Opening { since } if now >= since + OPENING_TIMEOUT => {
                self.drop_connection(now, "the server does not answer");
            }
            Phase::Open { .. } if now >= self.last_heard + LOST_AFTER => {
                self.drop_connection(now, "nothing is heard from the server any more");
            }
            Phase::Open { .. } if now >= self.last_heard + PING_AFTER && !self.pinged => {
                self.pinged = true;
                self.ask(&Request::Ping, Asked::Ping);
            }
            _ => {}
        }
        self.tell_what_expired(now);
        self.end_when_due(now);
        self.go_on(now);
        self.tell_who_waits(now);
    }

    /// A connection is there.
    pub fn connected(&mut self, now: Duration) {
        self.now = now;
        if self.phase == Phase::Connecting {
            self.phase = Phase::Opening { since: now };
            (self.last_heard, self.pinged) = (now, false);
        }
    }

    /// The connection is gone, or did not come about.
    pub fn lost(&mut self, now: Duration, why: &str) {
        self.now = now;
        let since = match self.phase {
            Phase::Ended | Phase::Waiting { .. } => return,
            Phase::Open { since } => Some(since),
            Phase::Connecting | Phase::Opening { .. } => None,
        };
        self.tell_what_is_not_answered();
        self.outbox.disconnected();
        self.inbox.disconnected();
        self.past.checking = false;
        self.rooms_disconnected();
        self.joins_held_until = None;
        if self.exit_asked_at.is_some() {
            return self.end(true, None);
        }
        if since.is_some_and(|since| now >= since + GOOD_CONNECTION) {
            self.backoff.reset();
        }
        let again = self.lost_since.replace(self.lost_since.unwrap_or(now)).is_some();
        let random = (self.random)();
        let pause = self.backoff.next(random).max(self.retry_after.take().unwrap_or_default());
        self.phase = Phase::Waiting { until: now + pause };
        let why = self.fault.take().unwrap_or_else(|| why.to_owned());
        self.show(Show::Outage { why, pause, again });
        self.end_when_due(now);
    }

    /// The person wants something.
    pub fn command(&mut self, now: Duration, command: Command) {
        self.now = now;
        match command {
            Command::Say(room, text) => self.say(room, text),
            Command::Tell(to, text) => self.queue(Target::Account(to), text),
            Command::Join(room) => self.want_room(room),
            Command::Leave(room) => self.leave(&room),
            Command::Nothing => return,
            Command::Exit => {
                self.leaving_since.get_or_insert(now);
            }
            Command::Passwd(old, new) => self.change_password(old, new),
            other if !self.is_open() => {
                drop(other);
                self.problem("There is no connection just now; try again in a moment.".to_owned());
            }
            Command::Who(room) => {
                let request = Request::Who { room: room.clone(), after: None, limit: MAX_PAGE };
                self.ask(&request, Asked::Who(room, LIST_PAGES));
            }
            Command::Rooms => {
                self.ask(&Request::Rooms { after: None, limit: MAX_PAGE }, Asked::Rooms(LIST_PAGES));
            }
            Command::History(of, limit) => {
                self.ask(&Request::History { of, page: Page::Newest, limit, term: None }, Asked::History);
            }
        }
        self.end_when_due(now);
        self.go_on(now);
    }

    fn change_password(&mut self, old: Password, new: Password) {
        if self.is_open() {
            let asked = Asked::Passwd(new.clone());
            return self.ask(&Request::Passwd { old, new }, asked);
        }
        self.passwd_wanted = Some((old, new));
        self.info(
            "There is no connection just now; the password is changed as soon as the server is back."
                .to_owned(),
        );
    }

    fn queue(&mut self, target: Target, text: MessageText) {
        if !self.takes_messages() {
            self.gave_up();
            let text = text.as_str();
            return self.problem(format!(
                "Too many messages wait for the server; not sent: \u{201c}{text}\u{201d}."
            ));
        }
        let key = format!("{:016x}{:016x}", (self.random)(), (self.random)());
        if let Some(key) = MessageKey::parse(&key) {
            self.outbox.push(self.now, key, target, text);
        }
    }

    /// Whether there is a connection, and the session is open on it.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// Sends whatever may be sent now: joins, messages, and `exit` when nothing is left to wait for.
    fn go_on(&mut self, now: Duration) {
        if !self.is_open() || self.exit_asked_at.is_some() || self.past.checking {
            return;
        }
        if self.joins_held_until.is_none_or(|until| now >= until) {
            self.joins_held_until = None;
            self.ask_for_rooms();
        }
        self.ask_to_leave();
        if let Some((old, new)) = self.passwd_wanted.take() {
            self.change_password(old, new);
        }
        let rooms = &self.rooms;
        let ready = |target: &Target| match target {
            Target::Room(room) => {
                rooms.get(room).is_some_and(|room| matches!(room.stage, Stage::Paging | Stage::In))
            }
            Target::Account(_) => true,
        };
        let mut to_send = Vec::new();
        while let Some(entry) = self.outbox.send_next(now, ready) {
            to_send.push(entry.clone());
        }
        for entry in to_send {
            let asked = Asked::Message(entry.key.clone(), entry.target.clone());
            let (text, key) = (entry.text, Some(entry.key));
            let request = match entry.target {
                Target::Room(room) => Request::Say { room, text, key },
                Target::Account(to) => Request::Tell { to, text, key },
            };
            self.ask(&request, asked);
        }
        if self.leaving_since.is_some() && self.outbox.is_empty() {
            self.exit_asked_at = Some(now);
            self.ask(&Request::Exit, Asked::Exit);
        }
    }

    fn ask_for_rooms(&mut self) {
        let wanted: Vec<_> = self
            .rooms
            .iter()
            .filter(|(_, room)| room.stage == Stage::Wanted)
            .map(|(name, _)| name.clone())
            .collect();
        for name in wanted {
            let Some(room) = self.rooms.get_mut(&name) else { continue };
            room.stage = Stage::Asked;
            let (page, limit) = if room.anew {
                (Page::Newest, MAX_PAGE)
            } else if room.known {
                (Page::After(MessageId::new(room.timeline.cursor())), MAX_PAGE)
            } else {
                (Page::Newest, self.options.history)
            };
            let term = self.past.term();
            self.ask(&Request::Join { room: name.clone(), page, limit, term }, Asked::Join(name));
        }
    }

    fn ask(&mut self, request: &Request, asked: Asked) {
        self.count += 1;
        let reference = self.count.to_string();
        let token =
            (!request.kind().needs_no_token() && !request.kind().opens_session()).then_some(&self.token);
        self.actions.push_back(Action::Send(request.encode(Some(&reference), token)));
        self.asked.push_back(Pending { reference, asked, at: self.now });
    }

    fn tell_what_expired(&mut self, now: Duration) {
        for entry in self.outbox.expired(now) {
            self.gave_up();
            let text = entry.text.as_str();
            self.problem(format!(
                "There is no receipt for \u{201c}{text}\u{201d} after two minutes, so nobody can tell whether it was stored; \
                 look at /history, and say it again if it is not there."
            ));
        }
    }

    /// Ends what has waited for long enough.
    fn end_when_due(&mut self, now: Duration) {
        let due = |since: Option<Duration>, wait: Option<Duration>| {
            since.zip(wait).is_some_and(|(since, wait)| now >= since + wait)
        };
        let waiting = self.outbox.len();
        let nothing_to_wait_for = self.leaving_since.is_some() && !self.is_open() && waiting == 0;
        if nothing_to_wait_for || due(self.exit_asked_at, Some(BYE_TIMEOUT)) {
            self.end(true, None);
        } else if due(self.leaving_since, self.options.exit_wait) {
            self.end(true, Some(format!("{waiting} messages have no receipt; they may be lost.")));
        } else if due(self.lost_since, self.options.give_up_after) {
            let rest =
                if waiting > 0 { format!(" {waiting} messages have no receipt.") } else { String::new() };
            self.end(false, Some(format!("The server cannot be reached any more.{rest}")));
        }
    }

    fn drop_connection(&mut self, now: Duration, why: &str) {
        self.actions.push_back(Action::Disconnect);
        self.lost(now, why);
    }

    fn end(&mut self, well: bool, sentence: Option<String>) {
        if self.phase != Phase::Ended {
            self.phase = Phase::Ended;
            let lost_messages = self.something_was_lost || !self.outbox.is_empty();
            self.actions.push_back(Action::End(End { well, lost_messages, sentence }));
        }
    }

    fn show(&mut self, show: Show) {
        if let Show::Message { message, .. } = &show {
            self.saw(message);
        }
        self.actions.push_back(Action::Show(show));
    }

    fn info(&mut self, sentence: String) {
        self.show(Show::Info(sentence));
    }

    fn problem(&mut self, sentence: String) {
        self.show(Show::Problem(sentence));
    }
}

#[cfg(test)]
#[path = "session/session_tests.rs"]
mod tests;

#[cfg(test)]
mod people_tests;

#[cfg(test)]
mod places_tests;

#[cfg(test)]
mod simulation;
