DROP TABLE idempotency_keys;
DROP TRIGGER creators_touch ON creators;
DROP FUNCTION touch_creator();
DROP INDEX creators_refused, creators_by_update, creators_by_ref;
ALTER TABLE creators DROP COLUMN external_ref, DROP COLUMN updated_at;
ALTER TABLE oauth_states DROP COLUMN external_ref;
-- The version before this one would let a limited key do all, for ever.
UPDATE api_keys SET revoked_at = now() WHERE revoked_at IS NULL AND (scopes IS NOT NULL OR expires_at IS NOT NULL);
ALTER TABLE api_keys DROP COLUMN scopes, DROP COLUMN expires_at;
