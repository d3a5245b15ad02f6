//! A person chats: what is typed becomes commands, what happens becomes lines.
//!
//! Where the person stands is one state, `place`: it is in the prompt, and what is entered behind that prompt
//! goes there. It changes when the person enters a command, at once, however long the server takes to answer,
//! and when the room is not there any more; but under a line that is being typed it never changes.

use std::time::Duration;

use jiff::tz::TimeZone;
use veche::model::{PASSWORD_BYTES, Password, RoomName, Timestamp, UserName};
use veche::wire::json::frame::PresenceStatus;
use veche::wire::json::{Message, SessionOpened};

use crate::commands::{self, Typed};
use crate::display::{fit, local_time, own_lines, paragraph, safe};
use crate::driver::Ui;
use crate::session::{Command, Session, Show};
use crate::terminal::{Answer, Ask, Terminal};

/// Rooms that are remembered to go back to.
const REMEMBERED_PLACES: usize = 500;

/// A person at a terminal.
pub struct Chat {
    terminal: Terminal,
    me: UserName,
    zone: TimeZone,
    /// The room in the prompt.
    place: Option<RoomName>,
    /// The rooms where the person was before, the last one last.
    before: Vec<RoomName>,
    asking: Asking,
}

/// What is asked.
enum Asking {
    /// Nothing yet.
    Nothing,
    /// A line is being typed.
    Line,
    /// The old password.
    OldPassword,
    /// The new password.
    NewPassword(Password),
    /// The new password once more.
    Repeat(Password, Password),
    /// Nothing any more.
    Over,
}

impl Chat {
    /// Goes on with a terminal on which this person has logged in, and begins in this room.
    pub fn new(terminal: Terminal, me: UserName, place: RoomName) -> Self {
        let zone = TimeZone::system();
        Chat { terminal, me, zone, place: Some(place), before: Vec::new(), asking: Asking::Nothing }
    }

    /// The chat is over: everything is printed.
    pub async fn close(&mut self) {
        self.terminal.close().await;
    }

    /// Shows what the server said on opening the session. Its greeting tells when the person was last seen,
    /// so that is not told again.
    pub async fn greet(&mut self, opened: &SessionOpened) {
        self.terminal.tell(&opened.greeting).await;
        self.terminal.tell("/help shows the commands.").await;
    }

    fn ask_line(&mut self) {
        let prompt = self.place.as_ref().map_or_else(|| "> ".to_owned(), |room| self.prompt(room));
        self.terminal.ask(Ask::Line { prompt, remember: true });
        self.asking = Asking::Line;
    }

    fn ask_secret(&mut self, prompt: &str, asking: Asking) {
        self.terminal.ask(Ask::Secret { prompt: prompt.to_owned() });
        self.asking = asking;
    }

    fn go_to(&mut self, room: RoomName) {
        if let Some(left) = self.place.replace(room).filter(|left| Some(left) != self.place.as_ref()) {
            self.before.retain(|before| *before != left);
            self.before.push(left);
            let too_many = self.before.len().saturating_sub(REMEMBERED_PLACES);
            self.before.drain(..too_many);
        }
    }

    /// Goes back to a room that the person is in, if this is none any more; true when it changed.
    fn stand_somewhere(&mut self, session: &Session) -> bool {
        if self.place.as_ref().is_some_and(|place| session.is_in(place)) {
            return false;
        }
        let gone = self.place.take();
        let last = self.before.iter().rposition(|room| session.is_in(room));
        self.place = match last {
            Some(position) => Some(self.before.remove(position)),
            None => session.rooms().next().cloned(),
        };
        self.place != gone
    }

