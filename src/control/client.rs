//! The command line's end of the control socket. It blocks; there is nothing else for it to do.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Answer, MAX_PART_BYTES, Request, SOCKET_FILE, address};

/// How long the server may take to answer: a command of its console may take half a minute.
const ANSWER_PATIENCE: Duration = Duration::from_secs(120);
/// How long it may take to read a request.
const REQUEST_PATIENCE: Duration = Duration::from_secs(30);
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
    /// The socket cannot be opened or used.
    #[error("cannot talk to the server on the data directory {} ({error}); run this as the server's own user", data_dir.display())]
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
    /// [`ClientError::NotRunning`], or [`ClientError::Talk`] when the socket belongs to somebody else.
    pub fn connect(data_dir: &Path) -> Result<Self, ClientError> {
        match connect(data_dir) {
            Ok(stream) => Ok(Client { reader: BufReader::new(stream), data_dir: data_dir.to_owned() }),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                Err(ClientError::NotRunning { data_dir: data_dir.to_owned() })
            }
            Err(error) => Err(ClientError::Talk { data_dir: data_dir.to_owned(), error }),
        }
    }

    /// Asks, and hands each part of the answer to `part` as it comes.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the server's sentence, or [`ClientError::Talk`].
    pub fn ask(&mut self, request: &Request, mut part: impl FnMut(&str)) -> Result<(), ClientError> {
        let answer = self
            .exchange(request, &mut part)
            .map_err(|error| ClientError::Talk { data_dir: self.data_dir.clone(), error })?;
        if !answer.ok {
            return Err(ClientError::Refused { text: answer.text, again: answer.again });
        }
        part(&answer.text);
        Ok(())
    }

    /// Sends the request and reads to the last line of its answer, which it returns.
    fn exchange(&mut self, request: &Request, part: &mut impl FnMut(&str)) -> io::Result<Answer> {
        self.reader.get_mut().write_all(&request.encode())?;
        loop {
            let mut line = Vec::new();
            (&mut self.reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
            if line.is_empty() {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"));
            }
            let answer: Answer = serde_json::from_slice(&line)?;
            if !answer.more {
                return Ok(answer);
            }
            part(&answer.text);
        }
    }
}

fn connect(data_dir: &Path) -> io::Result<UnixStream> {
    let (path, _folder) = address(data_dir, SOCKET_FILE)?;
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
    stream.set_write_timeout(Some(REQUEST_PATIENCE))?;
    Ok(stream)
}
