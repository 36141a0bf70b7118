//! What a page sends, read once by the guard.

use std::future::{Ready, ready};
use std::rc::Rc;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use url::form_urlencoded;

use super::error::ConsoleError;

/// A form's fields. Only the guard makes one, after it has checked where the form comes from.
#[derive(Clone)]
pub struct Form(Rc<[(String, String)]>);

impl std::fmt::Debug for Form {
    /// Names alone: among the values are passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Form {
    /// Reads `application/x-www-form-urlencoded`. U+0000 can't be stored, and no page of ours sends it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ConsoleError> {
        let fields: Rc<[_]> = form_urlencoded::parse(bytes).into_owned().collect();
        let is_sane = fields.iter().all(|(_, value)| !value.contains('\0'));
        if is_sane { Ok(Self(fields)) } else { Err(ConsoleError::Malformed("a field has a character U+0000".into())) }
    }

    /// A field's value, empty if there is none.
    pub fn text(&self, name: &'static str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// The values of a field that may be there several times.
    pub fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

impl FromRequest for Form {
    type Error = ConsoleError;
    type Future = Ready<Result<Self, ConsoleError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let form = request.extensions().get::<Self>().cloned();
        ready(form.ok_or_else(|| ConsoleError::Internal("no form was read".into())))
    }
}
