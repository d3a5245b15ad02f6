//! The listener over real sockets, with stand-ins for the fan-outs.

use std::net::TcpStream as Client;

use actix::Addr;

use super::*;
use crate::actors::messages::fanout::FanoutHandle;
use crate::actors::messages::listener::ListenerHandle;
use crate::actors::messages::stand_in::StandIn;
use crate::actors::panic_watch::PanicWatch;
use crate::config::Limits;

/// A listener that runs, and what stands around it.
struct Scene {
    listener: Addr<ListenerActor>,
    handle: ListenerHandle,
    fanouts: Vec<StandIn>,
    newcomers: Arc<AtomicUsize>,
    address: SocketAddr,
}

impl Scene {
    fn with(threads: usize, limits: Limits) -> Self {
        Self::with_sockets(threads, limits, usize::MAX)
    }

    /// One that has descriptors for so many sockets.
    fn with_sockets(threads: usize, limits: Limits, max_sockets: usize) -> Self {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let (fanouts, addresses): (Vec<_>, Vec<_>) = (0..threads).map(|_| StandIn::start_new()).unzip();
        let newcomers = Arc::<AtomicUsize>::default();
        let mut listener = ListenerActor::new(
            vec![TcpListener::from_std(socket).unwrap()],
            addresses.iter().map(FanoutHandle::of).collect(),
            Arc::new(Config { limits, ..Config::default() }),
            Arc::clone(&newcomers),
            PanicWatch::new().0.of("the listener"),
        );
        listener.max_sockets = max_sockets;
        let listener = listener.start();
        let handle = ListenerHandle::of(&listener);
        Scene { listener, handle, fanouts, newcomers, address }
    }

    fn connect(&self) -> Client {
        Client::connect(self.address).unwrap()
    }

    /// The next connection that a thread was given; it takes it over.
    async fn given_to(&self, thread: usize) -> NewConnection {
        let new = self.fanouts[thread].next::<NewConnection>().await;
        self.newcomers.fetch_sub(1, Ordering::Relaxed);
        new
    }

    async fn seen(&self) -> ListenerSnapshot {
        self.handle.send(Observe::now()).await.unwrap().state
    }

    /// Waits until what can be seen is so.
    async fn until(&self, is_so: impl Fn(&ListenerSnapshot) -> bool) -> ListenerSnapshot {
        loop {
            let seen = self.seen().await;
            if is_so(&seen) {
                return seen;
            }
            tokio::task::yield_now().await;
        }
    }
}

#[actix::test]
async fn connections_go_to_the_threads_in_turn_and_give_their_places_back() {
    let scene = Scene::with(2, Limits::default());
    let mut clients = Vec::new();
    for thread in [0, 1, 0, 1] {
        clients.push(scene.connect());
        let new = scene.given_to(thread).await;
        let client = clients.last().unwrap();
        assert_eq!((new.peer, new.refused), (client.local_addr().unwrap(), None));
    }
    let seen = scene.seen().await;
    assert_eq!((seen.connections, seen.peer_addresses, seen.accepted, seen.newcomers), (4, 1, 4, 0));
    for client in &clients {
        scene.handle.do_send(Closed { peer: client.local_addr().unwrap(), refused: false });
    }
    let seen = scene.seen().await;
    assert_eq!((seen.connections, seen.peer_addresses, seen.accepted), (0, 0, 4));
}

