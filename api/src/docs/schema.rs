//! JSON schemas of the API's document, as a reader wants them: a list of fields, and a sample.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::markdown::inline;

/// How deep a schema is followed: ours end long before, and one that leads in a circle ends here.
const DEEPEST: usize = 8;

/// A field of a body or an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, with the names above it: `data.items[].id`.
    pub path: String,
    /// How many names are above it.
    pub depth: usize,
    /// The last of its names.
    pub name: String,
    /// What it holds: `string`, `integer or null`.
    pub kind: String,
    /// Whether a body must have it. Of an answer it says nothing.
    pub required: bool,
    /// Its description, in markdown.
    pub about: String,
}

impl Field {
    /// What it holds, as HTML.
    pub fn kind_html(&self) -> String {
        inline(&self.kind)
    }

    /// The description as HTML.
    pub fn about_html(&self) -> String {
        inline(&self.about)
    }
}

/// How much of a schema a sample shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The fields that are always there: an answer when all is well.
    Usual,
    /// All fields: a body, or an answer to what goes on.
    All,
}

/// Reads the schemas of one document.
#[derive(Clone, Copy)]
pub struct Schemas<'a>(pub &'a Value);

impl<'a> Schemas<'a> {
    /// The fields that `schema` has, those inside them included.
    pub fn fields(self, schema: &'a Value) -> Vec<Field> {
        let mut fields = Vec::new();
        self.collect(schema, "", 0, &mut fields);
        fields
    }

    fn collect(self, schema: &'a Value, above: &str, depth: usize, fields: &mut Vec<Field>) {
        let schema = self.resolve(schema);
        if depth > DEEPEST {
            return;
        }
        if let Some(items) = schema.get("items") {
            return self.collect(items, &format!("{above}[]"), depth, fields);
        }
        for (name, field, required) in properties(schema) {
            let path = if above.is_empty() { name.to_owned() } else { format!("{above}.{name}") };
            let about = [field, self.resolve(field)].into_iter().find_map(|one| one.get("description")?.as_str());
            fields.push(Field {
                name: name.to_owned(),
                depth,
                kind: self.kind(field),
                required,
                about: about.unwrap_or_default().to_owned(),
                path: path.clone(),
            });
            self.collect(field, &path, depth + 1, fields);
        }
    }

