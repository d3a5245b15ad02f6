//! What waits for a slow disk while the world changes.

use std::io;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use super::*;
use crate::actors::messages::auth::{ClearAccounts, RemoveAccount};
use crate::actors::messages::observe::Observe;
use crate::disk::{Access, File, Stat};
use crate::model::UserName;

/// Whether the disk forces anything at the moment.
#[derive(Debug, Default)]
struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn set_closed(&self, closed: bool) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = closed;
        self.opened.notify_all();
    }

    fn wait(&self) {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let open = self.opened.wait_while(closed, |closed| *closed);
        drop(open.unwrap_or_else(PoisonError::into_inner));
    }
}

/// A folder whose files are forced to the disk when the gate is open.
#[derive(Debug)]
struct Slow<T: ?Sized> {
    gate: Arc<Gate>,
    inner: Arc<T>,
}

impl Folder for Slow<dyn Folder> {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let inner = self.inner.open(name, access)?;
        Ok(Arc::new(Slow { gate: Arc::clone(&self.gate), inner }))
    }

    fn folder(&self, name: &str) -> io::Result<Arc<dyn Folder>> {
        let inner = self.inner.folder(name)?;
        Ok(Arc::new(Slow { gate: Arc::clone(&self.gate), inner }))
    }

    fn stat(&self, name: &str) -> io::Result<Option<Stat>> {
        self.inner.stat(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }

    fn in_place(&self) -> io::Result<bool> {
        self.inner.in_place()
    }
}

impl File for Slow<dyn File> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.inner.write_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.gate.wait();
        self.inner.sync()
    }

    fn stat(&self) -> io::Result<Stat> {
        self.inner.stat()
    }

    fn stat_by_path(&self) -> io::Result<Option<Stat>> {
        self.inner.stat_by_path()
    }
}

/// Sends a request whose reply is not waited for.
async fn send(client: &mut Client, mut request: Value) {
    request["token"] = json!(client.token);
    let payload = request.to_string();
    client.stream.write_u32(payload.len() as u32).await.unwrap();
    client.stream.write_all(payload.as_bytes()).await.unwrap();
}

/// Waits until so many messages wait for the disk.
async fn waiting(runtime: &Runtime, count: usize) {
    let enough = async {
        while runtime.handles.journal.send(Observe::now()).await.unwrap().state.waiting < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, enough).await.expect("they are on their way");
}

// issue 7: a direct message to a removed account is read by the name's next owner
#[test]
fn whoever_takes_a_name_gets_nothing_that_waited_for_the_disk() {
    for clears in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        resources::system().unwrap().block_on(async {
            let gate = Arc::<Gate>::default();
            let inner = crate::disk::real::open_folder(dir.path()).unwrap();
            let data: Arc<dyn Folder> = Arc::new(Slow { gate: Arc::clone(&gate), inner });
            let runtime = build_over(&dir, &data);
            let mut alice = Client::register(&runtime, "alice", "tea").await;
            let mut bob = Client::register(&runtime, "bob", "coffee").await;

            gate.set_closed(true);
            send(&mut bob, json!({"type": "tell", "to": "alice", "text": "for the first alice"})).await;
            send(&mut alice, json!({"type": "say", "room": "tea", "text": "a secret", "key": "k"})).await;
            waiting(&runtime, 2).await;
            let (auth, accounts) = (runtime.handles.auth.clone(), runtime.accounts.clone());
            let removal = actix_rt::spawn(async move {
                if clears {
                    auth.send(ClearAccounts).await.unwrap().expect("space on the disk");
                } else {
                    let name = UserName::parse("alice").unwrap();
                    accounts.send(RemoveAccount { name }).await.unwrap().expect("space on the disk");
                }
            });
            let register = || json!({"type": "register", "name": "alice", "password": "another horse"});
            let mut newcomer = Client::connect(&runtime).await;
            // Taken by the account before it is removed, and by what waits after it.
            for _ in 0..3 {
                let refused = newcomer.request(register(), "error").await;
                assert_eq!(refused["code"], "name_taken");
            }
            // Her connection has to wait for its receipt, and is closed when that takes too long.
            let _ = timeout(PATIENCE, alice.stream.read_to_end(&mut Vec::new())).await.expect("it ends");
            let refused = newcomer.request(register(), "error").await;
            assert_eq!(refused["code"], "name_taken", "what is hers still waits");
            gate.set_closed(false);
            removal.await.unwrap();
            newcomer.open(register()).await;
            let inbox = newcomer.request(json!({"type": "inbox"}), "inbox").await;
            assert_eq!(inbox["messages"], json!([]));
            newcomer.request(json!({"type": "join", "room": "tea"}), "joined").await;
            let said = json!({"type": "say", "room": "tea", "text": "another text", "key": "k"});
            newcomer.request(said, "ok").await;
            runtime.stop().await;
        });
    }
}
