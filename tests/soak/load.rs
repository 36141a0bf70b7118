//! What clients do meanwhile: wait for syncs, ask for bulk resyncs, connect, disconnect, withdraw what they granted.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use reqwest::Method;
use serde_json::Value;

use crate::books::{Books, Request, Told};
use crate::support::client::{Answer, Client};
use crate::support::sandbox::{SCOPES, TestSandbox, callback_of};

/// What the API waits by itself (`METRIQLAB_SYNC_WAIT`).
const DEFAULT_WAIT: Duration = Duration::from_secs(25);
/// How often what should come is looked for.
const LOOK: Duration = Duration::from_millis(200);
/// How long a creator that withdrew its consent is watched before it consents again.
const NOTICE_WITHIN: Duration = Duration::from_secs(20);

/// An account on TikTok, and our creator for it while it is connected.
#[derive(Debug, Clone)]
pub struct Account {
    pub open_id: String,
    pub videos: usize,
    pub creator: Option<String>,
}

/// The clients' side of the soak.
pub struct Load<'a> {
    /// One for each API process.
    pub clients: &'a [Client],
    pub sandbox: &'a TestSandbox,
    pub books: &'a Books,
    /// All accounts; each has its place for good.
    pub accounts: Mutex<Vec<Account>>,
    /// When no more is asked for.
    pub until: Instant,
}

