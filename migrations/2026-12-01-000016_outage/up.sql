-- How far back a worker's scheduled syncs read, and how old the other videos may get, in seconds; null: a worker of the version
-- before, which knows 90 days and a week. Only adds: that version goes on beside it.
SET LOCAL lock_timeout = '3s';

ALTER TABLE worker_paces ADD COLUMN resync_recent bigint, ADD COLUMN resync_deep bigint;
