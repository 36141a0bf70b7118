-- How much of each project's bulk work Redis has: the scheduler counts a few of it while there is no room for more.
-- Only adds: the version before this one does not use it.
--
-- Where `jobs` has millions of rows, make it by hand before `migrate`, outside of a transaction: then nobody's writes wait for it,
-- and it is found here.
--   CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_of_bulk_in_redis ON jobs (project_id)
--     WHERE state IN ('enqueued', 'running', 'retrying') AND lane = 'bulk';
-- One that broke off is there and INVALID (`\d jobs` says so): drop it, and make it again.

-- Nobody waits behind us for long: after three seconds all is undone, and `migrate` can be run again.
SET LOCAL lock_timeout = '3s';
CREATE INDEX IF NOT EXISTS jobs_of_bulk_in_redis ON jobs (project_id)
    WHERE state IN ('enqueued', 'running', 'retrying') AND lane = 'bulk';
