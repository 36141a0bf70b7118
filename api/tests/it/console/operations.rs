//! The pages of the installation's operators, which do not exist for anybody else.

use std::time::{Duration, Instant};

use reqwest::Method;
use shared::budget::Quota;
use shared::cadence::Cadence;
use shared::ids::{CreatorId, UserId, WorkerId};
use shared::people::Role;
use shared::queue::{Final, Lane, Outcome, WorkerPool, WorkerSettings};
use shared::secret_token::SecretToken;
use shared::store::lanes::LaneState;
use shared::store::paces::Pace;
use shared::store::users::FirstOperator;

use super::browser::{Browser, PASSWORD, csrf};
use super::jobs::dead_job;
use crate::harness::{Options, World, send};

/// Every route. One that is missing here fails the test below that reads the source.
const ROUTES: [(&str, &str); 11] = [
    ("GET", ""),
    ("GET", "/fragment"),
    ("GET", "/lanes/{lane}"),
    ("POST", "/lanes/{lane}"),
    ("GET", "/log"),
    ("GET", "/jobs"),
    ("POST", "/jobs/retry-dead"),
    ("GET", "/jobs/{job}"),
    ("POST", "/jobs/{job}/retry"),
    ("GET", "/jobs/{job}/discard"),
    ("POST", "/jobs/{job}/discard"),
];

