//! An actor that stands in for any other in a test: it keeps what it is sent, and answers as it is told to.

use std::any::{Any, TypeId, type_name};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use actix::{Actor, Addr, Context, Handler, Message, ResponseFuture};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::auth::AuthHandle;
use super::directory::DirectoryHandle;
use super::fanout::{FanoutHandle, Fanouts};
use super::journal::JournalHandle;
use super::listener::ListenerHandle;
use crate::actors::Handles;
use crate::actors::panic_watch::PanicWatch;
use crate::chat::journal::terms::Terms;
use crate::config::{Config, Limits};
use crate::model::{StoredTerm, TermName, Timestamp};
use crate::secrets::token::TokenHasher;

/// Nothing that a test waits for takes this long, on any machine.
const FAR_TOO_LONG: Duration = Duration::from_secs(60);

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
            self.wait().await;
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
            self.wait().await;
        }
    }

    /// Waits for one more. Far too long is for ever: who should have sent it has panicked, and that is told.
    async fn wait(&self) {
        timeout(FAR_TOO_LONG, self.came.notified()).await.expect("a message that has to come");
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

/// Stand-ins for everybody that a room, the directory or a fan-out knows, on one I/O thread.
pub struct Neighbours {
    /// Stands in for the AuthActor.
    pub auth: StandIn,
    /// Stands in for the DirectoryActor.
    pub directory: StandIn,
    /// Stands in for the JournalActor.
    pub journal: StandIn,
    /// Stands in for the ListenerActor.
    pub listener: StandIn,
    /// Stands in for the FanoutActor of the only thread.
    pub fanout: StandIn,
    /// The ways to them.
    pub handles: Handles,
    /// The way to the fan-out.
    pub fanouts: Fanouts,
}

impl Neighbours {
    /// All of them, on the current arbiter.
    pub fn start(limits: Limits) -> Self {
        let (auth, to_auth) = StandIn::start_new();
        let (directory, to_directory) = StandIn::start_new();
        let (journal, to_journal) = StandIn::start_new();
        let (listener, to_listener) = StandIn::start_new();
        let (fanout, to_fanout) = StandIn::start_new();
        let term = StoredTerm { name: TermName::new("t1"), after: None, at: Timestamp::now() };
        let handles = Handles {
            config: Arc::new(Config { limits, ..Config::default() }),
            started: Instant::now(),
            critical: PanicWatch::new().0,
            terms: Arc::new(Terms::begin(Vec::new(), term, None)),
            newest_id: Arc::default(),
            hasher: TokenHasher::new(&[7; 32]),
            spellings: Arc::default(),
            auth: AuthHandle::of(&to_auth),
            directory: DirectoryHandle::of(&to_directory),
            journal: JournalHandle::of(&to_journal),
            listener: ListenerHandle::of(&to_listener),
            newcomers: Arc::default(),
        };
        let fanouts = [FanoutHandle::of(&to_fanout)].into();
        Neighbours { auth, directory, journal, listener, fanout, handles, fanouts }
    }
}
