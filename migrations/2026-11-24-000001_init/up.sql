-- The first schema. Ids are UUIDv7, counters bigint (null = the platform did not say), times timestamptz.

CREATE TABLE projects (
    id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- A key is known by its SHA-256 alone; `prefix` is what people may see of it.
CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    project_id uuid NOT NULL REFERENCES projects (id),
    hash bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
    prefix text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);
CREATE INDEX api_keys_by_project ON api_keys (project_id);
CREATE INDEX api_keys_by_prefix ON api_keys (prefix text_pattern_ops);

-- A consent under way. The state is stored as its SHA-256: a reader of the table can't finish somebody's consent.
CREATE TABLE oauth_states (
    state_hash bytea PRIMARY KEY CHECK (length(state_hash) = 32),
    project_id uuid NOT NULL REFERENCES projects (id),
    platform text NOT NULL,
    redirect_url text,
    pkce_verifier text,
    expires_at timestamptz NOT NULL
);
CREATE INDEX oauth_states_by_expiry ON oauth_states (expires_at);

-- The tokens of one account, apart from `creators`, so that no read of the API touches a secret. One row per
-- (platform, app, account), however many projects hold it. `version` rises with every new pair of tokens, and is never
-- reused, also not by a row that was deleted and made anew (it comes from one sequence).
CREATE SEQUENCE credential_version;
CREATE TABLE credentials (
    id uuid PRIMARY KEY,
    platform text NOT NULL,
    app text NOT NULL,
    external_id text NOT NULL,
    access_token bytea NOT NULL,
    refresh_token bytea,
    scopes text NOT NULL,
    version bigint NOT NULL DEFAULT nextval('credential_version'),
    issued_at timestamptz NOT NULL DEFAULT now(),
    access_expires_at timestamptz NOT NULL,
    refresh_expires_at timestamptz,
    granted_at timestamptz NOT NULL DEFAULT now(),
    dead_reason text,
    lease_owner uuid,
    lease_expires_at timestamptz,
    UNIQUE (platform, app, external_id)
);

CREATE TABLE creators (
    id uuid PRIMARY KEY,
    project_id uuid NOT NULL REFERENCES projects (id),
    credential_id uuid NOT NULL REFERENCES credentials (id),
    platform text NOT NULL,
    external_id text NOT NULL,
    username text,
    display_name text,
    bio text,
    avatar_url text,
    profile_url text,
    verified boolean,
    followers bigint,
    following bigint,
    likes bigint,
    video_count bigint,
    missing_scopes text NOT NULL DEFAULT '',
    status text NOT NULL DEFAULT 'ACTIVE' CHECK (status IN ('ACTIVE', 'REAUTHORIZATION_REQUIRED')),
    status_reason text,
    connected_at timestamptz NOT NULL DEFAULT now(),
    last_synced_at timestamptz,
    next_sync_at timestamptz,
    -- Set by the transaction that makes the revocation job: from then on no read shows the creator.
    disconnecting_at timestamptz
);
-- One row per account and project, besides the ones that are on their way out.
CREATE UNIQUE INDEX creators_by_account ON creators (project_id, platform, external_id) WHERE disconnecting_at IS NULL;
-- The list, oldest first, by keyset.
CREATE INDEX creators_by_project ON creators (project_id, connected_at, id) WHERE disconnecting_at IS NULL;
CREATE INDEX creators_by_credential ON creators (credential_id);

CREATE TABLE videos (
    id uuid PRIMARY KEY,
    creator_id uuid NOT NULL REFERENCES creators (id) ON DELETE CASCADE,
    external_id text NOT NULL,
    title text,
    description text,
    url text,
    cover_url text,
    duration bigint,
    views bigint,
    likes bigint,
    comments bigint,
    shares bigint,
    published_at timestamptz NOT NULL,
    -- A video that the platform no longer lists keeps its row, its id and its past, in case it returns.
    listed boolean NOT NULL DEFAULT true,
    UNIQUE (creator_id, external_id)
);
-- A page of videos: newest first, by keyset, at the same cost at any depth.
CREATE INDEX videos_by_age ON videos (creator_id, published_at DESC, id DESC) WHERE listed;

-- A promise: whatever was queued is a row here before it is a message in Redis. No foreign keys to creators: a revocation
-- outlives the creator that it erased.
CREATE TABLE jobs (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    lane text NOT NULL,
    creator_id uuid NOT NULL,
    project_id uuid NOT NULL,
    state text NOT NULL CHECK (state IN ('waiting', 'enqueued', 'running', 'retrying', 'done', 'failed', 'cancelled')),
    -- Rises at every start of the job. Every write of a job is fenced by it.
    claim bigint NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 0,
    error_code text,
    error text,
    log_id text,
    trace text,
    run_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
-- The single flight: one open job of a kind per creator.
CREATE UNIQUE INDEX jobs_open ON jobs (creator_id, kind) WHERE state IN ('waiting', 'enqueued', 'running', 'retrying');
-- What the sweeper walks.
CREATE INDEX jobs_in_redis ON jobs (id) WHERE state IN ('enqueued', 'running', 'retrying');
-- What the pruner walks.
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;

-- When each endpoint's budget was last used, so that a Redis that was flushed is told from one that is new.
CREATE TABLE budget_use (
    app text NOT NULL,
    endpoint text NOT NULL,
    used_at timestamptz NOT NULL,
    PRIMARY KEY (app, endpoint)
);
