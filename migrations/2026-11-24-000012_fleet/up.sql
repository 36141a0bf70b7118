-- What a batch's jobs say of the request, and what the workers go by. Only adds: the version before this one knows nothing of
-- it; the jobs that it makes of a batch are of no request, and status goes by its own settings beside its workers.

-- The strongest locks first, in the order of who retries dead jobs, and nobody waits behind us for long: after three seconds all
-- is undone, and `migrate` can be run again.
SET LOCAL lock_timeout = '3s';
LOCK TABLE creators, batches IN ACCESS EXCLUSIVE MODE;

-- The request's trace context, for the jobs that are made from the batch.
ALTER TABLE batches ADD COLUMN trace text;

-- What each worker process goes by, written again and again while it lives.
CREATE TABLE worker_paces (
    worker uuid PRIMARY KEY,
    -- How old data may get where nobody says otherwise, in seconds; 0 = as old as it likes.
    resync_every bigint NOT NULL,
    -- Requests to each endpoint in a window.
    quota bigint NOT NULL,
    window_ms bigint NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now()
);

-- How many of the creator's videos were so young at the last sync that a scheduled one reads them at every turn; null: not
-- known yet.
ALTER TABLE creators ADD COLUMN recent_videos bigint;
