//! The document, and that every route answers as it says.

use std::collections::BTreeSet;

use chrono::Utc;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Options, World, send};
use crate::schema;

async fn document(world: &World) -> Value {
    let answer = send(world.client.bare(Method::GET, "/openapi.json")).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, Some("application/json")));
    answer.body
}

/// Every operation of the document, as `GET /path`.
fn operations(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().expect("paths");
    paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().expect("an item").keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_holds_every_route_and_its_errors() {
    let world = World::start().await;
    let document = document(&world).await;
    assert!(document["openapi"].as_str().expect("a version").starts_with("3.1"));
    let expected = [
        "DELETE /api/v1/creators/{id}",
        "GET /api/v1/batches/{id}",
        "GET /api/v1/creators",
        "GET /api/v1/creators/{id}",
        "GET /api/v1/creators/{id}/history",
        "GET /api/v1/creators/{id}/profile",
        "GET /api/v1/creators/{id}/videos",
        "GET /api/v1/creators/{id}/videos/{videoId}/history",
        "GET /api/v1/jobs/{id}",
        "GET /healthz",
        "GET /metrics",
        "GET /oauth/tiktok/callback",
        "GET /openapi.json",
        "GET /readyz",
        "PATCH /api/v1/creators/{id}",
        "POST /api/v1/connect/tiktok",
        "POST /api/v1/creators/sync",
        "POST /api/v1/creators/{id}/sync",
        "POST /webhooks/tiktok",
    ];
    assert_eq!(operations(&document).iter().map(String::as_str).collect::<Vec<_>>(), expected);
    let scheme = &document["components"]["securitySchemes"]["apiKey"];
    assert_eq!(
        (&scheme["type"], &scheme["in"], &scheme["name"]),
        (&json!("apiKey"), &json!("header"), &json!("x-api-key"))
    );
    for (path, item) in document["paths"].as_object().expect("paths") {
        for operation in item.as_object().expect("an item").values() {
            assert!(operation["operationId"].is_string() && operation["summary"].is_string(), "{path}");
            if path.starts_with("/api/") {
                let requirements = operation["security"].as_array().expect("requirements");
                assert!(!requirements.is_empty(), "{path}");
                for requirement in requirements {
                    let scopes = requirement["apiKey"].as_array().expect("scopes");
                    assert!(
                        scopes.len() == 1
                            && ["read", "connect", "sync", "disconnect"]
                                .contains(&scopes[0].as_str().expect("a scope")),
                        "{path}"
                    );
                }
                for status in ["401", "403", "429", "500", "503"] {
                    assert!(operation["responses"][status].is_object(), "{path} {status}");
                }
            }
        }
    }
}

/// What was answered by which operation.
struct Seen<'a> {
    document: &'a Value,
    operations: BTreeSet<String>,
}

