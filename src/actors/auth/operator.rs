//! What the operator asks for, at the console or with `veche account`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use actix::{Handler, ResponseFuture};
use tokio::sync::oneshot;

use super::disk::{Done, Order, WriteFault};
use super::hashing::{Hashed, Owner, Work};
use super::{AuthActor, Step, answer, disk_is_gone, leaving};
use crate::actors::auth::disk::Written;
use crate::actors::messages::auth::{
    AccountEntry, AddAccount, Ban, ClearAccounts, ClearedAccounts, ImportAccount, ImportOutcome, Kick,
    ListAccounts, OperatorError, RemoveAccount, SetPassword, Unban,
};
use crate::actors::messages::session::EndSession;
use crate::model::{
    Account, AccountChange, ByeReason, ErrorCode, SessionsFrom, StoredPassword, Timestamp, UserName,
};
use crate::secrets::password::Md5Hex;

type Reply<T> = oneshot::Sender<Result<T, OperatorError>>;

/// Answers a command with what `run` comes to.
fn command<T: 'static>(run: impl FnOnce(Reply<T>)) -> ResponseFuture<Result<T, OperatorError>> {
    let (reply, done) = oneshot::channel();
    run(reply);
    answer(done, Err(OperatorError::Stopping))
}

fn send<T>(reply: Reply<T>, result: Result<T, OperatorError>) {
    let _ = reply.send(result);
}

impl From<WriteFault> for OperatorError {
    fn from(fault: WriteFault) -> Self {
        OperatorError::Storage(fault.sentence)
    }
}

fn not_hashed(hashed: &Hashed) -> OperatorError {
    match hashed {
        Hashed::Busy(retry_after_ms) => OperatorError::Busy { retry_after_ms: *retry_after_ms },
        _ => OperatorError::Storage("a password could not be hashed; the log says why".into()),
    }
}

fn kicked(text: &str) -> EndSession {
    EndSession { reason: ByeReason::Kicked, text: Some(text.into()) }
}

impl AuthActor {
    pub(super) fn find(&self, name: &UserName) -> Result<Arc<Account>, OperatorError> {
        self.accounts.meant(name).cloned().ok_or_else(|| OperatorError::NoSuchAccount(name.clone()))
    }

    /// Writes an account that has no session.
    fn add_account(
        &mut self,
        name: UserName,
        password: StoredPassword,
        address: Option<IpAddr>,
        done: impl FnOnce(Result<(), OperatorError>) + Send + 'static,
    ) {
        let add = AccountChange::Add(Arc::new(Account {
            row: self.accounts.fresh_row(),
            name: name.clone(),
            password,
            addresses: address.into_iter().collect(),
            created_at: Timestamp::now(),
            visible_from: self.newest(),
            last_seen_at: None,
            sessions: SessionsFrom::default(),
            banned: false,
        }));
        let order = Order { accounts: vec![add.clone()], ..Order::default() };
        self.store(order, move |actor, written| match written {
            Ok(_) => {
                actor.accounts.apply(&add);
                log::info!("the operator made the account {name:?}");
                done(Ok(()));
            }
            Err(fault) => {
                actor.accounts.release(&name);
                done(Err(fault.into()));
            }
        });
    }

    /// Makes a change durable, then ends the account's sessions, then answers with their number.
    fn change_and_end(&mut self, change: AccountChange, row: u64, bye: EndSession, reply: Reply<usize>) {
        let order = Order { accounts: vec![change.clone()], ..Order::default() };
        self.store(order, move |actor, written| {
            if let Err(fault) = written {
                return send(reply, Err(fault.into()));
            }
            actor.accounts.apply(&change);
            // A new password was not guessed at, and one that is gone cannot be.
            if matches!(change, AccountChange::Password { .. }) {
                actor.throttle.forgive(row);
            }
            let ended = actor.sessions.end_account(row, None);
            send(reply, Ok(actor.tell_ended(ended, &bye)));
        });
    }

    /// Removes an account; its name is free when what was meant for it has passed on.
    fn remove(&mut self, account: &Account, freed: oneshot::Sender<()>, reply: Reply<usize>) {
        log::info!("the operator removes the account {:?}", account.name);
        let (row, name) = (account.row, account.name.clone());
        let change = AccountChange::Remove { row };
        let order = Order { accounts: vec![change.clone()], ..Order::default() };
        self.store(order, move |actor, written| {
            if let Err(fault) = written {
                return send(reply, Err(fault.into()));
            }
            actor.accounts.apply(&change);
            actor.throttle.forgive(row);
            actor.devices.forget(row);
            let ended = actor.sessions.end_account(row, None);
            actor.free_when_gone(vec![name], &ended, freed);
            send(reply, Ok(actor.tell_ended(ended, &kicked("The operator has removed this account."))));
        });
    }

