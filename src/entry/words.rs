//! The words that many shapes share, as schemas: how the domain spells them, said once.
//!
//! A `title` says in words what a value should be; whoever sends another is told it.

use schemars::{Schema, SchemaGenerator, json_schema};

use crate::domain::audit::names::Decision;
use crate::domain::facts::FreezeScope;
use crate::domain::principal::{Right, Role};
use crate::domain::proposal::State;
use crate::domain::reason::{Reason, Recovery, Refusal};
use crate::domain::requests::request as requests;

/// An agent's id.
pub(super) const AGENT: &str = "^[A-Za-z0-9._:@-]{1,128}$";
/// A proposal's id.
pub(super) const UUID: &str = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";

fn one_of(names: impl IntoIterator<Item = &'static str>) -> Schema {
    let names: Vec<&str> = names.into_iter().collect();
    json_schema!({"type": "string", "enum": names})
}

/// A role.
pub(super) fn role(_: &mut SchemaGenerator) -> Schema {
    one_of(Role::ALL.map(Role::name))
}

/// A role, or none.
pub(super) fn maybe_role(_: &mut SchemaGenerator) -> Schema {
    let names = Role::ALL.map(|role| Some(role.name())).into_iter();
    let names: Vec<Option<&str>> = names.chain([None]).collect();
    json_schema!({"type": ["string", "null"], "enum": names})
}

/// Roles, each once.
pub(super) fn roles(_: &mut SchemaGenerator) -> Schema {
    let names = Role::ALL.map(Role::name);
    json_schema!({
        "type": "array",
        "items": {"type": "string", "enum": names},
        "minItems": 1,
        "uniqueItems": true,
    })
}

/// Roles, each once, or nothing said.
pub(super) fn maybe_roles(generator: &mut SchemaGenerator) -> Schema {
    let mut roles = roles(generator);
    roles.insert("type".to_owned(), ["array", "null"].as_slice().into());
    roles
}

/// Rights.
pub(super) fn rights(_: &mut SchemaGenerator) -> Schema {
    let names = Right::ALL.map(Right::name);
    json_schema!({"type": "array", "items": {"type": "string", "enum": names}})
}

/// What a freeze covers.
pub(super) fn scope(_: &mut SchemaGenerator) -> Schema {
    one_of(FreezeScope::ALL.map(FreezeScope::name))
}

/// An instant.
pub(super) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// An instant as operators write it, or none.
pub(super) fn instant(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["string", "integer", "null"],
        "title": "an instant: RFC 3339 text or epoch seconds",
    })
}

/// Whom an agent may pay.
pub(super) fn payees(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["string", "null"], "enum": ["any", "registered", null]})
}

/// What becomes of the same payment again.
pub(super) fn repeat(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["string", "null"], "enum": ["hold", "report", "off", null]})
}

/// What becomes of a request whose worker was lost.
pub(super) fn on_cut(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["string", "null"], "enum": ["fail", "restart", null]})
}

/// Where a request to a model stands, to ask for.
pub(super) fn request_state(_: &mut SchemaGenerator) -> Schema {
    let states = requests::State::ALL.map(requests::State::name);
    let mut states: Vec<Option<&str>> = states.into_iter().map(Some).collect();
    states.push(None);
    json_schema!({"type": ["string", "null"], "enum": states})
}

/// What usage is summed by.
pub(super) fn usage_by(_: &mut SchemaGenerator) -> Schema {
    let by = ["agent", "provider", "model", "day", "task"];
    let mut by: Vec<Option<&str>> = by.into_iter().map(Some).collect();
    by.push(None);
    json_schema!({"type": ["string", "null"], "enum": by})
}

/// An instant, or none.
pub(super) fn time_if_any(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["string", "null"], "format": "date-time"})
}

/// Over what a sum goes.
pub(super) fn per(_: &mut SchemaGenerator) -> Schema {
    one_of(["agent", "payee"])
}

/// Done.
pub(super) fn ok(_: &mut SchemaGenerator) -> Schema {
    one_of(["ok"])
}

