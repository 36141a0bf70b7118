-- Where the syncs of some creators stand: of each the open one; else the one that was given up last, unless a sync was done since.
SELECT asked.creator, found.id AS job, found.state, found.error_code, found.error, found.log_id
FROM unnest($1) AS asked (creator)
CROSS JOIN LATERAL (
    (
        SELECT id, state, error_code, error, log_id, finished_at
        FROM jobs
        WHERE creator_id = asked.creator AND kind = 'sync' AND state IN ('waiting', 'enqueued', 'running', 'retrying')
    )
    UNION ALL
    (
        SELECT jobs.id, state, error_code, error, log_id, finished_at
        FROM jobs JOIN creators ON creators.id = creator_id
        WHERE creator_id = asked.creator AND kind = 'sync' AND state = 'failed'
            AND (last_synced_at IS NULL OR finished_at > last_synced_at)
        ORDER BY finished_at DESC
        LIMIT 1
    )
    ORDER BY finished_at NULLS FIRST
    LIMIT 1
) AS found
