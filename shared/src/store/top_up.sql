-- Of each of the projects $1, the oldest that wait, up to $2 with those that Redis has. Reads no more of any than that.
WITH picked AS (
    SELECT job.id
    FROM unnest($1::uuid[]) AS project (id)
    CROSS JOIN LATERAL (
        SELECT count(*) AS jobs FROM (
            -- By the index of these; as in feed.sql, `=` would leave Postgres the choice.
            SELECT FROM jobs
            WHERE project_id BETWEEN project.id AND project.id
                AND state IN ('enqueued', 'running', 'retrying') AND lane = 'bulk'
            ORDER BY project_id LIMIT $2
        ) AS counted
    ) AS held
    CROSS JOIN LATERAL (
        SELECT id FROM jobs
        WHERE state = 'waiting' AND project_id BETWEEN project.id AND project.id
        ORDER BY project_id, id LIMIT $2 - held.jobs
        FOR UPDATE SKIP LOCKED
    ) AS job
)
UPDATE jobs SET state = 'enqueued'
WHERE jobs.id = ANY (ARRAY(SELECT id FROM picked))
RETURNING jobs.id, jobs.project_id, jobs.kind, jobs.trace
