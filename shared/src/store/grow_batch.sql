WITH batch AS (
    -- The oldest of the next project: none waits until the batches of another one are made.
    SELECT * FROM batches WHERE expanded_at IS NULL ORDER BY project_id <= $2, project_id, id LIMIT 1 FOR UPDATE SKIP LOCKED
),
chosen AS (
    SELECT creator.*
    FROM batch CROSS JOIN LATERAL (
        SELECT id, project_id, connected_at, status, COALESCE(last_synced_at >= batch.created_at, false) AS fresh
        FROM creators
        WHERE project_id = batch.project_id AND disconnecting_at IS NULL
            AND (connected_at, id) > (batch.cursor_at, batch.cursor_id)
            AND connected_at <= batch.until_at
            AND (batch.platform IS NULL OR platform = batch.platform)
            AND (batch.stale_before IS NULL OR last_synced_at IS NULL OR last_synced_at < batch.stale_before)
        ORDER BY connected_at, id
        LIMIT $1
    ) AS creator
),
made AS (
    INSERT INTO jobs (id, kind, lane, creator_id, project_id, state, batched, trace)
    SELECT uuid_v7(), 'sync', 'bulk', id, project_id, 'waiting', true, (SELECT trace FROM batch)
    FROM chosen WHERE status = 'ACTIVE' AND NOT fresh
    -- A creator with an open job is counted by that job; one of the schedule is of this request from here on.
    ON CONFLICT (creator_id, kind) WHERE state IN ('waiting', 'enqueued', 'running', 'retrying')
    DO UPDATE SET batched = true, trace = COALESCE(jobs.trace, excluded.trace)
    RETURNING id, xmax = 0 AS is_new
),
counted AS (
    INSERT INTO batch_jobs (job_id, batch_id) SELECT made.id, batch.id FROM made CROSS JOIN batch
),
chunk AS (
    SELECT count(*) AS creators, count(*) FILTER (WHERE status <> 'ACTIVE') AS refused,
        count(*) FILTER (WHERE status = 'ACTIVE' AND fresh) AS fresh, count(*) < $1 AS is_last
    FROM chosen
),
last AS (SELECT connected_at, id FROM chosen ORDER BY connected_at DESC, id DESC LIMIT 1)
UPDATE batches SET
    members = batches.members + chunk.creators - chunk.refused - chunk.fresh,
    -- The job that was open at the request is done by now, or somebody else's: it counts.
    fresh = batches.fresh + chunk.fresh,
    refused = batches.refused + chunk.refused,
    cursor_at = COALESCE((SELECT connected_at FROM last), batches.cursor_at),
    cursor_id = COALESCE((SELECT id FROM last), batches.cursor_id),
    expanded_at = CASE WHEN chunk.is_last THEN now() END,
    -- Who is gone by now, or was synced since.
    missing = CASE WHEN chunk.is_last
        THEN GREATEST(0, batches.total - batches.members - batches.fresh - batches.refused - chunk.creators) ELSE 0 END,
    total = CASE WHEN chunk.is_last
        THEN GREATEST(batches.total, batches.members + batches.fresh + batches.refused + chunk.creators)
        ELSE batches.total END
FROM batch CROSS JOIN chunk
WHERE batches.id = batch.id
RETURNING batches.id, batches.project_id, ARRAY(SELECT id FROM made WHERE is_new) AS made, chunk.creators
