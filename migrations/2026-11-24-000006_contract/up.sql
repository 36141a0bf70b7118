-- The API as a contract. Only adds: the version before this one keeps running beside it, but lets every key do all until it
-- is gone. Hand out keys with scopes or an expiry after that.

-- What a key may do: null = all, also what later versions add. A scope that a version does not know allows nothing there.
ALTER TABLE api_keys
    ADD COLUMN scopes text[],
    -- When it stops working by itself; null: never.
    ADD COLUMN expires_at timestamptz;
