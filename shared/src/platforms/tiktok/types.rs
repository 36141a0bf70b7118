//! TikTok's users and videos, as the other platforms' profiles and videos.

use serde_json::Value;

use super::fields;
use super::listing::PageEnd;
use super::values::{count, flag, id, integer_in, non_empty_text, text, time};
use crate::platforms::{Profile, Scopes, Video};

/// What is asked of a video, as the request lists it.
pub(super) fn video_fields() -> String {
    fields::VIDEO.map(|field| field.name).join(",")
}

/// The scopes that show something of a profile.
pub(super) fn profile_scopes() -> Scopes {
    fields::USER.iter().map(|field| field.scope).collect()
}

/// Those of `granted` that show something of a profile, and the fields that they show.
pub(super) fn profile_fields(granted: &Scopes) -> (Scopes, Vec<&'static str>) {
    let shown = fields::USER.iter().filter(|field| granted.contains(field.scope));
    (granted.intersection(&profile_scopes()), shown.map(|field| field.name).collect())
}

/// Reads `data.user`.
pub(super) fn profile(user: &Value) -> Profile {
    Profile {
        external_id: non_empty_text(user, "open_id"),
        username: non_empty_text(user, "username"),
        display_name: text(user, "display_name"),
        bio: text(user, "bio_description"),
        avatar_url: non_empty_text(user, "avatar_url"),
        profile_url: non_empty_text(user, "profile_deep_link"),
        verified: flag(user, "is_verified"),
        followers: count(user, "follower_count"),
        following: count(user, "following_count"),
        likes: count(user, "likes_count"),
        video_count: count(user, "video_count"),
    }
}

/// Reads the `data` of a page of videos.
pub(super) fn videos(data: &Value) -> (Vec<Video>, PageEnd) {
    let all = data.get("videos").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let videos: Vec<_> = all.iter().filter_map(video).collect();
    let unreadable = all.len() - videos.len();
    if unreadable > 0 {
        tracing::warn!(unreadable, "TikTok lists videos without an id or a time of publication: they are skipped");
    }
    let end = PageEnd {
        cursor: integer_in(data, "cursor"),
        has_more: flag(data, "has_more"),
        seconds: videos.iter().map(|video| video.published_at.timestamp()).collect(),
        unreadable: unreadable > 0,
    };
    (videos, end)
}

fn video(video: &Value) -> Option<Video> {
    Some(Video {
        external_id: id(video, "id")?,
        title: text(video, "title"),
        description: text(video, "video_description"),
        url: non_empty_text(video, "share_url"),
        cover_url: non_empty_text(video, "cover_image_url"),
        duration: count(video, "duration"),
        views: count(video, "view_count"),
        likes: count(video, "like_count"),
        comments: count(video, "comment_count"),
        shares: count(video, "share_count"),
        published_at: time(video, "create_time")?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::values::parse;
    use super::*;

    #[test]
    fn fields_are_those_of_the_granted_scopes() {
        let fields = |granted: &str| profile_fields(&Scopes::parse(granted));
        let (needed, names) = fields("video.list,user.info.basic,user.info.stats");
        assert_eq!(needed.to_string(), "user.info.basic,user.info.stats");
        assert_eq!(
            names.join(","),
            "open_id,avatar_url,display_name,follower_count,following_count,likes_count,video_count"
        );
        assert_eq!(fields("video.list"), (Scopes::default(), vec![]));
    }

    #[test]
    fn a_user_is_read_as_it_comes() {
        let user = json!({"open_id": "demo-0f41-open", "username": "", "display_name": "De\u{0}mo", "bio_description": "",
            "is_verified": true, "follower_count": "15234", "following_count": 9_007_199_254_740_993_i64, "likes_count": -1,
            "profile_deep_link": null, "something": [1]});
        let expected = Profile {
            external_id: Some("demo-0f41-open".into()),
            display_name: Some("Demo".into()),
            bio: Some(String::new()),
            verified: Some(true),
            followers: Some(15_234),
            following: Some(9_007_199_254_740_993),
            ..Profile::default()
        };
        assert_eq!(profile(&user), expected);
        assert_eq!(profile(&json!({})), Profile::default());
    }

    #[test]
    fn a_page_is_read_as_it_comes() {
        let data = json!({"videos": [
            {"id": "7512345678901234567", "create_time": 1_763_970_000, "duration": 34, "title": "demo clip",
             "video_description": "", "share_url": "https://x/", "cover_image_url": "https://y/?a=%2Bb", "like_count": 120,
             "comment_count": "4", "share_count": null, "view_count": 2.048e3, "extra": {}},
            {"id": 7, "create_time": "1763970000"},
            {"id": "8"}, {"create_time": 5}, {}, 5, null,
        ], "cursor": "1763970000000", "has_more": true});
        let (read, end) = videos(&data);
        let [first, second] = read.as_slice() else { panic!("{read:?}") };
        assert_eq!(
            (first.external_id.as_str(), first.published_at.timestamp()),
            ("7512345678901234567", 1_763_970_000)
        );
        assert_eq!((first.likes, first.comments, first.shares, first.views), (Some(120), Some(4), None, Some(2_048)));
        assert_eq!(first.cover_url.as_deref(), Some("https://y/?a=%2Bb"));
        assert_eq!((second.external_id.as_str(), second.views, &second.title), ("7", None, &None));
        assert_eq!((end.cursor, end.has_more, end.unreadable), (Some(1_763_970_000_000), Some(true), true));
        assert_eq!(end.seconds, [1_763_970_000; 2]);
    }

    #[test]
    fn a_page_without_videos_is_empty() {
        for data in [json!({"has_more": false}), json!({"videos": null, "has_more": false})] {
            let (read, end) = videos(&data);
            assert!(read.is_empty() && !end.unreadable && end.has_more == Some(false));
        }
    }

    proptest! {
        #[test]
        fn no_value_makes_it_panic(text in ".*", number in any::<f64>(), integer in any::<i64>()) {
            for value in [json!(text), json!(number), json!(integer), json!([text]), parse(text.as_bytes()).unwrap_or_default()] {
                let object: Value = fields::VIDEO.iter().map(|field| (field.name.to_owned(), value.clone())).collect();
                let _ = videos(&json!({"videos": [object], "cursor": value, "has_more": value}));
                let _ = profile(&object);
                let _ = profile(&value);
                let _ = videos(&value);
            }
        }
    }
}
