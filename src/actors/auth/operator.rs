//! What the operator asks for, at the console or with `veche account`.

use std::net::IpAddr;
use std::sync::Arc;

use super::disk::{Applied, WriteFault, WriteRequest};
use super::hashing::{Hashed, NotHashed, Owner, Work};
use super::leaving;
use super::state::{Auth, State};
use crate::actors::messages::auth::{
    AccountEntry, AddAccount, Ban, ClearAccounts, ClearedAccounts, ImportAccount, ImportOutcome, Kick,
    OperatorError, RemoveAccount, SetPassword, Shutdown, Unban,
};
use crate::actors::messages::session::EndSession;
use crate::model::{
    Account, AccountChange, ByeReason, ErrorCode, SessionsFrom, StoredPassword, Timestamp, UserName,
};
use crate::secrets::password::Md5Hex;

impl From<WriteFault> for OperatorError {
    fn from(fault: WriteFault) -> Self {
        match fault {
            WriteFault::Refused { sentence, .. } => OperatorError::Storage(sentence),
            WriteFault::Stopping => OperatorError::Stopping,
        }
    }
}

impl From<NotHashed> for OperatorError {
    fn from(why: NotHashed) -> Self {
        match why {
            NotHashed::Busy { retry_after_ms } => OperatorError::Busy { retry_after_ms },
            NotHashed::Stopping => OperatorError::Stopping,
            NotHashed::Unwanted | NotHashed::Failed => {
                OperatorError::Storage("a password could not be hashed; the log says why".into())
            }
        }
    }
}

fn kicked(text: &str) -> EndSession {
    EndSession { reason: ByeReason::Kicked, text: Some(text.into()) }
}

/// Makes an account.
pub(super) async fn add(auth: Auth, AddAccount { name, password }: AddAccount) -> Result<(), OperatorError> {
    make(&auth, name, Work::Hash(password), None).await
}

/// Takes an account over from an older server.
pub(super) async fn import(auth: Auth, row: ImportAccount) -> Result<ImportOutcome, OperatorError> {
    let Imported { name, md5, address, outcome } = Imported::read(&row)?;
    if auth.state().accounts.named(&name).is_some() {
        return Ok(ImportOutcome::AlreadyThere);
    }
    make(&auth, name, Work::HashMd5(md5), address).await?;
    Ok(outcome)
}

/// Makes an account that has no session. The name is given back when nothing comes of it.
async fn make(
    auth: &Auth,
    name: UserName,
    password: Work,
    address: Option<IpAddr>,
) -> Result<(), OperatorError> {
    if !auth.state().accounts.reserve(&name) {
        return Err(OperatorError::NameTaken(name));
    }
    let made = hash_and_store(auth, &name, password, address).await;
    if made.is_err() {
        auth.state().accounts.release(&name);
    } else {
        log::info!("the operator made the account {name:?}");
    }
    made
}

async fn hash_and_store(
    auth: &Auth,
    name: &UserName,
    password: Work,
    address: Option<IpAddr>,
) -> Result<(), OperatorError> {
    let password = hash(auth, password).await?;
    let add = auth.state().account_by_hand(name, password, address);
    change(auth, add).await?;
    Ok(())
}

/// A fresh hash.
async fn hash(auth: &Auth, work: Work) -> Result<StoredPassword, OperatorError> {
    match auth.hash(Owner::Operator, work, || true).await? {
        Hashed::Fresh(password) => Ok(password),
        Hashed::Right(_) | Hashed::Wrong => Err(NotHashed::Failed.into()),
    }
}

/// Makes one change durable, and true.
async fn change(auth: &Auth, change: AccountChange) -> Result<Applied, OperatorError> {
    let request = WriteRequest { accounts: vec![change], ..WriteRequest::default() };
    Ok(auth.store(request).await?)
}

/// Sets a password, and ends the account's sessions.
pub(super) async fn set_password(auth: Auth, message: SetPassword) -> Result<usize, OperatorError> {
    let SetPassword { name, password } = message;
    let row = auth.state().find(&name)?.row;
    let password = hash(&auth, Work::Hash(password)).await?;
    if auth.state().accounts.row(row).is_none() {
        return Err(OperatorError::NoSuchAccount(name));
    }
    log::info!("the operator sets the password of {name:?}");
    let sessions = auth.state().later_sessions();
    let applied = change(&auth, AccountChange::Password { row, password, sessions }).await?;
    let mut state = auth.state();
    // A new password was not guessed at.
    state.throttle.forgive(row);
    let bye = kicked("The operator has set a new password for this account.");
    Ok(state.tell_ended(applied.ended, &bye))
}

