use std::os::unix::fs::MetadataExt;

use actix::{Actor, Context, Handler, MessageResult};

use super::client::{Client, ClientError};
use super::*;
use crate::actors::messages::auth::AccountsHandle;
use crate::actors::messages::auth::{
    AccountEntry, AddAccount, ImportAccount, ImportOutcome, ListAccounts, OperatorError, RemoveAccount,
    SetPassword,
};
use crate::actors::messages::console::{CommandOutput, ConsoleHandle, ConsoleSnapshot, RunCommand};
use crate::actors::messages::observe::Observe;
use crate::model::Timestamp;

/// Stands in for the console and the AuthActor.
struct Rig {
    busy: bool,
}

impl Actor for Rig {
    type Context = Context<Self>;
}

macro_rules! answers {
    ($($message:ty => |$rig:ident, $asked:ident| $answer:expr;)+) => {
        $(impl Handler<$message> for Rig {
            type Result = MessageResult<$message>;

            fn handle(&mut self, $asked: $message, _: &mut Self::Context) -> Self::Result {
                let $rig = self;
                MessageResult($answer)
            }
        })+
    };
}

/// Lets the command `slow` end.
static GO: tokio::sync::Notify = tokio::sync::Notify::const_new();

impl Handler<RunCommand> for Rig {
    type Result = actix::ResponseFuture<Result<CommandOutput, String>>;

    fn handle(&mut self, asked: RunCommand, _: &mut Self::Context) -> Self::Result {
        Box::pin(async move { do_command(&asked.line).await })
    }
}

impl Handler<Observe<ConsoleSnapshot>> for Rig {
    type Result = MessageResult<Observe<ConsoleSnapshot>>;

    fn handle(&mut self, asked: Observe<ConsoleSnapshot>, _: &mut Self::Context) -> Self::Result {
        MessageResult(asked.answer(ConsoleSnapshot { commands: 0, running: 0 }))
    }
}

async fn do_command(line: &str) -> Result<CommandOutput, String> {
    match line {
        "slow" => {
            GO.notified().await;
            Ok("at last".to_owned().into())
        }
        "long" => Ok(vec!["0123456789abcdef"; 100_000].join("\n").into()),
        "bad" => Err("No.\u{1b}[2J".into()),
        line => Ok(format!("did {line}").into()),
    }
}

answers! {
    AddAccount => |rig, asked| if std::mem::replace(&mut rig.busy, false) {
        Err(OperatorError::Busy { retry_after_ms: 1 })
    } else if asked.password.expose() == "correct horse" {
        Ok(())
    } else {
        Err(OperatorError::NameTaken(asked.name))
    };
    SetPassword => |_house, _asked| Ok(2);
    RemoveAccount => |_house, _asked| Err(OperatorError::Storage("no space".into()));
    ListAccounts => |_house, _asked| vec![AccountEntry {
        name: UserName::parse("alice").unwrap(),
        created_at: Timestamp::from_millis(0),
        last_seen: None,
        banned: true,
        imported: false,
        sessions: 1,
    }];
    ImportAccount => |_house, asked| if asked.login == "Alice" {
        Ok(ImportOutcome::AlreadyThere)
    } else {
        Err(OperatorError::BadImport(format!("{:?} is no login", asked.login)))
    };
}

/// Runs a server on this directory while `work`, which may block, talks to it.
fn with_server<T: Send + 'static>(data_dir: &Path, work: impl FnOnce() -> T + Send + 'static) -> T {
    let data_dir = data_dir.to_owned();
    actix_rt::System::new().block_on(async move {
        let rig = Rig { busy: true }.start();
        let socket = server::bind(&data_dir).unwrap();
        let console = ConsoleHandle::of(&rig);
        let server = server::serve(socket, console, AccountsHandle::of(&rig));
        let done = tokio::task::spawn_blocking(work).await.unwrap();
        server.stop().await;
        assert!(!data_dir.join(SOCKET_FILE).exists());
        done
    })
}

fn ask(client: &mut Client, request: &ControlRequest) -> Result<String, ClientError> {
    let mut text = Vec::new();
    client.ask(request, |part| text.push(part.to_owned()))?;
    Ok(text.join("\n"))
}

fn command(line: &str) -> ControlRequest {
    ControlRequest::Command(line.into())
}

fn alice() -> UserName {
    UserName::parse("alice").unwrap()
}

