//! The schemas of `/openapi.json`: one per shape that `entry/shapes` and this door spell.

use serde_json::{Value, json};

use crate::domain::audit::names::Decision;
use crate::domain::principal::Role;
use crate::domain::proposal::State;
use crate::domain::reason::{Reason, Recovery, Refusal};
use crate::entry::fields::MAX_KEY_BYTES;

/// Every schema by name.
pub(super) fn all() -> Value {
    let mut all = json!({});
    for part in [
        requests(),
        proposals(),
        commits(),
        rest(),
        super::governance::schemas(),
        super::payees::schemas(),
    ] {
        if let (Some(all), Value::Object(part)) = (all.as_object_mut(), part) {
            all.extend(part);
        }
    }
    all
}

/// Every decision, and that there was none.
fn decisions() -> Vec<&'static str> {
    [Decision::NAMES, &[""]].concat()
}

fn requests() -> Value {
    json!({
        "Empty": {"type": "object", "additionalProperties": false},
        "Heard": {"type": "object"},
        "ProposeRequest": closed(json!({
            "tool": {"type": "string"},
            "arguments": {"type": "object", "description": "as the tool's `input_schema` says"},
            "prompt": {"type": ["string", "null"], "description": "what the agent was asked to do"},
            "samples": {"type": ["array", "null"], "items": {"type": "string"}},
            "idempotency_key": {"type": ["string", "null"], "pattern": "^[!-~]+$", "maxLength": MAX_KEY_BYTES},
        }), &["tool", "arguments"]),
        "CommitRequest": closed(json!({
            "commit_token": {"type": "string"},
            "arguments": {"type": "object"},
        }), &["commit_token", "arguments"]),
        "RejectRequest": closed(json!({"reason": {"type": ["string", "null"]}}), &[]),
        "SettleRequest": closed(json!({
            "outcome": {"enum": ["executed", "failed"]},
            "reason": {"type": "string"},
        }), &["outcome", "reason"]),
        "AcceptRequest": closed(json!({"digest": {
            "type": ["string", "null"],
            "description": "of the definition you read; another one is not accepted",
        }}), &[]),
        "NewKey": closed(json!({
            "role": role(),
            "name": {"type": "string", "minLength": 1, "maxLength": 100},
            "slack_user": {
                "type": ["string", "null"], "pattern": "^[UW][A-Z0-9]{1,31}$",
                "description": "the member id whose buttons decide as this approver or admin",
            },
            "person": {
                "type": ["string", "null"], "minLength": 1, "maxLength": 100,
                "description": "whose key it is: where several have to agree, persons are counted",
            },
        }), &["role", "name"]),
    })
}

fn proposals() -> Value {
    json!({
        "Signals": closed(json!({
            "output_instability": share(),
            "numeric_variance": share(),
            "prompt_drift": share(),
        }), &["output_instability", "numeric_variance", "prompt_drift"]),
        "Finding": closed(json!({
            "reason": {"enum": codes(Reason::ALL.iter().map(|reason| reason.code()))},
            "severity": {"enum": ["note", "hold", "block"]},
            "detail": {"type": "string"},
            "threats": {"type": "array", "items": {"type": "string"}},
            "earlier_proposal_id": {"type": "string"},
        }), &["reason", "severity", "detail"]),
        "Approval": closed(json!({
            "needed": {"type": "integer"},
            "given": {"type": "integer"},
            "by": {"type": "array", "items": {"type": "string"}},
            "expires_at": time(),
        }), &["needed", "given", "by", "expires_at"]),
        "Proposed": closed(json!({
            "status": state(),
            "proposal_id": uuid(),
            "tool_name": {"type": "string"},
            "tool_args_hash": hash(),
            "composite_score": share(),
            "signals": reference("Signals"),
            "findings": {"type": "array", "items": reference("Finding")},
            "commit_token": {"type": "string"},
            "token_id": uuid(),
            "expires_at": time(),
            "action": {"const": "create_draft"},
            "reason": {"type": "string"},
            "draft": closed(json!({
                "tool": {"type": "string"}, "arguments": {"type": "object"},
            }), &["tool", "arguments"]),
            "approval": reference("Approval"),
            "recovery": recovery(),
            "replayed": {"const": true},
            "retry_after_secs": {"type": "integer"},
        }), &["status", "tool_name", "tool_args_hash", "composite_score",
              "signals", "findings"]),
        "Proposal": closed(json!({
            "proposal_id": uuid(),
            "status": state(),
            "state": state(),
            "version": {"type": "integer"},
            "agent_id": {"type": "string"},
            "tool_name": {"type": "string"},
            "arguments": {"type": "object"},
            "tool_args_hash": hash(),
            "effective_amount": {"type": ["object", "null"]},
            "payee": {"type": "object"},
            "reason": {"type": "string"},
            "findings": {"type": "array", "items": reference("Finding")},
            "composite_score": share(),
            "signals": reference("Signals"),
            "policy_version": {"type": ["integer", "null"]},
            "created_at": time(),
            "lapses_at": time(),
            "approval": reference("Approval"),
            "ending": closed(json!({
                "by": {"type": "string"}, "at": time(), "reason": {"type": "string"},
            }), &["by", "at", "reason"]),
            "commit": {"type": "object"},
            "commit_token": {"type": "string"},
            "token_id": uuid(),
            "expires_at": time(),
        }), &["proposal_id", "status", "state", "version", "agent_id", "tool_name", "arguments",
              "tool_args_hash", "reason", "findings", "created_at", "lapses_at"]),
        "ProposalPage": closed(json!({
            "proposals": {"type": "array", "items": reference("Proposal")},
            "next_cursor": {"type": ["string", "null"]},
        }), &["proposals", "next_cursor"]),
    })
}

