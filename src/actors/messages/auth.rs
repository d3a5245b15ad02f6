//! What others say to the AuthActor, and the one thing that it says to them, [`EndSession`].
//!
//! Every message is answered, unless its reply is `()` by nature; none of them blocks the actor: what needs
//! a hash or the disk is answered later, out of order. A message to an AuthActor that has stopped is a
//! `MailboxError` for its sender, who answers `internal` or, while the server stops, `shutting_down`.

use std::net::IpAddr;
use std::path::PathBuf;

use actix::{Message, Recipient};
use serde::Serialize;

use super::observe::Observe;
use super::session::EndSession;
use crate::chat::accounts::sessions::PREVIOUS_TOKEN_LIFE;
use crate::model::{MessageId, Password, Refusal, SessionId, Timestamp, TokenHash, TokenText, UserName};

handle! {
    /// Who knows accounts.
    AuthHandle, AuthWays {
        identify: Identify,
        open_session: OpenSession,
        token_used: TokenUsed,
        detach: Detach,
        close_session: CloseSession,
        change_password: ChangePassword,
        look_up: LookUp,
        ban: Ban,
        unban: Unban,
        unlock: Unlock,
        kick: Kick,
        clear_accounts: ClearAccounts,
        observe: Observe<AuthSnapshot>,
        shutdown: Shutdown,
    }
}

handle! {
    /// Who makes, changes and lists accounts for the operator: the AuthActor, in the server or without one.
    AccountsHandle, AccountsWays {
        add: AddAccount,
        set_password: SetPassword,
        remove: RemoveAccount,
        list: ListAccounts,
        import: ImportAccount,
    }
}

/// For how many seconds the token before the last stays good, unless the fresh one is used first.
pub const PREVIOUS_TOKEN_SECONDS: u64 = PREVIOUS_TOKEN_LIFE.as_secs();

/// From a SessionActor, for `identify`: is this name registered? `server` counts as known.
#[derive(Debug, Clone, Message)]
#[rtype(result = "bool")]
pub struct Identify {
    /// The name that is asked for.
    pub name: UserName,
}

/// From a SessionActor that has no session, for `register`, `login` and `resume`. Answered when the session
/// is durable, so that its token outlives the process. A sender that has stopped before the answer loses
/// what it asked for: a session that nobody has the token of is ended at once.
#[derive(Debug, Message)]
#[rtype(result = "Result<OpenedSession, Refusal>")]
pub struct OpenSession {
    /// What the client showed.
    pub how: HowToOpen,
    /// Where it connects from.
    pub from: IpAddr,
    /// Where to tell that the session has ended.
    pub end: Recipient<EndSession>,
}

/// What a client shows to get a session.
#[derive(Debug, Clone)]
pub enum HowToOpen {
    /// A name that is free and a password of its choice.
    Register {
        /// The new account.
        name: UserName,
        /// Its password, [`Password::chosen`].
        password: Password,
    },
    /// A name and its password.
    Login {
        /// The account.
        name: UserName,
        /// What the client takes for its password.
        password: Password,
        /// A token that the account had on this device, as the client says.
        device: Option<TokenText>,
    },
    /// A token.
    Resume {
        /// The token, the fresh one or the one before it.
        token: TokenText,
    },
}

/// A session that is open and durable.
#[derive(Debug, Clone)]
pub struct OpenedSession {
    /// The session, as this connection holds it.
    pub session: SessionId,
    /// Whose it is.
    pub account: UserName,
    /// The newest message of the server at the time the account was made, `None` for none: the account sees
    /// only direct messages above it.
    pub visible_from: Option<MessageId>,
    /// The fresh token, for the client. It is nowhere else.
    pub token: TokenText,
    /// What its requests are checked against.
    pub token_hash: TokenHash,
    /// After a `resume`: the token that was shown, good until the first use of the fresh one (the
    /// SessionActor forgets it then and sends [`TokenUsed`]) or [`PREVIOUS_TOKEN_SECONDS`].
    pub previous: Option<TokenHash>,
    /// For how many seconds the fresh token is good without a connection.
    pub expires_in_seconds: u64,
    /// Whether the account was made just now.
    pub new: bool,
    /// When and from where the account was last seen before.
    pub last_seen: Option<(Timestamp, IpAddr)>,
    /// A sentence for a person.
    pub greeting: String,
}

