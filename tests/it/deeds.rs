//! What the command line does has its lines in the audit log.

use std::collections::BTreeSet;

use secrecy::SecretString;
use shared::ids::{CreatorId, JobId};
use shared::store::Store;
use shared::store::sessions::NewSession;

use crate::support::System;

/// Makes a job of the project that was given up; of a creator that is connected, if there is one.
async fn dead_job(system: &System, creator: &str) -> String {
    let id = JobId::new();
    let insert = format!(
        "INSERT INTO jobs (id, kind, lane, creator_id, project_id, state, attempts, error_code, finished_at)
        SELECT '{id}', 'sync', 'bulk', '{creator}', id, 'failed', 8, 'internal', now() FROM projects ORDER BY id LIMIT 1"
    );
    system.sql().await.batch_execute(&insert).await.expect("a dead job");
    id.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_leaves_its_lines() {
    let system = System::builder().workers(0).start().await;
    let sql = system.sql().await;
    let creator = system.connect(&system.sandbox.user(1).await).await;
    let ended = "UPDATE jobs SET state = 'done', finished_at = now() WHERE finished_at IS NULL";
    sql.batch_execute(ended).await.expect("the first sync is over");
    let project: String =
        sql.query_one("SELECT id::text FROM projects ORDER BY id LIMIT 1", &[]).await.expect("a project").get(0);
    let key = system.run(&["keys", "create", "--project", &project]).await;
    system.run(&["keys", "revoke", &key.trim()[..12]]).await;
    for word in ["pause", "resume", "drain"] {
        system.run(&["queue", word, "bulk"]).await;
    }
    let gone = CreatorId::new().to_string();
    system.run(&["jobs", "discard", &dead_job(&system, &gone).await]).await;
    dead_job(&system, &creator).await;
    system.run(&["jobs", "retry", "--dead", "--project", &project]).await;
    sql.batch_execute(ended).await.expect("it is over");
    dead_job(&system, &creator).await;
    system.run(&["jobs", "retry", "--dead"]).await;
    sql.batch_execute(ended).await.expect("it is over");
    system.run(&["jobs", "retry", &dead_job(&system, &creator).await]).await;
    system.run(&["resync", "--project", &project]).await;
    // The second changes nothing.
    for _ in 0..2 {
        system.run(&["resync", "--project", &project, "--every", "6h"]).await;
    }
    system.run(&["resync", "--project", &project, "--every", "default"]).await;
    system.run(&["users", "create", "ada@example.com", "--project", &project]).await;
    system.run(&["users", "create", "ada@example.com", "--no-operator"]).await;
    let lines = "SELECT DISTINCT action, project_id IS NOT NULL FROM audit_log WHERE actor = 'command line'";
    let lines = sql.query(lines, &[]).await.expect("the log");
    let seen: BTreeSet<(String, bool)> = lines.iter().map(|line| (line.get(0), line.get(1))).collect();
    let expected = [
        ("dead_jobs_retried", false),
        ("dead_jobs_retried", true),
        ("job_discarded", true),
        ("job_retried", true),
        ("key_created", true),
        ("key_revoked", true),
        ("lane_drained", false),
        ("lane_paused", false),
        ("lane_resumed", false),
        ("member_added", true),
        ("operator_made", false),
        ("operator_unmade", false),
        ("password_link_made", false),
        ("project_resync_changed", true),
        ("resync_begun", true),
    ];
    assert_eq!(seen, expected.map(|(action, in_project)| (action.to_owned(), in_project)).into());
    let words = "SELECT string_agg(subject, ', ' ORDER BY id) FROM audit_log WHERE action = 'project_resync_changed'";
    let words: String = sql.query_one(words, &[]).await.expect("the log").get(0);
    assert_eq!(words, "6h, the default");
    let told = "SELECT string_agg(actor || action || subject, ' ') FROM audit_log";
    let told: String = sql.query_one(told, &[]).await.expect("the log").get(0);
    assert!(!told.contains(key.trim()), "its first characters alone");
}

/// Anybody who is let into some project makes an account, under any address.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_is_given_to_whom_the_link_goes_and_not_to_who_has_made_the_account() {
    let system = System::builder().workers(0).start().await;
    let store = Store::open(&SecretString::from(system.database_url.clone()), 1).expect("a store");
    let email = "boss@example.com".parse().expect("an address");
    for rights in [&["--operator"][..], &["--project", "theirs"]] {
        let user = store.add_password_link(&email, &[1; 32]).await.expect("a link");
        store.use_password_link(&[1; 32], "a squatter's").await.expect("set").expect("a link that works");
        let session = NewSession { hash: &[2; 32], user, password: "a squatter's", browser: "", address: "" };
        assert!(store.add_session(&session).await.expect("an answer"), "signed in");
        // A link alone gives no right: until it is used, nothing has changed.
        system.run(&["users", "create", "boss@example.com", "--no-operator"]).await;
        assert!(store.session_by_hash(&[2; 32]).await.expect("an answer").is_some());
        let output = system.output(&[&["users", "create", "boss@example.com"], rights].concat()).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.contains("there was an account with this address"), "{said}");
        assert!(store.session_by_hash(&[2; 32]).await.expect("an answer").is_none(), "{rights:?}");
        assert_eq!(store.user_by_email(&email).await.expect("an answer").expect("a user").password, None);
        assert!(!store.add_session(&session).await.expect("an answer"), "{rights:?}");
        let operators = "SELECT count(*) FROM users WHERE operator";
        let operators: i64 = system.sql().await.query_one(operators, &[]).await.expect("a count").get(0);
        assert_eq!(operators, i64::from(rights == ["--operator"]), "{rights:?}: what was given, and nothing else");
    }
}
