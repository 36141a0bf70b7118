-- History: what the counters were after each sync that changed something. Only adds: the version before this one writes none.

-- The strongest lock that this and the next migrations need, before any weaker one: a sync that has read its creator's row would
-- wait for us, and we for it. Nobody waits behind us for long: after three seconds all is undone, and `migrate` can be run again.
SET LOCAL lock_timeout = '3s';
LOCK TABLE creators IN ACCESS EXCLUSIVE MODE;

-- Append-only, one row for a creator or a video and a write. Partitioned by month in UTC, so that what is old is dropped and not
-- deleted. The key is the one index: it carries every read, and a creator's rows of a month lie beside each other in it. No
-- foreign keys: each would lock a row of `videos` for every row that a sync appends.
CREATE TABLE creator_history (
    creator_id uuid NOT NULL,
    -- The transaction's time: for the last write of a sync this is the creator's `last_synced_at`.
    at timestamptz NOT NULL,
    followers bigint,
    following bigint,
    likes bigint,
    video_count bigint,
    -- The sum over the videos that were listed then; null: the platform named none.
    views bigint,
    PRIMARY KEY (creator_id, at)
) PARTITION BY RANGE (at);

CREATE TABLE video_history (
    video_id uuid NOT NULL,
    at timestamptz NOT NULL,
    views bigint,
    likes bigint,
    comments bigint,
    shares bigint,
    PRIMARY KEY (video_id, at)
) PARTITION BY RANGE (at);

-- Makes the partitions that are missing for the months from `first` to `last`. Nobody waits for it: a table is made apart and
-- attached, which stops neither reads nor writes of the others. It gives their number.
CREATE FUNCTION make_history_partitions(first timestamptz, last timestamptz) RETURNS integer
LANGUAGE plpgsql SET lock_timeout = '500ms' AS $$
DECLARE
    history text;
    month timestamp;
    part text;
    made integer := 0;
BEGIN
    -- Workers come here at the same time, once a minute each. One of them is enough.
    IF NOT pg_try_advisory_xact_lock(7311146936072170852) THEN
        RETURN 0;
    END IF;
    FOREACH history IN ARRAY ARRAY['creator_history', 'video_history'] LOOP
        FOR month IN SELECT generate_series(
            date_trunc('month', first AT TIME ZONE 'UTC'), last AT TIME ZONE 'UTC', interval '1 month')
        LOOP
            part := history || to_char(month, '_YYYY_MM');
            CONTINUE WHEN to_regclass(quote_ident(part)) IS NOT NULL;
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, history);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', history, part,
                month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;
SELECT make_history_partitions(now(), now() + interval '92 days');

-- Drops the partitions whose last instant lies before `before`. It waits half a second at most for who reads or writes, since
-- others then wait behind it, and is tried again soon. Videos first, as who writes does. It gives their number. The migration
-- `safety` states it anew.
CREATE FUNCTION drop_history_partitions(before timestamptz) RETURNS integer
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
            AND relname ~ '_history_[0-9]{4}_[0-9]{2}$'
            AND (to_date(right(relname, 7), 'YYYY_MM') + interval '1 month') AT TIME ZONE 'UTC' <= before
        ORDER BY relname DESC
    LOOP
        EXECUTE format('DROP TABLE %s', part);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;

-- In a trigger, so that a creator's history goes in the transaction that deletes it, whoever does: a revocation, a new
-- connection of the account, an older version. Its videos are still there.
CREATE FUNCTION erase_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM video_history WHERE video_id = ANY (ARRAY(SELECT id FROM videos WHERE creator_id = OLD.id));
    DELETE FROM creator_history WHERE creator_id = OLD.id;
    RETURN OLD;
END
$$;
CREATE TRIGGER creators_erase_history BEFORE DELETE ON creators FOR EACH ROW EXECUTE FUNCTION erase_history();
