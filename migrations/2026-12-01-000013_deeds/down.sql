ALTER TABLE oauth_states DROP COLUMN begun_by;
DROP INDEX audit_log_of_all;
DROP INDEX audit_log_by_user;
DELETE FROM audit_log WHERE user_id IS NOT NULL;
ALTER TABLE audit_log DROP COLUMN user_id;
