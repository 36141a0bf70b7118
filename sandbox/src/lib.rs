//! A strict stand-in for TikTok: Login Kit, Display API, webhooks, and a control API that makes all of it fail on demand.
//!
//! One server plays both of TikTok's hosts: the consent page and the API live under [`Sandbox::base_url`]. It is strict
//! where TikTok is, and where a careless client would get away with something: trailing slashes, methods, form bodies,
//! comma-separated scopes, content types, unknown fields, twenty videos at most.
//!
//! # The world
//!
//! Creators and videos are pure functions of the seed, the creator and the (virtual) time. Counters only grow; demo
//! creators post for ever. Nothing is kept in memory of a creator whom nobody changed, however many there are and
//! however many videos they have. Tokens carry what they grant, sealed with the app's secret: those of demo creators
//! outlive a restart of the sandbox with the same seed and secret. What tests changed does not.
//!
//! # The consent page
//!
//! `GET /v2/auth/authorize/?…` answers a page with one form, which is posted to the page's own address (the whole query
//! included), as `application/x-www-form-urlencoded`. No script, no hidden fields. A machine may post at once:
//!
//! | field | value |
//! | --- | --- |
//! | `creator` | `open_id` of who consents; the page offers 24, any other is as good |
//! | `scope` | one field for each scope that is allowed; none at all is possible |
//! | `action` | `allow` or `cancel` |
//!
//! It is answered with 302 to the `redirect_uri`: `code`, `scopes`, `state`, or `error`, `error_description`, `state`.
//! Anything wrong with the request itself is a page with status 400, never a redirect. With `disable_auto_auth` absent
//! or `0`, a browser whose creator allowed these scopes before (cookie `sandbox_session`) is sent back at once.
//!
//! # The control API
//!
//! Under `/control`, for loopback callers only, JSON in (with its `Content-Type`) and out; errors are 400 or 404 with
//! `{"error": "…"}`. Unknown fields are refused.
//!
//! | request | body or query | does, answers |
//! | --- | --- | --- |
//! | `GET /settings` | | all settings, below |
//! | `PATCH /settings` | some settings, or `lifetimes`: `2026-11`, `classic` | changes them; all settings |
//! | `GET /clock` | | `{"now_ms", "frozen"}` |
//! | `POST /clock` | `advance_seconds`, `set_ms`, `frozen` | moves, sets, stops the virtual clock |
//! | `GET /users` | `offset`, `limit` | `{"total", "users"}`: those made, newest first, then the demo creators |
//! | `POST /users` | `count` (1), `videos` (0), `spacing_seconds` (21600), `per_second` (1: videos that share a `create_time`), `newest_age_seconds` (3600), `profile` | makes creators; `{"users": [{"open_id", …}]}` |
//! | `GET /users/{open_id}` | | what the profile says now, `private`, `banned`, and the `scopes` it allows (null: not connected) |
//! | `PATCH /users/{open_id}` | a profile: `display_name`, `username`, `bio_description`, `is_verified`, `follower_count`, `following_count`, `likes_count`, `video_count` (`null`: absent from answers), `private`, `banned` | changes it |
//! | `DELETE /users/{open_id}/changes` | | forgets all changes of the profile and the videos |
//! | `PUT /users/{open_id}/scopes` | `scopes` | the creator changes what it allows; tokens live on with it |
//! | `POST /users/{open_id}/revoke` | `reason` (1) | ends all its grants, sends `authorization.removed` |
//! | `POST /users/{open_id}/expire` | `access`, `refresh` (false) | the tokens it has now are expired |
//! | `GET /users/{open_id}/videos` | `limit` (100) | the newest public videos |
//! | `POST /users/{open_id}/videos` | `count` (1), `create_time` (now), `changes` | adds videos of one second; `{"videos": [{"id", "create_time"}]}` |
//! | `PATCH /users/{open_id}/videos/{id}` | `title`, `video_description`, `duration`, `view_count`, `like_count`, `comment_count`, `share_count` (`null`: absent), `hidden` | changes, hides, shows again |
//! | `DELETE /users/{open_id}/videos/{id}` | | deletes for good |
//! | `POST /grants` | `open_id`, `scopes` (all), `redirect_uri` (any will do), `code_challenge`, `tokens` (false) | as if the creator had consented: `{"code", …}`, or with `tokens` the pair |
//! | `GET /faults` | | all faults, with their `hits` |
//! | `POST /faults` | a fault, below | adds it; `{"id"}` |
//! | `DELETE /faults`, `DELETE /faults/{id}` | | removes all, one |
//! | `GET /limits` | | by endpoint: `passed`, `refused`, `worst_window` (most arrivals in one window), `most_passed` (most let through in one window) |
//! | `DELETE /limits` | | empties windows and counts |
//! | `GET /requests` | `open_id`, `path`, `grant_type`, `status`, `error`, `after` (a `seq`), `limit` (1000) | `{"total", "matched", "requests": [{"seq", "at_ms", "method", "path", "open_id", "grant_type", "status", "error"}]}` of the last 10,000; status 0 is a reset |
//! | `DELETE /requests` | | empties the log |
//! | `GET /webhooks` | | `{"deliveries": [{"id", "state": "waiting" / "delivered" / "dropped", "attempts", "status", "body", "due_ms"}]}` of the last 1,000 |
//! | `POST /webhooks` | `event` (`authorization.removed`), `open_id` (absent: no `user_openid`), `reason` (1), `content` (text, instead of the reason), `spaced`, `client_key`, `create_time`, `copies` (1), `bad_signature`, `t_age_seconds`, `delay_seconds` | queues an event; `{"ids"}` |
//! | `DELETE /webhooks` | | forgets all |
//!
//! A fault: `endpoint` (`authorize`, `token`, `revoke`, `user_info`, `video_list`, `video_query`), `kind`, and if wanted `times` (how
//! many requests it hits; all, if absent), `after` (how many matching requests pass first), `every` (of so many matching
//! requests one is hit; each, if absent), `open_id` (only that creator's), `delay_ms` (the answer waits, its work done). The
//! first fault that fits a request hits it. Kinds:
//!
//! | kind | what happens |
//! | --- | --- |
//! | `slow` | nothing but the `delay_ms` |
//! | `internal_error` | 500 `internal_error`; of an OAuth endpoint `server_error` |
//! | `bad_gateway` | 502, HTML |
//! | `empty_body` | 200 with no body |
//! | `truncated` | half of the right answer |
//! | `reset` | the connection is reset, nothing was done |
//! | `lost_answer` | everything is done (tokens rotated, a grant revoked), then the connection is reset |
//! | `error` | the error of `status`, `code`, `message`: 200 with a code that is not `ok` if no status is given; `invalid_grant` and the like of OAuth |
//! | `fresh_grant` | 500 within `within_seconds` (10) of the creator's consent |
//! | `repeated_cursor` | list: the answer's cursor is the request's, with `has_more` |
//! | `empty_page` | list: no videos, `has_more`, a cursor one millisecond on |
//! | `short_page` | list: half a page, with `has_more` |
//! | `numeric_strings` | counters are strings |
//!
//! Settings: `access_lifetime`, `refresh_lifetime`, `code_lifetime` (seconds), `rotation` (`always`, `sometimes`: every second
//! refresh, `never`), `grace` (seconds for which the refresh token before the last still works), `refresh_expiry` (`sliding`,
//! `absolute`), `refresh_ends_access`, `oauth_error_status` (200, 400, 401), `revoke_answers_object` (or an empty body),
//! `approved_scopes`, `missing_scope` (`not_authorized`, `permission_missed`, `omit`), `error_data` (`empty`, `absent`), `page_edge`
//! (`skip`: videos of a page's last second that did not fit are skipped, as at TikTok; `repeat`), `rate_limit` (0: off), `rate_window_ms`,
//! `rate_key` (`client`, `token`), `retry_after`, `latency` (`{"profile": "none"}`, `{"profile": "tail"}`, `{"profile": "between", "min_ms", "max_ms"}`),
//! `webhook_url`, `webhook_header` (`title`, `lower`), `webhooks_auto`, `webhook_fresh_t`.
//!
//! The virtual clock moves tokens, codes, videos, counters, image links and redeliveries. The rate limit and the delays run in
//! real time. A request counts against the limit once a random part of its latency has passed; refused ones take no place
//! in the window. A private creator shows no videos; its counters stay.

