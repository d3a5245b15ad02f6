//! What the operator does with accounts.

use super::*;

#[test]
fn the_operator_bans_kicks_and_removes() {
    run(async {
        let rig = Rig::new(|_| {});
        let auth = rig.open();
        let (client, opened) = alice(&auth).await;
        let target = || name("alice");
        let why = Some("be nice".to_owned());
        assert_eq!(auth.send(Kick { name: target(), why: why.clone() }).await.expect("alive"), Ok(1));
        assert_eq!(client.ended().await, EndSession { reason: ByeReason::Kicked, text: why });
        assert_eq!(code(client.ask(&auth, resume(&opened.token), HOME).await), ErrorCode::BadToken);
        let opened = client.ask(&auth, login("alice", SECRET), HOME).await.expect("kicked is not banned");

        assert_eq!(auth.send(Ban { name: target() }).await.expect("alive"), Ok(1));
        assert_eq!(client.ended().await.reason, ByeReason::Fault(ErrorCode::Banned));
        for auth in [&auth, &rig.after_a_crash().open()] {
            assert_eq!(code(client.ask(auth, login("alice", "wrong"), HOME).await), ErrorCode::WrongPassword);
            assert_eq!(code(client.ask(auth, login("alice", SECRET), HOME).await), ErrorCode::Banned);
            assert_eq!(code(client.ask(auth, resume(&opened.token), HOME).await), ErrorCode::BadToken);
        }
        assert_eq!(auth.send(Unban { name: target() }).await.expect("alive"), Ok(()));
        client.ask(&auth, login("alice", SECRET), HOME).await.expect("a session");

        let set = SetPassword { name: target(), password: Password::given("set by hand") };
        assert_eq!(auth.send(set).await.expect("alive"), Ok(1));
        let last = client.ask(&auth, login("alice", "set by hand"), HOME).await.expect("a session");
        client.heard.lock().expect("no panic").clear();
        let removed = auth.send(RemoveAccount { name: target() });
        let left = async {
            client.ended().await;
            auth.do_send(Detach { session: last.session });
        };
        assert_eq!(tokio::join!(removed, left).0.expect("alive"), Ok(1), "the name is free when it has left");
        let gone = auth.send(RemoveAccount { name: target() }).await.expect("alive");
        assert_eq!(gone, Err(OperatorError::NoSuchAccount(target())));
        let list = auth.send(ListAccounts).await.expect("alive");
        assert!(list.is_empty(), "{list:?}");
        let add = AddAccount { name: target(), password: Password::given(SECRET) };
        assert_eq!(auth.send(add.clone()).await.expect("alive"), Ok(()));
        assert!(matches!(auth.send(add).await.expect("alive"), Err(OperatorError::NameTaken(_))));
        let entry = auth.send(ListAccounts).await.expect("alive").remove(0);
        assert_eq!((entry.last_seen, entry.banned, entry.sessions), (None, false, 0));
    });
}

#[test]
fn clearing_ends_everything_and_keeps_a_copy() {
    run(async {
        let rig = Rig::new(|_| {});
        let auth = rig.open();
        let (client, opened) = alice(&auth).await;
        let cleared = auth.send(ClearAccounts);
        let left = async {
            assert_eq!(client.ended().await.reason, ByeReason::Kicked);
            auth.do_send(Detach { session: opened.session });
        };
        let cleared = tokio::join!(cleared, left).0.expect("alive").expect("room on the disk");
        assert_eq!((cleared.accounts, cleared.sessions), (1, 1));
        assert!(cleared.copy.exists());
        for auth in [&auth, &rig.after_a_crash().open()] {
            assert_eq!(code(client.ask(auth, resume(&opened.token), HOME).await), ErrorCode::BadToken);
            assert_eq!(code(client.ask(auth, login("alice", SECRET), HOME).await), ErrorCode::WrongPassword);
            client.ask(auth, register("alice", "a new life"), HOME).await.expect("the name is free");
        }
    });
}

