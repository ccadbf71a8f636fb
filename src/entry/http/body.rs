//! Bodies of this door: through the strict gate, then field by field.

use axum::extract::{FromRequest, Request};
use axum::http::request::Parts;
use serde_json::Value;

use super::{Problem, Visit};
use crate::broker::Trouble;
use crate::entry::fields::Fields;
use crate::entry::gate::{self, Growth};

/// The fields of a body, which has to be there. Whoever takes them calls [`Fields::end`], so that
/// a field nobody reads is refused instead of ignored.
pub struct StrictBody(pub Fields);

/// As [`StrictBody`], where the body may be left out: an empty one has no fields.
pub struct OptionalBody(pub Fields);

impl<S: Send + Sync> FromRequest<S> for StrictBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let (_, value) = gate::read_strict(body, room(&parts)).await?;
        gate::says_json(&parts.headers)?;
        Ok(Self(fields_of(Some(value))?))
    }
}

impl<S: Send + Sync> FromRequest<S> for OptionalBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let value = gate::read_optional(body, room(&parts)).await?;
        if value.is_some() {
            gate::says_json(&parts.headers)?;
        }
        Ok(Self(fields_of(value)?))
    }
}

/// Who says whether a long body has room.
fn room(parts: &Parts) -> &dyn Growth {
    match parts.extensions.get::<Visit>() {
        Some(visit) => visit,
        None => &(),
    }
}

fn fields_of(value: Option<Value>) -> Result<Fields, Problem> {
    match value {
        None | Some(Value::Object(_)) => Fields::of(value).map_err(of_a_request),
        Some(_) => Err(Problem::invalid("the body must be a JSON object")),
    }
}

/// What is wrong with a body's own fields is wrong with the request; `invalid_arguments` is kept
/// for the tool's arguments inside it.
pub(super) fn of_a_request(trouble: Trouble) -> Problem {
    if let Trouble::InvalidArguments(text) = trouble {
        return Trouble::InvalidRequest(text).into();
    }
    trouble.into()
}
