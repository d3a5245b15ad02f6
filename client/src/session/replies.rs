//! What the server says, and what follows from it.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use veche::model::{
    ErrorCode, HistoryOf, MAX_PAGE, MessageId, Page, Request, RoomName, Target, TermName, TokenText, UserName,
};
use veche::wire::json::frame::ReceiptMembers;
use veche::wire::json::{Message, ServerFrame, SessionOpened};

use super::inbox::Reading;
use super::places::PutOut;
use super::room::Stage;
use super::{Action, Asked, HELD_EVENTS, JOIN_PAUSE, LONGEST_LOCKED_PAUSE, Phase, Session, Show};
use crate::login;

/// An `error` of the server's.
struct Refused {
    code: ErrorCode,
    text: String,
    retry_after: Option<Duration>,
}

/// What a frame has at least, should a newer server send one that this client does not know.
#[derive(Deserialize)]
struct Bare {
    #[serde(rename = "ref")]
    reference: Option<String>,
    text: Option<String>,
}

impl Session {
    /// The server sent this payload.
    pub fn frame(&mut self, now: Duration, payload: Bytes) {
        self.now = now;
        if matches!(self.phase, Phase::Ended | Phase::Waiting { .. } | Phase::Connecting) {
            return;
        }
        (self.last_heard, self.pinged) = (now, false);
        let (frame, reference) = match ServerFrame::parse(&payload) {
            Ok(read) => read,
            Err(_) => match unknown(&payload) {
                Some(answer) => answer,
                None => {
                    if let Ok(event) = serde_json::from_slice::<PutOut>(&payload) {
                        self.put_out(now, event);
                    }
                    return;
                }
            },
        };
        match reference.and_then(|reference| self.answered(&reference)) {
            Some(asked) => self.reply(now, asked, frame, payload),
            None => self.event(now, frame, payload),
        }
        self.go_on(now);
        self.tell_who_waits(now);
    }

    /// The request that this `ref` belongs to. Replies come in order, so it is the first.
    fn answered(&mut self, reference: &str) -> Option<Asked> {
        let position = self.asked.iter().position(|pending| pending.reference == reference)?;
        self.asked.drain(..=position).next_back().map(|pending| pending.asked)
    }

    fn event(&mut self, now: Duration, frame: ServerFrame, payload: Bytes) {
        match frame {
            ServerFrame::Welcome { term, .. } => {
                self.past.connected(term.map(TermName::new));
                self.open();
            }
            ServerFrame::Ping => {
                self.actions.push_back(Action::Send(Request::Pong.encode(None, None)));
            }
            ServerFrame::Message(message) => self.message(message, payload),
            ServerFrame::Presence { room, name, status, at } => {
                let show = Show::Presence { room: room.clone(), name, status, at, payload };
                match RoomName::from_canonical(&room) {
                    Ok(room) => self.show_or_hold(&room, show),
                    Err(_) => self.show(show),
                }
            }
            ServerFrame::Notice { text, at } => self.show(Show::Notice { text, at, payload }),
            ServerFrame::Bye { reason, text } => self.bye(now, &reason, text, payload),
            // What went wrong with the connection; the `bye` behind it says what becomes of it.
            ServerFrame::Error { text, retry_after_ms, .. } => {
                self.fault = Some(sentence_part(&text));
                self.retry_after = retry_after_ms.map(Duration::from_millis);
            }
            _ => {}
        }
    }

    /// The server is there: take the session over, or log in again where that cannot be.
    fn open(&mut self) {
        if !matches!(self.phase, Phase::Opening { .. }) {
            return;
        }
        let request = if self.token_is_dead {
            // Its own token is dead, and shows all the same that this device was in.
            let device = Some(self.token.clone());
            Request::Login { name: self.name.clone(), password: self.password.clone(), device }
        } else {
            Request::Resume { token: self.token.clone() }
        };
        self.ask(&request, Asked::Open);
    }

    fn bye(&mut self, now: Duration, reason: &str, text: String, payload: Bytes) {
        self.show(Show::Bye { payload });
        match reason {
            "exit" => self.end(self.leaving_since.is_some(), None),
            "kicked" => self.end(false, Some(kicked(&text))),
            "expired" | "resumed" | "banned" => self.end(false, Some(text)),
            _ => {
                let why = self.fault.take().unwrap_or_else(|| sentence_part(&text));
                self.drop_connection(now, &why);
            }
        }
    }

