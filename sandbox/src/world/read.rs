//! What a reader sees of the world at a moment.

use super::World;
use super::changes::Changes;
use super::creator::Creator;
use super::series::{Post, time_of};
use super::video::video;

/// A profile; `None` is a field that the answer leaves out.
#[derive(Clone, Debug)]
pub(crate) struct UserView {
    pub(crate) open_id: String,
    pub(crate) union_id: String,
    pub(crate) display_name: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) bio: Option<String>,
    pub(crate) verified: Option<bool>,
    pub(crate) followers: Option<i64>,
    pub(crate) following: Option<i64>,
    pub(crate) likes: Option<i64>,
    pub(crate) videos: Option<i64>,
}

/// A video; `None` is a field that the answer leaves out.
#[derive(Clone, Debug)]
pub(crate) struct VideoView {
    pub(crate) post: Post,
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) duration: Option<i64>,
    pub(crate) views: Option<i64>,
    pub(crate) likes: Option<i64>,
    pub(crate) comments: Option<i64>,
    pub(crate) shares: Option<i64>,
}

/// A page of the videos, newest first.
pub(crate) struct Page {
    pub(crate) videos: Vec<VideoView>,
    /// Whether older public videos remain.
    pub(crate) more: bool,
}

impl World {
    pub(crate) fn user(&self, creator: &Creator, now: i64) -> UserView {
        let none = Changes::default();
        let changes = self.changes.get(&creator.open_id).unwrap_or(&none);
        let profile = &changes.profile;
        let natural = creator.counters(now);
        UserView {
            open_id: creator.open_id.clone(),
            union_id: creator.union_id(),
            display_name: profile.display_name.over(|| creator.display_name()),
            username: profile.username.over(|| creator.username()),
            bio: profile.bio_description.over(|| creator.bio()),
            verified: profile.is_verified.over(|| creator.verified()),
            followers: profile.follower_count.over(|| natural.followers),
            following: profile.following_count.over(|| natural.following),
            likes: profile.likes_count.over(|| likes_of_public(creator, changes, natural.likes, now)),
            videos: profile.video_count.over(|| public_videos(creator, changes, now)),
        }
    }

    /// The handle alone.
    pub(crate) fn username(&self, creator: &Creator) -> Option<String> {
        match self.changes.get(&creator.open_id) {
            Some(changes) => changes.profile.username.over(|| creator.username()),
            None => Some(creator.username()),
        }
    }

    /// The public videos posted before a moment (seconds since 1970, excluded), newest first.
    pub(crate) fn page(&self, creator: &Creator, before: i64, limit: usize, now: i64) -> Page {
        let none = Changes::default();
        let changes = self.changes.get(&creator.open_id).unwrap_or(&none);
        if changes.profile.private == Some(true) {
            return Page { videos: Vec::new(), more: false };
        }
        let before = before.min(now.saturating_add(1));
        let series = (0..creator.series.before(before)).rev().map(|n| creator.series.post(n));
        let added = changes.added.range(..Post { create_time: before, id: 0 }).rev().copied();
        let mut posts = merged(series, added).filter(|post| changes.shows(post.id));
        let videos: Vec<_> = posts.by_ref().take(limit).map(|post| view(creator, changes, post, now)).collect();
        Page { videos, more: posts.next().is_some() }
    }

    /// One public video, if it is this creator's.
    pub(crate) fn video(&self, creator: &Creator, id: u64, now: i64) -> Option<VideoView> {
        let none = Changes::default();
        let changes = self.changes.get(&creator.open_id).unwrap_or(&none);
        let post = self.find_video(creator, id)?;
        let public = changes.profile.private != Some(true) && changes.shows(id) && post.create_time <= now;
        public.then(|| view(creator, changes, post, now))
    }
}

/// Two runs of posts, each newest first, as one.
fn merged(a: impl Iterator<Item = Post>, b: impl Iterator<Item = Post>) -> impl Iterator<Item = Post> {
    let (mut a, mut b) = (a.peekable(), b.peekable());
    std::iter::from_fn(move || if a.peek() > b.peek() { a.next() } else { b.next() })
}

fn view(creator: &Creator, changes: &Changes, post: Post, now: i64) -> VideoView {
    let natural = video(creator.key, creator.reach(), post, now);
    let Some(change) = changes.videos.get(&post.id) else {
        return VideoView {
            post,
            title: Some(natural.title),
            description: Some(natural.description),
            duration: Some(natural.duration),
            views: Some(natural.views),
            likes: Some(natural.likes),
            comments: Some(natural.comments),
            shares: Some(natural.shares),
        };
    };
    VideoView {
        post,
        title: change.title.over(|| natural.title),
        description: change.video_description.over(|| natural.description),
        duration: change.duration.over(|| natural.duration),
        views: change.view_count.over(|| natural.views),
        likes: change.like_count.over(|| natural.likes),
        comments: change.comment_count.over(|| natural.comments),
        shares: change.share_count.over(|| natural.shares),
    }
}

/// Deleting or hiding a video takes its likes along, as at TikTok.
fn likes_of_public(creator: &Creator, changes: &Changes, natural: i64, now: i64) -> i64 {
    let lost: i64 = changes
        .not_shown()
        .map(|id| Post { create_time: time_of(id), id })
        .filter(|post| post.create_time <= now && !changes.added.contains(post))
        .map(|post| video(creator.key, creator.reach(), post, now).likes)
        .sum();
    natural.saturating_sub(lost).max(0)
}

fn public_videos(creator: &Creator, changes: &Changes, now: i64) -> i64 {
    let series = creator.series.before(now.saturating_add(1));
    let added = changes.added.iter().filter(|post| post.create_time <= now).count();
    let not_shown = changes.not_shown().filter(|id| time_of(*id) <= now).count();
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    i64::try_from(series).unwrap_or(i64::MAX).saturating_add(count(added)).saturating_sub(count(not_shown))
}
