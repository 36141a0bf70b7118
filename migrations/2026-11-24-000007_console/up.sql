-- People: who may open the dashboard, and what they may do in which project. Passwords are argon2id's strings; what a
-- browser or a link carries is stored as its SHA-256 alone: a reader of the tables can't act as anybody. Only adds: the
-- version before this one knows nothing of it.
--
-- Where `creators` has millions of rows, make the one index on it by hand before `migrate`, outside of a transaction: then
-- nobody's writes wait for it, and it is found here.
--   CREATE INDEX CONCURRENTLY IF NOT EXISTS creators_by_username
--     ON creators (project_id, lower(username) text_pattern_ops) WHERE disconnecting_at IS NULL;

-- Nobody waits behind us for long: after three seconds all is undone, and `migrate` can be run again.
SET LOCAL lock_timeout = '3s';

-- `email` is in lower case. Without a password nobody can sign in as this user.
CREATE TABLE users (
    id uuid PRIMARY KEY,
    email text NOT NULL UNIQUE,
    password text,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Sets a password, once.
CREATE TABLE password_links (
    hash bytea PRIMARY KEY CHECK (length(hash) = 32),
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expires_at timestamptz NOT NULL
);
CREATE INDEX password_links_by_user ON password_links (user_id);

-- A session ends some time after `seen_at` (written once a minute at most), and some time after `created_at` in any case.
CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    hash bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    browser text NOT NULL,
    address text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_use ON sessions (seen_at);

CREATE TABLE members (
    project_id uuid NOT NULL REFERENCES projects (id),
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role text NOT NULL CHECK (role IN ('owner', 'developer', 'viewer')),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, user_id)
);
CREATE INDEX members_by_user ON members (user_id);

-- Makes whoever holds the link a member, once. `invited_by` is null for the link that `metriqlab up` prints.
CREATE TABLE invitations (
    id uuid PRIMARY KEY,
    hash bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
    project_id uuid NOT NULL REFERENCES projects (id),
    role text NOT NULL CHECK (role IN ('owner', 'developer', 'viewer')),
    invited_by text,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX invitations_by_project ON invitations (project_id);

-- Who did what. `actor` is the email as it was then, so that the line outlives the user.
CREATE TABLE audit_log (
    id uuid PRIMARY KEY,
    project_id uuid NOT NULL REFERENCES projects (id),
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX audit_log_by_project ON audit_log (project_id, id DESC);

-- `last_used_at` is written once a minute at most.
ALTER TABLE api_keys ADD COLUMN name text, ADD COLUMN last_used_at timestamptz;

-- Finds creators by how their names begin.
CREATE INDEX IF NOT EXISTS creators_by_username
    ON creators (project_id, lower(username) text_pattern_ops) WHERE disconnecting_at IS NULL;
