WITH dead AS (
    SELECT id, creator_id, kind, lane
    FROM jobs
    WHERE state = 'failed' AND id < $1 AND ($2 IS NULL OR kind = $2) AND ($3 IS NULL OR project_id = $3)
    ORDER BY id DESC
    LIMIT $4
    FOR NO KEY UPDATE SKIP LOCKED
),
judged AS (
    SELECT dead.id,
        CASE
            WHEN creators.id IS NULL THEN 'gone'
            WHEN dead.kind = 'sync' AND disconnecting_at IS NOT NULL THEN 'gone'
            WHEN dead.kind = 'sync' AND status <> 'ACTIVE' THEN 'refused'
            WHEN EXISTS (
                SELECT 1 FROM jobs AS open
                WHERE open.creator_id = dead.creator_id AND open.kind = dead.kind
                    AND open.state IN ('waiting', 'enqueued', 'running', 'retrying')
            ) THEN 'overtaken'
            -- Of several dead jobs of a creator the newest one says it all.
            WHEN row_number() OVER (PARTITION BY dead.creator_id, dead.kind ORDER BY dead.id DESC) > 1 THEN 'overtaken'
            ELSE 'retried'
        END AS verdict
    FROM dead LEFT JOIN creators ON creators.id = dead.creator_id
),
opened AS (
    -- Nobody waits for them, so they wait in Postgres and the feeder takes them to Redis, a few at a time.
    UPDATE jobs SET state = 'waiting', lane = 'bulk', attempts = 0, run_at = now(), finished_at = NULL,
        error_code = NULL, error = NULL, log_id = NULL
    FROM judged
    WHERE jobs.id = judged.id AND verdict = 'retried' AND kind = 'sync'
    RETURNING 1
),
pushed AS (
    -- Of a kind that has a lane of its own: the sweeper finds them there.
    UPDATE jobs SET state = 'enqueued', attempts = 0, run_at = now(), finished_at = NULL,
        error_code = NULL, error = NULL, log_id = NULL
    FROM judged
    WHERE jobs.id = judged.id AND verdict = 'retried' AND kind <> 'sync'
    RETURNING 1
)
SELECT id, verdict FROM judged ORDER BY id DESC
