//! What the fleet does when the platform refuses or fails, under a clock of the tests' own and in a real Redis.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::breaker::{ACCOUNTS, Breaker, BreakerState, Pauses};
use super::log::{Ask, Limits, PermitNumber, SlidingLog};
use super::simulation::{START, connection, fleet, grant, micros};
use super::{BudgetSettings, Class, snapshot};
use crate::cases::cases;

const WINDOW: Duration = Duration::from_secs(60);

fn limits(quota: u32) -> Limits {
    BudgetSettings { window: WINDOW, ..BudgetSettings::per_minute(quota) }.limits()
}

fn fresh_base() -> String {
    format!("test:{}:{{app:endpoint}}", Uuid::new_v4())
}

/// Two processes' breakers of one endpoint.
fn breakers(base: &str) -> [Breaker; 2] {
    [(); 2].map(|()| Breaker::new(connection(base), base, "endpoint", WINDOW))
}

fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

#[derive(Debug, Clone)]
enum Step {
    Pass { micros: u64 },
    Refused { asked: Option<u64> },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0_u64..240_000_000).prop_map(|micros| Step::Pass { micros }),
        1 => prop::option::weighted(0.3, 1_u64..90).prop_map(|asked| Step::Refused { asked }),
    ]
}

/// What the ceiling must be, kept apart from the scripts.
struct Expected {
    quota: f64,
    ceiling: f64,
    opens: u64,
}

impl Expected {
    #[expect(clippy::cast_precision_loss, reason = "microseconds of hours")]
    fn at(&self, now: u64) -> f64 {
        let windows = now.saturating_sub(self.opens) as f64 / WINDOW.as_micros() as f64;
        (self.ceiling + self.quota / 20.0 * windows).min(self.quota)
    }
}

async fn all_that_is_free(log: &mut SlidingLog, now: u64, next: &mut PermitNumber, quota: u32) -> (u32, u32) {
    let wanted = usize::try_from(quota + 5).unwrap();
    let granted = grant(log, now, &Ask { first: *next, interactive: wanted, ..Ask::default() }).await;
    let unused: Vec<PermitNumber> = (*next..*next + u64::from(granted.interactive)).collect();
    *next += u64::from(granted.interactive);
    grant(log, now, &Ask { first: *next, unused: &unused, ..Ask::default() }).await;
    (granted.interactive, granted.ceiling)
}

proptest! {
    #![proptest_config(cases(64))]

    /// A burst of 429s takes three tenths off once, down to a tenth of the quota; each window without one gives a
    /// twentieth back, and in the end the quota is whole.
    #[test]
    fn a_refusal_lowers_the_ceiling_once_and_it_comes_back(
        steps in prop::collection::vec(step(), 1..40),
        quota in 10_u32..200,
    ) {
        block_on(async {
            let log = &mut fleet(limits(quota), 1)[0];
            let (mut now, mut next) = (START, 0);
            let mut expected = Expected { quota: f64::from(quota), ceiling: f64::from(quota), opens: 0 };
            all_that_is_free(log, now, &mut next, quota).await;
            for step in &steps {
                match step {
                    Step::Pass { micros } => now += micros,
                    Step::Refused { asked } => {
                        let lowered = (expected.at(now) * 0.7).max(expected.quota / 10.0);
                        expected.ceiling = if now < expected.opens { expected.ceiling } else { lowered };
                        log.set_clock(now);
                        let pause = log.close(asked.map(Duration::from_secs)).await.expect("Redis runs");
                        expected.opens = now + micros(pause);
                    }
                }
                let (granted, ceiling) = all_that_is_free(log, now, &mut next, quota).await;
                assert!((f64::from(ceiling) - expected.at(now)).abs() <= 1.0, "{ceiling}, not {}", expected.at(now));
                assert_eq!(granted, if now < expected.opens { 0 } else { ceiling });
            }
            now = now.max(expected.opens) + 18 * micros(WINDOW);
            assert_eq!(all_that_is_free(log, now, &mut next, quota).await, (quota, quota));
        });
    }
}

#[tokio::test]
async fn bulk_work_is_spaced_by_the_lowered_ceiling() {
    let mut logs = fleet(limits(60), 1);
    let log = &mut logs[0];
    grant(log, START, &Ask { interactive: 1, ..Ask::default() }).await;
    let pause = log.close(None).await.expect("Redis runs");
    let now = START + micros(pause);
    let granted = grant(log, now, &Ask { first: 1, bulk: 2, ..Ask::default() }).await;
    assert_eq!((granted.bulk, granted.ceiling), (1, 42));
    assert!((granted.bulk_wait.as_secs_f64() - 60.0 / 42.0).abs() < 0.01, "{:?}", granted.bulk_wait);
}

#[tokio::test]
async fn a_snapshot_says_all_of_it_and_changes_nothing() {
    let base = fresh_base();
    let mut log = SlidingLog::new(connection(&base), &base, "p".into(), limits(100));
    let mut breaker = Breaker::new(connection(&base), &base, "endpoint", WINDOW);
    let mut redis = connection(&base);
    let mut look = async |now| snapshot::look(&mut redis, &base, limits(100), Some(now)).await.expect("Redis runs");
    let empty = look(START).await;
    assert_eq!((empty.used, empty.quota, empty.ceiling), (0, 100, 100));
    assert_eq!((empty.paused_for, empty.breaker), (None, BreakerState::Closed));
    grant(&mut log, START, &Ask { interactive: 3, ..Ask::default() }).await;
    log.close(Some(Duration::from_secs(7))).await.expect("Redis runs");
    breaker.set_clock(START);
    for account in 0..ACCOUNTS {
        breaker.failed(&account.to_string()).await;
    }
    for _ in 0..2 {
        let later = look(START + 1_000_000).await;
        assert_eq!((later.used, later.quota, later.ceiling), (3, 100, 70));
        assert_eq!(later.paused_for, Some(Duration::from_secs(6)));
        assert_eq!(later.breaker, BreakerState::Open { probe_in: Duration::from_secs(4) });
    }
}

