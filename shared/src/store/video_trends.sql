SELECT videos.id, part.number, point.views
FROM videos
JOIN creators ON creators.id = videos.creator_id
CROSS JOIN generate_series(-1, {} - 1) AS part (number)
JOIN LATERAL (
    SELECT views
    FROM video_history
    WHERE video_id = videos.id
        AND at >= CASE WHEN part.number < 0 THEN '-infinity' ELSE {} + part.number * {} * interval '1 second' END
        AND at < {} + (part.number + 1) * {} * interval '1 second'
    ORDER BY at DESC
    LIMIT 1
) AS point ON true
WHERE videos.id = ANY ({}) AND videos.creator_id = {} AND creators.project_id = {} AND creators.disconnecting_at IS NULL
ORDER BY videos.id, part.number
