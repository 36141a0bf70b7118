//! A key for the documentation's samples and *Run* buttons: it may not disconnect anybody, and ends by itself after a day.
//!
//! The documentation is the same for everybody, so that browsers may keep it, and knows nobody. The key is shown here, on a
//! page that nothing keeps, and goes from there into the storage of the reader's tab, never into an address.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::Data;
use askama::Template;
use chrono::Utc;
use shared::api_key::ApiKey;
use shared::key_scopes::KeyScope;
use shared::people::Role;
use shared::store::Made;
use shared::store::keys::NewKey;
use shared::store::members::Membership;

use super::error::ConsoleError;
use super::keys;
use super::page::{Layout, answer};
use super::who::{Member, SignedIn};
use crate::app::Api;

/// What the key is called.
const NAME: &str = "Documentation";
/// All that the samples do, but for the last one.
const SCOPES: [KeyScope; 3] = [KeyScope::Read, KeyScope::Connect, KeyScope::Sync];
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

#[derive(Template)]
#[template(path = "console/docs-key.html")]
struct DocsKeyPage {
    layout: Layout,
    /// The projects in which the user may make keys.
    projects: Vec<Membership>,
}

/// `GET /console/docs-key`: where the documentation leads who has no key at hand.
pub async fn show(who: SignedIn, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let projects = api.within(api.store.memberships(who.user)).await?;
    answer(false, &page(&who, projects))
}

fn page(who: &SignedIn, mut projects: Vec<Membership>) -> DocsKeyPage {
    let layout = Layout::signed_in(who, "A key for the documentation", "").with_projects(projects.clone());
    projects.retain(|project| project.role >= Role::Developer);
    DocsKeyPage { layout, projects }
}

/// `POST /console/projects/{project}/docs-key`: makes one, and shows it this once.
pub async fn create(member: Member, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    member.require(Role::Developer)?;
    let key = ApiKey::generate();
    let scopes = Some(SCOPES.into_iter().collect());
    let new = NewKey { hash: &key.hash(), prefix: key.prefix(), scopes, expires_at: Some(Utc::now() + LIFETIME) };
    match api.within(api.store.make_key(member.project(), member.who.actor(), NAME, &new)).await? {
        Made::Done => keys::made(&api, &member, NAME, key, ""),
        Made::Full => {
            let page = page(&member.who, member.memberships.clone());
            answer(true, &DocsKeyPage { layout: page.layout.with_problem(&keys::full()), ..page })
        }
    }
}
