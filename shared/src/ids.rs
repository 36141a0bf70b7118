//! The ids of everything that has a row: one type each, so that a job's id can't be passed for a creator's.
//!
//! All are UUIDv7 (RFC 9562, section 5.7): they sort by creation, which keeps new index entries together. To clients
//! they are opaque strings.

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, AsExpression, FromSqlRow,
        )]
        #[serde(transparent)]
        #[diesel(sql_type = sql_types::Uuid)]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh id, later than every id that this process made before.
            #[expect(clippy::new_without_default, reason = "a default that differs at every call would mislead")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// One that no id comes after: where a walk from the newest begins.
            pub const fn latest() -> Self {
                Self(Uuid::max())
            }

            /// The UUID itself.
            pub fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self)
            }
        }

        impl ToSql<sql_types::Uuid, Pg> for $name {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
                <Uuid as ToSql<sql_types::Uuid, Pg>>::to_sql(&self.0, out)
            }
        }

        impl FromSql<sql_types::Uuid, Pg> for $name {
            fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
                <Uuid as FromSql<sql_types::Uuid, Pg>>::from_sql(bytes).map(Self)
            }
        }
    };
}

id!(
    /// A project: what an API key belongs to, and what owns creators.
    ProjectId
);
id!(
    /// An API key's row.
    ApiKeyId
);
id!(
    /// A connected creator of one project.
    CreatorId
);
id!(
    /// A video of a creator.
    VideoId
);
id!(
    /// A job. Also the id of its message in the queue, which makes a push idempotent.
    JobId
);
id!(
    /// The tokens of one account of a platform, shared by all projects that hold it.
    CredentialId
);
id!(
    /// A bulk resync: many creators asked for at once.
    BatchId
);
id!(
    /// Somebody who may open the dashboard.
    UserId
);
id!(
    /// A browser that somebody has signed in with.
    SessionId
);
id!(
    /// A link that makes whoever holds it a member of a project.
    InvitationId
);
id!(
    /// A line of the audit log.
    AuditId
);
id!(
    /// A worker process, for as long as it lives.
    WorkerId
);
