//! Who may do what: API keys, and the brake that stops them all.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Call, Effect, Nothing, Operation, Reply, Rest, invalid, table};
use crate::broker::Trouble;
use crate::broker::access::keys::KeyInfo;
use crate::domain::facts::{Freeze, FreezeScope, Freezes};
use crate::domain::principal::{Right, Role};
use crate::domain::roles::Roles;
use crate::entry::words;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("list_keys", list_keys)
            .says(
                "List keys",
                "Every key of the organisation, without secrets.",
            )
            .needs(&[Right::ReadSetup])
            .rest(Rest::get("/v1/keys").answers(200, "the keys")),
        Operation::new("create_key", create_key)
            .says(
                "Make a key",
                "Make a key; its text is shown this once. Operators make agents' keys, admins any.",
            )
            .needs(&[Right::Operate])
            .does(Effect::Acts)
            .rest(Rest::post("/v1/keys").answers(201, "the key")),
        Operation::new("revoke_key", revoke_key)
            .says(
                "End a key",
                "End a key at once. Operators end agents' keys, admins any.",
            )
            .needs(&[Right::Operate])
            .does(Effect::Sets)
            .rest(Rest::delete("/v1/keys/{id}").answers(200, "the key as it then stands")),
        Operation::new("list_roles", list_roles)
            .says(
                "List roles",
                "Every role with its rights, as they are enforced.",
            )
            .needs(&[Right::ReadOwn])
            .rest(Rest::get("/v1/roles").answers(200, "the roles")),
        Operation::new("list_freezes", list_freezes)
            .says("List freezes", "What is frozen.")
            .needs(&[Right::ReadSetup])
            .rest(Rest::get("/v1/freeze").answers(200, "the freezes")),
        Operation::new("freeze", freeze)
            .says(
                "Freeze a scope",
                "Stop every proposal, commit and low-risk call in a scope, at once and on every \
                 node. Operators and approvers may.",
            )
            .needs(&[Right::Brake])
            .does(Effect::Sets)
            .rest(Rest::post("/v1/freeze").answers(200, "what is frozen then")),
        Operation::new("unfreeze", unfreeze)
            .says(
                "Lift a freeze",
                "Lift one freeze; others that cover the same thing stay.",
            )
            .needs(&[Right::Operate])
            .does(Effect::Sets)
            .rest(Rest::post("/v1/unfreeze").answers(200, "what is frozen then")),
    ]
}

/// A key without its secret.
#[derive(Serialize, JsonSchema)]
pub struct Key {
    id: String,
    /// Its role, if it has exactly one.
    #[schemars(schema_with = "words::maybe_role")]
    role: Option<&'static str>,
    #[schemars(schema_with = "words::roles")]
    roles: Roles,
    name: String,
    agent_id: Option<String>,
    slack_user: Option<String>,
    /// The name of the person whose program it is; of an agent's, who runs it.
    person: Option<String>,
    person_id: Option<String>,
    #[schemars(schema_with = "words::time")]
    created_at: String,
    revoked_at: Option<String>,
}

impl From<KeyInfo> for Key {
    fn from(key: KeyInfo) -> Self {
        Self {
            id: key.id,
            role: key.roles.only().map(Role::name),
            roles: key.roles,
            name: key.name,
            agent_id: key.agent_id.map(|agent| agent.to_string()),
            slack_user: key.slack_user,
            person: key.person,
            person_id: key.person_id.map(|id| id.to_string()),
            created_at: key.created_at.to_string(),
            revoked_at: key.revoked_at.map(|at| at.to_string()),
        }
    }
}

#[derive(Serialize, JsonSchema)]
struct KeyList {
    keys: Vec<Key>,
}

async fn list_keys(call: Call, _: Nothing) -> Result<KeyList, Trouble> {
    let keys = call.broker.access.keys(&call.who).await?;
    let keys = keys.into_iter().map(Key::from).collect();
    Ok(KeyList { keys })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewKey {
    /// Its role, where it is one: the same as a list of it.
    #[serde(default)]
    #[schemars(schema_with = "words::maybe_role")]
    role: Option<Role>,
    /// What its holder may do. An agent decides on nothing, and is at most an auditor besides.
    #[serde(default)]
    #[schemars(schema_with = "words::maybe_roles")]
    roles: Option<Roles>,
    #[schemars(length(min = 1, max = 100))]
    name: String,
    /// The member id whose buttons decide as this approver or admin.
    #[schemars(
        regex(pattern = "^[UW][A-Z0-9]{1,31}$"),
        title = "a Slack member id, such as U012AB3CD"
    )]
    slack_user: Option<String>,
    /// The id or name of the person whose program it is: it may at most what they may, and where
    /// several have to agree, they are counted. Of an agent's key, who runs it.
    #[schemars(length(min = 1, max = 100))]
    person: Option<String>,
}

