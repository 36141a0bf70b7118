//! What a client does, step by step, whoever serves it, and what it must see.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::fleet::{Account, Fleet, Version};
use crate::support::{Client, eventually};

/// Connect, list, sync, read, resync in bulk, change the cadence, disconnect, by the API process of this version. Whatever one
/// version's API says, the other's says, too.
pub async fn walk(fleet: &Fleet, api: Version) {
    let (system, client) = (&fleet.system, fleet.client(api));
    let open_id = system.sandbox.user(25).await;
    let id = system.sandbox.connect(client, &open_id).await;
    let account = Account { id, open_id };
    client.sync(&account.id).await;
    system.settled().await;
    everybody_sees(fleet, &account, 25).await;

    let video = client.all_videos(&account.id).await[0]["externalId"].as_str().expect("an id").to_owned();
    for (followers, views) in [(1_000, 70), (1_001, 80)] {
        let user = format!("/users/{}", account.open_id);
        system.sandbox.control("PATCH", &user, Some(json!({"follower_count": followers}))).await;
        system.sandbox.change_video(&account.open_id, &video, json!({"view_count": views})).await;
        client.sync(&account.id).await;
        let points = history(client, &account.id).await;
        assert_eq!(points.last().expect("a point")["followers"], followers);
        let videos = client.all_videos(&account.id).await;
        let changed = videos.iter().find(|one| one["externalId"] == video.as_str()).expect("the video");
        assert_eq!(changed["views"], views);
        let of_video =
            history(client, &format!("{}/videos/{}", account.id, changed["id"].as_str().expect("an id"))).await;
        assert_eq!(of_video.last().expect("a point")["views"], views);
    }
    system.sandbox.hide_video(&account.open_id, &video, true).await;
    bulk(fleet, api, &account).await;
    everybody_sees(fleet, &account, 24).await;

    let path = format!("/api/v1/creators/{}", account.id);
    for cadence in [json!("6h"), Value::Null] {
        let asked = client.request(Method::PATCH, &path).json(&json!({"resyncEvery": cadence}));
        assert_eq!(client.send(asked).await.data(200)["resyncEvery"], cadence);
    }
    assert_eq!(client.delete(&path).await.data(200)["disconnected"], true);
    for client in &system.clients {
        assert_eq!(client.get(&path).await.error(404), "not_found");
        assert_eq!(client.delete(&path).await.error(404), "not_found");
    }
    assert!(!system.sandbox.is_granted(&account.open_id).await, "TikTok has been told");
    let sql = system.sql().await;
    let left = format!("SELECT count(*) FROM creator_history WHERE creator_id = '{}'", account.id);
    assert_eq!(sql.query_one(&left, &[]).await.expect("count").get::<_, i64>(0), 0, "its history went with it");
}

/// A bulk resync of one creator, watched at every API process until it has finished.
pub async fn bulk(fleet: &Fleet, api: Version, account: &Account) {
    let client = fleet.client(api);
    let asked = client.request(Method::POST, "/api/v1/creators/sync").json(&json!({"ids": [account.id]}));
    let asked = client.send(asked).await;
    assert_eq!(asked.data(202)["total"], 1);
    finished(fleet, asked.data(202)["batchId"].as_str().expect("a batch")).await;
}

/// Waits for a batch's end, at every API process, and expects that each of its creators was synced.
pub async fn finished(fleet: &Fleet, batch: &str) {
    for client in &fleet.system.clients {
        let batch = eventually("the batch has finished", async || {
            let answer = client.get(&format!("/api/v1/batches/{batch}")).await;
            let batch = answer.data(200).clone();
            let counted = |name: &str| batch[name].as_i64().expect("a number");
            let counts = ["queued", "running", "done", "failed", "skipped"].map(counted);
            assert_eq!(counts.iter().sum::<i64>(), counted("total"), "{batch}");
            batch["finishedAt"].is_string().then_some(batch)
        })
        .await;
        assert_eq!(batch["done"], batch["total"], "{batch}");
    }
}

