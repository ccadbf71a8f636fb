//! Policies: what governs an agent.
//!
//! What a policy may say is checked by `governance/mandate`; here is only its shape. A policy that
//! was read can be sent back as it came, with its agent, its version and what was warned of.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::agents::{NamedAgent, known};
use super::{Call, Effect, Nothing, Operation, Rest, invalid};
use crate::broker::pay::policy::{PolicyVersion, PolicyView};
use crate::broker::{Broker, Trouble};
use crate::domain::ids::AgentId;
use crate::domain::policy;
use crate::domain::principal::{Principal, Right};
use crate::entry::words;

pub(super) fn operations() -> Vec<Operation> {
    const PATH: &str = "/v1/agents/{agent}/policy";
    vec![
        Operation::new("list_policies", list_policies)
            .says(
                "List policies",
                "Every policy in force that the caller may read.",
            )
            .needs(&[Right::ReadOwn])
            .rest(Rest::get("/v1/policies").answers(200, "the policies")),
        Operation::new("seed_policies", seed_policies)
            .says(
                "Make sample policies",
                "Give four sample agents a policy each, where they have none.",
            )
            .needs(&[Right::Operate])
            .does(Effect::Sets)
            .rest(Rest::post("/v1/policies/seed").answers(200, "the samples' policies")),
        Operation::new("get_policy", get_policy)
            .says("Read a policy", "The policy of an agent.")
            .needs(&[Right::ReadOwn])
            .rest(Rest::get(PATH).answers(200, "the policy")),
        Operation::new("set_policy", set_policy)
            .says(
                "Set a policy",
                "Put a whole policy into force; it replaces the one before. With `version`, only \
                 that one.",
            )
            .needs(&[Right::Operate])
            .does(Effect::Sets)
            .rest(Rest::put(PATH).answers(200, "the policy")),
        Operation::new("change_policy", change_policy)
            .says(
                "Change a policy",
                "Change what is named in a policy; the rest stays. With `version`, only that one.",
            )
            .needs(&[Right::Operate])
            .does(Effect::Sets)
            .rest(Rest::patch(PATH).answers(200, "the policy")),
        Operation::new("set_agent_policy", set_agent_policy)
            .says(
                "Set an agent's policy",
                "Changes what is named in an agent's policy, and leaves the rest. Amounts in minor \
                 units. An agent's first policy has to name daily_limit, per_txn_limit and \
                 require_approval_above; null there is no limit. For operators.",
            )
            .needs(&[Right::Operate])
            .does(Effect::Sets)
            .mcp()
            .null_matters(),
        Operation::new("delete_policy", delete_policy)
            .says(
                "Take a policy away",
                "Take a policy away; the agent may then do nothing.",
            )
            .needs(&[Right::Operate])
            .does(Effect::Acts)
            .rest(Rest::delete(PATH).answers(200, "done")),
        Operation::new("policy_versions", versions)
            .says(
                "List a policy's versions",
                "Every version of a policy, newest first: proposals name the one that decided.",
            )
            .needs(&[Right::ReadOwn])
            .rest(Rest::get("/v1/agents/{agent}/policy/versions").answers(200, "the versions")),
    ]
}

