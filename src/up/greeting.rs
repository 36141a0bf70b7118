//! What `up` says when it is ready.

use std::io::Write as _;

use secrecy::{ExposeSecret as _, SecretString};

/// What a newcomer needs for the first requests.
pub(super) struct Greeting {
    /// The API, without a slash at its end.
    pub(super) url: String,
    /// An API key, in the clear: this is where it is shown.
    pub(super) key: SecretString,
    /// The sandbox, if there is one.
    pub(super) sandbox: Option<String>,
    /// A link that makes whoever opens it the first owner, as long as there is none. A secret, too: shown here alone.
    pub(super) invitation: Option<SecretString>,
}

impl Greeting {
    /// Prints it on standard output. If nobody reads that, it is no reason to stop.
    pub(super) fn print(&self) {
        let _ = std::io::stdout().write_all(self.text().as_bytes());
    }

    fn text(&self) -> String {
        let Self { url, key, sandbox, invitation } = self;
        let key = key.expose_secret();
        let tiktok = match sandbox {
            Some(sandbox) => format!("a sandbox with demo creators, {sandbox}"),
            None => "the real one".to_owned(),
        };
        let dashboard = match invitation {
            Some(link) => {
                format!("{}\n             (works once: choose your email and password)", link.expose_secret())
            }
            None => format!("{url}/console"),
        };
        format!(
            "
MetriqLab is ready.

  API        {url}
  API key    {key}
  TikTok     {tiktok}
  Dashboard  {dashboard}

Connect a creator: open the authUrl that this prints in a browser.

  export KEY={key}
  curl -X POST -H \"x-api-key: $KEY\" {url}/api/v1/connect/tiktok

Then sync it, and read it (ID is the creator's id, as the list shows it):

  curl -H \"x-api-key: $KEY\" {url}/api/v1/creators
  curl -X POST -H \"x-api-key: $KEY\" {url}/api/v1/creators/ID/sync
  curl -H \"x-api-key: $KEY\" {url}/api/v1/creators/ID/videos

Ctrl-C stops everything; the data stays in .metriqlab/ for the next start.

"
        )
    }
}
