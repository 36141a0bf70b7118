INSERT INTO creator_history (creator_id, at, followers, following, likes, video_count, views)
SELECT {}, now(), {}, {}, {}, {},
    CASE
        WHEN count(*) = 0 AND {} THEN 0
        WHEN sum(views) > 9223372036854775807 THEN 9223372036854775807
        ELSE sum(views)::bigint
    END
FROM videos WHERE creator_id = {} AND listed
