//! Asks whether something that can't be undone is meant, before it is done: on a page of its own, so without JavaScript too.

use actix_web::HttpResponse;
use askama::Template;

use super::error::ConsoleError;
use super::form::Form;
use super::page::{Layout, answer};

/// The question. Its form is sent to the page's own address.
#[derive(Template)]
#[template(path = "console/confirm.html")]
pub struct ConfirmPage {
    /// What stands around it.
    pub layout: Layout,
    /// What is asked, by the name of the thing.
    pub question: String,
    /// What would happen, and what would be lost: a sentence each.
    pub meaning: Vec<String>,
    /// What was chosen before: sent once more with the answer.
    pub fields: Vec<(&'static str, String)>,
    /// What does it.
    pub button: String,
    /// Where one goes who does not mean it, and the words for that.
    pub back: (String, &'static str),
}

impl ConfirmPage {
    /// The page.
    pub fn ask(&self) -> Result<HttpResponse, ConsoleError> {
        answer(self.layout.problem.is_some(), self)
    }

    /// The page once more, for a form that came without an answer: 422.
    pub fn ask_again(self) -> Result<HttpResponse, ConsoleError> {
        let layout = self.layout.with_problem("Nothing was done: it has to be confirmed here first.");
        Self { layout, ..self }.ask()
    }
}

/// Whether a form says that it is meant.
pub fn is_confirmed(form: &Form) -> bool {
    form.text("confirmed") == "yes"
}
