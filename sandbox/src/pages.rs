//! The pages that people see.

use askama::Template;

use crate::api::avatar_url;
use crate::oauth::authorize::Asked;
use crate::state::{State, lock};

/// How many creators the consent page offers. Its form takes any other `open_id` too.
const OFFERED: usize = 24;

#[derive(Template)]
#[template(path = "consent.html")]
struct Consent<'a> {
    app: &'a str,
    creators: Vec<Choice>,
    scopes: Vec<(&'static str, &'static str)>,
}

struct Choice {
    open_id: String,
    name: String,
    username: String,
    followers: String,
    videos: String,
    avatar: String,
    first: bool,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    what: &'a str,
    detail: &'a str,
}

pub(crate) fn consent(state: &State, asked: &Asked, now: i64) -> String {
    let world = lock(&state.world);
    let creators = world.creators(0, OFFERED);
    let creators = creators
        .iter()
        .filter(|creator| !world.is_banned(&creator.open_id))
        .enumerate()
        .map(|(place, creator)| {
            let user = world.user(creator, now);
            Choice {
                avatar: picture(state, &creator.open_id, now),
                name: user.display_name.unwrap_or_default(),
                username: user.username.unwrap_or_default(),
                followers: short(user.followers),
                videos: short(user.videos),
                first: place == 0,
                open_id: user.open_id,
            }
        })
        .collect();
    let scopes = asked.scopes.iter().map(|scope| (scope.as_str(), scope.label())).collect();
    rendered(&Consent { app: &state.config.client_key, creators, scopes })
}

pub(crate) fn problem(what: &str, detail: &str) -> String {
    rendered(&ProblemPage { what, detail })
}

/// From the page's own server, by whatever name the browser calls it.
fn picture(state: &State, open_id: &str, now: i64) -> String {
    let url = avatar_url(state, open_id, now);
    url.strip_prefix(state.base_url.as_str()).map(str::to_owned).unwrap_or(url)
}

fn rendered(page: &impl Template) -> String {
    page.render().unwrap_or_else(|error| {
        tracing::error!(%error, "a page cannot be rendered");
        String::new()
    })
}

/// 1,234,567 as people read it: 1.2M.
fn short(count: Option<i64>) -> String {
    match count {
        None => "–".to_owned(),
        Some(count @ 1_000_000..) => format!("{}.{}M", count / 1_000_000, count / 100_000 % 10),
        Some(count @ 1_000..) => format!("{}.{}K", count / 1_000, count / 100 % 10),
        Some(count) => count.to_string(),
    }
}
