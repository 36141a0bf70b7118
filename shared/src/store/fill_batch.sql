WITH batch AS (SELECT * FROM batches WHERE id = $1),
chosen AS (
    SELECT id, project_id, status
    FROM creators
    WHERE id = ANY ($2) AND project_id = (SELECT project_id FROM batch) AND disconnecting_at IS NULL
        AND ((SELECT platform FROM batch) IS NULL OR platform = (SELECT platform FROM batch))
        AND ((SELECT stale_before FROM batch) IS NULL OR last_synced_at IS NULL
            OR last_synced_at < (SELECT stale_before FROM batch))
    ORDER BY connected_at, id
),
made AS (
    INSERT INTO jobs (id, kind, lane, creator_id, project_id, state, batched, trace)
    SELECT uuid_v7(), 'sync', 'bulk', id, project_id, 'waiting', true, (SELECT trace FROM batch)
    FROM chosen WHERE status = 'ACTIVE'
    -- A job of the schedule is of this request from here on.
    ON CONFLICT (creator_id, kind) WHERE state IN ('waiting', 'enqueued', 'running', 'retrying')
    DO UPDATE SET batched = true, trace = COALESCE(jobs.trace, excluded.trace)
    RETURNING id, xmax = 0 AS is_new
),
counted AS (
    INSERT INTO batch_jobs (job_id, batch_id) SELECT id, $1 FROM made
)
UPDATE batches SET
    total = (SELECT count(*) FROM chosen),
    members = (SELECT count(*) FROM chosen WHERE status = 'ACTIVE'),
    refused = (SELECT count(*) FROM chosen WHERE status <> 'ACTIVE'),
    expanded_at = now()
WHERE id = $1
RETURNING id, project_id, ARRAY(SELECT id FROM made WHERE is_new) AS made, total AS creators