/// From a SessionActor: the fresh token is used for the first time, so the one before it dies. Answered when
/// that is durable; until then the request that shows it waits, and is refused with `storage_unavailable` when
/// the disk does not take it.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<(), Refusal>")]
pub struct TokenUsed {
    /// The session.
    pub session: SessionId,
}

/// From a SessionActor, with `do_send`: the connection is gone without `exit`; the session waits for a
/// `resume`. Nothing happens when another connection holds the session by now.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Detach {
    /// The session.
    pub session: SessionId,
}

/// From a SessionActor, for `exit`: ends the session for good. Answered when that is durable; when the disk
/// does not take it, it is refused with `storage_unavailable`, and the session goes on.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<(), Refusal>")]
pub struct CloseSession {
    /// The session.
    pub session: SessionId,
}

/// From a SessionActor, for `passwd`. The account's other sessions get [`EndSession`] `Kicked`. Answered
/// when the new password is durable and the others' tokens are dead. Wrong guesses count like those of
/// `login`.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), Refusal>")]
pub struct ChangePassword {
    /// The session that asks.
    pub session: SessionId,
    /// What the client takes for the password.
    pub old: Password,
    /// The new one, [`Password::chosen`].
    pub new: Password,
    /// Where it connects from.
    pub from: IpAddr,
}

/// From a SessionActor, for `tell` and `history` with an account: is there such an account, and since which
/// message? `None` for `server`.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Option<AccountInfo>")]
pub struct LookUp {
    /// The account.
    pub name: UserName,
}

/// What others may know of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountInfo {
    /// Its name.
    pub name: UserName,
    /// The newest message at the time it was made; it sees only direct messages above.
    pub visible_from: Option<MessageId>,
}

/// Why an operator's command on accounts was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperatorError {
    /// No such account.
    #[error("there is no account {0}; `veche account list` shows those there are")]
    NoSuchAccount(UserName),
    /// The name is an account, looks like one, or is the operator's own.
    #[error("the name {0} is taken, or looks like one that is; choose another")]
    NameTaken(UserName),
    /// A cell of an import is not what it has to be.
    #[error("{0}")]
    BadImport(String),
    /// Too much is waiting.
    #[error("too many password checks are waiting; try again in {retry_after_ms} ms")]
    Busy {
        /// When it will probably do.
        retry_after_ms: u64,
    },
    /// The disk did not take it.
    #[error(
        "the account file could not be written ({0}); look for free space in the data directory and try again"
    )]
    Storage(String),
    /// The server is stopping, or failed.
    #[error("the server is stopping; try again when it runs")]
    Stopping,
}

/// From the operator: makes an account. Answered when it is durable. The password is [`Password::chosen`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), OperatorError>")]
pub struct AddAccount {
    /// The new account.
    pub name: UserName,
    /// Its password.
    pub password: Password,
}

/// From the operator: sets a password and ends the account's sessions. Answered when durable, with the
/// number of sessions that ended.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<usize, OperatorError>")]
pub struct SetPassword {
    /// The account.
    pub name: UserName,
    /// Its new password, [`Password::chosen`].
    pub password: Password,
}

/// From the operator: removes an account and ends its sessions. Answered when durable, with the number of
/// sessions that ended. The name is free from then on.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<usize, OperatorError>")]
pub struct RemoveAccount {
    /// The account.
    pub name: UserName,
}

/// From the operator: all accounts, sorted by name.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Vec<AccountEntry>")]
pub struct ListAccounts;

