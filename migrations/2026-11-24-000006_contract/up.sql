-- The API as a contract. Only adds: the version before this one keeps running beside it. But that one lets every key do all,
-- and drops an `externalRef`: hand out keys with scopes or an expiry when it is gone.
--
-- Where `creators` has millions of rows, do this by hand before `migrate`, each outside of a transaction: then nobody
-- waits for the indexes, neither to read nor to write, and all is found here.
--   ALTER TABLE creators ADD COLUMN IF NOT EXISTS updated_at timestamptz NOT NULL DEFAULT now();
--   ALTER TABLE creators ADD COLUMN IF NOT EXISTS external_ref text;
--   CREATE INDEX CONCURRENTLY IF NOT EXISTS creators_by_update ON creators (project_id, updated_at)
--       WHERE disconnecting_at IS NULL;
--   CREATE INDEX CONCURRENTLY IF NOT EXISTS creators_by_ref ON creators (project_id, external_ref)
--       WHERE disconnecting_at IS NULL AND external_ref IS NOT NULL;
--   CREATE INDEX CONCURRENTLY IF NOT EXISTS creators_refused ON creators (project_id, connected_at, id)
--       WHERE disconnecting_at IS NULL AND status <> 'ACTIVE';

-- Nobody waits behind us for long: after three seconds all is undone, and `migrate` can be run again.
SET LOCAL lock_timeout = '3s';

-- What a key may do: null = all, also what later versions add. A scope that a version does not know allows nothing there.
ALTER TABLE api_keys
    ADD COLUMN scopes text[],
    -- When it stops working by itself; null: never.
    ADD COLUMN expires_at timestamptz;

-- The client's own name for a creator, given when the consent begins.
ALTER TABLE oauth_states ADD COLUMN external_ref text;
ALTER TABLE creators
    ADD COLUMN IF NOT EXISTS external_ref text,
    -- When something last changed of what clients read of the creator. For those that are here already: now.
    ADD COLUMN IF NOT EXISTS updated_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX IF NOT EXISTS creators_by_ref ON creators (project_id, external_ref)
    WHERE disconnecting_at IS NULL AND external_ref IS NOT NULL;
CREATE INDEX IF NOT EXISTS creators_by_update ON creators (project_id, updated_at) WHERE disconnecting_at IS NULL;
-- The few that must connect again.
CREATE INDEX IF NOT EXISTS creators_refused ON creators (project_id, connected_at, id)
    WHERE disconnecting_at IS NULL AND status <> 'ACTIVE';

-- In a trigger, so that it is true whoever writes: a sync, an operator, an older version.
CREATE FUNCTION touch_creator() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at = clock_timestamp();
    RETURN NEW;
END
$$;
CREATE TRIGGER creators_touch BEFORE UPDATE ON creators FOR EACH ROW
    WHEN ((OLD.username, OLD.display_name, OLD.bio, OLD.avatar_url, OLD.profile_url, OLD.verified, OLD.followers,
            OLD.following, OLD.likes, OLD.video_count, OLD.missing_scopes, OLD.status, OLD.status_reason,
            OLD.last_synced_at, OLD.resync_every, OLD.external_ref)
        IS DISTINCT FROM
          (NEW.username, NEW.display_name, NEW.bio, NEW.avatar_url, NEW.profile_url, NEW.verified, NEW.followers,
            NEW.following, NEW.likes, NEW.video_count, NEW.missing_scopes, NEW.status, NEW.status_reason,
            NEW.last_synced_at, NEW.resync_every, NEW.external_ref))
    EXECUTE FUNCTION touch_creator();

-- Requests that came with an Idempotency-Key: who runs one, or what was answered. Kept for a day.
CREATE TABLE idempotency_keys (
    project_id uuid NOT NULL REFERENCES projects (id),
    -- SHA-256 of the route and the key: a key may hold anything.
    request_hash bytea NOT NULL CHECK (length(request_hash) = 32),
    -- SHA-256 of the body.
    body_hash bytea NOT NULL CHECK (length(body_hash) = 32),
    -- Who runs it, and until when that is believed without a word: then somebody else may.
    lease_owner uuid NOT NULL,
    lease_expires_at timestamptz NOT NULL,
    -- Status, headers and body, sealed: one of a consent holds its state. Null: not answered yet.
    answer bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, request_hash)
);
-- What the pruner walks.
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
