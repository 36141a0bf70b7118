//! The files that pages load: styles, scripts, pictures. They are compiled into the program, so a deploy is one file, and
//! a page never meets a style of another version. Styles and scripts are sent without what is there for people alone.
//!
//! The URL carries a hash of the content. Who asks for it by that URL may keep it for ever; who asks without it, or with
//! the hash of another version (two versions are side by side during a deploy), gets today's file and has to ask again.

use std::sync::OnceLock;

use actix_web::http::header::{self, EntityTag, Header as _, IfNoneMatch};
use actix_web::web::{self, Path, Query};
use actix_web::{HttpRequest, HttpResponse, Resource};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::error::ApiError;

const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// The documentation's style, after the colours that it shares with the dashboard.
pub static DOCS_CSS: Asset = Asset::new(
    "docs.css",
    CSS,
    concat!(include_str!("../static/colours.css"), include_str!("../static/docs.css")).as_bytes(),
);

/// What the documentation does where there is JavaScript.
pub static DOCS_JS: Asset = Asset::new("docs.js", JAVASCRIPT, include_bytes!("../static/docs.js"));
/// The dashboard of a fleet, as the handbook shows it.
pub static FLEET_PNG: Asset = Asset::new("fleet.png", "image/png", include_bytes!("../../docs/images/fleet.png"));
/// The sign in a browser's tab.
pub static ICON: Asset = Asset::new("icon.svg", "image/svg+xml", include_bytes!("../static/icon.svg"));
/// The dashboard's style, after the colours that it shares with the documentation.
pub static CONSOLE_CSS: Asset = Asset::new(
    "metriqlab.css",
    CSS,
    concat!(include_str!("../static/colours.css"), include_str!("../static/metriqlab.css")).as_bytes(),
);
/// What the dashboard's pages do better with JavaScript.
pub static CONSOLE_JS: Asset = Asset::new("console.js", JAVASCRIPT, include_bytes!("../static/console.js"));

/// All of them, for the route.
static ALL: [&Asset; 6] = [&CONSOLE_CSS, &CONSOLE_JS, &DOCS_CSS, &DOCS_JS, &FLEET_PNG, &ICON];

/// A file that pages load.
#[derive(Debug)]
pub struct Asset {
    name: &'static str,
    content_type: &'static str,
    source: &'static [u8],
    /// What is sent, once somebody has asked.
    sent: OnceLock<Sent>,
}

/// A file as it is sent, and what it hashes to.
#[derive(Debug)]
struct Sent {
    content: Bytes,
    /// The first 72 bits of the content's SHA-256: enough to tell versions apart, which nobody chooses to be alike.
    version: String,
}

impl Asset {
    const fn new(name: &'static str, content_type: &'static str, source: &'static [u8]) -> Self {
        Self { name, content_type, source, sent: OnceLock::new() }
    }

    /// Where a page finds it: `/static/NAME?v=HASH`. For templates.
    pub fn url(&self) -> String {
        format!("/static/{}?v={}", self.name, self.version())
    }

    fn version(&self) -> &str {
        &self.sent().version
    }

    fn sent(&self) -> &Sent {
        self.sent.get_or_init(|| {
            let content = lean(self.content_type, self.source);
            let version = URL_SAFE_NO_PAD.encode(Sha256::digest(&content).get(..9).unwrap_or_default());
            Sent { content, version }
        })
    }

    fn respond(&self, request: &HttpRequest, asked: Option<&str>) -> HttpResponse {
        let kept = if asked == Some(self.version()) { "public, max-age=31536000, immutable" } else { "no-cache" };
        let tag = EntityTag::new_strong(self.version().to_owned());
        let mut response = if has(request, &tag) { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        response.insert_header((header::CACHE_CONTROL, kept)).insert_header(header::ETag(tag.clone()));
        let content = || self.sent().content.clone();
        if has(request, &tag) { response.finish() } else { response.content_type(self.content_type).body(content()) }
    }
}

/// A style or a script without comments that are lines of their own, without what lines begin with, and a style without the spaces
/// around its signs. Anything else as it is.
fn lean(content_type: &str, source: &'static [u8]) -> Bytes {
    let is_comment = |line: &&str| line.starts_with("//") || line.starts_with("/*") && line.ends_with("*/");
    let lines = |text: &str| {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !is_comment(line));
        lines.collect::<Vec<_>>().join("\n")
    };
    match (content_type, std::str::from_utf8(source)) {
        (CSS, Ok(text)) => {
            let signs = [(" { ", "{"), (" {", "{"), ("; ", ";"), (";}", "}"), (": ", ":"), (", ", ",")];
            signs.iter().fold(lines(text), |text, (long, short)| text.replace(long, short)).into()
        }
        (JAVASCRIPT, Ok(text)) => lines(text).into(),
        _ => Bytes::from_static(source),
    }
}

