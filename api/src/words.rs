//! The words that parameters and bodies take, for the document alone: they are read by name, so that each error names its own.
//! Answers say them as plain text, so that a client that was made from the document lives with a word of a later version.
#![expect(dead_code, reason = "the document's")]

use utoipa::ToSchema;

/// Where a creator's account lives.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "UPPERCASE")]
pub enum PlatformWord {
    Tiktok,
    Instagram,
    Youtube,
}

/// Whether a creator can be synced.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StatusWord {
    Active,
    ReauthorizationRequired,
}

/// What videos are sorted by.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub enum VideoSortWord {
    PublishedAt,
    Views,
    Likes,
    Comments,
    Shares,
}

/// Which end comes first.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum SortOrderWord {
    Asc,
    Desc,
}
