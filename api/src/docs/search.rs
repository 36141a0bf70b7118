//! Search in the documentation: every section of every page, looked through word by word. Some hundred sections are read in
//! less time than a connection takes, so there is no index beside them.

use std::cmp::Reverse;

use askama::Template;

use super::pages::Page;

/// What is looked for is cut off here.
const LONGEST: usize = 100;
/// Words beyond these are not looked for.
const MOST_WORDS: usize = 8;
/// Sections that are shown.
const SHOWN: usize = 20;
/// Characters of a section around the first word that was found.
const BEFORE: usize = 60;
const EXCERPT: usize = 220;
/// Elements within a sentence: where they begin or end there is no space.
const WITHIN: [&str; 8] = ["a", "b", "code", "em", "i", "small", "span", "strong"];

/// Everything that can be found.
#[derive(Debug, Default)]
pub struct Index(Vec<Section>);

/// A part of a page under one heading.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Section {
    path: String,
    page: String,
    heading: Text,
    text: Text,
}

/// A text, and the same with each character in lower case, so that places in the one are places in the other.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Text {
    shown: Vec<char>,
    folded: String,
}

/// A piece of a text that is one of the words or not.
#[derive(Debug, PartialEq, Eq)]
struct Piece {
    text: String,
    is_match: bool,
}

/// A section that was found.
struct Hit<'a> {
    section: &'a Section,
    excerpt: Vec<Piece>,
}

impl Hit<'_> {
    fn heading(&self) -> String {
        self.section.heading.shown.iter().collect()
    }
}

#[derive(Template)]
#[template(path = "docs/search.html")]
struct Results<'a> {
    asked: &'a str,
    hits: Vec<Hit<'a>>,
    more: usize,
}

impl Index {
    /// All sections of all pages.
    pub fn new(pages: &[Page]) -> Self {
        Self(pages.iter().flat_map(sections).collect())
    }

    /// What was found, as HTML. What was asked for is in it as text alone.
    pub fn results(&self, asked: &str) -> String {
        let asked = sane(asked);
        let words = words(&asked);
        let mut found: Vec<(usize, &Section)> = self
            .0
            .iter()
            .filter_map(|section| Some((section.score(&words)?, section)))
            .filter(|_| !words.is_empty())
            .collect();
        // A stable order: of two that are alike, the one that is read first.
        found.sort_by_key(|(score, _)| Reverse(*score));
        let hits = found.iter().take(SHOWN).map(|(_, section)| Hit { section, excerpt: section.text.excerpt(&words) });
        let results = Results { asked: &asked, hits: hits.collect(), more: found.len().saturating_sub(SHOWN) };
        results.render().unwrap_or_default()
    }
}

impl Section {
    /// How well it fits; `None` if one of the words is not there. A heading says more than a sentence.
    fn score(&self, words: &[String]) -> Option<usize> {
        let page = fold(&self.page);
        words.iter().try_fold(0, |score, word| {
            let (in_heading, in_page) = (self.heading.folded.contains(word.as_str()), page.contains(word.as_str()));
            let in_text = self.text.folded.matches(word.as_str()).take(5).count();
            let is_the_heading = self.heading.folded.split_whitespace().any(|part| part == word);
            let found =
                usize::from(in_heading) * 12 + usize::from(is_the_heading) * 6 + usize::from(in_page) * 4 + in_text;
            (found > 0).then_some(score + found)
        })
    }
}

impl Text {
    fn new(text: &str) -> Self {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Self { folded: fold(&text), shown: text.chars().collect() }
    }

