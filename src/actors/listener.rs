//! The ListenerActor takes connections and gives each to an I/O thread.
//!
//! It counts them, in all and by address, and marks those that may not stay. While it pauses, the port stays
//! bound and the accept loop asks for nothing: who connects meanwhile waits in the kernel's backlog and gets
//! in at once when it goes on. When descriptors run out it waits a moment before it tries again, rather than
//! spin.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::fut::ActorFuture;
use actix::{Actor, AsyncContext, Context, Handler, MessageResult, ResponseFuture};
use log::{info, warn};
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

use super::messages::fanout::{Fanouts, NewConnection};
use super::messages::listener::{Closed, ListenerSnapshot, SetListening, StopListening};
use super::messages::observe::Observe;
use super::panic_watch::Critical;
use super::yield_now;
use crate::chat::limits::address_key::AddressKey;
use crate::config::Config;
use crate::model::ErrorCode;
use crate::transport::{DetachedStream, set_kernel_buffers};

/// How long the loop waits when the system has no descriptor or memory left.
const BACK_OFF: Duration = Duration::from_millis(100);
/// How long the loop waits when enough connections wait to be taken over.
const NEWCOMERS_PAUSE: Duration = Duration::from_millis(2);
/// Connections that are taken before other actors have their turn.
const ACCEPTS_PER_TURN: usize = 64;
/// Descriptors that connections never take: for files that are opened now and then, a new month's history or a
/// fresh account file. Where few are allowed, a quarter of them has to do.
const KEPT_DESCRIPTORS: usize = 64;
/// Connections that are told that they may not stay, at once; further ones are closed without a word.
const REFUSALS_AT_ONCE: usize = 64;

/// The listeners of a server.
pub struct ListenerActor {
    _critical: Critical,
    listeners: Vec<TcpListener>,
    fanouts: Fanouts,
    config: Arc<Config>,
    listening: bool,
    next_thread: usize,
    open: usize,
    by_address: HashMap<AddressKey, usize>,
    /// Connections that are being told that they may not stay.
    refusing: usize,
    accepted: u64,
    refused: u64,
    /// How many connections wait for their thread to take them over.
    newcomers: Arc<AtomicUsize>,
    /// How many sockets there are descriptors for.
    max_sockets: usize,
    back_off: Option<Pin<Box<Sleep>>>,
    /// Whether the log has been told that connections wait.
    short_told: bool,
    /// Who waits until nobody waits to be taken any more.
    closing: Option<oneshot::Sender<()>>,
}

impl ListenerActor {
    /// A listener over bound sockets, whose connections live on `fanouts`.
    pub fn new(
        listeners: Vec<TcpListener>,
        fanouts: Fanouts,
        config: Arc<Config>,
        newcomers: Arc<AtomicUsize>,
        critical: Critical,
    ) -> Self {
        ListenerActor {
            _critical: critical,
            listeners,
            fanouts,
            config,
            listening: true,
            next_thread: 0,
            open: 0,
            by_address: HashMap::new(),
            refusing: 0,
            accepted: 0,
            refused: 0,
            newcomers,
            max_sockets: max_sockets(),
            back_off: None,
            short_told: false,
            closing: None,
        }
    }

    fn poll(&mut self, task: &mut TaskContext<'_>) {
        if let Some(back_off) = &mut self.back_off {
            if back_off.as_mut().poll(task).is_pending() {
                return;
            }
            self.back_off = None;
        }
        if !self.listening && self.closing.is_none() {
            return;
        }
        let mut turns = ACCEPTS_PER_TURN;
        for listener in std::mem::take(&mut self.listeners) {
            self.accept_from(&listener, &mut turns, task);
            self.listeners.push(listener);
        }
        if turns == 0 {
            yield_now(task);
        } else if let Some(closed) = self.closing.take() {
            self.listeners.clear();
            // Who asked may have given up waiting.
            let _ = closed.send(());
        }
    }

    /// Takes what waits at one socket, until nothing does or it is others' turn.
    fn accept_from(&mut self, listener: &TcpListener, turns: &mut usize, task: &mut TaskContext<'_>) {
        while *turns > 0 && self.back_off.is_none() {
            if self.open + self.refusing >= self.max_sockets {
                return self.back_off(&"the limit on open files is near", task);
            }
            let waiting = self.newcomers.load(Ordering::Relaxed);
            if waiting >= self.config.limits.newcomers && self.closing.is_none() {
                return self.wait(NEWCOMERS_PAUSE, task);
            }
            match listener.poll_accept(task) {
                Poll::Pending => return,
                Poll::Ready(Ok((stream, peer))) => {
                    *turns -= 1;
                    self.short_told = false;
                    self.place(stream, peer);
                }
                // The connection was gone before it was taken.
                Poll::Ready(Err(why)) if is_about_one_connection(&why) => *turns -= 1,
                Poll::Ready(Err(why)) => self.back_off(&why, task),
            }
        }
    }

    /// Lets those who come wait a moment. The log hears of it once, not ten times a second.
    fn back_off(&mut self, why: &dyn std::fmt::Display, task: &mut TaskContext<'_>) {
        if !std::mem::replace(&mut self.short_told, true) {
            warn!("cannot take connections ({why}); they wait until there is room");
        }
        self.wait(BACK_OFF, task);
    }

    /// Takes no connections for so long.
    fn wait(&mut self, time: Duration, task: &mut TaskContext<'_>) {
        let mut back_off = Box::pin(sleep(time));
        // Polled once, so that it wakes this loop.
        if back_off.as_mut().poll(task).is_pending() {
            self.back_off = Some(back_off);
        }
    }