    /// Those that are opened from now on.
    fn later_sessions(&self) -> SessionsFrom {
        SessionsFrom { number: self.next_session, and: None }
    }
}

impl Handler<AddAccount> for AuthActor {
    type Result = ResponseFuture<Result<(), OperatorError>>;

    fn handle(&mut self, message: AddAccount, _: &mut Self::Context) -> Self::Result {
        let AddAccount { name, password } = message;
        command(|reply| {
            if !self.accounts.reserve(&name) {
                return send(reply, Err(OperatorError::NameTaken(name)));
            }
            self.hash(
                Owner::Operator,
                Work::Hash(password),
                || true,
                move |actor, hashed| match hashed {
                    Hashed::Fresh(password) => {
                        actor.add_account(name, password, None, |result| send(reply, result));
                    }
                    other => {
                        actor.accounts.release(&name);
                        send(reply, Err(not_hashed(&other)));
                    }
                },
            );
        })
    }
}

impl Handler<SetPassword> for AuthActor {
    type Result = ResponseFuture<Result<usize, OperatorError>>;

    fn handle(&mut self, message: SetPassword, _: &mut Self::Context) -> Self::Result {
        let SetPassword { name, password } = message;
        command(|reply| {
            let row = match self.find(&name) {
                Ok(account) => account.row,
                Err(error) => return send(reply, Err(error)),
            };
            self.hash(
                Owner::Operator,
                Work::Hash(password),
                || true,
                move |actor, hashed| match hashed {
                    Hashed::Fresh(password) if actor.accounts.row(row).is_some() => {
                        log::info!("the operator sets the password of {name:?}");
                        let bye = kicked("The operator has set a new password for this account.");
                        let sessions = actor.later_sessions();
                        let change = AccountChange::Password { row, password, sessions };
                        actor.change_and_end(change, row, bye, reply);
                    }
                    Hashed::Fresh(_) => send(reply, Err(OperatorError::NoSuchAccount(name))),
                    other => send(reply, Err(not_hashed(&other))),
                },
            );
        })
    }
}

impl Handler<RemoveAccount> for AuthActor {
    type Result = ResponseFuture<Result<usize, OperatorError>>;

    fn handle(&mut self, message: RemoveAccount, _: &mut Self::Context) -> Self::Result {
        let (freed, is_free) = oneshot::channel();
        let removed = command(|reply| match self.find(&message.name) {
            Ok(account) => self.remove(&account, freed, reply),
            Err(error) => send(reply, Err(error)),
        });
        Box::pin(async {
            let removed = removed.await?;
            leaving::freed(is_free).await;
            Ok(removed)
        })
    }
}

impl Handler<Ban> for AuthActor {
    type Result = ResponseFuture<Result<usize, OperatorError>>;

    fn handle(&mut self, message: Ban, _: &mut Self::Context) -> Self::Result {
        command(|reply| match self.find(&message.name) {
            Ok(account) => {
                log::info!("the operator bans {:?}", account.name);
                let bye = EndSession { reason: ByeReason::Fault(ErrorCode::Banned), text: None };
                let change = AccountChange::Ban { row: account.row, sessions: self.later_sessions() };
                self.change_and_end(change, account.row, bye, reply);
            }
            Err(error) => send(reply, Err(error)),
        })
    }
}

impl Handler<Unban> for AuthActor {
    type Result = ResponseFuture<Result<(), OperatorError>>;

    fn handle(&mut self, message: Unban, _: &mut Self::Context) -> Self::Result {
        command(|reply| {
            let row = match self.find(&message.name) {
                Ok(account) => account.row,
                Err(error) => return send(reply, Err(error)),
            };
            let change = AccountChange::Unban { row };
            let order = Order { accounts: vec![change.clone()], ..Order::default() };
            self.store(order, move |actor, written| {
                if written.is_ok() {
                    actor.accounts.apply(&change);
                    // Whoever is let in again is let in at once.
                    actor.throttle.forgive(row);
                    log::info!("the operator unbans {:?}", message.name);
                }
                send(reply, written.map(|_| ()).map_err(OperatorError::from));
            });
        })
    }
}

impl Handler<Kick> for AuthActor {
    type Result = ResponseFuture<Result<usize, OperatorError>>;

    fn handle(&mut self, message: Kick, _: &mut Self::Context) -> Self::Result {
        command(|reply| match self.find(&message.name) {
            Ok(account) => {
                let why = message.why.as_deref().unwrap_or("no reason given");
                log::info!("the operator kicks {:?}: {why:?}", account.name);
                let bye = EndSession { reason: ByeReason::Kicked, text: message.why };
                let row = account.row;
                let change = AccountChange::EndSessions { row, sessions: self.later_sessions() };
                self.change_and_end(change, row, bye, reply);
            }
            Err(error) => send(reply, Err(error)),
        })
    }
}