#[test]
fn commands_and_accounts_come_back_answered() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().to_owned();
    with_server(place.path(), move || {
        assert_eq!(folder.join(SOCKET_FILE).metadata().unwrap().mode() & 0o777, 0o600);
        let mut client = Client::connect(&folder).unwrap();
        assert_eq!(ask(&mut client, &command("say #lobby \"hi\"\n")).unwrap(), "did say #lobby \"hi\"\n");
        let refused = ask(&mut client, &command("bad")).unwrap_err();
        assert_eq!(refused.to_string(), "No.\\u{1b}[2J");
        assert!(matches!(refused, ClientError::Refused { again: false, .. }));

        let password = Password::chosen("correct horse").unwrap();
        let add = ControlRequest::Account(AccountRequest::Add { name: alice(), password: password.clone() });
        assert_eq!(ask(&mut client, &add).unwrap(), "Added the account alice.", "after waiting its turn");
        let passwd = ControlRequest::Account(AccountRequest::SetPassword { name: alice(), password });
        assert_eq!(ask(&mut client, &passwd).unwrap(), "Set the password of alice; 2 sessions ended.");
        let remove = ControlRequest::Account(AccountRequest::Remove { name: alice() });
        assert!(matches!(ask(&mut client, &remove), Err(ClientError::Refused { again: true, .. })));
        let list = ask(&mut client, &ControlRequest::Account(AccountRequest::List)).unwrap();
        let columns: Vec<&str> = list.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(columns, ["alice", "1970-01-01T00:00:00.000Z", "-", "-", "1", "banned"]);
        for (login, outcome) in [("Alice", Ok("already there")), ("a\u{1b}", Err("\"a\\u{1b}\" is no login"))]
        {
            let import = ControlRequest::Account(AccountRequest::Import {
                login: login.into(),
                password_md5: Password::given("5f4dcc3b5aa765d61d8327deb882cf99"),
                ip: None,
            });
            let answer = ask(&mut client, &import).map_err(|error| error.to_string());
            assert_eq!(answer.as_deref().map_err(String::as_str), outcome);
        }
    });
}

#[test]
fn a_long_answer_comes_in_parts() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().to_owned();
    let text = with_server(place.path(), move || {
        let mut parts = Vec::new();
        Client::connect(&folder).unwrap().ask(&command("long"), |part| parts.push(part.to_owned())).unwrap();
        assert!(parts.len() > 10 && parts.iter().all(|part| part.len() <= MAX_PART_BYTES));
        parts.join("\n")
    });
    assert_eq!(text, vec!["0123456789abcdef"; 100_000].join("\n"));
}