fn commits() -> Value {
    json!({
        "Outcome": closed(json!({
            "status": {"enum": ["committed", "failed", "in_doubt", "cancelled"]},
            "commit_id": {"type": ["string", "null"]},
            "proposal_id": uuid(),
            "outcome": {"enum": ["executed", "reversed"]},
            "result": {},
            "content": {"type": "array"},
            "replayed": {"type": "boolean"},
            "reason": {"enum": ["provider_refused", "provider_unreachable", "settled_by_operator"]},
            "sent": {"type": "boolean"},
            "settled_by": {"enum": ["broker", "person"]},
            "detail": {"type": "string"},
            "provider": closed(json!({
                "code": {"type": "string"}, "description": {"type": "string"},
            }), &["code", "description"]),
            "recovery": recovery(),
            "settled_above_reserved": closed(json!({
                "reserved": {"type": "integer"}, "settled": {"type": "integer"},
                "currency": {"type": ["string", "null"]},
            }), &["reserved", "settled", "currency"]),
        }), &["status", "commit_id", "proposal_id", "replayed"]),
        "CommitRefused": closed(json!({
            "status": {"const": "blocked"},
            "reason": {"enum": codes(Refusal::ALL.iter().map(|refusal| refusal.code()))},
            "detail": {"type": "string"},
            "recovery": recovery(),
            "original": reference("Outcome"),
        }), &["status", "reason", "detail", "recovery"]),
    })
}

