//! Access rules: who may use which tool, when, and what they may see of it; and trying them out.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{Call, Effect, Nothing, Operation, Reply, Rest};
use crate::broker::Trouble;
use crate::broker::access::rules::{RuleView, Somebody};
use crate::broker::tools::addressed::Here;
use crate::broker::tools::admit::Checked;
use crate::broker::tools::check::Beside;
use crate::domain::ids::AgentId;
use crate::domain::principal::{Right, Role};
use crate::domain::roles::Roles;

/// The path's id is the rule's; a document may say its own, too.
const SPELT: &[(&str, &str)] = &[("id", "rule")];

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("create_rule", create)
            .says(
                "Make an access rule",
                "Make an access rule. Any matching `deny` ends a call. Where `allow` rules address a \
                 tool, one of them has to match; else `access.default` decides. Rules govern the tools \
                 of the catalogue; what people do here is governed by their roles.",
            )
            .needs(&[Right::Steward])
            .does(Effect::Acts)
            .rest(
                Rest::post("/v1/access")
                    .answers(201, "the rule")
                    .problems(&[409]),
            ),
        Operation::new("list_rules", list)
            .says("List access rules", "Every access rule of the organisation.")
            .needs(&[Right::ReadSetup])
            .rest(Rest::get("/v1/access").answers(200, "the rules")),
        Operation::new("check_access", check)
            .says(
                "Try access rules",
                "What the rules say of a caller and a tool now, and what a sample of its data would \
                 look like. Nothing is called and nothing is recorded.",
            )
            .needs(&[Right::ReadSetup])
            .rest(Rest::post("/v1/access/check").answers(200, "what the rules say")),
        Operation::new("get_rule", read)
            .says("Read an access rule", "One access rule: its document and version.")
            .needs(&[Right::ReadSetup])
            .rest(named(Rest::get("/v1/access/{id}")).answers(200, "the rule")),
        Operation::new("replace_rule", replace)
            .says(
                "Replace an access rule",
                "Replace an access rule. It holds on every node within a second.",
            )
            .needs(&[Right::Steward])
            .does(Effect::Sets)
            .rest(
                named(Rest::put("/v1/access/{id}"))
                    .answers(200, "the rule")
                    .problems(&[409]),
            ),
        Operation::new("delete_rule", delete)
            .says("Delete an access rule", "Delete an access rule; its versions stay.")
            .needs(&[Right::Steward])
            .does(Effect::Acts)
            .rest(
                named(Rest::delete("/v1/access/{id}"))
                    .answers(200, "that it is deleted")
                    .problems(&[409]),
            ),
    ]
}

fn named(rest: Rest) -> Rest {
    rest.spelt(SPELT)
}

/// An access rule: its document, and what is known of its last change.
#[derive(Serialize, JsonSchema)]
struct AccessRule {
    /// Names it: its name, where that can be an id.
    id: String,
    #[serde(flatten)]
    document: Map<String, Value>,
    /// Counts its changes; records name it.
    version: u64,
    changed_by: String,
    changed_at: String,
    /// What it names and nobody is: there it addresses nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl AccessRule {
    /// A rule, and what it names of what is here.
    fn among(view: RuleView, here: &Here) -> Self {
        let warnings = here.unknown_to_rule(&view.document);
        Self {
            warnings,
            ..view.into()
        }
    }
}

/// A rule that was just written, with what its keeper should know.
async fn written(call: &Call, view: RuleView) -> AccessRule {
    match call.broker.tools.here(&call.who, &Beside::default()).await {
        Ok(here) => AccessRule::among(view, &here),
        // It is written, whether or not anything more can be said.
        Err(error) => {
            tracing::warn!(%error, rule = %view.id, "an access rule was not looked over");
            view.into()
        }
    }
}

impl From<RuleView> for AccessRule {
    fn from(view: RuleView) -> Self {
        Self {
            id: view.id,
            document: view.document.as_object().cloned().unwrap_or_default(),
            version: view.version,
            changed_by: view.changed_by,
            changed_at: view.changed_at.to_string(),
            warnings: Vec::new(),
        }
    }
}

/// An access rule's document. Every field is checked, and what is wrong is named by its JSON Pointer.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct RuleDocument {
    /// What its keeper calls it; no two rules have the same.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    name: Option<Value>,
    /// `allow` or `deny`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    effect: Option<Value>,
    /// Whom it is about: `{roles, agents, servers, people}`. What is left out asks for nothing.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    who: Option<Value>,
    /// What it is about: `{tools: ["billing_*"], sources, kinds, risk}`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    what: Option<Value>,
    /// When it holds: `{from, until, weekdays, hours: "09:00-17:00", zone}`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    when: Option<Value>,
    /// `[{path, do}]`: what is hidden of what it allows. RFC 9535 paths from the data of a result, or
    /// the arguments of a draft; `do` is `remove`, `null`, `redact`, `last4` or `hash`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    masks: Option<Value>,
    /// Whether it says anything at all.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    enabled: Option<Value>,
    /// The rule that is replaced; the path names it.
    #[serde(skip_serializing)]
    rule: Option<String>,
    /// As an answer told it; it is not read.
    #[serde(skip_serializing)]
    id: Option<String>,
    /// The version that is replaced, if it matters.
    #[serde(skip_serializing)]
    version: Option<u64>,
    /// As an answer told it; it is not read.
    #[serde(skip_serializing)]
    changed_by: Option<String>,
    /// As an answer told it; it is not read.
    #[serde(skip_serializing)]
    changed_at: Option<String>,
    /// As an answer told them; they are not read.
    #[serde(skip_serializing)]
    warnings: Option<Vec<String>>,
}

