//! Somebody who has signed in to the dashboard, without the pages where one does: `tests/it/console` of the API has those.

use reqwest::RequestBuilder;
use shared::secret_token::SecretToken;

use super::{Client, System};

/// A member of the system's first project, in a browser.
pub struct Member {
    pub project: String,
    client: Client,
    cookie: String,
}

impl Member {
    pub async fn of(system: &System, role: &str) -> Self {
        let token = SecretToken::generate();
        let hash = hex::encode(token.hash());
        let made = format!(
            "WITH one AS (INSERT INTO users (id, email) VALUES (gen_random_uuid(), '{role}@example.com') RETURNING id),
            two AS (INSERT INTO sessions (id, hash, user_id, browser, address)
                SELECT gen_random_uuid(), '\\x{hash}', id, 'a test', '127.0.0.1' FROM one),
            oldest AS (SELECT id FROM projects ORDER BY id LIMIT 1)
            INSERT INTO members (project_id, user_id, role) SELECT oldest.id, one.id, '{role}' FROM oldest, one
            RETURNING project_id::text"
        );
        let project = system.sql().await.query_one(&made, &[]).await.expect("a member").get(0);
        Self { project, client: system.client.clone(), cookie: format!("metriqlab={}", token.expose()) }
    }

    /// A page of the project, or of nobody's if it begins with `/console`.
    pub fn page(&self, path: &str) -> RequestBuilder {
        let below =
            if path.starts_with("/console") { String::new() } else { format!("/console/projects/{}", self.project) };
        let url = format!("{}{below}{path}", self.client.base);
        self.client.http.get(url).header("cookie", &self.cookie)
    }
}
