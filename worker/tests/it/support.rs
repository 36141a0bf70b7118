//! One system of a test's own: a database, a key space in Redis, a sandbox, and as many workers as it starts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sandbox::{Sandbox, SandboxConfig};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use shared::budget::{Budget, BudgetSettings};
use shared::cadence::Cadence;
use shared::crypto::KeyRing;
use shared::ids::{CreatorId, CredentialId, JobId, ProjectId};
use shared::platforms::tiktok::{PkceMode, TikTok, TikTokSettings};
use shared::platforms::{AccessToken, Grant, RefreshToken, Scopes};
use shared::queue::{Final, Lane, Message, Queue};
use shared::settings::WorkerSettings;
use shared::store::Store;
use shared::store::connections::Connected;
use shared::store::creators::Creator;
use shared::store::disconnects::Disconnect;
use shared::store::jobs::Job;
use shared::store::single_flight::OpenSync;
use shared::store::videos::{StoredVideo, VideoQuery};
use shared::telemetry::Metrics;
use shared::tokens::{NewGrant, Tokens};
use tokio::time::Instant;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;
use worker::{Worker, WorkerConfig};

/// What creators are asked for.
pub const SCOPES: &str = "user.info.basic,user.info.profile,user.info.stats,video.list";
const APP: &str = "sandbox-client-key";
/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct System {
    pub store: Store,
    pub queue: Queue,
    pub tokens: Tokens,
    pub tiktok: TikTok,
    pub budget: Arc<Budget>,
    pub project: ProjectId,
    pub key: SecretString,
    pub database_url: String,
    /// The schedule's default of the workers that start from here on.
    pub resync_every: Option<Duration>,
    /// How far back theirs read.
    pub cadence: Cadence,
    /// How long the workers that start from here on keep history.
    pub history_keep: Option<Duration>,
    prefix: String,
    sandbox: Sandbox,
    http: reqwest::Client,
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with `make test`"))
}

pub async fn postgres(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("Postgres");
    tokio::spawn(connection);
    client
}

impl System {
    pub async fn start() -> Self {
        Self::start_with_window(Duration::from_secs(60)).await
    }

    /// One whose platform counts requests over `window`: the pauses of budget and breaker are parts of it.
    pub async fn start_with_window(window: Duration) -> Self {
        shared::telemetry::init_tls();
        let server = variable("METRIQLAB_TEST_DATABASE_URL");
        let name = format!("worker_{}", Uuid::new_v4().simple());
        postgres(&server).await.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
        let mut url = url::Url::parse(&server).expect("a URL");
        url.set_path(&name);
        let database_url = url.to_string();
        let store = Store::open(&SecretString::from(database_url.clone()), 16).expect("a store");
        store.migrate().await.expect("migrated");
        let project = store.add_key("project", &[1; 32], "mlk_test").await.expect("a project");
        let prefix = format!("test-{}", Uuid::new_v4().simple());
        let redis = variable("METRIQLAB_TEST_REDIS_URL");
        let sandbox = sandbox::start(SandboxConfig { rate_limit: 0, ..SandboxConfig::default() }).expect("a sandbox");
        let limits = BudgetSettings { window, ..BudgetSettings::per_minute(100_000) };
        let budget = Arc::new(Budget::new(&redis, &prefix, APP, limits, store.clone()).expect("a budget"));
        let tiktok = tiktok(&sandbox, Arc::clone(&budget));
        let key = KeyRing::generate_key();
        let tokens = tokens(&store, &tiktok, key.expose_secret());
        let queue = Queue::connect(&redis, &prefix).expect("a queue");
        let http = reqwest::Client::new();
        Self {
            store,
            queue,
            tokens,
            tiktok,
            budget,
            project,
            key,
            database_url,
            resync_every: None,
            cadence: Cadence::default(),
            history_keep: None,
            prefix,
            sandbox,
            http,
        }
    }

    /// Tokens of another process, with these keys.
    pub fn tokens_with(&self, keys: &str) -> Tokens {
        tokens(&self.store, &self.tiktok, keys)
    }

    pub fn worker(&self) -> Worker {
        self.worker_with(None, None)
    }

    pub fn worker_with(&self, metrics_bind: Option<SocketAddr>, metrics: Option<Metrics>) -> Worker {
        self.worker_of(metrics_bind, metrics, Duration::from_secs(5))
    }

    /// One that waits for no job when it is stopped.
    pub fn hasty_worker(&self) -> Worker {
        self.worker_of(None, None, Duration::ZERO)
    }

    fn worker_of(&self, metrics_bind: Option<SocketAddr>, metrics: Option<Metrics>, grace: Duration) -> Worker {
        worker::start(WorkerConfig {
            settings: WorkerSettings {
                concurrency: 4,
                metrics_bind,
                deaf_after: None,
                cadence: Cadence { every: self.resync_every, ..self.cadence },
                history_keep: self.history_keep,
            },
            grace,
            store: self.store.clone(),
            queue: self.queue.clone(),
            tokens: self.tokens.clone(),
            tiktok: self.tiktok.clone(),
            metrics,
        })
        .expect("a worker")
    }