/// What a policy says. A limit that is null is none on purpose; any other field that is null is
/// what it is when left out.
#[expect(dead_code, reason = "a shape; the value is `domain::policy::Policy`")]
#[derive(JsonSchema)]
pub(super) struct PolicyFields {
    /// Most that may be reserved and spent in a day, in minor units. Null is no limit.
    #[schemars(
        range(min = 0),
        title = "a whole number of minor units, or null for no limit"
    )]
    daily_limit: Option<i64>,
    /// Most for one transaction, in minor units. Null is no limit.
    #[schemars(
        range(min = 0),
        title = "a whole number of minor units, or null for no limit"
    )]
    per_txn_limit: Option<i64>,
    /// Amounts above this, in minor units, wait for people. Null is no such threshold.
    #[schemars(
        range(min = 0),
        title = "a whole number of minor units, or null for no limit"
    )]
    require_approval_above: Option<i64>,
    /// How many people have to agree to what is held: 0 is one. Null is 0.
    #[schemars(range(max = 10))]
    approvals_needed: Option<u32>,
    /// Only these vendor hosts. Empty or null is any.
    allowed_domains: Option<Vec<String>>,
    /// Never these domains, nor what is under them; `*` is all. Empty or null is none.
    blocked_domains: Option<Vec<String>>,
    /// The high-risk tools it may use: exactly these, `*` at the end of a name or alone. Null is
    /// every tool that moves money and no other; an empty list is none.
    allowed_tools: Option<Vec<String>>,
    /// At most `max` requests in `window_secs`; `max` 0 is off. Null, and what is left out of it, is
    /// 10 in 60 s.
    #[schemars(title = "an object of `max` and `window_secs`, both whole numbers")]
    rate_limit: Option<RateLimit>,
    /// What happens to the same payee, amount and currency within so many seconds. Null, and what
    /// is left out of it, is `hold` within 900 s.
    #[schemars(title = "an object of `window_secs`, a whole number, and `then`")]
    duplicates: Option<Duplicates>,
    /// Sums, in minor units, over so many seconds, above which people have to agree. Empty or null
    /// is none.
    #[schemars(length(max = 8))]
    approval_above: Option<Vec<SumLimit>>,
    /// What a decision on what is held has to fulfil: `needed` people, of these `roles`, or these
    /// `people` (by id or name), `distinct_from` the `proposer` or `each_other`, `passkey` `required`,
    /// `preferred` or `no`, within `expires_secs`. What nobody could fulfil is refused. Null is what
    /// `approvals_needed` says.
    #[schemars(
        title = "an object of `needed`, `roles`, `people`, `distinct_from`, `passkey` and `expires_secs`"
    )]
    approval: Option<ApprovalRule>,
    /// Whose text taints what the agent proposes after reading it: `sources` or `tools`, what `then`
    /// becomes of proposals, `hold` or `block`, and `for_secs`. Null is nobody's.
    #[schemars(title = "an object of `sources` or `tools`, `then` and `for_secs`")]
    taint: Option<Taint>,
    /// Only vendors whose name the register of legal entities has. Null is false.
    require_verified_entity: Option<bool>,
    /// Whom it may pay: anybody, or only accounts that operators registered. Null is any.
    #[serde(default)]
    #[schemars(schema_with = "words::payees")]
    payees: Option<policy::Payees>,
    /// Not in force before this. Null is from now on.
    #[serde(default)]
    #[schemars(schema_with = "words::instant")]
    valid_from: Option<String>,
    /// Not in force from this on. Null is without an end.
    #[serde(default)]
    #[schemars(schema_with = "words::instant")]
    valid_until: Option<String>,
    /// The currency of its limits, a code of ISO 4217; payments in another are refused. Null is
    /// INR.
    #[schemars(
        regex(pattern = "^[A-Z]{3}$"),
        title = "three upper-case letters, such as INR"
    )]
    currency: Option<String>,
    /// Approval carries it out at once, without a commit of the agent. Null is false.
    execute_on_approval: Option<bool>,
    /// What it may spend on models, in exact decimal dollars. Null, and what is left out of it, is no
    /// limit.
    #[schemars(title = "an object of `daily_usd` and `per_request_usd`, dollars as text")]
    llm: Option<LlmLimits>,
}

#[expect(dead_code, reason = "a shape")]
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct LlmLimits {
    /// Most that may be reserved and spent in a day.
    #[schemars(
        regex(pattern = r"^[0-9]{1,18}(\.[0-9]{1,9})?$"),
        title = "exact decimal text such as \"0.05\""
    )]
    daily_usd: Option<String>,
    /// Most that one request may be expected to cost.
    #[schemars(
        regex(pattern = r"^[0-9]{1,18}(\.[0-9]{1,9})?$"),
        title = "exact decimal text such as \"0.05\""
    )]
    per_request_usd: Option<String>,
}

