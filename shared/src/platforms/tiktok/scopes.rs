//! What each scope lets us read (TikTok's Scopes Overview and Get User Info).

use crate::platforms::Scopes;

/// Account id, display name, picture.
const BASIC: &str = "user.info.basic";
/// Handle, bio, link, verification.
const PROFILE: &str = "user.info.profile";
/// Followers, following, likes, number of videos.
const STATS: &str = "user.info.stats";
/// The public videos.
const VIDEO_LIST: &str = "video.list";

/// The listing's scope, if it was granted.
pub fn listing_scope(granted: &Scopes) -> Option<Scopes> {
    granted.contains(VIDEO_LIST).then(|| Scopes::parse(VIDEO_LIST))
}

/// The scopes to ask the profile with, most first. TikTok refuses a request as a whole if one of its fields lacks its
/// scope, and does not say which one: then the next set is to be tried. Empty if no scope lets us read anything.
pub fn profile_scopes(granted: &Scopes) -> Vec<Scopes> {
    let granted_of = |names: &[&str]| {
        let names: Vec<&str> = names.iter().copied().filter(|name| granted.contains(name)).collect();
        Scopes::parse(&names.join(","))
    };
    let mut sets = Vec::new();
    for names in [[BASIC, PROFILE, STATS].as_slice(), &[BASIC, PROFILE], &[BASIC, STATS], &[BASIC]] {
        let set = granted_of(names);
        if !set.is_empty() && !sets.contains(&set) {
            sets.push(set);
        }
    }
    sets
}

/// What a scope lets us read, for people.
pub fn in_words(scope: &str) -> String {
    match scope {
        BASIC => "your name and picture",
        PROFILE => "your handle, bio and profile link",
        STATS => "your numbers of followers, likes and videos",
        VIDEO_LIST => "your public videos",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(granted: &str) -> Vec<String> {
        profile_scopes(&Scopes::parse(granted)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_profile_is_asked_for_with_less_and_less() {
        assert_eq!(
            sets("video.list,user.info.stats,user.info.profile,user.info.basic"),
            [
                "user.info.basic,user.info.profile,user.info.stats",
                "user.info.basic,user.info.profile",
                "user.info.basic,user.info.stats",
                "user.info.basic"
            ]
        );
        assert_eq!(sets("user.info.basic,user.info.stats"), ["user.info.basic,user.info.stats", "user.info.basic"]);
        assert_eq!(sets("user.info.stats"), ["user.info.stats"]);
    }

    #[test]
    fn nothing_granted_is_nothing_asked() {
        assert!(sets("").is_empty());
        assert!(sets("video.list").is_empty());
        assert_eq!(listing_scope(&Scopes::parse("user.info.basic")), None);
    }
}
