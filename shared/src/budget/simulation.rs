//! The scripts under a clock of the tests' own, and a fleet's quarter of an hour in seconds. They run in a real Redis.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use uuid::Uuid;

use super::BudgetSettings;
use super::connection::Connection;
use super::log::{Ask, Granted, Limits, PermitNumber, SlidingLog};
use crate::redis_servers::RedisServers;

/// Any instant will do; Redis's own would be about this.
pub(super) const START: u64 = 1_800_000_000_000_000;

/// The logs of `processes` processes that share one endpoint.
pub(super) fn fleet(limits: Limits, processes: usize) -> Vec<SlidingLog> {
    let log = endpoint(limits);
    (0..processes).map(|number| log(&format!("p{number}"))).collect()
}

/// To the Redis of the tests.
pub(super) fn connection(base: &str) -> Connection {
    let url = std::env::var("METRIQLAB_TEST_REDIS_URL").expect(
        "METRIQLAB_TEST_REDIS_URL is not set: run the tests with `make test`, which starts the servers they need",
    );
    let servers = RedisServers::parse(&url).expect("a URL");
    Connection::new(servers, base)
}

/// One endpoint, as the processes that share it see it, each by its name.
fn endpoint(limits: Limits) -> impl Fn(&str) -> SlidingLog {
    let base = format!("test:{}:{{app:endpoint}}", Uuid::new_v4());
    move |name| SlidingLog::new(connection(&base), &base, name.to_owned(), limits)
}

pub(super) async fn grant(log: &mut SlidingLog, now: u64, ask: &Ask<'_>) -> Granted {
    log.set_clock(now);
    if let Some(granted) = log.grant(ask).await.expect("Redis runs") {
        return granted;
    }
    log.start(None, Duration::from_secs(1)).await.expect("Redis runs");
    log.grant(ask).await.expect("Redis runs").expect("it was just started")
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).expect("short")
}

#[tokio::test]
async fn a_log_that_went_back_in_time_is_lost() {
    let limits = BudgetSettings::per_minute(10).limits();
    let mut logs = fleet(limits, 2);
    let ask = Ask { interactive: 1, ..Ask::default() };
    grant(&mut logs[0], START, &ask).await;
    grant(&mut logs[1], START, &ask).await;
    // The second process comes to a server whose clock is an hour behind: entries end beyond all that could be.
    logs[1].set_clock(START - 3_600_000_000);
    assert_eq!(logs[1].grant(&Ask { first: 1, ..ask }).await.expect("Redis runs"), None);
    logs[1].start(Some(Duration::from_secs(2)), Duration::from_secs(1)).await.expect("Redis runs");
    let blocked = logs[1].grant(&Ask { first: 1, interactive: 1, ..Ask::default() }).await.expect("Redis runs");
    let blocked = blocked.expect("it was started");
    assert_eq!((blocked.entries, blocked.interactive), (0, 0));
    assert_eq!(blocked.interactive_wait + Duration::from_secs(1), limits.hold);
}

#[tokio::test]
async fn only_the_first_of_two_processes_starts_a_lost_log() {
    let mut logs = fleet(BudgetSettings::per_minute(10).limits(), 2);
    for log in &mut logs {
        log.set_clock(START);
        assert_eq!(log.grant(&Ask::default()).await.expect("Redis runs"), None);
    }
    logs[0].start(None, Duration::from_secs(1)).await.expect("Redis runs");
    // By the time that the second one reads when the budget was last used, the first has used it.
    logs[1].start(Some(Duration::ZERO), Duration::from_secs(1)).await.expect("Redis runs");
    assert_eq!(grant(&mut logs[1], START, &Ask { interactive: 1, ..Ask::default() }).await.interactive, 1);
}

#[tokio::test]
async fn permits_of_a_turn_whose_answer_was_lost_are_taken_back() {
    let mut logs = fleet(BudgetSettings::per_minute(10).limits(), 1);
    grant(&mut logs[0], START, &Ask { interactive: 7, ..Ask::default() }).await;
    let again = grant(&mut logs[0], START, &Ask { interactive: 10, doubtful: 7, ..Ask::default() }).await;
    assert_eq!((again.interactive, again.entries), (10, 10));
}