#[test]
fn the_walk_knows_every_route() {
    let source = include_str!("../../../src/console/mod.rs");
    let (_, routes) = source.split_once("web::scope(\"/operations\")").expect("the routes");
    let (routes, _) = routes.split_once("web::scope(").expect("the others");
    let mut found = Vec::new();
    for resource in routes.split("resource(\"").skip(1) {
        let (path, routes) = resource.split_once('"').expect("a path");
        found.extend(routes.matches("get().to").map(|_| ("GET", path)));
        found.extend(routes.matches("post().to").map(|_| ("POST", path)));
    }
    assert_eq!(found, ROUTES);
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_exist_for_operators_alone() {
    let world = World::start().await;
    let mut owner = Browser::member(&world, Role::Owner).await;
    let mut operator = Browser::operator(&world).await;
    let creator = world.creator("open-1").await;
    let job = dead_job(&world, world.project, creator, "sync", "sync").await;
    let account = owner.get("/console/account").await.text;
    assert!(!account.contains("/console/operations"));
    let token = csrf(&account).expect("a token");
    for (method, path) in ROUTES {
        let path = format!("/console/operations{}", path.replace("{lane}", "bulk").replace("{job}", &job.to_string()));
        let fields = [("csrf", token.as_str()), ("state", "paused")];
        let answer = if method == "GET" { owner.get(&path).await } else { owner.post(&path, &fields).await };
        assert_eq!(answer.status, 404, "{method} {path}");
        if method == "GET" {
            let nobody = send(world.client.bare(Method::GET, &path)).await;
            assert_eq!(nobody.status, 303, "{path}");
            assert_eq!(operator.get(&path).await.status, 200, "{path}");
        }
    }
    let settings = world.store.lane_settings().await.expect("the lanes");
    assert_eq!(settings.of(Lane::Bulk).state, LaneState::Open, "nothing was changed");
    assert!(operator.get("/console/account").await.text.contains("href=\"/console/operations\""));
    // An operator is no member: projects stay their members'.
    assert_eq!(operator.get(&format!("/console/projects/{}/jobs", world.project)).await.status, 404);
    // What is taken away is gone with the next request.
    let email = "operator@example.com".parse().unwrap();
    let user = world.store.user_by_email(&email).await.expect("an answer").expect("the user");
    world.store.set_operator(user.id, false).await.expect("no operator");
    assert_eq!(operator.get("/console/operations").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_is_held_and_let_go_with_a_line_in_the_log() {
    let world = World::start().await;
    let mut operator = Browser::operator(&world).await;
    let (all, page) = ("/console/operations", "/console/operations/lanes/bulk");
    assert!(!operator.get(all).await.text.contains("the lane <strong>"));
    let state = async || world.store.lane_settings().await.expect("the lanes").of(Lane::Bulk).state;
    for (field, expected, words) in [
        ("paused", LaneState::Paused, "paused the lane <strong>bulk"),
        ("draining", LaneState::Draining, "drained the lane <strong>bulk"),
        ("open", LaneState::Open, "opened the lane <strong>bulk"),
    ] {
        let set = operator.submit(page, page, &[("state", field)]).await;
        assert_eq!(set.header("location"), Some(format!("{all}?done={field}").as_str()));
        assert_eq!(state().await, expected);
        let shown = operator.get(all).await.text;
        assert!(shown.contains(words) && shown.contains("operator@example.com"), "{shown}");
        // What is true already is not offered.
        let offered = operator.get(page).await.text;
        assert!(!offered.contains(&format!("name=\"state\" value=\"{field}\"")), "{offered}");
    }
    for wrong in ["", "unknown", "PAUSED"] {
        assert_eq!(operator.submit(page, page, &[("state", wrong)]).await.status, 400, "{wrong}");
    }
    for lane in ["Bulk", "nonsense", "%00"] {
        assert_eq!(operator.get(&format!("{all}/lanes/{lane}")).await.status, 404, "{lane}");
    }
    assert_eq!(state().await, LaneState::Open);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fragment_is_the_part_of_the_page_that_changes() {
    let world = World::start().await;
    let mut operator = Browser::operator(&world).await;
    let creator = world.creator("open-1").await;
    dead_job(&world, world.project, creator, "sync", "bulk").await;
    let until = Instant::now() + Duration::from_secs(60);
    // What has to be counted is there a moment later.
    let fragment = loop {
        let fragment = operator.get("/console/operations/fragment").await.text;
        if fragment.contains("<dt>Active</dt><dd>1</dd>") && fragment.contains("/console/operations/jobs\">1</a>") {
            break fragment;
        }
        assert!(Instant::now() < until, "{fragment}");
    };
    assert!(!fragment.contains("<html") && !fragment.contains("csrf"), "{fragment}");
    for words in [">revoke</a>", ">sync</a>", ">bulk</a>", "user_info", "video_list", "0 of 600", "No worker lives"] {
        assert!(fragment.contains(words), "{words}: {fragment}");
    }
    let german = operator.request(Method::GET, "/console/operations/fragment").header("accept-language", "de");
    let german = send(german).await.text;
    assert!(german.contains("The cadence needs 0\u{a0}%"), "{german}");
    let page = operator.get("/console/operations").await.text;
    assert!(
        page.contains("data-refresh=\"/console/operations/fragment\"") && page.contains("No worker lives"),
        "{page}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_the_forecast_doubtful_is_said() {
    let world = World::start().await;
    let mut operator = Browser::operator(&world).await;
    let said = async |operator: &mut Browser, words: &str| {
        operator.get("/console/operations/fragment").await.text.contains(words)
    };
    assert!(said(&mut operator, "No worker has run for a day").await);
    let pace = |every: u64| Pace {
        cadence: Cadence { every: Some(Duration::from_secs(every)), ..Cadence::default() },
        quota: Quota { requests: 600, window: Duration::from_secs(60) },
    };
    for (every, they_differ) in [(86_400, false), (3_600, true)] {
        world.store.note_pace(WorkerId::new(), pace(every)).await.expect("a pace");
        assert!(!said(&mut operator, "No worker has run for a day").await);
        assert_eq!(said(&mut operator, "do not agree on cadence and quota").await, they_differ);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_was_heard_of_at_an_instant() {
    let world = World::start().await;
    let mut operator = Browser::operator(&world).await;
    let worker = WorkerPool::start(&world.queue, WorkerSettings::default(), |_| async { Outcome::Final(Final::Done) });
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let fragment = operator.get("/console/operations/fragment").await.text;
        if fragment.contains("<td><time datetime=\"") {
            break;
        }
        assert!(Instant::now() < until, "{fragment}");
    }
    drop(worker);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_deals_with_the_dead_jobs_of_all_projects() {
    let world = World::start().await;
    let mut operator = Browser::operator(&world).await;
    let mut owner = Browser::member(&world, Role::Owner).await;
    let (_, elsewhere) = Browser::stranger(&world).await;
    let creator = world.creator("open-1").await;
    let ours = dead_job(&world, world.project, creator, "sync", "sync").await;
    let theirs = dead_job(&world, elsewhere, CreatorId::new(), "sync", "sync").await;
    let list = "/console/operations/jobs";
    let page = operator.get(list).await.text;
    assert!(
        page.contains(&ours.to_string()) && page.contains(&theirs.to_string()) && page.contains("elsewhere"),
        "{page}"
    );
    let job = format!("{list}/{ours}");
    let retried = operator.submit(&job, &format!("{job}/retry"), &[]).await;
    assert_eq!(retried.header("location"), Some(format!("{job}?done=retried").as_str()));
    let log = owner.get(&format!("/console/projects/{}/audit", world.project)).await.text;
    assert!(log.contains("operator@example.com") && log.contains("tried again the <strong>sync of open-1"), "{log}");
    let job = format!("{list}/{theirs}");
    let gone = operator.submit(&job, &format!("{job}/retry"), &[]).await;
    assert!(gone.status == 409 && gone.text.contains("was disconnected"), "{}", gone.text);
    let unconfirmed = operator.submit(&job, &format!("{job}/discard"), &[]).await;
    assert!(unconfirmed.status == 422 && operator.get(list).await.text.contains(&theirs.to_string()), "it is there");
    assert_eq!(operator.confirm(&format!("{job}/discard")).await.status, 303);
    assert!(operator.get(list).await.text.contains("No job was given up"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_servers_shell_makes_operators() {
    let world = World::start().await;
    let mut owner = Browser::member(&world, Role::Owner).await;
    // The link of the first start.
    let sql = world.sql().await;
    sql.batch_execute("DELETE FROM members").await.expect("no members");
    let token = SecretToken::generate();
    assert!(world.store.invite_first_owner(world.project, &token.hash()).await.expect("a link"));
    let mut first = Browser::new(&world);
    let path = api::invitation_path(&token);
    let fields = [("email", "first@example.com"), ("password", PASSWORD), ("repeated", PASSWORD)];
    assert_eq!(first.submit(&path, &path, &fields).await.status, 303);
    assert_eq!(first.get("/console/operations").await.status, 200);
    // Who is invited, whatever the role, is none; and who has been there first takes nothing from the command line's rule.
    let members = format!("/console/projects/{}/members", world.project);
    let invited = first.submit(&members, &format!("{members}/invite"), &[("role", "owner")]).await;
    let path = super::browser::between(&invited.text, "tabindex=\"0\">http://127.0.0.1:9", "</code>");
    assert_eq!(owner.submit(path, path, &[]).await.status, 303);
    assert_eq!(owner.get("/console/operations").await.status, 404);
    let user = |email: &str| {
        let (store, email) = (world.store.clone(), email.parse().unwrap());
        async move { store.user_by_email(&email).await.unwrap().map(|user| user.id) }
    };
    let second: UserId = user("owner@example.com").await.expect("the owner");
    let made = world.store.make_first_operator(second).await;
    assert_eq!(made.expect("an answer"), FirstOperator::ThereIsOne);
    let first = user("first@example.com").await.expect("the first");
    world.store.set_operator(first, false).await.expect("none");
    // Nobody slips in where there is none, not even by a new password.
    for user in [first, second] {
        let made = world.store.make_first_operator(user).await;
        assert_eq!(made.expect("an answer"), FirstOperator::Nobody);
    }
    assert_eq!(owner.get("/console/operations").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_user_of_all_is_an_operator_and_a_new_password_makes_none() {
    let world = World::start().await;
    let token = SecretToken::generate();
    let user = world.store.add_password_link(&"ada@example.com".parse().unwrap(), &token.hash()).await.expect("a link");
    let first = async || world.store.make_first_operator(user).await.expect("an answer");
    assert_eq!(first().await, FirstOperator::Made);
    let mut ada = Browser::new(&world);
    let path = api::password_path(&token);
    assert_eq!(ada.submit(&path, &path, &[("password", PASSWORD), ("repeated", PASSWORD)]).await.status, 303);
    assert_eq!(ada.get("/console/operations").await.status, 200);
    world.store.set_operator(user, false).await.expect("none");
    assert_eq!(first().await, FirstOperator::Nobody);
    assert_eq!(ada.get("/console/operations").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_t_be_counted_is_not_known_and_the_rest_is_shown() {
    let world = World::start().await;
    let mut operator = Browser::operator(&world).await;
    let sql = world.sql().await;
    sql.batch_execute("ALTER TABLE creators RENAME TO creators_away").await.expect("renamed");
    let shown = operator.get("/console/operations").await;
    assert_eq!(shown.status, 200, "{}", shown.text);
    assert!(shown.text.contains("…") && shown.text.contains("0 of 600"), "{}", shown.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_it_says_so_and_a_lane_is_held_all_the_same() {
    let redis = Some("redis://127.0.0.1:1".to_owned());
    let world = World::with(Options { redis, ..Options::default() }).await;
    let mut operator = Browser::operator(&world).await;
    let shown = operator.get("/console/operations").await;
    assert_eq!(shown.status, 200);
    for words in ["Redis is out of reach, and nothing runs", "Not known without Redis", "? of 600"] {
        assert!(shown.text.contains(words), "{words}: {}", shown.text);
    }
    let page = "/console/operations/lanes/sync";
    assert_eq!(operator.submit(page, page, &[("state", "paused")]).await.status, 303);
    assert_eq!(world.store.lane_settings().await.expect("the lanes").of(Lane::Sync).state, LaneState::Paused);
}
