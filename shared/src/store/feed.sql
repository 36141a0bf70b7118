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
share AS (SELECT GREATEST(1, $3 / GREATEST(1, count(project_id))) AS jobs FROM turn),
picked AS (
    SELECT job.id
    FROM turn CROSS JOIN LATERAL (
        -- By the index of what waits, and its order: given `=`, Postgres may read the jobs by their ids instead, the oldest first,
        -- of which most are done.
        SELECT id FROM jobs
        WHERE state = 'waiting' AND project_id BETWEEN turn.project_id AND turn.project_id
        ORDER BY project_id, id LIMIT (SELECT jobs FROM share)
        FOR UPDATE SKIP LOCKED
    ) AS job
    WHERE turn.project_id IS NOT NULL
)
-- An array: Postgres takes it for a few ids and looks each up, where of a subquery it expects as many as half of what waits, and
-- reads the whole table.
UPDATE jobs SET state = 'enqueued'
WHERE jobs.id = ANY (ARRAY(SELECT id FROM picked))
RETURNING jobs.id, jobs.project_id, jobs.kind, jobs.trace
