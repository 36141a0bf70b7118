//! The reference: every operation of the API's own document, a page for each part of it.

use askama::Template;
use serde_json::Value;

use super::highlight::Language;
use super::markdown::{Heading, code_block, inline, sample_tabs};
use super::samples;
use super::schema::{Extent, Field, Schemas};

/// The parts in the order in which they are read, each with what it is about. A part that is not listed comes last.
const PARTS: [(&str, &str); 6] = [
    ("Connect", "Begin a creator's consent."),
    ("Creators", "Read creators, their profiles and videos; sync and disconnect them."),
    ("Batches", "Follow a resync of many creators."),
    ("Jobs", "Follow a sync or a disconnect that took longer than its wait."),
    ("Webhooks", "What TikTok tells MetriqLab."),
    ("Operations", "Health, metrics and the machine-readable description."),
];

/// A part of the reference.
pub struct Reference {
    /// The end of its path.
    pub slug: String,
    /// Its title.
    pub title: String,
    /// What it is about.
    pub summary: String,
    operations: Vec<Operation>,
    /// The public URL, for the samples.
    base: String,
}

/// A method on a path.
struct Operation {
    id: String,
    title: String,
    method: String,
    path: String,
    summary: String,
    about: String,
    /// Whether it wants a key.
    has_key: bool,
    parameters: Vec<Parameter>,
    body: Option<Content>,
    answers: Vec<Answer>,
    errors: Vec<Answer>,
    /// The request, as [`samples`] reads it.
    request: String,
}

struct Parameter {
    name: String,
    /// `path`, `query` or `header`.
    place: String,
    kind: String,
    required: bool,
    about: String,
}

/// What a body or an answer holds.
struct Content {
    media_type: String,
    about: String,
    fields: Vec<Field>,
    /// As it looks; empty if it is no JSON.
    sample: String,
}

struct Answer {
    status: String,
    about: String,
    headers: Vec<Header>,
    content: Option<Content>,
}

struct Header {
    name: String,
    about: String,
}

#[derive(Template)]
#[template(path = "docs/reference.html")]
struct AsHtml<'a> {
    reference: &'a Reference,
}

#[derive(Template)]
#[template(path = "docs/reference.md", escape = "none")]
struct AsMarkdown<'a> {
    reference: &'a Reference,
}

impl Reference {
    /// The operations, for the page's own contents.
    pub fn headings(&self) -> Vec<Heading> {
        let heading =
            |operation: &Operation| Heading { id: operation.id.clone(), text: operation.title.clone(), level: 2 };
        self.operations.iter().map(heading).collect()
    }

    /// The part as HTML.
    pub fn html(&self) -> String {
        written(AsHtml { reference: self }.render())
    }

    /// The part as markdown.
    pub fn markdown(&self) -> String {
        written(AsMarkdown { reference: self }.render())
    }
}

/// A template of text alone can't fail to render; if it does, the part is empty and the log says so.
fn written(rendered: askama::Result<String>) -> String {
    rendered.unwrap_or_else(|error| {
        tracing::error!(%error, "a part of the reference could not be rendered");
        String::new()
    })
}

impl Operation {
    fn summary_html(&self) -> String {
        inline(&self.summary)
    }

    fn about_html(&self) -> String {
        inline(&self.about)
    }

    fn is_get(&self) -> bool {
        self.method == "GET"
    }

    /// Whether a reader may send it from the page: not what TikTok alone sends, nor what ends a consent.
    fn can_be_tried(&self) -> bool {
        self.has_key || (self.is_get() && self.parameters.is_empty())
    }

    fn samples_html(&self, base: &str) -> String {
        sample_tabs(&self.request, base, &format!("samples-{}", self.id), false)
    }

    fn curl(&self, base: &str) -> String {
        let [curl, ..] = samples::of(&self.request, base);
        curl.code.trim_end().to_owned()
    }
}

impl Parameter {
    fn kind_html(&self) -> String {
        inline(&self.kind)
    }

    fn about_html(&self) -> String {
        inline(&self.about)
    }
}

impl Content {
    fn about_html(&self) -> String {
        inline(&self.about)
    }

    fn sample_html(&self) -> String {
        code_block(Language::Json, &self.sample)
    }
}

impl Answer {
    fn about_html(&self) -> String {
        inline(&self.about)
    }

    /// The description, with each error's code leading to its cause and remedy.
    fn error_html(&self) -> String {
        inline(&with_links(&self.about))
    }
}

/// Each code of an error as a link to it. Codes are the only words in backquotes that are all lower case.
fn with_links(about: &str) -> String {
    let parts = about.split('`').enumerate().map(|(position, part)| {
        let is_code = position % 2 == 1 && part.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        match (is_code, position % 2 == 1) {
            (true, _) => format!("[`{part}`](/docs/errors#{part})"),
            (false, true) => format!("`{part}`"),
            (false, false) => part.to_owned(),
        }
    });
    parts.collect()
}

