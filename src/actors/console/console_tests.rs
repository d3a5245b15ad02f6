use std::cell::{Cell, RefCell};
use std::future::ready;
use std::sync::atomic::{AtomicBool, Ordering};

use actix::{Addr, Message};

use super::*;
use crate::actors::messages::auth::{
    AuthSnapshot, Ban, ClearAccounts, ClearedAccounts, Kick, OperatorError, Unban, Unlock,
};
use crate::actors::messages::directory::{
    Announce, AskOnline, AskRooms, DirectorySnapshot, OnlineAccount, SayAsServer, SayError,
};
use crate::actors::messages::journal::JournalSnapshot;
use crate::actors::messages::listener::{ListenerSnapshot, SetListening};
use crate::actors::messages::stand_in::StandIn;
use crate::model::{ErrorCode, MessageId, Receipt, RoomName, Timestamp, UserName};

fn user(name: &str) -> UserName {
    UserName::parse(name).unwrap()
}

/// What every actor that the console asks was told, as it was told.
#[derive(Clone, Default)]
struct Told(Rc<RefCell<Vec<String>>>);

impl Told {
    /// Has messages of this type answered so, and written down.
    fn answers<M>(&self, stand_in: &StandIn, answer: impl Fn(M) -> M::Result + 'static)
    where
        M: Message + fmt::Debug + 'static,
        M::Result: 'static,
    {
        let told = self.clone();
        stand_in.answers(move |asked: M| {
            told.0.borrow_mut().push(format!("{asked:?}"));
            ready(answer(asked))
        });
    }
}

fn listener_snapshot(listening: bool) -> ListenerSnapshot {
    ListenerSnapshot {
        addresses: vec!["127.0.0.1:7878".into()],
        listening,
        connections: 3,
        refusing: 0,
        peer_addresses: 1,
        newcomers: 0,
        max_connections: 1_000,
        accepted: 4,
        refused: 0,
    }
}

fn directory_snapshot() -> DirectorySnapshot {
    DirectorySnapshot {
        accounts_online: 2,
        sessions_online: 3,
        rooms_occupied: 1,
        rooms_open: 1,
        rooms_retiring: 0,
        accounts_with_rates: 2,
        direct_messages_waiting: 0,
        operators_waiting: 0,
    }
}

fn journal_snapshot() -> JournalSnapshot {
    JournalSnapshot {
        messages: 7,
        newest_id: 9,
        waiting: 0,
        queued: 0,
        stored: 0,
        refused: 0,
        subscribers: 2,
        page_reads: 0,
        fault: Some("no space\u{1b}[2J".into()),
    }
}

/// Stands in for every actor that the console asks.
fn cast(told: &Told) -> Addr<StandIn> {
    let (all, address) = StandIn::start_new();
    let listening = Rc::new(Cell::new(true));
    let seen = Rc::clone(&listening);
    told.answers(&all, move |asked: SetListening| listening.replace(asked.0) != asked.0);
    told.answers(&all, move |asked: Observe<ListenerSnapshot>| asked.answer(listener_snapshot(seen.get())));
    told.answers(&all, |asked: Observe<DirectorySnapshot>| asked.answer(directory_snapshot()));
    told.answers(&all, |asked: Observe<JournalSnapshot>| asked.answer(journal_snapshot()));
    told.answers(&all, |asked: Observe<AuthSnapshot>| asked.answer(AuthSnapshot::default()));
    told.answers(&all, |_: Announce| 2);
    told.answers(&all, |asked: SayAsServer| match asked.room.as_str() {
        "full" => Err(SayError::Refused(ErrorCode::StorageUnavailable.into())),
        "lobyb" => Err(SayError::NoSuchRoom { nearest: Some(RoomName::lobby()) }),
        _ => Ok(Receipt { id: MessageId::new(42).unwrap(), prev: None, at: Timestamp::now() }),
    });
    told.answers(&all, |_: AskOnline| {
        vec![
            OnlineAccount { name: user("alice"), sessions: 2 },
            OnlineAccount { name: user("bob"), sessions: 1 },
        ]
    });
    told.answers(&all, |_: AskRooms| vec![(RoomName::lobby(), 1)]);
    told.answers(&all, |asked: Kick| match asked.name == user("nobody") {
        true => Err(OperatorError::NoSuchAccount(asked.name)),
        false => Ok(1),
    });
    told.answers(
        &all,
        |asked: Ban| if asked.name == user("panic") { panic!("as the test asks") } else { Ok(0) },
    );
    told.answers(&all, |_: Unban| Ok(()));
    told.answers(&all, |asked: Unlock| Ok(u32::from(asked.name == user("alice")) * 20));
    told.answers(&all, |_: ClearAccounts| {
        Ok(ClearedAccounts { accounts: 3, sessions: 2, copy: "data/clients-2026-11-21T18-05-21Z.csv".into() })
    });
    address
}

struct Scene {
    console: Addr<ConsoleActor>,
    told: Told,
    stopped: Arc<AtomicBool>,
    log: LogControl,
    _place: tempfile::TempDir,
}

impl Scene {
    fn set() -> Self {
        let told = Told::default();
        let cast = cast(&told);
        let place = tempfile::tempdir().unwrap();
        let log = crate::logging::start(&place.path().join("veche.log"), &crate::config::Limits::default())
            .unwrap();
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = stopped.clone();
        let context = ConsoleContext {
            listener: ListenerHandle::of(&cast),
            directory: DirectoryHandle::of(&cast),
            journal: JournalHandle::of(&cast),
            auth: AuthHandle::of(&cast),
            set_aside: SetAside::new(
                &crate::disk::real::open_folder(place.path()).unwrap(),
                &["x.csv, line 1: y".into()],
                1,
            ),
            log: log.clone(),
            printer: Printer::start().unwrap(),
            shutdown: Arc::new(move || stop.store(true, Ordering::Relaxed)),
        };
        Scene { console: ConsoleActor::new(context).start(), told, stopped, log, _place: place }
    }