impl Seen<'_> {
    /// Checks an answer against the document: the status is described, and the body is as its schema says.
    #[track_caller]
    fn check(&mut self, operation: &str, answer: &Answer) {
        let (method, path) = operation.split_once(' ').expect("a method and a path");
        let described = &self.document["paths"][path][method.to_lowercase()]["responses"][answer.status.as_str()];
        assert!(described.is_object(), "{operation}: {} is not described: {}", answer.status, answer.text);
        let content = described["content"].as_object().expect("content");
        let given = answer.header("content-type").expect("a content type").split(';').next().expect("a type");
        let schema = &content.get(given).unwrap_or_else(|| panic!("{operation}: {given} of {content:?}"))["schema"];
        if given == "application/json" {
            let errors = schema::errors(self.document, schema, &answer.body);
            assert!(errors.is_empty(), "{operation} {}: {errors:?}\n{}", answer.status, answer.text);
        }
        self.operations.insert(operation.to_owned());
        let headers = described["headers"].as_object().into_iter().flat_map(serde_json::Map::keys);
        let headers: BTreeSet<String> = headers.map(|name| name.to_lowercase()).collect();
        let telling = ["etag", "location", "retry-after", "preference-applied", "idempotent-replayed"];
        for name in telling.iter().filter(|name| path.starts_with("/api/") && answer.header(name).is_some()) {
            assert!(headers.contains(*name), "{operation} {}: {name} is not described", answer.status);
        }
        let limited =
            answer.headers.keys().map(reqwest::header::HeaderName::as_str).filter(|name| name.starts_with("ratelimit"));
        for name in limited.filter(|_| answer.status.is_success()) {
            assert!(headers.contains(name), "{operation} {}: {name} is not described", answer.status);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_as_its_schema_says() {
    let world = World::with(Options { sync_wait: "1s", rate: 600, ..Options::default() }).await;
    let document = document(&world).await;
    let mut seen = Seen { document: &document, operations: BTreeSet::new() };
    let creator = world.creator("open-1").await;
    world.add_videos(creator, 3, Utc::now()).await;
    let video = crate::history::write(&world, creator, &["2026-05-01T10:00:00Z", "2026-05-02T10:00:00Z"]).await;
    let (get, bare) =
        (|path: String| world.client.request(Method::GET, &path), |path| world.client.bare(Method::GET, path));
    let path = format!("/api/v1/creators/{creator}");
    for (operation, request) in [
        ("GET /api/v1/creators", get("/api/v1/creators".into())),
        ("GET /api/v1/creators", get("/api/v1/creators?limit=1".into())),
        ("GET /api/v1/creators", get("/api/v1/creators?limit=x".into())),
        ("GET /api/v1/creators", bare("/api/v1/creators")),
        ("GET /api/v1/creators/{id}", get(path.clone())),
        ("GET /api/v1/creators/{id}", get("/api/v1/creators/x".into())),
        ("GET /api/v1/creators/{id}/profile", get(format!("{path}/profile"))),
        ("GET /api/v1/creators/{id}/videos", get(format!("{path}/videos"))),
        ("GET /api/v1/creators/{id}/videos", get(format!("{path}/videos?limit=2"))),
        ("GET /api/v1/creators/{id}/videos", get(format!("{path}/videos?cursor=x"))),
        ("GET /api/v1/creators/{id}/history", get(format!("{path}/history?from=2026-05-01&limit=1"))),
        ("GET /api/v1/creators/{id}/history", get(format!("{path}/history?interval=x"))),
        (
            "GET /api/v1/creators/{id}/videos/{videoId}/history",
            get(format!("{path}/videos/{video}/history?from=2026-05-01")),
        ),
        ("GET /api/v1/creators/{id}/videos/{videoId}/history", get(format!("{path}/videos/x/history"))),
        ("GET /healthz", bare("/healthz")),
        ("GET /readyz", bare("/readyz")),
        ("GET /metrics", bare("/metrics")),
        ("GET /openapi.json", bare("/openapi.json")),
        ("GET /oauth/tiktok/callback", bare("/oauth/tiktok/callback")),
        ("POST /webhooks/tiktok", world.client.bare(Method::POST, "/webhooks/tiktok")),
        ("POST /api/v1/connect/tiktok", world.client.request(Method::POST, "/api/v1/connect/tiktok")),
        ("POST /api/v1/connect/tiktok", world.client.request(Method::POST, "/api/v1/connect/tiktok").body("x")),
    ] {
        seen.check(operation, &send(request).await);
    }
    let asked = world.client.post("/api/v1/creators/sync").await;
    seen.check("POST /api/v1/creators/sync", &asked);
    seen.check(
        "POST /api/v1/creators/sync",
        &world.client.post_json("/api/v1/creators/sync", &json!({"ids": 1})).await,
    );
    let batch = asked.data(202)["batchId"].as_str().expect("a batch");
    seen.check("GET /api/v1/batches/{id}", &world.client.get(&format!("/api/v1/batches/{batch}")).await);
    seen.check("GET /api/v1/batches/{id}", &world.client.get("/api/v1/batches/x").await);
    for every in [json!("6h"), json!("off"), json!(null), json!("soon")] {
        let change = world.client.request(Method::PATCH, &path).json(&json!({"resyncEvery": every}));
        seen.check("PATCH /api/v1/creators/{id}", &send(change).await);
    }
    let sync = format!("{path}/sync");
    let never_ending = [
        (Method::POST, "/api/v1/connect/tiktok", "/api/v1/connect/tiktok"),
        (Method::POST, "/api/v1/creators/sync", "/api/v1/creators/sync"),
        (Method::POST, "/api/v1/creators/{id}/sync", sync.as_str()),
        (Method::PATCH, "/api/v1/creators/{id}", path.as_str()),
        (Method::DELETE, "/api/v1/creators/{id}", path.as_str()),
        (Method::POST, "/webhooks/tiktok", "/webhooks/tiktok"),
    ];
    let slow = never_ending.map(|(method, described, path)| {
        let body = reqwest::Body::wrap_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
        let request = world.client.request(method.clone(), path).header("content-type", "application/json").body(body);
        async move { (format!("{method} {described}"), send(request).await) }
    });
    for (operation, answer) in futures::future::join_all(slow).await {
        assert_eq!(answer.status, 408, "{operation}: {}", answer.text);
        seen.check(&operation, &answer);
    }
    let synced = send(world.client.request(Method::POST, &format!("{path}/sync")).header("prefer", "wait=1")).await;
    assert_eq!(synced.status, 202);
    seen.check("POST /api/v1/creators/{id}/sync", &synced);
    let job = synced.body["data"]["jobId"].as_str().expect("a job");
    seen.check("GET /api/v1/jobs/{id}", &world.client.get(&format!("/api/v1/jobs/{job}")).await);
    let failed = format!(
        "UPDATE jobs SET state = 'failed', error_code = 'platform_error', error = 'x', finished_at = now() WHERE id = '{job}'"
    );
    world.sql().await.batch_execute(&failed).await.expect("failed");
    seen.check("GET /api/v1/jobs/{id}", &world.client.get(&format!("/api/v1/jobs/{job}")).await);
    seen.check("DELETE /api/v1/creators/{id}", &world.client.delete(&path).await);
    seen.check("DELETE /api/v1/creators/{id}", &world.client.delete("/api/v1/creators/x").await);
    assert_eq!(seen.operations, operations(&document), "every operation was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_projects_key_finds_nothing_on_any_route() {
    let world = World::with(Options { sync_wait: "1s", ..Options::default() }).await;
    let document = document(&world).await;
    let creator = world.creator("open-1").await;
    world.add_videos(creator, 1, Utc::now()).await;
    let video = crate::history::write(&world, creator, &["2026-05-01T10:00:00Z"]).await;
    let batch = world.client.post("/api/v1/creators/sync").await;
    let batch = batch.data(202)["batchId"].as_str().expect("a batch").to_owned();
    let synced = world.client.post(&format!("/api/v1/creators/{creator}/sync")).await;
    let job = synced.data(202)["jobId"].as_str().expect("a job").to_owned();
    let stranger = world.stranger().await;
    let sql = world.sql().await;
    let tables = "SELECT string_agg(t::text, chr(10) ORDER BY t::text) FROM (SELECT creators::text AS t FROM creators
        UNION ALL SELECT videos::text FROM videos UNION ALL SELECT jobs::text FROM jobs
        UNION ALL SELECT batches::text FROM batches) AS all_rows";
    let state = async || sql.query_one(tables, &[]).await.expect("rows").get::<_, String>(0);
    let before = state().await;
    let mut walked = 0;
    for operation in operations(&document).iter().filter(|operation| operation.contains('{')) {
        let (method, path) = operation.split_once(' ').expect("a method and a path");
        let of = path.trim_start_matches("/api/v1/").split('/').next().expect("a resource");
        let id = match of {
            "creators" => creator.to_string(),
            "batches" => batch.clone(),
            "jobs" => job.clone(),
            other => panic!("say what is an id of {other}"),
        };
        let path = path.replace("{id}", &id).replace("{videoId}", &video);
        assert!(!path.contains('{'), "say what stands for it: {path}");
        let method: Method = method.parse().expect("a method");
        let own = world.client.request(Method::GET, path.trim_end_matches("/sync"));
        assert_eq!(send(own).await.status, 200, "it is there: {path}");
        let asked = send(stranger.request(method, &path).json(&json!({"resyncEvery": "off"}))).await;
        assert_eq!(asked.error(404), "not_found", "{operation}");
        walked += 1;
    }
    assert!(walked >= 9, "{walked}");
    // What takes ids elsewhere.
    let named = stranger.post_json("/api/v1/creators/sync", &json!({"ids": [creator.to_string()]})).await;
    assert_eq!(named.error(400), "invalid_request");
    let lists = ["", "?externalId=open-1", "?limit=10"].map(|query| format!("/api/v1/creators{query}"));
    for path in lists {
        assert_eq!(stranger.get(&path).await.data(200), &json!([]), "{path}");
    }
    assert_eq!(state().await, before, "nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_link_leads_to_an_operation_with_a_value_that_the_answer_has() {
    let world = World::start().await;
    let document = document(&world).await;
    let all: Vec<&Value> = document["paths"].as_object().into_iter().flat_map(|paths| paths.values()).collect();
    let all: Vec<&Value> = all.into_iter().flat_map(|item| item.as_object().expect("an item").values()).collect();
    let mut links = 0;
    for operation in &all {
        for response in operation["responses"].as_object().expect("responses").values() {
            for (name, link) in response["links"].as_object().into_iter().flatten() {
                let target = all.iter().find(|one| one["operationId"] == link["operationId"]).expect("an operation");
                let known = |owner: &Value, name: &str, place: &str| {
                    owner["parameters"]
                        .as_array()
                        .expect("parameters")
                        .iter()
                        .any(|one| one["name"] == name && one["in"] == place)
                };
                for (parameter, value) in link["parameters"].as_object().expect("parameters") {
                    assert!(known(target, parameter, "path"), "{name}: {parameter}");
                    let value = value.as_str().expect("an expression");
                    if let Some(pointer) = value.strip_prefix("$response.body#/") {
                        let schema = &response["content"]["application/json"]["schema"];
                        assert!(leads_somewhere(&document, schema, pointer), "{name}: {value} of {schema}");
                    } else {
                        let of = value.strip_prefix("$request.path.").expect("one of the two kinds");
                        assert!(known(operation, of, "path"), "{name}: {value}");
                    }
                }
                links += 1;
            }
        }
    }
    assert_eq!(links, 16);
}

/// Whether what a schema describes has a text there.
fn leads_somewhere(document: &Value, schema: &Value, pointer: &str) -> bool {
    if let Some(reference) = schema["$ref"].as_str() {
        return leads_somewhere(document, document.pointer(&reference[1..]).expect("it is there"), pointer);
    }
    let Some((first, rest)) = pointer.split_once('/') else {
        return schema["properties"][pointer]["type"].to_string().contains("string");
    };
    let inner = if first == "0" { &schema["items"] } else { &schema["properties"][first] };
    leads_somewhere(document, inner, rest)
}
