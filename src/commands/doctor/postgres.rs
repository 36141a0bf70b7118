//! Postgres: whether it answers, how it is reached, what it keeps, and whether it has room.

use chrono::Utc;
use metriqlab::parts::{API_CONNECTIONS, CONNECTIONS};
use shared::settings::DatabaseSettings;
use shared::store::Store;
use shared::store::history::MissingMonths;
use shared::store::inspect::{Place, PostgresFacts, Session};

use super::report::Check;
use super::{Examined, ahead, within};

const NAME: &str = "Postgres";
/// How a pooler without prepared statements makes itself felt.
const LOST_STATEMENT: &str = "prepared statement";
const POOLER_REMEDY: &str = "add pgbouncer=true to DATABASE_URL, or let the pooler keep sessions (pool_mode = session)";

pub(super) async fn check(database: Option<&DatabaseSettings>, store: Option<&Store>) -> Examined {
    let (Some(database), Some(store)) = (database, store) else { return Examined::default() };
    let Ok(place) = Place::of(&database.url) else { return Examined::default() };
    if let Err(error) = within(store.ping()).await {
        return Examined { checks: vec![out_of_reach(&place, &error)], clock: None };
    }
    let began = Utc::now();
    let facts = match within(store.inspect()).await {
        Ok(facts) => facts,
        Err(error) => return Examined { checks: vec![out_of_reach(&place, &error)], clock: None },
    };
    let ended = Utc::now();
    let mut checks = vec![
        answers(&place, &facts, (ended - began).num_microseconds().unwrap_or_default()),
        tls(&place, &facts),
        schema(store).await,
        durability(&facts),
    ];
    // Without a schema, its is the line that says so.
    checks.extend(within(store.missing_history_months()).await.ok().map(history));
    let session = within(store.session()).await;
    if !place.is_pooled && matches!(session, Ok(Session::Own)) {
        checks.push(room(&facts));
    }
    checks.push(pooler(&place, session));
    Examined { checks, clock: Some(ahead(began, facts.now, ended)) }
}

fn out_of_reach(place: &Place, error: &str) -> Check {
    let found = format!("{}: {}", place.name, error.trim_start_matches("Postgres is out of reach: "));
    let says = |sign: &str| error.contains(sign);
    let remedy = if says(LOST_STATEMENT) {
        POOLER_REMEDY
    } else if says("password authentication failed") || says("no password") {
        "correct the user and the password in DATABASE_URL"
    } else if says("not valid for name") {
        "use the host name that is in the server's certificate, or sslmode=verify-ca"
    } else if says("invalid peer certificate") {
        "set sslrootcert in DATABASE_URL to the certificate of the authority that signed the server's"
    } else if says("does not support TLS") {
        "turn on ssl in postgresql.conf, or take sslmode out of DATABASE_URL"
    } else if says("no encryption") || says("SSL off") {
        "the server wants TLS: set sslmode=require or verify-full in DATABASE_URL"
    } else if says("does not exist") {
        "make the database (`createdb`), or correct its name in DATABASE_URL"
    } else {
        "start it, or correct DATABASE_URL"
    };
    Check::fail(NAME, found, remedy)
}

fn answers(place: &Place, facts: &PostgresFacts, microseconds: i64) -> Check {
    let found = format!(
        "{} at {}, answers in {}.{} ms",
        facts.version.split(' ').next().unwrap_or_default(),
        place.name,
        microseconds / 1000,
        microseconds % 1000 / 100
    );
    if facts.is_replica {
        return Check::fail(
            NAME,
            format!("{found}: a replica, which refuses writes"),
            "point DATABASE_URL to the primary",
        );
    }
    Check::ok(NAME, found)
}

fn tls(place: &Place, facts: &PostgresFacts) -> Check {
    const NAME: &str = "Postgres TLS";
    let is_near = ["localhost:", "127.", "[::1]", "::1:", "/"].iter().any(|near| place.name.starts_with(near));
    match (&facts.tls, place.is_pooled) {
        (Some(version), false) => Check::ok(NAME, version.clone()),
        (Some(version), true) => Check::ok(NAME, format!("{version}, from the pooler to Postgres")),
        (None, true) => Check::ok(NAME, "none from the pooler to Postgres"),
        (None, false) if is_near => Check::ok(NAME, "none, and none needed on one machine"),
        (None, false) => Check::warn(
            NAME,
            "none: tokens are encrypted all the same, names, numbers and the password's proof are not",
            "turn on ssl in postgresql.conf, and add sslmode=verify-full to DATABASE_URL",
        ),
    }
}

