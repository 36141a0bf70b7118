-- The dashboard lists a project's creators of one platform. Those of TikTok are by far the most, and are found on the way through
-- `creators_by_project`; the few others are here. Only adds: the version before this one does not use it.
--
-- Where `creators` has millions of rows, make it by hand before `migrate`, outside of a transaction: then nobody's writes wait
-- for it, and it is found here.
--   CREATE INDEX CONCURRENTLY IF NOT EXISTS creators_elsewhere ON creators (project_id, platform, connected_at, id)
--     WHERE disconnecting_at IS NULL AND platform <> 'TIKTOK';

-- Nobody waits behind us for long: after three seconds all is undone, and `migrate` can be run again.
SET LOCAL lock_timeout = '3s';
CREATE INDEX IF NOT EXISTS creators_elsewhere ON creators (project_id, platform, connected_at, id)
    WHERE disconnecting_at IS NULL AND platform <> 'TIKTOK';
