//! What is told of accounts and sessions is what a restart shows, also when the disk does not take it.

use super::*;

#[test]
fn what_the_disk_does_not_take_is_not_acknowledged() {
    run(async {
        let rig = Rig::new(|_| {});
        let auth = rig.open();
        let (client, opened) = alice(&auth).await;
        let obstacles = [rig.file(".clients.csv.tmp"), rig.file(".sessions.csv.tmp")];
        obstacles.iter().for_each(|path| fs::create_dir(path).expect("a folder"));
        fs::remove_file(rig.file("clients.csv")).expect("removed");
        fs::remove_file(rig.file("sessions.csv")).expect("removed");
        let refused = client.ask(&auth, register("bob", SECRET), HOME).await;
        assert_eq!(code(refused), ErrorCode::StorageUnavailable);
        let refused = client.ask(&auth, login("alice", SECRET), HOME).await;
        assert_eq!(code(refused), ErrorCode::StorageUnavailable);
        let banned = auth.send(Ban { name: name("alice") }).await.expect("alive");
        assert!(matches!(banned, Err(OperatorError::Storage(_))), "{banned:?}");
        assert!(client.heard_nothing(), "a ban that is not durable ends nothing");
        obstacles.iter().for_each(|path| fs::remove_dir(path).expect("removed"));
        client.ask(&auth, register("bob", SECRET), HOME).await.expect("the name was given back");
        client.ask(&auth, login("alice", SECRET), HOME).await.expect("a session");
        let crashed = rig.after_a_crash();
        let after = crashed.open();
        client.ask(&after, resume(&opened.token), HOME).await.expect("nothing was lost");
        assert_eq!(after.send(ListAccounts).await.expect("alive").len(), 2);
    });
}

// issue 7: an end holds in another way that survives: the account itself says which sessions it may have
#[test]
fn sessions_that_an_account_has_ended_stay_ended_whatever_the_session_file_says() {
    run(async {
        let rig = Rig::new(|_| {});
        let auth = rig.open();
        let (owner, opened) = alice(&auth).await;
        let thief = Client::new();
        let ends = |how: &'static str| {
            let (auth, session) = (auth.clone(), opened.session);
            async move {
                let target = || name("alice");
                let done = match how {
                    "kick" => auth.send(Kick { name: target(), why: None }).await.expect("alive").is_ok(),
                    "ban" => {
                        let banned = auth.send(Ban { name: target() }).await.expect("alive").is_ok();
                        banned && auth.send(Unban { name: target() }).await.expect("alive").is_ok()
                    }
                    "set" => {
                        let set = SetPassword { name: target(), password: Password::given(SECRET) };
                        auth.send(set).await.expect("alive").is_ok()
                    }
                    _ => {
                        let (old, new) = (Password::given(SECRET), Password::given(SECRET));
                        let change = ChangePassword { session, old, new, from: ip(HOME) };
                        auth.send(change).await.expect("alive").is_ok()
                    }
                };
                assert!(done, "{how}");
            }
        };
        for how in ["passwd", "kick", "ban", "set"] {
            let stolen = thief.ask(&auth, login("alice", SECRET), AWAY).await.expect("a session");
            let before = fs::read(rig.file("sessions.csv")).expect("the file");
            ends(how).await;
            let crashed = rig.after_a_crash();
            fs::write(crashed.file("sessions.csv"), &before).expect("as if nothing had been written");
            let after = crashed.open();
            assert_eq!(
                code(thief.ask(&after, resume(&stolen.token), AWAY).await),
                ErrorCode::BadToken,
                "{how}"
            );
            if how == "passwd" {
                owner.ask(&after, resume(&opened.token), HOME).await.expect("its own goes on");
            }
            thief.ask(&after, login("alice", SECRET), AWAY).await.expect("new ones are good");
            after.send(Shutdown).await.expect("alive");
        }
        // Without a session file numbers are not given again from 1: a new session outlives a restart.
        fs::remove_file(rig.file("sessions.csv")).expect("removed");
        let crashed = rig.after_a_crash();
        let fresh = owner.ask(&crashed.open(), login("alice", SECRET), HOME).await.expect("a session");
        let after = crashed.after_a_crash();
        owner.ask(&after.open(), resume(&fresh.token), HOME).await.expect("it is not one of the ended");
    });
}

// issue 7: a limit on sessions ends none that it could not store the end of
#[test]
fn a_session_that_was_to_make_room_goes_on_when_that_cannot_be_stored() {
    run(async {
        let rig = Rig::new(|config| config.limits.sessions_per_account = 1);
        let auth = rig.open();
        let (client, first) = alice(&auth).await;
        auth.do_send(Detach { session: first.session });
        let obstacle = rig.file(".sessions.csv.tmp");
        fs::create_dir(&obstacle).expect("a folder");
        fs::remove_file(rig.file("sessions.csv")).expect("removed");
        for _ in 0..2 {
            let refused = client.ask(&auth, login("alice", SECRET), HOME).await;
            assert_eq!(code(refused), ErrorCode::StorageUnavailable);
        }
        fs::remove_dir(&obstacle).expect("removed");
        let back = client.ask(&auth, resume(&first.token), HOME).await.expect("it was told nothing");
        assert_eq!(back.session.number(), first.session.number());
    });
}

// issue 7: the name of a row that cannot be read is nobody's, but the operator can give it
#[test]
fn a_name_that_was_set_aside_is_taken_until_the_operator_gives_it() {
    run(async {
        let rig = Rig::new(|_| {});
        let auth = rig.open();
        let (client, _) = alice(&auth).await;
        client.ask(&auth, register("bob", SECRET), HOME).await.expect("a session");
        auth.send(Shutdown).await.expect("alive");
        let text = fs::read_to_string(rig.file("clients.csv")).expect("text");
        fs::write(rig.file("clients.csv"), text.replacen("active", "banned", 1)).expect("written");
        for _ in 0..2 {
            let auth = rig.open();
            assert!(auth.send(Identify { name: name("alice") }).await.expect("alive"), "it is known");
            assert_eq!(code(client.ask(&auth, register("Alice", SECRET), HOME).await), ErrorCode::NameTaken);
            assert_eq!(code(client.ask(&auth, login("alice", SECRET), HOME).await), ErrorCode::WrongPassword);
            client.ask(&auth, login("bob", SECRET), HOME).await.expect("the others serve");
            auth.send(Shutdown).await.expect("alive");
        }
        let auth = rig.open();
        let add = AddAccount { name: name("alice"), password: Password::given("a new one") };
        auth.send(add).await.expect("alive").expect("the operator may");
        client.ask(&auth, login("alice", "a new one"), HOME).await.expect("a session");
    });
}
