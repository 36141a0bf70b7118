//! The system's own processes: whether workers beat, and whether the API answers where it should.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use shared::budget::Quota;
use shared::cadence::Cadence;
use shared::queue::Queue;
use shared::store::Store;
use shared::store::paces::Pace;

use super::report::Check;
use super::settings::Settings;
use super::within;

const ANSWER: Duration = Duration::from_secs(5);

pub(super) async fn workers(queue: Option<&Queue>) -> Option<Check> {
    const NAME: &str = "workers";
    // Without Redis, its is the line that says so.
    let workers = within(queue?.workers()).await.ok()?;
    let alive: Vec<_> = workers.iter().filter(|worker| worker.is_alive()).collect();
    let running: u64 = alive.iter().map(|worker| worker.running).sum();
    Some(match alive.len() {
        0 => Check::fail(NAME, "none is alive: jobs wait", "start `metriqlab worker`"),
        alive => Check::ok(NAME, format!("{alive} alive, {running} jobs at work")),
    })
}

/// Whether all workers go by one cadence and quota, and by the quota that this process was told.
pub(super) async fn pace(store: Option<&Store>, told: Option<Quota>) -> Option<Check> {
    // Without Postgres or its schema, theirs are the lines that say so.
    judge(&within(store?.paces()).await.ok()?, told)
}

fn judge(paces: &[Pace], told: Option<Quota>) -> Option<Check> {
    const NAME: &str = "cadence and quota";
    let span = |span: Duration| humantime::format_duration(span);
    let quota = |quota: Quota| format!("{} requests in {}", quota.requests, span(quota.window));
    let each = |pace: &Pace| {
        let Cadence { every, recent, deep } = pace.cadence;
        let every = every.map_or_else(|| "off".to_owned(), |every| format!("every {}", span(every)));
        let plain = Cadence::default();
        let days = |of: Duration| match of.as_secs() {
            seconds if seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
            _ => span(of).to_string(),
        };
        let reach = if (recent, deep) == (plain.recent, plain.deep) {
            String::new()
        } else {
            format!(" (videos of {}, older ones every {})", days(recent), days(deep))
        };
        format!("{every}{reach} with {}", quota(pace.quota))
    };
    let known = paces.iter().map(each).collect::<Vec<_>>().join("; ");
    Some(match (paces, told) {
        ([], _) => return None,
        ([pace], Some(told)) if pace.quota != told => Check::warn(
            NAME,
            format!("the workers have {}; here it is {}", quota(pace.quota), quota(told)),
            "give the API and the workers the same TIKTOK_RATE_PER_MINUTE: they share one budget",
        ),
        ([_], _) => Check::ok(NAME, format!("the workers go by {known}")),
        _ => Check::warn(
            NAME,
            format!("the workers do not agree: {known}"),
            "give all workers the same METRIQLAB_RESYNC_EVERY, _RECENT and _DEEP and TIKTOK_RATE_PER_MINUTE; just after a change, wait a minute",
        ),
    })
}

/// What answered at an address.
enum Answer {
    Ready,
    Degraded,
    NotReady(String),
    Stranger(String),
    Nobody(String),
}

pub(super) async fn api(settings: &Settings) -> Vec<Check> {
    let Some(api) = &settings.api else { return Vec::new() };
    let bind = reachable(api.bind);
    let mut checks = vec![here(bind, ask(&format!("http://{bind}/readyz")).await)];
    if settings.has_public_url {
        checks.push(public(&api.public_url.to_string(), ask(&api.public_url.with_path("/readyz")).await));
    }
    checks
}

