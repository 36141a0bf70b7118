//! TikTok's scopes, in words (reference: Scopes Overview).

/// What a scope lets us read, as the creator who did not grant it is told.
pub fn in_words(scope: &str) -> &str {
    match scope {
        "user.info.basic" => "your name and picture",
        "user.info.profile" => "your handle, bio and profile link",
        "user.info.stats" => "your numbers of followers, likes and videos",
        "video.list" => "your public videos",
        other => other,
    }
}