    fn reply(&mut self, now: Duration, asked: Asked, frame: ServerFrame, payload: Bytes) {
        if let ServerFrame::Error { code, text, retry_after_ms } = frame {
            let refused = Refused { code, text, retry_after: retry_after_ms.map(Duration::from_millis) };
            return self.refused(now, asked, refused);
        }
        match (asked, frame) {
            (Asked::Open, ServerFrame::Session(opened)) => self.opened(now, &opened),
            (Asked::Join(room), ServerFrame::Joined { members, messages, more, .. }) => {
                self.joined(room, members, messages, more);
            }
            (Asked::Page(room), ServerFrame::History { messages, more, .. }) => {
                self.page(&room, messages);
                self.page_on(&room, more);
            }
            (Asked::Fill(room, upto), ServerFrame::History { messages, more, .. }) => {
                self.filled(&room, upto, messages, more);
            }
            (Asked::Leave(room), _) => self.left(&room),
            (Asked::Message(key, target), ServerFrame::Ok { receipt: Some(receipt) }) => {
                self.outbox.receipted(&key);
                self.answered_at(now);
                self.receipt(&target, &receipt);
            }
            (Asked::History, ServerFrame::History { messages, .. }) => {
                if messages.is_empty() {
                    self.info("Nothing was said there yet.".to_owned());
                }
                self.show_past(messages);
            }
            (Asked::Check, ServerFrame::Inbox { reset, .. }) => self.checked(reset),
            (Asked::Inbox(Reading::Before), ServerFrame::Inbox { messages, more, .. }) => {
                self.letters_before(&messages, more);
            }
            (Asked::Inbox(reading), ServerFrame::Inbox { messages, more, .. }) => {
                self.direct_messages(reading, messages, more);
            }
            (Asked::Rooms(pages), ServerFrame::Rooms { rooms, more }) => {
                let last = rooms.last().and_then(|entry| RoomName::from_canonical(&entry.room).ok());
                let goes_on = more && pages > 1 && last.is_some();
                self.show(Show::Rooms { rooms, more: more && !goes_on });
                if goes_on {
                    self.ask(&Request::Rooms { after: last, limit: MAX_PAGE }, Asked::Rooms(pages - 1));
                }
            }
            (Asked::Who(room, pages), ServerFrame::Who { names, more }) => {
                let after = names.last().and_then(|name| UserName::from_canonical(name).ok());
                let goes_on = more && pages > 1 && after.is_some();
                let shown_room = room.as_ref().map(RoomName::to_string);
                self.show(Show::Who { room: shown_room, names, more: more && !goes_on });
                if goes_on {
                    let request = Request::Who { room: room.clone(), after, limit: MAX_PAGE };
                    self.ask(&request, Asked::Who(room, pages - 1));
                }
            }
            (Asked::Passwd(new), ServerFrame::Ok { .. }) => {
                (self.password, self.password_perhaps) = (new, None);
                self.info("The password is changed; your other sessions have ended.".to_owned());
            }
            (Asked::Ping, ServerFrame::Pong) => {}
            (Asked::Exit, ServerFrame::Bye { reason, text }) => self.bye(now, &reason, text, payload),
            (_, ServerFrame::Bye { reason, text }) => self.bye(now, &reason, text, payload),
            _ => self.drop_connection(now, "the server answered something else than was asked"),
        }
    }

    fn opened(&mut self, now: Duration, opened: &SessionOpened) {
        self.token = TokenText::new(opened.token.clone());
        self.actions.push_back(Action::Keep(self.token.clone()));
        self.token_is_dead = false;
        self.phase = Phase::Open { since: now };
        self.show(Show::Connected);
        self.lost_since = None;
        self.check_or_go_back();
    }

