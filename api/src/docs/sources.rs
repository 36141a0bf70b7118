//! Where a page's text comes from: our pages, and the repository's own documents, which are included and never copied.
//!
//! A line `{{NAME}}` stands for a text that lives elsewhere, `{{base}}` for the public URL.

use std::fmt::Write as _;

use shared::platforms::tiktok::fields::{self, Field};

use super::samples;

/// The operators' handbook.
pub const OPERATING: &str = include_str!("../../../docs/operating.md");
/// How to watch a fleet.
pub const OBSERVABILITY: &str = include_str!("../../../docs/observability.md");
/// Every metric.
pub const METRICS: &str = include_str!("../../../docs/metrics.md");
const README: &str = include_str!("../../../README.md");

/// The picture that `{{connect-diagram}}` is. For eyes alone: the page says the same in words.
const DIAGRAM: &str = include_str!("../../templates/docs/connect.svg");
const DIAGRAM_LINE: &str = "{{connect-diagram}}";

/// The text with everything in it but the pictures. The first heading goes: a page has its title already.
pub fn expand(source: &str, base: &str) -> String {
    let mut text = String::new();
    for line in without_title(source).lines() {
        match included(line) {
            Some(included) => text.push_str(included.trim()),
            None => text.push_str(&line.replace("{{base}}", base)),
        }
        text.push('\n');
    }
    text
}

/// What a line stands for.
fn included(line: &str) -> Option<String> {
    match line.strip_prefix("{{")?.strip_suffix("}}")? {
        "readme-api" => Some(readme_table("The API")),
        "readme-tiktok" => Some(section("With the real TikTok")),
        "readme-running" => Some(section("Running it")),
        "tiktok-user" => Some(field_table(&fields::USER)),
        "tiktok-video" => Some(field_table(&fields::VIDEO)),
        "tiktok-left-out" => Some(left_out_table()),
        _ => None,
    }
}

fn without_title(source: &str) -> &str {
    match source.strip_prefix("# ") {
        Some(rest) => rest.split_once('\n').map_or("", |(_, body)| body.trim_start()),
        None => source,
    }
}

/// What stands under a heading of the README.
fn section(title: &str) -> String {
    let heading = format!("## {title}");
    let lines = README.lines().skip_while(|line| *line != heading).skip(1);
    let mut text = String::new();
    for line in lines.take_while(|line| !line.starts_with("## ")) {
        // The README lies one folder above the other documents.
        text.push_str(&line.replace("](docs/", "](/docs/"));
        text.push('\n');
    }
    text
}

/// The first table under a heading of the README.
fn readme_table(title: &str) -> String {
    let text = section(title);
    let rows = text.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    rows.fold(String::new(), |table, row| table + row + "\n")
}

fn field_table(fields: &[Field]) -> String {
    let mut table = "| In the API | TikTok's name | Scope | Good to know |\n| --- | --- | --- | --- |\n".to_owned();
    for field in fields {
        let _ = writeln!(table, "| `{}` | `{}` | `{}` | {} |", field.shown_as, field.name, field.scope, field.about);
    }
    table
}

fn left_out_table() -> String {
    let mut table = "| TikTok's name | What it is |\n| --- | --- |\n".to_owned();
    for field in fields::LEFT_OUT {
        let _ = writeln!(table, "| `{}` | {} |", field.name, field.why);
    }
    table
}

/// The picture, for the page.
pub fn picture(line: &str) -> Option<&'static str> {
    (line.trim() == DIAGRAM_LINE).then_some(DIAGRAM)
}

/// The text for who reads it as markdown: no pictures, and each `request` as the three samples that it becomes.
pub fn for_readers(expanded: &str, base: &str) -> String {
    let mut text = String::new();
    let mut lines = expanded.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("```request") {
            let request: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            for sample in samples::of(&request.join("\n"), base) {
                let _ = writeln!(text, "```{}\n{}\n```\n", sample.language.name(), sample.code.trim_end());
            }
        } else if picture(line).is_none() {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_included_is_there() {
        for name in ["readme-api", "readme-tiktok", "readme-running", "tiktok-user", "tiktok-video", "tiktok-left-out"]
        {
            let text = included(&format!("{{{{{name}}}}}")).expect(name);
            assert!(text.len() > 200, "{name}: {text}");
        }
        assert_eq!(included("{{nothing}}"), None);
        assert_eq!(expand("# Title\n\nAt {{base}}.\n", "https://x"), "At https://x.\n");
    }
}
