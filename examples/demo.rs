//! The README's walk by itself: connect a demo creator, sync it, read it, disconnect it. The consent is done as a browser
//! would do it: fetch the page, fill in its form, follow its redirect.
//!
//! With `METRIQLAB_URL` and `METRIQLAB_API_KEY` it walks through that system; without, through one of its own, which
//! `metriqlab up` starts in a folder that is gone afterwards.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use metriqlab::up::temporary_folder;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::header::LOCATION;
use reqwest::{Client, Method};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use url::Url;

/// Longer than any wait of the API.
const TIMEOUT: Duration = Duration::from_secs(70);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    shared::telemetry::init_tls();
    let given = std::env::var("METRIQLAB_URL").ok().zip(std::env::var("METRIQLAB_API_KEY").ok());
    if let Some((url, key)) = given {
        return walk(&Api::new(&url, &key)?).await;
    }
    let system = System::start().await?;
    let walked = walk(&Api::new(&system.url, &system.key)?).await;
    system.stop().await?;
    walked
}

async fn walk(api: &Api) -> anyhow::Result<()> {
    println!("\n1. Connect. The API says where the creator's browser has to go:");
    let connect = api.call(Method::POST, "/api/v1/connect/tiktok").await?;
    let page = Url::parse(text(&connect, "/authUrl")?)?;

    println!("\n2. Consent, as a browser does it:");
    let (who, callback) = consent(api, &page).await?;
    println!("   TikTok sends the browser back to {}", callback.split('?').next().unwrap_or_default());
    let answer = api.http.get(&callback).send().await?;
    ensure!(answer.status().is_success(), "the callback page answers {}", answer.status());

    println!("\n3. The creator is there. Sync it, which answers when it is done:");
    let creators = api.call(Method::GET, &format!("/api/v1/creators?externalId={who}")).await?;
    let id = text(&creators, "/0/id")?.to_owned();
    let synced = api.call(Method::POST, &format!("/api/v1/creators/{id}/sync")).await?;
    ensure!(synced.pointer("/synced") == Some(&Value::Bool(true)), "not synced: {synced}");

    println!("\n4. Read what is known of it:");
    api.call(Method::GET, &format!("/api/v1/creators/{id}/profile")).await?;
    let videos = api.call(Method::GET, &format!("/api/v1/creators/{id}/videos?limit=2")).await?;
    ensure!(videos.pointer("/items").is_some_and(Value::is_array), "no videos: {videos}");

    println!("\n5. Disconnect it, which revokes the authorization and deletes its data:");
    api.call(Method::DELETE, &format!("/api/v1/creators/{id}")).await?;
    println!("\nDone.");
    Ok(())
}

/// Fills in the sandbox's consent page as it stands and presses "Authorize": the account, and where the browser goes next.
async fn consent(api: &Api, page: &Url) -> anyhow::Result<(String, String)> {
    println!("   GET {}{}?…", page.origin().ascii_serialization(), page.path());
    let html = api.http.get(page.clone()).send().await?.error_for_status()?.text().await?;
    let mut form = checked_inputs(&html);
    let who = form.iter().find(|(name, _)| name == "creator").map(|(_, value)| value.clone());
    let who = who.context("this is not the sandbox's consent page: a real one wants a real browser")?;
    form.push(("action".into(), "allow".into()));
    let answer = api.http.post(page.clone()).form(&form).send().await?;
    let location = answer.headers().get(LOCATION).context("the consent page sends the browser nowhere")?;
    Ok((who, page.join(location.to_str()?)?.into()))
}

/// Name and value of the form's inputs that are checked.
fn checked_inputs(html: &str) -> Vec<(String, String)> {
    let attribute = |tag: &str, name: &str| {
        let (_, rest) = tag.split_once(&format!("{name}=\""))?;
        Some(rest.split_once('"')?.0.replace("&amp;", "&"))
    };
    let tags = html.split("<input").skip(1).filter_map(|rest| rest.split('>').next());
    let checked = tags.filter(|tag| tag.split_whitespace().any(|word| word == "checked"));
    checked.filter_map(|tag| Some((attribute(tag, "name")?, attribute(tag, "value")?))).collect()
}

fn text<'a>(data: &'a Value, pointer: &str) -> anyhow::Result<&'a str> {
    data.pointer(pointer).and_then(Value::as_str).with_context(|| format!("no {pointer} in {data}"))
}

/// The API, and a browser's patience.
struct Api {
    url: String,
    key: String,
    http: Client,
}

impl Api {
    fn new(url: &str, key: &str) -> anyhow::Result<Self> {
        let http = Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(TIMEOUT).build()?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), key: key.to_owned(), http })
    }

    /// Sends a request and shows it with its answer; the answer's `data`.
    async fn call(&self, method: Method, path: &str) -> anyhow::Result<Value> {
        println!("   {method} {path}");
        let request = self.http.request(method, format!("{}{path}", self.url)).header("x-api-key", &self.key);
        let answer = request.send().await.with_context(|| format!("{} does not answer", self.url))?;
        let status = answer.status();
        // As it was sent, so that the order of the fields is the API's.
        let text = answer.text().await?;
        let shown: String = text.chars().take(400).collect();
        let rest = if text.chars().count() > 400 { "…" } else { "" };
        println!("   {status}: {shown}{rest}");
        let body: Value = serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))?;
        ensure!(status.is_success(), "the walk ends here: {body}");
        body.get("data").cloned().with_context(|| format!("no data in {body}"))
    }
}

/// A system of the demo's own.
struct System {
    child: Child,
    url: String,
    key: String,
    _folder: TempDir,
}

impl System {
    async fn start() -> anyhow::Result<Self> {
        let folder = temporary_folder()?;
        let program = program()?;
        let mut command = Command::new(&program);
        // The servers and the app of this environment are not the demo's to fill, nor its addresses the demo's to answer at.
        for (variable, _) in std::env::vars_os() {
            let name = variable.to_string_lossy();
            let is_setting = name.starts_with("METRIQLAB_") || name.starts_with("TIKTOK_");
            if is_setting || matches!(name.as_ref(), "DATABASE_URL" | "REDIS_URL") {
                command.env_remove(&variable);
            }
        }
        command.arg("up").current_dir(folder.path()).env("METRIQLAB_BIND", "127.0.0.1:0").env("RUST_LOG", "warn");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("can't run {}", program.display()))?;
        let mut lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        let (mut url, mut key) = (None, None);
        while let Some(line) = lines.next_line().await? {
            println!("{line}");
            let value = |label: &str| line.trim().strip_prefix(label).map(|value| value.trim().to_owned());
            url = url.or_else(|| value("API  "));
            key = key.or_else(|| value("API key"));
            if line.starts_with("Ctrl-C") {
                break;
            }
        }
        let (Some(url), Some(key)) = (url, key) else { bail!("`metriqlab up` did not start") };
        Ok(Self { child, url, key, _folder: folder })
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(pid) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            kill(Pid::from_raw(pid), Signal::SIGTERM)?;
        }
        self.child.wait().await?;
        Ok(())
    }
}

/// `metriqlab`, which was built beside this example.
fn program() -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let folder = here.parent().and_then(|examples| examples.parent()).context("this example has no folder")?;
    Ok(folder.join("metriqlab"))
}