/// Lines of older clients and of other programs: what travels is a promise (`docs/operating.md`).
#[test]
fn a_request_travels_as_it_always_did() {
    let password = || Password::chosen("correct horse").unwrap();
    let account = ControlRequest::Account;
    for (request, line) in [
        (command("say \"hi\""), r#"{"command":"say \"hi\""}"#),
        (
            account(AccountRequest::Add { name: alice(), password: password() }),
            r#"{"account":"add","name":"alice","password":"correct horse"}"#,
        ),
        (
            account(AccountRequest::SetPassword { name: alice(), password: password() }),
            r#"{"account":"passwd","name":"alice","password":"correct horse"}"#,
        ),
        (account(AccountRequest::Remove { name: alice() }), r#"{"account":"remove","name":"alice"}"#),
        (account(AccountRequest::List), r#"{"account":"list"}"#),
        (
            account(AccountRequest::Import {
                login: "Alice".into(),
                password_md5: Password::given("5f4d"),
                ip: Some("192.0.2.7".into()),
            }),
            r#"{"account":"import","name":"Alice","password_md5":"5f4d","ip":"192.0.2.7"}"#,
        ),
    ] {
        assert_eq!(std::str::from_utf8(&request.encode()).unwrap(), format!("{line}\n"));
        assert_eq!(ControlRequest::decode(line.as_bytes()), Ok(request));
    }
    let spaced = b" { \"name\": null, \"command\": \"who\" } \r\n";
    assert_eq!(ControlRequest::decode(spaced), Ok(command("who")), "what is null is not there");
}

#[test]
fn what_is_no_request_is_refused_and_shows_no_secret() {
    for line in [
        &b"not json"[..],
        b"{}",
        b"[1]",
        b"{\"command\":1}",
        b"{\"command\":\"who\",\"account\":\"list\"}",
        b"{\"account\":\"add\",\"name\":\"alice\"}",
        b"{\"account\":\"add\",\"name\":\"../x\",\"password\":\"topsecret\"}",
        b"{\"account\":\"add\",\"name\":\"alice\",\"password\":\"secret\"}",
        b"{\"account\":\"topsecret\"}",
        b"{\"account\":\"add\",\"name\":\"top secret\",\"password\":\"alice\"}",
        b"{\"account\":\"add\",\"name\":\"alice\",\"password\":[\"topsecret\"]}",
        b"\xff\xfe",
    ] {
        let problem = ControlRequest::decode(line).unwrap_err();
        assert!(!problem.contains("secret"), "{problem}");
    }
}

#[test]
fn a_request_without_end_is_cut_off() {
    use std::io::{Read, Write};
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().to_owned();
    let answer = with_server(place.path(), move || {
        let mut stream = std::os::unix::net::UnixStream::connect(folder.join(SOCKET_FILE)).unwrap();
        stream.write_all(&vec![b'x'; MAX_REQUEST_BYTES + 1]).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    assert!(answer.contains("at most 65536 bytes"), "{answer}");
}

#[test]
fn a_path_that_is_too_long_for_a_socket_works_all_the_same() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("d".repeat(200));
    std::fs::create_dir(&folder).unwrap();
    let inside = folder.clone();
    let answer =
        with_server(&folder, move || ask(&mut Client::connect(&inside).unwrap(), &command("who")).unwrap());
    assert_eq!(answer, "did who");
}

#[test]
fn a_socket_that_was_left_behind_is_replaced() {
    let place = tempfile::tempdir().unwrap();
    drop(std::os::unix::net::UnixListener::bind(place.path().join(SOCKET_FILE)).unwrap());
    let refused = Client::connect(place.path()).unwrap_err();
    assert!(matches!(refused, ClientError::NotRunning { .. }), "{refused}");
    let folder = place.path().to_owned();
    with_server(place.path(), move || ask(&mut Client::connect(&folder).unwrap(), &command("who")).unwrap());
}

// issue 7: eight idle control clients hold up `shutdown`
#[test]
fn clients_that_ask_for_nothing_hold_nobody_up() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().to_owned();
    with_server(place.path(), move || {
        let mut first = Client::connect(&folder).unwrap();
        let mut idle: Vec<Client> = (0..100).map(|_| Client::connect(&folder).unwrap()).collect();
        let answer = ask(&mut Client::connect(&folder).unwrap(), &command("who"));
        assert_eq!(answer.unwrap(), "did who");
        let gone = ask(&mut first, &command("who")).unwrap_err();
        assert!(matches!(gone, ClientError::Ended { .. }), "the longest idle one was let go: {gone}");
        let newest = idle.last_mut().unwrap();
        assert_eq!(ask(newest, &command("who")).unwrap(), "did who");
    });
}

// issue 7: `ctl` to a server that hangs: one that is busy says so, and is waited for
#[test]
fn a_server_that_is_at_it_says_so() {
    use std::io::{BufRead, BufReader, Write};
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().to_owned();
    with_server(place.path(), move || {
        let mut stream = std::os::unix::net::UnixStream::connect(folder.join(SOCKET_FILE)).unwrap();
        stream.write_all(b"{\"command\":\"slow\"}\n").unwrap();
        let mut lines = BufReader::new(stream).lines();
        assert!(lines.next().unwrap().unwrap().contains("\"working\":true"));
        GO.notify_one();
        let last = lines.map_while(Result::ok).find(|line| !line.contains("working")).unwrap();
        assert_eq!(last, r#"{"ok":true,"text":"at last"}"#);
    });
}

#[test]
fn a_line_without_a_text_is_none_of_the_answer() {
    use std::io::{Read, Write};
    let place = tempfile::tempdir().unwrap();
    let socket = std::os::unix::net::UnixListener::bind(place.path().join(SOCKET_FILE)).unwrap();
    let server = std::thread::spawn(move || {
        let (mut client, _) = socket.accept().unwrap();
        let _ = client.read(&mut [0; 1_000]).unwrap();
        let (working, done) = (ControlAnswer::at_work(), ControlAnswer::line(true, "done".into()));
        for line in [&working, &working, &done] {
            client.write_all(&serde_json::to_vec(line).unwrap()).unwrap();
            client.write_all(b"\n").unwrap();
        }
    });
    let mut client = Client::connect(place.path()).unwrap();
    assert_eq!(ask(&mut client, &command("who")).unwrap(), "done");
    server.join().unwrap();
}

#[test]
fn requests_survive_the_way() {
    let md5 = Password::given("5f4dcc3b5aa765d61d8327deb882cf99");
    for request in [
        command("say \u{1b}\u{2028} \"\\ жук\n"),
        ControlRequest::Account(AccountRequest::List),
        ControlRequest::Account(AccountRequest::Remove { name: alice() }),
        ControlRequest::Account(AccountRequest::Add {
            name: alice(),
            password: Password::given("пароль\"\n"),
        }),
        ControlRequest::Account(AccountRequest::Import {
            login: "A b".into(),
            password_md5: md5,
            ip: Some("x".into()),
        }),
    ] {
        assert_eq!(ControlRequest::decode(&request.encode()), Ok(request));
    }
}
