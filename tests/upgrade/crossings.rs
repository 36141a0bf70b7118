//! Work of both versions at the same time, and work that one begins and the other ends.

use futures::future::join_all;
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::fleet::{Account, Fleet, Version};
use crate::support::client::Answer;
use crate::support::member::Member;
use crate::support::sandbox::{SCOPES, callback_of};
use crate::support::{Client, eventually};
use crate::walk::{both_read_the_same, bulk, walk};

const BOTH: [Version; 2] = [Version::Old, Version::New];

/// Creators that are synced through both APIs at the same moment, bulk resyncs of both, disconnects at both.
pub async fn together(fleet: &Fleet) {
    let accounts = fleet.connect(16, 25).await;
    let (old, new) = (fleet.client(Version::Old), fleet.client(Version::New));
    for _ in 0..3 {
        // A batch of each: what both ask for is one job, which both count.
        let batches = join_all([old, new].map(async |client| {
            let asked = client.post("/api/v1/creators/sync").await;
            asked.data(202)["batchId"].as_str().expect("a batch").to_owned()
        }))
        .await;
        join_all(accounts.iter().map(async |account| tokio::join!(old.sync(&account.id), new.sync(&account.id)))).await;
        for batch in &batches {
            let all = old.get(&format!("/api/v1/batches/{batch}")).await.data(200)["total"].as_u64();
            assert!(all >= Some(16), "{all:?}");
            ended(fleet, batch).await;
        }
    }
    both_read_the_same(fleet, &accounts).await;
    join_all(accounts.iter().enumerate().map(async |(place, account)| {
        let path = format!("/api/v1/creators/{}", account.id);
        let (one, other) = if place % 2 == 0 { (old, new) } else { (new, old) };
        let (first, second) = tokio::join!(one.delete(&path), other.delete(&path));
        // Who comes when all is over finds nothing.
        let gone = |answer: &Answer| answer.status == 404 || answer.data(200)["disconnected"] == true;
        assert!(gone(&first) && gone(&second), "{} {}", first.body, second.body);
        assert!(first.status == 200 || second.status == 200, "{} {}", first.body, second.body);
        for version in BOTH {
            assert_eq!(fleet.client(version).get(&path).await.error(404), "not_found");
        }
    }))
    .await;
    tokio::join!(walk(fleet, Version::Old), walk(fleet, Version::New));
}

/// Waits for the batch's end. A creator that was synced between the request and its turn is skipped.
async fn ended(fleet: &Fleet, batch: &str) {
    for client in &fleet.system.clients {
        let batch = eventually("the batch has finished", async || {
            let batch = client.get(&format!("/api/v1/batches/{batch}")).await.data(200).clone();
            batch["finishedAt"].is_string().then_some(batch)
        })
        .await;
        let counted = |name: &str| batch[name].as_i64().expect("a number");
        assert_eq!(counted("done") + counted("skipped"), counted("total"), "{batch}");
    }
}

/// Consents, POSTs that are sent again, cursors, jobs, batches, keys and sessions of one version, in the hands of the other.
pub async fn begun_here_and_ended_there(fleet: &Fleet, past: &Account) {
    for (one, other) in [(Version::Old, Version::New), (Version::New, Version::Old)] {
        println!("  of {one:?}, at {other:?}");
        let (from, to) = (fleet.client(one), fleet.client(other));
        let account = consent(fleet, from, to).await;
        sent_again(fleet, from, to, &account).await;
        cursors(from, to, past).await;
        jobs(fleet, from, to, account).await;
        bulk(fleet, one, past).await;
        keys(fleet, one, to).await;
    }
    sessions(fleet).await;
}

async fn consent(fleet: &Fleet, from: &Client, to: &Client) -> Account {
    let sandbox = &fleet.system.sandbox;
    let open_id = sandbox.user(3).await;
    let started = from.post("/api/v1/connect/tiktok").await;
    let url = started.data(200)["authUrl"].as_str().expect("an authUrl").to_owned();
    let location = sandbox.consent(&url, &open_id, &SCOPES).await;
    let page = callback_of(to, &location).send().await.expect("the callback page");
    assert_eq!(page.status(), 200, "{}", page.text().await.unwrap_or_default());
    let listed = from.get(&format!("/api/v1/creators?externalId={open_id}")).await;
    let id = listed.data(200)[0]["id"].as_str().expect("a creator").to_owned();
    fleet.system.settled().await;
    Account { id, open_id }
}

async fn sent_again(fleet: &Fleet, from: &Client, to: &Client, account: &Account) {
    let path = format!("/api/v1/creators/{}/sync", account.id);
    let key = format!("upgrade-{}", account.id);
    let ask =
        async |client: &Client| client.send(client.request(Method::POST, &path).header("idempotency-key", &key)).await;
    let (first, calls) = (ask(from).await, fleet.system.sandbox.calls("/v2/video/list/", &account.open_id).await);
    assert_eq!(first.data(200)["synced"], true);
    let again = ask(to).await;
    assert_eq!((again.data(200), again.header("idempotent-replayed")), (first.data(200), Some("true")));
    assert_eq!(fleet.system.sandbox.calls("/v2/video/list/", &account.open_id).await, calls, "no second sync");
}

