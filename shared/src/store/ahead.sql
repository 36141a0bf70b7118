-- What lies before the end of a batch of the project $1: for each project that has bulk syncs open, how many, and the pages of
-- one of them. At most $2 projects are looked at, and $3 waiting jobs of the batch's own are counted, as of the others.
WITH RECURSIVE turn AS (
    -- The projects that have something waiting, one index probe each.
    (SELECT project_id, 1 AS place FROM jobs WHERE state = 'waiting' ORDER BY project_id LIMIT 1)
    UNION ALL
    SELECT (
        SELECT jobs.project_id FROM jobs
        WHERE jobs.state = 'waiting' AND jobs.project_id > turn.project_id ORDER BY jobs.project_id LIMIT 1
    ), place + 1
    FROM turn WHERE turn.project_id IS NOT NULL AND place < $2
),
known AS (SELECT project_id FROM turn WHERE project_id IS NOT NULL UNION SELECT $1),
counted AS (
    SELECT project_id, sum(jobs) AS jobs
    FROM (
        SELECT project_id, (
            SELECT count(*) FROM (
                -- In the index's order, so that no more than these are read.
                SELECT FROM jobs WHERE state = 'waiting' AND jobs.project_id = known.project_id
                ORDER BY id
                LIMIT CASE WHEN known.project_id = $1 THEN $3 ELSE $3 / (SELECT count(*) FROM known) END
            ) AS waiting
        ) AS jobs
        FROM known
        UNION ALL
        -- What Redis has, which is little.
        SELECT project_id, count(*) FROM jobs
        WHERE state IN ('enqueued', 'running', 'retrying') AND lane = 'bulk' GROUP BY project_id
    ) AS parts
    GROUP BY project_id
),
-- Batches share jobs, so of several the largest; it may have none yet, or more than were counted.
largest AS (
    SELECT project_id, max(total - fresh - refused - missing - settled) AS jobs
    FROM batches CROSS JOIN LATERAL (
        SELECT COALESCE(sum(done + failed + cancelled), 0) AS settled FROM batch_counts WHERE batch_id = batches.id
    ) AS counts
    WHERE finished_at IS NULL
    GROUP BY project_id
),
ahead AS (
    SELECT project_id, GREATEST(0, counted.jobs, largest.jobs)::bigint AS syncs
    FROM counted FULL JOIN largest USING (project_id)
)
SELECT project_id = $1 AS own, syncs, pages
FROM ahead CROSS JOIN LATERAL (
    SELECT COALESCE(avg(GREATEST(1, ceil(COALESCE(video_count, 0) / 20.0))), 1)::float8 AS pages
    FROM (
        SELECT video_count FROM creators
        WHERE creators.project_id = ahead.project_id AND disconnecting_at IS NULL
        ORDER BY connected_at, id
        LIMIT CASE WHEN ahead.project_id = $1 THEN 100 ELSE 10 END
    ) AS few
) AS sample
