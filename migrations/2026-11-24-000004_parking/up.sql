-- Parking: a sync that stops before its end goes on from there at its next start. Only adds: the version before this one
-- does not look at it, and starts anew.

-- Nobody waits behind us for long: after three seconds all is undone, and `migrate` can be run again.
SET LOCAL lock_timeout = '3s';

-- How far a creator's sync has come, one row for each batch that it has written: the newest says where to go on, all of
-- them which videos were listed. A creator has one open sync. They go with the creator, and when the job ends.
CREATE TABLE checkpoints (
    creator_id uuid NOT NULL REFERENCES creators (id) ON DELETE CASCADE,
    -- From 0. A walk that starts anew begins here, and deletes what is left of the one before.
    part integer NOT NULL,
    -- Whose progress it is: of no use to another job.
    job_id uuid NOT NULL,
    -- The grant, and what it lets us read.
    granted_at timestamptz NOT NULL,
    scopes text NOT NULL,
    -- Scopes that were granted and that the platform refuses all the same.
    refused text NOT NULL,
    -- When the first of it was read; when this was written.
    began_at timestamptz NOT NULL,
    saved_at timestamptz NOT NULL DEFAULT now(),
    -- Whether somebody waited for it by then, and was content with when it began.
    waited_for boolean NOT NULL,
    -- The page to go on with; null: the first.
    cursor text,
    -- The oldest time of publication so far, and whether an older page held a newer video.
    oldest timestamptz,
    disordered boolean NOT NULL,
    -- Whether anything was new.
    changed boolean NOT NULL,
    -- The videos of this batch.
    external_ids text[] NOT NULL,
    PRIMARY KEY (creator_id, part)
);
