//! BullMQ on the same Redis: the peer that our figures stand beside. The script is in `benches/bullmq/`.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use super::{Failure, Figures};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/bullmq");

/// Jobs that it works on at a time, and adds in one call: the best of a few noisy trials, with 50 and 200 at a time and
/// chunks of 500 and 2,000.
const CONCURRENCY: usize = 50;
const CHUNK: usize = 500;

/// Its name with its version, and its figures; `None` if Node or the package is missing.
pub async fn measure(url: &str, jobs: usize, idle_jobs: usize) -> Result<Option<(String, Figures)>, Failure> {
    if !Path::new(FOLDER).join("node_modules/bullmq").exists() {
        return Ok(None);
    }
    let numbers = [jobs, idle_jobs, CONCURRENCY, CHUNK].map(|number| number.to_string());
    let output = tokio::process::Command::new("node")
        .current_dir(FOLDER)
        .args(["bench.mjs", url])
        .args(&numbers)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .await;
    let output = match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        output => output?,
    };
    if !output.status.success() {
        return Err(format!("BullMQ's script: {}", output.status).into());
    }
    let said: Value = serde_json::from_slice(&output.stdout)?;
    let number = |name: &str| said.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let name = format!("BullMQ {}", said.get("version").and_then(Value::as_str).unwrap_or_default());
    let figures = Figures {
        enqueued: number("enqueued"),
        acknowledged: number("acknowledged"),
        p50: number("p50"),
        p99: number("p99"),
    };
    Ok(Some((name, figures)))
}