#[expect(dead_code, reason = "a shape")]
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct ApprovalRule {
    /// How many different people have to agree: 0 is one.
    #[schemars(range(max = 10))]
    needed: Option<u32>,
    /// Only people with one of these roles, besides one that may decide.
    roles: Option<Vec<String>>,
    /// Only these people.
    people: Option<Vec<String>>,
    /// `proposer`, or `each_other`: keys of nobody do not count.
    distinct_from: Option<String>,
    /// `required`: a decision counts only where it is signed with a passkey, in the console.
    passkey: Option<String>,
    /// How long it is held, at most as long as `held_ttl_secs` says.
    #[schemars(range(min = 1, max = 2_592_000))]
    expires_secs: Option<u32>,
}

#[expect(dead_code, reason = "a shape")]
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct Taint {
    /// Sources and upstream servers whose tools bring such text.
    sources: Option<Vec<String>>,
    /// Tools that do; `*` at the end of a name stands for what follows.
    tools: Option<Vec<String>>,
    /// `hold` or `block`.
    then: String,
    #[schemars(range(min = 1, max = 2_678_400))]
    for_secs: u32,
    /// `agent`, or `conversation`: the name that the client gives, which a hostile agent can choose.
    by: Option<String>,
}

#[expect(dead_code, reason = "a shape")]
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct RateLimit {
    max: Option<u32>,
    #[schemars(range(min = 1, max = 86_400))]
    window_secs: Option<u32>,
}

#[expect(dead_code, reason = "a shape")]
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct Duplicates {
    #[schemars(range(min = 1, max = 2_678_400))]
    window_secs: Option<u32>,
    #[serde(default)]
    #[schemars(schema_with = "words::repeat")]
    then: Option<String>,
}

#[expect(dead_code, reason = "a shape")]
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct SumLimit {
    #[schemars(range(min = 0))]
    amount: i64,
    #[schemars(range(min = 1, max = 2_678_400))]
    window_secs: u32,
    #[schemars(schema_with = "words::per")]
    per: String,
}

/// A policy, with the agent it governs and its version: what was read can be written.
#[derive(Serialize, JsonSchema)]
pub struct Policy {
    #[serde(flatten)]
    #[schemars(with = "PolicyFields")]
    policy: policy::Policy,
    agent_id: String,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<Vec<String>>,
}

impl From<PolicyView> for Policy {
    fn from(view: PolicyView) -> Self {
        Self {
            policy: view.policy,
            agent_id: view.agent.to_string(),
            version: view.version,
            warnings: None,
        }
    }
}

/// A policy that was just written, with what its operator should know.
async fn written(broker: &Broker, who: &Principal, view: PolicyView) -> Policy {
    let warnings = match broker.pay.policy_warnings(who, &view).await {
        Ok(warnings) => Some(warnings),
        // It is written, whether or not anything more can be said.
        Err(error) => {
            tracing::warn!(%error, agent = %view.agent, "a policy was not looked over");
            None
        }
    };
    Policy {
        warnings,
        ..view.into()
    }
}

#[derive(Serialize, JsonSchema)]
struct PolicyList {
    policies: Vec<Policy>,
}

async fn list_policies(call: Call, _: Nothing) -> Result<PolicyList, Trouble> {
    let policies = call.broker.pay.policies(&call.who).await?.into_iter();
    let policies = policies.map(Policy::from).collect();
    Ok(PolicyList { policies })
}

async fn seed_policies(call: Call, _: Nothing) -> Result<PolicyList, Trouble> {
    let seeded = call.broker.pay.seed_policies(&call.who).await?.into_iter();
    let policies = seeded.map(|(view, _)| view.into()).collect();
    Ok(PolicyList { policies })
}

async fn get_policy(call: Call, named: NamedAgent) -> Result<Policy, Trouble> {
    Ok(call
        .broker
        .pay
        .policy(&call.who, &named.id()?)
        .await?
        .into())
}

#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("required" = ["agent", "daily_limit", "per_txn_limit", "require_approval_above"]))]
struct NewPolicy(PolicyChange);

