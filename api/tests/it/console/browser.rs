//! A browser: it keeps its cookie, and sends forms with the token that the page before gave it.

use reqwest::Method;
use shared::ids::ProjectId;
use shared::people::{Email, Role};
use shared::secret_token::SecretToken;
use uuid::Uuid;

use crate::harness::{Answer, World, send};

pub const PASSWORD: &str = "correct horse battery";
/// What every user-set field is tried with.
pub const XSS: &str = r#"<script>alert(1)</script>"'><img src=x onerror=alert(1)>{{7777*7777}}"#;

pub struct Browser {
    pub base: String,
    pub http: reqwest::Client,
    /// What the cookie says; empty for none.
    pub cookie: String,
}

impl Browser {
    pub fn new(world: &World) -> Self {
        Self { base: world.base.clone(), http: world.client.http.clone(), cookie: String::new() }
    }

    /// A browser of somebody who is a member of the world's project with this role.
    pub async fn member(world: &World, role: Role) -> Self {
        let token = SecretToken::generate();
        let email: Email = format!("{role}@example.com").parse().unwrap();
        // An owner's invitation, whether there is one yet or not.
        let hash = hex::encode(token.hash());
        let invite = format!(
            "INSERT INTO invitations (id, hash, project_id, role, invited_by, expires_at)
            VALUES ('{}', '\\x{hash}', '{}', '{role}', 'somebody@example.com', now() + interval '1 day')",
            Uuid::new_v4(),
            world.project,
        );
        world.sql().await.batch_execute(&invite).await.expect("an invitation");
        let mut browser = Self::new(world);
        let path = api::invitation_path(&token);
        let fields = [("email", email.as_ref()), ("password", PASSWORD), ("repeated", PASSWORD)];
        let joined = browser.submit(&path, &path, &fields).await;
        assert_eq!(joined.status, 303, "{}", joined.text);
        browser
    }

    /// A browser of somebody who has a project of their own, and its id.
    pub async fn stranger(world: &World) -> (Self, ProjectId) {
        let mut browser = Self::user(world, "stranger@example.com").await;
        let made = browser.submit("/console/projects", "/console/projects", &[("name", "elsewhere")]).await;
        let project = made.header("location").expect("a place").split('/').nth(3).expect("an id").parse();
        (browser, project.expect("an id"))
    }

    /// A browser of a new user, without a project.
    pub async fn user(world: &World, email: &str) -> Self {
        let token = SecretToken::generate();
        world.store.add_password_link(&email.parse().unwrap(), &token.hash()).await.expect("a link");
        let mut browser = Self::new(world);
        let path = api::password_path(&token);
        let set = browser.submit(&path, &path, &[("password", PASSWORD), ("repeated", PASSWORD)]).await;
        assert_eq!(set.status, 303, "{}", set.text);
        browser
    }

    /// A browser of an operator of the installation, without a project.
    pub async fn operator(world: &World) -> Self {
        let browser = Self::user(world, "operator@example.com").await;
        let email = "operator@example.com".parse().unwrap();
        let user = world.store.user_by_email(&email).await.expect("an answer").expect("the user");
        world.store.set_operator(user.id, true).await.expect("an operator");
        browser
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        let answer = send(self.request(Method::GET, path)).await;
        self.keep(&answer);
        answer
    }

    /// Sends a form of `page` to `path`, as a browser of today does.
    pub async fn submit(&mut self, page: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let page = self.get(page).await;
        let token = csrf(&page.text).unwrap_or_else(|| panic!("no form on it: {} {}", page.status, page.text));
        let mut fields = fields.to_vec();
        fields.push(("csrf", &token));
        self.post(path, &fields).await
    }

    /// Goes to where something that can't be undone is asked about, and says that it is meant.
    pub async fn confirm(&mut self, path: &str) -> Answer {
        self.submit(path, path, &[("confirmed", "yes")]).await
    }

    /// Says so without having been asked.
    pub async fn confirm_unasked(&mut self, path: &str) -> Answer {
        self.submit("/console/account", path, &[("confirmed", "yes")]).await
    }

    /// Sends these fields and no others.
    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let request = self.request(Method::POST, path).header("sec-fetch-site", "same-origin").form(fields);
        let answer = send(request).await;
        self.keep(&answer);
        answer
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        if self.cookie.is_empty() { request } else { request.header("cookie", format!("metriqlab={}", self.cookie)) }
    }

    fn keep(&mut self, answer: &Answer) {
        if let Some(line) = answer.header("set-cookie") {
            let (pair, _) = line.split_once(';').expect("attributes");
            pair.strip_prefix("metriqlab=").expect("its name").clone_into(&mut self.cookie);
        }
    }

    pub async fn sign_in(&mut self, email: &str, password: &str) -> Answer {
        self.submit("/console/sign-in", "/console/sign-in", &[("email", email), ("password", password)]).await
    }
}

/// The token in a page's first form.
pub fn csrf(page: &str) -> Option<String> {
    let (_, rest) = page.split_once(r#"name="csrf" value=""#)?;
    Some(rest.split_once('"')?.0.to_owned())
}

/// What stands between two texts of a page.
pub fn between<'a>(page: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = page.split_once(before).unwrap_or_else(|| panic!("no {before} in {page}"));
    rest.split_once(after).unwrap_or_else(|| panic!("no {after} in {page}")).0
}