fn here(bind: SocketAddr, answer: Answer) -> Check {
    const NAME: &str = "API";
    match answer {
        Answer::Ready => Check::ok(NAME, format!("ready at {bind}")),
        Answer::Degraded => {
            Check::warn(NAME, format!("at {bind}, without Redis"), "see the line on Redis; reads go on")
        }
        Answer::NotReady(why) => Check::fail(NAME, format!("not ready at {bind}: {why}"), "see the lines on Postgres"),
        Answer::Stranger(what) => {
            Check::fail(NAME, format!("another program answers at {bind}: {what}"), "set METRIQLAB_BIND to a free port")
        }
        Answer::Nobody(why) => Check::warn(
            NAME,
            format!("nothing answers at {bind}: {why}"),
            "start `metriqlab api`, or set METRIQLAB_BIND as its process has it, if it runs here",
        ),
    }
}

fn public(url: &str, answer: Answer) -> Check {
    const NAME: &str = "public URL";
    let remedy = "see to it that METRIQLAB_PUBLIC_URL leads to the API: TikTok sends creators' browsers there";
    match answer {
        Answer::Ready | Answer::Degraded | Answer::NotReady(_) => Check::ok(NAME, format!("{url} leads to the API")),
        Answer::Stranger(what) => Check::fail(NAME, format!("{url} is not the API: {what}"), remedy),
        Answer::Nobody(why) => Check::warn(NAME, format!("{url} does not answer from here: {why}"), remedy),
    }
}

async fn ask(url: &str) -> Answer {
    let question = async {
        let client = reqwest::Client::builder().no_proxy().timeout(ANSWER).build()?;
        let answer = client.get(url).send().await?;
        let status = answer.status();
        Ok::<_, reqwest::Error>((status, answer.json::<Value>().await.unwrap_or_default()))
    };
    match within(question).await {
        Ok((status, body)) => match (body.get("status").and_then(Value::as_str), status.is_success()) {
            (Some("ok"), true) => Answer::Ready,
            (Some("degraded"), true) => Answer::Degraded,
            (Some("unavailable"), false) if body.get("postgres").is_some() => {
                Answer::NotReady("Postgres is out of its reach".to_owned())
            }
            (Some("unavailable"), false) => Answer::NotReady("the schema is older than it needs".to_owned()),
            _ => Answer::Stranger(format!("status {}", status.as_u16())),
        },
        // The error repeats the URL; what a client can do about it is in the status of the connection alone.
        Err(error) => Answer::Nobody(short(&error)),
    }
}

fn short(error: &str) -> String {
    if error.contains("timed out") { "no answer in time".to_owned() } else { "no connection".to_owned() }
}

/// Where a process of this machine reaches what listens on `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::report::Level;

    #[test]
    fn workers_that_do_not_agree_are_named_with_what_they_have() {
        let quota = |requests| Quota { requests, window: Duration::from_secs(60) };
        let pace = |every: Option<u64>, requests| Pace {
            cadence: Cadence { every: every.map(Duration::from_secs), ..Cadence::default() },
            quota: quota(requests),
        };
        let said = |paces: &[Pace], told| judge(paces, told).map(|check| (check.level, check.found));
        assert_eq!(said(&[], Some(quota(600))), None);
        let well = "the workers go by every 6h with 600 requests in 1m".to_owned();
        let six = pace(Some(21_600), 600);
        assert_eq!(said(&[six], Some(quota(600))), Some((Level::Ok, well.clone())));
        assert_eq!(said(&[six], None), Some((Level::Ok, well)), "nobody said anything here");
        let other = "the workers have 600 requests in 1m; here it is 300 requests in 1m".to_owned();
        assert_eq!(said(&[six], Some(quota(300))), Some((Level::Warn, other)));
        let both = said(&[six, pace(None, 600)], None).expect("a check");
        assert_eq!(both.0, Level::Warn);
        assert!(both.1.ends_with("every 6h with 600 requests in 1m; off with 600 requests in 1m"), "{}", both.1);
        let far = Pace { cadence: Cadence { recent: Duration::from_secs(30 * 86_400), ..six.cadence }, ..six };
        let both = said(&[six, far], None).expect("a check");
        assert!(
            both.1.ends_with("every 6h (videos of 30d, older ones every 7d) with 600 requests in 1m"),
            "{}",
            both.1
        );
    }
}
