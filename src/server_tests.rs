//! What a fault inside costs, seen from outside. No input can provoke one, so these tests reach past the
//! door: they build the whole runtime and send an actor what nobody else would.

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::actors::messages::directory::FindRoom;
use crate::actors::messages::room::Leave;
use crate::model::{ConnectionId, RoomName};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

struct Client {
    stream: TcpStream,
    token: String,
}

impl Client {
    async fn connect(runtime: &Runtime) -> Self {
        let stream = TcpStream::connect(&runtime.addresses[0]).await.unwrap();
        let mut client = Client { stream, token: String::new() };
        assert_eq!(client.next().await["type"], "welcome");
        client
    }

    /// The next frame.
    async fn next(&mut self) -> Value {
        let read = async {
            let length = self.stream.read_u32().await.unwrap();
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).await.unwrap();
            serde_json::from_slice(&payload).unwrap()
        };
        timeout(PATIENCE, read).await.expect("a frame in time")
    }

    /// Sends a request and waits for the next frame, which has to be of this type.
    async fn request(&mut self, mut request: Value, kind: &str) -> Value {
        if !self.token.is_empty() {
            request["token"] = json!(self.token);
        }
        let payload = request.to_string();
        self.stream.write_u32(payload.len() as u32).await.unwrap();
        self.stream.write_all(payload.as_bytes()).await.unwrap();
        let reply = self.next().await;
        assert_eq!(reply["type"], kind, "{request}: {reply}");
        reply
    }

    async fn open(&mut self, request: Value) {
        let session = self.request(request, "session").await;
        self.token = session["token"].as_str().unwrap().to_owned();
    }

    async fn register(runtime: &Runtime, name: &str, room: &str) -> Self {
        let mut client = Client::connect(runtime).await;
        client.open(json!({"type": "register", "name": name, "password": "correct horse"})).await;
        client.request(json!({"type": "join", "room": room}), "joined").await;
        client
    }
}

fn build(dir: &TempDir) -> Runtime {
    let data = crate::disk::real::open_folder(dir.path()).unwrap();
    build_over(dir, &data)
}

/// A runtime whose history lies in this folder.
fn build_over(dir: &TempDir, history_data: &Arc<dyn Folder>) -> Runtime {
    build_with(dir, history_data, |_| {})
}

/// The same, with settings of its own.
fn build_with(dir: &TempDir, history_data: &Arc<dyn Folder>, change: impl FnOnce(&mut Config)) -> Runtime {
    let mut config = Config::default();
    config.server.data_dir = dir.path().to_owned();
    config.auth.argon2_memory_kib = 64;
    change(&mut config);
    let config = Arc::new(config);
    let newest_id = Arc::new(AtomicU64::new(0));
    let data = crate::disk::real::open_folder(dir.path()).unwrap();
    let history = open_history(&config, history_data, &newest_id).unwrap();
    let auth = AuthActor::open(&config, &data, Arc::clone(&newest_id), None).unwrap();
    let terms = begin_term(&history, &newest_id).unwrap();
    let past = Past { terms, newest_id: Arc::clone(&newest_id), spellings: Arc::default() };
    let (critical, _deaths) = PanicWatch::new();
    let journal = Journal::prepare(&config, history, newest_id, critical.of("the journal")).unwrap();
    let listener = bind::bind("127.0.0.1:0", true).unwrap().listener;
    let io = IoResources::prepare(&config, vec![listener]).unwrap();
    Runtime::build(&config, io, auth, journal, past, critical)
}

#[test]
fn a_room_that_panics_is_internal_to_its_members_and_costs_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    resources::system().unwrap().block_on(async {
        let runtime = build(&dir);
        let mut alice = Client::register(&runtime, "alice", "tea").await;
        let mut bob = Client::register(&runtime, "bob", "coffee").await;
        let said = json!({"type": "say", "room": "tea", "text": "before"});
        let before = alice.request(said, "ok").await;

        let tea = RoomName::parse("tea").unwrap();
        let room =
            runtime.handles.directory.send(FindRoom { room: tea }).await.unwrap().expect("alice is in it");
        // There is no such thread: a connection on it is a fault of the server's own.
        let nobody = ConnectionId::fresh(IoThread(1_023));
        assert!(room.send(Leave { connection: nobody, request: None }).await.is_err(), "it panics");

        let error = alice.next().await;
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("internal")), "{error}");
        let bye = alice.next().await;
        assert_eq!((&bye["type"], &bye["reason"]), (&json!("bye"), &json!("internal")), "{bye}");

        bob.request(json!({"type": "say", "room": "coffee", "text": "what was that?"}), "ok").await;
        let mut again = Client::connect(&runtime).await;
        again.open(json!({"type": "resume", "token": alice.token})).await;
        let joined = again.request(json!({"type": "join", "room": "tea"}), "joined").await;
        assert_eq!(joined["messages"][0]["id"], before["id"], "nothing is lost");
        let after = again.request(json!({"type": "say", "room": "tea", "text": "after"}), "ok").await;
        assert_eq!(after["prev"], before["id"]);
        drop((alice, bob, again));
        runtime.stop().await;
    });
}

#[path = "server_slow_disk_tests.rs"]
mod slow_disk;

#[path = "server_wires_tests.rs"]
mod wires;
