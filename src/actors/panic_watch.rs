//! What happens when an actor panics.
//!
//! A panic ends that actor's task alone (see `actix`). For a session or a room that is enough: their `Drop`
//! takes them out of what others know. An actor that there is one of cannot be missed, and cannot be trusted
//! to be made anew from half of its state; the history and the accounts on the disk can. So the server ends
//! with an error, and whoever runs it starts it again: nothing that was acknowledged is lost.

use std::thread;

use tokio::sync::mpsc;

/// Where the server hears of deaths. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PanicWatch {
    died: mpsc::UnboundedSender<&'static str>,
}

impl PanicWatch {
    /// The signs, and the end at which the server listens. A word for each of them that dies comes through.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<&'static str>) {
        let (died, hears) = mpsc::unbounded_channel();
        (PanicWatch { died }, hears)
    }

    /// A sign of life for an actor to keep.
    pub fn of(&self, actor: &'static str) -> Critical {
        Critical { actor, signs: self.clone() }
    }
}

/// Kept by an actor that the server cannot do without, and by each of its threads.
#[derive(Debug, Clone)]
pub struct Critical {
    actor: &'static str,
    signs: PanicWatch,
}

impl Drop for Critical {
    fn drop(&mut self) {
        if thread::panicking() {
            // A server that has stopped listening is ending anyway.
            let _ = self.signs.died.send(self.actor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_heard_and_an_ordinary_end_is_not() {
        let (signs, mut hears) = PanicWatch::new();
        drop(signs.of("the quiet one"));
        let critical = signs.of("the loud one");
        let ended = thread::spawn(move || {
            let _critical = critical;
            panic!("for the test");
        });
        assert!(ended.join().is_err());
        assert_eq!(hears.try_recv().ok(), Some("the loud one"));
        assert!(hears.try_recv().is_err());
    }
}
