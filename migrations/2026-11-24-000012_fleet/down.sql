ALTER TABLE creators DROP COLUMN recent_videos;
DROP TABLE worker_paces;
ALTER TABLE batches DROP COLUMN trace;
