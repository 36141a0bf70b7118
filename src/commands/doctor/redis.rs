//! Redis: whether it answers, what it does when it is full, what it keeps.

use chrono::Utc;
use shared::queue::{Queue, RedisFacts};

use super::report::Check;
use super::{Examined, ahead, within};

const NAME: &str = "Redis";
const MIB: u64 = 1024 * 1024;

pub(super) async fn check(queue: Option<&Queue>) -> Examined {
    let Some(queue) = queue else { return Examined::default() };
    // The first answer takes the connecting, too, which is none of the clock's.
    let answered = async {
        queue.ping().await?;
        let began = Utc::now();
        queue.inspect().await.map(|servers| (began, servers, Utc::now()))
    };
    match within(answered).await {
        Ok((began, servers, ended)) => {
            let checks = servers.iter().flat_map(|facts| [answers(facts), memory(facts), persistence(facts)]).collect();
            // Of a cluster's clocks the worst.
            let clocks = servers.iter().map(|facts| ahead(began, facts.now, ended));
            Examined { checks, clock: clocks.max_by_key(chrono::TimeDelta::abs) }
        }
        Err(error) => {
            let error = error.trim_start_matches("Redis: ");
            let remedy = if error.contains("WRONGPASS") || error.contains("AUTH") {
                "correct the password in REDIS_URL"
            } else {
                "start it, or correct REDIS_URL; meanwhile syncs are accepted, and wait in Postgres"
            };
            Examined { checks: vec![Check::fail(NAME, format!("{}: {error}", queue.place()), remedy)], clock: None }
        }
    }
}

fn answers(facts: &RedisFacts) -> Check {
    let found = format!("{} {} ({}, {}) at {}", facts.server, facts.version, facts.mode, facts.role, facts.place);
    if facts.role == "slave" {
        return Check::fail(NAME, format!("{found}: it refuses writes"), "point REDIS_URL to the master");
    }
    Check::ok(NAME, found)
}

fn memory(facts: &RedisFacts) -> Check {
    const NAME: &str = "Redis memory";
    let used = facts.used_memory / MIB;
    let most = match facts.maxmemory {
        0 => String::new(),
        most => format!(" of {}", most / MIB),
    };
    let found = |policy: &str| format!("{policy}, {used}{most} MiB in use");
    match facts.maxmemory_policy.as_deref() {
        Some("noeviction") if facts.maxmemory > 0 && facts.used_memory > facts.maxmemory / 5 * 4 => {
            Check::warn(NAME, found("noeviction"), "raise maxmemory: a full Redis takes no new jobs")
        }
        Some("noeviction") => Check::ok(NAME, found("noeviction")),
        Some(policy) => Check::fail(
            NAME,
            format!("{}: a full Redis throws jobs and the quota's log away", found(policy)),
            "set maxmemory-policy noeviction",
        ),
        None => Check::warn(
            NAME,
            format!("it does not tell its policy, {used}{most} MiB in use"),
            "see to it that it is maxmemory-policy noeviction",
        ),
    }
}

fn persistence(facts: &RedisFacts) -> Check {
    const NAME: &str = "Redis persistence";
    match (facts.appends, facts.saves.as_deref()) {
        (true, _) => Check::ok(NAME, "append-only file"),
        (false, Some("")) => Check::warn(
            NAME,
            "none: a restart forgets the queue, which Postgres fills again, and the quota pauses for a window",
            "set appendonly yes",
        ),
        (false, Some(save)) => Check::ok(NAME, format!("snapshots (save {save})")),
        (false, None) => Check::ok(NAME, "it does not tell; what it forgets, Postgres fills in again"),
    }
}
