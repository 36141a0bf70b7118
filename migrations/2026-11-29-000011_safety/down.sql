-- The function stays: it does what the one before it does, and fails on fewer names.
ALTER TABLE videos DROP COLUMN recorded;
ALTER TABLE creators DROP COLUMN recorded;
