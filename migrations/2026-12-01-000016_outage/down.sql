ALTER TABLE worker_paces DROP COLUMN resync_recent, DROP COLUMN resync_deep;