#[tokio::test]
async fn pauses_double_while_they_follow_closely() {
    let mut logs = fleet(BudgetSettings::per_minute(10).limits(), 1);
    let log = &mut logs[0];
    let mut now = START;
    let mut close = async |now: u64, asked: Option<u64>| {
        log.set_clock(now);
        log.close(asked.map(Duration::from_secs)).await.expect("Redis runs").as_secs_f64()
    };
    for pause in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
        assert!((close(now, None).await - pause).abs() < 1e-3);
        now += 500_000;
        assert!((close(now, None).await - (pause - 0.5)).abs() < 1e-3, "those already on their way do not count");
        now += micros(Duration::from_secs_f64(pause));
    }
    now += 61_000_000;
    assert!((close(now, None).await - 1.0).abs() < 1e-3, "that was long ago");
    assert!((close(now, Some(30)).await - 30.0).abs() < 1e-3, "what the platform says counts");
    assert!((close(now, Some(5)).await - 30.0).abs() < 1e-3, "and a shorter word does not cut it short");
}

enum Event {
    Wake,
    Responds(PermitNumber),
    Comes,
    /// The process is killed, and another one started in its place.
    Dies,
}

/// From a kill to the first turn of the process that takes its place.
const START_OF_A_PROCESS: u64 = 1_000_000;

/// What a simulated quarter of an hour showed.
struct Shown {
    arrivals: Vec<u64>,
    round_trips: Vec<u64>,
    interactive_waits: Vec<u64>,
}

