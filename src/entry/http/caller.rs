//! Who calls, and what the path names.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Path};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use uuid::Uuid;

use super::{Door, Problem, Visit};
use crate::broker::Trouble;
use crate::domain::ids::ProposalId;
use crate::domain::principal::Principal;

/// The authenticated principal and the key it came with.
pub struct Caller {
    /// Who.
    pub who: Principal,
    /// The key's text, for whoever has to look again later. Never logged.
    pub(super) bearer: String,
}

impl FromRequestParts<Door> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, door: &Door) -> Result<Self, Problem> {
        let bearer = bearer(parts).ok_or(Trouble::Unauthenticated)?;
        let who = door.broker.access.enter(bearer).await?;
        if let Some(visit) = parts.extensions.get::<Visit>() {
            visit.charge(door.broker.places(), &who)?;
        }
        Ok(Self {
            who,
            bearer: bearer.to_owned(),
        })
    }
}

/// The text after `Bearer`, if there is exactly one such header: of two, nobody knows which one
/// a proxy in front has looked at.
pub(super) fn bearer(parts: &Parts) -> Option<&str> {
    let mut values = parts.headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, text) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| text.trim_matches(' '))
}

/// The one name in the path. What cannot be a name reads as unknown, like any other.
pub struct Named(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::NoSuchPath)?;
        Ok(Self(name))
    }
}

/// The proposal that the path names. What is no id becomes the one that names nothing, so that the
/// broker answers it exactly as one that never existed.
pub struct Id(pub ProposalId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let name = Named::from_request_parts(parts, state).await.ok();
        let id = name.and_then(|Named(name)| name.parse().ok());
        Ok(Self(id.unwrap_or(ProposalId::from_uuid(Uuid::nil()))))
    }
}
