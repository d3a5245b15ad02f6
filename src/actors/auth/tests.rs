use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use actix::{ActorContext, Addr, Message, System};

use super::*;
use crate::actors::messages::auth::*;
use crate::actors::messages::observe::Observe;
use crate::config::{Config, Registration};
use crate::disk::Folder;
use crate::model::{ErrorCode, MessageId, Password, SessionId, TokenText, UserName};
use crate::secrets::seal::Sealer;
use crate::store::accounts::{AccountFile, open_keys};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server's worth of settings in a folder of its own.
struct Rig {
    dir: tempfile::TempDir,
    config: Config,
    newest_id: Arc<AtomicU64>,
}

impl Rig {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let mut config = Config::default();
        config.server.data_dir = dir.path().to_owned();
        config.auth.argon2_memory_kib = 8;
        config.auth.argon2_passes = 1;
        config.limits.logins_per_minute = 0;
        config.limits.registrations_per_minute = 0;
        change(&mut config);
        Rig { dir, config, newest_id: Arc::default() }
    }

    fn open(&self) -> Addr<AuthActor> {
        self.try_open(Arc::clone(&self.newest_id)).expect("sound files").actor.start()
    }

    fn try_open(&self, newest_id: Arc<AtomicU64>) -> Result<OpenedAuth, AuthStartError> {
        AuthActor::open(&self.config, &self.folder(), newest_id, None)
    }

    fn folder(&self) -> Arc<dyn Folder> {
        crate::disk::real::open_folder(self.dir.path()).expect("a folder")
    }

    /// What a machine finds that comes up after this moment: nothing was flushed or closed.
    fn after_a_crash(&self) -> Self {
        let after = Rig::new(|config| *config = self.config.clone());
        for entry in fs::read_dir(self.dir.path()).expect("the folder").flatten() {
            fs::copy(entry.path(), after.dir.path().join(entry.file_name())).expect("copied");
        }
        let config = Config {
            server: crate::config::ServerConfig {
                data_dir: after.dir.path().to_owned(),
                ..self.config.server.clone()
            },
            ..self.config.clone()
        };
        Rig { config, ..after }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    System::new().block_on(test)
}

/// A connection that writes down how its session ended.
struct Connection(Arc<Mutex<Vec<EndSession>>>);

#[derive(Message)]
#[rtype(result = "()")]
struct Hangup;

impl Actor for Connection {
    type Context = Context<Self>;
}

impl Handler<EndSession> for Connection {
    type Result = ();
    fn handle(&mut self, message: EndSession, _: &mut Self::Context) {
        self.0.lock().expect("no panic").push(message);
    }
}