    /// What a line that was typed comes to. The next line is asked for before anything is answered.
    async fn typed(&mut self, line: &str, session: &Session) -> Option<Command> {
        match commands::read(line, self.place.as_ref()) {
            Ok(Typed::Command(Command::Exit)) => {
                self.asking = Asking::Over;
                return Some(Command::Exit);
            }
            Ok(Typed::Command(command)) => {
                if let Command::Join(room) = &command {
                    self.go_to(room.clone());
                } else {
                    self.stand_somewhere(session);
                }
                if self.place.as_ref().is_some_and(|place| command == Command::Leave(place.clone())) {
                    // Asked for when the session knows that it was left: see `settled`.
                    self.asking = Asking::Nothing;
                    return Some(command);
                }
                self.ask_line();
                return Some(command);
            }
            Ok(Typed::Help) => {
                let lines = own_lines(&commands::help_lines(), self.terminal.screen());
                self.terminal.print(lines).await
            }
            Ok(Typed::Passwd) => {
                self.terminal.hold();
                self.ask_secret("Old password: ", Asking::OldPassword);
                return None;
            }
            Ok(Typed::Nothing) => {}
            Err(mistake) => self.terminal.tell(&mistake.to_string()).await,
        }
        self.stand_somewhere(session);
        self.ask_line();
        None
    }

    /// One step of `/passwd`; the command, when all was asked.
    async fn secret(&mut self, secret: String, session: &Session) -> Option<Command> {
        match std::mem::replace(&mut self.asking, Asking::Over) {
            Asking::OldPassword => {
                let old = Password::given(secret);
                if session.has_password(&old) {
                    self.ask_new_password(old);
                } else {
                    self.terminal.tell("That is not your password. (Ctrl-C leaves it as it is.)").await;
                    self.ask_secret("Old password: ", Asking::OldPassword);
                }
            }
            Asking::NewPassword(old) => match Password::chosen(secret) {
                Ok(new) => self.ask_secret("The same again: ", Asking::Repeat(old, new)),
                Err(code) => {
                    self.terminal.tell(code.sentence()).await;
                    self.ask_new_password(old);
                }
            },
            Asking::Repeat(old, new) if new == Password::given(secret) => {
                self.questions_over(session).await;
                return Some(Command::Passwd(old, new));
            }
            Asking::Repeat(old, _) => {
                self.terminal.tell("The two are not the same. (Ctrl-C leaves your password as it is.)").await;
                self.ask_new_password(old);
            }
            asking => self.asking = asking,
        }
        None
    }

    fn ask_new_password(&mut self, old: Password) {
        let (least, most) = (PASSWORD_BYTES.start(), PASSWORD_BYTES.end());
        self.ask_secret(&format!("New password ({least} to {most} bytes): "), Asking::NewPassword(old));
    }

    /// What came meanwhile is shown, and the next line asked for.
    async fn questions_over(&mut self, session: &Session) {
        self.terminal.release().await;
        self.stand_somewhere(session);
        self.ask_line();
    }

    async fn answered(&mut self, answer: Answer, session: &Session) -> Option<Command> {
        match (answer, &self.asking) {
            (Answer::Line(line), Asking::Line) => return self.typed(&line, session).await,
            (Answer::Line(secret), _) => return self.secret(secret, session).await,
            (Answer::End, Asking::Line) => {
                self.asking = Asking::Over;
                return Some(Command::Exit);
            }
            (Answer::Interrupted, Asking::Line) => {
                self.terminal.tell("(exit or Ctrl-D ends the session)").await;
            }
            (Answer::Interrupted | Answer::End, _) => {
                self.terminal.tell("Your password stays as it is.").await;
            }
        }
        self.questions_over(session).await;
        None
    }

    fn message(&self, message: &Message) -> String {
        let from = safe(&message.from);
        let who = match (&message.room, &message.to) {
            (Some(room), _) if self.is_here(room) => from.into_owned(),
            (Some(room), _) => format!("#{} {from}", safe(room)),
            (None, Some(to)) if message.from == self.me.as_str() => format!("you \u{2192} {}", safe(to)),
            (None, _) => format!("{from} \u{2192} you"),
        };
        let lead = self.time(message.at) + " ";
        paragraph(&lead, &format!("{who}: "), &message.text, self.terminal.screen())
    }

    /// A prompt leaves half of the row, so that it never fills one.
    fn prompt(&self, room: &RoomName) -> String {
        let screen = self.terminal.screen();
        format!("{}> ", fit(room.as_str(), (screen.width_cells / 2).saturating_sub(2), screen))
    }

