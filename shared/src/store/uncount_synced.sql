WITH late AS (
    DELETE FROM jobs
    -- Of those that this transaction has made, and nobody else has seen. Not by the state: Postgres may take its index then, and
    -- read all that waits.
    WHERE id = ANY ($2) AND claim = 0 AND created_at = now()
        -- Looked up for each: joined, Postgres may read all creators for the few that are meant.
        AND (SELECT last_synced_at FROM creators WHERE creators.id = creator_id) >= (SELECT created_at FROM batches WHERE id = $1)
    RETURNING id
)
UPDATE batches SET members = members - late.jobs, fresh = fresh + late.jobs
FROM (SELECT count(*) AS jobs FROM late) AS late
WHERE id = $1 AND late.jobs > 0
