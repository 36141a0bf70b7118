ALTER TABLE creators DROP COLUMN recent_pages;
DROP TABLE worker_paces;
ALTER TABLE batches DROP COLUMN trace;
