//! What tests changed about a creator or a video, on top of what the seed says.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Deserializer};

use super::series::Post;

/// A field as the seed has it, another value, or absent. In JSON: left out, a value, `null`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Patch<T> {
    #[default]
    Natural,
    Value(T),
    Absent,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<T>::deserialize(deserializer).map(|value| value.map_or(Self::Absent, Self::Value))
    }
}

impl<T: Clone> Patch<T> {
    /// What a reader sees.
    pub(crate) fn over(&self, natural: impl FnOnce() -> T) -> Option<T> {
        match self {
            Self::Natural => Some(natural()),
            Self::Value(value) => Some(value.clone()),
            Self::Absent => None,
        }
    }

    fn merge(&mut self, newer: Self) {
        if !matches!(newer, Self::Natural) {
            *self = newer;
        }
    }
}

/// Changes of a profile; the body of `PATCH /control/users/{open_id}` and a part of `POST /control/users`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ProfileChanges {
    pub(crate) display_name: Patch<String>,
    pub(crate) username: Patch<String>,
    pub(crate) bio_description: Patch<String>,
    pub(crate) is_verified: Patch<bool>,
    pub(crate) follower_count: Patch<i64>,
    pub(crate) following_count: Patch<i64>,
    pub(crate) likes_count: Patch<i64>,
    pub(crate) video_count: Patch<i64>,
    /// Shows no videos.
    pub(crate) private: Option<bool>,
    /// Its tokens are refused.
    pub(crate) banned: Option<bool>,
}

impl ProfileChanges {
    pub(crate) fn merge(&mut self, newer: Self) {
        self.display_name.merge(newer.display_name);
        self.username.merge(newer.username);
        self.bio_description.merge(newer.bio_description);
        self.is_verified.merge(newer.is_verified);
        self.follower_count.merge(newer.follower_count);
        self.following_count.merge(newer.following_count);
        self.likes_count.merge(newer.likes_count);
        self.video_count.merge(newer.video_count);
        self.private = newer.private.or(self.private);
        self.banned = newer.banned.or(self.banned);
    }
}

/// Changes of a video; the body of `PATCH /control/users/{open_id}/videos/{id}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct VideoChanges {
    pub(crate) title: Patch<String>,
    pub(crate) video_description: Patch<String>,
    pub(crate) duration: Patch<i64>,
    pub(crate) view_count: Patch<i64>,
    pub(crate) like_count: Patch<i64>,
    pub(crate) comment_count: Patch<i64>,
    pub(crate) share_count: Patch<i64>,
    /// Not public: neither listed nor found, until it is shown again.
    pub(crate) hidden: Option<bool>,
}

impl VideoChanges {
    pub(crate) fn merge(&mut self, newer: Self) {
        self.title.merge(newer.title);
        self.video_description.merge(newer.video_description);
        self.duration.merge(newer.duration);
        self.view_count.merge(newer.view_count);
        self.like_count.merge(newer.like_count);
        self.comment_count.merge(newer.comment_count);
        self.share_count.merge(newer.share_count);
        self.hidden = newer.hidden.or(self.hidden);
    }
}

/// All changes of one creator.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) profile: ProfileChanges,
    /// Videos that the control API added, beside the series.
    pub(crate) added: BTreeSet<Post>,
    /// Ids of the series that are gone for good.
    pub(crate) deleted: HashSet<u64>,
    pub(crate) videos: HashMap<u64, VideoChanges>,
}

impl Changes {
    pub(crate) fn shows(&self, id: u64) -> bool {
        !self.deleted.contains(&id) && self.videos.get(&id).and_then(|video| video.hidden) != Some(true)
    }

    /// Ids that are not public, each once.
    pub(crate) fn not_shown(&self) -> impl Iterator<Item = u64> {
        let hidden = self.videos.iter().filter(|(id, video)| video.hidden == Some(true) && !self.deleted.contains(id));
        self.deleted.iter().copied().chain(hidden.map(|(id, _)| *id))
    }
}
