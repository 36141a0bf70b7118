//! Postgres over TLS: what each `sslmode` lets through, with certificates made here.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::support::servers::PrivatePostgres;
use crate::support::{database, process};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

/// Makes Postgres speak TLS, and refuse whoever does not.
async fn turn_on(url: &str, authority: &Authority) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    let sql = database::connect(url).await;
    let folder: String = sql.query_one("SHOW data_directory", &[]).await.unwrap().get(0);
    let files = [
        ("server.crt", certificate.pem()),
        ("server.key", key.serialize_pem()),
        ("pg_hba.conf", "hostssl all all 127.0.0.1/32 scram-sha-256\n".to_owned()),
    ];
    for (name, text) in files {
        // The server writes them itself: they belong to the account that it runs as.
        let lines = text.lines().map(|line| format!("('{line}')")).collect::<Vec<_>>().join(",");
        let write = format!("COPY (VALUES {lines}) TO PROGRAM 'umask 077 && cat > \"{folder}/{name}\"'");
        sql.batch_execute(&write).await.unwrap();
    }
    sql.batch_execute("ALTER SYSTEM SET ssl = on").await.unwrap();
    sql.batch_execute("SELECT pg_reload_conf()").await.unwrap();
}

/// `metriqlab migrate` on that URL: its exit status and its last line.
async fn migrate(url: &str, folder: &Path) -> (i32, String) {
    let variables = [("DATABASE_URL".to_owned(), url.to_owned())];
    let output = process::program(&["migrate"], &variables, folder).output().await.expect("run the program");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().expect("an exit status"), said.lines().last().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_to_postgres_is_asked_for_given_and_checked() {
    let postgres = PrivatePostgres::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let with = |query: &str| format!("{}?{query}", postgres.url);
    let (status, said) = migrate(&with("sslmode=require"), folder.path()).await;
    assert!(status == 1 && said.contains("does not support TLS"), "{said}");
    let (status, said) = migrate(&with("sslmode=prefer"), folder.path()).await;
    assert_eq!(status, 0, "{said}");

    let (ours, other) = (authority("ours"), authority("another"));
    turn_on(&postgres.url, &ours).await;
    let root = |name: &str, authority: &Authority| {
        let path = folder.path().join(name);
        std::fs::write(&path, authority.pem()).expect("write a certificate");
        path.display().to_string()
    };
    let (good, bad) = (root("ours.pem", &ours), root("other.pem", &other));
    crate::support::eventually("Postgres has read its settings anew", async || {
        (migrate(&with("sslmode=disable"), folder.path()).await.0 == 1).then_some(())
    })
    .await;

    let refused = [
        ("sslmode=disable".to_owned(), "no encryption"),
        (format!("sslmode=verify-ca&sslrootcert={bad}"), "invalid peer certificate"),
        (format!("sslmode=require&sslrootcert={bad}"), "invalid peer certificate"),
        (format!("sslmode=verify-full&sslrootcert={bad}"), "invalid peer certificate"),
        ("sslmode=verify-full".to_owned(), "invalid peer certificate"),
    ];
    for (query, words) in refused {
        let (status, said) = migrate(&with(&query), folder.path()).await;
        assert!(status == 1 && said.contains(words), "{query}: {said}");
    }
    for query in [
        "",
        "sslmode=require",
        &format!("sslmode=verify-ca&sslrootcert={good}"),
        &format!("sslmode=verify-full&sslrootcert={good}"),
    ] {
        let (status, said) = migrate(&with(query), folder.path()).await;
        assert_eq!(status, 0, "{query}: {said}");
    }
    // The certificate is for 127.0.0.1 alone.
    let by_name = postgres.url.replace("127.0.0.1", "localhost");
    for (mode, expected) in [("verify-ca", 0), ("verify-full", 1)] {
        let (status, said) = migrate(&format!("{by_name}?sslmode={mode}&sslrootcert={good}"), folder.path()).await;
        assert_eq!(status, expected, "{mode}: {said}");
        assert!(status == 0 || said.contains("not valid for name"), "{mode}: {said}");
    }
    let (status, said) = migrate(&with("sslmode=verify-full&sslrootcert=/nowhere.pem"), folder.path()).await;
    assert!(status == 2 && said.contains("/nowhere.pem"), "{said}");

    let variables = [("DATABASE_URL".to_owned(), with(&format!("sslmode=verify-full&sslrootcert={good}")))];
    let output = process::program(&["doctor"], &variables, folder.path()).output().await.expect("run the program");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("Postgres TLS") && said.contains("TLSv1.3"), "{said}");
    let variables = [("DATABASE_URL".to_owned(), with(&format!("sslmode=verify-full&sslrootcert={bad}")))];
    let output = process::program(&["doctor"], &variables, folder.path()).output().await.expect("run the program");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("→ set sslrootcert in DATABASE_URL"), "{said}");
}