impl Load<'_> {
    fn client(&self) -> &Client {
        self.clients.choose(&mut rand::rng()).expect("an API")
    }

    pub fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }

    pub fn all(&self) -> Vec<Account> {
        self.accounts.lock().expect("no panic under the lock").clone()
    }

    fn set_creator(&self, place: usize, creator: Option<String>) {
        self.accounts.lock().expect("no panic under the lock")[place].creator = creator;
    }

    /// Sends a request; `None` if no answer comes at all.
    async fn ask(&self, method: Method, path: &str, prefer: Option<&str>) -> Option<Answer> {
        let client = self.client();
        let mut request = client.request(method, path);
        if let Some(prefer) = prefer {
            request = request.header("Prefer", prefer);
        }
        let response = request.send().await.ok()?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = serde_json::from_slice(&response.bytes().await.ok()?).unwrap_or(Value::Null);
        Some(Answer { status, headers, body })
    }

    /// Asks for a sync or a disconnect, and books the answer; its status, and the job of a 202.
    pub async fn request(&self, request: Request, creator: &str, prefer: Option<u64>) -> (u16, Option<String>) {
        let (method, path) = match request {
            Request::Sync => (Method::POST, format!("/api/v1/creators/{creator}/sync")),
            Request::Disconnect => (Method::DELETE, format!("/api/v1/creators/{creator}")),
        };
        let header = prefer.map(|seconds| match seconds {
            0 => "respond-async".to_owned(),
            seconds => format!("wait={seconds}"),
        });
        let asked = SystemTime::now();
        let answer = self.ask(method, &path, header.as_deref()).await;
        let status = answer.as_ref().map_or(0, |answer| answer.status.as_u16());
        let job = answer.and_then(|answer| answer.body["data"]["jobId"].as_str().map(str::to_owned));
        self.books.told(Told {
            request,
            creator: creator.to_owned(),
            asked,
            answered: SystemTime::now(),
            patience: prefer.map_or(DEFAULT_WAIT, Duration::from_secs),
            status,
            job: job.clone(),
        });
        (status, job)
    }

    /// A client who syncs one creator after the other, and mostly waits.
    pub async fn sync_again_and_again(&self) {
        while self.goes_on() {
            let connected: Vec<String> = self.all().into_iter().filter_map(|account| account.creator).collect();
            if let Some(creator) = connected.choose(&mut rand::rng()) {
                let prefer = [None, None, Some(5), Some(1), Some(0)].choose(&mut rand::rng()).copied().flatten();
                self.request(Request::Sync, creator, prefer).await;
            }
            self.pause(100..600).await;
        }
    }

    /// One bulk resync after the other; the next one when nearly all of the last one is done. Their ids.
    pub async fn resync_all_again_and_again(&self) -> Vec<String> {
        let mut batches = Vec::new();
        while self.goes_on() {
            let Some(answer) = self.ask(Method::POST, "/api/v1/creators/sync", None).await else {
                self.books.wrong("no answer to a bulk resync".to_owned());
                continue;
            };
            self.books.count("bulk resync", answer.status.as_u16());
            let Some(batch) = answer.body["data"]["batchId"].as_str().map(str::to_owned) else {
                self.pause(500..1_000).await;
                continue;
            };
            batches.push(batch.clone());
            while self.goes_on() && !self.is_nearly_done(&batch).await {
                tokio::time::sleep(LOOK).await;
            }
        }
        batches
    }

    async fn is_nearly_done(&self, batch: &str) -> bool {
        let answer = self.ask(Method::GET, &format!("/api/v1/batches/{batch}"), None).await;
        let Some(batch) = answer.map(|answer| answer.body["data"].clone()) else { return false };
        let number = |name: &str| batch[name].as_i64();
        match (number("total"), number("queued"), number("running")) {
            (Some(total), Some(queued), Some(running)) => 10 * (queued + running) <= total,
            _ => false,
        }
    }

    /// A creator who comes and goes, and now and then takes its consent back at TikTok.
    pub async fn come_and_go(&self, place: usize) {
        let open_id = self.all()[place].open_id.clone();
        let mut is_leaving = false;
        while self.goes_on() {
            let began = SystemTime::now();
            let creator = self.connect(place, &open_id).await;
            if is_leaving {
                self.books.consents_in_a_hurry(&creator, began);
            }
            self.pause(1_000..4_000).await;
            if rand::rng().random_bool(0.3) {
                self.withdraw_and_consent_again(place, &open_id, &creator).await;
            }
            if self.goes_on() {
                is_leaving = !self.disconnect(place, &open_id, &creator).await;
            }
        }
    }

    /// Connects an account, at the first try or at a later one, also when the soak is over meanwhile: then every account
    /// is either connected or disconnected.
    pub async fn connect(&self, place: usize, open_id: &str) -> String {
        loop {
            let began = SystemTime::now();
            let connected = try_connect(self.sandbox, self.client(), open_id).await;
            self.books.count("connect", connected.as_ref().map_or_else(|status| *status, |_| 200));
            match connected {
                Ok(creator) => {
                    self.set_creator(place, Some(creator.clone()));
                    return creator;
                }
                // TikTok failed, or Postgres did.
                Err(400 | 502) => {}
                Err(503) if self.books.postgres_is_away(began, SystemTime::now()) => {}
                Err(status) => {
                    self.books.wrong(format!("a connect of {open_id} at {began:?} was answered with {status}"));
                }
            }
            self.pause(200..500).await;
        }
    }

    async fn withdraw_and_consent_again(&self, place: usize, open_id: &str, creator: &str) {
        self.books.withdraws(creator);
        self.sandbox.withdraw(open_id).await;
        let began = Instant::now();
        while began.elapsed() < NOTICE_WITHIN && self.goes_on() {
            if self.request(Request::Sync, creator, None).await.0 == 409 {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        let again = self.connect(place, open_id).await;
        if again != creator {
            self.books.wrong(format!("{creator} came back as {again}"));
        }
        self.books.consents_again(creator);
    }

    /// Disconnects a creator; whether its authorization is known to be revoked by now. Sometimes that is not waited for.
    async fn disconnect(&self, place: usize, open_id: &str, creator: &str) -> bool {
        let prefer = [None, None, Some(1), Some(0)].choose(&mut rand::rng()).copied().flatten();
        let (status, job) = loop {
            let (status, job) = self.request(Request::Disconnect, creator, prefer).await;
            if status != 503 {
                break (status, job);
            }
            self.pause(200..500).await;
        };
        self.set_creator(place, None);
        let read = self.ask(Method::GET, &format!("/api/v1/creators/{creator}"), None).await;
        if read.is_none_or(|read| !matches!(read.status.as_u16(), 404 | 503)) {
            self.books.wrong(format!("{creator} can be read after its disconnect was accepted"));
        }
        let mut is_revoked = status == 200;
        if let Some(job) = job.filter(|_| rand::rng().random_bool(0.5)) {
            is_revoked = self.is_done_in_time(&job).await;
        }
        if is_revoked && self.sandbox.is_granted(open_id).await {
            self.books.wrong(format!("{creator} is disconnected, and its authorization lives"));
        }
        is_revoked
    }

    /// Whether a job is done before the soak ends.
    async fn is_done_in_time(&self, job: &str) -> bool {
        let path = format!("/api/v1/jobs/{job}");
        while self.goes_on() {
            if let Some(answer) = self.ask(Method::GET, &path, None).await
                && answer.body["data"]["status"] == "done"
            {
                return true;
            }
            tokio::time::sleep(LOOK).await;
        }
        false
    }

    async fn pause(&self, milliseconds: std::ops::Range<u64>) {
        let pause = Duration::from_millis(rand::rng().random_range(milliseconds));
        let left = self.until.saturating_duration_since(Instant::now());
        tokio::time::sleep(pause.min(left.max(LOOK))).await;
    }
}

/// Connects a creator; our id for it, or the status of the answer that was none of the right ones. 0: none came.
async fn try_connect(sandbox: &TestSandbox, client: &Client, open_id: &str) -> Result<String, u16> {
    let status = |error: reqwest::Error| error.status().map_or(0, |status| status.as_u16());
    let ask = async |request: reqwest::RequestBuilder| -> Result<Value, u16> {
        let response = request.send().await.map_err(status)?.error_for_status().map_err(status)?;
        response.json().await.map_err(status)
    };
    let started = ask(client.request(Method::POST, "/api/v1/connect/tiktok")).await?;
    let auth_url = started["data"]["authUrl"].as_str().ok_or(0_u16)?;
    let callback = callback_of(client, &sandbox.consent(auth_url, open_id, &SCOPES).await);
    let page = callback.send().await.map_err(status)?.status().as_u16();
    if page != 200 {
        return Err(page);
    }
    let path = format!("/api/v1/creators?externalId={open_id}");
    loop {
        match ask(client.request(Method::GET, &path)).await {
            Ok(listed) => return listed["data"][0]["id"].as_str().map(str::to_owned).ok_or(0),
            // It is connected; which id it has is asked for until that can be read.
            Err(503) => tokio::time::sleep(LOOK).await,
            Err(status) => return Err(status),
        }
    }
}