    async fn run(&self, line: &str) -> Result<String, String> {
        self.done(line).await.map(|done| done.text)
    }

    async fn done(&self, line: &str) -> Result<CommandOutput, String> {
        self.console.send(RunCommand { line: line.into() }).await.expect("the console lives")
    }

    fn last_told(&self) -> String {
        self.told.0.borrow().last().cloned().unwrap_or_default()
    }
}

#[actix::test]
async fn each_command_says_what_it_did() {
    let scene = Scene::set();
    for (line, answer) in [
        ("Stop Listen", "New connections wait from now on, until `start listen`; who is in stays in."),
        ("stop listen", "New connections were waiting already."),
        ("start listen", "Taking connections again, those that waited first."),
        ("say hello all", "Told 2 sessions."),
        ("say #lobby hello", "Said in #lobby, as message 42."),
        ("kick Alice too loud", "Kicked alice: 1 session ended."),
        ("ban alice", "Banned alice: 0 sessions ended."),
        ("unban alice", "alice may log in again."),
        ("unlock alice", "Forgot 20 wrong guesses at alice: it can be tried again at once."),
        ("unlock bob", "There were no wrong guesses at bob to forget."),
        ("who", "2 accounts online:\n  alice (2 sessions)\n  bob"),
        ("rooms", "1 room:\n  #lobby (1 account)"),
    ] {
        assert_eq!(scene.run(line).await.as_deref(), Ok(answer), "{line}");
    }
    let cleared = scene.run("clear file --yes").await.unwrap();
    assert!(cleared.starts_with("Emptied the account file: 3 accounts kept in /"), "{cleared}");
    assert!(cleared.contains("2 sessions ended.") && cleared.contains("  mv /"), "{cleared}");
    assert!(!scene.stopped.load(Ordering::Relaxed));
    assert!(scene.run("SHUTDOWN").await.is_ok());
    assert!(scene.stopped.load(Ordering::Relaxed));
}

#[actix::test]
async fn the_others_hear_what_was_typed() {
    let scene = Scene::set();
    let _ = scene.run("kick Alice too  loud").await;
    assert_eq!(scene.last_told(), r#"Kick { name: "alice", why: Some("too  loud") }"#);
    let _ = scene.run("say #Lobby =1+1").await;
    assert_eq!(scene.last_told(), r#"SayAsServer { room: "lobby", text: MessageText("=1+1") }"#);
}

#[actix::test]
async fn refusals_are_sentences() {
    let scene = Scene::set();
    let refused = scene.run("kick nobody").await.unwrap_err();
    assert!(refused.contains("there is no account nobody"), "{refused}");
    let refused = scene.run("say #full x").await.unwrap_err();
    assert!(refused.starts_with("Not said in #full."), "{refused}");
    let refused = scene.run("say #lobyb x").await.unwrap_err();
    assert!(refused.contains("there is no room #lobyb") && refused.contains("mean #lobby?"), "{refused}");
    assert!(scene.run("tea").await.is_err());
    let refused = scene.run("clear file").await.unwrap_err();
    assert!(refused.contains("clear file --yes"), "{refused}");
    assert!(scene.told.0.borrow().len() == 3, "what is no command reaches nobody");
}

#[actix::test]
async fn status_tells_of_all_and_drives_no_terminal() {
    let scene = Scene::set();
    let status = scene.run("status").await.unwrap();
    for wanted in
        ["127.0.0.1:7878 (taking connections)", "newest id 9", "no space\\u{1b}[2J", "2 accounts in 1 room"]
    {
        assert!(status.contains(wanted), "{wanted} in {status}");
    }
}

// issue 7: `ctl status` exits 0 while nothing can be stored
#[actix::test]
async fn status_says_what_is_wrong_until_it_is_known() {
    let scene = Scene::set();
    let wrong = scene.done("status").await.unwrap().wrong.unwrap();
    assert!(wrong.contains("nothing can be stored") && wrong.contains("x.csv, line 1: y"), "{wrong}");
    let json = |done: CommandOutput| serde_json::from_str::<serde_json::Value>(&done.text).unwrap();
    let status = json(scene.done("status --json").await.unwrap());
    assert_eq!((&status["ok"], status["wrong"].as_array().unwrap().len()), (&false.into(), 2));
    assert_eq!((&status["newest_id"], &status["listening"][0]), (&9.into(), &"127.0.0.1:7878".into()));
    assert!(scene.run("status --seen").await.unwrap().starts_with("Noted: 1 thing"));
    let wrong = scene.done("status").await.unwrap().wrong.unwrap();
    assert!(!wrong.contains("x.csv"), "{wrong}");
}

#[actix::test]
async fn it_can_be_observed() {
    let scene = Scene::set();
    assert!(scene.run("who").await.is_ok() && scene.run("tea").await.is_err());
    let seen = scene.console.send(Observe::now()).await.expect("the console lives").state;
    assert_eq!(seen, ConsoleSnapshot { commands: 2, running: 0 });
}

#[actix::test]
async fn help_names_every_command() {
    let scene = Scene::set();
    let help = scene.run("help").await.unwrap();
    for entry in &commands::TABLE {
        assert!(help.contains(entry.name) && help.contains(entry.help), "{}", entry.name);
    }
}

#[actix::test]
async fn the_log_is_shown_hidden_and_cleared() {
    let scene = Scene::set();
    assert!(scene.run("start log").await.unwrap().starts_with("Service messages are shown here from now on"));
    assert!(scene.run("start log").await.unwrap().contains("already"));
    assert!(scene.log.is_on_console());
    assert!(scene.run("stop log").await.unwrap().contains("hidden here from now on"));
    std::fs::write(scene.log.path(), "old\n").unwrap();
    assert!(scene.run("clear log").await.unwrap().starts_with("Emptied "));
    let text = std::fs::read_to_string(scene.log.path()).unwrap();
    assert!(!text.contains("old"), "{text}");
}

#[actix::test]
async fn an_actor_that_is_gone_means_that_the_server_stops() {
    let scene = Scene::set();
    let gone = scene.run("ban panic").await.unwrap_err();
    assert_eq!(gone, "The server is stopping.");
    assert_eq!(scene.run("who").await.unwrap_err(), "The server is stopping.");
    assert!(scene.run("help").await.is_ok(), "the console lives on");
}
