SELECT count(*), count(*) FILTER (WHERE known),
    least(coalesce(sum(views) FILTER (WHERE known), 0), 9223372036854775807)::bigint,
    least(coalesce(sum(likes) FILTER (WHERE known), 0), 9223372036854775807)::bigint,
    least(coalesce(sum(comments) FILTER (WHERE known), 0), 9223372036854775807)::bigint,
    least(coalesce(sum(shares) FILTER (WHERE known), 0), 9223372036854775807)::bigint
FROM (
    SELECT videos.*, num_nulls(videos.views, videos.likes, videos.comments, videos.shares) = 0 AS known
    FROM videos
    JOIN creators ON creators.id = videos.creator_id
    WHERE creators.id = {} AND creators.project_id = {} AND creators.disconnecting_at IS NULL
        AND videos.listed AND videos.published_at >= {}
) AS published