    /// The schema that `schema` is: behind a reference, and without the `null` that it may be instead.
    fn resolve(self, schema: &'a Value) -> &'a Value {
        let mut schema = schema;
        for _ in 0..DEEPEST {
            if let Some(pointer) = schema.get("$ref").and_then(Value::as_str) {
                schema = self.0.pointer(pointer.trim_start_matches('#')).unwrap_or(&Value::Null);
            } else if let Some(choice) = choices(schema).iter().find(|one| !is_null(one)) {
                schema = choice;
            } else {
                break;
            }
        }
        schema
    }

    /// What a value may be, in words.
    pub fn kind(self, schema: &'a Value) -> String {
        let resolved = self.resolve(schema);
        let mut kinds: Vec<String> = match resolved.get("type") {
            Some(Value::String(name)) => vec![name.clone()],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => vec!["any".to_owned()],
        };
        if choices(schema).iter().any(is_null) && !kinds.iter().any(|kind| kind == "null") {
            kinds.push("null".to_owned());
        }
        for kind in &mut kinds {
            match (kind.as_str(), resolved.get("format").and_then(Value::as_str)) {
                ("string", Some("date-time")) => "timestamp".clone_into(kind),
                ("array", _) => {
                    let items = resolved.get("items").map_or_else(|| "any".to_owned(), |items| self.kind(items));
                    *kind = format!("array of {items}s");
                }
                _ => {}
            }
        }
        kinds.sort_by_key(|kind| kind == "null");
        let values = resolved.get("enum").and_then(Value::as_array).map(|values| {
            let values: Vec<_> = values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`")).collect();
            format!(": {}", values.join(", "))
        });
        kinds.join(" or ") + &values.unwrap_or_default()
    }

    /// A value as `schema` describes it, in JSON.
    pub fn sample(self, schema: &'a Value, extent: Extent) -> String {
        let mut text = String::new();
        self.write(&mut text, ("", schema), extent, 0);
        text
    }

    fn write(self, text: &mut String, (name, schema): (&str, &'a Value), extent: Extent, depth: usize) {
        let resolved = self.resolve(schema);
        let (outer, inner) = ("  ".repeat(depth), "  ".repeat(depth + 1));
        let known = self.known_value(name, schema, extent);
        let shown = |required: bool| required || extent == Extent::All;
        let mut fields = properties(resolved).filter(|(.., required)| shown(*required)).peekable();
        if let Some(value) = known {
            text.push_str(&value.to_string());
        } else if depth > DEEPEST {
            text.push_str("null");
        } else if fields.peek().is_some() {
            text.push_str("{\n");
            let mut separator = "";
            for (name, field, _) in fields {
                let _ = write!(text, "{separator}{inner}{}: ", json!(name));
                self.write(text, (name, field), extent, depth + 1);
                separator = ",\n";
            }
            let _ = write!(text, "\n{outer}}}");
        } else if let Some(items) = resolved.get("items") {
            let _ = write!(text, "[\n{inner}");
            self.write(text, (name, items), extent, depth + 1);
            let _ = write!(text, "\n{outer}]");
        } else {
            text.push_str(&json!(text_named(name)).to_string());
        }
    }

    /// The value that the schema or its type names; `None` for texts, lists and objects without an example.
    fn known_value(self, name: &str, schema: &'a Value, extent: Extent) -> Option<Value> {
        let resolved = self.resolve(schema);
        let example = [schema, resolved].into_iter().find_map(|one| one.get("example"));
        let first = |word: &str| resolved.get(word)?.as_array()?.first();
        if let Some(value) = example.or_else(|| first("examples")).or_else(|| first("enum")) {
            return Some(value.clone());
        }
        match self.kind(resolved).split(' ').next() {
            // What is usual while all is well.
            _ if matches!(name, "statusReason" | "error" | "finishedAt") => Some(Value::Null),
            Some("timestamp") => Some(json!("2026-06-13T01:50:23.102Z")),
            Some("integer" | "number") => Some(json!(0)),
            // What was asked for is done, or it goes on; `success` is true of both.
            Some("boolean") => Some(json!(extent == Extent::Usual || name == "success")),
            _ => None,
        }
    }
}

/// An object's fields as it was declared: in the order of `required`, which says whether each must be there; the others
/// come last.
fn properties(schema: &Value) -> impl Iterator<Item = (&str, &Value, bool)> {
    let required = schema.get("required").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let fields = schema.get("properties").and_then(Value::as_object);
    let place = |name: &str| required.iter().position(|one| one == name);
    let mut fields: Vec<_> = fields.into_iter().flatten().map(|(name, field)| (name.as_str(), field)).collect();
    fields.sort_by_key(|(name, _)| place(name).unwrap_or(required.len()));
    fields.into_iter().map(move |(name, field)| (name, field, place(name).is_some()))
}

/// The parts of a schema that is one of several.
fn choices(schema: &Value) -> &[Value] {
    let parts = ["oneOf", "anyOf", "allOf"].into_iter().find_map(|word| schema.get(word)?.as_array());
    parts.map_or(&[], Vec::as_slice)
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").is_some_and(|kind| kind == "null")
}

/// A text that a field of this name may hold.
fn text_named(name: &str) -> &'static str {
    match name {
        "id" | "creatorId" | "jobId" | "batchId" | "ids" => "0197a8f2-6d51-7c3e-9b04-5e1f6a2c8d37",
        "externalId" => "-000aBcD1eFgHiJkLmNoPqRsTuVwXyZ",
        "authUrl" => "https://www.tiktok.com/v2/auth/authorize/?client_key=…&state=…",
        "avatarUrl" | "coverUrl" => "https://p16-sign.tiktokcdn.com/…",
        "profileUrl" | "url" => "https://www.tiktok.com/@spikewmu",
        "displayName" => "Spike",
        "bio" | "description" => "Skate clips from Lisbon",
        "nextCursor" => "AZeo8m1RfD6bBF4faiyNNw",
        "requestId" => "0197a8f3-0c1e-7d22-8f35-2b7f9d4c6a10",
        "message" => "limit: must be a whole number from 1 to 100",
        "platform" => "TIKTOK",
        _ => "…",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_read_as_fields_and_a_sample() {
        let document = json!({"components": {"schemas": {
            "A": {"type": "object", "required": ["b"], "properties": {
                "b": {"type": "array", "items": {"$ref": "#/components/schemas/B"}, "description": "All of `them`."},
                "c": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/B"}]},
                "at": {"type": ["string", "null"], "format": "date-time"}
            }},
            "B": {"type": "object", "properties": {"n": {"type": "integer", "example": 5}, "again": {"$ref": "#/components/schemas/A"}}}
        }}});
        let schemas = Schemas(&document);
        let schema = json!({"$ref": "#/components/schemas/A"});
        let fields = schemas.fields(&schema);
        let field = |path: &str| fields.iter().find(|field| field.path == path).expect(path);
        let (at, b, n, again) = (field("at"), field("b"), field("b[].n"), field("b[].again"));
        assert_eq!(fields.first(), Some(b), "what is always there comes first");
        assert_eq!((at.kind.as_str(), at.required), ("timestamp or null", false));
        assert_eq!(
            (b.kind.as_str(), b.required, b.about_html().as_str()),
            ("array of objects", true, "All of <code>them</code>.")
        );
        assert_eq!((n.name.as_str(), n.depth), ("n", 1));
        assert_eq!(again.kind, "object");
        let sample: Value = serde_json::from_str(&schemas.sample(&schema, Extent::All)).expect("JSON");
        assert_eq!(sample.pointer("/b/0/n"), Some(&json!(5)));
        let circle = json!({"$ref": "#/components/schemas/C"});
        let document = json!({"components": {"schemas": {"C": {"$ref": "#/components/schemas/C"}}}});
        assert!(Schemas(&document).fields(&circle).is_empty(), "a circle ends");
    }
}
