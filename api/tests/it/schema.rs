//! A small checker of JSON against the schemas of an OpenAPI 3.1 document: the part of JSON Schema that ours uses, and a
//! failure for anything else, so that nothing passes unread.

use serde_json::{Map, Value};

/// What is wrong with `value`, by the schema; where, and what.
pub fn errors(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(document, schema, value, "$", &mut found);
    found
}

fn check(document: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let Some(schema) = schema.as_object() else { return found.push(format!("{at}: no schema: {schema}")) };
    for (word, wanted) in schema {
        match word.as_str() {
            "$ref" => {
                let path = wanted.as_str().and_then(|text| text.strip_prefix('#')).expect("a local reference");
                let target = document.pointer(path).unwrap_or_else(|| panic!("{path} leads nowhere"));
                check(document, target, value, at, found);
            }
            "type" if !is_of(wanted, value) => found.push(format!("{at}: {value} is no {wanted}")),
            "enum" if !wanted.as_array().expect("a list").contains(value) => {
                found.push(format!("{at}: {value} is none of {wanted}"));
            }
            "required" => required(wanted, value, at, found),
            "properties" => properties(document, wanted.as_object().expect("properties"), value, at, found),
            "items" => {
                for (position, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(document, wanted, item, &format!("{at}[{position}]"), found);
                }
            }
            "oneOf" | "anyOf" => {
                let parts = wanted.as_array().expect("a list");
                let fits = parts.iter().filter(|part| errors(document, part, value).is_empty()).count();
                if fits == 0 || (word == "oneOf" && fits > 1) {
                    found.push(format!("{at}: {value} fits {fits} of {word}"));
                }
            }
            "format" if wanted == "date-time" && !is_instant(value) => {
                found.push(format!("{at}: {value} is no instant"));
            }
            "type" | "enum" | "format" | "description" | "example" | "examples" | "title" => {}
            other => panic!("{at}: the checker does not know {other}"),
        }
    }
}

fn is_of(wanted: &Value, value: &Value) -> bool {
    match wanted {
        Value::Array(types) => types.iter().any(|one| is_of(one, value)),
        Value::String(name) => match name.as_str() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "null" => value.is_null(),
            other => panic!("unknown type {other}"),
        },
        other => panic!("no type: {other}"),
    }
}

fn required(names: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    for name in names.as_array().expect("names") {
        if value.get(name.as_str().expect("a name")).is_none() {
            found.push(format!("{at}: {name} is missing"));
        }
    }
}

/// Every field must be described: a field that the document does not know is an error here, though a client ignores it.
fn properties(document: &Value, known: &Map<String, Value>, value: &Value, at: &str, found: &mut Vec<String>) {
    for (name, field) in value.as_object().into_iter().flatten() {
        match known.get(name) {
            Some(schema) => check(document, schema, field, &format!("{at}.{name}"), found),
            None => found.push(format!("{at}: {name} is not described")),
        }
    }
}

fn is_instant(value: &Value) -> bool {
    value.is_null()
        || value.as_str().is_some_and(|text| {
            text.len() == 24 && text.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(text).is_ok()
        })
}

#[test]
fn the_checker_can_fail() {
    let document = serde_json::json!({"components": {"schemas": {"A": {
        "type": "object", "required": ["x"], "properties": {"x": {"type": ["integer", "null"]}}
    }}}});
    let schema = serde_json::json!({"$ref": "#/components/schemas/A"});
    let wrong = |value: Value| !errors(&document, &schema, &value).is_empty();
    assert!(!wrong(serde_json::json!({"x": 1})) && !wrong(serde_json::json!({"x": null})));
    assert!(wrong(serde_json::json!({"x": "1"})) && wrong(serde_json::json!({"x": 1.5})));
    assert!(wrong(serde_json::json!({})) && wrong(serde_json::json!([])) && wrong(serde_json::json!({"x": 1, "y": 2})));
}
