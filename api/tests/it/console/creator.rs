//! A creator's own page: lines, figures, the table of videos, exports.

use std::collections::{BTreeSet, HashSet};

use chrono::Utc;
use futures::StreamExt as _;
use reqwest::Method;
use shared::ids::CreatorId;
use shared::people::Role;

use super::browser::{Browser, XSS, between};
use crate::harness::{Answer, World, send};

/// A past of 400 days: a point a day, of the creator and of every video; the last one of today.
async fn add_past(world: &World, creator: CreatorId) {
    let add = format!(
        "SELECT make_history_partitions(now() - interval '400 days', now());
        INSERT INTO creator_history (creator_id, at, followers, following, likes, video_count, views)
        SELECT '{creator}', now() - n * interval '1 day', 50000 - n * 100, 7, 9000 - n, 3, 700000 - n * 1000
        FROM generate_series(0, 400) AS n;
        INSERT INTO video_history (video_id, at, views)
        SELECT id, now() - n * interval '1 day', views + 500 - n FROM videos, generate_series(1, 400) AS n
        WHERE creator_id = '{creator}';
        UPDATE creators SET followers = 50000, likes = 9000, video_count = 3, last_synced_at = now()
        WHERE id = '{creator}'"
    );
    world.sql().await.batch_execute(&add).await.expect("a past");
}

fn page_of(world: &World, creator: CreatorId) -> String {
    format!("/console/projects/{}/creators/{creator}", world.project)
}

/// A link's target, as a browser reads it.
fn unescaped(href: &str) -> String {
    href.replace("&amp;", "&").replace("&#38;", "&")
}