/// A key as it is shown once, with its secret.
#[derive(Serialize, JsonSchema)]
pub struct MadeKey {
    #[serde(flatten)]
    made: Key,
    /// The bearer text; shown this once.
    key: String,
}

impl MadeKey {
    /// A key and its text.
    pub fn of(info: KeyInfo, text: String) -> Self {
        Self {
            made: info.into(),
            key: text,
        }
    }
}

/// Either spelling, not both.
fn named_roles(role: Option<Role>, roles: Option<Roles>) -> Result<Roles, Trouble> {
    match (role, roles) {
        (Some(role), None) => Ok(role.into()),
        (None, Some(roles)) => Ok(roles),
        (None, None) => Err(invalid("`roles` is missing: a list of roles")),
        (Some(_), Some(_)) => Err(invalid("`role` and `roles` say the same: leave one out")),
    }
}

async fn create_key(call: Call, new: NewKey) -> Result<Reply<MadeKey>, Trouble> {
    let roles = named_roles(new.role, new.roles)?;
    let (slack_user, person) = (new.slack_user.as_deref(), new.person.as_deref());
    let made = call
        .broker
        .access
        .create_key_for(&call.who, roles, &new.name, slack_user, person);
    let (info, text) = made.await?;
    Ok(Reply::created(MadeKey::of(info, text)))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NamedKey {
    /// The key's id.
    id: String,
}

async fn revoke_key(call: Call, named: NamedKey) -> Result<Key, Trouble> {
    let info = call.broker.access.revoke_key(&call.who, &named.id).await?;
    Ok(info.into())
}

#[derive(Serialize, JsonSchema)]
struct RoleList {
    roles: Vec<RoleInfo>,
}

/// A role, and what it may do.
#[derive(Serialize, JsonSchema)]
struct RoleInfo {
    #[schemars(schema_with = "words::role")]
    name: &'static str,
    about: &'static str,
    #[schemars(schema_with = "words::rights")]
    rights: Vec<&'static str>,
    /// The operations that these open.
    operations: Vec<&'static str>,
}

async fn list_roles(_: Call, _: Nothing) -> Result<RoleList, Trouble> {
    let told = |role: Role| RoleInfo {
        name: role.name(),
        about: role.about(),
        rights: Right::ALL
            .into_iter()
            .filter(|right| role.may(*right))
            .map(Right::name)
            .collect(),
        operations: table()
            .iter()
            .filter(|operation| operation.rights.iter().any(|right| role.may(*right)))
            .map(|operation| operation.name)
            .collect(),
    };
    Ok(RoleList {
        roles: Role::ALL.map(told).into(),
    })
}

#[derive(Serialize, JsonSchema)]
struct FreezeList {
    frozen: Vec<FrozenScope>,
}

/// What is frozen, by whom and why.
#[derive(Serialize, JsonSchema)]
struct FrozenScope {
    #[schemars(schema_with = "words::scope")]
    scope: &'static str,
    id: Option<String>,
    reason: String,
    by: String,
    #[schemars(schema_with = "words::time")]
    at: String,
}

impl From<Freeze> for FrozenScope {
    fn from(freeze: Freeze) -> Self {
        Self {
            scope: freeze.scope.name(),
            id: freeze.id,
            reason: freeze.reason,
            by: freeze.by,
            at: freeze.at.to_string(),
        }
    }
}

impl From<Freezes> for FreezeList {
    fn from(freezes: Freezes) -> Self {
        Self {
            frozen: freezes.0.into_iter().map(FrozenScope::from).collect(),
        }
    }
}

async fn list_freezes(call: Call, _: Nothing) -> Result<FreezeList, Trouble> {
    Ok(call.broker.pay.freezes(&call.who).await?.into())
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FreezeRequest {
    #[schemars(schema_with = "words::scope")]
    scope: FreezeScope,
    /// Which agent, tool, vendor or server; none for `all`.
    id: Option<String>,
    /// Why; others will ask. A freeze needs one.
    reason: Option<String>,
}

async fn freeze(call: Call, asked: FreezeRequest) -> Result<FreezeList, Trouble> {
    let reason = asked.reason.unwrap_or_default();
    let id = asked.id.as_deref();
    let frozen = call.broker.pay.freeze(&call.who, asked.scope, id, &reason);
    Ok(frozen.await?.into())
}

async fn unfreeze(call: Call, asked: FreezeRequest) -> Result<FreezeList, Trouble> {
    let reason = asked.reason.unwrap_or_default();
    let id = asked.id.as_deref();
    let frozen = call
        .broker
        .pay
        .unfreeze(&call.who, asked.scope, id, &reason);
    Ok(frozen.await?.into())
}
