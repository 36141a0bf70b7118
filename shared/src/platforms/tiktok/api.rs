//! The Display API: a creator's profile and videos. Its endpoints are limited for the whole app, so each request takes a
//! permit of the fleet's budget at the moment of sending.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::TikTok;
use super::errors::{Complaint, unreadable};
use super::http::{self, Endpoint, Reply};
use super::listing::{self, Position};
use super::types;
use super::values::parse;
use crate::budget::{Admission, BudgetError, Class, Permit};
use crate::platforms::{AccessToken, Caller, PageCursor, PlatformError, Profile, Scopes, VideoPage};

/// Every creator grants it (reference: scopes).
pub(super) const BASIC: &str = "user.info.basic";
/// Needed to list videos.
pub const VIDEO_LIST: &str = "video.list";
/// TikTok's own maximum.
const PAGE_SIZE: usize = 20;

impl TikTok {
    /// The profile, as far as the `granted` scopes show it.
    ///
    /// `ScopeMissing` if TikTok knows of less than was granted, or nothing was that shows any of it: it rejects the whole
    /// request then, so ask again without the scopes that the error names.
    pub async fn profile(
        &self,
        access: &AccessToken,
        granted: &Scopes,
        caller: &Caller,
    ) -> Result<Profile, PlatformError> {
        let (needed, fields) = types::profile_fields(granted);
        if fields.is_empty() {
            let message = "nothing of the profile was granted".to_owned();
            return Err(PlatformError::ScopeMissing { scopes: types::profile_scopes(), message, log_id: None });
        }
        let request = self.request(Method::GET, Endpoint::UserInfo, access, &fields.join(","));
        self.call(Endpoint::UserInfo, request, access, caller, |reply| {
            let data = data(reply, &needed)?;
            let user = data.get("user").filter(|user| user.is_object());
            user.map(types::profile).ok_or_else(|| unreadable(reply, "no user"))
        })
        .await
    }

    /// A page of the creator's public videos, newest first: the first without a cursor. Needs the scope `video.list`.
    pub async fn videos(
        &self,
        access: &AccessToken,
        cursor: Option<&PageCursor>,
        caller: &Caller,
    ) -> Result<VideoPage, PlatformError> {
        let position = cursor.map(position).transpose()?;
        let paging = match position {
            // A cursor of 0 would be "before 1970": the first page has none.
            None => json!({"max_count": PAGE_SIZE}),
            Some(position) => json!({"max_count": PAGE_SIZE, "cursor": position.before}),
        };
        let request = self.request(Method::POST, Endpoint::VideoList, access, &types::video_fields()).json(&paging);
        self.call(Endpoint::VideoList, request, access, caller, |reply| {
            let data = data(reply, &Scopes::parse(VIDEO_LIST))?;
            let (videos, end) = types::videos(&data);
            Ok(VideoPage { videos, next: listing::next(position, &end) })
        })
        .await
    }

    fn request(&self, method: Method, endpoint: Endpoint, access: &AccessToken, fields: &str) -> RequestBuilder {
        let request = self.client.request(method, self.address(endpoint));
        request.bearer_auth(access.0.expose_secret()).query(&[("fields", fields)])
    }

    /// Waits for a permit, spends it on the request, and reads the answer.
    #[tracing::instrument(level = "debug", name = "tiktok", skip_all, fields(otel.kind = "client", endpoint = endpoint.as_str()))]
    async fn call<T>(
        &self,
        endpoint: Endpoint,
        request: RequestBuilder,
        access: &AccessToken,
        caller: &Caller,
        read: impl FnOnce(&Reply) -> Result<T, PlatformError>,
    ) -> Result<T, PlatformError> {
        let request = match caller.timeout {
            Some(timeout) => request.timeout(timeout.min(self.settings.request_timeout)),
            None => request,
        };
        let (permit, admission) = self.leave_to_send(endpoint, caller).await?;
        caller.spent.count();
        let reply = caller.answering.of(http::send(endpoint, request)).await;
        permit.settle().await;
        let result = reply.and_then(|reply| read(&reply));
        if let Err(PlatformError::RateLimited { retry_after, .. }) = &result {
            self.budget.close(endpoint.as_str(), *retry_after).await;
        }
        http::record(endpoint, &result);
        match self.tell_breaker(endpoint, admission, &access.0, &result).await {
            // Who waits learns what the platform said; for all others it is a wait like another.
            Some(retry_in) if !*caller.interactive.borrow() => Err(PlatformError::Held { retry_in }),
            _ => result,
        }
    }

