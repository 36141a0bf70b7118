//! A request as curl, JavaScript and Python: written once, on a page or from the API's document, and said three times.
//!
//! A request is a line `METHOD /path`, headers, an empty line and a body, as HTTP has it. What stands in braces in the path
//! is a variable of the reader's: `{id}` is `$ID` in a shell.

use std::fmt::Write as _;

use super::highlight::Language;

/// A sample in one language.
#[derive(Debug, PartialEq, Eq)]
pub struct Sample {
    /// In what.
    pub language: Language,
    /// The code.
    pub code: String,
}

/// A request as a page writes it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// The path with its query.
    pub path: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    body: &'a str,
}

impl<'a> Request<'a> {
    /// Reads a request. A text that is none has an empty path.
    pub fn read(text: &'a str) -> Self {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut lines = head.lines();
        let (method, path) = lines.next().unwrap_or_default().split_once(' ').unwrap_or_default();
        Self { method, path, headers: lines.filter_map(|line| line.split_once(": ")).collect(), body: body.trim() }
    }

    /// Whether it carries a key.
    fn has_key(&self) -> bool {
        self.path.starts_with("/api/")
    }

    fn is_get(&self) -> bool {
        self.method == "GET"
    }
}

/// The request in every language that the pages show.
pub fn of(text: &str, base: &str) -> [Sample; 3] {
    let request = Request::read(text);
    let sample = |language, code| Sample { language, code };
    [
        sample(Language::Curl, curl(&request, base)),
        sample(Language::JavaScript, javascript(&request, base)),
        sample(Language::Python, python(&request, base)),
    ]
}

/// `{jobId}` as a variable of a shell: `$JOB_ID`.
fn shell_variables(path: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for c in path.chars() {
        match c {
            '{' => {
                inside = true;
                text.push('$');
            }
            '}' => inside = false,
            c if inside && c.is_uppercase() => text.extend(['_', c]),
            c if inside => text.push(c.to_ascii_uppercase()),
            c => text.push(c),
        }
    }
    text
}

/// `{jobId}` as a variable of Python: `{job_id}`.
fn python_variables(path: &str) -> String {
    let mut text = String::new();
    for c in path.chars() {
        match c {
            c if c.is_uppercase() => text.extend(['_', c.to_ascii_lowercase()]),
            c => text.push(c),
        }
    }
    text
}

fn curl(request: &Request<'_>, base: &str) -> String {
    let path = shell_variables(request.path);
    let url = format!("{base}{path}");
    let url = if url.contains(['$', '?', '&']) { format!("\"{url}\"") } else { url };
    let method = if request.is_get() { String::new() } else { format!("-X {} ", request.method) };
    let mut options = Vec::new();
    if request.has_key() {
        options.push("-H \"x-api-key: $KEY\"".to_owned());
    }
    options.extend(request.headers.iter().map(|(name, value)| format!("-H \"{name}: {value}\"")));
    if !request.body.is_empty() {
        options.push("-H \"content-type: application/json\"".to_owned());
        options.push(format!("-d '{}'", request.body));
    }
    let options: String = options.iter().fold(String::new(), |text, option| format!("{text} \\\n  {option}"));
    format!("curl {method}{url}{options}\n")
}

fn javascript(request: &Request<'_>, base: &str) -> String {
    let url = format!("{base}{}", request.path.replace('{', "${"));
    let quote = if url.contains("${") { '`' } else { '"' };
    let mut code = format!("const response = await fetch({quote}{url}{quote}");
    let headers = headers(request, |name| match name {
        "x-api-key" => "process.env.KEY".to_owned(),
        other => format!("\"{other}\""),
    });
    if request.is_get() && headers.is_empty() {
        code.push_str(");\n");
    } else {
        code.push_str(", {\n");
        if !request.is_get() {
            let _ = writeln!(code, "  method: \"{}\",", request.method);
        }
        if !headers.is_empty() {
            let list: Vec<_> = headers.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
            let _ = writeln!(code, "  headers: {{ {} }},", list.join(", "));
        }
        if !request.body.is_empty() {
            let _ = writeln!(code, "  body: JSON.stringify({}),", request.body);
        }
        code.push_str("});\n");
    }
    code.push_str("console.log(await response.json());\n");
    code
}

