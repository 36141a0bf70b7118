//! Who is looking at a page, and what they may do.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use futures::future::LocalBoxFuture;
use shared::ids::{ProjectId, SessionId, UserId};
use shared::people::{Email, Role};
use shared::secret_token::SecretToken;
use shared::store::audit::By;
use shared::store::members::{Actor, Membership};
use shared::store::sessions::Session;

use super::error::ConsoleError;
use super::page::{path_id, sign_in_path};
use crate::app::Api;

/// A browser, signed in or not.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// What its cookie says, or will say.
    pub token: SecretToken,
    /// Whether it sent no cookie.
    pub is_new: bool,
    /// Its session, if it is signed in.
    pub session: Option<Session>,
}

impl FromRequest for Visitor {
    type Error = ConsoleError;
    type Future = Ready<Result<Self, ConsoleError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let visitor = request.extensions().get::<Self>().cloned();
        ready(visitor.ok_or_else(|| ConsoleError::Internal("the guard was not passed".into())))
    }
}

/// A browser with which somebody has signed in.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// The user.
    pub user: UserId,
    /// Their address.
    pub email: Email,
    /// The session.
    pub session: SessionId,
    /// What its cookie says.
    pub token: SecretToken,
    /// Whether they see and steer the whole installation.
    pub is_operator: bool,
}

impl SignedIn {
    /// Who does something, for the store.
    pub fn actor(&self) -> Actor<'_> {
        Actor { user: self.user, email: &self.email }
    }

    /// The same where it may also be somebody else who does it.
    pub fn by(&self) -> By<'_> {
        By::User(&self.email)
    }

    fn of(request: &HttpRequest) -> Result<Self, ConsoleError> {
        let extensions = request.extensions();
        match extensions.get::<Visitor>() {
            Some(Visitor { token, session: Some(session), .. }) => Ok(Self {
                user: session.user,
                email: session.email.clone(),
                session: session.id,
                token: token.clone(),
                is_operator: session.is_operator,
            }),
            _ => Err(ConsoleError::SignIn(sign_in_path(request))),
        }
    }
}

impl FromRequest for SignedIn {
    type Error = ConsoleError;
    type Future = Ready<Result<Self, ConsoleError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request))
    }
}

/// Somebody who sees and steers the whole installation. To everybody else its pages do not exist.
#[derive(Debug, Clone)]
pub struct Operator(pub SignedIn);

impl FromRequest for Operator {
    type Error = ConsoleError;
    type Future = Ready<Result<Self, ConsoleError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let who = SignedIn::of(request);
        ready(who.and_then(|who| if who.is_operator { Ok(Self(who)) } else { Err(ConsoleError::NotFound) }))
    }
}

/// Somebody who is a member of the project that the path names. No page learns a project's id in another way.
#[derive(Debug, Clone)]
pub struct Member {
    /// The user.
    pub who: SignedIn,
    /// The project, and what they may do there.
    pub membership: Membership,
    /// All projects that they are a member of.
    pub memberships: Vec<Membership>,
}

impl Member {
    /// The project that the path names.
    pub fn project(&self) -> ProjectId {
        self.membership.project
    }

    /// Whether the user may do what `role` may.
    pub fn may(&self, role: Role) -> bool {
        self.membership.role >= role
    }

    /// Refuses who may not do what `role` may.
    pub fn require(&self, role: Role) -> Result<(), ConsoleError> {
        if self.may(role) { Ok(()) } else { Err(ConsoleError::Forbidden) }
    }

    /// Whether the session works still, and its user is a member still: for answers that last. Who can't be looked up may
    /// not.
    pub async fn may_still_see(&self, api: &Api) -> bool {
        let session = api.within(api.store.session_by_hash(&self.who.token.hash())).await;
        let memberships = api.within(api.store.memberships(self.who.user)).await;
        matches!(session, Ok(Some(session)) if session.user == self.who.user)
            && memberships.is_ok_and(|all| all.iter().any(|one| one.project == self.project()))
    }
}

impl FromRequest for Member {
    type Error = ConsoleError;
    type Future = LocalBoxFuture<'static, Result<Self, ConsoleError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let who = SignedIn::of(&request)?;
            let project: ProjectId = path_id(&request, "project")?;
            let api = request.app_data::<Data<Api>>();
            let api = api.ok_or_else(|| ConsoleError::Internal("the app has no state".into()))?;
            let memberships = api.within(api.store.memberships(who.user)).await?;
            let found = memberships.iter().find(|membership| membership.project == project).cloned();
            let membership = found.ok_or(ConsoleError::NotFound)?;
            Ok(Self { who, membership, memberships })
        })
    }
}
