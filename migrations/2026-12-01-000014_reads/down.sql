DROP INDEX creators_refused_by_sync, creators_refused_by_followers;
DROP INDEX creators_by_sync;
DROP INDEX creators_by_followers;
DROP INDEX jobs_given_up;
