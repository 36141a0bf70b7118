-- The audit log has what was missing. Only adds: the version before this one writes and reads the log as ever, and shows the
-- lines of accounts, whose names it does not know, among those of the installation. The log has few lines yet, none of them of
-- an account: its indexes are made at once.
SET LOCAL lock_timeout = '3s';

-- Whose account a line is about: a sign-in, a password. No reference: a line outlives its user.
ALTER TABLE audit_log ADD COLUMN user_id uuid;
CREATE INDEX IF NOT EXISTS audit_log_by_user ON audit_log (user_id, id DESC) WHERE user_id IS NOT NULL;
-- What was done to the whole installation.
CREATE INDEX IF NOT EXISTS audit_log_of_all ON audit_log (id DESC) WHERE project_id IS NULL AND user_id IS NULL;

-- Who began a consent, as the log calls them: null of those that an older version has begun.
ALTER TABLE oauth_states ADD COLUMN begun_by text;
