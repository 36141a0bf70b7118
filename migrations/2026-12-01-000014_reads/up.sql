-- What the dashboard's list of creators reads: whose last sync was given up, and the orders by followers and by the last sync.
-- Only adds: the version before this one does not use it.
--
-- Where `jobs` or `creators` has millions of rows, make these by hand before `migrate`, each outside of a transaction: then
-- nobody's writes wait for them, and they are found here.
--   CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_given_up ON jobs (creator_id, finished_at)
--     WHERE kind = 'sync' AND state = 'failed';
--   CREATE INDEX CONCURRENTLY IF NOT EXISTS creators_by_followers ON creators (project_id, followers, id)
--     WHERE disconnecting_at IS NULL;
--   CREATE INDEX CONCURRENTLY IF NOT EXISTS creators_by_sync ON creators (project_id, last_synced_at, id)
--     WHERE disconnecting_at IS NULL;
--   CREATE INDEX CONCURRENTLY IF NOT EXISTS creators_refused_by_followers ON creators (project_id, followers, id)
--     WHERE disconnecting_at IS NULL AND status <> 'ACTIVE';
--   CREATE INDEX CONCURRENTLY IF NOT EXISTS creators_refused_by_sync ON creators (project_id, last_synced_at, id)
--     WHERE disconnecting_at IS NULL AND status <> 'ACTIVE';
-- One that broke off is there and INVALID (`\d jobs` says so): drop it, and make it again.

-- Nobody waits behind us for long: after three seconds all is undone, and `migrate` can be run again.
SET LOCAL lock_timeout = '3s';
CREATE INDEX IF NOT EXISTS jobs_given_up ON jobs (creator_id, finished_at) WHERE kind = 'sync' AND state = 'failed';
CREATE INDEX IF NOT EXISTS creators_by_followers ON creators (project_id, followers, id) WHERE disconnecting_at IS NULL;
CREATE INDEX IF NOT EXISTS creators_by_sync ON creators (project_id, last_synced_at, id) WHERE disconnecting_at IS NULL;
-- Those who must connect again are few, and may all stand at the far end of either order.
CREATE INDEX IF NOT EXISTS creators_refused_by_followers ON creators (project_id, followers, id)
    WHERE disconnecting_at IS NULL AND status <> 'ACTIVE';
CREATE INDEX IF NOT EXISTS creators_refused_by_sync ON creators (project_id, last_synced_at, id)
    WHERE disconnecting_at IS NULL AND status <> 'ACTIVE';
