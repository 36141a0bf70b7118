//! What Postgres witnessed: triggers of the soak's own write down every start and end of a job, and every write of a sync,
//! in the transaction that does it. The verdicts are queries over that.

use std::time::SystemTime;

use tokio_postgres::Client;

/// Installs the witness. Do it before the first job is made.
pub async fn install(sql: &Client) {
    sql.batch_execute(include_str!("audit.sql")).await.expect("install the witness");
}

/// How many of what must never happen did, and what happened besides.
#[derive(Debug, Default)]
pub struct Witnessed {
    pub made: i64,
    pub done: i64,
    pub failed: i64,
    pub cancelled: i64,
    pub revoked: i64,
    pub starts: i64,
    /// Jobs without a last word.
    pub lost: i64,
    /// Jobs with two last words, or with one that was altered; starts that ended twice; done syncs whose result was not
    /// written exactly once, in the same transaction; results without a done sync.
    pub doubled: i64,
    /// Writes by a worker that did not hold the job at that instant.
    pub zombies: i64,
}

impl Witnessed {
    pub async fn read(sql: &Client) -> Self {
        let count = async |query: &str| -> i64 { sql.query_one(query, &[]).await.expect("ask the witness").get(0) };
        let ended = |event: &str| format!("SELECT count(*) FROM soak.events WHERE kind = 'sync' AND event = '{event}'");
        Self {
            made: count(&ended("made")).await,
            done: count(&ended("done")).await,
            failed: count(&ended("failed")).await,
            cancelled: count(&ended("cancelled")).await,
            revoked: count("SELECT count(*) FROM soak.events WHERE kind = 'revoke' AND event = 'done'").await,
            starts: count("SELECT count(*) FROM soak.events WHERE event = 'started'").await,
            lost: count(LOST).await,
            doubled: count(ENDED_TWICE).await + count(CLAIM_TWICE).await + count(RESULT_NOT_ONCE).await,
            zombies: count(ZOMBIE_WRITES).await + count(ZOMBIE_ENDS).await,
        }
    }
}

const LOST: &str = "
    SELECT count(*) FROM soak.events AS made
    WHERE event = 'made' AND NOT EXISTS (
        SELECT 1 FROM soak.events AS word WHERE word.job = made.job AND word.event IN ('done', 'failed', 'cancelled'))";

const ENDED_TWICE: &str = "
    SELECT count(*) FROM (
        SELECT job FROM soak.events WHERE event IN ('done', 'failed', 'cancelled', 'altered')
        GROUP BY job HAVING count(*) > 1) AS jobs";

/// A claim is started once, and ended by its worker once at most: with the job, or with its return to the queue.
const CLAIM_TWICE: &str = "
    SELECT count(*) FROM (
        SELECT job, claim FROM soak.events WHERE event <> 'made' AND writer LIKE 'worker-%'
        GROUP BY job, claim, event = 'started' HAVING count(*) > 1) AS claims";

const RESULT_NOT_ONCE: &str = "
    SELECT count(*) FROM
        (SELECT xact, creator FROM soak.events WHERE kind = 'sync' AND event = 'done') AS done
        FULL JOIN (SELECT xact, creator, count(*) AS times FROM soak.writes WHERE what = 'result' GROUP BY xact, creator)
            AS results USING (xact, creator)
    WHERE times IS DISTINCT FROM 1 OR done.xact IS NULL";

const ZOMBIE_WRITES: &str = "SELECT count(*) FROM soak.writes WHERE holder IS DISTINCT FROM writer";

const ZOMBIE_ENDS: &str = "
    SELECT count(*) FROM soak.events AS ending
    WHERE writer LIKE 'worker-%' AND event IN ('done', 'failed', 'cancelled', 'returned', 'altered') AND NOT EXISTS (
        SELECT 1 FROM soak.events AS start
        WHERE start.job = ending.job AND start.claim = ending.claim AND start.event = 'started'
            AND start.writer = ending.writer)";

/// A job that a worker held at its end, and its next start.
#[derive(Debug)]
pub struct Recovery {
    /// The worker's end.
    pub at: SystemTime,
    pub worker: String,
    pub job: String,
    pub kind: String,
    /// How often the job had been started by then.
    pub starts: i64,
    /// Seconds until it was started again.
    pub seconds: f64,
    /// By whom.
    pub next: String,
}

/// What became of each job that these workers held at their ends.
pub async fn recoveries(sql: &Client, ends: &[(String, SystemTime)]) -> Vec<Recovery> {
    let mut found = Vec::new();
    for (worker, at) in ends {
        let rows = sql.query(RECOVERIES, &[worker, at]).await.expect("ask the witness");
        found.extend(rows.iter().map(|row| Recovery {
            at: *at,
            worker: worker.clone(),
            job: row.get(0),
            kind: row.get(1),
            starts: row.get(2),
            seconds: row.get(3),
            next: row.get(4),
        }));
    }
    found
}

const RECOVERIES: &str = "
    SELECT touched.job::text, next.kind,
        (SELECT count(*) FROM soak.events WHERE job = touched.job AND event = 'started' AND seq <= last.seq),
        extract(epoch FROM next.at - $2::timestamptz)::float8, next.writer
    FROM (SELECT DISTINCT job FROM soak.events WHERE writer = $1 AND event = 'started') AS touched
    CROSS JOIN LATERAL (
        SELECT * FROM soak.events WHERE job = touched.job AND at <= $2 ORDER BY seq DESC LIMIT 1) AS last
    CROSS JOIN LATERAL (
        SELECT * FROM soak.events WHERE job = touched.job AND seq > last.seq ORDER BY seq LIMIT 1) AS next
    WHERE last.event = 'started' AND last.writer = $1 AND next.event = 'started'";

/// A last word, or the making of a job, as the witness saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub job: String,
    pub creator: String,
    pub event: String,
    pub at: SystemTime,
}

/// All of `kind` that were made or had their last word.
pub async fn seen(sql: &Client, kind: &str) -> Vec<Seen> {
    let query = "SELECT job::text, creator::text, event, at FROM soak.events \
                 WHERE kind = $1 AND event IN ('made', 'done', 'failed', 'cancelled') ORDER BY seq";
    let rows = sql.query(query, &[&kind]).await.expect("ask the witness");
    rows.iter().map(|row| Seen { job: row.get(0), creator: row.get(1), event: row.get(2), at: row.get(3) }).collect()
}

/// Prints the first of what must never happen.
pub async fn explain(sql: &Client) {
    for (what, query) in [
        ("lost", LOST),
        ("ended twice", ENDED_TWICE),
        ("a claim twice", CLAIM_TWICE),
        ("a result not once", RESULT_NOT_ONCE),
        ("a write of a zombie", ZOMBIE_WRITES),
        ("an end by a zombie", ZOMBIE_ENDS),
    ] {
        // The same rows as were counted, in full.
        let rows =
            format!("SELECT to_jsonb(found)::text FROM ({}) AS found LIMIT 5", query.replacen("count(*)", "*", 1));
        for row in sql.query(&rows, &[]).await.expect("ask the witness") {
            println!("{what}: {}", row.get::<_, String>(0));
        }
    }
}
