//! Which pages there are, in the order in which they are read.

use std::fmt::Write as _;

use serde_json::Value;

use super::markdown::{self, Heading};
use super::{reference, sources};

/// Where a page stands in the sidebar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// For who is new.
    Start,
    /// For who builds on it.
    Guides,
    /// For who looks something up.
    Details,
    /// One page for each part of the API, made from its document.
    Reference,
    /// For who runs it.
    Operating,
}

impl Group {
    /// All of them, in the sidebar's order.
    pub const ALL: [Self; 5] = [Self::Start, Self::Guides, Self::Details, Self::Reference, Self::Operating];

    /// What stands above its pages.
    pub fn title(self) -> &'static str {
        match self {
            Self::Start => "Get started",
            Self::Guides => "Guides",
            Self::Details => "Good to know",
            Self::Reference => "API reference",
            Self::Operating => "Run it yourself",
        }
    }
}

/// A page that we wrote.
struct Written {
    /// The end of its path; empty for `/docs` itself.
    slug: &'static str,
    group: Group,
    title: &'static str,
    summary: &'static str,
    source: &'static str,
}

const WRITTEN: [Written; 16] = [
    Written {
        slug: "",
        group: Group::Start,
        title: "Overview",
        summary: "One API for what TikTok knows about a creator: connect an account, sync it, read it, disconnect it.",
        source: include_str!("../../docs-pages/overview.md"),
    },
    Written {
        slug: "quickstart",
        group: Group::Start,
        title: "Quick start",
        summary: "From a key to a creator's videos in five requests.",
        source: include_str!("../../docs-pages/quickstart.md"),
    },
    Written {
        slug: "connect",
        group: Group::Guides,
        title: "Connect a creator",
        summary: "Send a creator to TikTok's consent page, and learn how it ended.",
        source: include_str!("../../docs-pages/connect.md"),
    },
    Written {
        slug: "sync",
        group: Group::Guides,
        title: "Sync and waiting",
        summary: "Fetch fresh data: one creator while you wait, or thousands in the background.",
        source: include_str!("../../docs-pages/sync.md"),
    },
    Written {
        slug: "pagination",
        group: Group::Guides,
        title: "Pagination",
        summary: "Walk long lists page by page, and miss nothing.",
        source: include_str!("../../docs-pages/pagination.md"),
    },
    Written {
        slug: "idempotency",
        group: Group::Guides,
        title: "Safe retries",
        summary: "Send a request again without doing it twice, and read only what has changed.",
        source: include_str!("../../docs-pages/idempotency.md"),
    },
    Written {
        slug: "history",
        group: Group::Guides,
        title: "History",
        summary: "How a creator's and a video's numbers have changed.",
        source: include_str!("../../docs-pages/history.md"),
    },
    Written {
        slug: "webhooks",
        group: Group::Guides,
        title: "Webhooks from TikTok",
        summary: "Let TikTok tell MetriqLab when a creator takes the authorization back.",
        source: include_str!("../../docs-pages/webhooks.md"),
    },
    Written {
        slug: "errors",
        group: Group::Details,
        title: "Errors",
        summary: "Every error code: what causes it, and what to do.",
        source: include_str!("../../docs-pages/errors.md"),
    },
    Written {
        slug: "rate-limits",
        group: Group::Details,
        title: "Rate limits",
        summary: "How many requests a key has, and how TikTok's own quota is shared.",
        source: include_str!("../../docs-pages/rate-limits.md"),
    },
    Written {
        slug: "tiktok-data",
        group: Group::Details,
        title: "What TikTok gives",
        summary: "Field by field: what there is, what it needs, and what TikTok tells nobody.",
        source: include_str!("../../docs-pages/tiktok-data.md"),
    },
    Written {
        slug: "api",
        group: Group::Reference,
        title: "The basics",
        summary: "What holds for every request: the key, the envelope, ids, times and numbers.",
        source: include_str!("../../docs-pages/api.md"),
    },
    Written {
        slug: "self-hosting",
        group: Group::Operating,
        title: "Self-hosting",
        summary: "From one command on a laptop to a fleet on your own Postgres and Redis.",
        source: include_str!("../../docs-pages/self-hosting.md"),
    },
    Written {
        slug: "operating",
        group: Group::Operating,
        title: "Operating a fleet",
        summary: "The commands, rolling deploys, key rotation, Postgres and Redis beyond one machine.",
        source: sources::OPERATING,
    },
    Written {
        slug: "observability",
        group: Group::Operating,
        title: "Watching a fleet",
        summary: "Dashboard, alerts, health, logs and traces.",
        source: sources::OBSERVABILITY,
    },
    Written {
        slug: "metrics",
        group: Group::Operating,
        title: "Metrics",
        summary: "Every Prometheus metric: its type, labels and meaning.",
        source: sources::METRICS,
    },
];

