-- The first $2 projects after $1 that have something waiting, one index probe each.
WITH RECURSIVE turn AS (
    (SELECT project_id, 1 AS place FROM jobs WHERE state = 'waiting' AND project_id > $1 ORDER BY project_id LIMIT 1)
    UNION ALL
    SELECT (
        SELECT jobs.project_id FROM jobs
        WHERE jobs.state = 'waiting' AND jobs.project_id > turn.project_id ORDER BY jobs.project_id LIMIT 1
    ), place + 1
    FROM turn WHERE turn.project_id IS NOT NULL AND place < $2
)
SELECT project_id AS id FROM turn WHERE project_id IS NOT NULL ORDER BY place
