//! Freezing and unfreezing: an operator's brake. Approvers may pull it, too; only operators let go.
//!
//! What is frozen stops proposals, commits and low-risk calls alike. A scope that nothing has is an
//! error and not a freeze: whoever mistypes an id must not believe that something stands still.
//!
//! All freezes of an organisation are one document, and every admission and every claim is written
//! under a guard on its version: once a freeze is stored, nothing that had not seen it goes through
//! on any node, without waiting for anybody to hear of it.

use serde_json::json;

use super::Pay;
use crate::broker::access::keys::StoredKey;
use crate::broker::core::{Trouble, failed, forbidden};
use crate::connector::registry;
use crate::domain::audit::names::RecordKind;
use crate::domain::change::{Change, Conflict, Record};
use crate::domain::document::Single;
use crate::domain::facts::{Fact, Freeze, FreezeScope, Freezes};
use crate::domain::ids::{AgentId, OrgId, ToolName};
use crate::domain::policy::Policy;
use crate::domain::principal::{Principal, Right};
use crate::store::{ApplyError, ProposalFilter};

/// Most freezes at once; each decision looks at all of them.
const MAX_FREEZES: usize = 1_000;
/// Longest vendor and longest reason, in characters.
const MAX_VENDOR: usize = 256;
const MAX_REASON: usize = 1_000;
/// How often a write is tried when others write at the same moment.
const TRIES: u32 = 8;

impl Pay {
    /// What is frozen in the caller's organisation.
    pub async fn freezes(&self, who: &Principal) -> Result<Freezes, Trouble> {
        if !who.may(Right::ReadSetup) {
            return Err(forbidden(who));
        }
        self.read_freezes(&who.org)
            .await
            .map(|(freezes, _)| freezes)
    }

    /// Freezes a scope. Freezing it again renews the reason. Returns what is frozen then.
    pub async fn freeze(
        &self,
        who: &Principal,
        scope: FreezeScope,
        id: Option<&str>,
        reason: &str,
    ) -> Result<Freezes, Trouble> {
        if !who.may(Right::Brake) {
            return Err(forbidden(who));
        }
        let id = self.target(who, scope, id)?;
        if let Some(id) = &id {
            self.expect_target(who, scope, id).await?;
        }
        let reason = reason.trim();
        if reason.is_empty() || reason.chars().count() > MAX_REASON {
            return bad(&format!(
                "`reason` is 1 to {MAX_REASON} characters: others will ask why"
            ));
        }
        let freeze = Freeze {
            scope,
            id,
            reason: reason.to_owned(),
            by: who.id.clone(),
            at: self.ports().ambient.now(),
        };
        self.change_freezes(who, RecordKind::Frozen, &freeze, |freezes| {
            freezes.0.retain(|other| !same(other, &freeze));
            if freezes.0.len() >= MAX_FREEZES {
                return bad("too many scopes are frozen; freeze a wider one instead");
            }
            freezes.0.push(freeze.clone());
            Ok(())
        })
        .await
    }

    /// Lifts one freeze; others that cover the same thing stay. Returns what is frozen then.
    pub async fn unfreeze(
        &self,
        who: &Principal,
        scope: FreezeScope,
        id: Option<&str>,
        reason: &str,
    ) -> Result<Freezes, Trouble> {
        if !who.may(Right::Operate) {
            return Err(forbidden(who));
        }
        let freeze = Freeze {
            scope,
            id: self.target(who, scope, id)?,
            reason: reason.trim().chars().take(MAX_REASON).collect(),
            by: who.id.clone(),
            at: self.ports().ambient.now(),
        };
        self.change_freezes(who, RecordKind::Unfrozen, &freeze, |freezes| {
            let before = freezes.0.len();
            freezes.0.retain(|other| !same(other, &freeze));
            if freezes.0.len() == before {
                return Err(Trouble::NotFound("freeze"));
            }
            Ok(())
        })
        .await
    }

