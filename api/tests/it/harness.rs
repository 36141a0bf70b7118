//! An API of one's own: database, key space, sandbox, and a client that speaks to it.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use api::{ApiConfig, ApiServer, FormQuota};
use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use reqwest::{Method, RequestBuilder, StatusCode};
use sandbox::{Sandbox, SandboxConfig};
use secrecy::SecretString;
use serde_json::Value;
use shared::api_key::ApiKey;
use shared::budget::{Budget, BudgetSettings};
use shared::cadence::Cadence;
use shared::crypto::KeyRing;
use shared::ids::{CreatorId, ProjectId};
use shared::key_scopes::KeyScope;
use shared::platforms::tiktok::{PkceMode, TikTok, TikTokSettings};
use shared::platforms::{Platform, Scopes};
use shared::queue::{Queue, Waiter};
use shared::settings::{ApiArgs, ApiSettings};
use shared::store::Store;
use shared::store::connections::{Connected, NewConnection};
use shared::store::credentials::{Account, SealedPair};
use shared::store::keys::NewKey;
use shared::telemetry::{Metrics, init_metrics, init_tls};
use shared::tokens::Tokens;
use url::Url;
use uuid::Uuid;

/// The sandbox's app.
pub const CLIENT_KEY: &str = "sandbox-client-key";
pub const CLIENT_SECRET: &str = "sandbox-client-secret";
/// 32 bytes in base64.
pub const ENCRYPTION_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// Where TikTok is told to send browsers: no test listens there, each follows by hand.
pub const PUBLIC_URL: &str = "http://127.0.0.1:9";
const SCOPES: &str = "user.info.basic,user.info.profile,user.info.stats,video.list";

/// What a test may want otherwise.
pub struct Options {
    pub rate: u32,
    pub cors: Option<&'static str>,
    pub proxies: Option<&'static str>,
    pub sync_wait: &'static str,
    pub redis: Option<String>,
    pub database: Option<String>,
    pub pkce: PkceMode,
    pub statement_timeout: Duration,
    /// To Postgres, at most.
    pub connections: usize,
    pub forms: FormQuota,
    /// The app's key and secret.
    pub app: (&'static str, &'static str),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rate: 0,
            cors: None,
            proxies: None,
            // Longer than a busy machine takes: who wants an answer before its job's end says so.
            sync_wait: "60s",
            redis: None,
            database: None,
            pkce: PkceMode::Off,
            statement_timeout: Duration::from_secs(8),
            connections: 8,
            forms: FormQuota::default(),
            app: (CLIENT_KEY, CLIENT_SECRET),
        }
    }
}

pub struct World {
    pub api: ApiServer,
    pub base: String,
    pub store: Store,
    pub queue: Queue,
    pub sandbox: Sandbox,
    pub database_url: String,
    pub project: ProjectId,
    pub client: Client,
}

pub fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run the tests with `make test`"))
}

/// A fresh database, not migrated; its URL.
pub async fn database() -> String {
    let server = server("METRIQLAB_TEST_DATABASE_URL");
    let name = format!("api_{}", Uuid::new_v4().simple());
    sql(&server).await.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("create a database");
    let mut url = Url::parse(&server).expect("a database URL");
    url.set_path(&name);
    url.to_string()
}

/// A plain connection, for what no query of ours does.
pub async fn sql(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("connect to Postgres");
    tokio::spawn(connection);
    client
}

fn metrics() -> Metrics {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    METRICS.get_or_init(|| init_metrics().expect("the first recorder")).clone()
}

impl World {
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with(options: Options) -> Self {
        init_tls();
        let database_url = match &options.database {
            Some(url) => url.clone(),
            None => database().await,
        };
        let url = SecretString::from(database_url.clone());
        if options.database.is_none() {
            // By a store without a limit: a migration may take longer than a test's statements.
            Store::open(&url, 1).expect("a store").migrate().await.expect("migrations");
        }
        let store = Store::open_with_timeout(&url, options.connections, options.statement_timeout).expect("a store");
        let key = ApiKey::generate();
        let project = match options.database {
            None => store.add_key("project", &key.hash(), key.prefix()).await.expect("a key"),
            Some(_) => ProjectId::new(),
        };
        let sandbox = sandbox::start(SandboxConfig { rate_limit: 0, ..SandboxConfig::default() }).expect("a sandbox");
        let redis = options.redis.clone().unwrap_or_else(|| server("METRIQLAB_TEST_REDIS_URL"));
        let prefix = format!("api-{}", Uuid::new_v4().simple());
        let queue = Queue::connect(&redis, &prefix).expect("a queue");
        let config = config(&options, &store, &queue, &redis, &prefix, &sandbox);
        let api = api::start(config).await.expect("an API");
        let base = format!("http://{}", api.addr());
        let client = Client::new(&base, key.expose());
        Self { api, base, store, queue, sandbox, database_url, project, client }
    }

