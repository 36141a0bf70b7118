-- A project after a year: creators with long names and huge numbers, one with 200 videos and a past of a year, jobs in every state
-- that no worker takes up, batches, keys, members, a log. For the only project that there is, whose owner is its only member.
CREATE TEMP TABLE here AS
SELECT projects.id AS project, users.id AS owner, users.email FROM projects, members, users
WHERE project_id = projects.id AND users.id = user_id;

INSERT INTO credentials (id, platform, app, external_id, access_token, scopes, access_expires_at)
VALUES (uuid_v7(), 'TIKTOK', 'filled', 'x', '', '', now());
CREATE TEMP TABLE names AS SELECT * FROM unnest(ARRAY[
    'amelie.kocht', 'badkitchen', 'caro_on_wheels', 'dailydoseofdachshunds', 'eats.with.emre', 'fjordfolk', 'gardenpunk', 'hausmusik',
    'ines.reads', 'joule_and_watt', 'kiezkueche', 'latenightlaundry', 'mona.moves', 'nordlicht', 'old.tractors.of.instagram', 'paperplane',
    'quietquilting', 'radelnde_rentner', 'slowfood.sofia', 'tinytoolshed', 'unboxed.by.uli', 'vintage.vera', 'waldbaden', 'xylophonix',
    'yoga.mit.yara', 'zerowaste_zoe', 'a_username_as_long_as_anybody_may_have_one_on_tiktok_today', 'ベーカリー東京', 'مطبخ.ليلى', 'z'
]) WITH ORDINALITY AS names (username, n);
INSERT INTO creators (id, project_id, credential_id, platform, external_id, username, display_name, followers, following, likes,
    video_count, status, status_reason, missing_scopes, connected_at, last_synced_at, next_sync_at)
SELECT uuid_v7(), project, credentials.id, 'TIKTOK', 'filled-' || n, username, initcap(replace(username, '.', ' ')),
    CASE n WHEN 27 THEN 9223372036854775807 WHEN 29 THEN NULL ELSE (n * n * 7919) % 4000003 + 100 END, n * 17,
    CASE n WHEN 27 THEN 9223372036854775807 ELSE n * n * 104729 END, CASE n WHEN 26 THEN 200 WHEN 27 THEN 123456 ELSE n * 7 END,
    CASE WHEN n % 9 = 4 THEN 'REAUTHORIZATION_REQUIRED' ELSE 'ACTIVE' END,
    CASE WHEN n % 9 = 4 THEN 'disconnected_by_creator' END,
    CASE n WHEN 25 THEN 'user.info.stats' ELSE '' END,
    now() - (31 - n) * interval '11 days 7 hours', CASE WHEN n <> 30 THEN now() - (n % 12) * interval '47 minutes' END,
    now() + interval '30 days'
FROM here, credentials, names WHERE credentials.app = 'filled';

DO $$ BEGIN
    -- A worker makes them, too, and one at a time does.
    WHILE to_regclass('creator_history_' || to_char(now() - interval '370 days', 'YYYY_MM')) IS NULL LOOP
        PERFORM make_history_partitions(now() - interval '370 days', now());
    END LOOP;
END $$;
CREATE TEMP TABLE star AS SELECT id FROM creators WHERE external_id = 'filled-26';
INSERT INTO videos (id, creator_id, external_id, title, url, views, likes, comments, shares, duration, published_at)
SELECT uuid_v7(), star.id, n::text,
    CASE WHEN n = 4 THEN NULL
        WHEN n = 3 THEN 'Ein-Glas-pro-Jahr-Herausforderung ' || repeat('#zerowaste', 30)
        WHEN n % 5 = 1 THEN 'The one where I try to fit a whole year of rubbish into a single jam jar, and what my neighbours had to say about it, part '
            || n || ' 🫙 #zerowaste #plasticfree #fyp'
        ELSE (ARRAY['Refill shop haul', 'Bees love this balcony', 'Mending the same jeans again', 'What is in my compost?', 'Soap from scratch'])[1 + n % 5] || ' ' || n END,
    'https://www.tiktok.com/@zerowaste_zoe/video/' || n,
    CASE n WHEN 2 THEN 9007199254740993 WHEN 4 THEN NULL ELSE 900 + (n * 7919) % 480000 END,
    CASE n WHEN 2 THEN 900719925474099 WHEN 4 THEN NULL ELSE 40 + (n * 613) % 31000 END, (n * 31) % 900, (n * 17) % 400, 30,
    now() - n * interval '43 hours'
FROM star, generate_series(1, 200) AS n;
INSERT INTO video_history
SELECT videos.id, now() - day * interval '1 day', views - views * day * day / 9000, likes, comments, shares
FROM videos, generate_series(0, 90) AS day
WHERE creator_id = (SELECT id FROM star) AND views < 1000000000 AND published_at < now() - day * interval '1 day';
INSERT INTO creator_history
SELECT id, now() - day * interval '1 day', 1345800 - day * 2100 - (sin(day / 23.0) * 22000)::bigint, 442,
    70797000 - day * 61000 - (cos(day / 9.0) * 90000)::bigint, 200, 43210987 - day * 101000 + (sin(day / 14.0) * 400000)::bigint
FROM star, generate_series(0, 365) AS day;
UPDATE creators SET followers = 1345800, likes = 70797000 WHERE id = (SELECT id FROM star);