/// The parts of the document, in their order.
pub fn all(document: &Value, base: &str) -> Vec<Reference> {
    let operations: Vec<_> = operations(document).collect();
    let mut tags: Vec<&str> = operations.iter().map(|(tag, _)| *tag).collect();
    let known = |tag: &str| PARTS.iter().position(|(name, _)| *name == tag);
    tags.sort_by_key(|tag| (known(tag).unwrap_or(PARTS.len()), *tag));
    tags.dedup();
    let part = |tag: &str| Reference {
        slug: tag.to_lowercase().replace(' ', "-"),
        title: tag.to_owned(),
        summary: PARTS.iter().find(|(name, _)| *name == tag).map_or("", |(_, summary)| summary).to_owned(),
        operations: operations.iter().filter(|(of, _)| *of == tag).map(|(_, one)| one.read(document)).collect(),
        base: base.to_owned(),
    };
    tags.into_iter().map(part).collect()
}

/// An operation of the document, not yet read.
struct Raw<'a> {
    method: &'a str,
    path: &'a str,
    value: &'a Value,
}

fn operations(document: &Value) -> impl Iterator<Item = (&str, Raw<'_>)> {
    let paths = document.get("paths").and_then(Value::as_object).into_iter().flatten();
    paths.flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten();
        methods.map(move |(method, value)| {
            let tag = value.pointer("/tags/0").and_then(Value::as_str).unwrap_or("Other");
            (tag, Raw { method, path, value })
        })
    })
}

impl<'a> Raw<'a> {
    fn text(&self, name: &str) -> String {
        text(self.value, name)
    }

    fn read(&self, document: &'a Value) -> Operation {
        let schemas = Schemas(document);
        let body = self.value.get("requestBody").and_then(|body| content(schemas, body, Extent::All));
        let (answers, errors) = self.answers(schemas).partition(|answer| answer.status.starts_with(['2', '3']));
        let (method, parameters) = (self.method.to_uppercase(), self.parameters(schemas));
        let request = request(&method, self.path, body.as_ref());
        Operation {
            title: title(&self.text("operationId")),
            id: self.text("operationId"),
            path: self.path.to_owned(),
            summary: self.text("summary"),
            about: self.text("description"),
            has_key: self.value.get("security").is_some(),
            method,
            parameters,
            body,
            answers,
            errors,
            request,
        }
    }

    fn parameters(&self, schemas: Schemas<'a>) -> Vec<Parameter> {
        let list = self.value.get("parameters").and_then(Value::as_array).into_iter().flatten();
        let read = |one: &'a Value| {
            let schema = one.get("schema").unwrap_or(&Value::Null);
            // A parameter can't be null: it is left out.
            let kind = schemas.kind(schema).replace(" or null", "");
            let bound = |name: &str| schema.get(name).map(ToString::to_string);
            let range = match (bound("minimum"), bound("maximum")) {
                (Some(least), Some(most)) => format!(", {least} to {most}"),
                _ => String::new(),
            };
            Parameter {
                name: text(one, "name"),
                place: text(one, "in"),
                kind: kind + &range,
                required: one.get("required") == Some(&Value::Bool(true)),
                about: text(one, "description"),
            }
        };
        list.map(read).collect()
    }

    fn answers(&self, schemas: Schemas<'a>) -> impl Iterator<Item = Answer> {
        let list = self.value.get("responses").and_then(Value::as_object).into_iter().flatten();
        list.map(move |(status, answer)| Answer {
            status: status.clone(),
            about: text(answer, "description"),
            headers: headers(answer),
            content: content(schemas, answer, if status == "202" { Extent::All } else { Extent::Usual }),
        })
    }
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn headers(answer: &Value) -> Vec<Header> {
    let list = answer.get("headers").and_then(Value::as_object).into_iter().flatten();
    // Those of the limit are on every answer, and have a page of their own.
    let own = list.filter(|(name, _)| !name.starts_with("RateLimit"));
    own.map(|(name, header)| Header { name: name.clone(), about: text(header, "description") }).collect()
}

/// The first of the types that a body or an answer has: ours have one.
fn content<'a>(schemas: Schemas<'a>, owner: &'a Value, extent: Extent) -> Option<Content> {
    let (media_type, media) = owner.get("content")?.as_object()?.iter().next()?;
    let schema = media.get("schema")?;
    let fields = schemas.fields(schema);
    let sample = match media_type.as_str() {
        "application/json" if !fields.is_empty() => schemas.sample(schema, extent),
        _ => String::new(),
    };
    Some(Content { media_type: media_type.clone(), about: text(owner, "description"), fields, sample })
}

/// An operation's name for people: `list_creators` is "List creators".
fn title(id: &str) -> String {
    let words = id.replace('_', " ").replace("tiktok", "TikTok").replace("openapi", "OpenAPI");
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// A request as [`samples`] reads it. A body that may be left out is left out.
fn request(method: &str, path: &str, body: Option<&Content>) -> String {
    let body = body.filter(|_| method == "PATCH").map(|body| format!("\n\n{}", body.sample)).unwrap_or_default();
    format!("{method} {path}{body}")
}
