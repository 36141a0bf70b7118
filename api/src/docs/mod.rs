//! The documentation for people, under `/docs`: our pages, the reference made from the API's own document, each page also
//! as markdown at its URL with `.md` added, and `/llms.txt` (llmstxt.org).
//!
//! All of it is text that is known once the routes are: it is rendered at the first request and kept. A path is looked up
//! in that map as it came, so no path leads anywhere else.

mod highlight;
mod layout;
mod markdown;
mod pages;
mod reference;
mod samples;
mod schema;
mod search;
mod sources;

use std::collections::HashMap;
use std::sync::OnceLock;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, EntityTag};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use shared::settings::PublicUrl;
use url::form_urlencoded;
use utoipa::openapi::OpenApi;

use crate::assets;
use crate::error::ApiError;

use pages::Page;
use search::Index;

/// Styles, scripts, pictures, requests and the search of our own alone; nothing inline.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Where one looks for words.
const SEARCH: &str = "/docs/search";
const HTML: &str = "text/html; charset=utf-8";
const MARKDOWN: &str = "text/markdown; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// The documentation of one deployment.
pub struct Site {
    document: Value,
    base: String,
    files: OnceLock<Files>,
}

/// What there is, by path, and what is shown for all other paths.
struct Files {
    by_path: HashMap<String, File>,
    not_found: Bytes,
    pages: Vec<Page>,
    index: Index,
}

struct File {
    content_type: &'static str,
    content: Bytes,
    tag: EntityTag,
}

impl Site {
    /// The site for the API that `document` describes, at `public_url`. Nothing is rendered yet.
    pub fn new(document: &OpenApi, public_url: &PublicUrl) -> Self {
        // A map with other keys than strings could fail; the document has none.
        let document = serde_json::to_value(document).unwrap_or_default();
        Self { document, base: public_url.to_string(), files: OnceLock::new() }
    }

    fn files(&self) -> &Files {
        self.files.get_or_init(|| Files::render(&self.document, &self.base))
    }
}

impl Files {
    fn render(document: &Value, base: &str) -> Self {
        let pages = pages::all(document, base);
        let mut by_path = HashMap::new();
        for (position, page) in pages.iter().enumerate() {
            let html = layout::page(&pages, position);
            by_path.insert(page.markdown_path(), File::new(MARKDOWN, page.markdown()));
            by_path.insert(page.path.clone(), File::new(HTML, html));
        }
        by_path.insert("/llms.txt".to_owned(), File::new(TEXT, pages::llms_txt(&pages, base)));
        Self { by_path, not_found: layout::not_found(&pages).into(), index: Index::new(&pages), pages }
    }
}

impl File {
    fn new(content_type: &'static str, content: String) -> Self {
        let hash = Sha256::digest(&content);
        let tag = EntityTag::new_strong(URL_SAFE_NO_PAD.encode(hash.get(..9).unwrap_or_default()));
        Self { content_type, content: content.into(), tag }
    }
}

/// The routes. They are no part of the API, and so not of its document.
pub fn configure(config: &mut ServiceConfig) {
    config.service(web::resource(SEARCH).route(web::get().to(find)).default_service(web::to(refuse)));
    for path in ["/docs", "/docs.md", "/docs/{page:.*}", "/llms.txt"] {
        config.service(web::resource(path).route(web::get().to(show)).default_service(web::to(refuse)));
    }
}

/// `GET /docs/search?q=`: a page like the others, but made for the one who asks, so nobody keeps it.
async fn find(request: HttpRequest, site: Data<Site>) -> HttpResponse {
    let pairs = form_urlencoded::parse(request.query_string().as_bytes());
    let asked = pairs.into_owned().find(|(name, _)| name == "q").map(|(_, asked)| asked).unwrap_or_default();
    let files = site.files();
    let asked = search::sane(&asked);
    let html = layout::search(&files.pages, &asked, &files.index.results(&asked));
    let mut response = page(StatusCode::OK);
    response.insert_header((header::CACHE_CONTROL, "no-store")).content_type(HTML).body(html)
}

async fn show(request: HttpRequest, site: Data<Site>) -> HttpResponse {
    let (path, files) = (request.path(), site.files());
    if let Some(file) = files.by_path.get(path) {
        return respond(&request, file);
    }
    // `/docs/connect/` is `/docs/connect`. Only a path that is known is ever told as a place to go to.
    match files.by_path.get_key_value(path.trim_end_matches('/')) {
        Some((known, _)) => {
            HttpResponse::PermanentRedirect().insert_header((header::LOCATION, known.as_str())).finish()
        }
        None => page(StatusCode::NOT_FOUND).content_type(HTML).body(files.not_found.clone()),
    }
}

fn respond(request: &HttpRequest, file: &File) -> HttpResponse {
    let is_known = assets::has(request, &file.tag);
    let mut response = page(if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK });
    response.insert_header(header::ETag(file.tag.clone()));
    if is_known { response.finish() } else { response.content_type(file.content_type).body(file.content.clone()) }
}

/// Another deploy may have other words: a browser asks each time, and is told if nothing changed.
fn page(status: StatusCode) -> actix_web::HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::CACHE_CONTROL, "no-cache"));
    response
}

async fn refuse(request: HttpRequest, site: Data<Site>) -> Result<HttpResponse, ApiError> {
    if request.path() == SEARCH || site.files().by_path.contains_key(request.path()) {
        Err(ApiError::MethodNotAllowed { allow: "GET, HEAD".to_owned() })
    } else {
        Err(ApiError::NotFound("route"))
    }
}