/// Whether the client says that it has this version (RFC 9110, section 13.1.2).
pub fn has(request: &HttpRequest, tag: &EntityTag) -> bool {
    match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => request.headers().contains_key(header::IF_NONE_MATCH),
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(tag)),
        Err(_) => false,
    }
}

#[derive(Deserialize)]
struct Version {
    v: Option<String>,
}

/// `GET /static/{name}`. It is no part of the API, and so not of its document.
pub fn resource() -> Resource {
    web::resource("/static/{name}").route(web::get().to(show_asset)).default_service(web::to(refuse))
}

async fn show_asset(request: HttpRequest, name: Path<String>) -> Result<HttpResponse, ApiError> {
    let asset = ALL.into_iter().find(|asset| asset.name == *name).ok_or(ApiError::NotFound("file"))?;
    // A query that can't be read names no version.
    let asked = Query::<Version>::from_query(request.query_string()).ok().and_then(|query| query.into_inner().v);
    Ok(asset.respond(&request, asked.as_deref()))
}

async fn refuse() -> Result<HttpResponse, ApiError> {
    Err(ApiError::MethodNotAllowed { allow: "GET, HEAD".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::App;
    use actix_web::http::{Method, StatusCode};
    use actix_web::test::{TestRequest, call_service, init_service};

    /// Status, `Cache-Control` and `ETag` of an answer.
    async fn ask(request: TestRequest) -> (StatusCode, String, String) {
        let app = init_service(App::new().service(resource())).await;
        let response = call_service(&app, request.to_request()).await;
        let header = |name| response.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
        let kept = header(header::CACHE_CONTROL).unwrap_or_default();
        (response.status(), kept, header(header::ETAG).unwrap_or_default())
    }

    #[actix_web::test]
    async fn a_version_may_be_kept_for_ever_and_another_may_not() {
        let url = DOCS_CSS.url();
        let (status, kept, tag) = ask(TestRequest::with_uri(&url)).await;
        assert_eq!((status.as_u16(), kept.as_str()), (200, "public, max-age=31536000, immutable"));
        for other in ["/static/docs.css", "/static/docs.css?v=old", "/static/docs.css?v=%ff&v"] {
            assert_eq!(ask(TestRequest::with_uri(other)).await, (StatusCode::OK, "no-cache".into(), tag.clone()));
        }
        for known in [tag.as_str(), "*", &format!("\"x\", W/{tag}")] {
            let again = ask(TestRequest::with_uri(&url).insert_header((header::IF_NONE_MATCH, known))).await;
            assert_eq!(again.0, StatusCode::NOT_MODIFIED, "{known}");
        }
        let changed = ask(TestRequest::with_uri(&url).insert_header((header::IF_NONE_MATCH, "\"x\""))).await;
        assert_eq!(changed.0, StatusCode::OK);
    }

    #[test]
    fn what_people_alone_read_is_not_sent() {
        let style = b"/* Words. */\n:root { --a: #fff; --b: 1px }\n@media (max-width: 46rem) {\n  td :is(a, b)::before { content: \"a b\"; }\n}\n";
        assert_eq!(
            lean(CSS, style),
            ":root{--a:#fff;--b:1px }\n@media (max-width:46rem){\ntd :is(a,b)::before{content:\"a b\"}\n}"
        );
        let script = b"// Words.\nfor (;;) {\n  // Words.\n  f('//x'); // Kept.\n}\n";
        assert_eq!(lean(JAVASCRIPT, script), "for (;;) {\nf('//x'); // Kept.\n}");
        assert_eq!(lean("image/png", b"// \xff"), &b"// \xff"[..]);
    }

    #[actix_web::test]
    async fn nothing_else_is_found_there() {
        for path in ["/static/nothing", "/static/..%2fCargo.toml", "/static/%2e%2e", "/static/docs.css%00"] {
            assert_eq!(ask(TestRequest::with_uri(path)).await.0, StatusCode::NOT_FOUND, "{path}");
        }
        let posted = ask(TestRequest::with_uri("/static/docs.css").method(Method::POST)).await;
        assert_eq!(posted.0, StatusCode::METHOD_NOT_ALLOWED);
    }
}
