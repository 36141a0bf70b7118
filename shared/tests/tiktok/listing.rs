//! The walk through the videos.

use serde_json::json;
use shared::platforms::{Next, PageCursor, PlatformError};

use crate::helpers::{Stage, caller, kind};

#[tokio::test]
async fn twenty_videos_cost_one_request() {
    let stage = Stage::new();
    for (videos, most) in [(0, 1), (1, 1), (20, 1), (21, 2), (39, 2), (200, 11)] {
        let (open_id, access) = stage.access(json!({"videos": videos})).await;
        let (seen, last, pages) = stage.walk(&access).await;
        assert_eq!((seen, last), (stage.published(&open_id).await, Next::End));
        assert!(pages <= most, "{videos} videos: {pages} pages");
    }
}

#[tokio::test]
async fn videos_of_one_second_are_all_seen() {
    let stage = Stage::new();
    for edge in ["skip", "repeat"] {
        stage.settings(json!({"page_edge": edge})).await;
        for per_second in [2, 3, 7, 19] {
            let (open_id, access) = stage.access(json!({"videos": 150, "per_second": per_second})).await;
            let (seen, last, _) = stage.walk(&access).await;
            assert_eq!(seen.len(), 150);
            assert_eq!((seen, last), (stage.published(&open_id).await, Next::End), "{edge} {per_second}");
        }
        // More than a page in one second: TikTok can't show them all, and nobody is told that they are gone.
        let (_, access) = stage.access(json!({"videos": 100, "per_second": 25})).await;
        let (seen, last, _) = stage.walk(&access).await;
        assert_eq!((seen.len(), last), (80, Next::Broken), "{edge}");
    }
}

#[tokio::test]
async fn short_pages_are_not_the_end() {
    let stage = Stage::new();
    let (open_id, access) = stage.access(json!({"videos": 100, "per_second": 2})).await;
    stage.fault(json!({"endpoint": "video_list", "kind": "short_page", "times": 3})).await;
    stage.fault(json!({"endpoint": "video_list", "kind": "empty_page", "times": 2})).await;
    let (seen, last, _) = stage.walk(&access).await;
    assert_eq!((seen, last), (stage.published(&open_id).await, Next::End));
}

#[tokio::test]
async fn a_repeated_cursor_ends_the_walk_and_tells_nobody_that_videos_are_gone() {
    let stage = Stage::new();
    let (_, access) = stage.access(json!({"videos": 100})).await;
    for after in [0, 1, 2] {
        stage.fault(json!({"endpoint": "video_list", "kind": "repeated_cursor", "after": after})).await;
        let (seen, last, pages) = stage.walk(&access).await;
        assert_eq!(last, Next::Broken);
        assert!(seen.len() >= 20 && pages <= 8, "{pages} pages");
        stage.clear_faults().await;
    }
}

#[tokio::test]
async fn empty_pages_do_not_go_on_for_ever() {
    let stage = Stage::new();
    let (_, access) = stage.access(json!({"videos": 100})).await;
    stage.fault(json!({"endpoint": "video_list", "kind": "empty_page", "after": 1})).await;
    let (seen, last, pages) = stage.walk(&access).await;
    assert_eq!((seen.len(), last), (20, Next::Broken));
    assert!(pages <= 25, "{pages} pages");
}

#[tokio::test]
async fn counters_come_as_they_are() {
    let stage = Stage::new();
    let (open_id, access) = stage.access(json!({})).await;
    let changes =
        json!({"title": "a\u{0}b", "view_count": 9_007_199_254_740_993_i64, "like_count": null, "share_count": 0});
    let video = json!({"create_time": 1_763_970_000, "changes": changes});
    let made = stage.control("POST", &format!("/users/{open_id}/videos"), video).await;
    for strings in [false, true] {
        if strings {
            stage.fault(json!({"endpoint": "video_list", "kind": "numeric_strings"})).await;
        }
        let page = stage.tiktok.videos(&access, None, &caller()).await.unwrap();
        let [video] = page.videos.as_slice() else { panic!("{page:?}") };
        assert_eq!(video.external_id, made["videos"][0]["id"].as_str().unwrap());
        assert_eq!(video.title.as_deref(), Some("ab"));
        assert_eq!((video.views, video.likes, video.shares), (Some(9_007_199_254_740_993), None, Some(0)));
        assert_eq!(video.published_at.timestamp(), 1_763_970_000);
        assert!(video.url.is_some() && video.cover_url.is_some() && video.duration.is_some());
    }
}

#[tokio::test]
async fn a_private_creator_lists_nothing_and_a_foreign_cursor_is_refused() {
    let stage = Stage::new();
    let (open_id, access) = stage.access(json!({"videos": 5})).await;
    stage.control("PATCH", &format!("/users/{open_id}"), json!({"private": true})).await;
    let page = stage.tiktok.videos(&access, None, &caller()).await.unwrap();
    assert_eq!((page.videos.len(), page.next), (0, Next::End));
    let foreign = stage.tiktok.videos(&access, Some(&PageCursor("QVFI".into())), &caller()).await;
    assert_eq!(kind(&foreign), "rejected");
    assert!(matches!(foreign, Err(PlatformError::Rejected { code, .. }) if code == "invalid_cursor"));
}
