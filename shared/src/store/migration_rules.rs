//! What ARCHITECTURE.md says of deploys, asked of each migration: it only adds, and it keeps nobody waiting.
//!
//! It reads statements by their words, not by a grammar: bodies of functions are left out, and what a word means is for whoever
//! writes a migration. A rule that must be broken is an exception with its reason, for all to see.

use std::path::Path;

/// Before this one there was nobody to wait.
const FIRST: &str = "2026-11-24-000001_init";

/// A migration, words of the statement, and why it may.
const EXCEPTIONS: [(&str, &str, &str); 4] = [
    ("2026-11-24-000002_resync", "UPDATE CREATORS", "there was no release before it: nobody has many rows"),
    ("2026-11-24-000002_resync", "ALTER TABLE PROJECTS ADD COLUMN RESYNC_EVERY", "there are few projects"),
    ("2026-11-24-000002_resync", "ALTER TABLE CREATORS ADD COLUMN RESYNC_EVERY", "there was no release before it"),
    (
        "2026-11-29-000011_safety",
        "ALTER TABLE PROJECTS DROP CONSTRAINT PROJECTS_NAME_KEY",
        "what an older `keys create` then does is said there, and harms nobody",
    ),
];

/// Functions that give each row its own value: such a default writes the whole table anew.
const VOLATILE: [&str; 5] = ["RANDOM()", "CLOCK_TIMESTAMP()", "GEN_RANDOM_UUID()", "UUID_V7()", "NEXTVAL("];

/// The statements of a migration: in capitals, without comments and bodies of functions, with single spaces.
fn statements(sql: &str) -> Vec<String> {
    let lines = sql.lines().map(|line| line.split("--").next().unwrap_or_default());
    let code = lines.collect::<Vec<_>>().join(" ");
    let outside = code.split("$$").step_by(2).collect::<Vec<_>>().join(" ");
    let words = |statement: &str| statement.split_whitespace().collect::<Vec<_>>().join(" ").to_uppercase();
    outside.split(';').map(words).filter(|statement| !statement.is_empty()).collect()
}

/// The table that a statement is about.
fn table(statement: &str) -> Option<&str> {
    let words: Vec<&str> = statement.split([' ', '(']).filter(|word| !word.is_empty()).collect();
    let after = match words.as_slice() {
        ["CREATE" | "ALTER" | "LOCK", "TABLE", ..] | ["DELETE", "FROM", ..] => 2,
        ["CREATE", ..] if ["INDEX", "TRIGGER"].iter().any(|word| words.contains(word)) => {
            words.iter().position(|word| *word == "ON")? + 1
        }
        ["UPDATE" | "TRUNCATE", ..] => 1,
        _ => return None,
    };
    let mut names =
        words.get(after..)?.iter().skip_while(|word| ["IF", "NOT", "EXISTS", "ONLY", "TABLE"].contains(*word));
    names.next().map(|name| name.trim_end_matches(','))
}

/// The parts of a statement between the commas that stand in no brackets.
fn parts(statement: &str) -> Vec<&str> {
    let mut depth = 0;
    let separates = |letter: char| {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        depth == 0 && letter == ','
    };
    statement.split(separates).map(str::trim).collect()
}

/// What is wrong with a part of `ALTER TABLE`.
fn wrong_with_part(part: &str) -> Option<&'static str> {
    let adds_column = part.contains("ADD COLUMN ");
    let has = |words: &[&str]| words.iter().any(|word| part.contains(word));
    if has(&[" DROP ", "RENAME "]) || part.starts_with("DROP ") {
        return (!part.ends_with("DROP NOT NULL")).then_some("the version before may use what goes");
    }
    if has(&[" TYPE ", " SET NOT NULL"]) {
        return Some("the version before may not fit in, and the table is read or written as a whole");
    }
    if adds_column && part.contains(" NOT NULL") && !part.contains(" DEFAULT ") {
        return Some("the version before does not know what to put there");
    }
    if adds_column && has(&VOLATILE) {
        return Some("the whole table is written anew");
    }
    let limits = [" CHECK ", " CHECK(", " REFERENCES ", " UNIQUE", " PRIMARY KEY", "ADD CONSTRAINT "];
    (has(&limits) && !part.ends_with(" NOT VALID")).then_some("the whole table is read meanwhile")
}

/// What is wrong with a statement of a migration that made these tables before.
fn wrong_with(statement: &str, made: &[String]) -> Option<&'static str> {
    let is_new = table(statement).is_some_and(|table| made.iter().any(|known| known == table));
    match statement {
        _ if is_new => None,
        _ if statement.starts_with("DROP ") => Some("the version before may use what goes"),
        _ if statement.starts_with("ALTER TABLE ") => parts(statement).into_iter().find_map(wrong_with_part),
        _ if statement.starts_with("ALTER ") => Some("the version before may not fit in"),
        _ if statement.starts_with("CREATE UNIQUE INDEX ") => Some("the version before may write what it refuses"),
        _ if statement.starts_with("CREATE INDEX ") => (!statement.starts_with("CREATE INDEX IF NOT EXISTS "))
            .then_some("one that was made beforehand, without a lock, is not found"),
        _ if ["UPDATE ", "DELETE ", "TRUNCATE "].iter().any(|word| statement.starts_with(word)) => {
            Some("who writes these rows waits until all of them are done")
        }
        _ => None,
    }
}