/// The titles in the table of videos.
fn titles(page: &str) -> Vec<&str> {
    let (_, table) = page.split_once("<table class=\"videos\">").expect("the table");
    table.split("<span class=\"title\">").skip(1).map(|title| title.split('<').next().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_how_the_numbers_went() {
    let world = World::start().await;
    let mut viewer = Browser::member(&world, Role::Viewer).await;
    let creator = world.creator("open-1").await;
    world.add_videos(creator, 3, Utc::now()).await;
    let update = "UPDATE videos SET views = 1000 * (views + 1), likes = 60, comments = 30, shares = 10";
    world.sql().await.batch_execute(update).await.expect("counters");
    add_past(&world, creator).await;
    let page = page_of(&world, creator);
    // Each period compares with what was known when it began.
    for (query, followers, percent) in [
        ("", "+3,000", "6.4%"),
        ("?period=30d", "+3,000", "6.4%"),
        ("?period=90d", "+9,000", "22%"),
        ("?period=1y", "+36.5K", "270.4%"),
        ("?period=all", "+40K", "400%"),
        ("?period=nonsense&sort=nonsense&order=%00", "+3,000", "6.4%"),
    ] {
        let text = viewer.get(&format!("{page}{query}")).await.text;
        assert!(text.contains(followers) && text.contains(&format!("({percent})")), "{query}: {text}");
        assert!(text.contains("100 a day on average"), "{query}: {text}");
        assert_eq!(text.matches("class=\"line\" d=\"M").count(), 3 + 3, "three lines, and one for each video: {text}");
        assert_eq!(text.matches("<title id=").count(), 3, "each line has a name");
        assert!(!text.contains("NaN") && !text.contains("inf "), "{text}");
    }
    let text = viewer.get(&page).await.text;
    assert!(text.contains("From 47,000 on ") && text.contains("to 50,000 on "), "the line in words: {text}");
    assert!(text.contains("(likes + comments + shares) ÷ views"), "the formula: {text}");
    assert!(text.contains("(180 + 90 + 30) ÷ 6,000, over 3 videos published in the last 30 days."), "{text}");
    assert_eq!(between(&text, "Engagement rate</h2>\n  <p class=\"value\">", "<"), "5%");
    let table = between(&text, "The same as a table", "</table>");
    let newest = "SELECT to_char(max(at) AT TIME ZONE 'UTC', 'YYYY-MM-DD') FROM creator_history";
    let newest: String = world.sql().await.query_one(newest, &[]).await.expect("a row").get(0);
    assert!(table.contains(&format!("<td>{newest}</td>")), "{table}");
    assert!(table.matches("<tr>").count() <= 32, "{table}");
    assert!(!text.contains("Sync now") && !text.contains("Disconnect"), "a viewer only looks");
    // In the reader's own way of writing.
    let german = send(viewer.request(Method::GET, &page).header("accept-language", "de-DE,de;q=0.9,en;q=0.8")).await;
    assert!(german.text.contains("title=\"50.000\">50K<") && german.text.contains("(6,4\u{a0}%)"), "{}", german.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_knows_is_a_dash_and_never_nought() {
    let world = World::start().await;
    let mut viewer = Browser::member(&world, Role::Viewer).await;
    let creator = world.creator("open-1").await;
    let page = page_of(&world, creator);
    let text = viewer.get(&page).await.text;
    assert!(text.contains("that begins with the first sync"), "{text}");
    assert!(text.contains("They are here after the first sync."), "{text}");
    assert!(text.contains("No video was published in the last 30 days."), "{text}");
    let sql = world.sql().await;
    sql.batch_execute("UPDATE creators SET last_synced_at = now()").await.expect("a sync whose point is gone");
    let text = viewer.get(&page).await.text;
    assert!(text.contains("No change is on record") && !text.contains("begins with the first sync"), "{text}");
    let some = format!(
        "UPDATE creators SET missing_scopes = 'user.info.profile,user.info.stats', last_synced_at = now();
        INSERT INTO creator_history (creator_id, at) VALUES ('{creator}', now())"
    );
    sql.batch_execute(&some).await.expect("a first sync");
    world.add_videos(creator, 2, Utc::now()).await;
    let text = viewer.get(&page).await.text;
    assert!(text.contains("One sync is recorded so far."), "{text}");
    assert!(text.contains("The creator has not allowed user.info.stats."), "{text}");
    assert!(text.contains("No views are known of the 2 videos published in the last 30 days."), "{text}");
    assert!(text.contains("2 videos left out: the platform did not tell all four numbers."), "{text}");
    assert_eq!(text.matches("<p class=\"value\">–</p>").count(), 4, "followers, likes, views, rate: {text}");
    assert!(!text.contains("class=\"line\"") && !text.contains('%'), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_day_has_a_line_already() {
    let world = World::start().await;
    let mut viewer = Browser::member(&world, Role::Viewer).await;
    let creator = world.creator("open-1").await;
    // The earlier one may be of the month before.
    let add = format!(
        "SELECT make_history_partitions(now() - interval '1 day', now());
        INSERT INTO creator_history (creator_id, at, followers)
        SELECT '{creator}', now() - n * interval '1 second', 100 - n FROM generate_series(0, 10, 10) AS n;
        UPDATE creators SET followers = 100"
    );
    world.sql().await.batch_execute(&add).await.expect("two syncs");
    let text = viewer.get(&page_of(&world, creator)).await.text;
    assert!(text.contains("From 90 on ") && text.contains("+10"), "{text}");
    assert!(!text.contains("a day on average"), "no day has passed: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_through_the_table_shows_each_video_once() {
    let world = World::start().await;
    let mut viewer = Browser::member(&world, Role::Viewer).await;
    let creator = world.creator("open-1").await;
    world.add_videos(creator, 60, Utc::now()).await;
    let update =
        "UPDATE videos SET title = 'Video ' || external_id, likes = views % 7, comments = nullif(views % 5, 0)";
    world.sql().await.batch_execute(update).await.expect("counters");
    let page = page_of(&world, creator);
    for sort in ["publishedAt", "views", "likes", "comments", "shares"] {
        for order in ["desc", "asc"] {
            let (mut seen, mut next) = (Vec::new(), format!("{page}?sort={sort}&order={order}&period=90d"));
            for number in 1.. {
                let text = viewer.get(&next).await.text;
                seen.extend(titles(&text).into_iter().map(str::to_owned));
                let sorted = if order == "asc" { "ascending" } else { "descending" };
                assert_eq!(text.matches(&format!("aria-sort=\"{sorted}\"")).count(), 1, "{text}");
                assert_eq!(text.matches("aria-current=\"true\">90 days").count(), 1, "the period stays");
                if !text.contains("rel=\"next\"") {
                    assert_eq!(number, 3, "pages of 25");
                    break;
                }
                let query = unescaped(between(&text, "rel=\"next\" href=\"", "#videos\""));
                next = format!("{page}{query}");
            }
            assert_eq!(seen.len(), 60, "{sort} {order}");
            assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 60, "each once: {sort} {order}");
            match (sort, order) {
                ("publishedAt", "desc") | ("views", "asc") => assert_eq!(seen[0], "Video v0"),
                ("publishedAt", "asc") | ("views", "desc") => assert_eq!(seen[0], "Video v59"),
                _ => {}
            }
        }
    }
    // A place in another order, or in another's list, is none here.
    let text = viewer.get(&format!("{page}?sort=views")).await.text;
    let next = unescaped(between(&text, "rel=\"next\" href=\"", "#videos\""));
    assert_eq!(viewer.get(&format!("{page}{}", next.replace("sort=views", "sort=likes"))).await.status, 404);
    let other = world.creator("open-2").await;
    assert_eq!(viewer.get(&format!("{}{next}", page_of(&world, other))).await.status, 404);
    assert_eq!(viewer.get(&format!("{page}?after=%00")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_video_is_called_is_more_than_text() {
    let world = World::start().await;
    let mut viewer = Browser::member(&world, Role::Viewer).await;
    let creator = world.creator("open-1").await;
    world.add_videos(creator, 3, Utc::now()).await;
    add_past(&world, creator).await;
    let sql = world.sql().await;
    let evil = "UPDATE videos SET title = $1, description = $1, url = 'https://a.example/' || $1, cover_url = $1, external_id = $1 || id";
    sql.execute(evil, &[&XSS]).await.expect("evil videos");
    sql.batch_execute("UPDATE videos SET url = 'javascript:alert(1)' WHERE views = 1").await.expect("an evil link");
    let page = viewer.get(&page_of(&world, creator)).await;
    assert!(page.text.contains("&#60;script&#62;"), "{}", page.text);
    for wrong in ["<script>alert", "<img src=x", "javascript:", "60481729", " style=", "<style"] {
        assert!(!page.text.contains(wrong), "{wrong}: {}", page.text);
    }
    assert!(page.header("content-security-policy").expect("a policy").contains("style-src 'self';"));
}

/// A reader of RFC 4180.
fn records(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut chars, mut quoted) = (text.chars().peekable(), false);
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut field)),
            '\r' if !quoted && chars.next_if_eq(&'\n').is_some() => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            _ => field.push(c),
        }
    }
    assert!(record.is_empty() && field.is_empty() && !quoted, "the last record has an end");
    records
}

fn disposition(answer: &Answer) -> &str {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let text = answer.header("content-disposition").expect("a name");
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '), "{text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_whole_and_no_cell_is_a_formula() {
    let world = World::start().await;
    let mut viewer = Browser::member(&world, Role::Viewer).await;
    let creator = world.creator("open-1").await;
    world.add_videos(creator, 1203, Utc::now()).await;
    add_past(&world, creator).await;
    let sql = world.sql().await;
    let evil = "=HYPERLINK(\"https://evil.example\",\"x\"),\r\nnext;\u{202e}";
    sql.execute("UPDATE videos SET title = $1, description = '+1', likes = NULL WHERE views = 7", &[&evil])
        .await
        .unwrap();
    sql.execute("UPDATE creators SET username = $1", &[&"../é\r\nset-cookie: a=b\"; _ok-1"]).await.unwrap();
    let export = format!("{}/export", page_of(&world, creator));

    let csv = viewer.get(&format!("{export}?what=videos&format=csv")).await;
    let today = Utc::now().format("%Y-%m-%d");
    assert_eq!(disposition(&csv), format!("attachment; filename=\"set-cookieab_ok-1-videos-{today}.csv\""));
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8; header=present"));
    assert_eq!(csv.header("set-cookie"), None);
    let lines = records(&csv.text);
    assert_eq!(
        lines[0].join(","),
        "id,externalId,title,description,publishedAt,views,likes,comments,shares,duration,url,coverUrl"
    );
    assert_eq!(lines.len(), 1 + 1203);
    assert_eq!(lines[1..].iter().map(|line| &line[0]).collect::<BTreeSet<_>>().len(), 1203, "each once");
    assert!(lines.iter().all(|line| line.len() == 12));
    assert!(lines[1..].is_sorted_by(|one, next| one[4] >= next[4]), "newest first");
    let line = lines.iter().find(|line| line[5] == "7").expect("the evil one");
    assert_eq!((line[2].as_str(), line[3].as_str()), (format!("'{evil}").as_str(), "'+1"));
    assert_eq!(line[6], "", "unknown, and not 0");

    let ndjson = viewer.get(&format!("{export}?what=videos&format=ndjson")).await;
    assert!(disposition(&ndjson).ends_with(".ndjson\""));
    assert_eq!(ndjson.header("content-type"), Some("application/x-ndjson"));
    let read: Vec<serde_json::Value> =
        ndjson.text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    assert_eq!(read.len(), 1203);
    let api = world.client.get(&format!("/api/v1/creators/{creator}/videos")).await;
    assert_eq!(api.data(200)["items"][7], read[7], "as the API says it: text as it is");
    assert_eq!(read[7]["title"], evil);

    let csv = viewer.get(&format!("{export}?what=history&format=csv")).await;
    assert!(disposition(&csv).contains("-history-"));
    let lines = records(&csv.text);
    assert_eq!((lines.len(), lines[0].join(",")), (1 + 401, "at,followers,following,likes,videoCount,views".into()));
    assert!(lines[1..].is_sorted(), "oldest first");
    let ndjson = viewer.get(&format!("{export}?what=history&format=ndjson")).await;
    let last: serde_json::Value = serde_json::from_str(ndjson.text.lines().last().expect("a line")).expect("an object");
    assert_eq!((last["followers"].as_i64(), last["views"].as_i64()), (Some(50_000), Some(700_000)));

    for wrong in ["", "?what=videos", "?format=csv", "?what=secrets&format=csv", "?what=videos&format=%00"] {
        assert_eq!(viewer.get(&format!("{export}{wrong}")).await.status, 404, "{wrong}");
    }
    sql.batch_execute("UPDATE creators SET disconnecting_at = now()").await.expect("on its way out");
    assert_eq!(viewer.get(&format!("{export}?what=videos&format=csv")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_20000_videos_is_read_as_its_reader_reads() {
    let world = World::start().await;
    let viewer = Browser::member(&world, Role::Viewer).await;
    let creator = world.creator("open-1").await;
    world.add_videos(creator, 20_000, Utc::now()).await;
    let export = format!("{}/export?what=videos&format=ndjson", page_of(&world, creator));
    let whole = send(viewer.request(Method::GET, &export)).await;
    assert_eq!(whole.text.lines().count(), 20_000);
    // 80 MB, far more than any socket holds: while nobody reads on, most of it is still in Postgres.
    let sql = world.sql().await;
    sql.batch_execute("UPDATE videos SET description = repeat('long', 1000)").await.expect("long descriptions");
    let answer = viewer.request(Method::GET, &export).send().await.expect("an answer");
    let mut parts = answer.bytes_stream();
    let mut lines = 0;
    let newlines = |part: &[u8]| part.split(|byte| *byte == b'\n').count() - 1;
    lines += newlines(&parts.next().await.expect("a part").expect("a part"));
    sql.batch_execute("UPDATE videos SET listed = false").await.expect("none is listed any more");
    while let Some(part) = parts.next().await {
        lines += newlines(&part.expect("a part"));
    }
    assert!((500..15_000).contains(&lines), "{lines} were read ahead");
}
