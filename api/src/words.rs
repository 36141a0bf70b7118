//! The words that parameters and bodies take, for the document alone: they are read by name, so that each error names its own.
//! Answers say them as plain text, so that a client that was made from the document lives with a word of a later version.
#![expect(dead_code, reason = "the document's")]

use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Schema};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

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

/// What a history is shown by.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum IntervalWord {
    Day,
    Week,
    Month,
    Raw,
}

/// An instant in RFC 3339, or a date, which stands for its first moment in UTC.
#[derive(Debug)]
pub struct InstantWord;

impl PartialSchema for InstantWord {
    fn schema() -> RefOr<Schema> {
        let text =
            |format| ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(format)));
        AnyOfBuilder::new().item(text(KnownFormat::DateTime)).item(text(KnownFormat::Date)).into()
    }
}

impl ToSchema for InstantWord {}