/// A page as it is served.
pub struct Page {
    /// Its path.
    pub path: String,
    /// Where it stands in the sidebar.
    pub group: Group,
    /// Its title.
    pub title: String,
    /// What it is about, in a sentence.
    pub summary: String,
    /// The markdown under title and summary.
    source: String,
    /// The same as HTML.
    pub html: String,
    /// Its headings.
    pub headings: Vec<Heading>,
}

impl Page {
    /// Where the same is served as markdown.
    pub fn markdown_path(&self) -> String {
        format!("{}.md", self.path)
    }

    /// A page for the tests of what is made from pages.
    #[cfg(test)]
    pub fn for_test(path: &str, group: Group, title: &str, summary: &str, html: &str) -> Self {
        let (path, title, summary, html) = (path.into(), title.into(), summary.into(), html.into());
        Self { path, group, title, summary, source: String::new(), html, headings: Vec::new() }
    }

    /// The page as markdown.
    pub fn markdown(&self) -> String {
        format!("# {}\n\n{}\n\n{}", self.title, self.summary, self.source)
    }
}

/// All pages, in the sidebar's order.
pub fn all(document: &Value, base: &str) -> Vec<Page> {
    let written = WRITTEN.iter().map(|page| text_page(page, base));
    let reference = reference::all(document, base).into_iter().map(|part| Page {
        path: format!("/docs/api/{}", part.slug),
        group: Group::Reference,
        title: part.title.clone(),
        summary: part.summary.clone(),
        source: part.markdown(),
        html: part.html(),
        headings: part.headings(),
    });
    let mut pages: Vec<_> = written.chain(reference).collect();
    pages.sort_by_key(|page| Group::ALL.iter().position(|group| *group == page.group));
    pages
}

fn text_page(page: &Written, base: &str) -> Page {
    let source = sources::expand(page.source, base);
    let (html, headings) = markdown::render(&source, base);
    Page {
        path: if page.slug.is_empty() { "/docs".to_owned() } else { format!("/docs/{}", page.slug) },
        group: page.group,
        title: page.title.to_owned(),
        summary: page.summary.to_owned(),
        source: sources::for_readers(&source, base),
        html,
        headings,
    }
}

/// The index for language models: <https://llmstxt.org>.
pub fn llms_txt(pages: &[Page], base: &str) -> String {
    let mut text = "# MetriqLab\n\n> One API for what TikTok knows about a creator: connect an account, sync it, read \
                    profile, counters, videos and their history, disconnect it.\n\n"
        .to_owned();
    let _ = writeln!(
        text,
        "Every request carries an API key in the header `x-api-key`. The base URL is `{base}/api/v1`. The machine-readable \
         description is OpenAPI 3.1: {base}/openapi.json"
    );
    for group in Group::ALL {
        let _ = write!(text, "\n## {}\n\n", group.title());
        for page in pages.iter().filter(|page| page.group == group) {
            let _ = writeln!(text, "- [{}]({base}{}): {}", page.title, page.markdown_path(), page.summary);
        }
    }
    text
}