/// A fleet of `processes` with an endless bulk backlog and, now and then, an interactive caller. Requests take 10 to 60 ms
/// each way, one in a hundred up to 2 s. With `kills`, one process is killed so often, each in its turn.
async fn simulate(processes: usize, seed: u64, kills: Option<Duration>) -> Shown {
    let limits = BudgetSettings::per_minute(600).limits();
    let end = START + 900_000_000;
    let log = endpoint(limits);
    let mut logs: Vec<SlidingLog> = (0..processes).map(|number| log(&format!("p{number}"))).collect();
    // Since which event and instant each process runs. What was sent to the one before it is lost.
    let mut births: Vec<(usize, u64)> = vec![(0, START); processes];
    let mut random = StdRng::seed_from_u64(seed);
    let mut events: BinaryHeap<Reverse<(u64, usize, usize)>> = BinaryHeap::new();
    let mut kinds: Vec<Event> = Vec::new();
    let schedule = |events: &mut BinaryHeap<_>, at: u64, process: usize, event: Event, kinds: &mut Vec<Event>| {
        kinds.push(event);
        events.push(Reverse((at, process, kinds.len() - 1)));
    };
    let mut next: Vec<PermitNumber> = vec![0; processes];
    let mut waiting: Vec<Vec<u64>> = vec![Vec::new(); processes];
    let mut wakes = vec![START; processes];
    let mut shown = Shown { arrivals: Vec::new(), round_trips: Vec::new(), interactive_waits: Vec::new() };
    for process in 0..processes {
        schedule(&mut events, START, process, Event::Wake, &mut kinds);
        schedule(&mut events, START + 90_000_000, process, Event::Comes, &mut kinds);
    }
    for (number, at) in kills.into_iter().flat_map(|every| (1..).map(move |n| (n - 1, START + micros(every) * n))) {
        if at >= end {
            break;
        }
        let process = usize::try_from(number).unwrap() % processes;
        schedule(&mut events, at, process, Event::Dies, &mut kinds);
    }
    while let Some(Reverse((now, process, event))) = events.pop() {
        if now >= end {
            break;
        }
        let mut settled = Vec::new();
        match kinds[event] {
            // Another event has moved the timer.
            Event::Wake if wakes[process] != now => continue,
            Event::Wake => {}
            Event::Responds(_) if event < births[process].0 => continue,
            Event::Responds(number) => settled.push(number),
            Event::Dies => {
                logs[process] = log(&format!("p{process}-{now}"));
                births[process] = (kinds.len(), now + START_OF_A_PROCESS);
                waiting[process].clear();
                wakes[process] = births[process].1;
                schedule(&mut events, wakes[process], process, Event::Wake, &mut kinds);
                continue;
            }
            Event::Comes if now < births[process].1 => {
                schedule(&mut events, births[process].1, process, Event::Comes, &mut kinds);
                continue;
            }
            Event::Comes => {
                waiting[process].push(now);
                let gap = random.random_range(500_000..4_000_000);
                schedule(&mut events, now + gap, process, Event::Comes, &mut kinds);
            }
        }
        let ask = Ask {
            settled: &settled,
            first: next[process],
            interactive: waiting[process].len(),
            bulk: 20,
            ..Ask::default()
        };
        let granted = grant(&mut logs[process], now, &ask).await;
        for since in waiting[process].drain(..usize::try_from(granted.interactive).unwrap()) {
            shown.interactive_waits.push(now - since);
        }
        for _ in 0..granted.interactive + granted.bulk {
            let mut one_way = || {
                if random.random_bool(0.01) {
                    random.random_range(60_000..2_000_000)
                } else {
                    random.random_range(10_000..60_000)
                }
            };
            let (there, back) = (one_way(), one_way());
            shown.arrivals.push(now + there);
            shown.round_trips.push(there + back);
            schedule(&mut events, now + there + back, process, Event::Responds(next[process]), &mut kinds);
            next[process] += 1;
        }
        let wait = if waiting[process].is_empty() {
            granted.bulk_wait
        } else {
            granted.bulk_wait.min(granted.interactive_wait)
        };
        // A timer is up to 2 ms late.
        wakes[process] = now + micros(wait.min(Duration::from_secs(1))) + random.random_range(100..2_000);
        schedule(&mut events, wakes[process], process, Event::Wake, &mut kinds);
    }
    shown.arrivals.sort_unstable();
    shown
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
async fn a_saturated_fleet_is_never_over_and_wastes_nothing(processes: usize, kills: Option<Duration>) {
    let mut shown = simulate(processes, 7, kills).await;
    let limits = BudgetSettings::per_minute(600).limits();
    let quota = usize::try_from(limits.quota).unwrap();
    for (at, arrival) in shown.arrivals.iter().enumerate().skip(quota) {
        let window = arrival - shown.arrivals[at - quota];
        assert!(window >= micros(limits.window), "{} requests within {window} µs", quota + 1);
    }
    let round_trip = shown.round_trips.iter().sum::<u64>() as f64 / shown.round_trips.len() as f64 / 1e6;
    let possible = 900.0 * 600.0 / (60.05 + round_trip);
    let used = shown.arrivals.len() as f64 / possible;
    shown.interactive_waits.sort_unstable();
    let waited = |part: usize| shown.interactive_waits[shown.interactive_waits.len() * part / 100] / 1_000;
    println!(
        "{processes} processes{}: {:.2} % of what is possible at {:.0} ms; interactive waits {} ms p50, {} ms p99",
        kills.map_or(String::new(), |every| format!(", one killed every {every:?}")),
        used * 100.0,
        round_trip * 1e3,
        waited(50),
        waited(99),
    );
    assert!(used >= 0.99, "{used:.4} of what is possible was used");
    assert!(waited(50) <= 150 && waited(99) <= 700, "interactive callers waited {} and {} ms", waited(50), waited(99));
}

#[tokio::test]
async fn one_process_is_never_over_and_wastes_nothing() {
    a_saturated_fleet_is_never_over_and_wastes_nothing(1, None).await;
}

#[tokio::test]
async fn eight_processes_are_never_over_and_waste_nothing() {
    a_saturated_fleet_is_never_over_and_wastes_nothing(8, None).await;
}

/// A kill loses the permits of requests under way: each is free again only when its request must have ended, 11 s later than
/// it would have been. With even grants that is less than one permit a kill.
#[tokio::test]
async fn two_processes_of_which_one_is_killed_every_five_seconds_waste_little() {
    a_saturated_fleet_is_never_over_and_wastes_nothing(2, Some(Duration::from_secs(5))).await;
}

/// While it starts again nobody asks for permits: what that keeps back is made up for.
#[tokio::test]
async fn one_process_that_is_killed_every_five_seconds_wastes_little() {
    a_saturated_fleet_is_never_over_and_wastes_nothing(1, Some(Duration::from_secs(5))).await;
}

#[tokio::test]
#[ignore = "figures: `make bench`"]
async fn one_to_eight_processes_of_which_one_is_killed_every_five_seconds_waste_little() {
    for processes in [1, 2, 4, 8] {
        a_saturated_fleet_is_never_over_and_wastes_nothing(processes, Some(Duration::from_secs(5))).await;
    }
}