fn rest() -> Value {
    json!({
        "Definition": closed(json!({
            "name": {"type": "string"},
            "description": {"type": "string"},
            "input_schema": {},
            "output_schema": {},
            "annotations": {"type": ["object", "null"]},
        }), &["name", "description", "input_schema", "output_schema", "annotations"]),
        "Tool": closed(json!({
            "name": {"type": "string"},
            "description": {"type": "string"},
            "risk": {"enum": ["low", "high"]},
            "raised": {"type": "boolean", "description": "its own hints raised the risk"},
            "always_held": {"type": "boolean"},
            "standing": {"enum": [
                "accepted", "new", "changed", "gone", "upstream_unavailable", "unusable",
            ]},
            "money": {"type": "object", "description": "what a call can move"},
            "payee": {"type": "object", "description": "whom a call pays"},
            "source": {"type": "object", "description": "whose word each of these is"},
            "upstream": {"type": ["string", "null"]},
            "upstream_name": {"type": ["string", "null"]},
            "mcp_tools": {"type": "array", "items": {"type": "string"}},
            "input_schema": {},
            "output_schema": {},
            "digest": {"type": "string", "description": "what accepting it would pin"},
            "offered": or_null("Definition"),
            "accepted": or_null("Definition"),
            "differs": {"type": "array", "items": {"type": "string"}},
            "accepted_by": {"type": ["string", "null"]},
            "accepted_at": {"type": ["string", "null"]},
            "problem": {"type": ["string", "null"]},
        }), &["name", "description", "risk", "standing", "mcp_tools", "input_schema", "digest"]),
        "ToolList": list("tools", "Tool"),
        "Key": closed(key(), KEY),
        "KeyList": list("keys", "Key"),
        "MadeKey": made_key(),
        "Record": closed(json!({
            "seq": {"type": "integer"},
            "at": time(),
            "org": {"type": "string"},
            "kind": {"type": "string"},
            "decision": {"enum": decisions()},
            "reason": {"type": "string"},
            "actor": {"type": "string"},
            "agent_id": {"type": ["string", "null"]},
            "proposal_id": {"type": ["string", "null"]},
            "tool_name": {"type": ["string", "null"]},
            "payout_id": {"type": ["string", "null"]},
            "amount": {"type": ["integer", "null"]},
            "currency": {"type": ["string", "null"]},
            "detail": {},
        }), &["seq", "at", "org", "kind", "decision", "reason", "actor"]),
        "RecordList": list("records", "Record"),
        "SignedHead": closed(signed_head(), HEAD),
        "AuditHead": audit_head(),
        "AuditProof": closed(json!({
            "seq": {"type": "integer"},
            "leaf_index": {"type": "integer"},
            "leaf_hash": hash(),
            "tree_size": {"type": "integer"},
            "root_hash": hash(),
            "proof": {"type": "array", "items": hash()},
            "head": reference("SignedHead"),
            "key_id": {"type": "string"},
            "public_key": {"type": ["string", "null"]},
            "record": {"type": ["string", "null"], "description": "the bytes that were hashed"},
            "consistency": reference("Consistency"),
        }), &["seq", "leaf_index", "leaf_hash", "tree_size", "root_hash", "proof", "head"]),
        "Consistency": closed(json!({
            "from": tree(),
            "to": tree(),
            "proof": {"type": "array", "items": hash()},
        }), &["from", "to", "proof"]),
        "Alive": closed(json!({"status": {"const": "ok"}}), &["status"]),
        "Ready": closed(json!({
            "status": {"enum": ["ready", "degraded", "down"]},
            "checks": {"type": "array", "items": closed(json!({
                "name": {"type": "string"},
                "ok": {"type": "boolean"},
                "detail": {"type": "string"},
            }), &["name", "ok"])},
        }), &["status", "checks"]),
        "Problem": closed(json!({
            "type": {"type": "string", "pattern": "^urn:hundi:problem:[a-z_]+$"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string"},
            "cause": {"type": "string", "description": "what exactly is wrong in `invalid_json`"},
            "recovery": recovery(),
        }), &["type", "title", "status", "detail", "code", "recovery"]),
    })
}

const KEY: &[&str] = &[
    "id",
    "role",
    "name",
    "agent_id",
    "slack_user",
    "person",
    "created_at",
    "revoked_at",
];

fn key() -> Value {
    json!({
        "id": {"type": "string"},
        "role": role(),
        "name": {"type": "string"},
        "agent_id": {"type": ["string", "null"]},
        "slack_user": {"type": ["string", "null"]},
        "person": {"type": ["string", "null"]},
        "created_at": time(),
        "revoked_at": {"type": ["string", "null"]},
    })
}

fn made_key() -> Value {
    let mut fields = key();
    fields["key"] = json!({"type": "string", "description": "the bearer text; shown this once"});
    let required: Vec<&str> = KEY.iter().copied().chain(["key"]).collect();
    closed(fields, &required)
}

/// An object with these fields and no others.
fn closed(properties: Value, required: &[&str]) -> Value {
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn list(name: &str, of: &str) -> Value {
    let mut properties = json!({});
    properties[name] = json!({"type": "array", "items": reference(of)});
    closed(properties, &[name])
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn or_null(schema: &str) -> Value {
    json!({"oneOf": [reference(schema), {"type": "null"}]})
}

fn codes(codes: impl Iterator<Item = &'static str>) -> Value {
    codes.collect()
}

fn role() -> Value {
    json!({"enum": codes(Role::ALL.iter().map(|role| role.name()))})
}

fn state() -> Value {
    json!({"enum": codes(State::ALL.iter().map(|state| state.name()))})
}

fn recovery() -> Value {
    json!({"enum": codes(Recovery::ALL.iter().map(|recovery| recovery.code()))})
}

fn uuid() -> Value {
    json!({"type": "string", "format": "uuid"})
}

fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

/// What every signed head has.
const HEAD: &[&str] = &["at", "key_id", "root_hash", "signature", "tree_size"];

fn signed_head() -> Value {
    json!({
        "at": time(),
        "key_id": {"type": "string"},
        "root_hash": hash(),
        "signature": {"type": "string", "pattern": "^[0-9a-f]{128}$"},
        "tree_size": {"type": "integer"},
    })
}

fn audit_head() -> Value {
    let mut head = signed_head();
    head["public_key"] = json!({"type": ["string", "null"]});
    head["consistency"] = reference("Consistency");
    closed(head, HEAD)
}

fn tree() -> Value {
    let fields = json!({"tree_size": {"type": "integer"}, "root_hash": hash()});
    closed(fields, &["tree_size", "root_hash"])
}

fn hash() -> Value {
    json!({"type": "string", "pattern": "^[0-9a-f]{64}$"})
}

/// From 0 (agrees) to 1 (disagrees), or not known.
fn share() -> Value {
    json!({"type": ["number", "null"], "minimum": 0, "maximum": 1})
}
