//! Direct messages: is there such an account, store it, hand it to whoever of the two is online.

use std::collections::BTreeSet;

use actix::fut::ActorFutureExt;
use actix::{AsyncContext, Context, Handler, WrapFuture};

use super::DirectoryActor;
use crate::actors::messages::auth::{AccountInfo, LookUp};
use crate::actors::messages::directory::Tell;
use crate::actors::messages::fanout::{Answer, Unicast};
use crate::actors::messages::journal::{
    Append, CommitOutcome, CommitResult, Committed, Requester, Subscriber,
};
use crate::model::{
    ConnectionId, Draft, ErrorCode, MessageKind, Receipt, Refusal, Reply, ReplyTo, StoredMessage, Target,
    UserName,
};

impl Handler<Tell> for DirectoryActor {
    type Result = ();

    /// Looks the recipient up. The answers may come back in any order, the messages go on in theirs.
    fn handle(&mut self, tell: Tell, ctx: &mut Context<Self>) {
        let number = self.first_direct_message + self.direct_messages.len() as u64;
        let look_up = self.handles.auth.send(LookUp { name: tell.to.clone() });
        self.direct_messages.push_back((tell, None));
        ctx.spawn(look_up.into_actor(self).map(move |account, act, _| {
            let position = usize::try_from(number - act.first_direct_message).ok();
            if let Some((_, found)) = position.and_then(|position| act.direct_messages.get_mut(position)) {
                *found = Some(account.ok().flatten());
            }
            act.pass_on_direct_messages();
        }));
    }
}

impl DirectoryActor {
    /// Sends on every direct message whose turn it is.
    pub(super) fn pass_on_direct_messages(&mut self) {
        while let Some((_, Some(_))) = self.direct_messages.front() {
            if let Some((tell, Some(recipient))) = self.direct_messages.pop_front() {
                self.first_direct_message += 1;
                match recipient {
                    Some(recipient) => self.store_direct_message(tell, &recipient),
                    None => self.settle(tell.reply_to, Err(ErrorCode::NoSuchAccount.into())),
                }
            }
        }
        for (_, flushed) in self.flushed.extract_if(.., |(until, _)| *until <= self.first_direct_message) {
            // Who asked may have given up waiting.
            let _ = flushed.send(());
        }
    }

    fn store_direct_message(&self, tell: Tell, recipient: &AccountInfo) {
        self.handles.journal.do_send(Append {
            route: Subscriber::Direct,
            requester: Requester::Session(tell.reply_to),
            visible_from: tell.visible_from,
            draft: Draft {
                target: Target::Account(tell.to),
                from: tell.member.account,
                kind: MessageKind::Text(tell.text),
                key: tell.key,
                visible_from: tell.visible_from.max(recipient.visible_from),
            },
        });
    }

    /// Gives the author of a direct message its receipt, or the reason why there is none.
    fn settle(&self, reply_to: ReplyTo, outcome: Result<Receipt, Refusal>) {
        let reply = outcome.map_or_else(Reply::Refused, Reply::Receipt);
        self.answer(Answer { reply_to, reply });
    }

    /// The connections of two accounts but for one of them.
    fn connections_of(
        &self,
        one: &UserName,
        other: &UserName,
        but: Option<ConnectionId>,
    ) -> BTreeSet<ConnectionId> {
        let both = [one, other].into_iter().filter_map(|account| self.online.get(account));
        both.flatten().copied().filter(|connection| Some(*connection) != but).collect()
    }
}

impl Handler<Committed> for DirectoryActor {
    type Result = ();

    fn handle(&mut self, settled: Committed, _: &mut Context<Self>) {
        for CommitResult { requester, outcome } in settled.results {
            let reply_to = match requester {
                Some(Requester::Session(reply_to)) => Some(reply_to),
                Some(Requester::Operator(_)) | None => None,
            };
            let (row, result) = match outcome {
                CommitOutcome::Stored(row) => {
                    let receipt = row.receipt();
                    (Some(row), Ok(receipt))
                }
                CommitOutcome::Duplicate(receipt) => (None, Ok(receipt)),
                CommitOutcome::Refused(refused) => (None, Err(refused)),
            };
            if let Some(row) = row {
                self.deliver(&row, reply_to.map(|reply_to| reply_to.connection));
            }
            if let Some(reply_to) = reply_to {
                self.settle(reply_to, result);
            }
        }
    }
}

impl DirectoryActor {
    /// Hands a stored message to whoever of the two is online, but for its sender's own connection.
    fn deliver(&self, row: &StoredMessage, sender: Option<ConnectionId>) {
        if let Target::Account(to) = &row.target {
            let readers = self.connections_of(&row.from, to, sender);
            for (thread, fanout) in self.fanouts.iter().enumerate() {
                let here: Vec<_> =
                    readers.iter().copied().filter(|reader| reader.thread().0 == thread).collect();
                if !here.is_empty() {
                    fanout.do_send(Unicast { connections: here.into(), message: row.clone() });
                }
            }
        }
    }
}
