//! Turns for strangers ([`crate::actors::strangers`]): one at a time, and before the next the sockets of the
//! thread are looked at, so that whoever talks waits for one stranger's turn at most.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use actix::Context;
use actix::fut::ActorFuture;
use tokio::time::{Sleep, sleep};

use super::FanoutActor;
use crate::actors::connection::Turn;
use crate::actors::strangers::Waiting;
use crate::actors::yield_now;
use crate::chat::limits::crowd::Next;

/// Gives turns, one at a time. It lives in the fan-out, because it is there that connections are taken over.
#[derive(Default)]
pub struct GiveTurns {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl ActorFuture<FanoutActor> for GiveTurns {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        fanout: &mut FanoutActor,
        _: &mut Context<FanoutActor>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let Some(context) = fanout.context.clone() else { return Poll::Pending };
        let strangers = &context.strangers;
        strangers.watch(task.waker());
        if strangers.is_empty() {
            return Poll::Pending;
        }
        if let Some(sleep) = &mut self.sleep
            && sleep.as_mut().poll(task).is_pending()
        {
            return Poll::Pending;
        }
        self.sleep = None;
        match strangers.next() {
            Next::Nobody => {}
            Next::After(wait) => {
                let mut timer = Box::pin(sleep(wait));
                // Polled once, so that it wakes this.
                if timer.as_mut().poll(task).is_ready() {
                    yield_now(task);
                }
                self.sleep = Some(timer);
            }
            Next::Now(Waiting::Newcomer(adopt)) => {
                fanout.take_over(adopt);
                yield_now(task);
            }
            Next::Now(Waiting::Reader(connection)) => {
                if let Some(connection) = connection.upgrade() {
                    connection.turn.set(Turn::Given);
                    connection.wake();
                }
                yield_now(task);
            }
        }
        Poll::Pending
    }
}