impl RuleDocument {
    fn value(&self) -> Value {
        serde_json::json!(self)
    }
}

/// A field that is there, be it null.
fn given<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(reader).map(Some)
}

async fn create(call: Call, new: RuleDocument) -> Result<Reply<AccessRule>, Trouble> {
    let tools = &call.broker.tools;
    let made = tools.create_rule(&call.who, &new.value()).await?;
    Ok(Reply::created(written(&call, made).await))
}

#[derive(Serialize, JsonSchema)]
struct RuleList {
    rules: Vec<AccessRule>,
}

async fn list(call: Call, _: Nothing) -> Result<RuleList, Trouble> {
    let rules = call.broker.access.rules(&call.who).await?;
    let here = call
        .broker
        .tools
        .here(&call.who, &Beside::default())
        .await?;
    let rules = rules.into_iter();
    Ok(RuleList {
        rules: rules.map(|view| AccessRule::among(view, &here)).collect(),
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NamedRule {
    /// The rule's id.
    rule: String,
}

async fn read(call: Call, named: NamedRule) -> Result<AccessRule, Trouble> {
    Ok(call
        .broker
        .access
        .rule(&call.who, &named.rule)
        .await?
        .into())
}

async fn replace(call: Call, next: RuleDocument) -> Result<AccessRule, Trouble> {
    let (tools, id) = (&call.broker.tools, next.rule.clone().unwrap_or_default());
    let (document, version) = (next.value(), next.version);
    let view = tools.replace_rule(&call.who, &id, &document, version);
    let view = view.await?;
    Ok(written(&call, view).await)
}

#[derive(Serialize, JsonSchema)]
struct RuleDeleted {
    id: String,
    deleted: bool,
}

async fn delete(call: Call, named: NamedRule) -> Result<RuleDeleted, Trouble> {
    let id = named.rule;
    call.broker.access.delete_rule(&call.who, &id).await?;
    Ok(RuleDeleted { id, deleted: true })
}

/// A caller, a tool, and data as the tool could bring them back.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AccessQuestion {
    /// Who would call.
    who: WhoAsks,
    /// The tool's name, without `_propose` or `_commit`.
    tool: String,
    /// Data of a result, to be masked as this caller would see it.
    #[serde(default)]
    sample: Option<Value>,
}

/// Who would call; at least one of these.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WhoAsks {
    /// An agent; its role is `agent` unless `roles` says otherwise.
    agent: Option<String>,
    /// A person.
    person: Option<String>,
    /// The server whose key is shown.
    server: Option<String>,
    /// What the caller may do.
    roles: Option<Vec<String>>,
}

impl WhoAsks {
    fn somebody(self) -> Result<Somebody, Trouble> {
        let wrong = |text: String| Trouble::InvalidRequest(text);
        if self.agent.is_none()
            && self.person.is_none()
            && self.server.is_none()
            && self.roles.is_none()
        {
            return Err(wrong(
                "`who` names one of `agent`, `person`, `server` or `roles`".to_owned(),
            ));
        }
        let agent = self.agent.map(|agent| agent.parse::<AgentId>()).transpose();
        let agent = agent.map_err(|_| wrong("`who.agent` is no agent's id".to_owned()))?;
        let mut roles = Vec::new();
        for name in self.roles.unwrap_or_default() {
            let known = || Role::ALL.map(Role::name).join(", ");
            let role = Role::parse(&name);
            roles.push(role.ok_or_else(|| wrong(format!("`who.roles` are of {}", known())))?);
        }
        if roles.is_empty() && agent.is_some() {
            roles.push(Role::Agent);
        }
        Ok(Somebody {
            agent,
            person: self.person,
            server: self.server,
            roles: Roles::from_iter(roles),
        })
    }
}

/// What the rules say.
#[derive(Serialize, JsonSchema)]
struct AccessAnswer {
    /// `allow` or `deny`.
    decision: &'static str,
    /// Why: `allowed`, `denied`, `not_among_allowed`, `allowed_by_default` or `denied_by_default`.
    why: String,
    /// The id of the rule that decides; null where the default does.
    rule: Option<String>,
    /// All of them, where several do.
    rules: Vec<DecidingRule>,
    /// The sample as this caller would see it; null without one, and where the call is denied.
    masked_sample: Option<Value>,
    /// What was hidden of it.
    masked: Vec<String>,
    /// Whom the question names and nobody is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// A rule that decides.
#[derive(Serialize, JsonSchema)]
struct DecidingRule {
    id: String,
    version: u64,
    name: String,
}

impl From<Checked> for AccessAnswer {
    fn from(checked: Checked) -> Self {
        let rules: Vec<DecidingRule> = checked
            .by
            .into_iter()
            .map(|(id, version, name)| DecidingRule { id, version, name })
            .collect();
        Self {
            decision: match checked.allowed {
                true => "allow",
                false => "deny",
            },
            why: checked.why.code().to_owned(),
            rule: rules.first().map(|rule| rule.id.clone()),
            rules,
            masked_sample: checked.masked_sample,
            masked: checked.masked,
            warnings: Vec::new(),
        }
    }
}

async fn check(call: Call, asked: AccessQuestion) -> Result<AccessAnswer, Trouble> {
    let somebody = asked.who.somebody()?;
    let (tools, sample) = (&call.broker.tools, asked.sample);
    let checked = tools.check_access(&call.who, &somebody, &asked.tool, sample);
    let answer = AccessAnswer::from(checked.await?);
    let here = tools.here(&call.who, &Beside::default()).await?;
    Ok(AccessAnswer {
        warnings: here.unknown_to_question(&somebody),
        ..answer
    })
}
