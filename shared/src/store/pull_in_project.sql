-- The next creators of the project $1 after ($3, $4), at most $5: turns that lie further off than $2 seconds come inside.
WITH chunk AS (
    SELECT id, connected_at
    FROM creators
    WHERE project_id = $1 AND disconnecting_at IS NULL
        AND (connected_at, id)
            > (COALESCE($3, '-infinity'), COALESCE($4, '00000000-0000-0000-0000-000000000000'))
    ORDER BY connected_at, id
    LIMIT $5
),
moved AS (
    UPDATE creators
    SET next_sync_at = now() + random() * make_interval(secs => $2)
    WHERE id IN (SELECT id FROM chunk) AND resync_every IS NULL AND disconnecting_at IS NULL
        AND next_sync_at > now() + make_interval(secs => $2)
    RETURNING 1
),
last AS (SELECT connected_at, id FROM chunk ORDER BY connected_at DESC, id DESC LIMIT 1)
SELECT (SELECT count(*) FROM chunk) AS looked_at, (SELECT count(*) FROM moved) AS moved,
    (SELECT connected_at FROM last) AS connected_at, (SELECT id FROM last) AS id
