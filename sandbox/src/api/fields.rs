//! The `fields` of a query.

use actix_web::HttpRequest;

use crate::answer::ApiError;

/// The requested fields, each once. Refuses a missing list, unknown fields and any other parameter.
pub(crate) fn requested(request: &HttpRequest, known: impl Fn(&str) -> bool) -> Result<Vec<String>, ApiError> {
    let query: Vec<(String, String)> =
        serde_urlencoded::from_str(request.query_string()).map_err(|_| ApiError::params("The query is malformed."))?;
    let [(name, list)] = query.as_slice() else {
        return Err(ApiError::params("The query must hold fields, once, and nothing else."));
    };
    if name != "fields" || list.is_empty() {
        return Err(ApiError::params("The query must hold fields, and not empty."));
    }
    let mut fields: Vec<String> = Vec::new();
    for field in list.split(',') {
        if !known(field) {
            return Err(ApiError::params(&format!("Unknown field {field:?}.")));
        }
        if !fields.iter().any(|already| already == field) {
            fields.push(field.to_owned());
        }
    }
    Ok(fields)
}
