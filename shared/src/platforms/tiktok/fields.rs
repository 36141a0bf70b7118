//! The fields of TikTok's Display API: which we ask for, and what becomes of each. The requests are made from these lists,
//! and so is the documentation's table.

/// A field that we ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// TikTok's name.
    pub name: &'static str,
    /// Whoever did not grant this scope does not show it (reference: Get User Info, List Videos).
    pub scope: &'static str,
    /// The name that our API gives it, with dots where it lies deeper.
    pub shown_as: &'static str,
    /// What to know about it.
    pub about: &'static str,
}

/// A field that TikTok has and we leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut {
    /// TikTok's name.
    pub name: &'static str,
    /// Why.
    pub why: &'static str,
}

const BASIC: &str = super::api::BASIC;
const PROFILE: &str = "user.info.profile";
const STATS: &str = "user.info.stats";
const VIDEOS: &str = super::api::VIDEO_LIST;

/// What is asked of a user, scope by scope. TikTok refuses the whole request for one field too many.
pub const USER: [Field; 11] = [
    field("open_id", BASIC, "externalId", "The account, for this TikTok app alone: another app sees another id"),
    field("avatar_url", BASIC, "stats.avatarUrl", "The link may expire: copy the picture if you keep it"),
    field("display_name", BASIC, "displayName", "The name that people see; it may change at any time"),
    field("username", PROFILE, "username", "The handle; it may change at any time"),
    field("bio_description", PROFILE, "stats.bio", "Empty if the creator wrote none"),
    field("profile_deep_link", PROFILE, "profileUrl", "Opens the profile in the TikTok app or on the web"),
    field("is_verified", PROFILE, "verified", "TikTok's blue tick"),
    field("follower_count", STATS, "stats.followers", "It rises and falls"),
    field("following_count", STATS, "stats.following", "Accounts that the creator follows"),
    field("likes_count", STATS, "stats.likes", "Over all videos; it falls when a video is deleted or hidden"),
    field("video_count", STATS, "stats.videoCount", "Public videos"),
];

/// What is asked of a video.
pub const VIDEO: [Field; 11] = [
    field("id", VIDEOS, "externalId", "About 19 digits: more than a JavaScript number holds, so it is text"),
    field("create_time", VIDEOS, "publishedAt", "To the second"),
    field("title", VIDEOS, "title", "May be empty"),
    field("video_description", VIDEOS, "description", "The caption"),
    field("share_url", VIDEOS, "url", "The video's page"),
    field("cover_image_url", VIDEOS, "coverUrl", "A signed link, good for 6 hours: sync again, or copy the picture"),
    field("duration", VIDEOS, "duration", "Seconds"),
    field("view_count", VIDEOS, "views", "Since the video was published"),
    field("like_count", VIDEOS, "likes", "Since the video was published"),
    field("comment_count", VIDEOS, "comments", "Their number; not their text"),
    field("share_count", VIDEOS, "shares", "Since the video was published"),
];

/// What TikTok's Display API has and we do not ask for.
pub const LEFT_OUT: [LeftOut; 7] = [
    left_out("union_id", "One person over all apps of one developer; `externalId` tells accounts apart already"),
    left_out("avatar_url_100", "`avatar_url` in a smaller size"),
    left_out("avatar_large_url", "`avatar_url` in a larger size"),
    left_out("height", "Pixels of the video"),
    left_out("width", "Pixels of the video"),
    left_out("embed_html", "HTML that shows TikTok's player"),
    left_out("embed_link", "A link to TikTok's player"),
];

const fn field(name: &'static str, scope: &'static str, shown_as: &'static str, about: &'static str) -> Field {
    Field { name, scope, shown_as, about }
}

const fn left_out(name: &'static str, why: &'static str) -> LeftOut {
    LeftOut { name, why }
}
