DROP INDEX jobs_of_bulk_in_redis;
