//! A creator, in the list and as a profile.

use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::settings::resync_every_text;
use shared::store::creators::Creator;
use utoipa::ToSchema;

use super::{instant, instant_or_null};

/// A creator's latest counters; null where the platform did not say, never zero.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Stats)]
pub struct StatsView {
    /// Followers.
    #[schema(required, example = 5618)]
    pub followers: Option<i64>,
    /// Accounts that the creator follows.
    #[schema(required, example = 838)]
    pub following: Option<i64>,
    /// Likes over all videos.
    #[schema(required, example = 1203)]
    pub likes: Option<i64>,
    /// Public videos.
    #[schema(required, example = 11)]
    pub video_count: Option<i64>,
    /// The text that the creator wrote about themselves.
    #[schema(required)]
    pub bio: Option<String>,
    /// A picture; the platform's link may expire.
    #[schema(required)]
    pub avatar_url: Option<String>,
}

/// A creator, as in the list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Creator)]
pub struct CreatorView {
    /// The creator's id.
    pub id: String,
    /// `TIKTOK`, `INSTAGRAM` or `YOUTUBE`.
    #[schema(example = "TIKTOK")]
    pub platform: String,
    /// The handle.
    #[schema(required, example = "Spikewmu")]
    pub username: Option<String>,
    /// The account's id on its platform (TikTok: `open_id`).
    pub external_id: String,
    /// The latest counters.
    pub stats: StatsView,
    /// `ACTIVE`, or `REAUTHORIZATION_REQUIRED` once the platform has refused the creator's tokens for good.
    #[schema(example = "ACTIVE")]
    pub status: String,
    /// Why the status is not `ACTIVE`.
    #[schema(required)]
    pub status_reason: Option<String>,
    /// When the account was connected.
    #[serde(serialize_with = "instant")]
    pub connected_at: DateTime<Utc>,
    /// When a sync was last done.
    #[serde(serialize_with = "instant_or_null")]
    #[schema(required)]
    pub last_synced_at: Option<DateTime<Utc>>,
    /// How old its data may get before the schedule syncs it: a time span such as `6h`, `off` for never, null for the
    /// default.
    #[schema(required, example = "6h")]
    pub resync_every: Option<String>,
    /// Your own name for it, as it was given at connect.
    #[schema(required, example = "user-4711")]
    pub external_ref: Option<String>,
}

/// A creator's profile and latest synced counters.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Profile)]
pub struct ProfileView {
    /// The creator's id.
    pub id: String,
    /// `TIKTOK`, `INSTAGRAM` or `YOUTUBE`.
    #[schema(example = "TIKTOK")]
    pub platform: String,
    /// The handle.
    #[schema(required, example = "Spikewmu")]
    pub username: Option<String>,
    /// The latest counters.
    pub stats: StatsView,
    /// When the account was connected.
    #[serde(serialize_with = "instant")]
    pub connected_at: DateTime<Utc>,
    /// When a sync was last done.
    #[serde(serialize_with = "instant_or_null")]
    #[schema(required)]
    pub last_synced_at: Option<DateTime<Utc>>,
    /// `ACTIVE`, or `REAUTHORIZATION_REQUIRED` once the platform has refused the creator's tokens for good.
    #[schema(example = "ACTIVE")]
    pub status: String,
    /// Why the status is not `ACTIVE`.
    #[schema(required)]
    pub status_reason: Option<String>,
    /// The name that people see.
    #[schema(required)]
    pub display_name: Option<String>,
    /// Whether the platform vouches for the account.
    #[schema(required)]
    pub verified: Option<bool>,
    /// The profile's page on the platform.
    #[schema(required)]
    pub profile_url: Option<String>,
    /// The scopes that were asked for and that the creator did not grant: what they open stays null or empty.
    pub missing_scopes: Vec<String>,
    /// Your own name for the creator, as it was given at connect.
    #[schema(required, example = "user-4711")]
    pub external_ref: Option<String>,
}

impl StatsView {
    fn of(creator: &Creator) -> Self {
        Self {
            followers: creator.followers,
            following: creator.following,
            likes: creator.likes,
            video_count: creator.video_count,
            bio: creator.bio.clone(),
            avatar_url: creator.avatar_url.clone(),
        }
    }
}

impl From<Creator> for CreatorView {
    fn from(creator: Creator) -> Self {
        let stats = StatsView::of(&creator);
        Self {
            id: creator.id.to_string(),
            platform: creator.platform.to_string(),
            username: creator.username,
            external_id: creator.external_id,
            stats,
            status: creator.status.to_string(),
            status_reason: creator.status_reason,
            connected_at: creator.connected_at,
            last_synced_at: creator.last_synced_at,
            resync_every: creator.resync_every.map(resync_every_text),
            external_ref: creator.external_ref,
        }
    }
}

impl From<Creator> for ProfileView {
    fn from(creator: Creator) -> Self {
        let stats = StatsView::of(&creator);
        Self {
            id: creator.id.to_string(),
            platform: creator.platform.to_string(),
            username: creator.username,
            stats,
            connected_at: creator.connected_at,
            last_synced_at: creator.last_synced_at,
            status: creator.status.to_string(),
            status_reason: creator.status_reason,
            display_name: creator.display_name,
            verified: creator.verified,
            profile_url: creator.profile_url,
            missing_scopes: names(&creator.missing_scopes),
            external_ref: creator.external_ref,
        }
    }
}

fn names(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