    /// A call of the sandbox's control API.
    pub async fn control(&self, method: &str, path: &str, body: Value) -> Value {
        let url = format!("{}/control{path}", self.sandbox.base_url());
        let request = self.http.request(method.parse().expect("a method"), url);
        let request = if body.is_null() { request } else { request.json(&body) };
        let response = request.send().await.expect("the sandbox");
        let (status, answer) = (response.status(), response.json::<Value>().await.expect("JSON"));
        assert!(status.is_success(), "{method} {path}: {answer}");
        answer
    }

    pub async fn fault(&self, fault: Value) {
        self.control("POST", "/faults", fault).await;
    }

    pub async fn clear_faults(&self) {
        self.control("DELETE", "/faults", Value::Null).await;
    }

    /// A creator on TikTok with so many videos. Gives its `open_id`.
    pub async fn account(&self, videos: u32) -> String {
        let made = self.control("POST", "/users", json!({ "videos": videos })).await;
        made["users"][0]["open_id"].as_str().expect("an open_id").to_owned()
    }

    /// What TikTok would list, newest first.
    pub async fn listed(&self, open_id: &str) -> Vec<Value> {
        let listed = self.control("GET", &format!("/users/{open_id}/videos?limit=100000"), Value::Null).await;
        listed["videos"].as_array().expect("videos").clone()
    }

    /// How many requests of this kind the sandbox has answered for the account.
    pub async fn requests(&self, open_id: &str, query: &str) -> u64 {
        let path = format!("/requests?open_id={open_id}&{query}");
        self.control("GET", &path, Value::Null).await["matched"].as_u64().expect("a number")
    }

    pub async fn refreshes(&self, open_id: &str) -> u64 {
        self.requests(open_id, "grant_type=refresh_token").await
    }

    pub async fn grant(&self, open_id: &str, scopes: &str) -> Grant {
        let scopes: Vec<&str> = scopes.split(',').collect();
        let wanted = json!({ "open_id": open_id, "scopes": scopes, "tokens": true });
        let pair = self.control("POST", "/grants", wanted).await;
        let text = |name: &str| SecretString::from(pair[name].as_str().expect("text"));
        let seconds = |name: &str| Duration::from_secs(pair[name].as_u64().expect("seconds"));
        Grant {
            external_id: open_id.to_owned(),
            access: AccessToken(text("access_token")),
            access_expires_in: seconds("expires_in"),
            refresh: Some(RefreshToken(text("refresh_token"))),
            refresh_expires_in: Some(seconds("refresh_expires_in")),
            scopes: Scopes::parse(pair["scope"].as_str().expect("scopes")),
        }
    }

    /// A consent and its callback, as the API does it.
    pub async fn connect(&self, open_id: &str) -> Connected {
        self.connect_with(self.project, open_id, SCOPES).await
    }

    pub async fn connect_with(&self, project: ProjectId, open_id: &str, scopes: &str) -> Connected {
        let grant = self.grant(open_id, scopes).await;
        let requested = Scopes::parse(SCOPES);
        let new = NewGrant {
            project,
            grant: &grant,
            requested: &requested,
            exchanged: std::time::Instant::now(),
            external_ref: None,
            begun_by: None,
        };
        let connected = self.tokens.connect(&new, None).await.expect("connected");
        if let Some(id) = connected.sync {
            self.push(Lane::Sync, "sync", id).await;
        }
        connected
    }

    pub async fn push(&self, lane: Lane, kind: &str, id: JobId) {
        let message = Message { id, kind: kind.to_owned(), trace: None, group: None };
        self.queue.push(lane, &message, None).await.expect("pushed");
    }

    /// A sync, as the API asks for it; its last word.
    pub async fn sync(&self, creator: CreatorId) -> Final {
        let id = self.ask_for_sync(creator).await;
        self.last_word(id).await
    }

    pub async fn ask_for_sync(&self, creator: CreatorId) -> JobId {
        match self.store.open_sync(self.project, creator, None).await.expect("an answer") {
            OpenSync::New(id) => {
                self.push(Lane::Sync, "sync", id).await;
                id
            }
            OpenSync::Shared { id, .. } => id,
            other => panic!("no sync: {other:?}"),
        }
    }

    /// A disconnect, as the API asks for it.
    pub async fn ask_for_disconnect(&self, project: ProjectId, creator: CreatorId) -> JobId {
        match self.store.disconnect(project, creator, None).await.expect("an answer") {
            Disconnect::New { id, .. } => {
                self.push(Lane::Revoke, "revoke", id).await;
                id
            }
            other => panic!("no disconnect: {other:?}"),
        }
    }

    pub async fn last_word(&self, id: JobId) -> Final {
        wait_for("the job's last word", async || {
            self.store.last_words(&[id]).await.expect("read").pop().map(|(_, word)| word)
        })
        .await
    }