async fn schema(store: &Store) -> Check {
    const NAME: &str = "schema";
    let remedy = "run `metriqlab migrate`";
    let schema = match within(store.schema_version()).await {
        Ok(schema) => schema,
        Err(error) => return Check::fail(NAME, error, remedy),
    };
    match schema.found {
        None => Check::fail(NAME, "the database is empty", remedy),
        Some(found) if !schema.missing.is_empty() => {
            Check::fail(NAME, format!("{found}, and this program needs {}, too", schema.missing.join(", ")), remedy)
        }
        Some(found) if found > schema.expected => {
            Check::ok(NAME, format!("{found}, newer than this program's {}: that is fine", schema.expected))
        }
        Some(found) => Check::ok(NAME, found),
    }
}

/// Whether the history has somewhere to go. Workers look once a minute, and make what is missing of the next months.
fn history(missing: MissingMonths) -> Check {
    const NAME: &str = "history";
    let remedy = "start a worker: within a minute it makes what is missing, or says in its log why it can't";
    match missing {
        MissingMonths { this_month: true, .. } => {
            Check::fail(NAME, "this month has no partition: no sync that changes something can be written", remedy)
        }
        MissingMonths { next_month: true, .. } => {
            Check::warn(NAME, "next month has no partition: from its first day on no sync can be written", remedy)
        }
        _ => Check::ok(NAME, "this month and the next have their partitions"),
    }
}

fn durability(facts: &PostgresFacts) -> Check {
    const NAME: &str = "durability";
    if !facts.survives_crashes {
        return Check::fail(
            NAME,
            "fsync or full_page_writes is off: a crash of the machine may destroy the database",
            "set both to on in postgresql.conf",
        );
    }
    if !facts.commits_are_durable {
        return Check::warn(
            NAME,
            "synchronous_commit is off: a crash may take the last moments of what was promised",
            "set it to on in postgresql.conf",
        );
    }
    Check::ok(NAME, "fsync, full_page_writes and synchronous_commit are on")
}

/// Whether an API process and a worker fit in. How many there are is not known here.
fn room(facts: &PostgresFacts) -> Check {
    const NAME: &str = "connections";
    let most = usize::try_from(facts.max_connections).unwrap_or(0);
    let used = usize::try_from(facts.connections).unwrap_or(0);
    let found =
        format!("{used} of {most} in use; an API process takes up to {API_CONNECTIONS}, a worker {CONNECTIONS}");
    let remedy = "raise max_connections, or put pgbouncer in between";
    if API_CONNECTIONS + CONNECTIONS > most || used * 10 > most * 9 {
        return Check::warn(NAME, found, remedy);
    }
    Check::ok(NAME, found)
}

fn pooler(place: &Place, session: Result<Session, String>) -> Check {
    const NAME: &str = "pooler";
    match (session, place.is_pooled) {
        (Ok(Session::Own), false) => Check::ok(NAME, "none, or one that keeps sessions"),
        (Ok(Session::Own), true) => {
            Check::ok(NAME, "it keeps sessions: pgbouncer=true is not needed, and costs a little")
        }
        (Ok(Session::Pooled), true) => Check::ok(NAME, "by transaction, as DATABASE_URL says"),
        (Ok(Session::Pooled), false) => Check::fail(
            NAME,
            "by transaction, and DATABASE_URL does not say so: statements will get lost",
            POOLER_REMEDY,
        ),
        (Err(error), false) if error.contains(LOST_STATEMENT) => Check::fail(NAME, error, POOLER_REMEDY),
        (Err(error), _) => Check::warn(NAME, error, "ask again; if it stays, look at the pooler's log"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Level;
    use super::*;

    #[test]
    fn a_missing_month_is_worse_when_it_is_this_one() {
        let level = |this_month, next_month| history(MissingMonths { this_month, next_month }).level;
        assert_eq!(level(false, false), Level::Ok);
        assert_eq!(level(false, true), Level::Warn);
        assert_eq!(level(true, false), Level::Fail);
        assert_eq!(level(true, true), Level::Fail);
    }
}
