//! What a person is told of an answer that does not come: after two seconds, once for each cause, with what
//! the client does about it. A line that was typed and shows nothing at all could as well be lost.

use std::time::Duration;

use super::outbox::Obstacle;
use super::{Asked, Phase, Session};

/// How long everything may take before a person is told.
const TELL_AFTER: Duration = Duration::from_secs(2);

/// Why something waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    NoConnection,
    Server(Obstacle),
    NoAnswer,
}

/// What was told of the present wait.
#[derive(Debug, Default)]
pub struct Waiting {
    told: Vec<Cause>,
    /// Whether it was about messages.
    about_messages: bool,
    /// When the latest receipt came: as long as they come, the server answers.
    answered_at: Duration,
    /// Whether one of them was given up.
    gave_up: bool,
}

impl Session {
    /// When there will be something to tell, if nothing happens until then.
    pub(super) fn notice_deadline(&self) -> Option<Duration> {
        let cause = self.cause();
        let mut since = self.waits_since()?;
        // A new connection is given its own time.
        if let Phase::Open { since: open } = self.phase {
            since = since.max(open);
        }
        if cause == Cause::NoAnswer {
            since = since.max(self.waiting.answered_at);
        }
        (!self.waiting.told.contains(&cause)).then_some(since + TELL_AFTER)
    }

    /// Tells what has waited for long, and that it waits no more.
    pub(super) fn tell_who_waits(&mut self, now: Duration) {
        if self.waits_since().is_none() {
            let told = std::mem::take(&mut self.waiting);
            if told.about_messages && !told.gave_up && self.leaving_since.is_none() {
                self.info("What you said has its receipts now.".to_owned());
            }
        } else if self.notice_deadline().is_some_and(|at| now >= at) {
            let (cause, count) = (self.cause(), self.outbox.len());
            self.waiting.told.push(cause);
            self.waiting.about_messages |= count > 0;
            self.info(sentence(cause, count));
        }
    }

    /// A receipt came.
    pub(super) fn answered_at(&mut self, now: Duration) {
        self.waiting.answered_at = now;
    }

    /// Something that was to be said is not on its way any more.
    pub(super) fn gave_up(&mut self) {
        self.something_was_lost = true;
        self.waiting.gave_up = true;
    }

    /// Since when something that the person wants waits for its answer.
    fn waits_since(&self) -> Option<Duration> {
        let of_a_person = self.asked.iter().filter(|pending| pending.asked.is_of_a_person());
        let asked = of_a_person.map(|pending| pending.at).min();
        [self.outbox.waiting_since(), asked].into_iter().flatten().min()
    }

    fn cause(&self) -> Cause {
        match self.outbox.obstacle() {
            _ if !self.is_open() => Cause::NoConnection,
            Some(obstacle) => Cause::Server(obstacle),
            None => Cause::NoAnswer,
        }
    }

    /// The connection is gone, and with it every answer that was under way. Messages and rooms are seen to
    /// again by themselves; of the rest the person is told.
    pub(super) fn tell_what_is_not_answered(&mut self) {
        let mut unanswered = 0;
        for pending in std::mem::take(&mut self.asked) {
            match pending.asked {
                Asked::Passwd(new) => {
                    self.password_perhaps = Some(new);
                    self.problem(
                        "Whether the password was changed is not known: the connection was lost before the \
                         answer. Either the old one or the new one opens your account; /passwd sets it again."
                            .to_owned(),
                    );
                }
                Asked::History | Asked::Rooms(_) | Asked::Who(..) => unanswered += 1,
                _ => {}
            }
        }
        if unanswered > 0 {
            self.problem(
                "What you asked for was not answered; ask again when the server is back.".to_owned(),
            );
        }
    }
}

impl Asked {
    /// Whether a person waits for the answer. Messages are counted in the outbox.
    fn is_of_a_person(&self) -> bool {
        matches!(
            self,
            Asked::Join(_)
                | Asked::Leave(_)
                | Asked::History
                | Asked::Rooms(_)
                | Asked::Who(..)
                | Asked::Passwd(_)
        )
    }
}

fn sentence(cause: Cause, messages: usize) -> String {
    let what = match messages {
        0 => "The server has not answered yet".to_owned(),
        1 => "Your message has no receipt yet".to_owned(),
        count => format!("{count} messages of yours have no receipt yet"),
    };
    let them = if messages == 1 { "it" } else { "them" };
    match cause {
        Cause::NoConnection => {
            format!("{what}: there is no connection. This client sends {them} when the server is back.")
        }
        Cause::Server(Obstacle::Storage) => format!(
            "{what}: the server cannot store anything just now. This client sends {them} again and again, for \
             two minutes, and tells you should that be in vain."
        ),
        Cause::Server(Obstacle::Rate) => {
            format!("{what}: that was faster than the server's limit. This client sends {them} as it allows.")
        }
        Cause::NoAnswer if messages == 0 => format!("{what}; this client goes on waiting."),
        Cause::NoAnswer => format!(
            "{what}: the server does not answer. This client goes on waiting, and sends {them} again when the \
             connection turns out to be lost."
        ),
    }
}