    pub async fn job(&self, id: JobId) -> Job {
        self.store.job(self.project, id).await.expect("read").expect("a job")
    }

    pub async fn creator(&self, id: CreatorId) -> Creator {
        self.store.creator(self.project, id).await.expect("read").expect("a creator")
    }

    /// All creators.
    pub async fn creators(&self) -> Vec<CreatorId> {
        let rows = postgres(&self.database_url).await.query("SELECT id::text FROM creators", &[]).await.expect("ids");
        rows.iter().map(|row| row.get::<_, String>(0).parse().expect("an id")).collect()
    }

    pub async fn credential(&self, creator: CreatorId) -> CredentialId {
        self.store.sync_target(creator).await.expect("read").expect("a creator").0.credential
    }

    pub async fn videos(&self, creator: CreatorId) -> Vec<StoredVideo> {
        self.store
            .videos(self.project, creator, &VideoQuery::default(), 100_000)
            .await
            .expect("read")
            .expect("a creator")
    }

    pub async fn sql(&self, statements: &str) {
        postgres(&self.database_url).await.batch_execute(statements).await.expect("executed");
    }

    pub async fn count(&self, query: &str) -> i64 {
        postgres(&self.database_url).await.query_one(query, &[]).await.expect("a count").get(0)
    }

    /// Forgets what Redis knows of this system, as a flush does.
    pub async fn flush(&self) {
        let client = redis::Client::open(variable("METRIQLAB_TEST_REDIS_URL")).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection().await.expect("Redis");
        let pattern = format!("*{}*", self.prefix);
        let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(&mut connection).await.expect("keys");
        assert!(!keys.is_empty());
        redis::cmd("DEL").arg(keys).exec_async(&mut connection).await.expect("deleted");
    }

    /// Grants nothing for `endpoint` for so long, from now on, as after a 429 that said so.
    pub async fn pause(&self, endpoint: &str, seconds: u64) {
        let client = redis::Client::open(variable("METRIQLAB_TEST_REDIS_URL")).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection().await.expect("Redis");
        let (now, _): (u64, u64) = redis::cmd("TIME").query_async(&mut connection).await.expect("a time");
        let state = format!("{}:budget:{{{APP}:{endpoint}}}:state", self.prefix);
        let opens = (now + seconds) * 1_000_000;
        redis::cmd("HSET").arg(state).arg("opens").arg(opens).exec_async(&mut connection).await.expect("set");
    }

    /// Jobs of a lane that say that they wait for their turn at something.
    pub async fn waiting(&self, lane: Lane) -> u64 {
        let client = redis::Client::open(variable("METRIQLAB_TEST_REDIS_URL")).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection().await.expect("Redis");
        let key = format!("{{{}:{lane}}}:v1:waiting", self.prefix);
        redis::cmd("SCARD").arg(key).query_async(&mut connection).await.expect("a count")
    }

    /// What Redis's memory holds for a lane, in bytes.
    pub async fn redis_bytes(&self, lane: Lane) -> u64 {
        let client = redis::Client::open(variable("METRIQLAB_TEST_REDIS_URL")).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection().await.expect("Redis");
        let pattern = format!("{{{}:{lane}}}*", self.prefix);
        let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(&mut connection).await.expect("keys");
        let mut bytes = 0;
        for key in keys {
            let usage = redis::cmd("MEMORY").arg("USAGE").arg(key).arg("SAMPLES").arg(0).clone();
            bytes += usage.query_async::<Option<u64>>(&mut connection).await.expect("a size").unwrap_or(0);
        }
        bytes
    }

    /// Ends every connection to the database, as a restart of Postgres does.
    pub async fn cut_postgres(&self) {
        self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
    }

    /// Makes the stored access tokens look so old: they were issued for two hours, and so much is left.
    pub async fn age_tokens(&self, seconds_left: i32) {
        self.sql(&format!(
            "UPDATE credentials SET issued_at = now() + interval '{seconds_left} s' - interval '2 hours', \
             access_expires_at = now() + interval '{seconds_left} s'"
        ))
        .await;
    }
}

fn tiktok(sandbox: &Sandbox, budget: Arc<Budget>) -> TikTok {
    let base = url::Url::parse(&sandbox.base_url()).expect("a URL");
    let settings = TikTokSettings {
        client_key: APP.to_owned(),
        client_secret: SecretString::from("sandbox-client-secret"),
        auth_url: base.clone(),
        api_url: base,
        pkce: PkceMode::Off,
        scopes: Scopes::parse(SCOPES),
        redirect_uri: "http://127.0.0.1/oauth/tiktok/callback".to_owned(),
        request_timeout: Duration::from_secs(10),
    };
    TikTok::new(settings, budget).expect("a client")
}

fn tokens(store: &Store, tiktok: &TikTok, keys: &str) -> Tokens {
    let keyring: KeyRing = keys.parse().expect("keys");
    Tokens::new(store.clone(), tiktok.clone(), Arc::new(keyring), APP)
}

/// Looks until `look` finds something, or fails the test.
pub async fn wait_for<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
