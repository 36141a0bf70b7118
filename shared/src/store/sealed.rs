//! Which keys the stored tokens are sealed with, and those that are not sealed with the current one.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Integer};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;

use super::credentials::Credential;
use super::schema::credentials;
use super::{Store, StoreError};
use crate::crypto::HEADER_BYTES;
use crate::ids::CredentialId;

diesel::define_sql_function! {
    /// The bytes from the `start`th on, counted from 1.
    fn substr(bytes: Binary, start: Integer, count: Integer) -> Binary;
}
diesel::define_sql_function! {
    /// The same of what may be absent.
    #[sql_name = "substr"]
    fn substr_nullable(bytes: diesel::sql_types::Nullable<Binary>, start: Integer, count: Integer)
        -> diesel::sql_types::Nullable<Binary>;
}

#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "nine")]
const HEADER: i32 = HEADER_BYTES as i32;

/// Tokens that begin with the same header, which names the key that sealed them.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct SealedCount {
    /// As [`crate::crypto`] writes it.
    #[diesel(sql_type = Binary)]
    pub header: Vec<u8>,
    /// Access and refresh tokens together.
    #[diesel(sql_type = BigInt)]
    pub tokens: i64,
}

impl Store {
    /// How many tokens each key has sealed. Reads all of them: a second for a million.
    pub async fn sealed_counts(&self) -> Result<Vec<SealedCount>, StoreError> {
        let counts = "SELECT substr(token, 1, $1) AS header, count(*) AS tokens FROM ( \
            SELECT access_token AS token FROM credentials UNION ALL \
            SELECT refresh_token FROM credentials WHERE refresh_token IS NOT NULL) AS stored \
            GROUP BY 1 ORDER BY 2 DESC";
        Ok(sql_query(counts).bind::<Integer, _>(HEADER).load(&mut self.connection().await?).await?)
    }

    /// At most `limit` credentials behind `after`, by id, of which one token at least does not begin with `header`.
    pub async fn credentials_not_under(
        &self,
        header: &[u8],
        after: Option<CredentialId>,
        limit: i64,
    ) -> Result<Vec<Credential>, StoreError> {
        let mut query = credentials::table
            .filter(
                substr(credentials::access_token, 1, HEADER).ne(header).or(substr_nullable(
                    credentials::refresh_token,
                    1,
                    HEADER,
                )
                .is_distinct_from(header)
                .and(credentials::refresh_token.is_not_null())),
            )
            .select(Credential::as_select())
            .order(credentials::id)
            .limit(limit)
            .into_boxed();
        if let Some(after) = after {
            query = query.filter(credentials::id.gt(after));
        }
        Ok(query.load(&mut self.connection().await?).await?)
    }

    /// The newest credentials, at most `limit`.
    pub async fn newest_credentials(&self, limit: i64) -> Result<Vec<Credential>, StoreError> {
        let newest = credentials::table.select(Credential::as_select()).order(credentials::id.desc()).limit(limit);
        Ok(newest.load(&mut self.connection().await?).await?)
    }
}
