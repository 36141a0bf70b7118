//! The dashboard: pages for people, made here on the server, under `/console`. They work without JavaScript.
//!
//! A request passes [`guard`] first, which knows the session and refuses every form that was not sent by a page of ours;
//! a page asks for [`SignedIn`](who::SignedIn), [`Member`](who::Member) or [`Operator`](who::Operator), and has no other way to
//! a project's id.

mod account;
mod ahead;
mod audit;
mod bar;
mod batches;
mod chart;
mod confirm;
mod cookie;
mod creators;
mod csrf;
mod dead;
mod docs_key;
mod error;
mod form;
mod form_limit;
mod guard;
mod job_words;
mod jobs;
mod join;
mod keys;
mod live;
mod members;
mod moment;
mod numbers;
mod operations;
mod page;
mod password;
mod place;
mod projects;
mod seats;
mod sign_in;
mod sign_in_limits;
mod welcome;
mod who;

use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::web::{self, get, post, resource};
use actix_web::{Error, HttpResponse, Scope};

use self::error::ConsoleError;
pub use self::form_limit::FormQuota;
use self::guard::guard;
use self::page::see_other;
use self::seats::Seats;

/// Where the dashboard is.
pub const PATH: &str = "/console";

/// What the dashboard keeps in memory.
pub struct Console {
    passwords: password::Passwords,
    sign_ins: sign_in_limits::SignInLimits,
    forms: form_limit::FormLimit,
    watching: Arc<Seats>,
    exporting: Arc<Seats>,
    ahead: ahead::Counted,
}

impl Console {
    /// Nobody was here yet. A session may send so many forms.
    pub fn new(forms: FormQuota) -> Self {
        Self {
            passwords: password::Passwords::default(),
            sign_ins: sign_in_limits::SignInLimits::default(),
            forms: form_limit::FormLimit::new(forms),
            watching: Seats::live(),
            exporting: Seats::exports(),
            ahead: ahead::Counted::default(),
        }
    }

    /// Forgets whoever has been quiet for long enough; to be called now and then.
    pub fn forget_quiet(&self) {
        self.sign_ins.forget_quiet();
        self.forms.forget_quiet();
    }
}

/// Where a link with which somebody sets a password leads, below the public URL.
pub fn password_path(token: &shared::secret_token::SecretToken) -> String {
    format!("{PATH}/password/{}", token.expose())
}

/// Where an invitation leads, below the public URL.
pub fn invitation_path(token: &shared::secret_token::SecretToken) -> String {
    format!("{PATH}/join/{}", token.expose())
}

/// Every page. They are no part of the API, and so not of its document.
pub fn scope() -> Scope<
    impl ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()>,
> {
    let operations = web::scope("/operations")
        .service(resource("").route(get().to(operations::show)))
        .service(resource("/fragment").route(get().to(operations::fragment)))
        .service(resource("/lanes/{lane}").route(get().to(operations::lane)).route(post().to(operations::set_lane)))
        .service(resource("/log").route(get().to(audit::list_of_all)))
        .service(resource("/jobs").route(get().to(dead::list)))
        .service(resource("/jobs/retry-dead").route(post().to(dead::retry_dead)))
        .service(resource("/jobs/{job}").route(get().to(dead::show)))
        .service(resource("/jobs/{job}/retry").route(post().to(dead::retry)))
        .service(resource("/jobs/{job}/discard").route(get().to(dead::ask_discard)).route(post().to(dead::discard)));
    let project = web::scope("/projects/{project}")
        .service(resource("").route(get().to(projects::open)))
        .service(resource("/creators").route(get().to(creators::list)))
        .service(resource("/creators/connect").route(post().to(creators::connect)))
        .service(resource("/creators/connected").route(get().to(creators::connected)))
        .service(resource("/creators/{creator}").route(get().to(creators::show)))
        .service(resource("/creators/{creator}/export").route(get().to(creators::export)))
        .service(resource("/creators/{creator}/progress").route(get().to(live::progress)))
        .service(resource("/creators/{creator}/sync").route(post().to(creators::sync)))
        .service(
            resource("/creators/{creator}/disconnect")
                .route(get().to(creators::ask_disconnect))
                .route(post().to(creators::disconnect)),
        )
        .service(resource("/jobs").route(get().to(jobs::list)))
        .service(resource("/jobs/retry-dead").route(post().to(jobs::retry_dead)))
        .service(resource("/jobs/{job}").route(get().to(jobs::show)))
        .service(resource("/jobs/{job}/retry").route(post().to(jobs::retry)))
        .service(resource("/jobs/{job}/discard").route(get().to(jobs::ask_discard)).route(post().to(jobs::discard)))
        .service(resource("/batches").route(get().to(batches::list)).route(post().to(batches::create)))
        .service(resource("/batches/new").route(get().to(batches::ask)))
        .service(resource("/batches/{batch}").route(get().to(batches::show)))
        .service(resource("/keys").route(get().to(keys::list)).route(post().to(keys::create)))
        .service(resource("/keys/{key}").route(get().to(keys::show)))
        .service(resource("/keys/{key}/reroll").route(post().to(keys::reroll)))
        .service(resource("/keys/{key}/revoke").route(get().to(keys::ask_revoke)).route(post().to(keys::revoke)))
        .service(resource("/docs-key").route(post().to(docs_key::create)))
        .service(resource("/members").route(get().to(members::list)))
        .service(resource("/members/invite").route(post().to(members::invite)))
        .service(resource("/members/{user}/role").route(post().to(members::set_role)))
        .service(
            resource("/members/{user}/remove").route(get().to(members::ask_remove)).route(post().to(members::remove)),
        )
        .service(resource("/invitations/{invitation}/withdraw").route(post().to(members::withdraw)))
        .service(resource("/settings").route(get().to(projects::settings)).route(post().to(projects::rename)))
        .service(resource("/audit").route(get().to(audit::list)));
    web::scope(PATH)
        .service(resource("").route(get().to(projects::home)))
        .service(resource("/sign-in").route(get().to(sign_in::show)).route(post().to(sign_in::sign_in)))
        .service(resource("/sign-out").route(post().to(sign_in::sign_out)))
        .service(resource("/password/{token}").route(get().to(welcome::show)).route(post().to(welcome::set)))
        .service(resource("/join/{token}").route(get().to(join::show)).route(post().to(join::join)))
        .service(resource("/account").route(get().to(account::show)))
        .service(resource("/account/log").route(get().to(audit::list_of_account)))
        .service(resource("/account/password").route(post().to(account::change_password)))
        .service(resource("/account/sessions/{session}/end").route(post().to(account::end_session)))
        .service(resource("/account/sessions/end-others").route(post().to(account::end_others)))
        .service(resource("/docs-key").route(get().to(docs_key::show)))
        .service(resource("/projects").route(get().to(projects::list)).route(post().to(projects::create)))
        .service(project)
        .service(operations)
        .default_service(web::to(not_found))
        .wrap(from_fn(guard))
}

/// `GET /`: who opens the bare address looks for the dashboard.
pub async fn front_door() -> HttpResponse {
    see_other(PATH)
}

async fn not_found() -> Result<HttpResponse, ConsoleError> {
    Err(ConsoleError::NotFound)
}
