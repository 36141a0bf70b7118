SELECT point.at, point.views, point.likes, point.comments, point.shares
FROM creators
JOIN videos ON videos.creator_id = creators.id AND videos.id = {}
LEFT JOIN LATERAL (
    SELECT *
    FROM (
        SELECT at, views, likes, comments, shares, lead(at) OVER (ORDER BY at) AS next
        FROM video_history
        WHERE video_id = videos.id AND at >= {} AND at < {}
    ) AS written
    WHERE next IS NULL OR date_trunc({}, next, 'UTC') > date_trunc({}, at, 'UTC')
    ORDER BY at
    LIMIT {}
) AS point ON true
WHERE creators.id = {} AND creators.project_id = {} AND creators.disconnecting_at IS NULL
ORDER BY point.at
