//! The list: searched, filtered, a page at a time.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use shared::ids::CreatorId;
use shared::people::Role;
use shared::platforms::Platform;
use shared::store::creator_list::{ListOrder, ListPlace, Search};
use shared::store::creators::Status;
use strum::VariantArray as _;
use url::form_urlencoded;

use super::{CreatorLine, platform_name};
use crate::app::Api;
use crate::console::error::ConsoleError;
use crate::console::job_words::{ErrorWords, once};
use crate::console::numbers::Numbers;
use crate::console::page::{Layout, answer, query};
use crate::console::place;
use crate::console::who::Member;

const PAGE: usize = 30;
/// As long as a client's own id; a username has far less.
const MAX_SEARCH: usize = 255;

#[derive(Template)]
#[template(path = "console/creators.html")]
struct CreatorsPage {
    layout: Layout,
    project: String,
    may_change: bool,
    /// What was typed as the own id of a creator to connect, when something was wrong with it.
    external_ref: String,
    search: Search,
    lines: Vec<CreatorLine>,
    is_first: bool,
    /// The query of the next page; empty if there is none.
    next: String,
}

impl CreatorsPage {
    /// The platforms to choose from, with their names.
    fn platforms() -> [(Platform, &'static str); 3] {
        [Platform::Tiktok, Platform::Instagram, Platform::Youtube].map(|platform| (platform, platform_name(platform)))
    }

    /// The orders to choose from, with their names.
    fn orders() -> Vec<(ListOrder, &'static str)> {
        ListOrder::VARIANTS.iter().map(|order| (*order, order_name(*order))).collect()
    }

    fn is_searched(&self) -> bool {
        let Search { text, status, platform, .. } = &self.search;
        !text.is_empty() || status.is_some() || platform.is_some() || !self.is_first
    }

    /// What to do about each kind of error on the page, once.
    fn advice(&self) -> Vec<&ErrorWords> {
        let given_up = self.lines.iter().filter(|line| line.state.is_given_up());
        once(given_up.filter_map(|line| Some(&line.state.failure.as_ref()?.0)))
    }
}

/// `GET /console/projects/{project}/creators?q=&state=&platform=&order=&after=`.
pub async fn list(member: Member, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let layout = Layout::project(&member, "Creators", "creators").with_notice(&request);
    list_page(&member, &request, &api, layout, "").await
}

pub(super) async fn list_page(
    member: &Member,
    request: &HttpRequest,
    api: &Api,
    layout: Layout,
    external_ref: &str,
) -> Result<HttpResponse, ConsoleError> {
    let search = search(request);
    let after = match query(request, "after").as_str() {
        "" => None,
        text => Some(place_in(search.order, text).ok_or(ConsoleError::NotFound)?),
    };
    let limit = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
    let mut found = api.within(api.store.search_creators(member.project(), &search, after, limit)).await?;
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let ids: Vec<CreatorId> = found.iter().map(|creator| creator.id).collect();
    let mut syncs = api.within(api.store.syncs_now(&ids)).await?;
    let next =
        found.last().filter(|_| more).map(|last| next_query(&search, search.order.place_of(last))).unwrap_or_default();
    let numbers = Numbers::of(request);
    let page = CreatorsPage {
        layout,
        project: member.project().to_string(),
        may_change: member.may(Role::Developer),
        external_ref: external_ref.to_owned(),
        lines: found
            .into_iter()
            .map(|creator| {
                let sync = syncs.remove(&creator.id);
                CreatorLine::new(creator, sync, numbers)
            })
            .collect(),
        is_first: after.is_none(),
        search,
        next,
    };
    answer(page.layout.problem.is_some(), &page)
}

fn search(request: &HttpRequest) -> Search {
    // U+0000 is in no name, and Postgres can't compare with it.
    let text = query(request, "q").trim().replace('\0', "").chars().take(MAX_SEARCH).collect();
    Search {
        text,
        status: query(request, "state").parse().ok(),
        platform: query(request, "platform").parse().ok(),
        order: query(request, "order").parse().unwrap_or_default(),
    }
}

/// A place in this order, as [`next_query`] writes it.
fn place_in(order: ListOrder, text: &str) -> Option<ListPlace> {
    let (value, id) = place::read(text)?;
    let is_followers = matches!(order, ListOrder::MostFollowers | ListOrder::FewestFollowers);
    let is_place = match value {
        Some(value) => is_followers || place::is_instant(value),
        None => !matches!(order, ListOrder::Newest | ListOrder::Oldest),
    };
    is_place.then_some(ListPlace { value, id })
}

fn order_name(order: ListOrder) -> &'static str {
    match order {
        ListOrder::Newest => "Newest connection",
        ListOrder::Oldest => "Oldest connection",
        ListOrder::MostFollowers => "Most followers",
        ListOrder::FewestFollowers => "Fewest followers",
        ListOrder::SyncedLast => "Latest sync",
        ListOrder::SyncedFirst => "Oldest sync",
    }
}

fn next_query(search: &Search, after: ListPlace) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("q", &search.text);
    if let Some(status) = search.status {
        query.append_pair("state", status.as_ref());
    }
    if let Some(platform) = search.platform {
        query.append_pair("platform", platform.as_ref());
    }
    if search.order != ListOrder::default() {
        query.append_pair("order", search.order.as_ref());
    }
    query.append_pair("after", &place::written(after.value, after.id)).finish()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_order_has_a_name_and_is_read_as_it_is_written() {
        let names: HashSet<&str> = ListOrder::VARIANTS.iter().map(|order| order_name(*order)).collect();
        assert_eq!(names.len(), ListOrder::VARIANTS.len());
        for order in ListOrder::VARIANTS {
            assert_eq!(order.to_string().parse(), Ok(*order));
        }
        assert_eq!(ListOrder::Oldest.to_string(), "oldest");
    }
}
