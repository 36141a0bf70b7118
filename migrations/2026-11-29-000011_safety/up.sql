-- Holes closed. Only adds, but for projects_name_key, which it drops: a project's name is a label, and no other one's concern.
-- Until all processes are of this version, `keys create` of the one before makes one more project of a name that is there.

-- As in the migration of history: the strongest locks first, and nobody waits behind us for long.
SET LOCAL lock_timeout = '3s';
LOCK TABLE creators, videos, api_keys, projects IN ACCESS EXCLUSIVE MODE;

-- Whether the newest point of its history says what the row says; of a creator, also what the sum over its videos says. What a
-- sync's checkpoint or a consent writes leaves it false: then the next sync that ends appends, changed or not. So does the first
-- one of who is older than history. An older process beside this schema leaves it as it is: what its job writes and does not end,
-- in the minutes of a deploy, may lack a point.
ALTER TABLE creators ADD COLUMN recorded boolean NOT NULL DEFAULT false;
ALTER TABLE videos ADD COLUMN recorded boolean NOT NULL DEFAULT false;

-- As in the migration `history`, whose one it replaces, but a name that is no month is read by nobody: without CASE, Postgres
-- may ask for its date first.
CREATE OR REPLACE FUNCTION drop_history_partitions(before timestamptz) RETURNS integer
LANGUAGE plpgsql SET lock_timeout = '500ms' AS $$
DECLARE
    part regclass;
    dropped integer := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(7311146936072170852) THEN
        RETURN 0;
    END IF;
    FOR part IN
        SELECT pg_class.oid::regclass
        FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent IN ('creator_history'::regclass, 'video_history'::regclass)
            -- Others are an operator's own.
            AND CASE WHEN relname ~ '_history_[0-9]{4}_(0[1-9]|1[0-2])$'
                THEN (to_date(right(relname, 7), 'YYYY_MM') + interval '1 month') AT TIME ZONE 'UTC' <= before
                ELSE false END
        ORDER BY relname DESC
    LOOP
        EXECUTE format('DROP TABLE %s', part);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;

-- A name is a label: anybody may give theirs the same one, and nobody is told what others have. An older version's
-- `keys create --project NAME` makes another project where it should find one: use this one's.
ALTER TABLE projects DROP CONSTRAINT projects_name_key;
CREATE INDEX IF NOT EXISTS projects_by_name ON projects (name);

ALTER TABLE api_keys
    -- The key that was made in its place, whether that one still works or not.
    ADD COLUMN replaced_by uuid,
    -- How many seconds it was to live when it was made; null: for ever. `expires_at` may be sooner, once it is replaced.
    ADD COLUMN lifetime bigint;
