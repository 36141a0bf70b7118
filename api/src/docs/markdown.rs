//! Markdown to HTML: headings that can be linked to, code with samples in tabs, tables that scroll on a phone, and links
//! that lead to pages.

use std::collections::HashSet;
use std::fmt::Write as _;

use pulldown_cmark::{CodeBlockKind, CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

use super::highlight::{Language, highlight};
use super::{samples, sources};
use crate::assets;

/// A heading that the page's own contents list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// Under which it is found on the page.
    pub id: String,
    /// Its text.
    pub text: String,
    /// 2 or 3.
    pub level: u8,
}

/// Text in HTML, also in an attribute.
pub fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
}

/// A text of ours as HTML, with its headings. `base` is the public URL, for the samples.
pub fn render(markdown: &str, base: &str) -> (String, Vec<Heading>) {
    let mut writer =
        Writer { base, events: Vec::new(), headings: Vec::new(), ids: HashSet::new(), links: Vec::new(), groups: 0 };
    let mut parser = Parser::new_ext(markdown, Options::ENABLE_TABLES).peekable();
    while let Some(event) = parser.next() {
        match event {
            Event::Start(Tag::Heading { level, .. }) => {
                let inside = until(&mut parser, |end| matches!(end, TagEnd::Heading(_)));
                writer.heading(level, inside);
            }
            Event::Start(Tag::CodeBlock(kind)) => {
                let code = text_of(&until(&mut parser, |end| *end == TagEnd::CodeBlock));
                writer.code(&kind, &code);
            }
            Event::Start(Tag::Paragraph) => {
                let inside = until(&mut parser, |end| *end == TagEnd::Paragraph);
                writer.paragraph(inside);
            }
            other => writer.push(other),
        }
    }
    let mut page = String::new();
    html::push_html(&mut page, writer.events.into_iter());
    (page, writer.headings)
}

/// A sentence without paragraphs around it, such as a description in the API's document.
pub fn inline(markdown: &str) -> String {
    let (html, _) = render(markdown, "");
    let html = html.trim();
    match html.strip_prefix("<p>").and_then(|html| html.strip_suffix("</p>")) {
        Some(inside) if !inside.contains("<p>") => inside.to_owned(),
        _ => html.to_owned(),
    }
}

/// The events up to the end that is meant, which is left out.
fn until<'a>(events: &mut impl Iterator<Item = Event<'a>>, is_end: impl Fn(&TagEnd) -> bool) -> Vec<Event<'a>> {
    events.take_while(|event| !matches!(event, Event::End(end) if is_end(end))).collect()
}

fn text_of(events: &[Event<'_>]) -> String {
    let texts = events.iter().filter_map(|event| match event {
        Event::Text(text) | Event::Code(text) => Some(text.as_ref()),
        Event::SoftBreak => Some(" "),
        _ => None,
    });
    texts.collect()
}

struct Writer<'a> {
    base: &'a str,
    events: Vec<Event<'a>>,
    headings: Vec<Heading>,
    ids: HashSet<String>,
    /// What closes the links that are open.
    links: Vec<&'static str>,
    /// Groups of samples so far: each needs a name of its own.
    groups: usize,
}

impl<'a> Writer<'a> {
    fn html(&mut self, html: impl Into<CowStr<'a>>) {
        self.events.push(Event::Html(html.into()));
    }

    fn push(&mut self, event: Event<'a>) {
        match event {
            // A wide table scrolls by itself, by keyboard too.
            Event::Start(Tag::Table(_)) => {
                self.html("<div class=\"table\" role=\"region\" aria-label=\"Table\" tabindex=\"0\">");
                self.events.push(event);
            }
            Event::End(TagEnd::Table) => {
                self.events.push(event);
                self.html("</div>\n");
            }
            Event::Start(Tag::Link { ref dest_url, .. }) => {
                // A file of the repository is not served: its name alone is shown.
                let (open, close) = match target(dest_url) {
                    Some(target) => (format!("<a href=\"{}\">", escape(&target)), "</a>"),
                    None => (String::new(), ""),
                };
                self.html(open);
                self.links.push(close);
            }
            Event::End(TagEnd::Link) => {
                let close = self.links.pop().unwrap_or_default();
                self.html(close);
            }
            Event::Start(Tag::Image { link_type, title, id, .. }) => {
                // The one picture that the repository's documents show.
                let dest_url = assets::FLEET_PNG.url().into();
                self.events.push(Event::Start(Tag::Image { link_type, dest_url, title, id }));
            }
            other => self.events.push(other),
        }
    }