    fn refused(&mut self, now: Duration, asked: Asked, refused: Refused) {
        let Refused { code, text, retry_after } = refused;
        // A limit that does not say when to come back is none that waiting helps against.
        let for_now = code == ErrorCode::StorageUnavailable
            || (code == ErrorCode::RateLimited && retry_after.is_some());
        match asked {
            Asked::Message(key, _) if code == ErrorCode::RateLimited => {
                self.outbox.rate_limited(&key, now, retry_after);
            }
            Asked::Message(key, _)
                if matches!(code, ErrorCode::StorageUnavailable | ErrorCode::ShuttingDown) =>
            {
                self.outbox.unclear(&key, now, retry_after);
            }
            Asked::Open => self.not_opened(now, code, text, retry_after),
            _ if code == ErrorCode::BadToken => {
                self.token_is_dead = true;
                self.drop_connection(now, "the server does not know this session any more");
            }
            Asked::Message(key, Target::Room(room)) if code == ErrorCode::NotInRoom => {
                self.not_in_room(&key, &room);
            }
            Asked::Leave(room) if code == ErrorCode::NotInRoom => self.left(&room),
            Asked::Leave(room) => {
                if let Some(room) = self.rooms.get_mut(&room) {
                    (room.stage, room.unwanted) = (Stage::In, false);
                }
                self.problem(format!("You are still in {room}: {text}"));
            }
            Asked::Message(key, _) => {
                self.gave_up();
                let what = self.outbox.remove(&key).map(|entry| entry.text.as_str().to_owned());
                self.problem(format!("Not sent: \u{201c}{}\u{201d}. {text}", what.unwrap_or_default()));
            }
            Asked::Join(room) if for_now && self.waits_to_enter(&room, retry_after) => {
                self.join_later(&room, retry_after.unwrap_or(JOIN_PAUSE), &text);
            }
            Asked::Join(room) => {
                self.problem(format!("You cannot enter {room}: {text}"));
                self.forget_room(&room);
            }
            Asked::Page(_) | Asked::Fill(..) | Asked::Inbox(_) | Asked::Check => {
                // A reader that goes on now would leave a hole; a new connection starts over.
                self.retry_after = retry_after;
                self.drop_connection(
                    now,
                    &format!("the history could not be read: {}", sentence_part(&text)),
                );
            }
            _ => self.problem(text),
        }
    }

    /// The session could not be taken over, or not be opened anew.
    fn not_opened(&mut self, now: Duration, code: ErrorCode, text: String, retry_after: Option<Duration>) {
        match code {
            ErrorCode::BadToken if !self.token_is_dead => {
                self.token_is_dead = true;
                self.open();
            }
            ErrorCode::WrongPassword if self.password_perhaps.is_some() => {
                self.password = self.password_perhaps.take().unwrap_or_else(|| self.password.clone());
                self.open();
            }
            ErrorCode::WrongPassword => self.end(
                false,
                Some(format!(
                    "{text} It did a moment ago: the password was changed elsewhere, or the account is gone (perhaps the \
                     server's data was put back from a copy). Start this program again to log in."
                )),
            ),
            ErrorCode::Banned | ErrorCode::BadName => self.end(false, Some(text)),
            ErrorCode::TooManyAttempts if retry_after.is_some_and(|wait| wait > LONGEST_LOCKED_PAUSE) => {
                let wait = retry_after.unwrap_or_default();
                // The operator may lift it at any time.
                self.retry_after = Some(LONGEST_LOCKED_PAUSE);
                self.drop_connection(now, &sentence_part(&login::locked(&self.name, wait)));
            }
            _ => {
                self.retry_after = retry_after;
                self.drop_connection(now, &sentence_part(&text));
            }
        }
    }

    fn joined(&mut self, name: RoomName, members: u64, messages: Vec<Message>, more: bool) {
        messages.iter().for_each(|message| self.saw(message));
        let Some(room) = self.rooms.get_mut(&name) else { return };
        let again = std::mem::replace(&mut room.known, true);
        (room.stage, room.delayed) = (Stage::Paging, false);
        let anew = std::mem::take(&mut room.anew);
        if !again {
            let newest = messages.last().map_or(0, |message| message.id);
            room.timeline.begin(newest);
            self.begin_inbox(newest);
        }
        self.show(Show::Joined { room: name.to_string(), members, again });
        if anew {
            self.begin_room_anew(&name, messages);
        } else if again {
            self.page(&name, messages);
        } else if self.options.shows_history {
            self.show_past(messages);
        }
        self.page_on(&name, again && more && !anew);
    }

    /// Shows what is new in a page that follows a room's cursor.
    fn page(&mut self, name: &RoomName, messages: Vec<Message>) {
        for message in messages {
            self.saw(&message);
            let Some(room) = self.rooms.get_mut(name) else { return };
            if room.timeline.page(message.id) && !self.is_met(&message) {
                self.show(Show::Message { message, past: true, payload: None });
            }
        }
    }

