//! What has to agree in an actor's state, looked at after every step of every test.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use actix::Actor;
use actix::fut::ActorFuture;

/// An actor whose maps have to agree.
pub trait Invariants {
    /// Panics when they do not.
    fn check_invariants(&self);
}

/// Spawned by an actor of a test: it is polled whenever the actor has emptied its mailbox.
pub struct CheckAfterEachStep;

impl<A: Actor + Invariants> ActorFuture<A> for CheckAfterEachStep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, actor: &mut A, _: &mut A::Context, _: &mut TaskContext<'_>) -> Poll<()> {
        actor.check_invariants();
        Poll::Pending
    }
}
