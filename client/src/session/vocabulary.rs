//! The words in which the session talks with its surroundings: what it is told, and what it wants done.

use std::time::Duration;

use bytes::Bytes;
use veche::model::{HistoryOf, MessageText, Password, RoomName, Timestamp, TokenText, UserName};
use veche::wire::json::Message;
use veche::wire::json::frame::{PresenceStatus, RoomEntry};

/// What distinguishes a person at a terminal from a script.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many messages of the past are asked for when a room is entered (at least 1, to know where it stands).
    pub history: usize,
    /// Whether they are shown.
    pub shows_history: bool,
    /// Whether direct messages that came since the last session are shown.
    pub shows_missed_letters: bool,
    /// How long leaving may wait for receipts; `None`: as long as there is hope.
    pub exit_wait: Option<Duration>,
    /// How long to go on connecting; `None`: until the person gives up.
    pub give_up_after: Option<Duration>,
}

/// What a person wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Say something in a room.
    Say(RoomName, MessageText),
    /// Say something to one account.
    Tell(UserName, MessageText),
    /// Enter a room; nothing where this session is in it.
    Join(RoomName),
    /// Leave a room.
    Leave(RoomName),
    /// Who is online, in a room or anywhere.
    Who(Option<RoomName>),
    /// Which rooms have someone in them.
    Rooms,
    /// The newest messages of a room or with an account.
    History(HistoryOf, usize),
    /// Change the password: the old one, the new one.
    Passwd(Password, Password),
    /// Nothing; it only wakes whoever waits.
    Nothing,
    /// End the session, when everything has its receipt.
    Exit,
}

/// What the surroundings have to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a connection, and report it with `Session::connected` or `Session::lost`.
    Connect,
    /// Drop the connection.
    Disconnect,
    /// Keep this token: it shows the server that this device was in.
    Keep(TokenText),
    /// Write this payload as a frame.
    Send(Vec<u8>),
    /// Show this.
    Show(Show),
    /// It is over.
    End(End),
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Whether it ended because the person wanted it to.
    pub well: bool,
    /// Whether something that was to be said may not have been.
    pub lost_messages: bool,
    /// A sentence about it, where there is something to say.
    pub sentence: Option<String>,
}

/// Something to show. `payload` is the event as it came over the wire, where it came as an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Show {
    /// A message, from now or (`past`) from the history.
    Message { message: Message, past: bool, payload: Option<Bytes> },
    /// Someone came or went.
    Presence { room: String, name: String, status: PresenceStatus, at: Timestamp, payload: Bytes },
    /// A word from the operator or the server.
    Notice { text: String, at: Timestamp, payload: Bytes },
    /// The server's last frame.
    Bye { payload: Bytes },
    /// This session entered a room; `again` after a lost connection.
    Joined { room: String, members: u64, again: bool },
    /// This session left a room.
    Left { room: String },
    /// The answer to `/rooms`, page by page.
    Rooms { rooms: Vec<RoomEntry>, more: bool },
    /// The answer to `/who`, page by page.
    Who { room: Option<String>, names: Vec<String>, more: bool },
    /// The connection is gone, or (`again`) could not be had once more; the next attempt is after the pause.
    Outage { why: String, pause: Duration, again: bool },
    /// The connection is there again.
    Connected,
    /// A sentence about what the client does.
    Info(String),
    /// A sentence about what did not work.
    Problem(String),
}
