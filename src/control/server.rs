//! The server's end of the control socket.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::accounts::AccountError;
use super::{ControlAnswer, ControlRequest, MAX_REQUEST_BYTES, SIGN_OF_LIFE, SOCKET_FILE, address};
use crate::actors::messages::auth::AccountsHandle;
use crate::actors::messages::console::{ConsoleHandle, RunCommand};
use crate::sanitize::lines;

/// How many clients there may be. When there are more, the one that has asked for nothing for the longest time
/// is let go.
const MAX_CLIENTS: u32 = 64;
/// How long a client may take from one answer to its next request.
const REQUEST_PATIENCE: Duration = Duration::from_secs(60);
/// How long a client may take to read its answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);
/// How long a server that stops waits for the answers that are due.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// The pause after a connection could not be taken, for want of descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The control socket cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// What is there is no socket that a server left behind.
    #[error("{} is no socket, and so is not replaced by the control socket; move it away, then start again", .0.display())]
    InTheWay(PathBuf),
    /// The system does not make one.
    #[error("cannot make the control socket {} ({error}); the data directory has to be on a local file system that the server's user may write", path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// A socket that is bound and waits to be served.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

/// Binds `DATA_DIR/control.sock`, mode 0600 from the first moment on, to be served by the current runtime. The caller holds the directory's lock,
/// so a socket that is there already was left behind, and is replaced.
///
/// # Errors
/// [`ControlError`] with what the system said.
pub fn bind(data_dir: &Path) -> Result<ControlSocket, ControlError> {
    const UNFINISHED: &str = ".control.new";
    let (path, unfinished) = (data_dir.join(SOCKET_FILE), data_dir.join(UNFINISHED));
    for place in [&path, &unfinished] {
        if place.symlink_metadata().is_ok_and(|there| !there.file_type().is_socket()) {
            return Err(ControlError::InTheWay(place.clone()));
        }
    }
    // Nobody can connect under the socket's name before its mode is right.
    let bind_and_rename = || {
        match std::fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (short_path, _folder) = address(data_dir, UNFINISHED)?;
        let listener = StdUnixListener::bind(short_path)?;
        listener.set_nonblocking(true)?;
        std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&unfinished, &path)?;
        UnixListener::from_std(listener)
    };
    match bind_and_rename() {
        Ok(listener) => Ok(ControlSocket { listener, path }),
        Err(error) => Err(ControlError::System { path, error }),
    }
}

/// The socket while it is served. Dropped, it stops at once; [`ControlServer::stop`] lets answers out first.
#[derive(Debug)]
pub struct ControlServer {
    stop: watch::Sender<bool>,
    places: Arc<Semaphore>,
    path: PathBuf,
}

/// Serves the socket on the current arbiter: commands go to the console, the rest to the AuthActor.
pub fn serve(socket: ControlSocket, console: ConsoleHandle, accounts: AccountsHandle) -> ControlServer {
    let places = Arc::new(Semaphore::new(MAX_CLIENTS as usize));
    let (stop, stopped) = watch::channel(false);
    let handler = ControlHandler { console, accounts, idle: Rc::default() };
    actix_rt::spawn(accept(socket.listener, places.clone(), handler, stopped));
    ControlServer { stop, places, path: socket.path }
}

impl ControlServer {
    /// Takes no more requests, and waits a moment for the answers that are due.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // All permits are back when nobody is served any more; whoever takes longer is cut off.
        let _ = timeout(STOP_PATIENCE, self.places.acquire_many(MAX_CLIENTS)).await;
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        let _ = std::fs::remove_file(&self.path); // the next server replaces what is left
    }
}

/// Does what the clients ask: commands by the console, the rest by the AuthActor.
#[derive(Clone)]
struct ControlHandler {
    console: ConsoleHandle,
    accounts: AccountsHandle,
    idle: Rc<RefCell<Idle>>,
}

/// The clients that ask for nothing, the longest idle one first: who holds a place without a use for it must
/// not keep out the operator who has one.
#[derive(Default)]
struct Idle {
    turn: u64,
    clients: BTreeMap<u64, Rc<Notify>>,
}

impl Idle {
    /// A client waits for its next request, under this number.
    fn enter(&mut self, leave: &Rc<Notify>) -> u64 {
        self.turn += 1;
        self.clients.insert(self.turn, Rc::clone(leave));
        self.turn
    }

