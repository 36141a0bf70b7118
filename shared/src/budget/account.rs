//! The sliding log against an account kept beside it: what must hold for any sequence of calls, under a clock of the tests'
//! own and in a real Redis.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::BudgetSettings;
use super::log::{Ask, Limits, PermitNumber, SlidingLog};
use super::simulation::{START, fleet, grant, micros};
use crate::cases::cases;

#[derive(Debug, Clone)]
enum Step {
    Pass { micros: u64 },
    Ask { process: usize, interactive: usize, bulk: usize },
    Settle { which: prop::sample::Index },
    GiveBack { which: prop::sample::Index },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u64..3_000_000).prop_map(|micros| Step::Pass { micros }),
        (0_usize..2, 0_usize..4, 0_usize..4).prop_map(|(process, interactive, bulk)| Step::Ask {
            process,
            interactive,
            bulk
        }),
        any::<prop::sample::Index>().prop_map(|which| Step::Settle { which }),
        any::<prop::sample::Index>().prop_map(|which| Step::GiveBack { which }),
    ]
}

/// An independent account of who holds an entry until when.
struct Account {
    limits: Limits,
    now: u64,
    held: HashMap<(usize, PermitNumber), u64>,
    /// In the order of granting, none of them settled or given back.
    open: Vec<(usize, PermitNumber)>,
    next: [PermitNumber; 2],
    bulk_grants: Vec<u64>,
}

impl Account {
    fn entries(&self) -> usize {
        self.held.values().filter(|until| **until > self.now).count()
    }

    async fn play(&mut self, logs: &mut [SlidingLog], step: &Step) {
        match step {
            Step::Pass { micros } => self.now += micros,
            Step::Ask { process, interactive, bulk } => self.ask(logs, *process, *interactive, *bulk).await,
            Step::Settle { which } | Step::GiveBack { which } => {
                if self.open.is_empty() {
                    return;
                }
                let (process, number) = self.open.remove(which.index(self.open.len()));
                let keep = self.now + micros(self.limits.keep);
                let mut ask = Ask { first: self.next[process], ..Ask::default() };
                let numbers = [number];
                if matches!(step, Step::Settle { .. }) {
                    // One that freed itself before its response came still counts from the response on.
                    let until = self.held.get(&(process, number)).filter(|until| **until > self.now);
                    self.held.insert((process, number), until.map_or(keep, |until| keep.min(*until)));
                    ask.settled = &numbers;
                } else {
                    self.held.remove(&(process, number));
                    ask.unused = &numbers;
                }
                let granted = grant(&mut logs[process], self.now, &ask).await;
                assert_eq!(usize::try_from(granted.entries).unwrap(), self.entries());
            }
        }
    }

    async fn ask(&mut self, logs: &mut [SlidingLog], process: usize, interactive: usize, bulk: usize) {
        let free = usize::try_from(self.limits.quota).unwrap().saturating_sub(self.entries());
        let ask = Ask { first: self.next[process], interactive, bulk, ..Ask::default() };
        let granted = grant(&mut logs[process], self.now, &ask).await;
        let (interactive_granted, bulk_granted) = (u64::from(granted.interactive), u64::from(granted.bulk));
        for number in self.next[process]..self.next[process] + interactive_granted + bulk_granted {
            self.held.insert((process, number), self.now + micros(self.limits.hold));
            self.open.push((process, number));
        }
        self.next[process] += interactive_granted + bulk_granted;
        self.bulk_grants.extend((0..bulk_granted).map(|_| self.now));

        assert_eq!(usize::try_from(granted.interactive).unwrap(), interactive.min(free), "a free entry is granted");
        assert_eq!(usize::try_from(granted.entries).unwrap(), self.entries(), "no entry is lost or made up");
        if usize::try_from(granted.interactive).unwrap() < interactive {
            assert_eq!(granted.bulk, 0, "interactive ones go first");
            let first_free = self.held.values().filter(|until| **until > self.now).min();
            // More than the quota are held only by late settlements: then one entry's end is not enough.
            if self.entries() == usize::try_from(self.limits.quota).unwrap() {
                assert_eq!(self.now + micros(granted.interactive_wait), *first_free.unwrap(), "the wait is exact");
            }
        }
    }

    /// At the even pace and what is made up for, at most at twice that pace, and never more than a few at once.
    fn bulk_is_spaced(&self) -> bool {
        let interval = micros(self.limits.window) / u64::from(self.limits.quota);
        let made_up = (micros(self.limits.window) / 30 / interval).max(4);
        let most = |time: u64| (time / interval + 2 + made_up).min(2 * time / interval + 6);
        self.bulk_grants.iter().enumerate().all(|(from, start)| {
            self.bulk_grants[from..].iter().zip(1_u64..).all(|(end, grants)| grants <= most(end - start))
        })
    }
}

proptest! {
    #![proptest_config(cases(128))]

    /// Against an account kept beside it: the log never holds more or less than was granted and not yet free, gives
    /// every free entry to who is interactive, says exactly when the next one is free, and spaces bulk grants.
    #[test]
    fn the_log_keeps_the_account(steps in prop::collection::vec(step(), 1..80), quota in prop_oneof![1_u32..6, 100_u32..600]) {
        let settings = BudgetSettings {
            quota,
            window: Duration::from_secs(10),
            slack: Duration::from_millis(50),
            request_timeout: Duration::from_secs(2),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let limits = settings.limits();
            let mut logs = fleet(limits, 2);
            let (held, open, bulk_grants) = (HashMap::new(), Vec::new(), Vec::new());
            let mut account = Account { limits, now: START, held, open, next: [0, 0], bulk_grants };
            for step in &steps {
                account.play(&mut logs, step).await;
            }
            assert!(account.bulk_is_spaced());
        });
    }
}
