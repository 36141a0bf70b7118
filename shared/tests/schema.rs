//! The migrations, and what diesel believes of them.

mod support;

use std::collections::BTreeMap;

use diesel_async::{AsyncConnection as _, AsyncMigrationHarness, AsyncPgConnection};
use diesel_migrations::MigrationHarness as _;
use support::Database;

/// `table.column` → its type, with `NOT NULL` where it is so.
type Columns = BTreeMap<String, String>;

fn believed() -> Columns {
    let mut columns = Columns::new();
    let mut table = String::new();
    for line in include_str!("../src/store/schema.rs").lines().map(str::trim) {
        if let Some((name, sql_type)) = line.strip_suffix(',').and_then(|column| column.split_once(" -> ")) {
            columns.insert(format!("{table}.{name}"), sql_name(sql_type));
        } else if let Some((name, _)) = line.split_once(" (").filter(|_| line.ends_with(") {")) {
            name.clone_into(&mut table);
        }
    }
    columns
}

fn sql_name(diesel: &str) -> String {
    if let Some(inner) = diesel.strip_prefix("Nullable<").and_then(|rest| rest.strip_suffix('>')) {
        return sql_name(inner).trim_end_matches(" NOT NULL").to_owned();
    }
    let name = match diesel {
        "Uuid" => "uuid",
        "Text" => "text",
        "Timestamptz" => "timestamp with time zone",
        "Bytea" => "bytea",
        "Int8" => "bigint",
        "Int4" => "integer",
        "Bool" => "boolean",
        other => panic!("what is {other} to Postgres?"),
    };
    format!("{name} NOT NULL")
}

async fn actual(database: &Database) -> Columns {
    let rows = database
        .client()
        .await
        .query(
            "SELECT table_name || '.' || column_name, data_type || CASE is_nullable WHEN 'NO' THEN ' NOT NULL' ELSE '' END \
             FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> '__diesel_schema_migrations'",
            &[],
        )
        .await
        .expect("the catalogue");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn diesel_believes_what_the_migrations_made() {
    let database = Database::create().await;
    assert!(believed().len() > 60);
    assert_eq!(believed(), actual(&database).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_migrations_go_down_and_up_again() {
    let database = Database::create().await;
    let before = actual(&database).await;
    let connection = AsyncPgConnection::establish(&database.url).await.expect("connected");
    tokio::task::spawn_blocking(move || {
        AsyncMigrationHarness::new(connection).revert_all_migrations(shared::store::MIGRATIONS).map(|_| ())
    })
    .await
    .expect("no panic")
    .expect("reverted");
    assert_eq!(actual(&database).await, Columns::new());
    let sequences = "SELECT count(*) FROM information_schema.sequences WHERE sequence_schema = 'public'";
    assert_eq!(database.count(sequences).await, 0);
    database.store.migrate().await.expect("up again");
    assert_eq!(actual(&database).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_migrate_at_once_do_it_once() {
    let database = Database::create_empty().await;
    let stores: Vec<_> = (0..4).map(|_| Database::open(&database.url, 1)).collect();
    let applied = futures::future::join_all(stores.iter().map(shared::store::Store::migrate)).await;
    let applied: Vec<usize> = applied.into_iter().map(|versions| versions.expect("migrated").len()).collect();
    assert_eq!(applied.iter().filter(|count| **count > 0).count(), 1, "{applied:?}");
    assert!(database.store.schema_version().await.expect("a version").is_sufficient());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_is_told_from_a_migrated_one() {
    let database = Database::create_empty().await;
    let version = database.store.schema_version().await.expect("a version");
    assert_eq!(version.found, None);
    assert!(!version.is_sufficient());
}