    pub async fn sql(&self) -> tokio_postgres::Client {
        sql(&self.database_url).await
    }

    /// A client of another project.
    pub async fn stranger(&self) -> Client {
        let key = ApiKey::generate();
        self.store.add_key("another", &key.hash(), key.prefix()).await.expect("a key");
        Client::new(&self.base, key.expose())
    }

    /// A client of the project whose key may do these things alone, until then.
    pub async fn limited(&self, scopes: &[KeyScope], expires_at: Option<DateTime<Utc>>) -> Client {
        let key = ApiKey::generate();
        let scopes = Some(scopes.iter().copied().collect());
        let new = NewKey { hash: &key.hash(), prefix: key.prefix(), scopes, expires_at };
        self.store.add_limited_key(self.project, &new).await.expect("a key");
        Client::new(&self.base, key.expose())
    }

    /// A connected creator, by the store alone; its first sync is ended, so that no test trips over it.
    pub async fn creator(&self, external_id: &str) -> CreatorId {
        let connected = self.connect(external_id).await;
        let creator = connected.creator;
        let ended = format!("UPDATE jobs SET state = 'done', finished_at = now() WHERE creator_id = '{creator}'");
        self.sql().await.batch_execute(&ended).await.expect("end the first sync");
        connected.creator
    }

    pub async fn connect(&self, external_id: &str) -> Connected {
        let new = NewConnection {
            project: self.project,
            account: Account { platform: Platform::Tiktok, app: CLIENT_KEY.into(), external_id: external_id.into() },
            pair: SealedPair {
                access_token: b"sealed".to_vec(),
                refresh_token: None,
                scopes: SCOPES.into(),
                access_expires_in: Duration::from_secs(7200),
                refresh_expires_in: None,
            },
            granted_at: Utc::now(),
            missing_scopes: String::new(),
            external_ref: None,
            begun_by: None,
            lease_owner: Uuid::new_v4(),
        };
        self.store.connect(&new, None).await.expect("a connection")
    }

    /// Stores videos as a sync does: `number` of them, one a second from `newest` back; the nth has n views.
    pub async fn add_videos(&self, creator: CreatorId, number: i64, newest: DateTime<Utc>) {
        let insert = format!(
            "INSERT INTO videos (id, creator_id, external_id, title, views, published_at)
            SELECT gen_random_uuid(), '{creator}', 'v' || n, 'A title', n, to_timestamp({}) - n * interval '1 second'
            FROM generate_series(0, {} - 1) AS n",
            newest.timestamp(),
            number
        );
        self.sql().await.batch_execute(&insert).await.expect("videos");
    }

    /// Creators without tokens worth the name, for the list alone.
    pub async fn add_creators(&self, number: i64) {
        let first = self.connect("first").await;
        let insert = format!(
            "INSERT INTO creators (id, project_id, credential_id, platform, external_id, username, bio, connected_at)
            SELECT gen_random_uuid(), project_id, credential_id, platform, 'open-' || n, 'user' || n,
                repeat('bio ', 20), connected_at + (n / 3) * interval '1 second'
            FROM creators, generate_series(1, {number} - 1) AS n WHERE id = '{}'",
            first.creator
        );
        self.sql().await.batch_execute(&insert).await.expect("creators");
    }
}