/// What breaks the rules in a migration: each statement, and why.
fn broken(sql: &str) -> Vec<(String, &'static str)> {
    let (mut made, mut found, mut in_time) = (Vec::new(), Vec::new(), false);
    for statement in statements(sql) {
        let touches = table(&statement).is_some_and(|table| !made.iter().any(|known| known == table));
        if statement.starts_with("CREATE TABLE ") {
            made.extend(table(&statement).map(str::to_owned));
        } else if touches && !in_time {
            in_time = true;
            found.push((statement.clone(), "others wait behind it without end: SET LOCAL lock_timeout first"));
        }
        in_time |= statement.starts_with("SET LOCAL LOCK_TIMEOUT");
        found.extend(wrong_with(&statement, &made).map(|reason| (statement, reason)));
    }
    found
}

fn migrations() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .expect("the migrations")
        .map(|entry| entry.expect("a migration"))
        .map(|entry| {
            let sql = std::fs::read_to_string(entry.path().join("up.sql")).expect("its statements");
            (entry.file_name().into_string().expect("a name"), sql)
        })
        .filter(|(name, _)| name.as_str() > FIRST)
        .collect();
    found.sort();
    found
}

#[test]
fn each_migration_keeps_the_version_before_it_alive_and_takes_no_lock_for_long() {
    let all = migrations();
    assert!(all.len() > 9, "they are found");
    let mut used = Vec::new();
    for (name, sql) in &all {
        for (statement, reason) in broken(sql) {
            let exception = EXCEPTIONS.iter().find(|(place, words, _)| place == name && statement.starts_with(words));
            let exception = exception.unwrap_or_else(|| panic!("{name}: {reason}: {statement}"));
            used.push(exception);
        }
    }
    let idle = EXCEPTIONS.iter().find(|exception| !used.contains(exception));
    assert_eq!(idle, None, "an exception that nothing needs");
}

#[test]
fn what_the_rules_forbid_is_found() {
    for bad in [
        "DROP TABLE jobs",
        "DROP INDEX jobs_dead",
        "ALTER TABLE jobs DROP COLUMN trace",
        "ALTER TABLE jobs ADD COLUMN a text, DROP COLUMN trace",
        "ALTER TABLE jobs ALTER COLUMN claim DROP DEFAULT",
        "ALTER TABLE jobs RENAME COLUMN trace TO context",
        "ALTER TABLE jobs ALTER COLUMN attempts TYPE bigint",
        "ALTER TABLE jobs ALTER COLUMN log_id SET NOT NULL",
        "ALTER TABLE jobs ADD COLUMN a text NOT NULL",
        "ALTER TABLE jobs ADD COLUMN a text NOT NULL DEFAULT 'x', ADD COLUMN b text NOT NULL",
        "ALTER TABLE jobs ADD COLUMN a uuid DEFAULT gen_random_uuid()",
        "ALTER TABLE jobs ADD COLUMN a bigint CHECK (a > 0)",
        "ALTER TABLE jobs ADD CONSTRAINT few CHECK (attempts < 9)",
        "ALTER TYPE state ADD VALUE 'new'",
        "CREATE INDEX jobs_by_log ON jobs (log_id)",
        "CREATE UNIQUE INDEX IF NOT EXISTS jobs_by_log ON jobs (log_id)",
        "UPDATE jobs SET log_id = ''",
        "DELETE FROM jobs",
        "TRUNCATE jobs",
        "-- a comment; with two\nCREATE FUNCTION f() RETURNS int AS $$ SELECT 1; $$; DROP TABLE jobs",
    ] {
        assert_eq!(broken(&format!("SET LOCAL lock_timeout = '3s'; {bad};")).len(), 1, "{bad}");
    }
    for alone in
        ["ALTER TABLE jobs ADD COLUMN a text", "CREATE INDEX IF NOT EXISTS i ON jobs (id)", "LOCK TABLE jobs, lanes"]
    {
        assert_eq!(broken(alone).len(), 1, "without a timeout: {alone}");
    }
}

#[test]
fn what_only_adds_is_let_through() {
    for good in [
        "ALTER TABLE jobs ADD COLUMN a text, ADD COLUMN b boolean NOT NULL DEFAULT false",
        "ALTER TABLE jobs ADD COLUMN a timestamptz NOT NULL DEFAULT now()",
        "ALTER TABLE jobs ADD CONSTRAINT few CHECK (attempts < 9) NOT VALID",
        "ALTER TABLE audit_log ALTER COLUMN project_id DROP NOT NULL",
        "CREATE INDEX IF NOT EXISTS jobs_by_log ON jobs (log_id)",
        "CREATE OR REPLACE FUNCTION f() RETURNS int AS $$ BEGIN DROP TABLE jobs; UPDATE jobs SET a = 1; END $$",
        "CREATE TABLE a (id uuid NOT NULL CHECK (true)); CREATE UNIQUE INDEX a_id ON a (id); UPDATE a SET id = id",
        "-- DROP TABLE jobs;",
    ] {
        assert_eq!(broken(&format!("SET LOCAL lock_timeout = '3s'; {good};")), [], "{good}");
    }
}
