-- A page of the dead jobs of all projects, newest first, by the index `jobs_dead`.
WITH page AS (SELECT * FROM jobs WHERE state = 'failed' AND id < $1 ORDER BY id DESC LIMIT $2)
SELECT page.id, page.kind, page.lane, page.state, page.creator_id AS creator, projects.name AS project, page.attempts,
    page.error_code, page.error, page.log_id, page.created_at, page.run_at, page.finished_at,
    COALESCE(username, display_name, external_id) AS creator_name
FROM page
LEFT JOIN projects ON projects.id = page.project_id
LEFT JOIN creators ON creators.id = page.creator_id AND disconnecting_at IS NULL
ORDER BY page.id DESC
