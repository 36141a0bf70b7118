DROP TRIGGER creators_erase_history ON creators;
DROP FUNCTION erase_history();
DROP FUNCTION drop_history_partitions(timestamptz);
DROP FUNCTION make_history_partitions(timestamptz, timestamptz);
DROP TABLE video_history;
DROP TABLE creator_history;
