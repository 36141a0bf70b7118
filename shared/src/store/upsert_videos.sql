WITH creator AS (SELECT {} AS id),
said AS (
    SELECT creator.id AS creator_id, said.*
    FROM creator, unnest({}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {})
        AS said (id, external_id, title, description, url, cover_url, duration, views, likes, comments, shares, published_at)
),
judged AS (
    SELECT said.*, COALESCE(known.id, said.id) AS video_id,
        known.id IS NULL OR (known.title, known.description, known.url, known.cover_url, known.duration, known.views,
            known.likes, known.comments, known.shares, known.listed)
            IS DISTINCT FROM (said.title, said.description, said.url, said.cover_url, said.duration, said.views,
            said.likes, said.comments, said.shares, true) AS news,
        known.id IS NULL OR NOT known.recorded OR (known.views, known.likes, known.comments, known.shares)
            IS DISTINCT FROM (said.views, said.likes, said.comments, said.shares) AS counted
    FROM said
    LEFT JOIN videos AS known ON known.creator_id = said.creator_id AND known.external_id = said.external_id
),
changed AS (SELECT * FROM judged WHERE news OR counted),
recorded AS (
    INSERT INTO video_history (video_id, at, views, likes, comments, shares)
    SELECT video_id, now(), views, likes, comments, shares FROM changed WHERE counted
),
written AS (
    INSERT INTO videos (id, creator_id, external_id, title, description, url, cover_url, duration, views, likes, comments,
        shares, published_at, recorded)
    SELECT id, creator_id, external_id, title, description, url, cover_url, duration, views, likes, comments, shares,
        published_at, true
    FROM changed
    ON CONFLICT (creator_id, external_id) DO UPDATE SET
        title = excluded.title,
        description = excluded.description,
        url = excluded.url,
        cover_url = excluded.cover_url,
        duration = excluded.duration,
        views = excluded.views,
        likes = excluded.likes,
        comments = excluded.comments,
        shares = excluded.shares,
        listed = true,
        recorded = true
)
SELECT count(*) FROM changed WHERE news
