//! A browser on the dashboard: it keeps its cookie, and sends forms with the token that the page before gave it.

use reqwest::{Method, RequestBuilder};

use super::client::{Answer, Client};

pub struct Browser {
    client: Client,
    cookie: String,
    /// Every cookie and every form's token that it was ever given.
    pub given: Vec<String>,
}

impl Browser {
    pub fn new(client: &Client) -> Self {
        Self { client: client.clone(), cookie: String::new(), given: Vec::new() }
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// Sends a form of `page` to `path`.
    pub async fn submit(&mut self, page: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let page = self.get(page).await;
        let token = after(&page, r#"name="csrf" value=""#).to_owned();
        let mut fields = fields.to_vec();
        fields.push(("csrf", &token));
        let form = self.request(Method::POST, path).header("sec-fetch-site", "same-origin").form(&fields);
        let answer = self.send(form).await;
        self.given.push(token);
        answer
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.http.request(method, format!("{}{path}", self.client.base));
        if self.cookie.is_empty() { request } else { request.header("cookie", format!("metriqlab={}", self.cookie)) }
    }

    async fn send(&mut self, request: RequestBuilder) -> Answer {
        let answer = self.client.send(request).await;
        if let Some(line) = answer.header("set-cookie") {
            let (pair, _) = line.split_once(';').expect("attributes");
            pair.strip_prefix("metriqlab=").expect("its name").clone_into(&mut self.cookie);
            self.given.extend((!self.cookie.is_empty()).then(|| self.cookie.clone()));
        }
        answer
    }
}

/// What stands on a page behind a text, as far as it can be a token.
pub fn after<'a>(page: &'a Answer, text: &str) -> &'a str {
    let page = page.body.as_str().unwrap_or_default();
    let (_, rest) = page.split_once(text).unwrap_or_else(|| panic!("no {text} in {page}"));
    let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && !"-_".contains(letter));
    &rest[..end.unwrap_or(rest.len())]
}
