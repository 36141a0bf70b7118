DROP INDEX creators_by_username;
ALTER TABLE api_keys DROP COLUMN last_used_at, DROP COLUMN name;
DROP TABLE audit_log, invitations, members, sessions, password_links, users;
