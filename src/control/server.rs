//! The server's end of the control socket.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::accounts::{AccountError, AccountLinks};
use super::{Answer, MAX_REQUEST_BYTES, Request, SOCKET_FILE, address};
use crate::actors::messages::console::RunCommand;
use crate::printable::lines;

/// How many clients are served at once; others wait.
const MAX_CLIENTS: u32 = 8;
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
#[error("cannot make the control socket {} ({error}); the data directory has to be on a local file system", path.display())]
pub struct ControlError {
    /// The socket.
    pub path: PathBuf,
    /// What the system said.
    pub error: io::Error,
}

/// A socket that is bound and waits to be served.
#[derive(Debug)]
pub struct ControlSocket {
    listener: StdUnixListener,
    path: PathBuf,
}

/// Binds `DATA_DIR/control.sock`, mode 0600 from the first moment on. The caller holds the directory's lock,
/// so a socket that is there already was left behind, and is replaced.
///
/// # Errors
/// [`ControlError`] with what the system said.
pub fn bind(data_dir: &Path) -> Result<ControlSocket, ControlError> {
    let path = data_dir.join(SOCKET_FILE);
    match bind_and_rename(data_dir, &path) {
        Ok(listener) => Ok(ControlSocket { listener, path }),
        Err(error) => Err(ControlError { path, error }),
    }
}

/// Nobody can connect under the socket's name before its mode is right.
fn bind_and_rename(data_dir: &Path, path: &Path) -> io::Result<StdUnixListener> {
    const UNFINISHED: &str = ".control.new";
    let unfinished = data_dir.join(UNFINISHED);
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (short_path, _folder) = address(data_dir, UNFINISHED)?;
    let listener = StdUnixListener::bind(short_path)?;
    listener.set_nonblocking(true)?;
    std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&unfinished, path)?;
    Ok(listener)
}

/// The socket while it is served. Dropped, it stops at once; [`ControlServer::stop`] lets answers out first.
#[derive(Debug)]
pub struct ControlServer {
    stop: watch::Sender<bool>,
    clients: Arc<Semaphore>,
    path: PathBuf,
}

/// Serves the socket on the current arbiter: commands go to the console, the rest to the AuthActor.
///
/// # Errors
/// What the system says when the socket cannot be watched.
pub fn serve(
    socket: ControlSocket,
    console: Recipient<RunCommand>,
    accounts: AccountLinks,
) -> io::Result<ControlServer> {
    let listener = UnixListener::from_std(socket.listener)?;
    let clients = Arc::new(Semaphore::new(MAX_CLIENTS as usize));
    let (stop, stopped) = watch::channel(false);
    let desk = Desk { console, accounts };
    actix_rt::spawn(accept(listener, clients.clone(), desk, stopped));
    Ok(ControlServer { stop, clients, path: socket.path })
}

impl ControlServer {
    /// Takes no more requests, and waits a moment for the answers that are due.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // All permits are back when nobody is served any more; whoever takes longer is cut off.
        let _ = timeout(STOP_PATIENCE, self.clients.acquire_many(MAX_CLIENTS)).await;
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        let _ = std::fs::remove_file(&self.path); // the next server replaces what is left
    }
}

/// Whom the requests are for.
#[derive(Clone)]
struct Desk {
    console: Recipient<RunCommand>,
    accounts: AccountLinks,
}

async fn accept(
    listener: UnixListener,
    clients: Arc<Semaphore>,
    desk: Desk,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let Ok(permit) = clients.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((client, _)) => {
                let (desk, stopped) = (desk.clone(), stopped.clone());
                actix_rt::spawn(async move {
                    if let Err(error) = desk.attend(client, stopped).await {
                        log::debug!("a client of the control socket is gone: {error}");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                log::warn!("the control socket cannot take a connection: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Desk {
    /// One client, to the end of its requests.
    async fn attend(&self, client: UnixStream, mut stopped: watch::Receiver<bool>) -> io::Result<()> {
        let (reader, mut writer) = client.into_split();
        let mut reader = BufReader::new(reader);
        loop {
            let mut line = Zeroizing::new(Vec::new());
            let mut bounded = (&mut reader).take(MAX_REQUEST_BYTES as u64 + 1);
            let read = bounded.read_until(b'\n', &mut line);
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
                read = timeout(REQUEST_PATIENCE, read) => read??,
            };
            if line.is_empty() {
                return Ok(());
            }
            let whole = line.ends_with(b"\n");
            let parts = if whole { self.answer(&line).await } else { too_long() };
            for part in parts {
                let mut bytes = serde_json::to_vec(&part)?;
                bytes.push(b'\n');
                timeout(ANSWER_PATIENCE, writer.write_all(&bytes)).await??;
            }
            if !whole {
                return Ok(());
            }
        }
    }

    async fn answer(&self, line: &[u8]) -> Vec<Answer> {
        let (ok, again, text) = match Request::decode(line) {
            Ok(Request::Command(line)) => match self.console.send(RunCommand { line }).await {
                Ok(Ok(text)) => (true, false, text),
                Ok(Err(text)) => (false, false, text),
                Err(_) => (false, true, "The server is stopping.".into()),
            },
            Ok(Request::Account(request)) => match self.accounts.perform(request).await {
                Ok(text) => (true, false, text),
                Err(AccountError::Refused(text)) => (false, false, text),
                Err(AccountError::Unavailable(text)) => (false, true, text),
            },
            Err(text) => (false, false, text),
        };
        Answer::parts(ok, again, &lines(&text))
    }
}

fn too_long() -> Vec<Answer> {
    Answer::parts(
        false,
        false,
        &format!("A request has at most {MAX_REQUEST_BYTES} bytes and ends with a newline."),
    )
}