    async fn change_freezes(
        &self,
        who: &Principal,
        kind: RecordKind,
        about: &Freeze,
        change: impl Fn(&mut Freezes) -> Result<(), Trouble>,
    ) -> Result<Freezes, Trouble> {
        for _ in 0..TRIES {
            let (mut freezes, version) = self.read_freezes(&who.org).await?;
            change(&mut freezes)?;
            let write = freezes.write_only(&who.org, Some(version));
            let mut record = Record::new(about.at, &who.org, kind, &who.id)
                .with(json!({"scope": about.scope, "id": about.id, "reason": about.reason}));
            match (about.scope, &about.id) {
                (FreezeScope::Agent, Some(id)) => record.agent = id.parse().ok(),
                (FreezeScope::Tool, Some(id)) => record.tool = id.parse().ok(),
                (
                    FreezeScope::All
                    | FreezeScope::Vendor
                    | FreezeScope::Server
                    | FreezeScope::Agent
                    | FreezeScope::Tool,
                    _,
                ) => {}
            }
            let change = Change::documents(vec![write], Vec::new(), vec![record], Vec::new());
            match self.ports().store.apply(change).await {
                Ok(_) => {
                    self.memory().forget_doc(&Freezes::only(&who.org));
                    return Ok(freezes);
                }
                Err(ApplyError::Conflict(Conflict::DocChanged(_))) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(Trouble::Changed)
    }

    /// How many scopes of each kind are frozen, for gauges: of the first organisation.
    pub(super) async fn gauge_freezes(&self) -> Result<(), Trouble> {
        let (freezes, _) = self.read_freezes(&OrgId::default()).await?;
        for scope in FreezeScope::ALL {
            let count = freezes.0.iter().filter(|freeze| freeze.scope == scope);
            crate::telemetry::frozen(scope, count.count());
        }
        Ok(())
    }

    /// What a scope is of, spelt as checks compare it. The two names under which a tool is offered
    /// mean the tool.
    fn target(
        &self,
        who: &Principal,
        scope: FreezeScope,
        id: Option<&str>,
    ) -> Result<Option<String>, Trouble> {
        let id = target(scope, id)?;
        if scope != FreezeScope::Tool {
            return Ok(id);
        }
        let infos = self.tools.catalogue().infos(&who.org);
        Ok(id.map(|name| {
            let stem = ["_propose", "_commit"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .filter(|stem| !infos.contains_key(&name) && infos.contains_key(*stem));
            stem.map(str::to_owned).unwrap_or(name)
        }))
    }

    /// An agent, tool or server has to be there; a vendor may be frozen before it is ever paid.
    async fn expect_target(
        &self,
        who: &Principal,
        scope: FreezeScope,
        id: &str,
    ) -> Result<(), Trouble> {
        if scope == FreezeScope::Vendor && id == "*" {
            return bad("no vendor is called `*`; the scope `all` stops everything");
        }
        let (there, what) = match scope {
            FreezeScope::All | FreezeScope::Vendor => (true, "scope"),
            FreezeScope::Agent => (self.knows_agent(who, id).await?, "agent"),
            FreezeScope::Tool => (
                self.tools.catalogue().infos(&who.org).contains_key(id),
                "tool",
            ),
            FreezeScope::Server => {
                let ours = id == registry::bank().name();
                let known = ours || self.settings().upstreams.contains_key(id);
                (
                    known || self.access.has_server(&who.org, id).await?,
                    "server",
                )
            }
        };
        if there {
            Ok(())
        } else {
            Err(Trouble::NotFound(what))
        }
    }

    /// Whether an agent has a policy, a past or a key. The cheapest question first: the brake must
    /// not wait for a list of everything.
    async fn knows_agent(&self, who: &Principal, id: &str) -> Result<bool, Trouble> {
        let Ok(agent) = id.parse::<AgentId>() else {
            return Ok(false);
        };
        let local = self.local_facts(&who.org, &agent).await?;
        let has_policy = matches!(
            &local.policy,
            Fact::Known(Some(Policy { .. })) | Fact::Missing
        );
        if has_policy || agent == self.settings().bank.external_agent {
            return Ok(true);
        }
        let past = ProposalFilter {
            org: Some(who.org.clone()),
            agent: Some(agent.clone()),
            limit: 1,
            ..ProposalFilter::default()
        };
        if !self.ports().store.proposals(&past).await?.is_empty() {
            return Ok(true);
        }
        let keys = self.documents::<StoredKey>(Some(&who.org)).await?;
        let mut keys = keys.into_iter().flatten();
        Ok(keys.any(|key| key.value.agent() == Some(&agent)))
    }

    async fn read_freezes(&self, org: &OrgId) -> Result<(Freezes, u64), Trouble> {
        let stored = self.document::<Freezes>(org, Freezes::ID).await?;
        Ok(stored.map_or_else(Default::default, |stored| (stored.value, stored.version)))
    }
}

/// What a scope is of, spelt as checks compare it.
fn target(scope: FreezeScope, id: Option<&str>) -> Result<Option<String>, Trouble> {
    let id = id.map(str::trim).filter(|id| !id.is_empty());
    match (scope, id) {
        (FreezeScope::All, None) => Ok(None),
        (FreezeScope::All, Some(_)) => bad("the scope `all` takes no `id`"),
        (FreezeScope::Agent, Some(id)) if id.parse::<AgentId>().is_ok() => Ok(Some(id.to_owned())),
        (FreezeScope::Tool, Some(id)) if id.parse::<ToolName>().is_ok() => Ok(Some(id.to_owned())),
        (FreezeScope::Vendor, Some(id)) if id.chars().count() <= MAX_VENDOR => {
            Ok(Some(id.to_owned()))
        }
        (FreezeScope::Server, Some(id)) if id.chars().count() <= MAX_VENDOR => {
            Ok(Some(id.to_owned()))
        }
        (FreezeScope::Server, _) => {
            bad("the scope `server` takes the name of an upstream or of a virtual server as `id`")
        }
        (FreezeScope::Agent, _) => bad("the scope `agent` takes the `id` of an agent"),
        (FreezeScope::Tool, _) => bad("the scope `tool` takes the name of a tool as `id`"),
        (FreezeScope::Vendor, _) => bad(
            "the scope `vendor` takes an account, a domain or a vendor's name as `id`, at most \
             256 characters",
        ),
    }
}

fn same(a: &Freeze, b: &Freeze) -> bool {
    a.scope == b.scope && a.id == b.id
}

fn bad<T>(detail: &str) -> Result<T, Trouble> {
    Err(Trouble::InvalidRequest(detail.to_owned()))
}
