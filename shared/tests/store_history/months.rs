//! Partitions: made ahead, dropped as a whole, missed.

use std::time::Duration;

use shared::store::history::MissingMonths;

use crate::{World, followed_by, viewed};

#[tokio::test(flavor = "multi_thread")]
async fn months_are_made_ahead_once_and_dropped_as_a_whole() {
    let world = World::start().await;
    let sql = world.database.client().await;
    let theirs = "FROM pg_inherits WHERE inhparent IN ('creator_history'::regclass, 'video_history'::regclass)";
    let count = format!("SELECT count(*) {theirs}");
    let partitions = || world.database.count(&count);
    let ahead = partitions().await;
    assert!(ahead >= 2 * 4, "this month and those of the next 92 days");
    // It may have become the next day since the migration.
    world.store().make_history_partitions().await.unwrap();
    let ahead = ahead.max(partitions().await);
    assert_eq!(world.store().make_history_partitions().await.unwrap(), 0, "they are there");
    sql.batch_execute("SELECT make_history_partitions(now() - interval '5 months', now())").await.unwrap();
    assert_eq!(partitions().await, ahead + 2 * 5);
    let old = "INSERT INTO creator_history (creator_id, at) SELECT gen_random_uuid(),
        date_trunc('month', now() - make_interval(months => n), 'UTC') FROM generate_series(0, 5) AS n";
    sql.batch_execute(old).await.unwrap();
    // To the first instant of the month two before this one: the three months before that are older as a whole.
    let keep = "SELECT extract(epoch FROM now() - date_trunc('month', now() - interval '2 months', 'UTC'))::bigint";
    let keep = Duration::from_secs(world.database.count(keep).await.try_into().unwrap());
    assert_eq!(world.store().drop_history_partitions(keep + Duration::from_secs(3600)).await.unwrap(), 2 * 2);
    assert_eq!(world.store().drop_history_partitions(keep.saturating_sub(Duration::from_secs(3600))).await.unwrap(), 2);
    assert_eq!(partitions().await, ahead + 2 * 2);
    assert_eq!(world.database.count("SELECT count(*) FROM creator_history").await, 3);
    // What is no month is an operator's own.
    let own = "CREATE TABLE own_history_2001_13 PARTITION OF creator_history FOR VALUES FROM ('2001-01-01Z') TO ('2001-02-01Z');
        CREATE TABLE own_history_2001_00 PARTITION OF video_history FOR VALUES FROM ('2001-01-01Z') TO ('2001-02-01Z')";
    sql.batch_execute(own).await.unwrap();
    assert_eq!(world.store().drop_history_partitions(keep).await.unwrap(), 0);
    assert_eq!(partitions().await, ahead + 2 * 2 + 2);
    // A fleet that was stopped for long finds no partition, makes it, and goes on.
    let drop = format!(
        "DO $$ DECLARE part regclass; BEGIN FOR part IN SELECT inhrelid::regclass {theirs} LOOP
        EXECUTE format('DROP TABLE %s', part); END LOOP; END $$"
    );
    let missing = async || world.store().missing_history_months().await.unwrap();
    assert_eq!(missing().await, MissingMonths { this_month: false, next_month: false });
    sql.batch_execute(&drop).await.unwrap();
    assert_eq!(missing().await, MissingMonths { this_month: true, next_month: true });
    let (one, two) = tokio::join!(world.store().make_history_partitions(), world.store().make_history_partitions());
    // Of two at once one may fail, for what it was about to make is there.
    assert!(one.is_ok() || two.is_ok(), "{one:?} {two:?}");
    assert_eq!(partitions().await, ahead, "two workers make them once");
    assert_eq!(missing().await, MissingMonths { this_month: false, next_month: false });
    let fence = world.database.start(world.first).await.fence();
    world.finish(fence, &followed_by(1), &[viewed("a", 10)], 0).await;
    assert_eq!(world.history().await.len(), 1);
}
