-- Scheduled and bulk resync. Only adds: the version before this one keeps running beside it.
--
-- Where `creators` or `jobs` has millions of rows, make the two indexes on them by hand before `migrate`, each outside of a
-- transaction: then nobody's writes wait for them, and they are found here.
--   CREATE INDEX CONCURRENTLY IF NOT EXISTS creators_due ON creators (next_sync_at)
--       WHERE disconnecting_at IS NULL AND status = 'ACTIVE' AND next_sync_at IS NOT NULL;
--   CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_waiting ON jobs (project_id, id) WHERE state = 'waiting';

-- Nobody waits behind us for long: after three seconds all is undone, and `migrate` can be run again.
SET LOCAL lock_timeout = '3s';

-- How old the data may get, in seconds: null = the default (METRIQLAB_RESYNC_EVERY), 0 = never synced by the schedule. A
-- creator's own word goes before its project's.
ALTER TABLE projects ADD COLUMN resync_every bigint CHECK (resync_every >= 0);
ALTER TABLE creators
    ADD COLUMN resync_every bigint CHECK (resync_every >= 0),
    -- The cadence: seconds between two scheduled syncs, by how much the last ones found changed. Null: none yet.
    ADD COLUMN resync_gap bigint CHECK (resync_gap > 0),
    -- When all videos were last listed, not only the recent ones.
    ADD COLUMN deep_synced_at timestamptz;
-- Every creator has a next time; those that are known already are spread over a day. In one statement, which no later migration
-- may do: there was no release before this one, and nobody has many rows.
ALTER TABLE creators ALTER COLUMN next_sync_at SET DEFAULT now();
UPDATE creators SET next_sync_at = now() + random() * interval '1 day' WHERE next_sync_at IS NULL;
-- What the scheduler walks.
CREATE INDEX IF NOT EXISTS creators_due ON creators (next_sync_at)
    WHERE disconnecting_at IS NULL AND status = 'ACTIVE' AND next_sync_at IS NOT NULL;

-- RFC 9562, section 5.7, as the program makes them: for jobs that one statement makes by the thousand.
CREATE FUNCTION uuid_v7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    SELECT encode(
        set_bit(set_bit(
            overlay(uuid_send(gen_random_uuid())
                PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6),
            52, 1), 53, 1),
        'hex')::uuid
$$;

-- Whether the job is counted by a batch. A bulk job without one was made by the schedule.
ALTER TABLE jobs ADD COLUMN batched boolean NOT NULL DEFAULT false;
-- What the feeder walks: the projects in turn, each one's jobs in order.
CREATE INDEX IF NOT EXISTS jobs_waiting ON jobs (project_id, id) WHERE state = 'waiting';

-- A bulk resync. It is accepted as this row alone; its jobs are made from it in chunks.
CREATE TABLE batches (
    id uuid PRIMARY KEY,
    project_id uuid NOT NULL REFERENCES projects (id),
    -- Which creators: all of the project, or those of this platform, or those last synced before this instant.
    platform text,
    stale_before timestamptz,
    -- Not those that connected after the newest one of the moment.
    until_at timestamptz NOT NULL DEFAULT 'infinity',
    -- How many there were when it was asked for.
    total bigint NOT NULL,
    -- Those that got no job: a sync was done between the request and their turn, the platform refuses their tokens, or
    -- they were gone.
    fresh bigint NOT NULL DEFAULT 0,
    refused bigint NOT NULL DEFAULT 0,
    missing bigint NOT NULL DEFAULT 0,
    -- How many jobs count for it, and how far the making of them has come (creators by connected_at, id).
    members bigint NOT NULL DEFAULT 0,
    cursor_at timestamptz NOT NULL DEFAULT '-infinity',
    cursor_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    expanded_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE INDEX batches_growing ON batches (id) WHERE expanded_at IS NULL;
CREATE INDEX batches_unfinished ON batches (id) WHERE finished_at IS NULL;

-- Which batches count a job: a creator with an open job is counted by that one, so there can be several.
CREATE TABLE batch_jobs (
    job_id uuid NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    batch_id uuid NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    PRIMARY KEY (job_id, batch_id)
);

-- How a batch's jobs ended. They outlive the jobs, which are pruned. In stripes, so that workers that finish jobs of one
-- batch at the same time do not wait for each other; what counts is the sum.
CREATE TABLE batch_counts (
    batch_id uuid NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    stripe integer NOT NULL,
    done bigint NOT NULL,
    failed bigint NOT NULL,
    cancelled bigint NOT NULL,
    PRIMARY KEY (batch_id, stripe)
);

-- In a trigger, so that the counts are true whoever ends a job: a sync, a disconnect, an operator, an older version.
CREATE FUNCTION count_in_batches() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO batch_counts AS counts (batch_id, stripe, done, failed, cancelled)
    SELECT batch_id, pg_backend_pid() % 16,
        (NEW.state = 'done')::int - (OLD.state = 'done')::int,
        (NEW.state = 'failed')::int - (OLD.state = 'failed')::int,
        (NEW.state = 'cancelled')::int - (OLD.state = 'cancelled')::int
    FROM batch_jobs WHERE job_id = NEW.id ORDER BY batch_id
    ON CONFLICT (batch_id, stripe) DO UPDATE SET
        done = counts.done + excluded.done,
        failed = counts.failed + excluded.failed,
        cancelled = counts.cancelled + excluded.cancelled;
    -- A job that was given up and is tried again opens its batches again.
    IF OLD.finished_at IS NOT NULL AND NEW.finished_at IS NULL THEN
        UPDATE batches SET finished_at = NULL WHERE id IN (SELECT batch_id FROM batch_jobs WHERE job_id = NEW.id);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER jobs_count_in_batches AFTER UPDATE OF state ON jobs FOR EACH ROW
    WHEN (NEW.batched AND OLD.state IS DISTINCT FROM NEW.state
        AND (OLD.state IN ('done', 'failed', 'cancelled') OR NEW.state IN ('done', 'failed', 'cancelled')))
    EXECUTE FUNCTION count_in_batches();