/// Fields of a policy. `agent_id`, `version` and `warnings` are what an answer came with.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct PolicyChange {
    /// The agent's id.
    agent: String,
    agent_id: Option<String>,
    /// Only this version is replaced.
    version: Option<u32>,
    #[serde(rename = "warnings")]
    _warnings: Option<Vec<String>>,
    #[serde(flatten)]
    #[schemars(with = "PolicyFields")]
    policy: Map<String, Value>,
}

impl PolicyChange {
    /// An agent that a policy can be for, whether or not there is one of that name yet.
    fn governed(&self) -> Result<AgentId, Trouble> {
        let shape = "an agent's id is 1 to 128 letters, digits and any of ._:@-";
        let agent: AgentId = self.agent.parse().map_err(|_| invalid(shape))?;
        match &self.agent_id {
            Some(named) if named != agent.as_str() => {
                Err(invalid("`agent_id` names another agent"))
            }
            Some(_) | None => Ok(agent),
        }
    }
}

async fn set_policy(call: Call, new: NewPolicy) -> Result<Policy, Trouble> {
    let (agent, expect) = (new.0.governed()?, new.0.version.map(u64::from));
    let body = Value::Object(new.0.policy);
    let set = call.broker.pay.set_policy(&call.who, &agent, &body, expect);
    let view = set.await?;
    Ok(written(&call.broker, &call.who, view).await)
}

async fn change_policy(call: Call, change: PolicyChange) -> Result<Policy, Trouble> {
    let (agent, expect) = (change.governed()?, change.version.map(u64::from));
    let body = Value::Object(change.policy);
    let changed = call
        .broker
        .pay
        .change_policy(&call.who, &agent, &body, expect);
    let view = changed.await?;
    Ok(written(&call.broker, &call.who, view).await)
}

#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct AgentPolicyChange {
    /// The agent to govern.
    agent_id: String,
    /// Change only this version.
    version: Option<u32>,
    #[serde(rename = "warnings")]
    _warnings: Option<Vec<String>>,
    #[serde(flatten)]
    #[schemars(with = "PolicyFields")]
    policy: Map<String, Value>,
}

#[derive(Serialize, JsonSchema)]
struct PolicySet {
    #[schemars(schema_with = "words::ok")]
    status: &'static str,
    policy: Policy,
}

async fn set_agent_policy(call: Call, change: AgentPolicyChange) -> Result<PolicySet, Trouble> {
    let agent = known(&change.agent_id)?;
    let (body, expect) = (Value::Object(change.policy), change.version.map(u64::from));
    let changed = call
        .broker
        .pay
        .change_policy(&call.who, &agent, &body, expect);
    let view = changed.await?;
    Ok(PolicySet {
        status: "ok",
        policy: written(&call.broker, &call.who, view).await,
    })
}

#[derive(Serialize, JsonSchema)]
struct DeletedPolicy {
    agent_id: String,
    deleted: bool,
}

async fn delete_policy(call: Call, named: NamedAgent) -> Result<DeletedPolicy, Trouble> {
    let agent = named.id()?;
    call.broker.pay.delete_policy(&call.who, &agent).await?;
    Ok(DeletedPolicy {
        agent_id: agent.to_string(),
        deleted: true,
    })
}

/// Every version of a policy, newest first.
#[derive(Serialize, JsonSchema)]
pub struct PolicyVersions {
    versions: Vec<OnePolicyVersion>,
}

/// What a policy said; null if it was taken away.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct OnePolicyVersion {
    version: u64,
    #[schemars(with = "Option<PolicyFields>")]
    policy: Option<policy::Policy>,
    by: String,
    #[schemars(schema_with = "words::time")]
    at: String,
}

impl From<Vec<PolicyVersion>> for PolicyVersions {
    fn from(versions: Vec<PolicyVersion>) -> Self {
        let one = |version: PolicyVersion| OnePolicyVersion {
            version: version.version,
            policy: version.policy,
            by: version.by,
            at: version.at.to_string(),
        };
        Self {
            versions: versions.into_iter().map(one).collect(),
        }
    }
}

async fn versions(call: Call, named: NamedAgent) -> Result<PolicyVersions, Trouble> {
    let agent = named.id()?;
    Ok(call
        .broker
        .pay
        .policy_versions(&call.who, &agent)
        .await?
        .into())
}
