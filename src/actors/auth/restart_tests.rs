//! What is in memory is what a restart finds, whatever crossed on its way to the disk.

use std::pin::Pin;

use super::*;
use crate::disk::simulated::Random;
use crate::model::{Account, StoredSession};

/// Requests that are under way together.
const AT_ONCE: usize = 12;
const ROUNDS: usize = 6;

type Request = Pin<Box<dyn Future<Output = Option<OpenedSession>>>>;

/// A request of one kind or another, by somebody or the operator.
fn any_request(
    auth: &Addr<AuthActor>,
    client: &Client,
    random: &mut Random,
    opened: &[OpenedSession],
) -> Request {
    let target = name(["alice", "bob"][random.below(2)]);
    let known = opened.get(random.below(opened.len().max(1))).cloned();
    let opens = |how| -> Request {
        let session = client.ask(auth, how, HOME);
        Box::pin(async { session.await.ok() })
    };
    let auth = auth.clone();
    let kind = random.below(14);
    match (kind, known) {
        (0..4, _) => opens(login(target.as_str(), SECRET)),
        (4..7, Some(known)) => opens(resume(&known.token)),
        (7..9, Some(known)) => Box::pin(async move {
            let _ = auth.send(TokenUsed { session: known.session }).await;
            None
        }),
        (9, Some(known)) => Box::pin(async move {
            let _ = auth.send(CloseSession { session: known.session }).await;
            None
        }),
        (10, Some(known)) => Box::pin(async move {
            auth.do_send(Detach { session: known.session });
            None
        }),
        (11, Some(known)) => Box::pin(async move {
            let (old, new) = (Password::given(SECRET), Password::given(SECRET));
            let _ = auth.send(ChangePassword { session: known.session, old, new, from: ip(HOME) }).await;
            None
        }),
        (12, _) if random.below(3) == 0 => Box::pin(async move {
            let _ = auth.send(Ban { name: target.clone() }).await;
            let _ = auth.send(Unban { name: target }).await;
            None
        }),
        (12, _) => Box::pin(async move {
            let _ = auth.send(Kick { name: target, why: None }).await;
            None
        }),
        (13, _) if random.below(3) == 0 => Box::pin(async move {
            let _ = auth.send(RemoveAccount { name: target }).await;
            None
        }),
        _ => opens(register(target.as_str(), SECRET)),
    }
}

/// All that would be lost or made up if memory and files disagreed.
fn known(auth: &Auth) -> (Vec<Account>, Vec<StoredSession>) {
    let state = auth.state();
    let accounts = state.accounts.iter().map(|account| (**account).clone()).collect();
    (accounts, state.sessions.stored_sessions())
}

#[test]
fn what_is_in_memory_is_what_a_restart_finds() {
    let mut compared = 0;
    for seed in 0..12 {
        compared += run(async {
            let rig = Rig::new(|config| {
                config.auth.hash_threads = 2;
                config.limits.sessions_per_account = 4;
                config.limits.sessions_opened_per_minute = 0;
                config.limits.wrong_passwords_per_hour = 0;
            });
            let mut random = Random(seed);
            let actor = rig.try_open(Arc::default()).expect("sound files").actor;
            let auth = actor.auth.clone();
            let addr = actor.start();
            let client = Client::new();
            let mut opened = Vec::new();
            for _ in 0..ROUNDS {
                let requests: Vec<_> =
                    (0..AT_ONCE).map(|_| any_request(&addr, &client, &mut random, &opened)).collect();
                opened.extend(futures(requests.into_iter()).await.into_iter().flatten());
            }
            addr.send(Shutdown).await.expect("alive");
            let again = rig.try_open(Arc::default()).expect("sound files").actor;
            let (accounts, sessions) = known(&auth);
            let (accounts_after, sessions_after) = known(&again.auth);
            assert_eq!(accounts, accounts_after, "seed {seed}");
            assert_eq!(sessions, sessions_after, "seed {seed}");
            sessions.len()
        });
    }
    assert!(compared > 12, "{compared} sessions are no test");
}
