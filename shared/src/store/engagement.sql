SELECT count(*), count(*) FILTER (WHERE known),
    least(sum(views) FILTER (WHERE known), 9223372036854775807)::bigint,
    least(sum(likes) FILTER (WHERE known), 9223372036854775807)::bigint,
    least(sum(comments) FILTER (WHERE known), 9223372036854775807)::bigint,
    least(sum(shares) FILTER (WHERE known), 9223372036854775807)::bigint
FROM (
    SELECT views, likes, comments, shares, num_nulls(views, likes, comments, shares) = 0 AS known
    FROM videos
    JOIN creators ON creators.id = videos.creator_id
    WHERE creator_id = {} AND project_id = {} AND disconnecting_at IS NULL AND listed AND published_at >= {}
) AS published