    fn heading(&mut self, level: HeadingLevel, inside: Vec<Event<'a>>) {
        let text = text_of(&inside);
        let id = self.free_id(&slug(&text));
        let name = level.to_string();
        self.html(format!("<{name} id=\"{id}\">"));
        for event in inside {
            self.push(event);
        }
        let label = escape(&text);
        self.html(format!(" <a class=\"anchor\" href=\"#{id}\" aria-label=\"Link to “{label}”\">#</a></{name}>\n"));
        if matches!(level, HeadingLevel::H2 | HeadingLevel::H3) {
            self.headings.push(Heading { id, text, level: level as u8 });
        }
    }

    fn free_id(&mut self, wanted: &str) -> String {
        let mut id = wanted.to_owned();
        let mut number = 1;
        while !self.ids.insert(id.clone()) {
            id = format!("{wanted}-{number}");
            number += 1;
        }
        id
    }

    fn paragraph(&mut self, inside: Vec<Event<'a>>) {
        if let Some(picture) = sources::picture(&text_of(&inside)) {
            return self.html(picture);
        }
        self.events.push(Event::Start(Tag::Paragraph));
        for event in inside {
            self.push(event);
        }
        self.events.push(Event::End(TagEnd::Paragraph));
    }

    fn code(&mut self, kind: &CodeBlockKind<'_>, code: &str) {
        let info = match kind {
            CodeBlockKind::Fenced(info) => info.as_ref(),
            CodeBlockKind::Indented => "",
        };
        let mut words = info.split_whitespace();
        if words.next() == Some("request") {
            self.groups += 1;
            let html = sample_tabs(
                code.trim_end(),
                self.base,
                &format!("samples-{}", self.groups),
                words.next() == Some("run"),
            );
            self.html(html);
        } else {
            self.html(code_block(Language::read(info), code));
        }
    }
}

/// A block of code.
pub fn code_block(language: Language, code: &str) -> String {
    let title = language.title();
    format!(
        "<div class=\"code\" data-language=\"{}\"><pre tabindex=\"0\" aria-label=\"{title}\"><code>{}</code></pre></div>\n",
        language.name(),
        highlight(language, code.trim_end())
    )
}

/// A request in each language, one at a time: radio buttons, so that it works without a script. `runs` says that the
/// page's script may offer to send it.
pub fn sample_tabs(request: &str, base: &str, name: &str, runs: bool) -> String {
    let samples = samples::of(request, base);
    let mut html = String::from("<fieldset class=\"samples\"");
    if runs {
        let request = samples::Request::read(request);
        let _ = write!(html, " data-run=\"{} {}\"", escape(request.method), escape(request.path));
    }
    html.push_str("><legend>Language of the sample</legend>\n");
    for (position, sample) in samples.iter().enumerate() {
        let (value, title) = (sample.language.name(), sample.language.title());
        let checked = if position == 0 { " checked" } else { "" };
        let _ = write!(
            html,
            "<label><input type=\"radio\" name=\"{name}\" value=\"{value}\"{checked}><span>{title}</span></label>"
        );
    }
    html.push('\n');
    for sample in &samples {
        html.push_str(&code_block(sample.language, &sample.code));
    }
    html.push_str("</fieldset>\n");
    html
}

/// Where a link leads: the repository's documents are pages here; `None` for its other files.
fn target(link: &str) -> Option<String> {
    if link.starts_with('#') || link.starts_with("http://") || link.starts_with("https://") {
        return Some(link.to_owned());
    }
    let (path, fragment) = link.split_once('#').map_or((link, String::new()), |(path, id)| (path, format!("#{id}")));
    let page = match path.strip_suffix(".md") {
        Some(page) => format!("/docs/{}", page.trim_start_matches("/docs/")),
        None if path.starts_with('/') => path.to_owned(),
        None => return None,
    };
    Some(format!("{page}{fragment}"))
}

/// A heading's id, as GitHub makes them, so that links inside the repository's documents hold here too.
fn slug(text: &str) -> String {
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase()
}
