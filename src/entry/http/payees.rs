//! The registry of payees, over REST: who may be paid where, in the operators' words.

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
use crate::domain::principal::Right;
use crate::entry::govern;

pub(super) fn routes() -> Router<Door> {
    Router::new()
        .route("/v1/payees", get(list).post(register))
        .route("/v1/payees/{payee}", delete(remove))
}

async fn list(State(door): State<Door>, Caller { who, .. }: Caller) -> Result<Response, Problem> {
    Ok(ok(&json!({"payees": door.broker.pay.payees(&who).await?})))
}

async fn register(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    StrictBody(fields): StrictBody,
) -> Result<Response, Problem> {
    let new = govern::new_payee(fields).map_err(of_a_request)?;
    let (payee, made) = door.broker.pay.register_payee(&who, new).await?;
    let body = json!(payee);
    Ok(if made { created(&body) } else { ok(&body) })
}

async fn remove(
    State(door): State<Door>,
    Caller { who, .. }: Caller,
    Named(named): Named,
) -> Result<Response, Problem> {
    Ok(ok(&json!(
        door.broker.pay.remove_payee(&who, &named).await?
    )))
}

pub(super) const OPS: &[Op] = &[
    Op {
        id: "list_payees",
        method: "get",
        path: "/v1/payees",
        summary: "Every registered payee of the organisation.",
        right: Some(Right::ReadAll),
        answers: &[(200, "the payees", "PayeeList")],
        ..Op::NONE
    },
    Op {
        id: "register_payee",
        method: "post",
        path: "/v1/payees",
        summary: "Register a payee with its accounts; the one of the same name is replaced.",
        right: Some(Right::Operate),
        body: Some("NewPayee"),
        answers: &[
            (201, "the payee", "Payee"),
            (200, "the payee that replaced one", "Payee"),
        ],
        problems: &[400, 409, 413, 415],
        ..Op::NONE
    },
    Op {
        id: "remove_payee",
        method: "delete",
        path: "/v1/payees/{payee}",
        summary: "Take a payee out of the registry.",
        right: Some(Right::Operate),
        params: &[Param::path(
            "payee",
            "Its id, its name, or one of its accounts.",
        )],
        answers: &[(200, "the payee as it was", "Payee")],
        problems: &[404, 409],
        ..Op::NONE
    },
];

/// The schemas of these shapes.
pub(super) fn schemas() -> Value {
    let text = || json!({"type": ["string", "null"]});
    let texts = || json!({"type": "array", "items": {"type": "string"}});
    json!({
        "Payee": {"type": "object", "properties": {
            "id": {"type": "string", "pattern": "^py_[0-9a-f]{16}$"}, "name": {"type": "string"},
            "vendor_url": text(), "lei": text(), "fund_accounts": texts(), "labels": texts(),
        }, "required": ["id", "name", "vendor_url", "lei", "fund_accounts", "labels"]},
        "NewPayee": {"type": "object", "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 200},
            "vendor_url": text(), "lei": text(),
            "fund_accounts": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 100},
            "labels": {"type": ["array", "null"], "items": {"type": "string"}, "maxItems": 20},
        }, "required": ["name", "fund_accounts"], "additionalProperties": false},
        "PayeeList": {"type": "object", "properties": {
            "payees": {"type": "array", "items": {"$ref": "#/components/schemas/Payee"}},
        }, "required": ["payees"]},
    })
}
