//! The creators of the stand-in and their videos: pure functions of seed, creator and time, and the changes of tests on
//! top. Nothing is kept of a creator whom nobody changed.

mod changes;
mod creator;
mod hash;
mod read;
mod series;
mod video;

use std::collections::HashMap;

pub(crate) use changes::{Patch, ProfileChanges, VideoChanges};
pub(crate) use creator::Creator;
pub(crate) use hash::mix;
pub(crate) use read::{UserView, VideoView};
pub(crate) use series::Post;

use changes::Changes;
use creator::{DEMO, MADE, index_of, open_id};
use series::{Series, video_id};

/// How the videos of a made creator lie in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Videos {
    pub(crate) count: u64,
    /// Seconds between groups.
    pub(crate) spacing: i64,
    /// Videos of one `create_time`.
    pub(crate) per_second: u64,
    /// Age of the newest group, in seconds.
    pub(crate) newest_age: i64,
}

pub(crate) struct World {
    seed: u64,
    demo_creators: u32,
    made: Vec<Series>,
    changes: HashMap<String, Changes>,
    added_videos: u64,
}

impl World {
    pub(crate) fn new(seed: u64, demo_creators: u32) -> Self {
        Self { seed, demo_creators, made: Vec::new(), changes: HashMap::new(), added_videos: 0 }
    }

    pub(crate) fn creator(&self, id: &str) -> Option<Creator> {
        if let Some(index) = index_of(self.seed, DEMO, id) {
            return (index < self.demo_creators).then(|| Creator::demo(self.seed, index));
        }
        let index = index_of(self.seed, MADE, id)?;
        self.made_creator(usize::try_from(index).ok()?)
    }

    fn made_creator(&self, index: usize) -> Option<Creator> {
        let series = *self.made.get(index)?;
        let index = u32::try_from(index).ok()?;
        Some(Creator { open_id: open_id(self.seed, MADE, index), key: series.key, series })
    }

    /// Those of tests, newest first, then the demo creators.
    pub(crate) fn creators(&self, offset: usize, limit: usize) -> Vec<Creator> {
        let made = (0..self.made.len()).rev().filter_map(|index| self.made_creator(index));
        let demo = (0..self.demo_creators).map(|index| Creator::demo(self.seed, index));
        made.chain(demo).skip(offset).take(limit).collect()
    }

    pub(crate) fn total(&self) -> usize {
        self.made.len() + usize::try_from(self.demo_creators).unwrap_or(usize::MAX)
    }

    /// Makes a creator. The ids follow from the seed and the number of those made before.
    pub(crate) fn make(&mut self, videos: Videos, profile: ProfileChanges, now: i64) -> Creator {
        let index = u32::try_from(self.made.len()).unwrap_or(u32::MAX);
        let per_second = videos.per_second.max(1);
        let interval = videos.spacing.max(1);
        let groups = i64::try_from(videos.count.div_ceil(per_second)).unwrap_or(i64::MAX);
        // The newest group is posted within the first half of its interval, which ends `newest_age` ago.
        let end = now.saturating_sub(videos.newest_age).saturating_add(interval / 2);
        let first_at = end.saturating_sub(groups.saturating_mul(interval)).max(1_000_000_000);
        let key = Creator::key(self.seed, MADE, index);
        let series = Series { key, first_at, interval, per_second, count: Some(videos.count) };
        self.made.push(series);
        let creator = Creator { open_id: open_id(self.seed, MADE, index), key, series };
        if profile != ProfileChanges::default() {
            self.change(&creator, profile);
        }
        creator
    }

    fn changes_of(&mut self, id: &str) -> &mut Changes {
        self.changes.entry(id.to_owned()).or_default()
    }

    /// Changes a profile.
    pub(crate) fn change(&mut self, creator: &Creator, changes: ProfileChanges) {
        self.changes_of(&creator.open_id).profile.merge(changes);
    }

    /// Forgets all changes of a creator.
    pub(crate) fn reset(&mut self, creator: &Creator) {
        self.changes.remove(&creator.open_id);
    }

    pub(crate) fn is_private(&self, id: &str) -> bool {
        self.changes.get(id).and_then(|changes| changes.profile.private) == Some(true)
    }

    pub(crate) fn is_banned(&self, id: &str) -> bool {
        self.changes.get(id).and_then(|changes| changes.profile.banned) == Some(true)
    }

    /// Adds a video at a moment (seconds since 1970).
    pub(crate) fn add_video(&mut self, creator: &Creator, create_time: i64, changes: VideoChanges) -> Post {
        self.added_videos = self.added_videos.wrapping_add(1);
        // Far from the ids of the series of the same second, which follow a hash of the group.
        let id = video_id(create_time, mix(creator.key, 0xADD, self.added_videos), 0);
        let post = Post { create_time, id };
        let all = self.changes_of(&creator.open_id);
        all.added.insert(post);
        all.videos.insert(id, changes);
        post
    }

    /// Whether the video exists, public or not.
    pub(crate) fn find_video(&self, creator: &Creator, id: u64) -> Option<Post> {
        let changes = self.changes.get(&creator.open_id);
        if changes.is_some_and(|changes| changes.deleted.contains(&id)) {
            return None;
        }
        let added = changes.and_then(|changes| {
            let post = Post { create_time: series::time_of(id), id };
            changes.added.contains(&post).then_some(post)
        });
        added.or_else(|| creator.series.find(id))
    }

    /// Changes a video that exists.
    pub(crate) fn change_video(&mut self, creator: &Creator, post: Post, changes: VideoChanges) {
        self.changes_of(&creator.open_id).videos.entry(post.id).or_default().merge(changes);
    }

    /// Deletes a video that exists, for good.
    pub(crate) fn delete_video(&mut self, creator: &Creator, post: Post) {
        let changes = self.changes_of(&creator.open_id);
        changes.videos.remove(&post.id);
        if !changes.added.remove(&post) {
            changes.deleted.insert(post.id);
        }
    }
}
