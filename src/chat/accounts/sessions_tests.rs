use proptest::prelude::*;

use super::*;

const LIFETIMES: SessionLifetimes =
    SessionLifetimes { idle: Duration::from_secs(100), max: Duration::from_secs(1_000) };

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn token(byte: u8) -> TokenHash {
    TokenHash::from_bytes([byte; 16])
}

fn wall(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_795_284_321_000 + seconds * 1_000)
}

fn stored(number: u64, account: u64, byte: u8) -> StoredSession {
    StoredSession {
        number,
        account,
        opened_at: wall(0),
        token_at: wall(0),
        token: token(byte),
        previous: None,
        seen_at: None,
    }
}

struct Stage {
    table: SessionTable<&'static str>,
    start: Instant,
}

impl Stage {
    fn new() -> Self {
        Stage { table: SessionTable::new(LIFETIMES), start: Instant::now() }
    }

    fn at(&self, after: u64) -> Instant {
        self.start + seconds(after)
    }

    fn resume(
        &mut self,
        shown: u8,
        fresh: u8,
        owner: &'static str,
        after: u64,
    ) -> Option<(SessionId, Option<&str>)> {
        let now = self.at(after);
        let stored = self.table.resumption(&token(shown), token(fresh), wall(0), now)?;
        self.table.resume(&stored, owner, now).ok()
    }
}

#[test]
fn a_resume_changes_hands_and_the_old_token_dies_with_the_first_use() {
    let mut stage = Stage::new();
    let first = stage.table.open(&stored(1, 7, 1), "first", stage.start);
    let (second, ended) = stage.resume(1, 2, "second", 1).expect("a session");
    assert_eq!(ended, Some("first"));
    assert_eq!((second.number(), second == first), (1, false));
    assert!(stage.table.detach(first, stage.at(2)).is_none(), "the old connection has no say");
    assert!(!stage.table.token_used(first.number(), &token(1)));
    let used = &token(2);
    assert!(stage.table.token_used(second.number(), used) && !stage.table.token_used(second.number(), used));
    assert!(stage.resume(1, 3, "thief", 3).is_none());
    assert!(stage.resume(2, 3, "third", 3).is_some());
    stage.table.check_invariants();
}

#[test]
fn an_old_token_still_resumes_when_the_fresh_one_was_never_used() {
    let mut stage = Stage::new();
    stage.table.open(&stored(1, 7, 1), "first", stage.start);
    stage.resume(1, 2, "second", 1).expect("a session");
    stage.resume(1, 3, "third", 30).expect("the reply was lost");
    assert!(stage.resume(2, 4, "thief", 31).is_none(), "what nobody got is dead");
    stage.resume(3, 4, "fourth", 32).expect("the fresh one");
    assert!(stage.resume(1, 5, "thief", 33).is_none(), "only the one before is kept");
    assert!(stage.table.expire(stage.at(92)).ended.is_empty());
    assert!(stage.resume(3, 5, "late", 92).is_none(), "after a minute it is dead");
    stage.table.check_invariants();
}

#[test]
fn two_resumes_that_cross_leave_one_holder() {
    let mut stage = Stage::new();
    stage.table.open(&stored(1, 7, 1), "first", stage.start);
    let now = stage.at(1);
    let one = stage.table.resumption(&token(1), token(2), wall(1), now).expect("a session");
    let other = stage.table.resumption(&token(1), token(3), wall(1), now).expect("a session");
    let late = stage.table.resumption(&token(1), token(4), wall(1), now).expect("a session");
    stage.table.resume(&one, "one", now).expect("resumed");
    let (id, ended) = stage.table.resume(&other, "other", now).expect("resumed");
    assert_eq!(ended, Some("one"));
    stage.table.token_used(id.number(), &token(3));
    let instead = stage.table.resume(&late, "late", now).expect_err("its token died").expect("lives");
    assert_eq!((instead.token, instead.previous), (token(3), None));
    stage.table.end(id.number()).expect("ended");
    assert_eq!(stage.table.resume(&late, "late", now), Err(None));
    stage.table.check_invariants();
    assert!(stage.table.is_empty() && stage.table.tokens.is_empty());
}

#[test]
fn sessions_end_by_their_time() {
    let mut stage = Stage::new();
    let attached = stage.table.open(&stored(1, 7, 1), "attached", stage.start);
    let lost = stage.table.open(&stored(2, 7, 2), "lost", stage.start);
    assert_eq!(stage.table.expires_in_seconds(attached, stage.start), 100);
    assert_eq!(stage.table.expires_in_seconds(attached, stage.at(950)), 50);
    assert_eq!(stage.table.detach(lost, stage.at(10)), Some(7));
    assert!(stage.table.expire(stage.at(109)).ended.is_empty());
    assert_eq!(
        stage.table.expire(stage.at(110)).ended,
        [Ended { id: SessionId::new(2, 0), account: 7, owner: None }]
    );
    assert!(stage.table.expire(stage.at(999)).ended.is_empty());
    assert_eq!(
        stage.table.expire(stage.at(1_000)).ended,
        [Ended { id: SessionId::new(1, 0), account: 7, owner: Some("attached") }]
    );
    stage.table.check_invariants();
}