    /// It has got one, or is gone.
    fn leave(&mut self, turn: u64) {
        self.clients.remove(&turn);
    }

    /// Lets the longest idle one go.
    fn make_room(&mut self) {
        if let Some((_, leave)) = self.clients.pop_first() {
            leave.notify_one();
        }
    }
}

async fn accept(
    listener: UnixListener,
    places: Arc<Semaphore>,
    handler: ControlHandler,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            accepted = listener.accept() => accepted,
        };
        let client = match accepted {
            Ok((client, _)) => client,
            Err(error) => {
                log::warn!("the control socket cannot take a connection: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if places.available_permits() == 0 {
            handler.idle.borrow_mut().make_room();
        }
        let permit = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            permit = places.clone().acquire_owned() => permit,
        };
        let Ok(permit) = permit else { return };
        let (handler, stopped) = (handler.clone(), stopped.clone());
        actix_rt::spawn(async move {
            if let Err(error) = handler.attend(client, stopped).await {
                log::debug!("a client of the control socket is gone: {error}");
            }
            drop(permit);
        });
    }
}

impl ControlHandler {
    /// One client, to the end of its requests.
    async fn attend(&self, client: UnixStream, mut stopped: watch::Receiver<bool>) -> io::Result<()> {
        let (reader, mut writer) = client.into_split();
        let mut reader = BufReader::new(reader);
        let leave = Rc::new(Notify::new());
        loop {
            let mut line = Zeroizing::new(Vec::new());
            let mut bounded = (&mut reader).take(MAX_REQUEST_BYTES as u64 + 1);
            let read = bounded.read_until(b'\n', &mut line);
            let turn = self.idle.borrow_mut().enter(&leave);
            let read = tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => None,
                () = leave.notified() => None,
                read = timeout(REQUEST_PATIENCE, read) => Some(read),
            };
            self.idle.borrow_mut().leave(turn);
            let Some(read) = read else { return Ok(()) };
            read??;
            if line.is_empty() {
                return Ok(());
            }
            let whole = line.ends_with(b"\n");
            let answer = if whole { self.answer_in_time(&line, &mut writer).await? } else { too_long() };
            for part in answer.parts() {
                send(&mut writer, &part).await?;
            }
            if !whole {
                return Ok(());
            }
        }
    }

    /// The answer; while it takes its time, the client is told that there will be one.
    async fn answer_in_time(&self, line: &[u8], writer: &mut OwnedWriteHalf) -> io::Result<ControlAnswer> {
        let mut answer = pin!(self.answer(line));
        loop {
            tokio::select! {
                answer = &mut answer => return Ok(answer),
                () = sleep(SIGN_OF_LIFE) => send(writer, &ControlAnswer::at_work()).await?,
            }
        }
    }

    async fn answer(&self, line: &[u8]) -> ControlAnswer {
        let refused = |text: String| ControlAnswer::line(false, lines(&text).into_owned());
        match ControlRequest::decode(line) {
            Ok(ControlRequest::Command(line)) => match self.console.send(RunCommand { line }).await {
                Ok(Ok(done)) => ControlAnswer { wrong: done.wrong, ..ControlAnswer::line(true, done.text) },
                Ok(Err(text)) => refused(text),
                Err(_) => ControlAnswer { again: true, ..refused("The server is stopping.".into()) },
            },
            Ok(ControlRequest::Account(request)) => match self.accounts.perform(request).await {
                Ok(text) => ControlAnswer::line(true, lines(&text).into_owned()),
                Err(AccountError::Refused(text)) => refused(text),
                Err(AccountError::Unavailable(text)) => ControlAnswer { again: true, ..refused(text) },
            },
            Err(text) => refused(text),
        }
    }
}

async fn send(writer: &mut OwnedWriteHalf, part: &ControlAnswer) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(part)?;
    bytes.push(b'\n');
    timeout(ANSWER_PATIENCE, writer.write_all(&bytes)).await?
}

fn too_long() -> ControlAnswer {
    ControlAnswer::line(
        false,
        format!("A request has at most {MAX_REQUEST_BYTES} bytes and ends with a newline."),
    )
}
