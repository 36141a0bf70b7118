//! Pictures behind signed links that die after six hours, as those of TikTok's CDN.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path, Query};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use url::form_urlencoded::byte_serialize;

use crate::answer::Answer;
use crate::grants::sign;
use crate::state::State;
use crate::world::mix;

const VALID_SECONDS: i64 = 6 * 3600;

#[derive(Deserialize)]
pub(crate) struct Signed {
    #[serde(rename = "x-expires")]
    expires: i64,
    #[serde(rename = "x-signature")]
    signature: String,
}

/// A link to a creator's picture, valid from now on.
pub(crate) fn avatar_url(state: &State, open_id: &str, now: i64) -> String {
    link(state, &format!("/media/avatar/{open_id}.svg"), now)
}

/// A link to a video's cover, valid from now on.
pub(super) fn cover_url(state: &State, id: u64, now: i64) -> String {
    link(state, &format!("/media/cover/{id}.svg"), now)
}

fn link(state: &State, path: &str, now: i64) -> String {
    let expires = now.saturating_add(VALID_SECONDS);
    let signature: String = byte_serialize(signature(state, path, expires).as_bytes()).collect();
    format!("{}{path}?x-expires={expires}&x-signature={signature}", state.base_url)
}

fn signature(state: &State, path: &str, expires: i64) -> String {
    let mac = sign(state.config.client_secret.as_bytes(), format!("media\n{path}\n{expires}").as_bytes());
    STANDARD.encode(mac)
}

pub(crate) async fn avatar(state: Data<State>, name: Path<String>, signed: Option<Query<Signed>>) -> HttpResponse {
    picture(&state, &format!("/media/avatar/{name}"), signed, 200, 200)
}

pub(crate) async fn cover(state: Data<State>, name: Path<String>, signed: Option<Query<Signed>>) -> HttpResponse {
    picture(&state, &format!("/media/cover/{name}"), signed, 576, 1024)
}

fn picture(state: &State, path: &str, signed: Option<Query<Signed>>, width: u32, height: u32) -> HttpResponse {
    let good = signed.is_some_and(|signed| {
        state.clock.now() < signed.expires && signature(state, path, signed.expires) == signed.signature
    });
    if !good {
        return Answer::text(403, "Access denied").into_response();
    }
    let hash = path.bytes().fold(0, |hash, byte| mix(hash, u64::from(byte), 0));
    let (hue, turn) = (hash % 360, 30 + hash / 360 % 90);
    Answer::svg(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\
         <defs><linearGradient id=\"g\" x1=\"0\" y1=\"0\" x2=\"1\" y2=\"1\"><stop offset=\"0\" stop-color=\"hsl({hue} 70% 62%)\"/>\
         <stop offset=\"1\" stop-color=\"hsl({} 65% 38%)\"/></linearGradient></defs>\
         <rect width=\"100%\" height=\"100%\" fill=\"url(#g)\"/>\
         <circle cx=\"50%\" cy=\"42%\" r=\"18%\" fill=\"#fff\" opacity=\".55\"/>\
         <ellipse cx=\"50%\" cy=\"88%\" rx=\"32%\" ry=\"26%\" fill=\"#fff\" opacity=\".55\"/></svg>",
        (hue + turn) % 360
    ))
    .into_response()
}
