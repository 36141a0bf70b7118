//! Colours for code: what a reader's eye needs to find strings, comments and words of the language. A scanner of a few
//! rules, not a parser; what it does not know stays as it is. Everything is escaped.

use std::fmt::Write as _;

use super::markdown::escape;

/// What a block of code is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// A shell, with one command of curl: the first of the three that samples come in.
    Curl,
    /// JavaScript.
    JavaScript,
    /// Python.
    Python,
    /// JSON.
    Json,
    /// Commands behind `$`, and what they print.
    Console,
    /// A shell's script or a file of settings.
    Shell,
    /// Anything else.
    Plain,
}

impl Language {
    /// By the word behind a block's fence.
    pub fn read(info: &str) -> Self {
        match info.split_whitespace().next().unwrap_or_default() {
            "curl" => Self::Curl,
            "javascript" => Self::JavaScript,
            "python" => Self::Python,
            "json" => Self::Json,
            "console" => Self::Console,
            "sh" | "bash" | "env" => Self::Shell,
            _ => Self::Plain,
        }
    }

    /// The word behind a fence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Curl => "curl",
            Self::JavaScript => "javascript",
            Self::Python => "python",
            Self::Json => "json",
            Self::Console => "console",
            Self::Shell => "sh",
            Self::Plain => "text",
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Curl => "curl",
            Self::JavaScript => "JavaScript",
            Self::Python => "Python",
            Self::Json => "JSON",
            Self::Console | Self::Shell => "Shell",
            Self::Plain => "Text",
        }
    }

    fn is_shell(self) -> bool {
        matches!(self, Self::Curl | Self::Shell)
    }

    fn keywords(self) -> &'static [&'static str] {
        match self {
            Self::Curl | Self::Shell => &["curl", "export", "cat", "make"],
            Self::JavaScript => &[
                "addEventListener",
                "async",
                "await",
                "const",
                "do",
                "else",
                "for",
                "function",
                "if",
                "import",
                "let",
                "new",
                "null",
                "of",
                "return",
                "while",
            ],
            Self::Python => &["None", "True", "def", "for", "from", "if", "import", "in", "not", "while", "yield"],
            Self::Json => &["false", "null", "true"],
            Self::Console | Self::Plain => &[],
        }
    }
}

/// The code as HTML: `<span class="…">` around what stands out (`s` string, `a` name of a JSON field, `c` comment,
/// `k` keyword, `n` number, `v` variable, `cmd` a command and `p` its prompt).
pub fn highlight(language: Language, code: &str) -> String {
    match language {
        Language::Plain => escape(code),
        Language::Console => console(code),
        _ => scan(language, code),
    }
}

/// Commands stand out from what they print, and are all that is copied.
fn console(code: &str) -> String {
    let mut html = String::new();
    let mut goes_on = false;
    for line in code.split_inclusive('\n') {
        let command = line.strip_prefix("$ ");
        if command.is_some() || goes_on {
            if command.is_some() {
                html.push_str("<span class=\"p\">$ </span>");
            }
            let text = command.unwrap_or(line);
            goes_on = text.trim_end().ends_with('\\');
            let _ = write!(html, "<span class=\"cmd\">{}</span>", scan(Language::Shell, text));
        } else {
            html.push_str(&escape(line));
        }
    }
    html
}

fn scan(language: Language, code: &str) -> String {
    let mut html = String::new();
    let mut rest = code;
    let mut before = '\n';
    while let Some(first) = rest.chars().next() {
        let (class, length) = token(language, rest, first, before);
        // A token ends where a character does; if not, the rest is plain.
        let (text, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        if class.is_empty() {
            html.push_str(&escape(text));
        } else {
            let _ = write!(html, "<span class=\"{class}\">{}</span>", escape(text));
        }
        before = text.chars().last().unwrap_or(before);
        rest = after;
    }
    html
}

/// The class and the length in bytes of what `rest` begins with.
fn token(language: Language, rest: &str, first: char, before: char) -> (&'static str, usize) {
    let hash_comment = first == '#' && before.is_whitespace() && language != Language::Json;
    if hash_comment || (rest.starts_with("//") && language == Language::JavaScript) {
        return ("c", rest.find('\n').unwrap_or(rest.len()));
    }
    if matches!(first, '"' | '\'' | '`') && (first == '"' || language != Language::Json) {
        let length = string(rest, first);
        let is_name =
            language == Language::Json && rest.get(length..).is_some_and(|after| after.trim_start().starts_with(':'));
        return (if is_name { "a" } else { "s" }, length);
    }
    if first == '$' && language.is_shell() {
        let name = rest.char_indices().skip(1).find(|(_, c)| !c.is_ascii_alphanumeric() && *c != '_');
        return ("v", name.map_or(rest.len(), |(end, _)| end));
    }
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    if is_word(first) {
        let end = rest.char_indices().find(|(_, c)| !is_word(*c)).map_or(rest.len(), |(end, _)| end);
        let word = rest.get(..end).unwrap_or_default();
        let is_number = first.is_ascii_digit() && !language.is_shell();
        let class = if language.keywords().contains(&word) && !matches!(before, '-' | '.' | '/') {
            "k"
        } else if is_number {
            "n"
        } else {
            ""
        };
        return (class, end);
    }
    ("", first.len_utf8())
}

/// The length of a string with its quotes; of all there is, if it does not end.
fn string(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (position, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return position + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_stands_out_is_marked() {
        assert_eq!(
            highlight(Language::Json, "{\"a\": \"b\", \"n\": 5, \"x\": null}"),
            "{<span class=\"a\">&quot;a&quot;</span>: <span class=\"s\">&quot;b&quot;</span>, \
             <span class=\"a\">&quot;n&quot;</span>: <span class=\"n\">5</span>, \
             <span class=\"a\">&quot;x&quot;</span>: <span class=\"k\">null</span>}"
        );
        assert_eq!(
            highlight(Language::Console, "$ export A=1 # why\nout\n"),
            "<span class=\"p\">$ </span><span class=\"cmd\"><span class=\"k\">export</span> A=1 \
             <span class=\"c\"># why</span>\n</span>out\n"
        );
        assert_eq!(highlight(Language::Plain, "<a>"), "&lt;a&gt;");
    }

    proptest! {
        /// The text is all there, whatever it is, and nothing of it becomes a tag.
        #[test]
        fn nothing_is_lost_and_nothing_gets_through(code in "(\\PC|[\"'`$#/\\\\<>&\n])*") {
            for language in [Language::Curl, Language::JavaScript, Language::Python, Language::Json] {
                let html = highlight(language, &code);
                let mut text = html.replace("</span>", "");
                for class in ["s", "a", "c", "k", "n", "v"] {
                    text = text.replace(&format!("<span class=\"{class}\">"), "");
                }
                prop_assert_eq!(text, escape(&code));
            }
        }
    }
}