impl Handler<ListAccounts> for AuthActor {
    type Result = Vec<AccountEntry>;

    fn handle(&mut self, _: ListAccounts, _: &mut Self::Context) -> Vec<AccountEntry> {
        let mut entries: Vec<AccountEntry> = self
            .accounts
            .iter()
            .map(|account| AccountEntry {
                name: account.name.clone(),
                created_at: account.created_at,
                last_seen: account.last_seen_at.zip(account.addresses.first().copied()),
                banned: account.banned,
                imported: account.password.is_imported(),
                sessions: self.sessions.of_account(account.row),
            })
            .collect();
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        entries
    }
}

impl Handler<ClearAccounts> for AuthActor {
    type Result = ResponseFuture<Result<ClearedAccounts, OperatorError>>;

    fn handle(&mut self, _: ClearAccounts, _: &mut Self::Context) -> Self::Result {
        let (freed, is_free) = oneshot::channel();
        let cleared = command(|reply| {
            let then: Step<Written> = Box::new(move |actor, written| match written {
                Ok(Done::Cleared { accounts, copy }) => actor.forget_all(accounts, copy, freed, reply),
                Ok(_) => send(reply, Err(disk_is_gone().into())),
                Err(fault) => send(reply, Err(fault.into())),
            });
            if let Err(Some(step)) = self.disk.clear(then) {
                step(self, Err(disk_is_gone()));
            }
        });
        Box::pin(async {
            let cleared = cleared.await?;
            leaving::freed(is_free).await;
            Ok(cleared)
        })
    }
}

impl AuthActor {
    /// The account file is empty.
    fn forget_all(
        &mut self,
        accounts: usize,
        copy: PathBuf,
        freed: oneshot::Sender<()>,
        reply: Reply<ClearedAccounts>,
    ) {
        log::warn!("the operator cleared the account file; {} holds what was in it", copy.display());
        let names = self.accounts.iter().map(|account| account.name.clone()).collect();
        self.accounts.clear();
        self.devices.clear();
        let ended = self.sessions.end_all();
        self.free_when_gone(names, &ended, freed);
        let bye = kicked("The operator has removed all accounts.");
        let sessions = self.tell_ended(ended, &bye);
        send(reply, Ok(ClearedAccounts { accounts, sessions, copy }));
    }
}

impl Handler<ImportAccount> for AuthActor {
    type Result = ResponseFuture<Result<ImportOutcome, OperatorError>>;

    fn handle(&mut self, message: ImportAccount, _: &mut Self::Context) -> Self::Result {
        command(|reply| {
            let Imported { name, md5, address, outcome } = match Imported::read(&message) {
                Ok(imported) => imported,
                Err(error) => return send(reply, Err(error)),
            };
            if self.accounts.named(&name).is_some() {
                return send(reply, Ok(ImportOutcome::AlreadyThere));
            }
            if !self.accounts.reserve(&name) {
                return send(reply, Err(OperatorError::NameTaken(name)));
            }
            self.hash(
                Owner::Operator,
                Work::HashMd5(md5),
                || true,
                move |actor, hashed| match hashed {
                    Hashed::Fresh(password) => actor.add_account(name, password, address, move |result| {
                        send(reply, result.map(|()| outcome));
                    }),
                    other => {
                        actor.accounts.release(&name);
                        send(reply, Err(not_hashed(&other)));
                    }
                },
            );
        })
    }
}

/// A row of an import that can become an account.
struct Imported {
    name: UserName,
    md5: Md5Hex,
    address: Option<IpAddr>,
    outcome: ImportOutcome,
}

impl Imported {
    fn read(row: &ImportAccount) -> Result<Self, OperatorError> {
        // Nothing of a row is repeated: in a file whose columns are swapped, any cell may be the secret.
        let bad = |why: String| OperatorError::BadImport(why);
        let name = UserName::parse(row.login.trim())
            .map_err(|error| bad(format!("the login is no name: {error}")))?;
        let md5 = Md5Hex::parse(row.password_md5.expose().trim())
            .ok_or_else(|| bad("the password_md5 is not 32 hex digits, the MD5 of a password".into()))?;
        if md5.is_of_nothing() {
            return Err(bad(
                "the password is empty, so that anybody would get in; set one with `veche account add`"
                    .into(),
            ));
        }
        let text = row.ip.as_deref().map(str::trim).filter(|text| !text.is_empty());
        let address = text.and_then(|text| text.parse::<IpAddr>().ok()).map(|ip| ip.to_canonical());
        let left_out = text.is_some() && address.is_none();
        let outcome = if left_out { ImportOutcome::ImportedWithoutAddress } else { ImportOutcome::Imported };
        Ok(Imported { name, md5, address, outcome })
    }
}
