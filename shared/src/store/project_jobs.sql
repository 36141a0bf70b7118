-- A page of a project's jobs, newest first: the newest of each kind and state that is asked for, and of these the newest.
-- Each is a walk down `jobs_by_project`, so a page costs the same at any depth. The project comes as an array of one, and is
-- sorted by: no other index gives that order. By the id alone Postgres would rather walk down the jobs of all projects until
-- it has met enough of a state, which it never does where that state's are all younger than the page.
WITH page AS (
    SELECT found.*
    FROM unnest($2) AS kinds (kind) CROSS JOIN unnest($3) AS states (state)
    CROSS JOIN LATERAL (
        SELECT id, jobs.kind, lane, jobs.state, creator_id, attempts, error_code, error, log_id, created_at, run_at, finished_at
        FROM jobs
        WHERE project_id = ANY ($1) AND jobs.kind = kinds.kind AND jobs.state = states.state AND id < $4
        ORDER BY project_id DESC, id DESC
        LIMIT $5
    ) AS found
    ORDER BY id DESC
    LIMIT $5
)
SELECT page.*, page.creator_id AS creator, NULL AS project,
    COALESCE(username, display_name, external_id) AS creator_name
FROM page LEFT JOIN creators ON creators.id = page.creator_id AND disconnecting_at IS NULL
ORDER BY page.id DESC
