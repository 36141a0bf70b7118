//! Where errors are explained. An error's body is made where there is no app at hand, so each request carries it.

use std::sync::Arc;

use shared::settings::PublicUrl;

/// The page; a code behind `#` is one error's place on it.
const PATH: &str = "/docs/errors";

tokio::task_local! {
    static PAGE: ErrorDocs;
}

/// The page's URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorDocs(Arc<str>);

impl ErrorDocs {
    /// The page under a public URL.
    pub fn under(public_url: &PublicUrl) -> Self {
        Self(public_url.with_path(PATH).into())
    }

    /// Runs a request whose errors point to this page.
    pub async fn scope<F: Future>(self, request: F) -> F::Output {
        PAGE.scope(self, request).await
    }

    /// The page of the request that this task is busy with; outside of any, its path alone.
    pub fn current() -> Self {
        PAGE.try_with(Clone::clone).unwrap_or_else(|_| Self(PATH.into()))
    }

    /// Where a code is explained, for a page of ours. What is no code leads to the page alone.
    pub fn path_of(code: &str) -> String {
        let is_code = !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if is_code { format!("{PATH}#{code}") } else { PATH.to_owned() }
    }

    /// Where a code is explained.
    pub fn of(&self, code: &str) -> String {
        format!("{}#{code}", self.0)
    }
}