    fn is_here(&self, room: &str) -> bool {
        self.place.as_ref().is_some_and(|place| place.as_str() == room)
    }

    fn time(&self, at: Timestamp) -> String {
        local_time(at, Timestamp::now(), &self.zone)
    }

    fn lines(&self, show: Show) -> Option<String> {
        let screen = self.terminal.screen();
        let told = |sentence: &str| paragraph("* ", "", sentence, screen);
        let more = |more: bool| if more { ", and others" } else { "" };
        Some(match show {
            Show::Message { message, .. } => self.message(&message),
            Show::Presence { room, name, status, at, .. } => {
                let verb = match status {
                    PresenceStatus::Joined => "joined",
                    PresenceStatus::Left => "left",
                };
                let place = if self.is_here(&room) { String::new() } else { format!("#{} ", safe(&room)) };
                let what = format!("{place}* {} {verb}", safe(&name));
                paragraph(&(self.time(at) + " "), "", &what, screen)
            }
            Show::Notice { text, at, .. } => paragraph(&(self.time(at) + " ! "), "", &text, screen),
            Show::Bye { .. } | Show::Joined { again: true, .. } => return None,
            Show::Joined { room, members, .. } => {
                let others = members.saturating_sub(1);
                let others_are = if others == 1 { "other" } else { "others" };
                told(&format!("You are in {}, with {others} {others_are}.", safe(&room)))
            }
            Show::Left { room } => told(&format!("You left {}.", safe(&room))),
            Show::Rooms { rooms, more: others } => {
                let names: Vec<_> =
                    rooms.iter().map(|entry| format!("{} ({})", safe(&entry.room), entry.members)).collect();
                paragraph("* ", "Rooms: ", &format!("{}{}", names.join(", "), more(others)), screen)
            }
            Show::Who { room, names, more: others } => {
                let head = room.map_or_else(|| "Online: ".to_owned(), |room| format!("In {}: ", safe(&room)));
                let names: Vec<_> = names.iter().map(|name| safe(name)).collect();
                paragraph("* ", &head, &format!("{}{}", names.join(", "), more(others)), screen)
            }
            Show::Outage { why, pause, .. } => format!("* {}", safe(&outage(&why, pause))),
            Show::Connected => format!("* {CONNECTED}"),
            Show::Info(sentence) | Show::Problem(sentence) => told(&sentence),
        })
    }
}

/// What is told of a connection that is there again.
pub const CONNECTED: &str = "Connected again.";

/// What is told of a connection that is away, or could not be had again.
pub fn outage(why: &str, pause: Duration) -> String {
    format!("The connection is lost: {why}. Trying again in {:.1} s.", pause.as_secs_f32())
}

impl Ui for Chat {
    const PACED: bool = false;

    async fn input(&mut self, session: &Session) -> Command {
        loop {
            if matches!(self.asking, Asking::Nothing | Asking::Over) {
                return std::future::pending().await;
            }
            let answer = self.terminal.answer().await;
            if let Some(command) = self.answered(answer, session).await {
                return command;
            }
        }
    }

    async fn show(&mut self, show: Show) -> std::io::Result<()> {
        let is_status = matches!(show, Show::Outage { .. });
        if matches!(show, Show::Connected) {
            self.terminal.settle_status().await;
        }
        match self.lines(show) {
            Some(sentence) if is_status => self.terminal.set_status(sentence).await,
            Some(lines) => self.terminal.print(lines).await,
            None => {}
        }
        Ok(())
    }

    fn settled(&mut self, session: &Session) -> std::io::Result<()> {
        let may_change = match self.asking {
            Asking::Nothing => true,
            // Under a line that is being typed the place does not change.
            Asking::Line => !self.terminal.has_draft(),
            _ => false,
        };
        if may_change && (self.stand_somewhere(session) || matches!(self.asking, Asking::Nothing)) {
            self.ask_line();
        }
        Ok(())
    }
}