INSERT INTO jobs (id, kind, lane, creator_id, project_id, state, attempts, error_code, error, log_id, created_at, run_at, finished_at)
SELECT uuid_v7(), 'sync', CASE WHEN n % 3 = 0 THEN 'sync' ELSE 'bulk' END, creators.id, project, state, CASE state WHEN 'done' THEN 1 ELSE 5 END,
    CASE WHEN state = 'done' THEN NULL ELSE (ARRAY['platform_error', 'platform_error', 'reauthorization_required', 'internal'])[1 + n % 4] END,
    CASE WHEN state = 'done' THEN NULL ELSE (ARRAY[
        'video.list answered 500 internal_error: Something went wrong on our side, please try again later. ' || repeat('The same again. ', 12),
        'user.info answered 400 invalid_params: no such field', 'The creator has withdrawn the authorization.',
        'the answer could not be read: expected value at line 1 column 1'])[1 + n % 4] END,
    CASE WHEN state <> 'done' AND n % 4 < 2 THEN '20261130025959010190' || n || '04A9F0D1C2B3A49586' END,
    now() - n * interval '53 minutes', now() + interval '7 hours', CASE WHEN state <> 'retrying' THEN now() - n * interval '51 minutes' END
FROM here, (SELECT row_number() OVER () AS n, id FROM creators) AS creators,
    LATERAL (SELECT unnest(CASE WHEN n % 4 = 1 THEN ARRAY['done', 'failed'] WHEN n % 11 = 3 THEN ARRAY['retrying', 'done'] ELSE ARRAY['done', 'done', 'cancelled'] END) AS state) AS states;

INSERT INTO batches (id, project_id, total, fresh, refused, stale_before, expanded_at, created_at, finished_at)
SELECT uuid_v7(), project, total, fresh, refused, now() - age, now(), now() - ago, now() - ended
FROM here, (VALUES (987654, 980000, 7654, interval '31 days', interval '30 days', interval '28 days 22 hours'),
    (30, 30, 0, NULL, interval '6 days', interval '5 days 23 hours 59 minutes'), (30, 23, 3, NULL, interval '9 minutes', NULL)
) AS batches (total, fresh, refused, age, ago, ended);
-- Two jobs were discarded, and two have another try before them.
UPDATE batches SET members = 4 WHERE finished_at IS NULL;
INSERT INTO batch_counts SELECT id, 0, 0, 0, 2 FROM batches WHERE finished_at IS NULL;
UPDATE jobs SET batched = true WHERE state = 'retrying';
INSERT INTO batch_jobs (job_id, batch_id) SELECT jobs.id, batches.id FROM jobs, batches WHERE state = 'retrying' AND batches.finished_at IS NULL;

INSERT INTO api_keys (id, project_id, hash, prefix, name, scopes, created_at, last_used_at, expires_at, revoked_at)
SELECT uuid_v7(), project, sha256(name::bytea), 'mlk_' || left(md5(name), 8), name, scopes, now() - made, now() - used, now() + ends, now() - gone
FROM here, (VALUES ('Backend, production', NULL, interval '200 days', interval '4 seconds', NULL, NULL),
    ('Nightly report', ARRAY['read'], interval '120 days', interval '9 hours', interval '40 days', NULL),
    ('A name that says it all: the staging cluster in Frankfurt, used by the importer and by the people of the data team', ARRAY['read', 'connect', 'sync'], interval '3 days', NULL, NULL, NULL),
    ('Ada’s laptop', ARRAY['read', 'connect', 'sync', 'disconnect'], interval '12 days', interval '6 days', interval '2 hours', NULL),
    ('Old backend', NULL, interval '400 days', interval '201 days', NULL, interval '199 days'),
    ('Trial', ARRAY['read'], interval '300 days', NULL, interval '-270 days', NULL)
) AS keys (name, scopes, made, used, ends, gone);
INSERT INTO users (id, email) SELECT uuid_v7(), unnest(ARRAY['grace@example.com', 'katherine.johnson-of-the-flight-research-division@subdomain.of.a.long.example.com', 'mary@example.com']);
INSERT INTO members (project_id, user_id, role, created_at)
SELECT project, id, CASE WHEN users.email LIKE 'grace%' THEN 'owner' ELSE 'viewer' END, now() - interval '80 days' FROM here, users WHERE id <> owner;
INSERT INTO invitations (id, hash, project_id, role, invited_by, expires_at)
SELECT uuid_v7(), sha256('a'), project, 'developer', email, now() + interval '5 days' FROM here;
INSERT INTO sessions (id, hash, user_id, browser, address, created_at, seen_at)
SELECT uuid_v7(), sha256(address::bytea), owner, browser, address, now() - interval '20 days', now() - interval '3 days' FROM here, (VALUES
    ('Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.0 Mobile/15E148 Safari/604.1', '203.0.113.7'),
    ('curl/8.0', '2001:db8:85a3:8d3:1319:8a2e:370:7348')) AS sessions (browser, address);
INSERT INTO audit_log (id, project_id, actor, action, subject, at)
SELECT uuid_v7(), project, CASE WHEN n % 3 = 0 THEN 'grace@example.com' ELSE email END,
    (ARRAY['creator_synced', 'key_created', 'member_invited', 'creator_disconnected', 'job_retried', 'key_revoked'])[1 + n % 6],
    (ARRAY['zerowaste_zoe', 'Nightly report', 'developer', 'a_username_as_long_as_anybody_may_have_one_on_tiktok_today', 'sync of fjordfolk', 'Old backend'])[1 + n % 6],
    now() - (71 - n) * interval '97 minutes'
FROM here, generate_series(1, 70) AS n;
WITH more AS (
    INSERT INTO projects (id, name) VALUES (uuid_v7(), 'Acme'), (uuid_v7(), 'A project whose name is as long as one may be, because somebody wanted to say all of it in the name')
    RETURNING id
) INSERT INTO members (project_id, user_id, role) SELECT more.id, owner, 'developer' FROM more, here;
