//! `metriqlab rotate-encryption` while everything runs.

use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};

use secrecy::SecretString;
use shared::crypto::{KeyId, KeyRing};

use crate::support::system::ENCRYPTION_KEY as OLD;
use crate::support::{System, eventually, process};

const NEW: &str = "bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmU=";
const LOST: &str = "bG9zdGxvc3Rsb3N0bG9zdGxvc3Rsb3N0bG9zdGxvc3Q=";

async fn rotate(system: &System, keys: &str) -> (i32, String) {
    let Output { status, stdout, stderr } = command(system, keys).output().await.expect("run the program");
    let said = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (status.code().expect("an exit status"), said)
}

fn command(system: &System, keys: &str) -> tokio::process::Command {
    let mut variables = system.variables.clone();
    variables.retain(|(name, _)| name != "METRIQLAB_ENCRYPTION_KEY");
    variables.push(("METRIQLAB_ENCRYPTION_KEY".to_owned(), keys.to_owned()));
    process::program(&["rotate-encryption"], &variables, system.folder.path())
}

fn id(key: &str) -> KeyId {
    key.parse::<KeyRing>().expect("a key").current_id()
}

/// Stores that many more pairs of tokens under a key, of accounts that no creator holds.
async fn seed(sql: &mut tokio_postgres::Client, key: &str, number: usize) {
    let ring: KeyRing = key.parse().expect("a key");
    let token = SecretString::from("act.seeded");
    let transaction = sql.transaction().await.unwrap();
    let insert = transaction
        .prepare(
            "INSERT INTO credentials (id, platform, app, external_id, access_token, refresh_token, scopes, access_expires_at) \
             VALUES ($1::text::uuid, 'TIKTOK', 'seed', $1, $2, $3, '', now())",
        )
        .await
        .unwrap();
    for _ in 0..number {
        let account = uuid::Uuid::now_v7().to_string();
        let sealed = |column| ring.seal(&token, &format!("TIKTOK\0seed\0{account}\0{column}"));
        let (access, refresh) = (sealed("access_token"), sealed("refresh_token"));
        transaction.execute(&insert, &[&account, &access, &refresh]).await.unwrap();
    }
    transaction.commit().await.unwrap();
}

/// How many of the stored tokens the old key has sealed, and how many the new one: at one instant, for Postgres may still end
/// what a killed rotation has sent.
async fn sealed(system: &System) -> (usize, usize) {
    let rows = "SELECT access_token FROM credentials UNION ALL SELECT refresh_token FROM credentials";
    let rows = system.sql().await.query(rows, &[]).await.unwrap();
    let under = |key| rows.iter().filter(|row| KeyId::that_sealed(row.get(0)) == Some(id(key))).count();
    (under(OLD), under(NEW))
}