#[tokio::test]
async fn it_opens_when_several_accounts_fail_in_a_row_and_not_for_one_creators_trouble() {
    let [mut breaker, mut other] = breakers(&fresh_base());
    let mut now = START;
    breaker.set_clock(now);
    other.set_clock(now);
    for _ in 0..20 {
        assert_eq!(breaker.failed("one").await, None, "one creator's trouble");
    }
    for account in ["two", "three", "four"] {
        assert_eq!(breaker.failed(account).await, None);
    }
    // Another process has a good answer: it was no outage.
    other.answered(other.admit(Class::Bulk).await.expect("closed")).await;
    for account in ["one", "two", "three", "four"] {
        assert_eq!(breaker.failed(account).await, None);
    }
    // Those are too long ago to be of the same outage.
    now += micros(WINDOW) + 1;
    breaker.set_clock(now);
    assert_eq!(breaker.failed("five").await, None);
    for account in ["one", "two", "three"] {
        assert_eq!(breaker.failed(account).await, None);
    }
    let held = breaker.failed("four").await.expect("the fifth in a row");
    assert!((5.0..=7.6).contains(&held.as_secs_f64()), "{held:?}");
    other.set_clock(now);
    other.admit(Class::Bulk).await.expect_err("for the whole fleet");
}

#[tokio::test]
async fn looks_come_one_at_a_time_at_growing_intervals_and_the_first_good_answer_closes_it() {
    let base = fresh_base();
    let [mut breaker, mut other] = breakers(&base);
    let mut redis = connection(&base);
    let mut now = START;
    breaker.set_clock(now);
    for account in 0..ACCOUNTS {
        breaker.failed(&account.to_string()).await;
    }
    for seconds in [5, 10, 20, 40, 60, 60] {
        let stands = snapshot::look(&mut redis, &base, limits(100), Some(now)).await.expect("Redis runs");
        let probe_in = Duration::from_secs(seconds);
        assert_eq!(stands.breaker, BreakerState::Open { probe_in });
        now += micros(probe_in);
        breaker.set_clock(now - 1);
        breaker.held(Class::Bulk).await.expect("too early");
        breaker.admit(Class::Bulk).await.expect_err("too early");
        breaker.set_clock(now);
        other.set_clock(now);
        for _ in 0..2 {
            assert_eq!(breaker.held(Class::Bulk).await, None, "to ask takes no look");
        }
        drop(breaker.admit(Class::Bulk).await.expect("a look"));
        other.admit(Class::Bulk).await.expect_err("one at a time");
        assert!(breaker.failed("any").await.is_some(), "it stays open");
    }
    // A client's call is a look sooner than that, once a second.
    breaker.set_clock(now + 999_999);
    breaker.admit(Class::Interactive).await.expect_err("too early");
    breaker.set_clock(now + 1_000_000);
    let look = breaker.admit(Class::Interactive).await.expect("a look");
    breaker.admit(Class::Interactive).await.expect_err("one a second");
    assert!(*breaker.heard().borrow(), "it has met it");
    breaker.answered(look).await;
    assert!(!*breaker.heard().borrow());
    drop(breaker.admit(Class::Bulk).await.expect("closed"));
    drop(other.admit(Class::Bulk).await.expect("for everybody"));
}

#[tokio::test]
async fn a_look_that_takes_long_keeps_no_request_from_its_verdict() {
    let [mut breaker, _] = breakers(&fresh_base());
    breaker.set_clock(START);
    for account in 0..ACCOUNTS {
        breaker.failed(&account.to_string()).await;
    }
    let look = breaker.looks().await;
    breaker.admit(Class::Bulk).await.expect_err("who gets no verdict goes out unasked");
    drop(look);
}

proptest! {
    #![proptest_config(cases(32))]

    /// Whatever comes while it stays open: a look of bulk work never comes sooner than the first pause after the one
    /// before, and one of a client no sooner than a second.
    #[test]
    fn an_outage_is_never_flooded(steps in prop::collection::vec((0_u64..4_000_000, any::<bool>()), 1..120)) {
        block_on(async {
            let mut pair = breakers(&fresh_base());
            let pauses = Pauses::of(WINDOW);
            let mut now = START;
            pair[0].set_clock(now);
            for account in 0..ACCOUNTS {
                pair[0].failed(&account.to_string()).await;
            }
            let mut looks: HashMap<bool, Vec<u64>> = HashMap::new();
            for (turn, (micros, is_interactive)) in steps.iter().enumerate() {
                now += micros;
                let breaker = &mut pair[turn % 2];
                breaker.set_clock(now);
                let class = if *is_interactive { Class::Interactive } else { Class::Bulk };
                if breaker.admit(class).await.is_ok() {
                    looks.entry(*is_interactive).or_default().push(now);
                    breaker.failed("any").await;
                }
            }
            for (is_interactive, looks) in looks {
                let least = micros(if is_interactive { pauses.interactive } else { pauses.first });
                let start = [START].into_iter().filter(|_| !is_interactive);
                let looks: Vec<u64> = start.chain(looks).collect();
                assert!(looks.windows(2).all(|pair| pair[1] - pair[0] >= least), "{looks:?}");
            }
        });
    }
}
