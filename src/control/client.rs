//! The command line's end of the control socket. It blocks; there is nothing else for it to do.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::{ControlAnswer, ControlRequest, MAX_PART_BYTES, SIGN_OF_LIFE, SOCKET_FILE, address};
use crate::store::lock::{process, read_holder};
use crate::store::owner::{User, owner_of};

/// How long the server may be silent. One that is at it says so more often than that, however long it takes.
const PATIENCE: Duration = Duration::from_secs(10);
const _: () = assert!(PATIENCE.as_secs() > 3 * SIGN_OF_LIFE.as_secs(), "a busy server is not a hanging one");
/// The largest line of an answer that is taken, in bytes: a text can grow sixfold when it is escaped.
const MAX_LINE_BYTES: u64 = 8 * MAX_PART_BYTES as u64;

/// Why the server did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no server.
    #[error(
        "no veche server is running on the data directory {}; start one, or name its directory with --data-dir",
        data_dir.display()
    )]
    NotRunning {
        /// The data directory.
        data_dir: PathBuf,
    },
    /// It belongs to somebody else.
    #[error(
        "may not talk to the server on the data directory {}, which belongs to {owner}; run this as {owner}",
        data_dir.display()
    )]
    NotYours {
        /// The data directory.
        data_dir: PathBuf,
        /// Whose it is.
        owner: User,
    },
    /// There is one, and it is silent.
    #[error(
        "the server on the data directory {}{} does not answer: it is stopped or hangs; look into its log, and when it does not come back end it with `kill -9`, which loses nothing that was acknowledged, and start it again",
        data_dir.display(),
        process(*holder)
    )]
    Silent {
        /// The data directory.
        data_dir: PathBuf,
        /// The server's process id, as far as it is known.
        holder: Option<u32>,
    },
    /// It went away over it.
    #[error("the server on the data directory {} ended before it had answered; see in its log whether this was done", data_dir.display())]
    Ended {
        /// The data directory.
        data_dir: PathBuf,
    },
    /// The socket cannot be used.
    #[error("cannot talk to the server on the data directory {} ({error}); see whether this is its version of veche, and look into its log", data_dir.display())]
    Talk {
        /// The data directory.
        data_dir: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The server says no.
    #[error("{text}")]
    Refused {
        /// Its sentence.
        text: String,
        /// Whether the same may succeed later.
        again: bool,
    },
}

/// A connection to the running server.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<UnixStream>,
    data_dir: PathBuf,
}

impl Client {
    /// Connects to the server of this data directory.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`]; [`ClientError::NotYours`] when the socket belongs to somebody else;
    /// [`ClientError::Silent`] when it takes nobody.
    pub fn connect(data_dir: &Path) -> Result<Self, ClientError> {
        match connect(data_dir) {
            Ok(stream) => Ok(Client { reader: BufReader::new(stream), data_dir: data_dir.to_owned() }),
            Err(error) => Err(ClientError::of(error, data_dir)),
        }
    }

    /// Asks, and hands each part of the answer to `part` as it comes. Answers what `status` found to be wrong.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the server's sentence, or why it could not be asked.
    pub fn ask(
        &mut self,
        request: &ControlRequest,
        mut part: impl FnMut(&str),
    ) -> Result<Option<String>, ClientError> {
        let answer =
            self.exchange(request, &mut part).map_err(|error| ClientError::of(error, &self.data_dir))?;
        if !answer.ok {
            return Err(ClientError::Refused { text: answer.text, again: answer.again });
        }
        part(&answer.text);
        Ok(answer.wrong)
    }

    /// Sends the request and reads to the last line of its answer, which it returns.
    fn exchange(
        &mut self,
        request: &ControlRequest,
        part: &mut impl FnMut(&str),
    ) -> io::Result<ControlAnswer> {
        self.reader.get_mut().write_all(&request.encode())?;
        loop {
            let mut line = Vec::new();
            (&mut self.reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
            if line.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let answer: ControlAnswer = serde_json::from_slice(&line)?;
            if !answer.more {
                return Ok(answer);
            }
            if !answer.working {
                part(&answer.text);
            }
        }
    }
}

impl ClientError {
    fn of(error: io::Error, data_dir: &Path) -> Self {
        let data_dir = data_dir.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning { data_dir }
            }
            io::ErrorKind::PermissionDenied => match owner_of(&data_dir) {
                Ok(owner) => ClientError::NotYours { data_dir, owner },
                Err(_) => ClientError::Talk { data_dir, error },
            },
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                ClientError::Silent { holder: read_holder(&data_dir), data_dir }
            }
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                ClientError::Ended { data_dir }
            }
            _ => ClientError::Talk { data_dir, error },
        }
    }
}

fn connect(data_dir: &Path) -> io::Result<UnixStream> {
    let (path, _folder) = address(data_dir, SOCKET_FILE)?;
    // The standard library knows no time limit for connecting, which a server that takes nobody would need.
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(OwnedFd::from(socket).into())
}
