WITH due AS (
    SELECT id, project_id,
        COALESCE(resync_every, (SELECT resync_every FROM projects WHERE projects.id = creators.project_id), $1) AS longest,
        resync_gap
    FROM creators
    WHERE next_sync_at <= now() AND next_sync_at IS NOT NULL AND disconnecting_at IS NULL AND status = 'ACTIVE'
    ORDER BY next_sync_at
    LIMIT $2
    FOR NO KEY UPDATE SKIP LOCKED
),
made AS (
    INSERT INTO jobs (id, kind, lane, creator_id, project_id, state)
    SELECT uuid_v7(), 'sync', 'bulk', id, project_id, 'waiting' FROM due WHERE longest > 0
    ON CONFLICT DO NOTHING
    RETURNING 1
),
moved AS (
    -- The sync's end says it better; this holds if it fails. Who is paused is looked at again.
    UPDATE creators
    SET next_sync_at = now() + make_interval(secs => CASE
        WHEN due.longest = 0 THEN $3
        ELSE LEAST(COALESCE(due.resync_gap, due.longest), due.longest)
    END)
    FROM due
    WHERE creators.id = due.id
    RETURNING 1
)
SELECT (SELECT count(*) FROM moved) AS looked_at, (SELECT count(*) FROM made) AS made
