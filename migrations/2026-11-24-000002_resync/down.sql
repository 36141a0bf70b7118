DROP TRIGGER jobs_count_in_batches ON jobs;
DROP FUNCTION count_in_batches();
DROP TABLE batch_counts, batch_jobs, batches;
-- The version before this one does not know jobs that wait in Postgres alone.
UPDATE jobs SET state = 'enqueued' WHERE state = 'waiting';
DROP INDEX jobs_waiting;
ALTER TABLE jobs DROP COLUMN batched;
DROP FUNCTION uuid_v7();
DROP INDEX creators_due;
ALTER TABLE creators ALTER COLUMN next_sync_at DROP DEFAULT;
ALTER TABLE creators DROP COLUMN resync_every, DROP COLUMN resync_gap, DROP COLUMN deep_synced_at;
ALTER TABLE projects DROP COLUMN resync_every;
