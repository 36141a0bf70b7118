-- What operators steer and look at. Only adds: the version before this one keeps running beside it, but does not know that a
-- lane is paused.

-- A lane that is not open: `paused` or `draining`. No row: open. No CHECK: a later version may have more states, and this one
-- then holds the lane.
CREATE TABLE lanes (
    lane text PRIMARY KEY,
    state text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- The dead, newest first: what operators list and retry.
CREATE INDEX jobs_dead ON jobs (id) WHERE state = 'failed';

-- A batch that is pruned takes its rows with it; without this each would read the whole table.
CREATE INDEX batch_jobs_by_batch ON batch_jobs (batch_id);
CREATE INDEX batches_finished ON batches (finished_at) WHERE finished_at IS NOT NULL;
