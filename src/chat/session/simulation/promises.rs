//! What has to hold in a life, by the world's own account of it.

use super::*;

impl World {
    pub(super) fn waiting_bytes(&self) -> usize {
        self.outbox.iter().map(|(_, bytes)| bytes).sum()
    }

    /// How many requests were taken and have no reply on its way.
    pub(super) fn unanswered(&self) -> usize {
        let out = self.got.iter().chain(self.outbox.iter().map(|(out, _)| out));
        self.taken.len() - out.filter(|out| matches!(out, Out::Reply(_))).count()
    }

    pub(super) fn read_frame(&self, frame: &Frame) -> Result<Incoming, NoRequest> {
        let reference = frame.reference.clone();
        let Shape::Request { kind, shows, members, room } = frame.shape else {
            return Err(NoRequest { refusal: Refusal::bad_request("no JSON"), reference });
        };
        let request = match members {
            Members::Good => Ok(request(kind, room)),
            Members::OutOfRange => Err(Refusal::bad_request("out of range")),
            Members::BadText => Err(ErrorCode::BadText.into()),
        };
        let token = match (shows, self.session) {
            (Shows::Nothing, _) => None,
            (Shows::Fresh, Some(session)) => Some(session.token),
            (Shows::Previous, Some(session)) => Some(previous_token(session.id.number() as u8)),
            _ => Some(TokenHash::from_bytes([255; TOKEN_HASH_BYTES])),
        };
        Ok(Incoming { kind, reference, token, request })
    }

    /// What the contract says of a frame, rates and the disk aside.
    pub(super) fn expected(&self, frame: &Frame) -> Result<(), ErrorCode> {
        let Shape::Request { kind, members, room, .. } = frame.shape else {
            return Err(ErrorCode::BadRequest);
        };
        let shown = self.read_frame(frame).ok().and_then(|read| read.token);
        let session = self.session;
        let is_good = |session: Believed| {
            let previous = session.previous.filter(|(_, until)| self.now < *until);
            shown == Some(session.token) || shown.is_some() && shown == previous.map(|(token, _)| token)
        };
        match (session, members) {
            _ if self.rules.stopping.get() => Err(ErrorCode::ShuttingDown),
            (None, _) if !kind.needs_no_session() => Err(ErrorCode::Unauthenticated),
            (Some(_), _) if kind.opens_session() => Err(ErrorCode::AlreadyInSession),
            (Some(session), _) if !kind.needs_no_token() && !is_good(session) => Err(ErrorCode::BadToken),
            (_, Members::OutOfRange) => Err(ErrorCode::BadRequest),
            (_, Members::BadText) => Err(ErrorCode::BadText),
            _ if matches!(kind, RequestKind::Say | RequestKind::Leave)
                && !self.knows_rooms.contains_key(&room_name(room)) =>
            {
                Err(ErrorCode::NotInRoom)
            }
            _ => Ok(()),
        }
    }

    /// Everything is answered and written, and the client goes when it has nothing more to say.
    pub(super) fn calm_down(&mut self, rounds: usize) {
        for round in 0..rounds {
            for step in [Step::Write(100), Step::Answer { which: 0, good: true }, Step::PreviousDied(true)] {
                self.take(&step);
            }
            if round == 50 {
                let goes = !self.machine.takes_requests();
                assert!(!goes || self.goodbye.is_some(), "it was let go, and nobody told it");
                self.take(&Step::EndWriting);
            }
        }
    }

    pub(super) fn check(&self) {
        assert!(self.over, "it waits for ever: {:?}", self.machine);
        let words = self.goodbye.as_ref().expect("it says goodbye however it ends");
        assert!(
            self.sessions.values().all(|fate| *fate != Fate::Open),
            "a session stays: {:?}",
            self.sessions
        );
        assert!(self.in_rooms.is_empty(), "it stays in a room");
        let too_slow = words.as_ref().is_some_and(LastWords::drop_unsent);
        let had_no_time =
            self.ticks_to_go > TICKS_TO_GO && (!self.outbox.is_empty() || self.goodbye == Some(None));
        let is_heard = !self.broken && !self.panicked && !had_no_time;

        let replies = self.got.iter().filter_map(|out| match out {
            Out::Reply(reply) => Some((reply.of, reply.reference.clone())),
            // The `bye` is the reply to `exit`, which is the last request.
            Out::Bye(ByeReason::Exit, reference) => {
                Some((self.taken.last().expect("an exit").0, reference.clone()))
            }
            _ => None,
        });
        let replies: Vec<_> = replies.collect();
        assert_eq!(replies, self.taken[..replies.len()], "replies in order, each with its ref");
        assert!(self.taken.is_sorted_by_key(|(number, _)| *number));
        if is_heard && !too_slow {
            assert_eq!(replies.len(), self.taken.len(), "every request has a reply");
        }

        let byes = self.got.iter().filter(|out| matches!(out, Out::Bye(..))).count();
        if is_heard {
            assert_eq!(byes, usize::from(words.is_some()), "one bye for whoever is let go");
        }
        assert!(byes == 0 || matches!(self.got.last(), Some(Out::Bye(..))), "nothing comes after it");
        if is_heard && words.is_none() {
            assert_eq!(self.taken.len(), self.due, "all that it sent is handled");
        }
    }
}