    /// A permit to send at once, of an endpoint that works as far as anybody knows. A permit that got old on its way to us
    /// (this process was stopped, or is overloaded) may not be used any more: the budget counts on its request being sent
    /// soon.
    #[tracing::instrument(level = "debug", name = "permit", skip_all)]
    async fn leave_to_send(&self, endpoint: Endpoint, caller: &Caller) -> Result<(Permit, Admission), PlatformError> {
        let deadline = caller.max_wait.and_then(|wait| Instant::now().checked_add(wait));
        loop {
            // First of all: a permit that is held back after all is kept from others meanwhile.
            let class = class_of(caller);
            if let Some(retry_in) = self.budget.held(endpoint.as_str(), class).await {
                return Err(PlatformError::Held { retry_in });
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let (group, interactive) = (caller.group.clone(), caller.interactive.clone());
            let turn = self.budget.permit(endpoint.as_str(), group, interactive, left);
            // Boxed: it is large.
            let turn = Box::pin(caller.waiting.during(turn));
            let until = || self.budget.next_turn(endpoint.as_str(), class_of(caller));
            let (permit, is_at_work) = caller.telling.waiting(turn, until).await;
            let permit = permit.map_err(no_permit)?;
            if is_at_work.is_err() {
                // A worker that dies of this call would count for nothing. Redis is away just now, so the permit is worth
                // little: the job comes back, as it would without one.
                permit.give_back().await;
                return Err(PlatformError::BudgetUnavailable);
            }
            let class = class_of(caller);
            match self.budget.admit(endpoint.as_str(), class).await {
                Ok(admission) if permit.fresh() => return Ok((permit, admission)),
                Ok(_) => permit.give_back().await,
                Err(retry_in) => {
                    permit.give_back().await;
                    return Err(PlatformError::Held { retry_in });
                }
            }
        }
    }

    /// Tells the breaker what became of a request. `Some`: it failed, and the endpoint is held by now.
    pub(super) async fn tell_breaker<T>(
        &self,
        endpoint: Endpoint,
        admission: Admission,
        token: &SecretString,
        result: &Result<T, PlatformError>,
    ) -> Option<Duration> {
        match result {
            Err(PlatformError::Unavailable { .. }) => self.budget.failed(endpoint.as_str(), &account_of(token)).await,
            Err(
                PlatformError::RateLimited { .. }
                | PlatformError::NoBudget { .. }
                | PlatformError::Held { .. }
                | PlatformError::BudgetUnavailable,
            ) => None,
            Ok(_)
            | Err(
                PlatformError::TokenInvalid { .. }
                | PlatformError::GrantDead { .. }
                | PlatformError::ScopeMissing { .. }
                | PlatformError::Rejected { .. },
            ) => {
                self.budget.answered(endpoint.as_str(), admission).await;
                None
            }
        }
    }
}

/// Tells accounts apart without telling anything about their tokens.
fn class_of(caller: &Caller) -> Class {
    if *caller.interactive.borrow() { Class::Interactive } else { Class::Bulk }
}

fn account_of(token: &SecretString) -> String {
    let digest = Sha256::new().chain_update("account").chain_update(token.expose_secret()).finalize();
    hex::encode(digest.iter().copied().take(8).collect::<Vec<u8>>())
}

fn no_permit(error: BudgetError) -> PlatformError {
    match error {
        BudgetError::NotBefore(retry_in) => {
            PlatformError::NoBudget { retry_in: retry_in.max(Duration::from_millis(1)) }
        }
        BudgetError::Unavailable => PlatformError::BudgetUnavailable,
    }
}

fn position(cursor: &PageCursor) -> Result<Position, PlatformError> {
    Position::parse(cursor).ok_or_else(|| PlatformError::Rejected {
        code: "invalid_cursor".to_owned(),
        message: "this is no cursor of TikTok's listing".to_owned(),
        log_id: None,
    })
}

/// What an answer brings, if it is a success: `needed` are the scopes that the request needs.
fn data(reply: &Reply, needed: &Scopes) -> Result<Value, PlatformError> {
    let mut root = parse(&reply.body).ok_or_else(|| unreadable(reply, "no JSON"))?;
    if let Some(complaint) = Complaint::of_api(reply, &root) {
        return Err(complaint.about_call(reply, needed));
    }
    // A success says so. What does not is an answer of something else, a gateway's for example.
    let is_ok = root.pointer("/error/code").and_then(Value::as_str) == Some("ok");
    let data = root.get_mut("data").map(Value::take).filter(Value::is_object);
    match data {
        Some(data) if is_ok && reply.status.is_success() => Ok(data),
        _ => Err(unreadable(reply, "neither data nor an error")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reply(status: u16, body: &str) -> Reply {
        let (log_id, retry_after) = (Some("header".into()), Some(Duration::from_secs(3)));
        Reply { status: status.try_into().unwrap(), log_id, retry_after, body: body.into() }
    }

    fn needed() -> Scopes {
        types::profile_scopes()
    }

    fn error_of(status: u16, code: &str) -> PlatformError {
        let body = json!({"data": {}, "error": {"code": code, "message": "Words.", "log_id": "20261124B"}});
        data(&reply(status, &body.to_string()), &needed()).unwrap_err()
    }

    #[test]
    fn a_success_says_ok() {
        let body = r#"{"data":{"user":{}},"error":{"code":"ok","message":"","log_id":"1"}}"#;
        assert_eq!(data(&reply(200, body), &needed()).unwrap(), json!({"user": {}}));
        for (status, body) in [
            (500, body),
            (200, r#"{"data":{"user":{}}}"#),
            (200, r#"{"data":{"user":{}},"error":{"code":""}}"#),
            (200, r#"{"error":{"code":"ok"}}"#),
            (200, r#"{"data":[],"error":{"code":"ok"}}"#),
            (200, ""),
            (200, "<html>"),
            (401, "<html>"),
            (200, body.split_at(30).0),
        ] {
            let error = data(&reply(status, body), &needed()).unwrap_err();
            assert_eq!((error.kind(), error.log_id()), ("unavailable", Some("header")), "{status} {body}");
        }
    }

    #[test]
    fn errors_are_told_by_their_code_and_unknown_ones_by_the_status() {
        for status in [200, 400, 401, 429, 500] {
            assert_eq!(error_of(status, "access_token_invalid").kind(), "token_invalid");
            assert_eq!(error_of(status, "scope_not_authorized").kind(), "scope_missing");
            assert_eq!(error_of(status, "scope_permission_missed").kind(), "scope_missing");
            assert_eq!(error_of(status, "invalid_params").kind(), "rejected");
            assert_eq!(error_of(status, "invalid_param").kind(), "rejected");
            assert_eq!(error_of(status, "internal_error").kind(), "unavailable");
            let wait = Some(Duration::from_secs(3));
            let limited = PlatformError::RateLimited { retry_after: wait, log_id: Some("20261124B".into()) };
            assert_eq!(error_of(status, "rate_limit_exceeded"), limited);
        }
        for (status, kind) in [
            (200, "unavailable"),
            (302, "unavailable"),
            (401, "token_invalid"),
            (403, "rejected"),
            (408, "unavailable"),
            (429, "rate_limited"),
            (503, "unavailable"),
        ] {
            assert_eq!(error_of(status, "something_new").kind(), kind, "{status}");
        }
        assert_eq!(data(&reply(429, "<html>"), &needed()).unwrap_err().kind(), "rate_limited");
        let janus = data(&reply(404, "Unsupported path(Janus)"), &needed()).unwrap_err();
        assert_eq!((janus.kind(), janus.log_id()), ("rejected", Some("header")));
    }

    #[test]
    fn a_missing_scope_is_named_or_narrowed_down() {
        let missing = |message: &str, needed: &str| {
            let body = json!({"error": {"code": "scope_not_authorized", "message": message}});
            match data(&reply(401, &body.to_string()), &Scopes::parse(needed)) {
                Err(PlatformError::ScopeMissing { scopes, .. }) => scopes.to_string(),
                other => panic!("{other:?}"),
            }
        };
        let all = "user.info.basic,user.info.profile,user.info.stats";
        assert_eq!(missing("The user did not authorize user.info.stats.", all), "user.info.stats");
        assert_eq!(missing("The user did not authorize the scope.", all), "user.info.profile,user.info.stats");
        assert_eq!(missing("", BASIC), BASIC);
        assert_eq!(missing("", VIDEO_LIST), VIDEO_LIST);
    }

    #[test]
    fn words_are_kept_short_and_on_one_line() {
        let body = json!({"error": {"code": "invalid_params", "message": format!("a\nb\u{0}{}", "x".repeat(5_000))}});
        let Err(PlatformError::Rejected { message, .. }) = data(&reply(400, &body.to_string()), &needed()) else {
            panic!()
        };
        assert!(message.starts_with("abx") && message.len() == 300, "{message}");
    }

    proptest! {
        #[test]
        fn nothing_that_comes_makes_it_panic(status in 100..600_u16, body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let answer = data(&Reply { body, ..reply(status, "") }, &needed());
            prop_assert!(answer.is_err());
        }
    }
}
