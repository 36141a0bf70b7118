-- Operators: users who see and steer the whole installation; and a project's jobs and batches as people list them. Only adds:
-- the version before this one knows nothing of it.
--
-- Where `jobs` has millions of rows, make the index on it by hand before `migrate`, outside of a transaction: then nobody's
-- writes wait for it, and it is found here.
--   CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_by_project ON jobs (project_id, kind, state, id);
-- One that broke off is there and INVALID (`\d jobs` says so): drop it, and make it again.

-- Nobody waits behind us for long: after three seconds all is undone, and `migrate` can be run again.
SET LOCAL lock_timeout = '3s';

-- A project's jobs of a kind and in a state, by age: what its page of jobs lists and counts.
CREATE INDEX IF NOT EXISTS jobs_by_project ON jobs (project_id, kind, state, id);
CREATE INDEX IF NOT EXISTS batches_by_project ON batches (project_id, id);

-- The long work is done: what follows takes its tables to itself.

-- Given from the server's shell alone.
ALTER TABLE users ADD COLUMN operator boolean NOT NULL DEFAULT false;
-- Whether who takes the invitation becomes an operator: the first owner, whose link `metriqlab up` prints.
ALTER TABLE invitations ADD COLUMN operator boolean NOT NULL DEFAULT false;

-- Null: of the whole installation. The index by project carries these lines, too.
ALTER TABLE audit_log ALTER COLUMN project_id DROP NOT NULL;
