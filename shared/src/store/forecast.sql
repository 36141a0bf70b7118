-- What the schedule will ask of the platform. $1 is the longest age where nobody says otherwise; all videos are read at the
-- first turn at which their numbers are $2 seconds old (`cadence::is_deep_due`).
SELECT count(*) AS creators,
    COALESCE(sum(60.0 / gap), 0)::float8 AS syncs_per_minute,
    COALESCE(sum(60.0 / gap * recent + 60.0 / (gap * GREATEST(1, ceil($2::float8 / gap))) * (pages - recent)), 0)::float8 AS pages_per_minute
FROM (
    SELECT LEAST(COALESCE(resync_gap, longest), longest) AS gap,
        pages,
        -- It reads on until a video is too old.
        LEAST(pages, COALESCE(recent_videos / 20 + 1, pages)) AS recent
    FROM (
        SELECT resync_gap, recent_videos,
            GREATEST(1, ceil(GREATEST(COALESCE(video_count, 0), COALESCE(recent_videos, 0)) / 20.0)) AS pages,
            COALESCE(creators.resync_every, projects.resync_every, $1) AS longest
        FROM creators JOIN projects ON projects.id = project_id
        WHERE disconnecting_at IS NULL AND status = 'ACTIVE'
    ) AS known
    WHERE longest > 0
) AS scheduled
