//! A person chats: what is typed becomes commands, what happens becomes lines.

use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::time::Instant;
use veche::names::{RoomName, Timestamp, UserName};
use veche::protocol::reply::PresenceStatus;
use veche::protocol::{ErrorCode, Message, Password, SessionOpened};

use crate::commands::{self, Typed};
use crate::display::{local_time, paragraph, safe};
use crate::driver::Front;
use crate::session::{Command, Session, Show};
use crate::terminal::{Answer, Ask, Terminal};

/// How long a command may take to be answered before the person may type on. The prompt names the room,
/// so it is better drawn after the reply to `/join`.
const REPLY_WAIT: Duration = Duration::from_millis(700);

/// A person at a terminal.
pub struct Chat {
    terminal: Terminal,
    me: UserName,
    zone: TimeZone,
    turn: Turn,
}

/// Whose turn it is.
enum Turn {
    /// The person's: a line is being typed.
    Typing,
    /// Ours: the next line is asked for at this moment, or as soon as something was answered.
    Due(Instant),
    /// The person is asked for the old password.
    OldPassword,
    /// The person is asked for the new password.
    NewPassword(Password),
    /// The person is asked for the new password once more.
    Repeat(Password, Password),
    /// Nothing is asked any more.
    Over,
}

impl Chat {
    /// Goes on with a terminal on which this person has logged in.
    pub fn new(terminal: Terminal, me: UserName) -> Self {
        Chat { terminal, me, zone: TimeZone::system(), turn: Turn::Due(Instant::now() + REPLY_WAIT) }
    }

    /// The terminal, when the chat is over.
    pub fn terminal(&self) -> &Terminal {
        &self.terminal
    }

    /// Shows what the server said on opening the session.
    pub async fn greet(&self, opened: &SessionOpened) {
        self.terminal.tell(&format!("* {}", opened.greeting)).await;
        if let Some(seen) = &opened.last_seen {
            let at = self.time(seen.at);
            self.terminal.tell(&format!("* You were last seen at {at}, from {}.", seen.ip)).await;
        }
        self.terminal.tell("* /help shows the commands.").await;
    }

    fn ask_line(&mut self, room: Option<&RoomName>) {
        let prompt = room.map_or_else(|| "> ".to_owned(), |room| format!("{room}> "));
        self.terminal.ask(Ask::Line { prompt, remember: true });
        self.turn = Turn::Typing;
    }

    fn ask_secret(&mut self, prompt: &str, next: Turn) {
        self.terminal.ask(Ask::Secret { prompt: prompt.to_owned() });
        self.turn = next;
    }

    fn soon(&mut self) {
        self.turn = Turn::Due(Instant::now() + REPLY_WAIT);
    }

    fn now(&mut self) {
        self.turn = Turn::Due(Instant::now());
    }

    /// What a line that was typed comes to.
    async fn typed(&mut self, line: &str) -> Option<Command> {
        match commands::read(line) {
            Ok(Typed::Command(Command::Exit)) => {
                self.turn = Turn::Over;
                return Some(Command::Exit);
            }
            Ok(Typed::Command(command)) => {
                if matches!(command, Command::Say(_) | Command::Tell(..)) {
                    self.now()
                } else {
                    self.soon()
                }
                return Some(command);
            }
            Ok(Typed::Help) => self.terminal.print(commands::help_lines()).await,
            Ok(Typed::Passwd) => {
                self.ask_secret("Old password: ", Turn::OldPassword);
                return None;
            }
            Ok(Typed::Nothing) => {}
            Err(mistake) => self.terminal.tell(&mistake.to_string()).await,
        }
        self.now();
        None
    }

    /// One step of `/passwd`; the command, when all was asked.
    async fn secret(&mut self, secret: String) -> Option<Command> {
        match std::mem::replace(&mut self.turn, Turn::Over) {
            Turn::OldPassword => {
                self.ask_secret("New password: ", Turn::NewPassword(Password::given(secret)));
            }
            Turn::NewPassword(old) => match Password::chosen(secret) {
                Ok(new) => self.ask_secret("New password again: ", Turn::Repeat(old, new)),
                Err(code) => {
                    self.terminal.tell(code.sentence()).await;
                    self.now();
                }
            },
            Turn::Repeat(old, new) if new == Password::given(secret) => {
                self.soon();
                return Some(Command::Passwd(old, new));
            }
            _ => {
                self.terminal.tell("The two are not the same; nothing was changed.").await;
                self.now();
            }
        }
        None
    }

