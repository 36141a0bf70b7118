//! What a key may do, and until when.

use chrono::{TimeDelta, Utc};
use reqwest::Method;
use shared::key_scopes::KeyScope::{Connect, Disconnect, Read, Sync};

use crate::harness::{World, send};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_does_what_its_scopes_allow_and_is_told_which_one_it_lacks() {
    let world = World::start().await;
    let creator = format!("/api/v1/creators/{}", world.creator("open-1").await);
    let routes = [
        (Read, Method::GET, "/api/v1/creators".to_owned()),
        (Read, Method::HEAD, "/api/v1/creators".to_owned()),
        (Read, Method::GET, creator.clone()),
        (Read, Method::GET, format!("{creator}/profile")),
        (Read, Method::GET, format!("{creator}/videos")),
        // As it is routed, however it is written.
        (Read, Method::GET, "/%61pi/v1/cre%61tors".to_owned()),
        (Connect, Method::POST, "/api/v1/connect/tiktok".to_owned()),
        (Connect, Method::POST, "/api/v1/conn%65ct/tiktok".to_owned()),
        (Sync, Method::POST, format!("{creator}/sync")),
        (Sync, Method::POST, "/api/v1/creators/sync".to_owned()),
        (Sync, Method::PATCH, creator.clone()),
        (Disconnect, Method::DELETE, "/api/v1/creators/nonsense".to_owned()),
        (Disconnect, Method::DELETE, creator.clone()),
    ];
    let without =
        |scope| [Read, Connect, Sync, Disconnect].into_iter().filter(|other| *other != scope).collect::<Vec<_>>();
    for (scope, method, path) in &routes {
        let lacking = world.limited(&without(*scope), None).await;
        let refused = send(lacking.request(method.clone(), path).header("prefer", "respond-async")).await;
        if *method == Method::HEAD {
            assert_eq!(refused.status, 403);
        } else {
            assert_eq!(refused.error(403), "forbidden", "{method} {path}");
            assert!(refused.message().contains(&format!("`{scope}`")), "{}", refused.message());
        }
    }
    for (scope, method, path) in &routes {
        let having = world.limited(&[*scope], None).await;
        let allowed = send(having.request(method.clone(), path).header("prefer", "respond-async")).await;
        let expected: &[u16] = if path.contains("nonsense") { &[404] } else { &[200, 202] };
        assert!(expected.contains(&allowed.status.as_u16()), "{method} {path}: {}", allowed.text);
    }
    let none = world.limited(&[], None).await;
    assert_eq!(none.get("/api/v1/no/such/route").await.error(404), "not_found", "of which nothing is to be learned");
    assert_eq!(send(none.request(Method::PUT, "/api/v1/creators")).await.error(405), "method_not_allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_ask_for_a_job_may_see_what_becomes_of_it() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    let (job, batch) = ("/api/v1/jobs/nonsense", "/api/v1/batches/nonsense");
    for (scope, path, allowed) in [
        (Read, job, true),
        (Sync, job, true),
        (Disconnect, job, true),
        (Connect, job, false),
        (Read, batch, true),
        (Sync, batch, true),
        (Disconnect, batch, false),
        (Connect, batch, false),
    ] {
        let answer = world.limited(&[scope], None).await.get(path).await;
        if allowed {
            assert_eq!(answer.error(404), "not_found", "{scope} {path}");
        } else {
            assert_eq!(answer.error(403), "forbidden", "{scope} {path}");
            assert!(answer.message().contains("`read`"), "{}", answer.message());
        }
    }
    let syncer = world.limited(&[Sync], None).await;
    let sync = syncer.request(Method::POST, &format!("/api/v1/creators/{creator}/sync"));
    let sync = send(sync.header("prefer", "respond-async")).await;
    syncer.get(sync.header("location").expect("where to ask")).await.data(200);
    let bulk = syncer.post("/api/v1/creators/sync").await;
    syncer.get(bulk.header("location").expect("where to ask")).await.data(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stops_by_itself_when_it_expires() {
    let world = World::start().await;
    let past = world.limited(&[Read], Some(Utc::now() - TimeDelta::seconds(1))).await;
    assert_eq!(past.get("/api/v1/creators").await.error(401), "invalid_api_key");
    let expires = Utc::now() + TimeDelta::seconds(2);
    let client = world.limited(&[Read], Some(expires)).await;
    let first = client.get("/api/v1/creators").await;
    if Utc::now() < expires {
        first.data(200);
    }
    loop {
        // What counts is when it was asked, however long a busy machine takes to answer.
        let asked = Utc::now();
        if client.get("/api/v1/creators").await.status == 401 {
            break;
        }
        assert!(asked < expires + TimeDelta::seconds(1), "the key still works");
    }
    assert!(Utc::now() >= expires, "not before its time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_of_a_later_version_allows_nothing_here() {
    let world = World::start().await;
    let client = world.limited(&[], None).await;
    world
        .sql()
        .await
        .batch_execute("UPDATE api_keys SET scopes = '{admin}' WHERE scopes = '{}'")
        .await
        .expect("changed");
    assert_eq!(client.get("/api/v1/creators").await.error(403), "forbidden");
}
