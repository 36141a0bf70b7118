DROP INDEX batches_finished, batch_jobs_by_batch, jobs_dead;
DROP TABLE lanes;