    async fn answered(&mut self, answer: Answer) -> Option<Command> {
        match answer {
            Answer::Line(line) if matches!(self.turn, Turn::Typing) => self.typed(&line).await,
            Answer::Line(secret) => self.secret(secret).await,
            Answer::Interrupted => {
                self.terminal.tell("(exit or Ctrl-D ends the session)").await;
                self.now();
                None
            }
            Answer::End => {
                self.turn = Turn::Over;
                Some(Command::Exit)
            }
        }
    }

    fn message(&self, message: &Message, current: Option<&RoomName>) -> String {
        let from = safe(&message.from);
        let who = match (&message.room, &message.to) {
            (Some(room), _) if current.is_some_and(|current| current.as_str() == room) => from.into_owned(),
            (Some(room), _) => format!("#{} {from}", safe(room)),
            (None, Some(to)) if message.from == self.me.as_str() => format!("you \u{2192} {}", safe(to)),
            (None, _) => format!("{from} \u{2192} you"),
        };
        let head = format!("{} {who}: ", self.time(message.at));
        paragraph(&head, &message.text, self.terminal.width_cells())
    }

    fn time(&self, at: Timestamp) -> String {
        local_time(at, Timestamp::now(), &self.zone)
    }

    fn lines(&self, show: Show, current: Option<&RoomName>) -> Option<String> {
        let width = self.terminal.width_cells();
        let more = |more: bool| if more { ", and others" } else { "" };
        Some(match show {
            Show::Message { message, .. } => self.message(&message, current),
            Show::Presence { room, name, status, at, .. } => {
                let verb = match status {
                    PresenceStatus::Joined => "joined",
                    PresenceStatus::Left => "left",
                };
                let elsewhere = current.is_none_or(|current| current.as_str() != room);
                let place = if elsewhere { format!("#{} ", safe(&room)) } else { String::new() };
                format!("{} {place}* {} {verb}", self.time(at), safe(&name))
            }
            Show::Notice { text, at, .. } => paragraph(&format!("{} ! ", self.time(at)), &text, width),
            Show::Bye { .. } => return None,
            Show::Joined { again: true, .. } => return None,
            Show::Joined { room, members, .. } => {
                let others = members.saturating_sub(1);
                format!(
                    "* You are in {}, with {others} {}.",
                    safe(&room),
                    if others == 1 { "other" } else { "others" }
                )
            }
            Show::Left { room } => format!("* You left {}.", safe(&room)),
            Show::Rooms { rooms, more: others } => {
                let names: Vec<_> =
                    rooms.iter().map(|entry| format!("{} ({})", safe(&entry.room), entry.members)).collect();
                paragraph("* Rooms: ", &format!("{}{}", names.join(", "), more(others)), width)
            }
            Show::Who { room, names, more: others } => {
                let head =
                    room.map_or_else(|| "* Online: ".to_owned(), |room| format!("* In {}: ", safe(&room)));
                paragraph(&head, &format!("{}{}", names.join(", "), more(others)), width)
            }
            Show::Info(sentence) | Show::Problem(sentence) => paragraph("* ", &sentence, width),
        })
    }
}

impl Front for Chat {
    const PACED: bool = false;

    async fn input(&mut self) -> Command {
        loop {
            let answer = match self.turn {
                Turn::Over => return std::future::pending().await,
                // `settled` draws the prompt; it is called again when this has woken the driver.
                Turn::Due(at) => {
                    tokio::time::sleep_until(at).await;
                    return Command::Nothing;
                }
                _ => self.terminal.answer().await,
            };
            if let Some(command) = self.answered(answer).await {
                return command;
            }
        }
    }

    async fn show(&mut self, show: Show, session: &Session) -> std::io::Result<()> {
        // What was asked for is answered, so the person may go on.
        if matches!(self.turn, Turn::Due(_)) && !matches!(show, Show::Presence { .. } | Show::Notice { .. }) {
            self.now();
        }
        if let Some(lines) = self.lines(show, session.current()) {
            self.terminal.print(lines).await;
        }
        Ok(())
    }

    fn settled(&mut self, session: &Session) -> std::io::Result<()> {
        if let Turn::Due(at) = self.turn
            && Instant::now() >= at
        {
            self.ask_line(session.current());
        }
        Ok(())
    }
}

/// Whether a login can be tried again with another password, rather than not at all.
pub fn is_wrong_password(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::WrongPassword | ErrorCode::BadPassword)
}
