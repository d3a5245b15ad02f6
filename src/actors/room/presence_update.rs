//! Who is told what, when several came and went: one piece of bytes, and a few slices of it for each.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::actors::messages::fanout::PresenceUpdate;
use crate::chat::room::members::Members;
use crate::chat::room::presence::{Audience, Change};
use crate::model::{ConnectionId, RoomId, UserName};

/// Changes with the frames that tell them, one behind the other in one piece.
struct Told<'a> {
    changes: &'a [Change<ConnectionId>],
    piece: Bytes,
    /// Where each frame ends.
    ends: Vec<usize>,
}

/// What the members of a room are told of these changes, each of which `encode` makes a frame of.
pub fn of(
    room: RoomId,
    changes: &[Change<ConnectionId>],
    roster: &Members<ConnectionId>,
    encode: impl Fn(&Change<ConnectionId>) -> Bytes,
) -> PresenceUpdate {
    let mut piece = BytesMut::new();
    let mut ends = Vec::with_capacity(changes.len());
    for change in changes {
        piece.extend_from_slice(&encode(change));
        ends.push(piece.len());
    }
    let told = Told { changes, piece: piece.freeze(), ends };
    let accounts: HashSet<&UserName> = changes.iter().map(|change| &change.account).collect();
    let own = roster.connections().filter(|(_, account)| accounts.contains(account));
    let named = changes.iter().flat_map(|change| change.to.named().iter().copied());
    let odd: HashSet<ConnectionId> = own.map(|(connection, _)| connection).chain(named).collect();
    let instead = odd.into_iter().map(|odd| {
        let own = roster.account_of(odd);
        (odd, told.slices(|change| change.to.has(&odd) && own != Some(&change.account)))
    });
    let instead = Arc::new(instead.collect());
    let frames = told.slices(|change| matches!(change.to, Audience::AllBut(_))).into();
    PresenceUpdate { room, frames, instead }
}

impl Told<'_> {
    /// The frames of some of the changes; what follows one another is one slice.
    fn slices(&self, is_told: impl Fn(&Change<ConnectionId>) -> bool) -> Vec<Bytes> {
        let mut slices: Vec<Range<usize>> = Vec::new();
        for (index, _) in self.changes.iter().enumerate().filter(|(_, change)| is_told(change)) {
            let start = if index == 0 { 0 } else { self.ends[index - 1] };
            match slices.last_mut() {
                Some(last) if last.end == start => last.end = self.ends[index],
                _ => slices.push(start..self.ends[index]),
            }
        }
        slices.into_iter().map(|range| self.piece.slice(range)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{IoThread, Timestamp};

    #[test]
    fn each_is_told_what_it_does_not_know_and_nothing_of_itself() {
        let names = ["alice", "bob", "carl", "dora"].map(|name| UserName::parse(name).expect("a name"));
        let connections = [(); 4].map(|()| ConnectionId::fresh(IoThread(0)));
        let mut roster = Members::default();
        for (name, connection) in names.iter().zip(connections).skip(1) {
            roster.enter(name, connection);
        }
        // Alice came and went while Dora entered; Bob came, and Dora knows; Carl came.
        let change = |index: usize, is_in, to| {
            let at = Timestamp::from_millis(0);
            Change { account: names[index].clone(), is_in, at, to }
        };
        let dora = HashSet::from([connections[3]]);
        let changes = [
            change(0, false, Audience::Only(dora.clone())),
            change(1, true, Audience::AllBut(dora)),
            change(2, true, Audience::AllBut(HashSet::new())),
        ];
        let presence_update = of(RoomId(1), &changes, &roster, |change| {
            Bytes::from(format!("{}{} ", change.account, if change.is_in { "+" } else { "-" }))
        });
        let text = |frames: &[Bytes]| String::from_utf8(frames.concat()).expect("text");
        assert_eq!((text(&presence_update.frames), presence_update.frames.len()), ("bob+ carl+ ".into(), 1));
        let instead =
            |index: usize| presence_update.instead.get(&connections[index]).map(|frames| text(frames));
        assert_eq!(instead(1).as_deref(), Some("carl+ "));
        assert_eq!(instead(2).as_deref(), Some("bob+ "));
        assert_eq!(instead(3).as_deref(), Some("alice- carl+ "));
        assert_eq!(presence_update.instead.len(), 3);
    }
}