fn python(request: &Request<'_>, base: &str) -> String {
    let format = if request.path.contains('{') { "f" } else { "" };
    let path = if format.is_empty() { request.path.to_owned() } else { python_variables(request.path) };
    let mut code = if request.has_key() { "import os\nimport requests\n\n" } else { "import requests\n\n" }.to_owned();
    let method = request.method.to_ascii_lowercase();
    let _ = writeln!(code, "response = requests.{method}(\n    {format}\"{base}{path}\",");
    let headers: Vec<_> = headers(request, |name| match name {
        "x-api-key" => "os.environ[\"KEY\"]".to_owned(),
        other => format!("\"{other}\""),
    })
    .into_iter()
    // `json=` says it.
    .filter(|(name, _)| *name != "content-type")
    .map(|(name, value)| format!("\"{name}\": {value}"))
    .collect();
    if !headers.is_empty() {
        let _ = writeln!(code, "    headers={{{}}},", headers.join(", "));
    }
    if !request.body.is_empty() {
        let _ = writeln!(code, "    json={},", python_literals(request.body));
    }
    code.push_str(")\nprint(response.json())\n");
    code
}

/// Python's names for what JSON calls otherwise; our samples hold no text with these words.
fn python_literals(json: &str) -> String {
    json.replace("null", "None").replace("true", "True").replace("false", "False")
}

/// All headers; `value` says how the language writes the value of a header that is known by name.
fn headers<'a>(request: &Request<'a>, value: impl Fn(&str) -> String) -> Vec<(&'a str, String)> {
    let mut headers = Vec::new();
    if request.has_key() {
        headers.push(("x-api-key", value("x-api-key")));
    }
    headers.extend(request.headers.iter().map(|(name, text)| (*name, value(text))));
    if !request.body.is_empty() {
        headers.push(("content-type", value("application/json")));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_said_in_each_language() {
        let text = "POST /api/v1/creators/{creatorId}/sync?x=1\nPrefer: wait=3\n\n{\"a\": null}";
        let [curl, javascript, python] = of(text, "http://x").map(|sample| sample.code);
        assert_eq!(
            curl,
            "curl -X POST \"http://x/api/v1/creators/$CREATOR_ID/sync?x=1\" \\\n  -H \"x-api-key: $KEY\" \\\n  \
             -H \"Prefer: wait=3\" \\\n  -H \"content-type: application/json\" \\\n  -d '{\"a\": null}'\n"
        );
        assert_eq!(
            javascript,
            "const response = await fetch(`http://x/api/v1/creators/${creatorId}/sync?x=1`, {\n  method: \"POST\",\n  \
             headers: { \"x-api-key\": process.env.KEY, \"Prefer\": \"wait=3\", \"content-type\": \"application/json\" },\n  \
             body: JSON.stringify({\"a\": null}),\n});\nconsole.log(await response.json());\n"
        );
        assert_eq!(
            python,
            "import os\nimport requests\n\nresponse = requests.post(\n    \
             f\"http://x/api/v1/creators/{creator_id}/sync?x=1\",\n    \
             headers={\"x-api-key\": os.environ[\"KEY\"], \"Prefer\": \"wait=3\"},\n    json={\"a\": None},\n)\n\
             print(response.json())\n"
        );
    }

    #[test]
    fn a_request_without_a_key_is_short() {
        let [curl, javascript, _] = of("GET /healthz", "http://x").map(|sample| sample.code);
        assert_eq!(curl, "curl http://x/healthz\n");
        assert_eq!(
            javascript,
            "const response = await fetch(\"http://x/healthz\");\nconsole.log(await response.json());\n"
        );
    }
}
