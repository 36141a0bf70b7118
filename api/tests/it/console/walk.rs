//! What the tests share that walk through all routes: the router's own list of them, one thing of each kind to put into a path,
//! and all that they could change.

use shared::people::Role;
use shared::secret_token::SecretToken;
use shared::store::batches::BatchFilter;

use super::browser::Browser;
use crate::harness::World;

/// What the dashboard's forms send, all of them at once: a route takes its own.
pub const FIELDS: [(&str, &str); 12] = [
    ("name", "x"),
    ("access", "all"),
    ("expires", "never"),
    ("role", "owner"),
    ("overlap", "0"),
    ("state", "paused"),
    ("email", "mallory@example.com"),
    ("password", "a stolen password"),
    ("repeated", "a stolen password"),
    ("current", "correct horse battery"),
    ("age", "1h"),
    ("confirmed", "yes"),
];

/// Where the routes are listed.
pub const SOURCE: &str = include_str!("../../../src/console/mod.rs");

/// Every route of the dashboard as its source lists them: method and path, `/console` included.
pub fn routes() -> Vec<(&'static str, String)> {
    let (_, scopes) = SOURCE.split_once("pub fn scope()").expect("the routes");
    let mut found = Vec::new();
    for scope in scopes.split("web::scope(").skip(1) {
        let (prefix, resources) = scope.split_once(')').expect("a scope's path");
        let prefix = if prefix == "PATH" { "" } else { prefix.trim_matches('"') };
        for resource in resources.split("resource(\"").skip(1) {
            let (path, routes) = resource.split_once('"').expect("a path");
            for (method, call) in [("GET", "get().to("), ("POST", "post().to(")] {
                let has = routes.matches(call).count();
                assert!(has <= 1, "{path} has a method twice");
                found.extend((0..has).map(|_| (method, format!("/console{prefix}{path}"))));
            }
        }
    }
    assert_eq!(found.len(), scopes.matches("().to(").count(), "each is read: {found:?}");
    assert!(found.contains(&("GET", "/console".into())), "the source is read as it is: {found:?}");
    found
}

/// One thing of each kind that a path names.
pub struct Things(Vec<(&'static str, String)>);

impl Things {
    /// In the world's project, which has an owner and no other member yet.
    pub async fn make(world: &World, owner: &mut Browser) -> Self {
        let members = format!("/console/projects/{}/members", world.project);
        owner.submit(&members, &format!("{members}/invite"), &[("role", "viewer")]).await;
        let creator = world.creator("open-1").await.to_string();
        world.add_videos(creator.parse().expect("an id"), 3, chrono::Utc::now()).await;
        let batch = world.store.open_batch(world.project, &BatchFilter::default()).await.expect("a batch");
        let (link, invitation) = (SecretToken::generate(), SecretToken::generate());
        world.store.add_password_link(&"owner@example.com".parse().unwrap(), &link.hash()).await.expect("a link");
        let sql = world.sql().await;
        sql.batch_execute("UPDATE jobs SET state = 'failed', error_code = 'internal'").await.expect("a dead job");
        let id = async |query: &str| sql.query_one(query, &[]).await.expect("one row").get::<_, String>(0);
        let open = id("SELECT id::text FROM invitations").await;
        let hash = hex::encode(invitation.hash());
        let invite = format!(
            "INSERT INTO invitations (id, hash, project_id, role, invited_by, expires_at) VALUES (gen_random_uuid(),
            '\\x{hash}', '{}', '{}', 'somebody@example.com', now() + interval '1 day')",
            world.project,
            Role::Viewer,
        );
        sql.batch_execute(&invite).await.expect("another invitation");
        Self(vec![
            ("/password/{token}", format!("/password/{}", link.expose())),
            ("/join/{token}", format!("/join/{}", invitation.expose())),
            // Where the query decides whether there is such a page.
            ("/export", "/export?what=videos&format=csv".to_owned()),
            ("{project}", world.project.to_string()),
            ("{key}", id("SELECT id::text FROM api_keys").await),
            ("{user}", id("SELECT user_id::text FROM members WHERE role = 'owner'").await),
            ("{invitation}", open),
            ("{session}", id("SELECT id::text FROM sessions").await),
            ("{job}", id("SELECT id::text FROM jobs").await),
            ("{batch}", batch.id.to_string()),
            ("{creator}", creator),
            ("{lane}", "bulk".to_owned()),
        ])
    }

    /// A route's path with these things in it.
    pub fn fill(&self, path: &str) -> String {
        let filled = self.0.iter().fold(path.to_owned(), |path, (name, thing)| path.replace(name, thing));
        assert!(!filled.contains('{'), "there is nothing to put into {path}");
        filled
    }
}

/// All that is stored, as one text: every table, but for when a session and a key were last seen.
pub async fn state(world: &World) -> String {
    let sql = world.sql().await;
    let tables = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename";
    let tables = sql.query(tables, &[]).await.expect("the tables");
    assert!(tables.len() > 20, "all of them");
    let mut parts = Vec::new();
    for table in tables {
        let table: String = table.get(0);
        let row = "to_jsonb(t) - '{seen_at,last_used_at}'::text[]";
        parts.push(format!(
            "(SELECT '{table}: ' || coalesce(jsonb_agg({row} ORDER BY ({row})::text)::text, '') FROM {table} t)"
        ));
    }
    let query = format!("SELECT array_to_string(ARRAY[{}], E'\\n')", parts.join(", "));
    sql.query_one(&query, &[]).await.expect("a row").get(0)
}
