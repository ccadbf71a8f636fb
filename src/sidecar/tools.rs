//! The sidecar's tools: what each takes, checked before anything is sent.
//!
//! The bank's own limits come from the catalogue's schemas, so that broker and sidecar cannot
//! disagree; the sidecar adds the names under which an effect is kept at the bank.

use std::collections::BTreeMap;
use std::sync::Arc;

use jsonschema::Validator;
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Map, Value, json};

use super::SidecarError;
use crate::connector::registry;

/// Most entries that one list answers with; the bank refuses more.
const MAX_COUNT: u32 = 100;

/// What the sidecar can be asked to do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Action {
    CreatePayout,
    FetchPayout,
    FindPayouts,
    ListPayouts,
    ApprovePayout,
    RejectPayout,
    CancelPayout,
    FetchBalance,
    CreateTransfer,
    FindTransfers,
}

impl Action {
    const ALL: [Self; 10] = [
        Self::CreatePayout,
        Self::FetchPayout,
        Self::FindPayouts,
        Self::ListPayouts,
        Self::ApprovePayout,
        Self::RejectPayout,
        Self::CancelPayout,
        Self::FetchBalance,
        Self::CreateTransfer,
        Self::FindTransfers,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::CreatePayout => "create_payout",
            Self::FetchPayout => "fetch_payout",
            Self::FindPayouts => "find_payouts",
            Self::ListPayouts => "list_payouts",
            Self::ApprovePayout => "approve_payout",
            Self::RejectPayout => "reject_payout",
            Self::CancelPayout => "cancel_payout",
            Self::FetchBalance => "fetch_balance",
            Self::CreateTransfer => "create_transfer",
            Self::FindTransfers => "find_transfers",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::CreatePayout => {
                "Creates a payout under the given idempotency key and reference. The same key with \
                 the same fields gives the same payout again."
            }
            Self::FetchPayout => "Shows one payout.",
            Self::FindPayouts => "Lists the payouts that carry a reference.",
            Self::ListPayouts => "Lists payouts, newest first.",
            Self::ApprovePayout => {
                "Approves a pending payout of this amount to this account. Looks first; one that \
                 needs no approval any more is shown as it is."
            }
            Self::RejectPayout => "Rejects a pending payout of this amount to this account.",
            Self::CancelPayout => {
                "Cancels a queued or scheduled payout of this amount to this account."
            }
            Self::FetchBalance => "Shows the balances of the business accounts.",
            Self::CreateTransfer => {
                "Sandbox only: moves an amount under the given idempotency key and reference."
            }
            Self::FindTransfers => "Sandbox only: lists the transfers that carry a reference.",
        }
    }

    fn needs_sandbox(self) -> bool {
        matches!(self, Self::CreateTransfer | Self::FindTransfers)
    }

    fn annotations(self) -> ToolAnnotations {
        let (reads, destroys, repeats) = match self {
            Self::FetchPayout
            | Self::FindPayouts
            | Self::ListPayouts
            | Self::FetchBalance
            | Self::FindTransfers => (true, false, true),
            Self::CreatePayout | Self::CreateTransfer => (false, true, true),
            Self::ApprovePayout | Self::RejectPayout | Self::CancelPayout => (false, true, false),
        };
        ToolAnnotations::new()
            .read_only(reads)
            .destructive(destroys)
            .idempotent(repeats)
            .open_world(true)
    }

    fn schema(self) -> Value {
        match self {
            Self::CreatePayout => named(registered("create_payout")),
            Self::CreateTransfer => named(registered("transfer_funds")),
            Self::ApprovePayout | Self::RejectPayout | Self::CancelPayout => {
                registered(self.name())
            }
            Self::FetchPayout => {
                let id = registered("cancel_payout")["properties"]["payout_id"].clone();
                object(&["payout_id"], json!({"payout_id": id}))
            }
            Self::FindPayouts | Self::FindTransfers => {
                object(&["reference_id"], json!({"reference_id": reference()}))
            }
            Self::ListPayouts => {
                let word = json!({"type": "string", "pattern": "^[A-Za-z0-9_]{1,40}$"});
                let second = json!({"type": "integer", "minimum": 0});
                object(
                    &[],
                    json!({
                        "status": word, "mode": word, "contact_id": word, "fund_account_id": word,
                        "reference_id": reference(),
                        "from": second, "to": second,
                        "count": {"type": "integer", "minimum": 1, "maximum": MAX_COUNT},
                        "skip": {"type": "integer", "minimum": 0},
                    }),
                )
            }
            Self::FetchBalance => object(&[], json!({})),
        }
    }
}

/// The tools on offer, each with its compiled schema.
pub(super) struct Tools {
    by_name: BTreeMap<&'static str, (Action, Validator)>,
    offered: Vec<Tool>,
}

impl Tools {
    pub(super) fn new(sandbox: bool) -> Result<Self, SidecarError> {
        let mut by_name = BTreeMap::new();
        let mut offered = Vec::new();
        for action in Action::ALL {
            if action.needs_sandbox() && !sandbox {
                continue;
            }
            let broken = || SidecarError::Schema(action.name());
            let schema = action.schema();
            let validator = jsonschema::options()
                .with_draft(jsonschema::Draft::Draft202012)
                .offline()
                .build(&schema)
                .map_err(|_| broken())?;
            let Value::Object(schema) = schema else {
                return Err(broken());
            };
            by_name.insert(action.name(), (action, validator));
            let tool = Tool::new(action.name(), action.description(), schema)
                .with_raw_output_schema(Arc::new(answer_schema()))
                .with_annotations(action.annotations());
            offered.push(tool);
        }
        Ok(Self { by_name, offered })
    }