fn config(options: &Options, store: &Store, queue: &Queue, redis: &str, prefix: &str, sandbox: &Sandbox) -> ApiConfig {
    let budget = Budget::new(redis, prefix, CLIENT_KEY, BudgetSettings::per_minute(600), store.clone());
    let settings = TikTokSettings {
        client_key: options.app.0.into(),
        client_secret: options.app.1.into(),
        auth_url: sandbox.base_url().parse().expect("a URL"),
        api_url: sandbox.base_url().parse().expect("a URL"),
        pkce: options.pkce,
        scopes: Scopes::parse(SCOPES),
        redirect_uri: format!("{PUBLIC_URL}/oauth/tiktok/callback"),
        request_timeout: Duration::from_secs(5),
    };
    let tiktok = TikTok::new(settings, Arc::new(budget.expect("a budget"))).expect("a client");
    let keyring = ENCRYPTION_KEY.parse::<KeyRing>().expect("a key ring");
    let keyring = Arc::new(keyring);
    let rows = store.clone();
    ApiConfig {
        cadence: Cadence::default(),
        forms: options.forms,
        settings: settings_of(options),
        grace: Duration::from_secs(5),
        store: store.clone(),
        queue: queue.clone(),
        waiter: Waiter::start(queue, move |ids| {
            let rows = rows.clone();
            async move { rows.last_words(&ids).await }.boxed()
        }),
        tokens: Tokens::new(store.clone(), tiktok.clone(), Arc::clone(&keyring), CLIENT_KEY),
        keyring,
        tiktok,
        metrics: metrics(),
    }
}

fn settings_of(options: &Options) -> ApiSettings {
    let args = ApiArgs {
        bind: Some("127.0.0.1:0".into()),
        public_url: Some(PUBLIC_URL.into()),
        sync_wait: options.sync_wait.into(),
        api_rate: options.rate.to_string(),
        cors_origins: options.cors.map(str::to_owned),
        trusted_proxies: options.proxies.map(str::to_owned),
    };
    args.check().expect("good settings")
}

/// An answer: status, headers, text, and JSON where it is some.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
    pub body: Value,
}

impl Answer {
    #[track_caller]
    pub fn data(&self, status: u16) -> &Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.body["success"], true, "{}", self.text);
        &self.body["data"]
    }

    /// The error's code, of an answer that is the contract's envelope to the letter.
    #[track_caller]
    pub fn error(&self, status: u16) -> &str {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), Some("application/json"), "{}", self.text);
        assert_eq!(self.body["success"], false, "{}", self.text);
        assert_eq!(self.body.as_object().expect("an object").len(), 2, "{}", self.text);
        let error = self.body["error"].as_object().expect("an error");
        assert_eq!(error.keys().collect::<Vec<_>>(), ["code", "docsUrl", "message", "requestId"], "{}", self.text);
        let docs = format!("{PUBLIC_URL}/docs/errors#{}", error["code"].as_str().expect("a code"));
        assert_eq!(error["docsUrl"], docs);
        assert_eq!(error["requestId"].as_str(), self.header("x-request-id"));
        assert!(!error["message"].as_str().expect("a message").is_empty());
        error["code"].as_str().expect("a code")
    }

    #[track_caller]
    pub fn message(&self) -> &str {
        self.body["error"]["message"].as_str().expect("a message")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("a readable header"))
    }
}

/// Speaks to one API with one key.
#[derive(Debug, Clone)]
pub struct Client {
    pub base: String,
    pub key: String,
    pub http: reqwest::Client,
}

impl Client {
    pub fn new(base: &str, key: &str) -> Self {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(90))
            .build()
            .expect("an HTTP client");
        Self { base: base.to_owned(), key: key.to_owned(), http }
    }

    /// A request without a key.
    pub fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).header("x-api-key", &self.key)
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str) -> Answer {
        send(self.request(Method::POST, path)).await
    }

    pub async fn post_json(&self, path: &str, body: &Value) -> Answer {
        send(self.request(Method::POST, path).json(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        send(self.request(Method::DELETE, path)).await
    }
}

pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.expect("a body");
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Answer { status, headers, text, body }
}

/// Asks until that is refused as too much; before it is, `status` is the answer: 600 at once, and ten more a second,
/// however long a busy machine takes for them. Gives the refusal.
pub async fn until_refused(status: u16, mut ask: impl AsyncFnMut(u64) -> Answer) -> Answer {
    let (began, mut number) = (Instant::now(), 0);
    loop {
        let answer = ask(number).await;
        if answer.status == 429 {
            assert!(number >= 600, "refused after {number}");
            return answer;
        }
        assert_eq!(answer.status, status, "{}", answer.text);
        number += 1;
        assert!(number <= 600 + began.elapsed().as_secs() * 10 + 10, "{number} within {:?}", began.elapsed());
    }
}

/// Waits until `check` gives a value; fails with `what` after a minute.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut check: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
