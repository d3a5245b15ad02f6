//! `veche account`: manages the accounts, whether a server is running or not.
//!
//! While a server runs, it is asked through its control socket. Otherwise this process takes the lock of the
//! data directory and does what the server would do, by the same AuthActor (see `offline`).

use std::error::Error;
use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Subcommand;

use super::offline::{OfflineAccounts, OfflineError};
use super::{Exit, import, print};
use crate::config::Config;
use crate::control::ControlRequest;
use crate::control::accounts::{AccountError, AccountRequest};
use crate::control::client::{Client, ClientError};
use crate::model::{Password, UserName};
use crate::server::resources::{self, FewFiles};
use crate::store::lock::{DataDirLock, LockError};
use crate::store::owner::{self, OwnerError};

/// The longest line that is read as a password, in bytes.
const MAX_LINE_BYTES: u64 = 4_096;
/// How long to wait for a server that is starting, or for another `veche account` that is about to end.
const DOOR_PATIENCE: Duration = Duration::from_secs(5);
/// How often to look whether it is there.
const DOOR_POLL: Duration = Duration::from_millis(50);

/// What `veche account` can do.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum AccountCommand {
    /// Make an account; its password is read from the terminal, or from standard input
    Add {
        /// The name, 1 to 32 letters, digits and - _ .
        name: UserName,
    },
    /// Set an account's password, which ends its sessions
    Passwd {
        /// The account
        #[arg(value_parser = UserName::as_given)]
        name: UserName,
    },
    /// Remove an account, which ends its sessions and frees its name
    Remove {
        /// The account
        #[arg(value_parser = UserName::as_given)]
        name: UserName,
    },
    /// Show all accounts, in columns separated by spaces
    List,
    /// Take over accounts of an older server, from a CSV file with the columns login, password_md5 and
    /// optionally ip; can be cut off and repeated
    Import {
        /// The CSV file
        file: PathBuf,
    },
}

/// Why an account's password could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PasswordInputError {
    /// The terminal or the input does not give one.
    #[error(
        "cannot read the password ({0}); type it at a terminal, or give it as one line of standard input"
    )]
    Read(#[from] io::Error),
    /// It was mistyped.
    #[error("the two passwords differ; nothing was changed, try again")]
    Differ,
    /// It does not meet the rules.
    #[error("this password will not do: it has to have 8 to 256 bytes; nothing was changed")]
    Rules,
}