/// An account in the operator's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountEntry {
    /// Its name.
    pub name: UserName,
    /// When it was made.
    pub created_at: Timestamp,
    /// When and from where it was last seen.
    pub last_seen: Option<(Timestamp, IpAddr)>,
    /// Whether the operator has banned it.
    pub banned: bool,
    /// Whether it came by an import and nobody has logged in since: its hash is one of an MD5.
    pub imported: bool,
    /// Its sessions, with and without a connection.
    pub sessions: usize,
}

/// From `veche account import`, a row after the other: takes over an account of an older server. Answered
/// when it is durable, so that an import that was cut off goes on where it stopped.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<ImportOutcome, OperatorError>")]
pub struct ImportAccount {
    /// The name, as the old server had it.
    pub login: String,
    /// The MD5 of the password, 32 hex digits of either case. Kept as secret as a password.
    pub password_md5: Password,
    /// The last address, empty or absent for none.
    pub ip: Option<String>,
}

/// What became of a row of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportOutcome {
    /// The account is there now.
    Imported,
    /// The account is there now; its address was none and was left out.
    ImportedWithoutAddress,
    /// There was an account of this name before: by an earlier run, or a name twice in the file.
    AlreadyThere,
}

/// From the operator: bans an account and ends its sessions. Answered when durable, with their number.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<usize, OperatorError>")]
pub struct Ban {
    /// The account.
    pub name: UserName,
}

/// From the operator: lifts a ban; done already is no error. Answered when durable.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), OperatorError>")]
pub struct Unban {
    /// The account.
    pub name: UserName,
}

/// From the operator: forgets the wrong guesses at an account, so that its password is compared again at
/// once, whoever shows one. Answered with their number. A new password by [`SetPassword`] and [`Unban`] do
/// the same.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<u32, OperatorError>")]
pub struct Unlock {
    /// The account.
    pub name: UserName,
}

/// From the operator: ends the sessions of an account, which may log in again. Answered when durable, with
/// their number.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<usize, OperatorError>")]
pub struct Kick {
    /// The account.
    pub name: UserName,
    /// What its clients are told.
    pub why: Option<String>,
}

/// From the operator, for `clear file`: empties the account file, keeping a dated copy beside it; all
/// sessions end. Answered when durable.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<ClearedAccounts, OperatorError>")]
pub struct ClearAccounts;

/// What `clear file` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClearedAccounts {
    /// How many accounts there were.
    pub accounts: usize,
    /// How many sessions ended.
    pub sessions: usize,
    /// The copy.
    pub copy: PathBuf,
}

/// What the AuthActor tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct AuthSnapshot {
    /// Accounts.
    pub accounts: usize,
    /// Accounts that are banned.
    pub banned: usize,
    /// Sessions, with and without a connection.
    pub sessions: usize,
    /// Sessions with a connection.
    pub attached: usize,
    /// Password checks that wait or run.
    pub hashes: usize,
    /// Rows of the account file that were set aside when it was opened.
    pub rejected_rows: usize,
    /// Accounts that are not tried for now, those that are for longest first; at most [`MOST_LOCKS`].
    pub locks: Vec<LockedAccount>,
    /// How many such locks there are in all.
    pub locks_in_all: usize,
    /// Why the last write of accounts or sessions failed, when it did.
    pub fault: Option<String>,
    /// Addresses that have used up their attempts to log in for the moment, sorted; at most [`MOST_LOCKS`].
    pub addresses_without_logins: Vec<String>,
    /// Addresses that have used up their new accounts for the moment, sorted; at most [`MOST_LOCKS`].
    pub addresses_without_registrations: Vec<String>,
}

/// How many locks and addresses `status` tells one by one.
pub const MOST_LOCKS: usize = 20;

/// An account at which too many wrong passwords were tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LockedAccount {
    /// The account.
    pub name: UserName,
    /// Who may not try, as a part of a sentence: `192.0.2.7`, say.
    pub whom: String,
    /// For how many seconds.
    pub seconds: u64,
}

/// From the server when it stops: writes what is not written, closes the files, refuses everything with
/// `shutting_down` from then on. Answered when done.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Shutdown;
