//! Raw SQL that is prepared once a connection. Diesel's own `sql_query` and `sql` are prepared, and planned, anew at each use:
//! for a statement of the hot path that is a round trip and more work than its execution.

use std::marker::PhantomData;

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};

/// A statement whose binds stand where its text says `{}`, in their order.
pub(super) struct Prepared<'a> {
    sql: &'static str,
    binds: Vec<Box<dyn QueryFragment<Pg> + Send + 'a>>,
}

impl<'a> Prepared<'a> {
    pub(super) fn new(sql: &'static str) -> Self {
        Self { sql, binds: Vec::new() }
    }

    /// Adds the next bind: a value with its type, as `into_sql` gives it.
    pub(super) fn bind(mut self, value: impl QueryFragment<Pg> + Send + 'a) -> Self {
        self.binds.push(Box::new(value));
        self
    }

    /// The statement as one that gives rows, of these types.
    pub(super) fn rows<Types>(self) -> Rows<'a, Types> {
        Rows(self, PhantomData)
    }
}

/// A statement that gives rows.
pub(super) struct Rows<'a, Types>(Prepared<'a>, PhantomData<Types>);

impl<Types> Query for Rows<'_, Types> {
    type SqlType = Types;
}

impl<Types> QueryFragment<Pg> for Rows<'_, Types> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }
}

impl<Types> QueryId for Rows<'_, Types> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl QueryFragment<Pg> for Prepared<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let mut binds = self.binds.iter();
        for text in self.sql.split("{}") {
            out.push_sql(text);
            if let Some(bind) = binds.next() {
                bind.walk_ast(out.reborrow())?;
            }
        }
        Ok(())
    }
}

/// Without an id of its own it is remembered by its text.
impl QueryId for Prepared<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}
