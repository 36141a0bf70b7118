-- The version before this one would let a limited key do all, for ever.
UPDATE api_keys SET revoked_at = now() WHERE revoked_at IS NULL AND (scopes IS NOT NULL OR expires_at IS NOT NULL);
ALTER TABLE api_keys DROP COLUMN scopes, DROP COLUMN expires_at;