#[test]
fn imported_accounts_log_in_and_lose_their_md5() {
    run(async {
        let rig = Rig::new(|_| {});
        let auth = rig.open();
        // md5("password")
        let md5 = "5F4DCC3B5AA765D61D8327DEB882CF99";
        let import = |login: &str, md5: &str, ip: &str| {
            auth.send(ImportAccount {
                login: login.into(),
                password_md5: Password::given(md5),
                ip: Some(ip.into()),
            })
        };
        assert_eq!(import("Alice", md5, HOME).await.expect("alive"), Ok(ImportOutcome::Imported));
        assert_eq!(
            import("bob", md5, "nowhere").await.expect("alive"),
            Ok(ImportOutcome::ImportedWithoutAddress)
        );
        assert_eq!(import("alice", md5, "").await.expect("alive"), Ok(ImportOutcome::AlreadyThere));
        for (login, md5) in
            [("../x", md5), ("carol", "5f4dcc3b"), ("carol", "zf4dcc3b5aa765d61d8327deb882cf99")]
        {
            let error = import(login, md5, "").await.expect("alive").expect_err("no account");
            assert!(matches!(&error, OperatorError::BadImport(_)) && !error.to_string().contains(md5));
        }
        assert!(matches!(import("server", md5, "").await.expect("alive"), Err(OperatorError::NameTaken(_))));

        // The import was cut off here; what was answered is there, and it goes on.
        let crashed = rig.after_a_crash();
        for entry in fs::read_dir(crashed.dir.path()).expect("the folder").flatten() {
            let bytes = fs::read(entry.path()).expect("a file");
            let text = String::from_utf8_lossy(&bytes).to_lowercase();
            assert!(!text.contains(&md5.to_lowercase()), "{:?}", entry.file_name());
        }
        let auth = crashed.open();
        let again = ImportAccount { login: "alice".into(), password_md5: Password::given(md5), ip: None };
        assert_eq!(auth.send(again).await.expect("alive"), Ok(ImportOutcome::AlreadyThere));
        let imported = |auth: &Addr<AuthActor>| {
            let list = auth.send(ListAccounts);
            async { list.await.expect("alive").into_iter().filter(|entry| entry.imported).count() }
        };
        assert_eq!(imported(&auth).await, 2);
        let client = Client::new();
        assert_eq!(code(client.ask(&auth, login("alice", md5), HOME).await), ErrorCode::WrongPassword);
        client.ask(&auth, login("alice", "password"), HOME).await.expect("a session");
        assert_eq!(imported(&auth).await, 1, "it is Argon2id of the password itself now");
        client.ask(&auth, login("alice", "password"), HOME).await.expect("a session");
        auth.send(Shutdown).await.expect("alive");
        assert_eq!(imported(&crashed.open()).await, 1, "also in the file");
    });
}

#[test]
fn registrations_are_bounded_and_can_be_closed() {
    run(async {
        let rig = Rig::new(|config| config.limits.registrations_per_minute = 2);
        let auth = rig.open();
        let (client, _) = alice(&auth).await;
        client.ask(&auth, register("bob", SECRET), HOME).await.expect("a session");
        assert_eq!(code(client.ask(&auth, register("bob", SECRET), HOME).await), ErrorCode::NameTaken);
        let refusal = client.ask(&auth, register("carol", SECRET), HOME).await.expect_err("spent");
        assert_eq!(refusal.code, ErrorCode::RateLimited);
        assert!(refusal.retry_after_ms.is_some());
        client.ask(&auth, register("carol", SECRET), AWAY).await.expect("another address");
        let closed = Rig::new(|config| config.auth.registration = Registration::Closed);
        let refused = client.ask(&closed.open(), register("alice", SECRET), HOME).await;
        assert_eq!(code(refused), ErrorCode::RegistrationClosed);
    });
}
