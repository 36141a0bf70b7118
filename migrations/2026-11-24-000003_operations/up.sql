-- What operators steer and look at. Only adds: the version before this one keeps running beside it, but does not know that a
-- lane is paused.
--
-- Where `jobs` or `batch_jobs` has millions of rows, make the three indexes by hand before `migrate`, each outside of a
-- transaction: then nobody's writes wait for them, and they are found here.
--   CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_dead ON jobs (id) WHERE state = 'failed';
--   CREATE INDEX CONCURRENTLY IF NOT EXISTS batch_jobs_by_batch ON batch_jobs (batch_id);
--   CREATE INDEX CONCURRENTLY IF NOT EXISTS batches_finished ON batches (finished_at) WHERE finished_at IS NOT NULL;
-- One that broke off is there and INVALID (`\d jobs` says so): drop it, and make it again.

-- Nobody waits behind us for long: after three seconds all is undone, and `migrate` can be run again.
SET LOCAL lock_timeout = '3s';

-- A lane that is not open: `paused` or `draining`. No row: open. No CHECK: a later version may have more states, and this one
-- then holds the lane.
CREATE TABLE lanes (
    lane text PRIMARY KEY,
    state text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- The dead, newest first: what operators list and retry.
CREATE INDEX IF NOT EXISTS jobs_dead ON jobs (id) WHERE state = 'failed';

-- A batch that is pruned takes its rows with it; without this each would read the whole table.
CREATE INDEX IF NOT EXISTS batch_jobs_by_batch ON batch_jobs (batch_id);
CREATE INDEX IF NOT EXISTS batches_finished ON batches (finished_at) WHERE finished_at IS NOT NULL;
