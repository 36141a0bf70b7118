-- The function stays: it does what the one before it does, and fails on fewer names.
ALTER TABLE api_keys DROP COLUMN replaced_by, DROP COLUMN lifetime;
DROP INDEX projects_by_name;
-- Fails where two are called the same: rename one first.
ALTER TABLE projects ADD CONSTRAINT projects_name_key UNIQUE (name);
ALTER TABLE videos DROP COLUMN recorded;
ALTER TABLE creators DROP COLUMN recorded;
