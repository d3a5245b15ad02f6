//! What `veche account` asks, and how the AuthActor is asked for it: the same in the running server and in
//! a `veche account` that works on the files itself.

use std::fmt::Write;
use std::time::Duration;

use actix::{MailboxError, Message, Recipient};

use crate::actors::messages::Reaches;

use crate::actors::messages::auth::{
    AccountEntry, AccountsHandle, AddAccount, ImportAccount, ImportOutcome, ListAccounts, OperatorError,
    RemoveAccount, SetPassword,
};
use crate::model::{Password, UserName};

/// How often a request that finds too many password hashes waiting is tried again.
const MAX_TRIES: u32 = 20;

/// Something about accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountRequest {
    /// Make an account.
    Add {
        /// Its name.
        name: UserName,
        /// Its password, [`Password::chosen`].
        password: Password,
    },
    /// Set an account's password.
    SetPassword {
        /// The account.
        name: UserName,
        /// Its new password, [`Password::chosen`].
        password: Password,
    },
    /// Remove an account.
    Remove {
        /// The account.
        name: UserName,
    },
    /// Show all accounts.
    List,
    /// Take an account over from an older server. Answered with an [`ImportOutcome`] by [`word_of`].
    Import {
        /// The name, as the older server had it.
        login: String,
        /// The MD5 of the password, in hex.
        password_md5: Password,
        /// The last address.
        ip: Option<String>,
    },
}

/// Why it was not done, in a sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// It cannot be done.
    #[error("{0}")]
    Refused(String),
    /// It cannot be done now: the server is stopping, or the disk is full.
    #[error("{0}")]
    Unavailable(String),
}

impl AccountsHandle {
    /// Does it, and says what was done.
    ///
    /// # Errors
    /// [`AccountError`], a sentence.
    pub async fn perform(&self, request: AccountRequest) -> Result<String, AccountError> {
        match request {
            AccountRequest::Add { name, password } => {
                let done = format!("Added the account {name}.");
                ask_until_free(self.recipient(), || AddAccount {
                    name: name.clone(),
                    password: password.clone(),
                })
                .await?;
                Ok(done)
            }
            AccountRequest::SetPassword { name, password } => {
                let message = || SetPassword { name: name.clone(), password: password.clone() };
                let sessions = ask_until_free(self.recipient(), message).await?;
                Ok(format!("Set the password of {name}; {} ended.", count(sessions)))
            }
            AccountRequest::Remove { name } => {
                let message = || RemoveAccount { name: name.clone() };
                let sessions = ask_until_free(self.recipient(), message).await?;
                Ok(format!("Removed the account {name}; {} ended.", count(sessions)))
            }
            AccountRequest::List => {
                let entries = self.send(ListAccounts).await.map_err(stopping)?;
                Ok(table_of(&entries))
            }
            AccountRequest::Import { login, password_md5, ip } => {
                let message = || ImportAccount {
                    login: login.clone(),
                    password_md5: password_md5.clone(),
                    ip: ip.clone(),
                };
                Ok(word_of(ask_until_free(self.recipient(), message).await?).to_owned())
            }
        }
    }
}

/// An outcome of an import, as it travels.
pub fn word_of(outcome: ImportOutcome) -> &'static str {
    match outcome {
        ImportOutcome::Imported => "imported",
        ImportOutcome::ImportedWithoutAddress => "imported without its address",
        ImportOutcome::AlreadyThere => "already there",
    }
}

/// The outcome that travelled as this word.
pub fn outcome_of(word: &str) -> Option<ImportOutcome> {
    [ImportOutcome::Imported, ImportOutcome::ImportedWithoutAddress, ImportOutcome::AlreadyThere]
        .into_iter()
        .find(|outcome| word_of(*outcome) == word)
}

/// Asks, and waits its turn when too many hashes are waiting.
async fn ask_until_free<M, T>(whom: &Recipient<M>, message: impl Fn() -> M) -> Result<T, AccountError>
where
    M: Message<Result = Result<T, OperatorError>> + Send + 'static,
    T: Send + 'static,
{
    let mut tries = 1;
    loop {
        match whom.send(message()).await.map_err(stopping)? {
            Ok(done) => return Ok(done),
            Err(OperatorError::Busy { retry_after_ms }) if tries < MAX_TRIES => {
                tries += 1;
                actix::clock::sleep(Duration::from_millis(retry_after_ms.clamp(10, 5_000))).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

impl From<OperatorError> for AccountError {
    fn from(error: OperatorError) -> Self {
        let text = error.to_string();
        match error {
            OperatorError::NoSuchAccount(_) | OperatorError::NameTaken(_) | OperatorError::BadImport(_) => {
                AccountError::Refused(text)
            }
            OperatorError::Busy { .. } | OperatorError::Storage(_) | OperatorError::Stopping => {
                AccountError::Unavailable(text)
            }
        }
    }
}

fn stopping(_: MailboxError) -> AccountError {
    OperatorError::Stopping.into()
}

/// A line an account, in columns that contain no space.
fn table_of(entries: &[AccountEntry]) -> String {
    let mut table = format!(
        "{:<32} {:<24} {:<24} {:<39} {:<8} {}",
        "NAME", "CREATED", "LAST_SEEN", "FROM", "SESSIONS", "STATE"
    );
    for entry in entries {
        let (seen, from) = match entry.last_seen {
            Some((at, from)) => (at.to_string(), from.to_string()),
            None => ("-".into(), "-".into()),
        };
        let state = match (entry.banned, entry.imported) {
            (true, _) => "banned",
            (false, true) => "imported",
            (false, false) => "-",
        };
        let created = entry.created_at.to_string();
        // Writing to a String cannot fail.
        let _ = write!(
            table,
            "\n{:<32} {created:<24} {seen:<24} {from:<39} {:<8} {state}",
            entry.name, entry.sessions
        );
    }
    table
}

fn count(sessions: usize) -> String {
    if sessions == 1 { "1 session".into() } else { format!("{sessions} sessions") }
}
