-- What waits in Postgres; $1 is the most rows that any part of it reads. The conditions are those of the indexes
-- `jobs_waiting`, `jobs_dead` and `creators_due`.
WITH RECURSIVE first AS (
    -- Of each project the job that waits longest, one index probe each.
    (SELECT project_id, created_at, 1 AS place FROM jobs WHERE state = 'waiting' ORDER BY project_id, id LIMIT 1)
    UNION ALL
    SELECT next.project_id, next.created_at, place + 1
    FROM first CROSS JOIN LATERAL (
        SELECT project_id, created_at FROM jobs
        WHERE state = 'waiting' AND project_id > first.project_id ORDER BY project_id, id LIMIT 1
    ) AS next
    WHERE place < 1000
)
SELECT
    (SELECT extract(epoch FROM now() - min(created_at))::double precision FROM first) AS oldest,
    (SELECT count(*) FROM (SELECT FROM jobs WHERE state = 'waiting' LIMIT $1) AS waiting) AS waiting,
    dead.revoke AS dead_revoke,
    dead.sync AS dead_sync,
    dead.bulk AS dead_bulk,
    (SELECT count(*) FROM (
        SELECT FROM creators
        WHERE next_sync_at <= now() AND next_sync_at IS NOT NULL AND disconnecting_at IS NULL AND status = 'ACTIVE'
        LIMIT $1
    ) AS due) AS due,
    (SELECT extract(epoch FROM now() - min(next_sync_at))::double precision FROM creators
        WHERE next_sync_at IS NOT NULL AND disconnecting_at IS NULL AND status = 'ACTIVE') AS lag
FROM (
    SELECT count(*) FILTER (WHERE lane = 'revoke') AS revoke,
        count(*) FILTER (WHERE lane = 'sync') AS sync,
        count(*) FILTER (WHERE lane = 'bulk') AS bulk
    FROM (SELECT lane FROM jobs WHERE state = 'failed' LIMIT $1) AS failed
) AS dead
