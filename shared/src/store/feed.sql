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
share AS (SELECT GREATEST($4, $3 / GREATEST(1, count(project_id))) AS jobs FROM turn),
-- Only where the projects have a bound each: a walk over what Redis has, which is little.
held AS MATERIALIZED (
    SELECT project_id, count(*) AS jobs FROM jobs
    WHERE $5::bigint IS NOT NULL AND state IN ('enqueued', 'running', 'retrying') AND lane = 'bulk'
    GROUP BY project_id
),
picked AS (
    SELECT job.id
    FROM turn CROSS JOIN LATERAL (
        SELECT id FROM jobs
        WHERE state = 'waiting' AND project_id = turn.project_id
        ORDER BY id LIMIT (
            -- LEAST leaves out what is null: without a bound, it is the share.
            SELECT GREATEST(0, LEAST(share.jobs, $5::bigint - COALESCE(
                (SELECT held.jobs FROM held WHERE held.project_id = turn.project_id), 0
            ))) FROM share
        )
        FOR UPDATE SKIP LOCKED
    ) AS job
    WHERE turn.project_id IS NOT NULL
)
UPDATE jobs SET state = 'enqueued', run_at = now()
FROM picked
WHERE jobs.id = picked.id
RETURNING jobs.id, jobs.project_id, jobs.kind, jobs.trace
