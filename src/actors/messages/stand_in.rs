//! An actor that stands in for any other in a test: it keeps what it is sent, and answers as it is told to.

use std::any::{Any, TypeId, type_name};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use actix::{Actor, Addr, Context, Handler, Message, ResponseFuture};
use tokio::sync::Notify;

type Answer = Box<dyn Any>;
type Answers = HashMap<TypeId, Box<dyn FnMut(Box<dyn Any>) -> Pin<Box<dyn Future<Output = Answer>>>>>;

/// See the module. Cheap to clone: a test keeps one end, and the other is the actor.
#[derive(Clone, Default)]
pub struct StandIn {
    got: Rc<RefCell<VecDeque<Box<dyn Any>>>>,
    answers: Rc<RefCell<Answers>>,
    came: Rc<Notify>,
}

impl StandIn {
    /// Starts one on the current arbiter: what a test looks at, and where to send.
    pub fn start_new() -> (Self, Addr<StandIn>) {
        let stand_in = StandIn::default();
        (stand_in.clone(), stand_in.start())
    }

    /// From now on messages of this type are answered so, and not kept.
    pub fn answers<M, F>(&self, mut answer: impl FnMut(M) -> F + 'static)
    where
        M: Message + 'static,
        M::Result: 'static,
        F: Future<Output = M::Result> + 'static,
    {
        let answer = move |message: Box<dyn Any>| -> Pin<Box<dyn Future<Output = Answer>>> {
            let answer = answer(*message.downcast::<M>().expect("of its type"));
            Box::pin(async move { Box::new(answer.await) as Answer })
        };
        self.answers.borrow_mut().insert(TypeId::of::<M>(), Box::new(answer));
    }

    /// The next message, which has to be of this type; waits for it.
    pub async fn next<M: 'static>(&self) -> M {
        loop {
            if let Some(message) = self.got.borrow_mut().pop_front() {
                return *message
                    .downcast::<M>()
                    .unwrap_or_else(|_| panic!("the next message is no {}", type_name::<M>()));
            }
            self.came.notified().await;
        }
    }

    /// Forgets what came before the next message of this type, and gives that; waits for it.
    pub async fn next_of<M: 'static>(&self) -> M {
        loop {
            while let Some(message) = { self.got.borrow_mut().pop_front() } {
                if let Ok(message) = message.downcast::<M>() {
                    return *message;
                }
            }
            self.came.notified().await;
        }
    }

    /// How many messages came that nobody has looked at.
    pub fn unseen(&self) -> usize {
        self.got.borrow().len()
    }
}

impl Actor for StandIn {
    type Context = Context<Self>;
}

impl<M> Handler<M> for StandIn
where
    M: Message + 'static,
    M::Result: 'static,
{
    type Result = ResponseFuture<M::Result>;

    fn handle(&mut self, message: M, _: &mut Context<Self>) -> ResponseFuture<M::Result> {
        if let Some(answer) = self.answers.borrow_mut().get_mut(&TypeId::of::<M>()) {
            let answer = answer(Box::new(message));
            return Box::pin(async move { *answer.await.downcast().expect("of its type") });
        }
        self.got.borrow_mut().push_back(Box::new(message));
        self.came.notify_one();
        let nothing: Answer = Box::new(());
        match nothing.downcast::<M::Result>() {
            Ok(nothing) => Box::pin(async move { *nothing }),
            // Who asks waits until the test has an answer, which is never.
            Err(_) => Box::pin(std::future::pending()),
        }
    }
}
