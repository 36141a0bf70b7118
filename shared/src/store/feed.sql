WITH RECURSIVE turn AS (
    -- The projects that have something waiting, one index probe each.
    (SELECT project_id, 1 AS place FROM jobs WHERE state = 'waiting' AND project_id > $1 ORDER BY project_id LIMIT 1)
    UNION ALL
    SELECT (
        SELECT jobs.project_id FROM jobs
        WHERE jobs.state = 'waiting' AND jobs.project_id > turn.project_id ORDER BY jobs.project_id LIMIT 1
    ), place + 1
    FROM turn WHERE turn.project_id IS NOT NULL AND place < $2
),
share AS (SELECT CASE WHEN $4 THEN $3 ELSE GREATEST(1, $3 / GREATEST(1, count(project_id))) END AS jobs FROM turn),
picked AS (
    SELECT job.id
    FROM turn CROSS JOIN LATERAL (
        SELECT id FROM jobs
        WHERE state = 'waiting' AND project_id = turn.project_id
        ORDER BY id LIMIT (SELECT jobs FROM share)
        FOR UPDATE SKIP LOCKED
    ) AS job
    WHERE turn.project_id IS NOT NULL
        -- Newcomers alone: a walk over what Redis has, which is little.
        AND (NOT $4 OR turn.project_id NOT IN (
            SELECT project_id FROM jobs WHERE state IN ('enqueued', 'running', 'retrying') AND lane = 'bulk'
        ))
)
UPDATE jobs SET state = 'enqueued', run_at = now()
FROM picked
WHERE jobs.id = picked.id
RETURNING jobs.id, jobs.project_id, jobs.kind, jobs.trace