    /// Gives a connection to a thread, and says whether it may stay.
    fn place(&mut self, stream: TcpStream, peer: SocketAddr) {
        let refused = self.refusal(peer);
        match refused {
            None => {
                self.open += 1;
                self.accepted += 1;
                *self.by_address.entry(AddressKey::of(peer.ip())).or_default() += 1;
            }
            Some(code) => {
                self.refused += 1;
                info!(by:% = peer.ip(); "{peer} may not stay: {code}");
                if self.refusing >= REFUSALS_AT_ONCE {
                    return;
                }
                self.refusing += 1;
            }
        }
        match self.prepared(stream) {
            Ok(stream) => {
                let thread = self.next_thread % self.fanouts.len();
                self.next_thread = thread + 1;
                self.newcomers.fetch_add(1, Ordering::Relaxed);
                self.fanouts[thread].do_send(NewConnection::native(stream, peer, refused));
            }
            Err(why) => {
                warn!(by:% = peer.ip(); "the connection from {peer} failed at once: {why}");
                self.closed(peer, refused.is_some());
            }
        }
    }

    fn refusal(&self, peer: SocketAddr) -> Option<ErrorCode> {
        let limits = &self.config.limits;
        let from_there = self.by_address.get(&AddressKey::of(peer.ip())).copied().unwrap_or(0);
        let too_many = |count: usize, limit: usize| limit != 0 && count >= limit;
        if self.closing.is_some() {
            Some(ErrorCode::ShuttingDown)
        } else if too_many(self.open, limits.connections)
            || too_many(from_there, limits.connections_per_address)
        {
            Some(ErrorCode::ServerFull)
        } else {
            None
        }
    }

    /// The socket as the sessions want it, free of this thread's runtime.
    fn prepared(&self, stream: TcpStream) -> io::Result<DetachedStream> {
        stream.set_nodelay(true)?;
        let limits = &self.config.limits;
        // What a stranger is sent is short.
        let send = limits.socket_send_buffer_bytes.min(limits.stranger_send_buffer_bytes);
        set_kernel_buffers(&stream, send, limits.socket_receive_buffer_bytes);
        Ok(DetachedStream::Plain(stream.into_std()?))
    }

    fn closed(&mut self, peer: SocketAddr, refused: bool) {
        if refused {
            self.refusing = self.refusing.saturating_sub(1);
            return;
        }
        self.open = self.open.saturating_sub(1);
        let group = AddressKey::of(peer.ip());
        if let Some(count) = self.by_address.get_mut(&group) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&group);
            }
        }
    }
}

/// How many sockets leave enough descriptors for everything else, now that all is open that is always open.
fn max_sockets() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    sockets_within(limit, open_descriptors().unwrap_or(KEPT_DESCRIPTORS))
}

/// How many sockets there may be when so many descriptors are allowed, and so many are open already.
fn sockets_within(limit: usize, open: usize) -> usize {
    let kept = KEPT_DESCRIPTORS.min(limit / 4);
    limit.saturating_sub(open + kept).max(1)
}

/// How many descriptors are open, on a system that tells.
fn open_descriptors() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count())
}

/// Whether an error of `accept` concerns only the connection that would have come (accept(2)).
fn is_about_one_connection(why: &io::Error) -> bool {
    matches!(
        why.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

impl Actor for ListenerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.spawn(Accept);
    }
}

/// The accept loop. It is polled after every message, so `start listen` needs no waker of its own.
struct Accept;

impl ActorFuture<ListenerActor> for Accept {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        listener: &mut ListenerActor,
        _: &mut Context<ListenerActor>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        listener.poll(task);
        Poll::Pending
    }
}

impl Handler<SetListening> for ListenerActor {
    type Result = bool;

    fn handle(&mut self, SetListening(listening): SetListening, _: &mut Context<Self>) -> bool {
        let changed = self.listening != listening;
        self.listening = listening;
        changed
    }
}

impl Handler<Observe<ListenerSnapshot>> for ListenerActor {
    type Result = MessageResult<Observe<ListenerSnapshot>>;

    fn handle(&mut self, asked: Observe<ListenerSnapshot>, _: &mut Context<Self>) -> Self::Result {
        let addresses = self.listeners.iter().filter_map(|listener| listener.local_addr().ok());
        MessageResult(asked.answer(ListenerSnapshot {
            addresses: addresses.map(|address| address.to_string()).collect(),
            listening: self.listening,
            connections: self.open,
            refusing: self.refusing,
            peer_addresses: self.by_address.len(),
            newcomers: self.newcomers.load(Ordering::Relaxed),
            max_connections: self.max_sockets,
            accepted: self.accepted,
            refused: self.refused,
        }))
    }
}

impl Handler<Closed> for ListenerActor {
    type Result = ();

    fn handle(&mut self, Closed { peer, refused }: Closed, _: &mut Context<Self>) {
        self.closed(peer, refused);
    }
}

impl Handler<StopListening> for ListenerActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: StopListening, _: &mut Context<Self>) -> ResponseFuture<()> {
        let (sender, receiver) = oneshot::channel();
        self.closing = Some(sender);
        Box::pin(async move {
            // A listener that is gone listens no more.
            let _ = receiver.await;
        })
    }
}

#[cfg(test)]
#[path = "listener/listener_tests.rs"]
mod tests;