/// Every token is renewed by the next use.
async fn expire(sql: &tokio_postgres::Client) {
    let expire =
        "UPDATE credentials SET issued_at = now() - interval '2h', access_expires_at = now() WHERE app <> 'seed'";
    sql.execute(expire, &[]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_rotated_while_syncs_renew_them_and_a_killed_rotation_goes_on() {
    let mut system = System::builder().set("METRIQLAB_ENCRYPTION_KEY", &format!("{OLD},{NEW}")).start().await;
    let mut sql = system.sql().await;
    let mut creators = Vec::new();
    for _ in 0..4 {
        creators.push(system.connect(&system.sandbox.user(1).await).await);
    }
    system.settled().await;
    seed(&mut sql, OLD, 3_000).await;
    assert_eq!(sealed(&system).await, (6_008, 0));

    // Killed on its way: what it has done is done, and nothing is lost.
    let list = format!("{NEW},{OLD}");
    let mut killed = command(&system, &list).spawn().expect("start it");
    eventually("the rotation has begun", async || (sealed(&system).await.1 > 0).then_some(())).await;
    killed.kill().await.expect("kill it");
    let (old, new) = sealed(&system).await;
    assert_eq!(old + new, 6_008);

    // The worker still encrypts with the old key. Whatever the rotation says then, it must be true.
    expire(&sql).await;
    let (status, said) = {
        let renewing = async {
            for creator in &creators {
                system.client.sync(creator).await;
            }
        };
        tokio::join!(rotate(&system, &list), renewing).0
    };
    assert!(status == 0 || status == 1 && said.contains("still"), "{status}: {said}");

    system.variables.retain(|(name, _)| name != "METRIQLAB_ENCRYPTION_KEY");
    system.variables.push(("METRIQLAB_ENCRYPTION_KEY".to_owned(), list.clone()));
    system.workers[0].terminate().await;
    system.add_worker();
    let done = AtomicBool::new(false);
    let renewing = async {
        let mut renewals = 0;
        while !done.load(Ordering::Relaxed) || renewals == 0 {
            expire(&sql).await;
            for creator in &creators {
                // A token that a rotation had put back would be refused here, and its creator with it.
                system.client.sync(creator).await;
            }
            renewals += 1;
        }
        renewals
    };
    let rotating = async {
        let rotated = rotate(&system, &list).await;
        done.store(true, Ordering::Relaxed);
        rotated
    };
    let ((status, said), renewals) = tokio::join!(rotating, renewing);
    assert_eq!(status, 0, "{said}");
    assert!(renewals > 0 && said.contains(&format!("nothing is left under {}", id(OLD))), "{said}");
    assert_eq!(sealed(&system).await, (0, 6_008));
    let (status, said) = rotate(&system, NEW).await;
    assert!(status == 0 && said.starts_with("0 pairs") && !said.contains("nothing is left"), "{said}");

    // The old key can go, as it said.
    system.variables.retain(|(name, _)| name != "METRIQLAB_ENCRYPTION_KEY");
    system.variables.push(("METRIQLAB_ENCRYPTION_KEY".to_owned(), NEW.to_owned()));
    system.workers[1].terminate().await;
    system.add_worker();
    expire(&sql).await;
    for creator in &creators {
        system.client.sync(creator).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_rotated_is_named_and_the_rest_is_rotated() {
    let system = System::builder().apis(0).workers(0).start().await;
    let mut sql = system.sql().await;
    for (key, number) in [(OLD, 5), (LOST, 2)] {
        seed(&mut sql, key, number).await;
    }
    // A process with an older list, as fast as can be: it puts one row back under its key at every turn.
    let row: String = sql.query_one("SELECT id::text FROM credentials ORDER BY id LIMIT 1", &[]).await.unwrap().get(0);
    sql.batch_execute(&format!(
        "CREATE FUNCTION put_back() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN NEW.access_token = OLD.access_token; NEW.refresh_token = OLD.refresh_token; RETURN NEW; END'; \
         CREATE TRIGGER put_back BEFORE UPDATE ON credentials FOR EACH ROW WHEN (OLD.id = '{row}') \
         EXECUTE FUNCTION put_back()"
    ))
    .await
    .unwrap();
    let list = format!("{NEW},{OLD}");
    let (status, said) = rotate(&system, &list).await;
    assert_eq!((status, sealed(&system).await.1), (1, 8), "{said}");
    for (key, tokens) in [(LOST, 4), (OLD, 2)] {
        assert!(said.contains(&format!("{tokens} tokens are still under key {}", id(key))), "{said}");
    }
    assert!(said.contains("2 pairs left as they are") && said.contains("METRIQLAB_ENCRYPTION_KEY lacks"), "{said}");
    assert!(!said.contains("nothing is left"), "{said}");

    let (status, said) = rotate(&system, &format!("{list},{LOST}")).await;
    assert!(status == 1 && said.contains("a process still encrypts with an older key"), "{said}");
    sql.batch_execute("DROP TRIGGER put_back ON credentials").await.unwrap();
    let (status, said) = rotate(&system, &format!("{list},{LOST}")).await;
    assert_eq!((status, sealed(&system).await.1), (0, 14), "{said}");
}
