SELECT jobs.id, kind, lane, state, creator_id AS creator, projects.name AS project, attempts, error_code, error, log_id,
    jobs.created_at, run_at, finished_at, COALESCE(username, display_name, external_id) AS creator_name
FROM jobs
LEFT JOIN projects ON projects.id = jobs.project_id
LEFT JOIN creators ON creators.id = jobs.creator_id AND disconnecting_at IS NULL
WHERE jobs.id = $1 AND ($2 IS NULL OR jobs.project_id = $2)
