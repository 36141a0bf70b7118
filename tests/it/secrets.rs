//! Secrets appear in no log, no metric, no dump of Postgres or Redis.

use std::process::Stdio;

use serde_json::json;

use crate::support::System;
use crate::support::system::{CLIENT_SECRET, ENCRYPTION_KEY};

/// All there is, also for the one crate that would write values.
const LOUDEST: &str = "trace,tokio_postgres=trace,tokio_postgres::query=trace";

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_log_a_metric_or_a_dump() {
    let system = System::builder().set("RUST_LOG", LOUDEST).set("TIKTOK_PKCE", "hex").start().await;
    let open_id = system.sandbox.user(30).await;
    let state = system.client.post("/api/v1/connect/tiktok").await.data(200)["state"].as_str().unwrap().to_owned();
    let id = system.connect(&open_id).await;
    system.client.sync(&id).await;
    // Failures talk more than successes do.
    for kind in ["internal_error", "bad_gateway", "truncated", "reset"] {
        system.sandbox.fault(json!({"endpoint": "user_info", "kind": kind, "times": 1})).await;
        system.client.sync(&id).await;
    }
    let sql = system.sql().await;
    sql.execute("UPDATE credentials SET issued_at = now() - interval '2h', access_expires_at = now()", &[])
        .await
        .unwrap();
    system.client.sync(&id).await;
    system.sandbox.fault(json!({"endpoint": "token", "kind": "internal_error", "times": 1})).await;
    let other = system.sandbox.user(1).await;
    system.sandbox.connect_may_fail(&system.client, &other).await;
    let metrics = system.client.get("/metrics").await.body.to_string();

    let mut secrets = vec![
        system.client.key.clone(),
        CLIENT_SECRET.to_owned(),
        ENCRYPTION_KEY.to_owned(),
        "0123456789abcdef0123456789abcdef".to_owned(),
        state,
    ];
    let tokens = stored_tokens(&system).await;
    assert_eq!(tokens.len(), 2, "an access and a refresh token");
    secrets.extend(tokens);

    let dump = tokio::process::Command::new("pg_dump")
        .arg(&system.database_url)
        .stdin(Stdio::null())
        .output()
        .await
        .expect("run pg_dump");
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let dump = String::from_utf8_lossy(&dump.stdout).into_owned();
    assert!(dump.contains("credentials"), "the dump is one");
    let redis = dump_redis(&system.redis_url).await;
    let logs = system.logs();
    assert!(
        logs.contains("kind=sync") && logs.contains("endpoint=\"video_list\""),
        "the logs are there, of worker and client"
    );
    let verifier: String = sql.query_one("SELECT pkce_verifier FROM oauth_states", &[]).await.unwrap().get(0);
    let parameter = decimal(&verifier);
    assert!(!logs.contains(&verifier) && !logs.contains(&parameter), "a log holds a verifier");
    for (place, text) in [("a log", &logs), ("a metric", &metrics), ("Postgres", &dump), ("Redis", &redis)] {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{place} holds a secret that begins with {}", &secret[..6]);
            // As bytea, Postgres shows bytes in hex.
            assert!(!text.contains(&hex::encode(secret)), "{place} holds a secret in hex");
            assert!(!text.contains(&decimal(secret)), "{place} holds a secret in decimal");
        }
    }
}

/// Bytes as `Debug` shows them.
fn decimal(text: &str) -> String {
    text.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ")
}

/// Every key and value that Redis holds, of whatever type.
async fn dump_redis(url: &str) -> String {
    let client = redis::Client::open(url).expect("a Redis URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("connect to Redis");
    let mut text = String::new();
    let mut cursor = 0_u64;
    loop {
        let (next, keys): (u64, Vec<String>) =
            redis::cmd("SCAN").arg(cursor).arg("COUNT").arg(500).query_async(&mut connection).await.expect("scan");
        for key in keys {
            let value: Option<Vec<u8>> =
                redis::cmd("DUMP").arg(&key).query_async(&mut connection).await.expect("dump a key");
            text.push_str(&key);
            text.push_str(&String::from_utf8_lossy(&value.unwrap_or_default()));
        }
        cursor = next;
        if cursor == 0 {
            return text;
        }
    }
}

/// The tokens that the system holds now, opened with the key that the test gave it.
async fn stored_tokens(system: &System) -> Vec<String> {
    use secrecy::ExposeSecret;
    let ring: shared::crypto::KeyRing = ENCRYPTION_KEY.parse().expect("the key");
    let query = "SELECT platform, app, external_id, access_token, refresh_token FROM credentials ORDER BY id LIMIT 1";
    let row = system.sql().await.query_one(query, &[]).await.expect("the tokens");
    let (platform, app, external_id): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
    let (access, refresh): (Vec<u8>, Vec<u8>) = (row.get(3), row.get(4));
    [("access_token", access), ("refresh_token", refresh)]
        .into_iter()
        .map(|(column, sealed)| {
            let identity = format!("{platform}\0{app}\0{external_id}\0{column}");
            ring.open(&sealed, &identity).expect("a token").expose_secret().to_owned()
        })
        .collect()
}
