//! The rooms that this session is in, enters and leaves.
//!
//! What is said in a room waits until the room is entered, and a room is left when everything said in it has
//! its receipt; so neither a slow answer nor a lost connection takes a line to another place. Where a room
//! cannot be entered, or one is out of it without having asked, each line that waited is given back.

use std::time::Duration;

use serde::Deserialize;
use veche::model::{MessageKey, MessageText, Request, RoomName, Target};

use super::room::{Room, Stage};
use super::{Asked, Session};

/// How long a person stands before a room that cannot be entered yet.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// An event that tells that someone was put out of a room, as a server with moderators sends it.
#[derive(Debug, Deserialize)]
pub(super) struct PutOut {
    kind: PutOutKind,
    room: String,
    name: String,
    from: String,
    why: Option<String>,
    seconds: Option<u64>,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum PutOutKind {
    Kick,
    Ban,
}

impl Session {
    /// Whether this session is in this room, or enters it: whether something can be said there.
    pub fn is_in(&self, room: &RoomName) -> bool {
        self.rooms.get(room).is_some_and(|room| !room.unwanted)
    }

    /// The rooms that something can be said in, sorted.
    pub fn rooms(&self) -> impl Iterator<Item = &RoomName> {
        self.rooms.iter().filter(|(_, room)| !room.unwanted).map(|(name, _)| name)
    }

    pub(super) fn say(&mut self, room: RoomName, text: MessageText) {
        if self.is_in(&room) {
            return self.queue(Target::Room(room), text);
        }
        self.gave_up();
        self.problem(format!("Not said in {room}: \u{201c}{}\u{201d}. You are not in it.", text.as_str()));
    }

    pub(super) fn want_room(&mut self, name: RoomName) {
        match self.rooms.get_mut(&name) {
            Some(room) if !room.unwanted && room.stage == Stage::In => {
                self.info(format!("You speak in {name} now."));
            }
            Some(room) => room.unwanted = false,
            None => {
                if !self.is_open() {
                    let back = "as soon as the server is back";
                    self.info(format!("There is no connection just now; you enter {name} {back}."));
                }
                self.rooms.insert(name, Room::new());
            }
        }
    }

    pub(super) fn leave(&mut self, name: &RoomName) {
        match self.rooms.get_mut(name).filter(|room| !room.unwanted) {
            Some(room) => {
                room.unwanted = true;
                self.ask_to_leave();
            }
            None => self.problem(format!("You are not in {name}.")),
        }
    }

    /// Asks for the way out of the rooms that are unwanted and have nothing on the way any more.
    pub(super) fn ask_to_leave(&mut self) {
        let outbox = &self.outbox;
        let unwanted = self.rooms.iter().filter(|(name, room)| {
            let may_go = matches!(room.stage, Stage::Wanted | Stage::In);
            room.unwanted && may_go && !outbox.has_for(&Target::Room((*name).clone()))
        });
        let unwanted: Vec<_> = unwanted.map(|(name, room)| (name.clone(), room.stage)).collect();
        for (name, stage) in unwanted {
            if stage == Stage::Wanted {
                // The server does not know of it, or does not any more.
                self.left(&name);
            } else if let Some(room) = self.rooms.get_mut(&name) {
                room.stage = Stage::Leaving;
                self.ask(&Request::Leave { room: name.clone() }, Asked::Leave(name));
            }
        }
    }

    /// The room was left; or it was wanted again meanwhile, and is entered where it was left.
    pub(super) fn left(&mut self, name: &RoomName) {
        match self.rooms.get_mut(name) {
            Some(room) if !room.unwanted => room.disconnected(),
            _ => {
                self.rooms.remove(name);
                self.show(super::Show::Left { room: name.to_string() });
            }
        }
    }

    /// This session is out of the room without having asked for it.
    pub(super) fn forget_room(&mut self, room: &RoomName) {
        self.rooms.remove(room);
        self.give_back_homeless();
    }

    /// The server says that this session is not in a room where it wanted to say this.
    pub(super) fn not_in_room(&mut self, key: &MessageKey, name: &RoomName) {
        if let Some(entry) = self.outbox.remove(key) {
            self.give_back(name, &entry.text, false);
        }
        // Unless it is on the way back in already.
        if self.rooms.get(name).is_some_and(|room| matches!(room.stage, Stage::Paging | Stage::In)) {
            self.problem(format!("You are not in {name} any more; /join {name} enters it again."));
            self.forget_room(name);
        }
    }

    /// Gives back what waits for rooms that this session is not in any more.
    fn give_back_homeless(&mut self) {
        let rooms = &self.rooms;
        let is_gone = |target: &Target| matches!(target, Target::Room(room) if !rooms.contains_key(room));
        for entry in self.outbox.drop_waiting(is_gone) {
            if let Target::Room(room) = &entry.target {
                self.give_back(room, &entry.text, entry.may_be_stored());
            }
        }
    }

    fn give_back(&mut self, room: &RoomName, text: &MessageText, may_be_stored: bool) {
        self.gave_up();
        let what = if may_be_stored { "Perhaps not said" } else { "Not said" };
        self.problem(format!("{what} in {room}: \u{201c}{}\u{201d}.", text.as_str()));
    }

    /// Whether a room that cannot be entered now is worth the wait: one that this session was in always is, and
    /// a script has nothing else to do; a person who turns to a new one would stand before a closed door.
    pub(super) fn waits_to_enter(&self, name: &RoomName, pause: Option<Duration>) -> bool {
        let was_in = self.rooms.get(name).is_some_and(|room| room.known);
        was_in || !self.options.shows_history || pause.is_none_or(|pause| pause <= LONGEST_PAUSE)
    }

    /// The server has no time for a `join` just now; the person is told once.
    pub(super) fn join_later(&mut self, name: &RoomName, pause: Duration, text: &str) {
        self.joins_held_until = Some(self.now + pause);
        let Some(room) = self.rooms.get_mut(name) else { return };
        room.stage = Stage::Wanted;
        if !std::mem::replace(&mut room.delayed, true) {
            let seconds = pause.as_secs_f32();
            self.info(format!("You cannot enter {name} yet: {text} Trying again in {seconds:.1} s."));
        }
    }

    /// The connection is gone, and with it this session is out of all rooms.
    pub(super) fn rooms_disconnected(&mut self) {
        self.rooms.values_mut().for_each(Room::disconnected);
        self.give_back_homeless();
        self.ask_to_leave();
    }

    /// Someone was put out of a room; if it was this account, it is in that room no more.
    pub(super) fn put_out(&mut self, now: Duration, event: PutOut) {
        let lifted = event.kind == PutOutKind::Ban && event.seconds == Some(0);
        let Ok(room) = RoomName::from_canonical(&event.room) else { return };
        if lifted || event.name != self.name.as_str() || !self.rooms.contains_key(&room) {
            return;
        }
        let did = if event.kind == PutOutKind::Kick { "put you out of" } else { "banned you from" };
        let why = event.why.map(|why| format!(": {why}")).unwrap_or_default();
        self.problem(format!("{} {did} {room}{why}", event.from));
        self.forget_room(&room);
        self.go_on(now);
    }
}