    /// What stands around the first of the words, with the words marked.
    fn excerpt(&self, words: &[String]) -> Vec<Piece> {
        let mut marked = vec![false; self.shown.len()];
        for word in words {
            // How many characters are before this byte: counted on from match to match.
            let (mut byte, mut before) = (0, 0);
            for (at, found) in self.folded.match_indices(word.as_str()) {
                before += self.folded.get(byte..at).map_or(0, |between| between.chars().count());
                byte = at;
                marked.iter_mut().skip(before).take(found.chars().count()).for_each(|mark| *mark = true);
            }
        }
        let first = marked.iter().position(|mark| *mark).unwrap_or(0);
        // A word is not cut in two.
        let mut start = first.saturating_sub(BEFORE);
        while start > 0 && start < first && self.shown.get(start - 1) != Some(&' ') {
            start += 1;
        }
        let mut pieces: Vec<Piece> = Vec::new();
        if start > 0 {
            pieces.push(Piece { text: "… ".into(), is_match: false });
        }
        let is_end = |end: &usize| self.shown.get(*end).is_none_or(|c| *c == ' ');
        let longest = start + EXCERPT;
        let end = (longest - BEFORE..=longest).rev().find(is_end).unwrap_or(longest);
        for (c, is_match) in self.shown.iter().zip(&marked).take(end).skip(start) {
            match pieces.last_mut() {
                Some(piece) if piece.is_match == *is_match => piece.text.push(*c),
                _ => pieces.push(Piece { text: c.to_string(), is_match: *is_match }),
            }
        }
        if self.shown.len() > end {
            pieces.push(Piece { text: " …".into(), is_match: false });
        }
        pieces
    }
}

/// Each character as one in lower case.
fn fold(text: &str) -> String {
    text.chars().map(|c| c.to_lowercase().next().unwrap_or(c)).collect()
}

/// What was asked for, in one line that a page can show.
pub fn sane(asked: &str) -> String {
    let printable = asked.chars().map(|c| if c.is_control() { ' ' } else { c });
    let cut: String = printable.take(LONGEST).collect();
    cut.trim().to_owned()
}

/// What is looked for: each word once.
fn words(asked: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in fold(asked).split_whitespace().take(MOST_WORDS) {
        if !words.iter().any(|known| known == word) {
            words.push(word.to_owned());
        }
    }
    words
}

/// A page's sections: what stands before its first heading belongs to its title.
fn sections(page: &Page) -> Vec<Section> {
    let mut all = Vec::new();
    let mut now = Draft { id: String::new(), heading: page.title.clone(), text: format!("{} ", page.summary) };
    let mut skipped: Option<&str> = None;
    let mut in_heading = false;
    for (position, piece) in page.html.split('<').enumerate() {
        let (tag, text) = if position == 0 { ("", piece) } else { piece.split_once('>').unwrap_or((piece, "")) };
        let name = tag.split([' ', '\n']).next().unwrap_or_default();
        let is_end_of = |what: &str| name.strip_prefix('/') == Some(what);
        if let Some(what) = skipped {
            if !is_end_of(what) {
                continue;
            }
            skipped = None;
        } else if matches!(name, "form" | "svg" | "legend") || tag.contains("class=\"anchor\"") {
            // What is for scripts, for eyes alone or for pointers alone.
            skipped = ["form", "svg", "legend", "a"].into_iter().find(|what| *what == name);
            continue;
        }
        if let (true, Some(id)) = (matches!(name, "h2" | "h3"), attribute(tag, "id")) {
            let next = Draft { id: id.to_owned(), heading: String::new(), text: String::new() };
            all.push(std::mem::replace(&mut now, next).finish(page));
            in_heading = true;
        } else if is_end_of("h2") || is_end_of("h3") {
            in_heading = false;
        }
        let place = if in_heading { &mut now.heading } else { &mut now.text };
        if matches!(name, "/td" | "/th" | "/li") {
            place.push_str(" · ");
        } else if !WITHIN.contains(&name.trim_start_matches('/')) {
            place.push(' ');
        }
        place.push_str(&plain(text));
    }
    all.push(now.finish(page));
    all
}

/// A section that is being read.
struct Draft {
    id: String,
    heading: String,
    text: String,
}

impl Draft {
    fn finish(self, page: &Page) -> Section {
        let path = if self.id.is_empty() { page.path.clone() } else { format!("{}#{}", page.path, self.id) };
        Section { path, page: page.title.clone(), heading: Text::new(&self.heading), text: Text::new(&self.text) }
    }
}

fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    tag.split_once(&format!(" {name}=\""))?.1.split('"').next()
}

/// A text without the references that our own HTML has.
fn plain(html: &str) -> String {
    let mut text = html.to_owned();
    let known = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#34;", "\""),
    ];
    for (reference, character) in known {
        text = text.replace(reference, character);
    }
    // Last, or `&amp;lt;` would become more than it is.
    text.replace("&#38;", "&").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::super::pages::{Group, Page};
    use super::*;

    fn index(html: &str) -> Index {
        Index::new(&[Page::for_test("/docs/x", Group::Guides, "Sync & waiting", "How long.", html)])
    }

    const HTML: &str = "<p>Before &amp;lt; any</p>\n<h2 id=\"a-b\">The <code>Retry-After</code> header \
        <a class=\"anchor\" href=\"#a-b\" aria-label=\"Link\">#</a></h2>\n<p>Wait <em>two</em> seconds.</p>\
        <form class=\"try\"><label>hidden</label></form><ul><li>İstanbul</li><li>ﬁne retry</li></ul>\
        <h3>Fields</h3><p>of it</p><h3 id=\"c\">Quota</h3><p>600 a minute</p>";

    #[test]
    fn a_page_is_cut_at_its_headings() {
        let Index(sections) = index(HTML);
        let seen: Vec<(&str, String, String)> = sections
            .iter()
            .map(|one| (one.path.as_str(), one.heading.shown.iter().collect(), one.text.shown.iter().collect()))
            .collect();
        assert_eq!(
            seen,
            [
                ("/docs/x", "Sync & waiting".into(), "How long. Before &lt; any".into()),
                (
                    "/docs/x#a-b",
                    "The Retry-After header".into(),
                    "Wait two seconds. İstanbul · ﬁne retry · Fields of it".into()
                ),
                ("/docs/x#c", "Quota".into(), "600 a minute".into()),
            ]
        );
    }

    #[test]
    fn every_match_is_marked_where_it_stands() {
        let text = Text::new("ééquota İ quota ﬁquotaquota end");
        let pieces = text.excerpt(&["quota".to_owned(), "end".to_owned()]);
        let shown: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
        assert_eq!(shown, "ééquota İ quota ﬁquotaquota end");
        let marked: Vec<&str> = pieces.iter().filter(|piece| piece.is_match).map(|piece| piece.text.as_str()).collect();
        assert_eq!(marked, ["quota", "quota", "quotaquota", "end"]);
    }

    #[test]
    fn all_words_must_be_there_and_a_heading_counts_more() {
        let index = index(HTML);
        let paths = |asked: &str| {
            let html = index.results(asked);
            html.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(paths("RETRY"), ["/docs/x#a-b"]);
        assert_eq!(paths("sync"), ["/docs/x", "/docs/x#a-b", "/docs/x#c"], "the page's title, then its sections");
        assert_eq!(paths("sync quota"), ["/docs/x#c"]);
        assert_eq!(paths("sync nothing"), [""; 0]);
        assert_eq!(paths("  "), [""; 0]);
        assert!(index.results("seconds").contains("Wait two <mark>seconds</mark>. İstanbul"));
        assert!(index.results("stanbul").contains("İ<mark>stanbul</mark>"), "{}", index.results("stanbul"));
    }

    #[test]
    fn whatever_is_asked_for_is_text() {
        let index = index(HTML);
        let endless = "a ".repeat(10_000);
        for asked in [
            "<script>alert(1)</script>",
            "\" onfocus=\"alert(1)",
            "&lt;",
            "\0\u{1b}[2J",
            "<",
            "'",
            &endless,
            "ÄÖ\u{0301}",
        ] {
            let html = index.results(asked);
            assert!(!html.contains("<script") && !html.contains("\" onfocus") && !html.contains('\0'), "{html}");
            assert!(html.len() < 20_000);
        }
        assert!(
            index.results("&lt; any").contains("<mark>&#38;lt;</mark> <mark>any</mark>"),
            "{}",
            index.results("&lt; any")
        );
    }
}