/// Why there is nobody to ask.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The data directory is not there, and what was asked for needs it.
    #[error("there is no data directory {}; start a server first, or name its directory with --data-dir", .0.display())]
    NoDataDir(PathBuf),
    /// Too few files may be open.
    #[error(transparent)]
    FewFiles(#[from] FewFiles),
    /// It is somebody else's.
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// It cannot be locked, or is by somebody who does not answer.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The running server cannot be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The files cannot be worked on.
    #[error(transparent)]
    Offline(#[from] OfflineError),
}

/// Does it, and prints what was done.
///
/// # Errors
/// A sentence: why the password cannot be read, nobody can be asked, or the AuthActor refuses.
pub fn run(config: &Config, command: AccountCommand) -> Result<Exit, Box<dyn Error>> {
    Door::may_open(&config.server.data_dir)?;
    let request = match command {
        AccountCommand::Add { name } => {
            let password = read_password(&name)?;
            AccountRequest::Add { name, password }
        }
        AccountCommand::Passwd { name } => {
            let password = read_password(&name)?;
            AccountRequest::SetPassword { name, password }
        }
        AccountCommand::Remove { name } => AccountRequest::Remove { name },
        AccountCommand::List => AccountRequest::List,
        AccountCommand::Import { file } => {
            let list = import::read(&file)?;
            let mut door = Door::open(config, true)?;
            let exit = import::run(list, |request| door.ask(request));
            door.close();
            return Ok(exit);
        }
    };
    let makes_accounts = matches!(request, AccountRequest::Add { .. });
    let mut door = Door::open(config, makes_accounts)?;
    let answer = door.ask(request);
    door.close();
    print(&format!("{}\n", answer?));
    Ok(Exit::Success)
}

/// Who does what is asked.
enum Door {
    Running(Client),
    Files(OfflineAccounts),
}

impl Door {
    /// Refuses who may not, before anybody types a password. A server that runs makes its files itself, whoever
    /// asks; without one they would be made here.
    fn may_open(data_dir: &Path) -> Result<(), DoorError> {
        match Client::connect(data_dir) {
            Ok(_) => Ok(()),
            Err(ClientError::NotRunning { .. }) => Ok(owner::check(data_dir)?),
            Err(error) => Err(error.into()),
        }
    }

    /// Finds out who can be asked. `makes_accounts`: a data directory that is not there is made, and an
    /// account that is new needs to know the newest message.
    fn open(config: &Config, makes_accounts: bool) -> Result<Self, DoorError> {
        let data_dir = &config.server.data_dir;
        if !makes_accounts && !data_dir.is_dir() {
            return Err(DoorError::NoDataDir(data_dir.clone()));
        }
        resources::files_to_serve()?;
        match lock_or_connect(data_dir)? {
            Ok(lock) => Ok(Door::Files(OfflineAccounts::open(config, lock, makes_accounts)?)),
            Err(client) => Ok(Door::Running(client)),
        }
    }

    fn ask(&mut self, request: AccountRequest) -> Result<String, AccountError> {
        match self {
            Door::Files(offline) => offline.perform(request),
            Door::Running(client) => {
                let mut parts = Vec::new();
                match client.ask(&ControlRequest::Account(request), |part| parts.push(part.to_owned())) {
                    Ok(_) => Ok(parts.join("\n")),
                    Err(ClientError::Refused { text, again: false }) => Err(AccountError::Refused(text)),
                    Err(error) => Err(AccountError::Unavailable(error.to_string())),
                }
            }
        }
    }

    fn close(self) {
        if let Door::Files(offline) = self {
            offline.close();
        }
    }
}

/// The server that runs, or the lock. The server first: whoever asks one makes no files, not even that of the
/// lock. Somebody who has the lock and no socket is either a server that has just begun to start or another
/// `veche account`; both are worth a moment's wait.
fn lock_or_connect(data_dir: &Path) -> Result<Result<DataDirLock, Client>, DoorError> {
    let begun = Instant::now();
    loop {
        match Client::connect(data_dir) {
            Ok(client) => return Ok(Err(client)),
            Err(ClientError::NotRunning { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        owner::check(data_dir)?;
        match DataDirLock::acquire(data_dir) {
            Ok(lock) => return Ok(Ok(lock)),
            Err(LockError::Held { .. }) if begun.elapsed() < DOOR_PATIENCE => std::thread::sleep(DOOR_POLL),
            Err(error) => return Err(error.into()),
        }
    }
}

fn read_password(name: &UserName) -> Result<Password, PasswordInputError> {
    let text = if io::stdin().is_terminal() {
        let once = rpassword::prompt_password(format!("Password for {name}: "))?;
        let password = Password::given(once);
        let again = Password::given(rpassword::prompt_password("Once more: ")?);
        if password != again {
            return Err(PasswordInputError::Differ);
        }
        password
    } else {
        first_line(io::stdin().lock())?
    };
    Password::chosen(text.expose()).map_err(|_| PasswordInputError::Rules)
}

/// The first line of a pipe, without its newline.
fn first_line(input: impl BufRead) -> io::Result<Password> {
    let mut line = String::new();
    input.take(MAX_LINE_BYTES).read_line(&mut line)?;
    let without_newline = line.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    let length = without_newline.unwrap_or(&line).len();
    line.truncate(length);
    Ok(Password::given(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_line_of_a_pipe() {
        for (input, password) in [
            ("correct horse\nrest\n", "correct horse"),
            ("correct horse\r\n", "correct horse"),
            ("correct horse", "correct horse"),
            (" spaces stay \n", " spaces stay "),
            ("", ""),
        ] {
            assert_eq!(first_line(input.as_bytes()).unwrap().expose(), password, "{input:?}");
        }
        assert_eq!(first_line("x".repeat(10_000).as_bytes()).unwrap().expose().len(), 4_096);
    }

    #[test]
    fn a_data_directory_that_is_not_there_is_not_made_by_looking() {
        let place = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.server.data_dir = place.path().join("missing");
        let refused = run(&config, AccountCommand::List).unwrap_err();
        assert!(refused.to_string().contains("there is no data directory"), "{refused}");
        assert!(!config.server.data_dir.exists());
    }
}
