//! Enums that are stored as text: one spelling, the one that `strum` gives them. A set of them is an array.

use diesel::deserialize::{self, FromSql};
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::{Array, Text};

use super::jobs::{JobKind, JobState};
use crate::key_scopes::KeyScopes;
use crate::people::{Email, Role};
use crate::platforms::Platform;
use crate::queue::Lane;

macro_rules! stored_as_text {
    ($name:ty) => {
        impl ToSql<Text, Pg> for $name {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
                <str as ToSql<Text, Pg>>::to_sql(self.as_ref(), &mut out.reborrow())
            }
        }

        impl FromSql<Text, Pg> for $name {
            fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
                let text = <String as FromSql<Text, Pg>>::from_sql(bytes)?;
                text.parse().map_err(|_| format!("`{text}` is no {}", stringify!($name)).into())
            }
        }
    };
}

stored_as_text!(JobKind);
stored_as_text!(JobState);
stored_as_text!(Lane);
stored_as_text!(Platform);
stored_as_text!(Role);
stored_as_text!(Email);
stored_as_text!(super::creators::Status);

impl ToSql<Array<Text>, Pg> for KeyScopes {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        <Vec<String> as ToSql<Array<Text>, Pg>>::to_sql(&self.names(), &mut out.reborrow())
    }
}

impl FromSql<Array<Text>, Pg> for KeyScopes {
    fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
        let names = <Vec<String> as FromSql<Array<Text>, Pg>>::from_sql(bytes)?;
        Ok(Self::from_names(names.iter().map(String::as_str)))
    }
}
