//! Projects, members and invitations; who may do what.

use reqwest::Method;
use shared::people::Role;
use shared::secret_token::SecretToken;
use shared::store::invitations::Inviting;
use shared::store::members::Actor;

use super::browser::{Browser, PASSWORD, between, csrf};
use crate::harness::{World, eventually, send};

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_makes_one_member_once() {
    let world = World::start().await;
    let mut owner = Browser::member(&world, Role::Owner).await;
    let members = format!("/console/projects/{}/members", world.project);
    let invited = owner.submit(&members, &format!("{members}/invite"), &[("role", "viewer")]).await;
    assert_eq!(invited.status, 201, "{}", invited.text);
    let link = between(&invited.text, r#"<code id="link" tabindex="0">http://127.0.0.1:9"#, "</code>").to_owned();
    let token = link.rsplit('/').next().expect("a token");
    let sql = world.sql().await;
    let found = sql.query("SELECT 1 FROM invitations WHERE hash = sha256($1)", &[&token.as_bytes()]).await;
    assert_eq!(found.expect("invitations").len(), 1, "only its hash is stored");

    let mut guest = Browser::new(&world);
    let page = guest.get(&link).await;
    assert!(page.text.contains("Join project"), "{}", page.text);
    for wrong in [
        [("email", "nonsense"), ("password", PASSWORD), ("repeated", PASSWORD)],
        [("email", "guest@example.com"), ("password", "short"), ("repeated", "short")],
        [("email", "guest@example.com"), ("password", PASSWORD), ("repeated", "another password")],
        [("email", "Owner@example.com"), ("password", PASSWORD), ("repeated", PASSWORD)],
    ] {
        assert_eq!(guest.submit(&link, &link, &wrong).await.status, 422, "{wrong:?}");
    }
    let fields = [("email", "Guest@example.com"), ("password", PASSWORD), ("repeated", PASSWORD)];
    let joined = guest.submit(&link, &link, &fields).await;
    let keys = joined.header("location").expect("a place").to_owned();
    assert!(guest.get(&keys).await.text.contains("You are a member of this project now"));
    assert_eq!(guest.get(&link).await.status, 410, "it is used");
    assert!(owner.get(&members).await.text.contains("guest@example.com"));
    let log = owner.get(&format!("/console/projects/{}/audit", world.project)).await.text;
    assert!(log.contains("joined with the role") && log.contains("made an invitation"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_an_account_joins_with_it_and_a_withdrawn_link_is_dead() {
    let world = World::start().await;
    let mut owner = Browser::member(&world, Role::Owner).await;
    let mut guest = Browser::user(&world, "guest@example.com").await;
    let members = format!("/console/projects/{}/members", world.project);
    let invite = format!("{members}/invite");
    let link = |page: &str| between(page, "tabindex=\"0\">http://127.0.0.1:9", "</code>").to_owned();
    let first = link(&owner.submit(&members, &invite, &[("role", "developer")]).await.text);
    let second = link(&owner.submit(&members, &invite, &[("role", "viewer")]).await.text);
    let joined = guest.submit(&first, &first, &[]).await;
    assert_eq!(joined.status, 303, "{}", joined.text);
    // Being invited to less takes nothing away.
    guest.submit(&second, &second, &[]).await;
    assert!(guest.get(&format!("/console/projects/{}/keys", world.project)).await.text.contains("New key"));

    let third = link(&owner.submit(&members, &invite, &[("role", "owner")]).await.text);
    let page = owner.get(&members).await.text;
    let withdraw = between(&page, "/invitations/", "\"");
    let path = format!("/console/projects/{}/invitations/{withdraw}", world.project);
    assert_eq!(owner.submit(&members, &path, &[]).await.status, 303);
    assert_eq!(guest.get(&third).await.status, 410);
    assert_eq!(guest.get("/console/join/nonsense").await.status, 410);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_its_own() {
    let world = World::start().await;
    let project = format!("/console/projects/{}", world.project);
    let mut owner = Browser::member(&world, Role::Owner).await;
    let mut developer = Browser::member(&world, Role::Developer).await;
    let mut viewer = Browser::member(&world, Role::Viewer).await;
    let account = "/console/account";
    let key = [("name", "x"), ("access", "all"), ("expires", "never")];
    assert_eq!(viewer.submit(account, &format!("{project}/keys"), &key).await.status, 403);
    assert_eq!(developer.submit(account, &format!("{project}/keys"), &key).await.status, 201);
    for browser in [&mut viewer, &mut developer] {
        for path in ["keys", "members", "settings", "audit"] {
            assert_eq!(browser.get(&format!("{project}/{path}")).await.status, 200, "{path}");
        }
        assert_eq!(browser.submit(account, &format!("{project}/settings"), &[("name", "mine")]).await.status, 403);
        assert_eq!(
            browser.submit(account, &format!("{project}/members/invite"), &[("role", "owner")]).await.status,
            403
        );
    }
    let users = owner.get(&format!("{project}/members")).await.text;
    let ids: Vec<_> = users.split("/members/").skip(1).filter_map(|rest| rest.split_once("/role")).collect();
    let [owner_id, developer_id, viewer_id] = [ids[0].0, ids[1].0, ids[2].0];
    let change = |user: &str, what: &str| format!("{project}/members/{user}/{what}");
    assert_eq!(viewer.submit(account, &change(viewer_id, "role"), &[("role", "owner")]).await.status, 403);
    assert_eq!(developer.submit(account, &change(viewer_id, "remove"), &[]).await.status, 403);
    let asked = owner.submit(account, &change(owner_id, "role"), &[("role", "viewer")]).await;
    assert_eq!(asked.status, 200, "{}", asked.text);
    assert!(asked.text.contains("Become a viewer of") && asked.text.contains(r#"name="role" value="viewer""#));
    let given_up = &[("role", "viewer"), ("confirmed", "yes")][..];
    for (what, fields) in [("role", given_up), ("remove", &given_up[1..])] {
        let last = owner.submit(account, &change(owner_id, what), fields).await;
        assert_eq!(last.status, 422, "{}", last.text);
        assert!(last.text.contains("A project keeps an owner"));
    }
    assert_eq!(owner.submit(account, &change(developer_id, "role"), &[("role", "owner")]).await.status, 303);
    owner.submit(account, &change(owner_id, "role"), &[("role", "viewer")]).await;
    assert_eq!(owner.get(&format!("{project}/settings")).await.status, 200);
    assert_eq!(
        owner.submit(account, &change(developer_id, "role"), &[("role", "owner")]).await.status,
        303,
        "an owner still"
    );
    assert_eq!(
        owner.submit(account, &change(owner_id, "role"), given_up).await.status,
        303,
        "there is another one now"
    );
    assert_eq!(owner.submit(account, &change(viewer_id, "role"), &[("role", "owner")]).await.status, 403);
    assert_eq!(owner.confirm(&change(owner_id, "remove")).await.status, 303, "anybody may leave");
    assert_eq!(owner.get(&format!("{project}/keys")).await.status, 404);
    assert_eq!(viewer.confirm(&change(viewer_id, "remove")).await.status, 303, "anybody may leave");
    assert_eq!(viewer.get(&format!("{project}/keys")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_owner_any_more_has_no_link_back() {
    let world = World::start().await;
    let mut owner = Browser::member(&world, Role::Owner).await;
    let mut second = Browser::member(&world, Role::Developer).await;
    let project = format!("/console/projects/{}", world.project);
    let members = format!("{project}/members");
    let page = owner.get(&members).await.text;
    let ids: Vec<_> = page.split("/members/").skip(1).filter_map(|rest| rest.split_once("/role")).collect();
    let second_id = ids[1].0;
    let email = "developer@example.com".parse().expect("an address");
    let change = |what: &str| format!("{members}/{second_id}/{what}");
    for (what, fields) in
        [("role", &[("role", "viewer"), ("confirmed", "yes")][..]), ("remove", &[("confirmed", "yes")])]
    {
        owner.submit(&members, &change("role"), &[("role", "owner")]).await;
        let mut links = Vec::new();
        for inviter in [&mut second, &mut owner] {
            let page = inviter.submit(&members, &format!("{members}/invite"), &[("role", "owner")]).await.text;
            links.push(between(&page, "tabindex=\"0\">http://127.0.0.1:9", "</code>").to_owned());
        }
        assert_eq!(owner.submit("/console/account", &change(what), fields).await.status, 303);
        assert_eq!(second.get(&links[0]).await.status, 410, "{what}");
        assert_eq!(second.get(&links[1]).await.status, 200, "another's still works");
        assert!(!second.get(&members).await.text.contains("/members/invite"), "{what}");
        // A request that was on its way meanwhile makes none, either.
        let late = Actor { user: second_id.parse().expect("an id"), email: &email };
        let late = world.store.invite(world.project, late, Role::Owner, &SecretToken::generate().hash()).await;
        assert_eq!(late.expect("an answer"), Inviting::NotOwner, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_renamed() {
    let world = World::start().await;
    let mut owner = Browser::member(&world, Role::Owner).await;
    let settings = format!("/console/projects/{}/settings", world.project);
    assert_eq!(owner.submit(&settings, &settings, &[("name", " Renamed ")]).await.status, 303);
    assert!(owner.get(&settings).await.text.contains("value=\"Renamed\""));
    for name in ["", "a\nb"] {
        assert_eq!(owner.submit(&settings, &settings, &[("name", name)]).await.status, 422, "{name:?}");
        let refused = owner.submit("/console/projects", "/console/projects", &[("name", name)]).await;
        assert_eq!(refused.status, 422, "{name:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_sets_a_password_once() {
    let world = World::start().await;
    let email = "ada@example.com".parse().unwrap();
    let (old, new) = (SecretToken::generate(), SecretToken::generate());
    world.store.add_password_link(&email, &old.hash()).await.expect("a link");
    world.store.add_password_link(&email, &new.hash()).await.expect("a link");
    let mut browser = Browser::new(&world);
    assert_eq!(browser.get(&api::password_path(&old)).await.status, 410, "another took its place");
    let path = api::password_path(&new);
    let wrong = browser.submit(&path, &path, &[("password", "short"), ("repeated", "short")]).await;
    assert_eq!(wrong.status, 422);
    assert_eq!(browser.submit(&path, &path, &[("password", PASSWORD), ("repeated", PASSWORD)]).await.status, 303);
    assert_eq!(browser.get("/console/account").await.status, 200, "signed in");
    assert_eq!(browser.get(&path).await.status, 410);

    let late = SecretToken::generate();
    world.store.add_password_link(&email, &late.hash()).await.expect("a link");
    world.sql().await.batch_execute("UPDATE password_links SET expires_at = now()").await.expect("it expires");
    assert_eq!(send(browser.request(Method::GET, &api::password_path(&late))).await.status, 410);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_owners_link_is_dead_once_there_is_a_member() {
    let world = World::start().await;
    let token = SecretToken::generate();
    assert!(world.store.invite_first_owner(world.project, &token.hash()).await.expect("an invitation"));
    let path = api::invitation_path(&token);
    let mut early = Browser::new(&world);
    let form = csrf(&early.get(&path).await.text).expect("it works while there is nobody");
    let mut owner = Browser::member(&world, Role::Owner).await;
    assert_eq!(Browser::new(&world).get(&path).await.status, 410);
    let new = [("email", "late@example.com"), ("password", PASSWORD), ("repeated", PASSWORD), ("csrf", &form)];
    assert_eq!(early.post(&path, &new).await.status, 410, "also for who has the page open");
    let mut known = Browser::user(&world, "known@example.com").await;
    let form = csrf(&known.get("/console/account").await.text).expect("a form");
    assert_eq!(known.post(&path, &[("csrf", &form)]).await.status, 410, "and for who has an account");
    let members = owner.get(&format!("/console/projects/{}/members", world.project)).await.text;
    assert!(!members.contains("late@example.com") && !members.contains("known@example.com"), "{members}");
    assert_eq!(early.sign_in("late@example.com", PASSWORD).await.status, 422, "no account is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_waits_for_a_change_of_the_members_under_way() {
    let world = World::start().await;
    Browser::user(&world, "guest@example.com").await;
    let guest = world.store.user_by_email(&"guest@example.com".parse().unwrap()).await.unwrap().expect("a user");
    let token = SecretToken::generate();
    assert!(world.store.invite_first_owner(world.project, &token.hash()).await.expect("an invitation"));
    let changing = world.sql().await;
    let lock = format!("BEGIN; SELECT FROM projects WHERE id = '{}' FOR NO KEY UPDATE", world.project);
    changing.batch_execute(&lock).await.expect("a change");
    let store = world.store.clone();
    let joining = tokio::spawn(async move {
        store.join(&token.hash(), Actor { user: guest.id, email: &guest.email }).await.expect("an answer")
    });
    let sql = world.sql().await;
    let waits = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE NOT granted AND datname = current_database()";
    let waited = eventually("it waits, or is through", async || {
        let waiting: i64 = sql.query_one(waits, &[]).await.expect("a count").get(0);
        (waiting > 0 || joining.is_finished()).then_some(waiting > 0)
    })
    .await;
    changing.batch_execute("COMMIT").await.expect("changed");
    assert_eq!(joining.await.expect("an answer"), Some(world.project));
    assert!(waited, "it came in between");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_a_label_that_others_may_use_too() {
    let world = World::start().await;
    let mut owner = Browser::member(&world, Role::Owner).await;
    let (mut stranger, _) = Browser::stranger(&world).await;
    let projects = "/console/projects";
    // The world's project is called so.
    let made = stranger.submit(projects, projects, &[("name", "project")]).await;
    assert_eq!(made.status, 303, "whether somebody else's is called so, nobody is told");
    let made = made.header("location").expect("a place").to_owned();
    assert!(!made.contains(&world.project.to_string()), "it is another one");
    assert_eq!(stranger.get(&format!("{projects}/{}/keys", world.project)).await.status, 404);
    let again = stranger.submit(projects, projects, &[("name", "project")]).await;
    assert_eq!(again.status, 422, "one's own are told apart");
    assert!(again.text.contains("You have a project of this name already."), "{}", again.text);
    let settings = format!("{projects}/{}/settings", world.project);
    assert_eq!(owner.submit(&settings, &settings, &[("name", "elsewhere")]).await.status, 303, "as the stranger's");
    assert_eq!(owner.submit(&settings, &settings, &[("name", "elsewhere")]).await.status, 303, "its own name stays");
    assert_eq!(owner.submit(projects, projects, &[("name", "mine")]).await.status, 303);
    assert_eq!(owner.submit(&settings, &settings, &[("name", "mine")]).await.status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_listed_a_page_at_a_time() {
    let world = World::start().await;
    let mut viewer = Browser::member(&world, Role::Viewer).await;
    // Many at one instant.
    let insert = format!(
        "INSERT INTO users (id, email) SELECT uuid_v7(), 'user' || n || '@example.com' FROM generate_series(1, 120) AS n;
        INSERT INTO members (project_id, user_id, role) SELECT '{}', id, 'viewer' FROM users WHERE email LIKE 'user%'",
        world.project
    );
    world.sql().await.batch_execute(&insert).await.expect("members");
    let list = format!("/console/projects/{}/members", world.project);
    let (mut seen, mut next) = (Vec::new(), list.clone());
    loop {
        let page = viewer.get(&next).await.text;
        let before = seen.len();
        let (_, table) = page.split_once("<tbody>").expect("a table");
        let rows = table.split("<td>").filter_map(|cell| cell.split(['<', ' ']).next());
        seen.extend(rows.filter(|cell| cell.contains('@')).map(str::to_owned));
        assert!(seen.len() <= before + 50, "{page}");
        if !page.contains("rel=\"next\"") {
            break;
        }
        super::browser::between(&page, "rel=\"next\" href=\"", "\"").clone_into(&mut next);
    }
    assert_eq!(seen.len(), 121);
    assert_eq!(seen[0], "viewer@example.com", "the first member");
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 121, "each once");
    assert_eq!(viewer.get(&format!("{list}?after=nonsense")).await.status, 404);
}
