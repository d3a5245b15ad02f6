//! Who is told what, when several came and went.

use std::collections::HashSet;
use std::sync::Arc;

use crate::actors::messages::fanout::PresenceUpdate;
use crate::chat::room::members::Members;
use crate::chat::room::presence::{Audience, Change};
use crate::model::{ConnectionId, PresenceChange, RoomId, UserName};

/// What the members of a room are told of these changes.
pub fn of(
    room: RoomId,
    changes: Vec<Change<ConnectionId>>,
    members: &Members<ConnectionId>,
) -> PresenceUpdate {
    let accounts: HashSet<&UserName> = changes.iter().map(|change| &change.account).collect();
    let own = members.connections().filter(|(_, account)| accounts.contains(account));
    let named = changes.iter().flat_map(|change| change.to.named().iter().copied());
    let odd: HashSet<ConnectionId> = own.map(|(connection, _)| connection).chain(named).collect();
    let told = |is_told: &dyn Fn(&Change<ConnectionId>) -> bool| -> Vec<usize> {
        let all = changes.iter().enumerate();
        all.filter(|(_, change)| is_told(change)).map(|(index, _)| index).collect()
    };
    let instead = odd.into_iter().map(|odd| {
        let own = members.account_of(odd);
        (odd, told(&|change| change.to.has(&odd) && own != Some(&change.account)))
    });
    let instead = Arc::new(instead.collect());
    let most = told(&|change| matches!(change.to, Audience::AllBut(_))).into();
    let tell = |change: Change<ConnectionId>| PresenceChange {
        account: change.account,
        is_in: change.is_in,
        at: change.at,
    };
    PresenceUpdate { room, changes: changes.into_iter().map(tell).collect(), most, instead }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{IoThread, Timestamp};

    #[test]
    fn each_is_told_what_it_does_not_know_and_nothing_of_itself() {
        let names = ["alice", "bob", "carl", "dora"].map(|name| UserName::parse(name).expect("a name"));
        let connections = [(); 4].map(|()| ConnectionId::fresh(IoThread(0)));
        let mut members = Members::default();
        for (name, connection) in names.iter().zip(connections).skip(1) {
            members.enter(name, connection);
        }
        // Alice came and went while Dora entered; Bob came, and Dora knows; Carl came.
        let change = |index: usize, is_in, to| {
            let at = Timestamp::from_millis(0);
            Change { account: names[index].clone(), is_in, at, to }
        };
        let dora = HashSet::from([connections[3]]);
        let changes = vec![
            change(0, false, Audience::Only(dora.clone())),
            change(1, true, Audience::AllBut(dora)),
            change(2, true, Audience::AllBut(HashSet::new())),
        ];
        let update = of(RoomId(1), changes, &members);
        let said = |indexes: &[usize]| -> Vec<String> {
            let name = |index: &usize| update.changes[*index].account.to_string();
            indexes.iter().map(name).collect()
        };
        assert_eq!(said(&update.most), ["bob", "carl"]);
        let instead = |index: usize| update.instead.get(&connections[index]).map(|told| said(told));
        assert_eq!(instead(1), Some(vec!["carl".to_owned()]));
        assert_eq!(instead(2), Some(vec!["bob".to_owned()]));
        assert_eq!(instead(3), Some(vec!["alice".to_owned(), "carl".to_owned()]));
        assert_eq!(
            (update.instead.len(), update.changes[0].is_in, update.changes[1].is_in),
            (3, false, true)
        );
    }
}
