//! What every route of a kind has in common, written into the document once: the scope of a key that it needs, tags of reads,
//! keys of idempotency, what is said of the limit and of waiting.

use actix_web::http::Method;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::ObjectBuilder;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{OpenApi, RefOr, Response, Type};

use crate::auth;
use crate::idempotency;
use crate::openapi::SCHEME;

/// Completes every operation that needs a key.
pub fn apply(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        let operations = [
            (Method::GET, &mut item.get),
            (Method::POST, &mut item.post),
            (Method::PATCH, &mut item.patch),
            (Method::DELETE, &mut item.delete),
        ];
        for (method, operation) in operations {
            let Some(operation) = operation.as_mut().filter(|operation| operation.security.is_some()) else { continue };
            // As a role, which OpenAPI 3.1 knows for keys too.
            let (scope, others) = auth::scopes_of(&method, path);
            let scopes = std::iter::once(&scope).chain(others);
            operation.security =
                Some(scopes.map(|scope| SecurityRequirement::new(SCHEME, [scope.to_string()])).collect());
            limit(operation);
            waits(operation);
            if operation.responses.responses.contains_key("304") {
                conditional(operation);
            }
            if method == Method::POST {
                idempotent(operation);
            }
        }
    }
}

/// Every answer to a good key says what is left of its limit; here, those that a client looks at for it.
fn limit(operation: &mut Operation) {
    let statuses = &["200", "202", "304", "429"];
    let left =
        "What is left, `r`, and in how many seconds all of it is back, `t` (draft-ietf-httpapi-ratelimit-headers)";
    say(operation, statuses, "RateLimit", &Type::String, left);
    say(
        operation,
        statuses,
        "RateLimit-Policy",
        &Type::String,
        "The limit: requests `q`, and the seconds `w` that they are for",
    );
    say(operation, statuses, "RateLimit-Limit", &Type::Integer, "The requests of a minute");
    say(operation, statuses, "RateLimit-Remaining", &Type::Integer, "Those that are left");
    say(operation, statuses, "RateLimit-Reset", &Type::Integer, "Seconds until all of them are back");
}

/// What tells a client who it is to be, how long to wait, and how long was waited.
fn waits(operation: &mut Operation) {
    say(operation, &["401"], "WWW-Authenticate", &Type::String, "The header that the key belongs in");
    say(operation, &["429", "503"], "Retry-After", &Type::Integer, "Seconds after which to ask again");
    let in_progress = "Seconds after which to ask again, where the first request with this key is not done";
    if operation.responses.responses.contains_key("422") {
        say(operation, &["409"], "Retry-After", &Type::Integer, in_progress);
    }
    let takes_prefer = |parameter: &RefOr<Parameter>| matches!(parameter, RefOr::T(known) if known.name == "Prefer");
    if operation.parameters.iter().flatten().any(takes_prefer) {
        say(
            operation,
            &["200", "202"],
            "Preference-Applied",
            &Type::String,
            "The preferences that were honoured (RFC 7240)",
        );
    }
}

fn conditional(operation: &mut Operation) {
    let known = "The `ETag` of the answer that you have: 304 if it is the newest";
    operation.parameters.get_or_insert_default().push(header(
        "If-None-Match",
        known,
        ObjectBuilder::new().schema_type(Type::String),
    ));
    say(operation, &["200", "304"], "ETag", &Type::String, "Tells this answer from a newer one");
}

fn idempotent(operation: &mut Operation) {
    let key = "A name of your own for this request, such as a UUID. Whoever sends it again within 24 hours, with the same \
        body, gets the first answer again";
    let text = ObjectBuilder::new().schema_type(Type::String).max_length(Some(idempotency::MAX_KEY));
    let parameter = header("Idempotency-Key", key, text.pattern(Some(idempotency::PATTERN)));
    operation.parameters.get_or_insert_default().push(parameter);
    say(operation, &["200", "202"], "Idempotent-Replayed", &Type::String, "`true` on an answer that was given before");
}

fn header(name: &str, description: &str, schema: ObjectBuilder) -> RefOr<Parameter> {
    let parameter = ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .description(Some(description))
        .schema(Some(schema))
        .build();
    RefOr::T(parameter)
}

/// Describes a header of the answers with these statuses, as far as there are such answers.
fn say(operation: &mut Operation, statuses: &[&str], name: &str, of: &Type, description: &str) {
    for status in statuses {
        let Some(RefOr::T(Response { headers, .. })) = operation.responses.responses.get_mut(*status) else { continue };
        let schema = ObjectBuilder::new().schema_type(of.clone());
        let header = HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build();
        headers.entry(name.to_owned()).or_insert(RefOr::T(header));
    }
}