/// An instant, or none.
pub(super) fn maybe_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["string", "null"],
        "format": "date-time",
        "title": "an RFC 3339 time, such as 2026-11-20T10:00:00Z",
    })
}

/// How a tool is called.
pub(super) fn risk(_: &mut SchemaGenerator) -> Schema {
    one_of(["low", "high"])
}

/// Whether a tool may be used.
pub(super) fn standing(_: &mut SchemaGenerator) -> Schema {
    one_of([
        "accepted",
        "new",
        "changed",
        "gone",
        "upstream_unavailable",
        "unusable",
    ])
}

/// What a record says was decided, or nothing.
pub(super) fn decision(_: &mut SchemaGenerator) -> Schema {
    one_of(Decision::NAMES.iter().copied().chain([""]))
}

/// SHA-256.
pub(super) fn hash(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": "^[0-9a-f]{64}$"})
}

/// Several of those.
pub(super) fn hashes(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": hash(generator)})
}

/// What was decided about a payout of the bank.
pub(super) fn bank_decision(_: &mut SchemaGenerator) -> Schema {
    use Decision::{Approved, Held, Rejected, Skipped};
    let decisions = [Approved, Held, Rejected, Skipped].map(Decision::name);
    one_of(decisions.into_iter().chain(["SETTLED", "PENDING"]))
}

/// What the door made of a webhook.
pub(super) fn received(_: &mut SchemaGenerator) -> Schema {
    one_of(["accepted", "duplicate", "kept", "forged"])
}

/// What became of a button press.
pub(super) fn press(_: &mut SchemaGenerator) -> Schema {
    one_of(["ok", "refused", "ignored"])
}

/// Where a proposal stands.
pub(super) fn state(_: &mut SchemaGenerator) -> Schema {
    one_of(State::ALL.map(State::name))
}

/// As [`state`], or none.
pub(super) fn maybe_state(_: &mut SchemaGenerator) -> Schema {
    let names = State::ALL.map(State::name).map(Some);
    let names: Vec<Option<&str>> = names.into_iter().chain([None]).collect();
    json_schema!({"type": ["string", "null"], "enum": names})
}

/// What helps.
pub(super) fn recovery(_: &mut SchemaGenerator) -> Schema {
    one_of(Recovery::ALL.map(Recovery::code))
}

/// Why governance said so.
pub(super) fn reason(_: &mut SchemaGenerator) -> Schema {
    one_of(Reason::ALL.iter().map(|reason| reason.code()))
}

/// Why a commit was turned away.
pub(super) fn refusal(_: &mut SchemaGenerator) -> Schema {
    one_of(Refusal::ALL.iter().map(|refusal| refusal.code()))
}

/// How much a finding weighs.
pub(super) fn severity(_: &mut SchemaGenerator) -> Schema {
    one_of(["note", "hold", "block"])
}

/// Turned away.
pub(super) fn blocked(_: &mut SchemaGenerator) -> Schema {
    one_of(["blocked"])
}

/// What became of an attempt.
pub(super) fn outcome(_: &mut SchemaGenerator) -> Schema {
    one_of(["committed", "failed", "in_doubt", "cancelled"])
}

/// What stands of an effect.
pub(super) fn effect(_: &mut SchemaGenerator) -> Schema {
    one_of(["executed", "reversed"])
}

/// Why there is no effect.
pub(super) fn failure(_: &mut SchemaGenerator) -> Schema {
    one_of([
        "provider_refused",
        "precondition_failed",
        "unexpected_rows",
        "provider_unreachable",
        "settled_by_operator",
    ])
}

/// Who ends a doubt.
pub(super) fn settler(_: &mut SchemaGenerator) -> Schema {
    one_of(["broker", "person"])
}

/// Whatever fields it has.
pub(super) fn object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object"})
}

/// Any value, each type by its name: clients with a narrow idea of schemas know no other way.
pub(super) fn anything(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"anyOf": [
        {"type": "object"}, {"type": "array"}, {"type": "string"}, {"type": "number"},
        {"type": "boolean"}, {"type": "null"},
    ]})
}
