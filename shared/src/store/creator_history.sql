SELECT point.at, point.followers, point.following, point.likes, point.video_count, point.views
FROM creators
LEFT JOIN LATERAL (
    SELECT *
    FROM (
        SELECT at, followers, following, likes, video_count, views, lead(at) OVER (ORDER BY at) AS next
        FROM creator_history
        WHERE creator_id = creators.id AND at >= {} AND at < {}
    ) AS written
    WHERE next IS NULL OR date_trunc({}, next, 'UTC') > date_trunc({}, at, 'UTC')
    ORDER BY at
    LIMIT {}
) AS point ON true
WHERE creators.id = {} AND creators.project_id = {} AND creators.disconnecting_at IS NULL
ORDER BY point.at
