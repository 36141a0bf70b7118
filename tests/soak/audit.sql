-- The soak's own witness: triggers that write down, in the transaction of each write, what happened to a job and who did it.
-- What is rolled back leaves no trace, and what is committed can't lack one. Each worker's connections carry its name
-- (`application_name`), so a write is known by its writer, not only by the claim that the writer has of itself.

CREATE SCHEMA soak;

CREATE TABLE soak.events (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    xact xid8 NOT NULL DEFAULT pg_current_xact_id(),
    writer text NOT NULL DEFAULT current_setting('application_name'),
    job uuid NOT NULL,
    kind text NOT NULL,
    creator uuid NOT NULL,
    -- made, started, returned (to be tried again), done, failed, cancelled; after the last word: altered.
    event text NOT NULL,
    claim bigint NOT NULL
);
CREATE INDEX events_by_job ON soak.events (job, seq);
CREATE INDEX events_by_writer ON soak.events (writer, job) WHERE event = 'started';

-- What a sync wrote beside its own row.
CREATE TABLE soak.writes (
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    xact xid8 NOT NULL DEFAULT pg_current_xact_id(),
    writer text NOT NULL DEFAULT current_setting('application_name'),
    creator uuid NOT NULL,
    -- videos: rows of its listing. result: the end of a sync.
    what text NOT NULL,
    -- Who holds the creator's running sync at this instant. The writer has its row locked, so nobody can become it meanwhile.
    holder text
);

CREATE FUNCTION soak.see_job() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    event text;
BEGIN
    IF TG_OP = 'INSERT' THEN
        event := 'made';
    ELSIF OLD.finished_at IS NOT NULL THEN
        IF (OLD.state, OLD.claim, OLD.finished_at) IS NOT DISTINCT FROM (NEW.state, NEW.claim, NEW.finished_at) THEN
            RETURN NULL;
        END IF;
        event := 'altered';
    ELSIF NEW.finished_at IS NOT NULL THEN
        event := NEW.state;
    ELSIF NEW.claim <> OLD.claim THEN
        event := 'started';
    ELSIF OLD.state = 'running' AND NEW.state <> 'running' THEN
        event := 'returned';
    ELSE
        RETURN NULL;
    END IF;
    INSERT INTO soak.events (job, kind, creator, event, claim) VALUES (NEW.id, NEW.kind, NEW.creator_id, event, NEW.claim);
    RETURN NULL;
END
$$;
CREATE TRIGGER soak_sees AFTER INSERT OR UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION soak.see_job();

-- A job that is taken back in the transaction that made it was never there. One that goes otherwise before its last word is lost.
CREATE FUNCTION soak.unsee_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM soak.events WHERE job = OLD.id AND event = 'made' AND xact = pg_current_xact_id();
    RETURN NULL;
END
$$;
CREATE TRIGGER soak_sees_deleted AFTER DELETE ON jobs FOR EACH ROW EXECUTE FUNCTION soak.unsee_job();

-- The worker that holds the running sync of a creator who is not on its way out.
CREATE FUNCTION soak.holder_of(uuid) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT events.writer
    FROM jobs
    JOIN soak.events ON events.job = jobs.id AND events.claim = jobs.claim AND events.event = 'started'
    JOIN creators ON creators.id = jobs.creator_id AND creators.disconnecting_at IS NULL
    WHERE jobs.creator_id = $1 AND jobs.kind = 'sync' AND jobs.state = 'running'
$$;

CREATE FUNCTION soak.see_videos() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO soak.writes (creator, what, holder)
    SELECT creator_id, 'videos', soak.holder_of(creator_id) FROM (SELECT DISTINCT creator_id FROM written) AS creators;
    RETURN NULL;
END
$$;
CREATE TRIGGER soak_sees_new AFTER INSERT ON videos REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION soak.see_videos();
CREATE TRIGGER soak_sees_changed AFTER UPDATE ON videos REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION soak.see_videos();

CREATE FUNCTION soak.see_result() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO soak.writes (creator, what, holder) VALUES (NEW.id, 'result', soak.holder_of(NEW.id));
    RETURN NULL;
END
$$;
CREATE TRIGGER soak_sees AFTER UPDATE OF last_synced_at ON creators FOR EACH ROW EXECUTE FUNCTION soak.see_result();