/// Removes an account, and answers when its name is free: when what was meant for it has passed on.
pub(super) async fn remove(
    auth: Auth,
    RemoveAccount { name }: RemoveAccount,
) -> Result<usize, OperatorError> {
    let account = auth.state().find(&name)?;
    log::info!("the operator removes the account {:?}", account.name);
    let applied = change(&auth, AccountChange::Remove { row: account.row }).await?;
    // What is gone cannot be guessed at.
    auth.state().throttle.forgive(account.row);
    let bye = kicked("The operator has removed this account.");
    let ended = auth.state().tell_ended(applied.ended, &bye);
    auth.pass_on();
    leaving::freed(applied.freed).await;
    Ok(ended)
}

/// Bans an account, and ends its sessions.
pub(super) async fn ban(auth: Auth, Ban { name }: Ban) -> Result<usize, OperatorError> {
    let account = auth.state().find(&name)?;
    log::info!("the operator bans {:?}", account.name);
    let sessions = auth.state().later_sessions();
    let applied = change(&auth, AccountChange::Ban { row: account.row, sessions }).await?;
    let bye = EndSession { reason: ByeReason::Fault(ErrorCode::Banned), text: None };
    Ok(auth.state().tell_ended(applied.ended, &bye))
}

/// Lifts a ban.
pub(super) async fn unban(auth: Auth, Unban { name }: Unban) -> Result<(), OperatorError> {
    let row = auth.state().find(&name)?.row;
    change(&auth, AccountChange::Unban { row }).await?;
    // Whoever is let in again is let in at once.
    auth.state().throttle.forgive(row);
    log::info!("the operator unbans {name:?}");
    Ok(())
}

/// Ends the sessions of an account, which may log in again.
pub(super) async fn kick(auth: Auth, Kick { name, why }: Kick) -> Result<usize, OperatorError> {
    let account = auth.state().find(&name)?;
    log::info!("the operator kicks {:?}: {:?}", account.name, why.as_deref().unwrap_or("no reason given"));
    let sessions = auth.state().later_sessions();
    let applied = change(&auth, AccountChange::EndSessions { row: account.row, sessions }).await?;
    Ok(auth.state().tell_ended(applied.ended, &EndSession { reason: ByeReason::Kicked, text: why }))
}

/// Empties the account file, and answers when all names are free.
pub(super) async fn clear(auth: Auth, _: ClearAccounts) -> Result<ClearedAccounts, OperatorError> {
    let cleared = auth.clear_file().await?;
    log::warn!("the operator cleared the account file; {} holds what was in it", cleared.copy.display());
    let bye = kicked("The operator has removed all accounts.");
    let sessions = auth.state().tell_ended(cleared.ended, &bye);
    auth.pass_on();
    leaving::freed(cleared.freed).await;
    Ok(ClearedAccounts { accounts: cleared.accounts, sessions, copy: cleared.copy })
}

/// Writes what is not written, and refuses everything from then on.
pub(super) async fn shut_down(auth: Auth, _: Shutdown) {
    auth.shut_down().await;
}

impl State {
    pub(super) fn find(&self, name: &UserName) -> Result<Arc<Account>, OperatorError> {
        self.accounts.meant(name).cloned().ok_or_else(|| OperatorError::NoSuchAccount(name.clone()))
    }

    /// All accounts, sorted by name.
    pub(super) fn list(&self) -> Vec<AccountEntry> {
        let entries = self.accounts.iter().map(|account| AccountEntry {
            name: account.name.clone(),
            created_at: account.created_at,
            last_seen: account.last_seen_at.zip(account.addresses.first().copied()),
            banned: account.banned,
            imported: account.password.is_imported(),
            sessions: self.sessions.of_account(account.row),
        });
        let mut entries: Vec<AccountEntry> = entries.collect();
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        entries
    }

    /// An account that nobody has opened yet.
    fn account_by_hand(
        &mut self,
        name: &UserName,
        password: StoredPassword,
        address: Option<IpAddr>,
    ) -> AccountChange {
        AccountChange::Add(Arc::new(Account {
            row: self.accounts.fresh_row(),
            name: name.clone(),
            password,
            addresses: address.into_iter().collect(),
            created_at: Timestamp::now(),
            visible_from: self.newest(),
            last_seen_at: None,
            sessions: SessionsFrom::default(),
            banned: false,
        }))
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
