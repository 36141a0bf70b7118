DROP INDEX batches_by_project;
DROP INDEX jobs_by_project;
DELETE FROM audit_log WHERE project_id IS NULL;
ALTER TABLE audit_log ALTER COLUMN project_id SET NOT NULL;
ALTER TABLE invitations DROP COLUMN operator;
ALTER TABLE users DROP COLUMN operator;