    /// Asks for the next page of a room, or opens the gate for its events.
    fn page_on(&mut self, name: &RoomName, more: bool) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        if more || std::mem::take(&mut room.overflowed) {
            let (page, term) = (Page::After(MessageId::new(room.timeline.cursor())), self.past.term());
            let request = Request::History { of: HistoryOf::Room(name.clone()), page, limit: MAX_PAGE, term };
            return self.ask(&request, Asked::Page(name.clone()));
        }
        room.stage = Stage::In;
        for held in std::mem::take(&mut room.held) {
            self.show_or_hold(name, held);
        }
    }

    /// A page came that was asked for because links of the chain were missing up to `upto`.
    fn filled(&mut self, name: &RoomName, upto: u64, messages: Vec<Message>, more: bool) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        room.filling = false;
        self.page(name, messages);
        if let Some(room) = self.rooms.get_mut(name)
            && !more
        {
            room.timeline.begin(upto);
        }
        self.fill_gap(name);
    }

    /// Reads the part of the chain that is missing, unless a receipt under way may be it.
    fn fill_gap(&mut self, name: &RoomName) {
        let own_under_way = self.outbox.has_in_flight(&Target::Room(name.clone()));
        let Some(room) = self.rooms.get_mut(name) else { return };
        if room.timeline.has_gap() && !own_under_way && !room.filling && room.stage == Stage::In {
            room.filling = true;
            let upto = room.timeline.newest();
            let (page, term) = (Page::After(MessageId::new(room.timeline.cursor())), self.past.term());
            let request = Request::History { of: HistoryOf::Room(name.clone()), page, limit: MAX_PAGE, term };
            self.ask(&request, Asked::Fill(name.clone(), upto));
        }
    }

    fn message(&mut self, message: Message, payload: Bytes) {
        let room = message.room.as_deref().map(RoomName::from_canonical);
        let (id, show) = (message.id, Show::Message { message, past: false, payload: Some(payload) });
        match room {
            Some(Ok(room)) => self.show_or_hold(&room, show),
            Some(Err(_)) => self.show(show),
            None => {
                if let Some(show) = self.inbox.hold(show) {
                    self.direct_message(id, show);
                }
            }
        }
    }

    /// Shows an event of a room, once; while its past is read, the event waits.
    fn show_or_hold(&mut self, name: &RoomName, show: Show) {
        let Some(room) = self.rooms.get_mut(name) else { return self.show(show) };
        if room.stage != Stage::In {
            if room.held.len() >= HELD_EVENTS {
                // They are stored: the history has them. Only who came and went meanwhile is forgotten.
                room.held.clear();
                room.overflowed = true;
            }
            return room.held.push_back(show);
        }
        let is_news = match &show {
            // After a new login, what the lost session said comes back as an event.
            Show::Message { message, .. } => {
                room.timeline.link(message.id, message.prev) && !self.is_met(message)
            }
            _ => true,
        };
        if is_news {
            self.show(show);
        }
        self.fill_gap(name);
    }

    fn receipt(&mut self, target: &Target, receipt: &ReceiptMembers) {
        self.saw_receipt(target, receipt);
        match target {
            Target::Room(name) => {
                if let Some(room) = self.rooms.get_mut(name) {
                    room.timeline.link(receipt.id, receipt.prev);
                }
                self.fill_gap(name);
            }
            Target::Account(_) => {
                self.inbox.take(receipt.id);
            }
        }
    }

    /// Whether the inbox is read for direct messages that are shown, not for its end only.
    pub(super) fn reads_inbox_to_show(&self) -> bool {
        self.away_since.is_some() || self.inbox.has_begun()
    }

    /// Reads the inbox, for the first of these reasons that there is.
    pub(super) fn read_inbox(&mut self) {
        let reading = if self.away_since.is_some() {
            Reading::Missed
        } else if self.inbox.has_begun() {
            Reading::Lost
        } else {
            Reading::Before
        };
        if reading != Reading::Before {
            self.inbox.start_reading();
        }
        self.ask_for_letters(reading, self.inbox.read_from());
    }

    fn ask_for_letters(&mut self, reading: Reading, after: u64) {
        let term = self.past.term();
        let request = Request::Inbox { after: MessageId::new(after), limit: MAX_PAGE, term };
        self.ask(&request, Asked::Inbox(reading));
    }

    /// The first room was entered, and this is its newest message. Where nobody reads what was missed, the
    /// direct messages up to there are old, and those behind it that lie there already: the room may have been
    /// silent for long, or for ever.
    fn begin_inbox(&mut self, newest: u64) {
        if self.away_since.is_some() || self.inbox.has_begun() {
            return;
        }
        self.inbox.pass_over(newest);
        if !self.asked.iter().any(|pending| matches!(pending.asked, Asked::Inbox(_))) {
            self.read_inbox();
        }
    }

    /// A page of direct messages from before the login: only its end matters.
    fn letters_before(&mut self, messages: &[Message], more: bool) {
        messages.iter().for_each(|message| self.saw(message));
        let last = messages.last().map(|message| message.id);
        self.inbox.pass_over(last.unwrap_or(0));
        match last.filter(|_| more) {
            // Who leaves needs no beginning any more.
            Some(_) if self.exit_asked_at.is_some() => {}
            Some(last) => self.ask_for_letters(Reading::Before, last),
            None => self.inbox.begin(),
        }
    }

    /// A page of direct messages: those that came while nobody was here, or while the connection was lost.
    fn direct_messages(&mut self, reading: Reading, messages: Vec<Message>, more: bool) {
        let last = messages.last().map(|message| message.id);
        for message in messages {
            // Of what came while nobody was here, one's own direct messages and those read then are known.
            let was_here = self.away_since.flatten().is_some_and(|since| message.at <= since);
            let old = reading == Reading::Missed && (was_here || message.from == self.name.as_str());
            let old = old || self.inbox.moments.are_of(&message, &self.name);
            self.saw(&message);
            let new = self.inbox.take_past(message.id);
            if new && !old && !self.is_met(&message) {
                self.show(Show::Message { message, past: true, payload: None });
            }
        }
        let held = if more && last.is_some() { None } else { self.inbox.stop_reading() };
        let Some(held) = held else {
            return self.ask_for_letters(reading, last.unwrap_or_else(|| self.inbox.read_from()));
        };
        self.away_since = None;
        self.inbox.begin();
        for show in held {
            if let Show::Message { message, .. } = &show {
                self.direct_message(message.id, show);
            }
        }
    }

    /// Shows a live direct message, once.
    pub(super) fn direct_message(&mut self, id: u64, show: Show) {
        if self.inbox.take(id) {
            self.show(show);
        }
    }

    /// Whether this is a message of ours whose receipt has not come yet: the person typed it, and sees it.
    pub(super) fn is_met(&mut self, message: &Message) -> bool {
        if message.from != self.name.as_str() {
            return false;
        }
        let room =
            message.room.as_deref().and_then(|room| RoomName::from_canonical(room).ok()).map(Target::Room);
        let account =
            message.to.as_deref().and_then(|to| UserName::from_canonical(to).ok()).map(Target::Account);
        room.or(account).is_some_and(|target| self.outbox.meet(&target, &message.text))
    }

    fn show_past(&mut self, messages: Vec<Message>) {
        for message in messages {
            self.show(Show::Message { message, past: true, payload: None });
        }
    }
}

/// A frame of a kind that this client does not know: an answer to what it asked, or nothing to care about.
fn unknown(payload: &[u8]) -> Option<(ServerFrame, Option<String>)> {
    let bare: Bare = serde_json::from_slice(payload).ok()?;
    bare.reference.as_ref()?;
    let text = bare
        .text
        .unwrap_or_else(|| "The server answered something that this client does not know.".to_owned());
    Some((ServerFrame::Error { code: ErrorCode::Internal, text, retry_after_ms: None }, bare.reference))
}

/// Who did what and why, where a session was ended. A server says so in a sentence of its own, but for what the
/// operator gave as the reason of a kick: that comes alone.
fn kicked(text: &str) -> String {
    const SENTENCES: [&str; 3] = ["The operator ", "The password ", "The account "];
    if SENTENCES.iter().any(|beginning| text.starts_with(beginning)) {
        text.to_owned()
    } else if text.is_empty() || text == "This session was ended." {
        "The operator ended this session (kick), without a reason.".to_owned()
    } else {
        format!("The operator ended this session (kick): {text}")
    }
}

/// A sentence of the server's as a part of ours: without its full stop.
fn sentence_part(text: &str) -> String {
    text.trim_end_matches('.').to_owned()
}