#[actix::test]
async fn what_is_too_many_in_all_or_from_one_address_is_refused_until_one_has_gone() {
    for limits in [
        Limits { connections: 2, connections_per_address: 0, ..Limits::default() },
        Limits { connections: 0, connections_per_address: 2, ..Limits::default() },
    ] {
        let scene = Scene::with(1, limits);
        let clients: Vec<_> = (0..3).map(|_| scene.connect()).collect();
        let mut answers = Vec::new();
        for _ in &clients {
            answers.push(scene.given_to(0).await.refused);
        }
        assert_eq!(answers, [None, None, Some(ErrorCode::ServerFull)]);
        let seen = scene.seen().await;
        assert_eq!((seen.connections, seen.refusing, seen.refused), (2, 1, 1));
        // The one that was refused gives no place back when it goes.
        scene.handle.do_send(Closed { peer: clients[2].local_addr().unwrap(), refused: true });
        let again = scene.connect();
        assert_eq!(scene.given_to(0).await.refused, Some(ErrorCode::ServerFull));
        scene.handle.do_send(Closed { peer: again.local_addr().unwrap(), refused: true });
        scene.handle.do_send(Closed { peer: clients[0].local_addr().unwrap(), refused: false });
        let _third = scene.connect();
        assert_eq!(scene.given_to(0).await.refused, None);
    }
}

#[actix::test]
async fn who_comes_while_it_pauses_waits_and_gets_in_when_it_goes_on() {
    let scene = Scene::with(1, Limits::default());
    assert!(scene.handle.send(SetListening(false)).await.unwrap());
    assert!(!scene.handle.send(SetListening(false)).await.unwrap(), "it paused already");
    let clients: Vec<_> = (0..3).map(|_| scene.connect()).collect();
    for _ in 0..10 {
        // Each question is a turn of the loop.
        assert_eq!((scene.seen().await.connections, scene.seen().await.listening), (0, false));
    }
    assert!(scene.handle.send(SetListening(true)).await.unwrap());
    let mut came = Vec::new();
    for _ in &clients {
        came.push(scene.given_to(0).await.peer);
    }
    let waited: Vec<_> = clients.iter().map(|client| client.local_addr().unwrap()).collect();
    assert_eq!(came, waited, "in the order in which they came");
}

#[actix::test]
async fn those_who_wait_to_be_taken_over_are_bounded() {
    let scene = Scene::with(1, Limits { newcomers: 2, ..Limits::default() });
    let _clients: Vec<_> = (0..3).map(|_| scene.connect()).collect();
    assert_eq!(scene.until(|seen| seen.newcomers == 2).await.connections, 2);
    // The third is taken when a place is free.
    scene.given_to(0).await;
    scene.until(|seen| seen.connections == 3).await;
}

#[actix::test]
async fn descriptors_are_kept_back_and_who_finds_none_waits() {
    assert_eq!(sockets_within(1_024, 30), 1_024 - 30 - KEPT_DESCRIPTORS);
    assert_eq!(sockets_within(100, 30), 100 - 30 - 25, "a quarter where few are allowed");
    assert_eq!(sockets_within(30, 30), 1, "but one is always tried");
    let scene = Scene::with_sockets(1, Limits::default(), 1);
    let first = scene.connect();
    let second = scene.connect();
    assert_eq!(scene.given_to(0).await.peer, first.local_addr().unwrap());
    assert_eq!(scene.seen().await.connections, 1);
    scene.handle.do_send(Closed { peer: first.local_addr().unwrap(), refused: false });
    assert_eq!(scene.given_to(0).await.peer, second.local_addr().unwrap());
}

#[actix::test]
async fn when_the_server_stops_those_who_wait_are_told_and_nobody_comes_any_more() {
    let scene = Scene::with(1, Limits::default());
    scene.handle.send(SetListening(false)).await.unwrap();
    let waits = scene.connect();
    // Whoever has connected through the runtime knows that it has seen the one before.
    let _last = TcpStream::connect(scene.address).await.unwrap();
    scene.handle.send(StopListening).await.unwrap();
    let new = scene.given_to(0).await;
    assert_eq!((new.peer, new.refused), (waits.local_addr().unwrap(), Some(ErrorCode::ShuttingDown)));
    assert_eq!(scene.seen().await.addresses, Vec::<String>::new());
    assert!(Client::connect(scene.address).is_err(), "the port is closed");
    assert!(scene.listener.connected(), "it still hears that connections end");
}
