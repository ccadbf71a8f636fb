//! API keys over REST.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{delete, get};
use serde_json::{Value, json};

use super::answer::{created, ok};
use super::body::of_a_request;
use super::caller::{Caller, Named};
use super::openapi::{Op, Param};
use super::{Door, Problem, StrictBody};
use crate::broker::Trouble;
use crate::broker::access::keys::KeyInfo;
use crate::domain::principal::{Right, Role};
use crate::entry::fields::{Fields, MAX_NAME_BYTES};

pub(super) fn routes() -> Router<Door> {
    Router::new()
        .route("/v1/keys", get(list).post(create))
        .route("/v1/keys/{id}", delete(revoke))
}

async fn list(State(door): State<Door>, Caller { who, .. }: Caller) -> Result<Response, Problem> {
    let keys = door.broker.access.keys(&who).await?;
    let keys: Vec<Value> = keys.iter().map(shape).collect();
    Ok(ok(&json!({"keys": keys})))
}

async fn create(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    StrictBody(fields): StrictBody,
) -> Result<Response, Problem> {
    let new = new_key(fields).map_err(of_a_request)?;
    let (slack_user, person) = (new.slack_user.as_deref(), new.person.as_deref());
    let made = door
        .broker
        .access
        .create_key_for(&who, new.role, &new.name, slack_user, person);
    let (info, text) = made.await?;
    let mut body = shape(&info);
    body["key"] = json!(text);
    Ok(created(&body))
}

struct NewKey {
    role: Role,
    name: String,
    slack_user: Option<String>,
    person: Option<String>,
}

fn new_key(mut fields: Fields) -> Result<NewKey, Trouble> {
    let role = fields.needed_text("role", MAX_NAME_BYTES)?;
    let role = Role::parse(&role).ok_or_else(|| {
        let names: Vec<_> = Role::ALL.iter().map(|role| role.name()).collect();
        Trouble::InvalidRequest(format!("`role` must be one of {}", names.join(", ")))
    })?;
    let name = fields.needed_text("name", MAX_NAME_BYTES)?;
    let slack_user = fields.text("slack_user", MAX_NAME_BYTES)?;
    let person = fields.text("person", MAX_NAME_BYTES)?;
    fields.end()?;
    Ok(NewKey {
        role,
        name,
        slack_user,
        person,
    })
}

async fn revoke(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    Named(id): Named,
) -> Result<Response, Problem> {
    let info = door.broker.access.revoke_key(&who, &id).await?;
    Ok(ok(&shape(&info)))
}

fn shape(info: &KeyInfo) -> Value {
    json!({
        "id": info.id,
        "role": info.role.name(),
        "name": info.name,
        "agent_id": info.agent_id,
        "slack_user": info.slack_user,
        "person": info.person,
        "created_at": info.created_at.to_string(),
        "revoked_at": info.revoked_at.map(|at| at.to_string()),
    })
}

pub(super) const OPS: &[Op] = &[
    Op {
        id: "list_keys",
        method: "get",
        path: "/v1/keys",
        summary: "Every key of the organisation, without secrets.",
        right: Some(Right::ReadAll),
        answers: &[(200, "the keys", "KeyList")],
        ..Op::NONE
    },
    Op {
        id: "create_key",
        method: "post",
        path: "/v1/keys",
        summary: "Make a key; its text is shown this once. Operators make agents' keys, admins any.",
        right: Some(Right::Operate),
        body: Some("NewKey"),
        answers: &[(201, "the key", "MadeKey")],
        problems: &[400, 409, 413, 415],
        ..Op::NONE
    },
    Op {
        id: "revoke_key",
        method: "delete",
        path: "/v1/keys/{id}",
        summary: "End a key at once. Operators end agents' keys, admins any.",
        right: Some(Right::Operate),
        params: &[Param::path("id", "The key's id.")],
        answers: &[(200, "the key as it then stands", "Key")],
        problems: &[404, 409],
        ..Op::NONE
    },
];
