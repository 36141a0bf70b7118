//! Secrets appear in no log, no metric, no dump of Postgres or Redis.

use std::path::Path;
use std::process::Stdio;

use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::json;
use shared::crypto::KeyRing;
use shared::queue::Lane;
use url::Url;
use uuid::Uuid;

use crate::support::browser::{Browser, after};
use crate::support::redis::contents;
use crate::support::sandbox::{SCOPES, callback_of};
use crate::support::servers::PrivateRedis;
use crate::support::system::{CLIENT_SECRET, ENCRYPTION_KEY, free_port};
use crate::support::{System, eventually};

/// All there is, also for the one crate that would write values.
const LOUDEST: &str = "trace,tokio_postgres=trace,tokio_postgres::query=trace";
const EMAIL: &str = "ada@example.com";
const PASSWORD: &str = "correct-horse-battery-staple";
const NEW_PASSWORD: &str = "another-horse-another-staple";
const WRONG_PASSWORD: &str = "mistyped-horse-battery-stable";

/// What must be nowhere, and what it is.
struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    fn add(&mut self, what: &'static str, secret: &str) {
        assert!(secret.len() >= 20, "{what} is so short that it may stand somewhere by chance");
        self.0.push((what, secret.to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_log_a_metric_or_a_dump() {
    // Of its own: its file tells all that was ever written to it.
    let redis = PrivateRedis::start().await;
    let metrics = format!("127.0.0.1:{}", free_port());
    let system = System::builder()
        .on_redis(&redis.url)
        .set("RUST_LOG", LOUDEST)
        .set("TIKTOK_PKCE", "hex")
        .set("METRIQLAB_METRICS_BIND", &metrics)
        .start()
        .await;
    let mut secrets = Secrets(Vec::new());
    secrets.add("the API key", &system.client.key);
    secrets.add("the app's secret", CLIENT_SECRET);
    secrets.add("the encryption key", ENCRYPTION_KEY);
    secrets.add("the encryption key, decoded", "0123456789abcdef0123456789abcdef");
    let creator = connect_sync_and_fail(&system, &mut secrets).await;
    let shell = use_the_dashboard(&system, &mut secrets).await;
    let job = leave_a_job_open(&system, &creator).await;

    let logs = system.logs();
    for said in ["kind=sync", "endpoint=\"video_list\"", "/console/password/{token}"] {
        assert!(logs.contains(said), "the logs of both processes, whole: no {said}");
    }
    let postgres = dump_postgres(&system.database_url).await;
    assert!(postgres.contains("COPY public.credentials") && postgres.contains(&job), "the dump is whole");
    let keys: String = contents(&redis.url, "*").await.into_iter().map(|(key, text)| key + "\n" + &text).collect();
    assert!(keys.contains(&job), "Redis has a job, and can be read");
    // It writes its file each second, or later if the disk is busy.
    let file = eventually("its file has the job, too", async || {
        Some(everything_in(&redis.data())).filter(|file| file.contains(&job))
    })
    .await;
    let (api, worker) = (format!("{}/metrics", system.client.base), format!("http://{metrics}/metrics"));
    for (place, text) in [
        ("a log", logs),
        ("the command line's log", shell),
        ("the API's metrics", text_of(&system, &api).await),
        ("the worker's metrics", text_of(&system, &worker).await),
        ("Postgres", postgres),
        ("Redis", keys),
        ("Redis's file", file),
    ] {
        assert!(!text.is_empty(), "{place} is empty");
        assert_eq!(tokens_in(&text), 0, "{place} holds a token, known or not");
        for (what, secret) in &secrets.0 {
            assert!(!text.contains(secret.as_str()), "{place} holds {what}");
            // As bytea, Postgres shows bytes in hex.
            assert!(!text.contains(&hex::encode(secret)), "{place} holds {what} in hex");
            assert!(!text.contains(&decimal(secret)), "{place} holds {what} in decimal");
        }
    }
}

/// A creator that was connected, synced and renewed, and what fails on the way; our id for it.
async fn connect_sync_and_fail(system: &System, secrets: &mut Secrets) -> String {
    // One that nobody ends: Postgres keeps what belongs to it.
    begin_consent(system, secrets).await;
    let open_id = system.sandbox.user(30).await;
    assert_eq!(end_consent(system, secrets, &open_id).await, 200);
    let creators = system.client.get("/api/v1/creators").await;
    let id = creators.data(200)[0]["id"].as_str().unwrap().to_owned();
    system.client.sync(&id).await;
    // Failures talk more than successes do.
    for kind in ["internal_error", "bad_gateway", "truncated", "reset"] {
        system.sandbox.fault(json!({"endpoint": "user_info", "kind": kind, "times": 1})).await;
        system.client.sync(&id).await;
    }
    let first = stored_tokens(system).await;
    let sql = system.sql().await;
    sql.execute("UPDATE credentials SET issued_at = now() - interval '2h', access_expires_at = now()", &[])
        .await
        .unwrap();
    system.client.sync(&id).await;
    let second = stored_tokens(system).await;
    for [access, refresh] in [&first, &second] {
        secrets.add("an access token", access);
        secrets.add("a refresh token", refresh);
        assert_eq!(tokens_in(&format!("{access} {refresh}")), 2, "tokens are known by how they begin");
    }
    assert!(first[0] != second[0] && first[1] != second[1], "they were renewed");
    system.sandbox.fault(json!({"endpoint": "token", "kind": "internal_error", "times": 1})).await;
    let other = system.sandbox.user(1).await;
    assert_eq!(end_consent(system, secrets, &other).await, 502);
    id
}

/// Begins a consent; where the creator is sent.
async fn begin_consent(system: &System, secrets: &mut Secrets) -> String {
    // With a key, so that the answer is kept for a day.
    let request = system.client.request(Method::POST, "/api/v1/connect/tiktok");
    let started = system.client.send(request.header("idempotency-key", Uuid::new_v4().to_string())).await;
    let state = started.data(200)["state"].as_str().unwrap();
    secrets.add("the state of a consent", state);
    let query = "SELECT state_hash, pkce_sealed FROM oauth_states WHERE state_hash = sha256($1)";
    let row = system.sql().await.query_one(query, &[&state.as_bytes()]).await.expect("the consent");
    let identity = format!("oauth_states\0{}\0pkce_sealed", hex::encode(row.get::<_, &[u8]>(0)));
    secrets.add("a PKCE verifier", &opened(row.get(1), &identity));
    started.data(200)["authUrl"].as_str().unwrap().to_owned()
}

/// A consent from its beginning to its end; the status of the page that the creator sees then.
async fn end_consent(system: &System, secrets: &mut Secrets, open_id: &str) -> u16 {
    let auth_url = begin_consent(system, secrets).await;
    let back = system.sandbox.consent(&auth_url, open_id, &SCOPES).await;
    let url = Url::parse(&back).expect("a URL");
    let code = url.query_pairs().find(|(name, _)| name == "code").expect("a code").1.into_owned();
    // What follows is the same in each, and may be escaped.
    secrets.add("an authorization code", code.split('*').next().unwrap());
    callback_of(&system.client, &back).send().await.expect("the callback page").status().as_u16()
}

/// A password set by a link, changed and mistyped; sessions, an invitation, keys. What the command line wrote to its log.
async fn use_the_dashboard(system: &System, secrets: &mut Secrets) -> String {
    for password in [PASSWORD, NEW_PASSWORD, WRONG_PASSWORD] {
        secrets.add("a password", password);
    }
    let made = system.output(&["users", "create", EMAIL, "--project", "test"]).await;
    let link = String::from_utf8(made.stdout).expect("a link");
    let link = Url::parse(link.trim()).expect("a link").path().to_owned();
    secrets.add("a link for a password", link.rsplit('/').next().unwrap());
    let mut browser = Browser::new(&system.client);
    let set = browser.submit(&link, &link, &[("password", PASSWORD), ("repeated", PASSWORD)]).await;
    assert_eq!(set.status, 303, "{}", set.body);
    let account = "/console/account";
    let change = [("current", PASSWORD), ("password", NEW_PASSWORD), ("repeated", NEW_PASSWORD)];
    assert_eq!(browser.submit(account, "/console/account/password", &change).await.status, 303);
    assert_eq!(browser.submit(account, "/console/sign-out", &[]).await.status, 303);
    for (password, status) in [(WRONG_PASSWORD, 422), (NEW_PASSWORD, 303)] {
        let fields = [("email", EMAIL), ("password", password)];
        assert_eq!(browser.submit("/console/sign-in", "/console/sign-in", &fields).await.status, status);
    }
    let project: String = system.sql().await.query_one("SELECT id::text FROM projects", &[]).await.unwrap().get(0);
    let project = format!("/console/projects/{project}");
    for (what, page, path, fields) in [
        ("a key", "keys", "keys", &[("name", "of a form"), ("access", "all"), ("expires", "never")][..]),
        ("the documentation's key", "keys", "docs-key", &[][..]),
    ] {
        let made = browser.submit(&format!("{project}/{page}"), &format!("{project}/{path}"), fields).await;
        assert_eq!(made.status, 201, "{}", made.body);
        secrets.add(what, &format!("mlk_{}", after(&made, ">mlk_")));
    }
    let members = format!("{project}/members");
    let invited = browser.submit(&members, &format!("{members}/invite"), &[("role", "viewer")]).await;
    let token = after(&invited, "/console/join/");
    secrets.add("an invitation's link", token);
    let (mut guest, join) = (Browser::new(&system.client), format!("/console/join/{token}"));
    let fields = [("email", "eve@example.com"), ("password", PASSWORD), ("repeated", PASSWORD)];
    assert_eq!(guest.submit(&join, &join, &fields).await.status, 303);
    let given: Vec<String> = [browser.given, guest.given].concat();
    assert!(given.len() > 10, "{} cookies and forms' tokens", given.len());
    for secret in &given {
        secrets.add("a cookie or a form's token", secret);
    }
    String::from_utf8(made.stderr).expect("a log")
}

/// A sync that waits in Redis until its lane is resumed; its id.
async fn leave_a_job_open(system: &System, creator: &str) -> String {
    system.settled().await;
    system.pause("sync").await;
    let request = system.client.request(Method::POST, &format!("/api/v1/creators/{creator}/sync"));
    let asked = system.client.send(request.header("prefer", "respond-async")).await;
    let queue = system.queue();
    eventually("the job is in Redis", async || queue.depth(Lane::Sync).await.ok().filter(|depth| depth.ready == 1))
        .await;
    asked.data(202)["jobId"].as_str().expect("a job").to_owned()
}

/// How many tokens of TikTok's stand in a text, as the sandbox makes them.
fn tokens_in(text: &str) -> usize {
    let begins = ["act.", "rft."].into_iter().flat_map(|prefix| text.match_indices(prefix));
    let letters =
        |text: &str| text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)).count();
    begins.filter(|(at, prefix)| letters(&text[at + prefix.len()..]) >= 20).count()
}

/// Bytes as `Debug` shows them.
fn decimal(text: &str) -> String {
    text.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ")
}

async fn text_of(system: &System, url: &str) -> String {
    system.client.http.get(url).send().await.expect("an answer").text().await.expect("a text")
}

async fn dump_postgres(url: &str) -> String {
    let dump = tokio::process::Command::new("pg_dump").arg(url).stdin(Stdio::null()).output().await;
    let dump = dump.expect("run pg_dump");
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    String::from_utf8_lossy(&dump.stdout).into_owned()
}

/// All files below a folder.
fn everything_in(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            text.push_str(&everything_in(&path));
        } else {
            text.push_str(&String::from_utf8_lossy(&std::fs::read(&path).expect("a file")));
        }
    }
    text
}

/// The access and the refresh token that the system holds now, opened with the key that the test gave it.
async fn stored_tokens(system: &System) -> [String; 2] {
    let query = "SELECT platform, app, external_id, access_token, refresh_token FROM credentials ORDER BY id LIMIT 1";
    let row = system.sql().await.query_one(query, &[]).await.expect("the tokens");
    let (platform, app, external_id): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
    [("access_token", 3_usize), ("refresh_token", 4)]
        .map(|(column, at)| opened(row.get(at), &format!("{platform}\0{app}\0{external_id}\0{column}")))
}

fn opened(sealed: &[u8], identity: &str) -> String {
    let ring: KeyRing = ENCRYPTION_KEY.parse().expect("the key");
    ring.open(sealed, identity).expect("what was sealed").expose_secret().to_owned()
}