#[test]
fn an_accounts_sessions_end_together_or_but_one() {
    let mut stage = Stage::new();
    let keep = stage.table.open(&stored(1, 7, 1), "keep", stage.start);
    stage.table.open(&stored(2, 7, 2), "end", stage.start);
    stage.table.open(&stored(3, 8, 3), "other", stage.start);
    let ended = stage.table.end_account(7, SessionsFrom { and: Some(keep.number()), ..SessionsFrom::NONE });
    assert_eq!(ended, [Ended { id: SessionId::new(2, 0), account: 7, owner: Some("end") }]);
    assert_eq!(stage.table.end_account(7, SessionsFrom::NONE).len(), 1);
    assert_eq!((stage.table.of_account(7), stage.table.of_account(8)), (0, 1));
    assert_eq!(stage.table.end_all().len(), 1);
    stage.table.check_invariants();
}

#[test]
fn the_longest_detached_makes_room() {
    let mut stage = Stage::new();
    let one = stage.table.open(&stored(1, 7, 1), "one", stage.start);
    let two = stage.table.open(&stored(2, 7, 2), "two", stage.start);
    assert_eq!(stage.table.make_room(7), None);
    stage.table.detach(two, stage.at(1));
    stage.table.detach(one, stage.at(2));
    assert_eq!(stage.table.make_room(7), Some(2));
    stage.table.check_invariants();
}

#[test]
fn the_wall_clock_ages_sessions_over_a_restart_alone() {
    let seen = |seconds| StoredSession { seen_at: Some(wall(seconds)), ..stored(1, 7, 1) };
    let lives = |session: &StoredSession, now| Stage::new().table.restore(session, wall(now), Instant::now());
    assert!(lives(&seen(10), 109) && !lives(&seen(10), 110));
    assert!(lives(&seen(950), 999) && !lives(&seen(950), 1_000));
    assert!(lives(&seen(10), -1_000_000_000), "a clock that was set back throws nobody out");

    let mut stage = Stage::new();
    let session = StoredSession { previous: Some(token(9)), token_at: wall(10), ..seen(20) };
    assert!(stage.table.restore(&session, wall(50), stage.start));
    assert!(stage.table.resumption(&token(9), token(2), wall(50), stage.at(19)).is_some());
    assert!(stage.table.resumption(&token(9), token(2), wall(50), stage.at(20)).is_none());
    assert!(stage.table.expire(stage.at(69)).ended.is_empty());
    assert_eq!(stage.table.expire(stage.at(70)).ended.len(), 1);
    stage.table.check_invariants();
}

/// Something that happens to sessions; numbers choose one of those there are.
#[derive(Debug, Clone)]
enum Step {
    Open { account: u64 },
    Resume { shown: usize },
    Used { session: usize },
    Detach { session: usize },
    End { session: usize },
    EndAccount { account: u64, but: Option<usize> },
    MakeRoom { account: u64 },
    Pass { seconds: u64 },
}

fn any_step() -> impl Strategy<Value = Step> {
    let one = || 0_usize..1_000;
    prop_oneof![
        4 => (0_u64..3).prop_map(|account| Step::Open { account }),
        4 => one().prop_map(|shown| Step::Resume { shown }),
        2 => one().prop_map(|session| Step::Used { session }),
        2 => one().prop_map(|session| Step::Detach { session }),
        1 => one().prop_map(|session| Step::End { session }),
        1 => (0_u64..3, prop::option::of(one()))
            .prop_map(|(account, but)| Step::EndAccount { account, but }),
        1 => (0_u64..3).prop_map(|account| Step::MakeRoom { account }),
        2 => (1_u64..200).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

proptest! {
    #[test]
    fn all_that_is_known_agrees_after_every_step(steps in prop::collection::vec(any_step(), 1..100)) {
        let mut stage = Stage::new();
        let (mut opened, mut tokens, mut after, mut fresh) = (Vec::<SessionId>::new(), Vec::new(), 0, 0_u8);
        for step in steps {
            let now = stage.at(after);
            let some = |at: usize| (!opened.is_empty()).then(|| opened[at % opened.len()]);
            match step {
                Step::Open { account } => {
                    let number = opened.len() as u64 + 1;
                    fresh += 1;
                    tokens.push(fresh);
                    opened.push(stage.table.open(&stored(number, account, fresh), "opened", now));
                }
                Step::Resume { shown } if !tokens.is_empty() => {
                    fresh += 1;
                    let shown = tokens[shown % tokens.len()];
                    if let Some((id, _)) = stage.resume(shown, fresh, "resumed", after) {
                        tokens.push(fresh);
                        opened.push(id);
                    }
                }
                Step::Used { session } => {
                    let used = some(session).and_then(|id| Some((id, stage.table.unused_token(id)?)));
                    if let Some((id, token)) = used {
                        prop_assert!(stage.table.token_used(id.number(), &token));
                        prop_assert_eq!(stage.table.unused_token(id), None);
                    }
                }
                Step::Detach { session } => drop(some(session).and_then(|id| stage.table.detach(id, now))),
                Step::End { session } => {
                    let ended = some(session).and_then(|id| stage.table.end(id.number()));
                    prop_assert!(ended.is_none_or(|ended| stage.table.account_of(ended.id).is_none()));
                }
                Step::EndAccount { account, but } => {
                    let and = but.and_then(some).map(SessionId::number);
                    stage.table.end_account(account, SessionsFrom { and, ..SessionsFrom::NONE });
                    prop_assert!(stage.table.of_account(account) <= usize::from(and.is_some()));
                }
                Step::MakeRoom { account } => {
                    if let Some(number) = stage.table.make_room(account) {
                        stage.table.spare(number);
                    }
                }
                Step::Pass { seconds } => {
                    after += seconds;
                    stage.table.expire(stage.at(after));
                }
                Step::Resume { .. } => {}
            }
            stage.table.check_invariants();
        }
        stage.table.end_all();
        stage.table.check_invariants();
        prop_assert!(stage.table.is_empty() && stage.table.tokens.is_empty());
    }
}