/// What the API says of a creator: what every page of it says.
pub async fn reads(client: &Client, account: &Account) -> Value {
    let of = format!("/api/v1/creators/{}", account.id);
    let mut seen = Map::new();
    for path in [of.clone(), format!("{of}/profile"), format!("{of}/history?interval=raw"), format!("{of}/history")] {
        let said = client.get(&path).await.data(200).clone();
        seen.insert(path, said);
    }
    let listed = client.get(&format!("/api/v1/creators?externalId={}", account.open_id)).await;
    seen.insert("listed".to_owned(), listed.data(200).clone());
    let videos = client.all_videos(&account.id).await;
    let first = videos[0]["id"].as_str().expect("an id");
    let past = history(client, &format!("{}/videos/{first}", account.id)).await;
    seen.insert("a video's history".to_owned(), past.into());
    seen.insert("videos".to_owned(), videos.into());
    Value::Object(seen)
}

async fn history(client: &Client, path: &str) -> Vec<Value> {
    let answer = client.get(&format!("/api/v1/creators/{path}/history?interval=raw")).await;
    answer.data(200)["items"].as_array().expect("items").clone()
}

/// Every API process shows the creator with that many videos, and all of them the same.
async fn everybody_sees(fleet: &Fleet, account: &Account, videos: usize) {
    for client in &fleet.system.clients {
        assert_eq!(client.all_videos(&account.id).await.len(), videos);
        let all = client.get("/api/v1/creators").await;
        assert!(all.data(200).as_array().expect("creators").iter().any(|creator| creator["id"] == account.id.as_str()));
    }
    both_read_the_same(fleet, std::slice::from_ref(account)).await;
}

/// What the old API says, the new one says, too: it only adds.
pub async fn both_read_the_same(fleet: &Fleet, accounts: &[Account]) {
    fleet.system.settled().await;
    for account in accounts {
        let first = reads(&fleet.system.clients[0], account).await;
        for client in &fleet.system.clients[1..] {
            only_adds(&first, &reads(client, account).await, "");
        }
    }
}

fn only_adds(old: &Value, new: &Value, place: &str) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, value) in old {
                let found = new.get(name).unwrap_or_else(|| panic!("{place}/{name} is missing"));
                only_adds(value, found, &format!("{place}/{name}"));
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (number, (old, new)) in old.iter().zip(new).enumerate() {
                only_adds(old, new, &format!("{place}/{number}"));
            }
        }
        _ => assert_eq!(old, new, "{place}"),
    }
}

/// `metriqlab migrate` of the new version, while clients of the old one sync and read, connect and disconnect. All of them are
/// served as ever.
pub async fn migrate_under_load(fleet: &Fleet, accounts: &[Account]) {
    let over = AtomicBool::new(false);
    let client = fleet.client(Version::Old);
    let ask = async |account: &Account| {
        let mut rounds = 0;
        while !over.load(Ordering::Relaxed) {
            client.sync(&account.id).await;
            assert_eq!(reads(client, account).await["videos"].as_array().map(Vec::len), Some(45));
            rounds += 1;
        }
        rounds
    };
    let come_and_go = async || {
        let mut rounds = 0;
        while !over.load(Ordering::Relaxed) {
            let open_id = fleet.system.sandbox.user(3).await;
            let id = fleet.system.sandbox.connect(client, &open_id).await;
            client.delete(&format!("/api/v1/creators/{id}")).await.data(200);
            rounds += 1;
        }
        rounds
    };
    let migrate = async || {
        // The load has begun, and goes on afterwards.
        client.sync(&accounts[0].id).await;
        let tries = migrate(fleet).await;
        client.sync(&accounts[0].id).await;
        over.store(true, Ordering::Relaxed);
        tries
    };
    let asking = join_all(accounts.iter().map(ask));
    let (asked, came, tries) = tokio::join!(asking, come_and_go(), migrate());
    let syncs: usize = asked.iter().sum();
    println!(
        "meanwhile {syncs} rounds of syncs and reads, {came} connects and disconnects; migrate was run {tries} times"
    );
    fleet.system.settled().await;
}

/// How often it had to be run: it gives way to who holds a table for long.
async fn migrate(fleet: &Fleet) -> usize {
    for tries in 1..=10 {
        let output = fleet.output(Version::New, &["migrate"]).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            return tries;
        }
        assert!(said.contains("lock timeout"), "{said}");
    }
    panic!("migrate finds no moment");
}