impl Handler<Hangup> for Connection {
    type Result = ();
    fn handle(&mut self, _: Hangup, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

struct Client {
    connection: Addr<Connection>,
    heard: Arc<Mutex<Vec<EndSession>>>,
}

impl Client {
    fn new() -> Self {
        let heard = Arc::default();
        Client { connection: Connection(Arc::clone(&heard)).start(), heard }
    }

    fn ask(
        &self,
        auth: &Addr<AuthActor>,
        how: HowToOpen,
        from: &str,
    ) -> impl Future<Output = Result<OpenedSession, Refusal>> + use<> {
        let end = self.connection.clone().recipient();
        let request = auth.send(OpenSession { how, from: ip(from), end });
        async { request.await.expect("an AuthActor") }
    }

    /// How the session ended, waiting for it.
    async fn ended(&self) -> EndSession {
        let start = Instant::now();
        loop {
            if let Some(end) = self.heard.lock().expect("no panic").pop() {
                return end;
            }
            assert!(start.elapsed() < PATIENCE, "nobody said that the session has ended");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn heard_nothing(&self) -> bool {
        self.heard.lock().expect("no panic").is_empty()
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn name(text: &str) -> UserName {
    UserName::parse(text).expect("a name")
}

fn register(text: &str, password: &str) -> HowToOpen {
    HowToOpen::Register { name: name(text), password: Password::given(password) }
}

fn login(text: &str, password: &str) -> HowToOpen {
    HowToOpen::Login { name: name(text), password: Password::given(password), device: None }
}

fn resume(token: &TokenText) -> HowToOpen {
    HowToOpen::Resume { token: token.clone() }
}

fn code<T>(result: Result<T, Refusal>) -> ErrorCode {
    match result {
        Ok(_) => panic!("it was not refused"),
        Err(refusal) => refusal.code,
    }
}

const HOME: &str = "192.0.2.1";
const AWAY: &str = "198.51.100.9";
const SECRET: &str = "correct horse";

async fn alice(auth: &Addr<AuthActor>) -> (Client, OpenedSession) {
    let client = Client::new();
    let opened = client.ask(auth, register("alice", SECRET), HOME).await.expect("a session");
    (client, opened)
}

#[test]
fn register_then_login() {
    run(async {
        let rig = Rig::new(|_| {});
        rig.newest_id.store(41, Ordering::Release);
        let auth = rig.open();
        assert!(!auth.send(Identify { name: name("alice") }).await.expect("alive"));
        assert!(auth.send(Identify { name: UserName::server() }).await.expect("alive"));
        let (client, opened) = alice(&auth).await;
        assert!(opened.new && opened.last_seen.is_none() && opened.previous.is_none());
        assert_eq!((opened.account.as_str(), opened.visible_from), ("alice", MessageId::new(41)));
        assert_eq!(opened.expires_in_seconds, 30 * 24 * 60 * 60);
        assert!(opened.greeting.contains("first visit"), "{}", opened.greeting);
        assert_eq!(code(client.ask(&auth, register("alice", SECRET), HOME).await), ErrorCode::NameTaken);
        assert_eq!(code(client.ask(&auth, register("server", SECRET), HOME).await), ErrorCode::NameTaken);
        assert_eq!(code(client.ask(&auth, login("alice", "wrong"), HOME).await), ErrorCode::WrongPassword);
        assert_eq!(code(client.ask(&auth, login("bob", SECRET), HOME).await), ErrorCode::WrongPassword);
        let again = client.ask(&auth, login("alice", SECRET), AWAY).await.expect("a session");
        assert!(!again.new && again.session != opened.session);
        assert_eq!(again.last_seen.map(|(_, from)| from), Some(ip(HOME)));
        assert!(again.greeting.contains("Welcome back, alice"), "{}", again.greeting);
        let info = auth.send(LookUp { name: name("alice") }).await.expect("alive");
        assert_eq!(info.map(|info| info.visible_from), Some(MessageId::new(41)));
        assert_eq!(auth.send(LookUp { name: UserName::server() }).await.expect("alive"), None);
        assert!(client.heard_nothing());
    });
}

#[test]
fn sixty_four_registrations_of_one_name_have_one_winner() {
    run(async {
        let rig = Rig::new(|config| config.auth.hash_threads = 4);
        let auth = rig.open();
        let client = Client::new();
        let twins = ["carol", "Carol", "CAROL", "ｃａｒｏｌ"];
        let all = (0..64).map(|at| client.ask(&auth, register(twins[at % 4], SECRET), HOME));
        let results = futures(all).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        assert!(
            results.into_iter().filter(Result::is_err).all(|result| code(result) == ErrorCode::NameTaken)
        );
        let rows = fs::read_to_string(rig.file("clients.csv")).expect("text").lines().count();
        assert_eq!(rows, 2, "a header and one row");
    });
}

/// Runs futures together.
async fn futures<F: Future + 'static>(all: impl Iterator<Item = F>) -> Vec<F::Output>
where
    F::Output: 'static,
{
    let handles: Vec<_> = all.map(actix_rt::spawn).collect();
    let mut results = Vec::new();
    for handle in handles {
        results.push(handle.await.expect("no panic"));
    }
    results
}

#[test]
fn a_resume_takes_the_session_over() {
    run(async {
        let rig = Rig::new(|_| {});
        let auth = rig.open();
        let (first, opened) = alice(&auth).await;
        let second = Client::new();
        let resumed = second.ask(&auth, resume(&opened.token), AWAY).await.expect("a session");
        assert_eq!(first.ended().await.reason, ByeReason::Resumed);
        assert_eq!((resumed.previous, resumed.account), (Some(opened.token_hash), opened.account));
        assert_eq!(resumed.last_seen.map(|(_, from)| from), Some(ip(HOME)));
        auth.do_send(Detach { session: opened.session });
        let counts = auth.send(Observe::now()).await.expect("alive").state;
        assert_eq!((counts.sessions, counts.attached), (1, 1), "the old connection has no say");
        auth.send(TokenUsed { session: resumed.session }).await.expect("alive").expect("room on the disk");
        assert_eq!(code(first.ask(&auth, resume(&opened.token), HOME).await), ErrorCode::BadToken);
        assert_eq!(code(first.ask(&auth, resume(&TokenText::new("guess")), HOME).await), ErrorCode::BadToken);
        auth.do_send(Detach { session: resumed.session });
        let third = Client::new();
        let again = third.ask(&auth, resume(&resumed.token), HOME).await.expect("a session");
        assert!(second.heard_nothing(), "its connection was lost before");
        auth.send(CloseSession { session: again.session }).await.expect("alive").expect("room on the disk");
        for token in [&again.token, &resumed.token] {
            assert_eq!(code(third.ask(&auth, resume(token), HOME).await), ErrorCode::BadToken);
        }
    });
}

#[test]
fn what_was_answered_outlives_a_crash() {
    run(async {
        let rig = Rig::new(|_| {});
        let auth = rig.open();
        let (client, opened) = alice(&auth).await;
        let crashed = rig.after_a_crash();
        let after = crashed.open();
        let resumed = client.ask(&after, resume(&opened.token), HOME).await.expect("the token is still good");
        assert_eq!(code(client.ask(&after, register("alice", SECRET), HOME).await), ErrorCode::NameTaken);

        let crashed = crashed.after_a_crash();
        let after = crashed.open();
        client.ask(&after, resume(&opened.token), HOME).await.expect("the fresh one was never used");
        assert_eq!(code(client.ask(&after, resume(&resumed.token), HOME).await), ErrorCode::BadToken);

        auth.send(CloseSession { session: opened.session }).await.expect("alive").expect("room on the disk");
        let after = rig.after_a_crash();
        assert_eq!(code(client.ask(&after.open(), resume(&opened.token), HOME).await), ErrorCode::BadToken);
    });
}

#[test]
fn a_stopped_server_says_so_and_has_written_what_waited() {
    run(async {
        let rig = Rig::new(|_| {});
        let auth = rig.open();
        let (client, opened) = alice(&auth).await;
        client.ask(&auth, login("alice", SECRET), AWAY).await.expect("a session");
        auth.send(Shutdown).await.expect("alive");
        assert_eq!(code(client.ask(&auth, login("alice", SECRET), HOME).await), ErrorCode::ShuttingDown);
        auth.send(Shutdown).await.expect("twice is no harm");
        let opened_again = rig.try_open(Arc::default()).expect("sound files");
        assert_eq!((opened_again.accounts, opened_again.sessions), (1, 2));
        let auth = opened_again.actor.start();
        let resumed = client.ask(&auth, resume(&opened.token), HOME).await.expect("a session");
        assert_eq!(resumed.last_seen.map(|(_, from)| from), Some(ip(AWAY)));
    });
}

#[test]
fn a_changed_password_ends_the_other_sessions() {
    run(async {
        let rig = Rig::new(|_| {});
        let auth = rig.open();
        let (owner, opened) = alice(&auth).await;
        let thief = Client::new();
        let stolen = thief.ask(&auth, login("alice", SECRET), AWAY).await.expect("a session");
        let change = |old: &str| ChangePassword {
            session: opened.session,
            old: Password::given(old),
            new: Password::given("another horse"),
            from: ip(HOME),
        };
        assert_eq!(code(auth.send(change("wrong")).await.expect("alive")), ErrorCode::WrongPassword);
        assert_eq!(auth.send(change(SECRET)).await.expect("alive"), Ok(()));
        assert_eq!(thief.ended().await.reason, ByeReason::Kicked);
        assert!(owner.heard_nothing());
        let crashed = rig.after_a_crash();
        for auth in [auth, crashed.open()] {
            assert_eq!(code(thief.ask(&auth, resume(&stolen.token), AWAY).await), ErrorCode::BadToken);
            assert_eq!(code(thief.ask(&auth, login("alice", SECRET), AWAY).await), ErrorCode::WrongPassword);
            owner.ask(&auth, login("alice", "another horse"), HOME).await.expect("a session");
            owner.ask(&auth, resume(&opened.token), HOME).await.expect("its own session goes on");
        }
        let gone = ChangePassword { session: SessionId::new(99, 0), ..change(SECRET) };
        let crashed = rig.after_a_crash();
        let auth = crashed.open();
        assert_eq!(code(auth.send(gone).await.expect("alive")), ErrorCode::BadToken);
    });
}

#[test]
fn nobody_locks_the_owner_out() {
    run(async {
        let rig = Rig::new(|config| config.limits.wrong_passwords_per_hour = 5);
        let auth = rig.open();
        let (owner, _) = alice(&auth).await;
        let thief = Client::new();
        let guess = |at: u8| {
            let from = format!("203.0.113.{at}");
            let thief = &thief;
            let auth = &auth;
            async move { thief.ask(auth, login("alice", "guess"), &from).await }
        };
        for at in 0..5 {
            assert_eq!(code(guess(at).await), ErrorCode::WrongPassword);
        }
        for at in 5..8 {
            let refusal = guess(at).await.expect_err("the budget is spent");
            assert_eq!(refusal.code, ErrorCode::TooManyAttempts);
            assert!(refusal.retry_after_ms.is_some_and(|wait| wait > 3_000_000), "{refusal:?}");
        }
        let elsewhere = thief.ask(&auth, login("alice", SECRET), "203.0.113.77").await;
        assert_eq!(code(elsewhere), ErrorCode::TooManyAttempts, "not even the right one, from there");
        owner.ask(&auth, login("alice", SECRET), HOME).await.expect("the owner's address is known");
    });
}

#[test]
fn tokens_are_guessed_at_the_price_of_logins() {
    run(async {
        let rig = Rig::new(|config| config.limits.logins_per_minute = 3);
        let auth = rig.open();
        let (client, opened) = alice(&auth).await;
        for _ in 0..3 {
            assert_eq!(
                code(client.ask(&auth, resume(&TokenText::new("guess")), HOME).await),
                ErrorCode::BadToken
            );
        }
        let refusal = client.ask(&auth, resume(&TokenText::new("guess")), HOME).await.expect_err("spent");
        assert_eq!(refusal.code, ErrorCode::TooManyAttempts);
        assert!(refusal.retry_after_ms.is_some());
        client.ask(&auth, resume(&opened.token), HOME).await.expect("who has a token gets in");
        let refusal = client.ask(&auth, login("alice", SECRET), HOME).await.expect_err("spent");
        assert_eq!(refusal.code, ErrorCode::TooManyAttempts);
    });
}

#[test]
fn other_parameters_renew_a_hash_at_the_next_login() {
    run(async {
        let rig = Rig::new(|_| {});
        let auth = rig.open();
        let (client, _) = alice(&auth).await;
        auth.send(Shutdown).await.expect("alive");
        let stronger = Rig {
            config: Config {
                auth: crate::config::AuthConfig { argon2_memory_kib: 16, ..rig.config.auth.clone() },
                ..rig.config.clone()
            },
            ..rig
        };
        let auth = stronger.open();
        for _ in 0..2 {
            client.ask(&auth, login("alice", SECRET), HOME).await.expect("a session");
        }
        auth.send(Shutdown).await.expect("alive");
        let folder = stronger.folder();
        let sealer = Sealer::new(&open_keys(&*folder, &*folder, "key").expect("a key"));
        let file = AccountFile::open(folder, Arc::new(sealer), "key".into(), false).expect("a file");
        assert!(file.accounts[&1].password.as_str().contains("m=16,"));
    });
}

#[test]
fn sessions_expire() {
    run(async {
        let rig = Rig::new(|config| config.auth.session_max_seconds = 1);
        let auth = rig.open();
        let (client, opened) = alice(&auth).await;
        assert!(opened.expires_in_seconds <= 1);
        assert_eq!(client.ended().await, EndSession { reason: ByeReason::Expired, text: None });
        assert_eq!(code(client.ask(&auth, resume(&opened.token), HOME).await), ErrorCode::BadToken);
    });
}

#[test]
fn an_account_has_so_many_sessions() {
    run(async {
        let rig = Rig::new(|config| config.limits.sessions_per_account = 2);
        let auth = rig.open();
        let (client, first) = alice(&auth).await;
        client.ask(&auth, login("alice", SECRET), HOME).await.expect("the second");
        let refusal = client.ask(&auth, login("alice", SECRET), HOME).await.expect_err("the third");
        assert_eq!(refusal.code, ErrorCode::RateLimited);
        auth.do_send(Detach { session: first.session });
        client.ask(&auth, login("alice", SECRET), HOME).await.expect("the detached one makes room");
        assert_eq!(code(client.ask(&auth, resume(&first.token), HOME).await), ErrorCode::BadToken);
    });
}

// issue 7: "10 sessions allowed for an account, 50 logins at once: 12 to 51 get in; those under way count"
#[test]
fn sessions_that_are_under_way_count() {
    run(async {
        let rig = Rig::new(|config| {
            config.limits.sessions_per_account = 10;
            // Guesses that are under way count, too, until they turn out to be right.
            config.limits.wrong_passwords_per_hour = 0;
        });
        let auth = rig.open();
        let (client, first) = alice(&auth).await;
        let results = futures((0..50).map(|_| client.ask(&auth, login("alice", SECRET), HOME))).await;
        let (ins, outs): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!((ins.len(), outs.len()), (9, 41));
        assert!(outs.into_iter().all(|refused| code(refused) == ErrorCode::RateLimited));
        assert_eq!(auth.send(Observe::now()).await.expect("alive").state.sessions, 10);
        // Those that came to nothing do not count for ever.
        auth.do_send(Detach { session: first.session });
        client.ask(&auth, login("alice", SECRET), HOME).await.expect("the detached one makes room");
    });
}

#[test]
fn a_connection_that_is_gone_leaves_nothing_behind() {
    run(async {
        let rig = Rig::new(|_| {});
        let auth = rig.open();
        let (_client, _) = alice(&auth).await;
        let gone = Client::new();
        gone.connection.send(Hangup).await.expect("alive");
        let refused = gone.ask(&auth, login("alice", SECRET), HOME).await;
        assert!(refused.is_err());
        assert_eq!(auth.send(Observe::now()).await.expect("alive").state.sessions, 1);
    });
}

#[test]
fn a_flood_of_logins_is_answered_each() {
    run(async {
        let rig = Rig::new(|config| {
            config.auth.hash_threads = 1;
            config.auth.argon2_memory_kib = 2_048;
            config.limits.hash_queue = 5;
            config.limits.wrong_passwords_per_hour = 0;
        });
        let auth = rig.open();
        let (client, _) = alice(&auth).await;
        let results = futures((0..100).map(|_| client.ask(&auth, login("alice", SECRET), HOME))).await;
        let (ins, outs): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert!(!ins.is_empty() && !outs.is_empty(), "{} in, {} out", ins.len(), outs.len());
        for refusal in outs.into_iter().filter_map(Result::err) {
            assert_eq!(refusal.code, ErrorCode::RateLimited);
            assert!(refusal.retry_after_ms.is_some_and(|wait| wait > 0));
        }
    });
}

#[test]
fn settings_out_of_bounds_stop_the_start() {
    let rig = Rig::new(|config| config.auth.argon2_memory_kib = 4);
    let error = rig.try_open(Arc::default()).expect_err("too little").to_string();
    assert!(error.contains("auth.argon2_memory_kib"), "{error}");
}

#[test]
fn whoever_waits_for_an_actor_that_stops_hears_of_it() {
    run(async {
        let rig = Rig::new(|_| {});
        // It never starts, so nothing that was written comes back.
        let actor = rig.try_open(Arc::default()).expect("sound files").actor;
        let client = Client::new();
        let request = |how| OpenSession { how, from: ip(HOME), end: client.connection.clone().recipient() };
        let waits = [register("alice", SECRET), login("bob", SECRET)]
            .map(|how| actix_rt::spawn(opening::open_session(actor.auth.clone(), request(how))));
        tokio::task::yield_now().await;
        drop(actor);
        let [registered, logged_in] = waits;
        assert_eq!(code(registered.await.expect("no panic")), ErrorCode::ShuttingDown);
        let refused = code(logged_in.await.expect("no panic"));
        assert!(matches!(refused, ErrorCode::ShuttingDown | ErrorCode::WrongPassword), "{refused:?}");
    });
}

#[test]
fn a_panic_in_a_story_is_the_actors() {
    run(async {
        let rig = Rig::new(|_| {});
        let (watch, mut deaths) = crate::actors::panic_watch::PanicWatch::new();
        let critical = Some(watch.of("the account keeper"));
        let opened = AuthActor::open(&rig.config, &rig.folder(), Arc::default(), critical);
        let actor = opened.expect("sound files").actor;
        let story = actor.answer(|auth| async move {
            let _state = auth.state();
            panic!("for the test")
        });
        let told: Result<(), _> = actix_rt::spawn(story).await;
        assert!(told.is_err());
        assert_eq!(deaths.try_recv().ok(), Some("the account keeper"));
        drop(actor);
        assert!(deaths.try_recv().is_err(), "once");
    });
}

#[path = "operator_tests.rs"]
mod operator_commands;
#[path = "restart_tests.rs"]
mod restart;
#[path = "storage_tests.rs"]
mod storage;