async fn cursors(from: &Client, to: &Client, account: &Account) {
    let lists = [format!("/api/v1/creators/{}/videos?limit=20", account.id), "/api/v1/creators?limit=1".to_owned()];
    for list in lists {
        let page = from.get(&list).await;
        // A top-level field in one list, one of the data in the other.
        let next = page.body["nextCursor"].as_str().or(page.data(200)["nextCursor"].as_str()).expect("a next page");
        let path = format!("{list}&cursor={next}");
        let ids = async |client: &Client| {
            let page = client.get(&path).await;
            let items = page.data(200).get("items").unwrap_or(page.data(200)).as_array().expect("items").clone();
            items.iter().map(|item| item["id"].clone()).collect::<Vec<_>>()
        };
        let found = ids(to).await;
        assert!(!found.is_empty());
        assert_eq!(ids(from).await, found);
    }
}

/// A sync and a disconnect that one API accepted, asked for at the other.
async fn jobs(fleet: &Fleet, from: &Client, to: &Client, account: Account) {
    let path = format!("/api/v1/creators/{}", account.id);
    let requests: [RequestBuilder; 2] =
        [from.request(Method::POST, &format!("{path}/sync")), from.request(Method::DELETE, &path)];
    for request in requests {
        let promised = from.send(request.header("prefer", "respond-async")).await;
        let job = promised.data(202)["jobId"].as_str().expect("a job").to_owned();
        ends_well(to, &job).await;
    }
    assert_eq!(to.get(&path).await.error(404), "not_found");
    assert!(!fleet.system.sandbox.is_granted(&account.open_id).await);
}

async fn ends_well(client: &Client, job: &str) {
    let path = format!("/api/v1/jobs/{job}");
    eventually("the job is done", async || (client.get(&path).await.data(200)["status"] == "done").then_some(())).await;
}

/// A key that one version made works at the other, until it is revoked.
async fn keys(fleet: &Fleet, maker: Version, to: &Client) {
    let project = format!("of {maker:?}");
    let key = fleet.run(maker, &["keys", "create", "--project", &project]).await.trim().to_owned();
    let stranger = to.with_key(&key);
    assert_eq!(*stranger.get("/api/v1/creators").await.data(200), json!([]));
    let listed = fleet.run(maker, &["keys", "list"]).await;
    let prefix = listed.split_whitespace().find(|word| key.starts_with(word)).expect("its prefix").to_owned();
    fleet.run(maker, &["keys", "revoke", &prefix]).await;
    eventually("the key is refused", async || (stranger.get("/api/v1/creators").await.status == 401).then_some(()))
        .await;
}

/// Who is signed in is so at both, and sees the pages that both have.
async fn sessions(fleet: &Fleet) {
    let mut member = Member::of(&fleet.system, "owner").await;
    for version in BOTH {
        member.at(fleet.client(version));
        for page in ["/creators", "/keys", "/members", "/settings", "/audit"] {
            let answer = member.page(page).send().await.expect("a page");
            assert_eq!(answer.status(), 200, "{version:?} {page}");
        }
    }
}

/// A sync that runs on one version's worker when that stops, and when it dies: the other's goes on with it.
pub async fn takeovers(fleet: &mut Fleet, account: &Account) {
    let dies = [false, true];
    for (one, other) in [(Version::Old, Version::New), (Version::New, Version::Old)] {
        for dies in dies {
            fleet.replace_workers(&[one]).await;
            let job = long_sync(fleet, account).await;
            fleet.add_worker(other).await;
            let mut leaving = fleet.system.workers.remove(0);
            if dies {
                leaving.kill().await;
            } else {
                assert!(leaving.terminate().await.success(), "{}", leaving.said());
            }
            fleet.system.sandbox.settings(json!({"latency": {"profile": "none"}})).await;
            ends_well(fleet.client(one), &job).await;
            if !dies {
                let seen = fleet.client(other).get(&format!("/api/v1/jobs/{job}")).await;
                assert_eq!(seen.data(200)["attempts"], 1, "a stop is no attempt");
            }
        }
    }
}

/// A job that a worker is at, behind a TikTok that takes longer than a stop waits.
async fn long_sync(fleet: &Fleet, account: &Account) -> String {
    let client = fleet.client(Version::Old);
    fleet.system.settled().await;
    let slow = json!({"latency": {"profile": "between", "min_ms": 3000, "max_ms": 3000}});
    fleet.system.sandbox.settings(slow).await;
    let request = client.request(Method::POST, &format!("/api/v1/creators/{}/sync", account.id));
    let promised = client.send(request.header("prefer", "respond-async")).await;
    let job = promised.data(202)["jobId"].as_str().expect("a job").to_owned();
    eventually("the job runs", async || {
        let seen = client.get(&format!("/api/v1/jobs/{job}")).await;
        (seen.data(200)["status"] == "running").then_some(())
    })
    .await;
    job
}