    pub(super) fn offered(&self) -> &[Tool] {
        &self.offered
    }

    /// The action of this name, if it is on offer.
    pub(super) fn action(&self, name: &str) -> Option<Action> {
        self.by_name.get(name).map(|(action, _)| *action)
    }

    /// Why the arguments are not what the tool takes, as a sentence without their values.
    pub(super) fn refuse(&self, action: Action, args: &Value) -> Option<String> {
        let (_, validator) = self.by_name.get(action.name())?;
        let error = validator.validate(args).err()?;
        let path = error.instance_path().as_str().to_owned();
        let field = if path.is_empty() {
            "the arguments"
        } else {
            &path
        };
        Some(format!("{field}: {}", error.masked()))
    }
}

/// A catalogue tool's own schema.
fn registered(name: &str) -> Value {
    let tools = registry::tools(true).into_iter();
    let found = tools.into_iter().find(|tool| tool.name.as_str() == name);
    found.map_or(Value::Null, |tool| tool.input_schema)
}

/// The same, with the names under which the bank keeps the effect.
fn named(mut schema: Value) -> Value {
    let key = json!({
        "type": "string", "pattern": "^[A-Za-z0-9_ -]{4,36}$",
        "description": "Sent as X-Payout-Idempotency.",
    });
    if let Some(properties) = schema["properties"].as_object_mut() {
        properties.insert("idempotency_key".to_owned(), key);
        properties.insert("reference_id".to_owned(), reference());
    }
    if let Some(required) = schema["required"].as_array_mut() {
        required.push(json!("idempotency_key"));
        required.push(json!("reference_id"));
    }
    schema
}

fn reference() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 40})
}

fn object(required: &[&str], properties: Value) -> Value {
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// Either what the bank answered, or why there is no answer.
fn answer_schema() -> JsonObject {
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!("object"));
    let properties = json!({
        "status": {"type": "integer", "description": "HTTP status, 200 to 299"},
        "body": {"description": "What the bank answered, unchanged"},
        "error": {
            "type": "object",
            "properties": {
                "kind": {
                    "type": "string",
                    "enum": ["http", "unreadable", "transport", "arguments", "precondition"],
                },
                "status": {"type": "integer"},
                "body": {},
                "sent": {"type": "boolean", "description": "false: proven that nothing was sent"},
                "code": {"type": "string"},
                "detail": {"type": "string"},
            },
            "required": ["kind"],
        },
    });
    schema.insert("properties".to_owned(), properties);
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payment() -> Value {
        json!({
            "idempotency_key": "01939c6f-4a00-7000-8000-00000000002a",
            "reference_id": "01939c6f-4a00-7000-8000-00000000002a",
            "fund_account_id": "fa_00000000000001", "amount": 100, "currency": "INR",
            "mode": "IMPS", "purpose": "refund",
        })
    }

    #[test]
    fn transfers_are_offered_in_the_sandbox_only() {
        let names = |sandbox| -> Vec<String> {
            let tools = Tools::new(sandbox).unwrap();
            tools
                .offered()
                .iter()
                .map(|tool| tool.name.to_string())
                .collect()
        };
        assert_eq!(names(true).len(), Action::ALL.len());
        let real = names(false);
        assert_eq!(real.len(), Action::ALL.len() - 2);
        assert!(
            !real.iter().any(|name| name.contains("transfer")),
            "{real:?}"
        );
    }

    #[test]
    #[rustfmt::skip]
    fn what_is_not_asked_for_properly_is_refused_before_sending() {
        let with = |field: &str, value: Value| { let mut args = payment(); args[field] = value; args };
        let cases = [
            (Action::CreatePayout, payment(),                                     true),
            (Action::CreatePayout, with("idempotency_key", json!("abc")),         false),
            (Action::CreatePayout, with("idempotency_key", json!("a/bc")),        false),
            (Action::CreatePayout, with("idempotency_key", json!("x".repeat(37))), false),
            (Action::CreatePayout, with("reference_id", json!("x".repeat(41))),   false),
            (Action::CreatePayout, with("account_number", json!("1")),            false),
            (Action::CreatePayout, with("amount", json!(99)),                     false),
            (Action::FetchPayout,  json!({"payout_id": "../balance"}),            false),
            (Action::FetchPayout,  json!({"payout_id": "pout_00000000000001"}),   true),
            (Action::ListPayouts,  json!({"status": "pending", "count": 100}),    true),
            (Action::ListPayouts,  json!({"count": 101}),                         false),
            (Action::ListPayouts,  json!({"status": "a&b"}),                      false),
            (Action::FindPayouts,  json!({}),                                     false),
            (Action::FetchBalance, json!({"x": 1}),                               false),
        ];
        let tools = Tools::new(true).unwrap();
        for (action, args, fits) in cases {
            let refused = tools.refuse(action, &args);
            assert_eq!(refused.is_none(), fits, "{action:?} {args} {refused:?}");
        }
    }
}
