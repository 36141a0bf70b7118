//! The frame around every page: what stands beside the text.

use askama::Template;

use super::markdown::Heading;
use super::pages::{Group, Page};
use crate::assets;

/// A link of the sidebar, or to the page before or after.
struct Link<'a> {
    path: &'a str,
    title: &'a str,
    is_current: bool,
}

/// A group of the sidebar.
struct Section<'a> {
    title: &'static str,
    links: Vec<Link<'a>>,
}

/// A page's frame.
#[derive(Template)]
#[template(path = "docs/page.html")]
struct Frame<'a> {
    title: &'a str,
    summary: &'a str,
    style: String,
    script: String,
    icon: String,
    sections: Vec<Section<'a>>,
    /// The page's own HTML, made by us.
    text: &'a str,
    contents: &'a [Heading],
    /// What the field for searching holds.
    asked: &'a str,
    markdown_path: String,
    previous: Option<Link<'a>>,
    next: Option<Link<'a>>,
}

impl<'a> Frame<'a> {
    fn new(pages: &'a [Page], position: Option<usize>, title: &'a str, summary: &'a str) -> Self {
        let beside = |position: Option<usize>| position.and_then(|at| pages.get(at)).map(|page| link(page, false));
        Self {
            title,
            summary,
            style: assets::DOCS_CSS.url(),
            script: assets::DOCS_JS.url(),
            icon: assets::ICON.url(),
            sections: sections(pages, position),
            text: "",
            contents: &[],
            asked: "",
            markdown_path: String::new(),
            previous: beside(position.and_then(|at| at.checked_sub(1))),
            next: beside(position.map(|at| at + 1)),
        }
    }

    /// A template of text alone can't fail to render; if it does, the page is empty and the log says so.
    fn html(&self) -> String {
        self.render().unwrap_or_else(|error| {
            tracing::error!(%error, title = self.title, "a page of the documentation could not be rendered");
            String::new()
        })
    }
}

fn link(page: &Page, is_current: bool) -> Link<'_> {
    Link { path: &page.path, title: &page.title, is_current }
}

fn sections(pages: &[Page], current: Option<usize>) -> Vec<Section<'_>> {
    let links = |group: Group| {
        let pages = pages.iter().enumerate().filter(move |(_, page)| page.group == group);
        pages.map(|(position, page)| link(page, Some(position) == current)).collect()
    };
    Group::ALL.into_iter().map(|group| Section { title: group.title(), links: links(group) }).collect()
}

/// The page at `position` in its frame.
pub fn page(pages: &[Page], position: usize) -> String {
    let Some(page) = pages.get(position) else { return String::new() };
    let mut frame = Frame::new(pages, Some(position), &page.title, &page.summary);
    frame.markdown_path = page.markdown_path();
    frame.text = &page.html;
    frame.contents = &page.headings;
    frame.html()
}

/// What is shown where there is no page.
pub fn not_found(pages: &[Page]) -> String {
    let mut frame = Frame::new(pages, None, "Page not found", "There is no such page. The menu lists all there are.");
    frame.text = "<p><a href=\"/docs\">To the overview</a></p>";
    frame.html()
}

/// What was found, in its frame.
pub fn search(pages: &[Page], asked: &str, results: &str) -> String {
    let mut frame = Frame::new(pages, None, "Search", "Every section of the documentation that has all of your words.");
    (frame.text, frame.asked) = (results, asked);
    frame.html()
}
