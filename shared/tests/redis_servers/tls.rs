//! TLS with a private authority, certificates of clients, and a user with no more rights than it needs.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use shared::budget::BudgetError;
use shared::ids::JobId;
use shared::queue::{Final, Lane, Queue, Waiter};
use tempfile::TempDir;
use tokio::time::{Duration, Instant};

use crate::load::{Notes, Runs, budget, message, told, worker};
use crate::servers::{SOON, Server};

/// What operators are told to run.
const GUIDE: &str = include_str!("../../../docs/operating.md");

/// An authority, and what it signed for a server on loopback and for a client.
fn certificates() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    let mut authority = CertificateParams::new(vec![]).unwrap();
    authority.distinguished_name.push(DnType::CommonName, "authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    write("ca.pem", authority.pem());
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let mut holder = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        holder.distinguished_name.push(DnType::CommonName, name);
        write(&format!("{name}.pem"), holder.signed_by(&key, &authority).unwrap().pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
    folder
}

/// A Redis that speaks TLS alone, to clients with a certificate, and knows the guide's user alone.
async fn server(files: &Path) -> Server {
    let user = GUIDE.lines().find_map(|line| line.strip_prefix("ACL SETUSER metriqlab ")).expect("the guide's line");
    let user = user.replace("PASSWORD", "p@ss,word");
    Server::start(false, |port, folder| {
        format!(
            "port 0\ntls-port {port}\nbind 127.0.0.1\ndir {}\nsave \"\"\ntls-cert-file {files}/server.pem\n\
             tls-key-file {files}/server.key\ntls-ca-cert-file {files}/ca.pem\nuser default off\nuser metriqlab {user}\n",
            folder.display(),
            files = files.display()
        )
    })
    .await
}

#[tokio::test]
async fn tls_with_a_private_authority_and_the_guides_user_carries_queue_and_budget() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let files = certificates();
    let files = files.path().display();
    let redis = server(Path::new(&files.to_string())).await;
    let url = |user: &str, parameters: &str| format!("rediss://{user}@127.0.0.1:{}?{parameters}", redis.port);
    let known = format!("cacert={files}/ca.pem&cert={files}/client.pem&key={files}/client.key");
    let good = url("metriqlab:p%40ss%2Cword", &known);

    let queue = Queue::connect(&good, "metriqlab").unwrap();
    let runs = Runs::default();
    let waiter = Waiter::start(&queue, |_: Vec<JobId>| Box::pin(async { Ok::<_, String>(Vec::new()) }));
    let pool = worker(&queue, &runs);
    let job = message();
    let watching = waiter.watch(job.id);
    queue.push(Lane::Sync, &job, None).await.expect("pushed");
    assert_eq!(watching.wait(Instant::now() + SOON).await, Some(Final::Done));
    assert_eq!(queue.workers().await.unwrap().len(), 1);
    queue.ping().await.unwrap();
    let budget = budget(&good, "metriqlab", 10, Duration::from_secs(1), &Notes::default());
    told(&budget, SOON).await.expect("a permit").settle().await;
    // For longer than this machine stands still.
    budget.close(crate::load::ENDPOINT, Some(Duration::from_secs(60))).await;
    let refused = told(&budget, Duration::ZERO).await;
    assert!(matches!(refused, Err(BudgetError::NotBefore(_))), "it was closed: {refused:?}");
    pool.stop(SOON).await;

    let elsewhere = Queue::connect(&good, "elsewhere").unwrap();
    assert!(elsewhere.push(Lane::Sync, &message(), None).await.is_err(), "its keys are not the user's");
    let no_authority = format!("cert={files}/client.pem&key={files}/client.key");
    for (user, parameters) in [
        ("metriqlab:p%40ss%2Cword", no_authority),
        ("metriqlab:p%40ss%2Cword", format!("cacert={files}/ca.pem")),
        ("metriqlab:hunter2", known.clone()),
        (":hunter2", known),
    ] {
        let refused = Queue::connect(&url(user, &parameters), "metriqlab").unwrap().ping().await;
        let error = refused.expect_err(&parameters).to_string();
        assert!(!error.contains("hunter2") && !error.contains("p@ss"), "{error}");
    }
}