mod answer;
mod api;
mod clock;
mod config;
mod control;
mod endpoint;
mod faults;
mod grants;
mod limits;
mod oauth;
mod pages;
mod requests;
mod scopes;
mod server;
mod settings;
mod state;
mod webhooks;
mod world;

use std::net::SocketAddr;

use actix_web::web::Data;

pub use config::{AppProfile, Latency, SandboxConfig};

use server::Running;

/// Why a sandbox does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be bound.
    #[error("the sandbox cannot listen on {address}: {source}")]
    Bind {
        /// As configured.
        address: String,
        /// The system's word.
        source: std::io::Error,
    },
    /// A setting makes no sense; the text says which, and why.
    #[error("sandbox: {0}")]
    Invalid(String),
    /// The server cannot run.
    #[error("the sandbox's server does not start: {0}")]
    Serve(std::io::Error),
}

/// A running sandbox. Dropping it stops it too, without waiting.
pub struct Sandbox {
    addr: SocketAddr,
    server: Running,
}

impl Sandbox {
    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://` and the address, without a trailing slash: what both `TIKTOK_AUTH_URL` and `TIKTOK_API_URL` are set to.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Stops it; requests under way are cut off. Afterwards the address is free.
    pub async fn stop(mut self) {
        self.server.handle.stop(false).await;
        // An error is the news: the other end went with the server's thread.
        let _ = (&mut self.server.ended).await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // The command is sent by the call; only its end would be awaited.
        drop(self.server.handle.stop(false));
    }
}

/// Starts a sandbox, on threads of its own: the caller needs no runtime.
pub fn start(config: SandboxConfig) -> Result<Sandbox, StartError> {
    config.validate()?;
    let (listener, addr) = server::bind(&config.bind)?;
    let base_url = config.public_url.clone().unwrap_or_else(|| format!("http://{addr}"));
    let state = Data::new(state::State::new(config, base_url));
    let server = server::serve(listener, state)?;
    Ok(Sandbox { addr, server })
}
