//! Policies: read, written, taken away, and remembered in every version.
//!
//! Only operators write them; an agent reads its own. The stored policy is checked and in its one
//! spelling, so a decision never meets one that it cannot read. Each write leaves, whole or not at
//! all: the policy itself, a copy under its version (proposals name the version that decided), and
//! an audit record with what was before and after, and who it was.

use serde_json::{Value, json};

use super::Pay;
use crate::broker::core::documents::{read, version_of};
use crate::broker::core::{Trouble, failed, forbidden};
use crate::broker::tools::check::Beside;
use crate::domain::audit::names::RecordKind;
use crate::domain::change::{Change, Conflict, Record};
use crate::domain::document::{Document, Stored};
use crate::domain::ids::AgentId;
use crate::domain::policy::{Duplicates, PastPolicy, Policy, RateLimit, Repeat, VersionOf};
use crate::domain::principal::{Principal, Right};
use crate::domain::time::Timestamp;
use crate::governance::mandate;
use crate::store::ApplyError;

/// How often a write is tried when others write at the same moment.
const TRIES: u32 = 8;
/// Most versions that a history goes back.
const MAX_VERSIONS: u64 = 100;

/// A policy as it stands.
#[derive(Clone, PartialEq, Debug)]
pub struct PolicyView {
    /// The agent it governs.
    pub agent: AgentId,
    /// What it says.
    pub policy: Policy,
    /// Counts the writes of this agent's policy; proposals name the one that decided.
    pub version: u64,
}

/// One version of a policy, present or past.
#[derive(Clone, PartialEq, Debug)]
pub struct PolicyVersion {
    /// Which.
    pub version: u64,
    /// What it said; `None` if it was taken away.
    pub policy: Option<Policy>,
    /// Who wrote it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

impl Pay {
    /// The policy of an agent, to those who may read how things are set up, and to the agent.
    pub async fn policy(&self, who: &Principal, agent: &AgentId) -> Result<PolicyView, Trouble> {
        if !who.may_read_setup(&who.org, agent) {
            return Err(Trouble::NotFound("policy"));
        }
        let stored = self.find::<Option<Policy>>(&who.org, agent).await?;
        let stored = stored.and_then(Result::ok).and_then(view);
        stored.ok_or(Trouble::NotFound("policy"))
    }

    /// Every policy of the caller's organisation, by agent; an agent sees its own.
    pub async fn policies(&self, who: &Principal) -> Result<Vec<PolicyView>, Trouble> {
        let stored = self.documents::<Option<Policy>>(Some(&who.org)).await?;
        let mut views: Vec<PolicyView> = stored.into_iter().flatten().filter_map(view).collect();
        views.retain(|view| who.may_read_setup(&who.org, &view.agent));
        views.sort_by(|a, b| a.agent.cmp(&b.agent));
        Ok(views)
    }

    /// Every version there was, newest first, at most a hundred.
    pub async fn policy_versions(
        &self,
        who: &Principal,
        agent: &AgentId,
    ) -> Result<Vec<PolicyVersion>, Trouble> {
        if !who.may_read_setup(&who.org, agent) {
            return Err(Trouble::NotFound("policy"));
        }
        let latest = self.find::<Option<Policy>>(&who.org, agent).await?;
        let latest = version_of(latest.as_ref());
        let mut versions = Vec::new();
        for version in (1..=latest).rev().take(MAX_VERSIONS as usize) {
            let id = VersionOf {
                agent: agent.clone(),
                version,
            };
            let copy = self.find::<PastPolicy>(&who.org, &id).await?;
            versions.extend(copy.and_then(Result::ok).map(|copy| PolicyVersion {
                version,
                policy: copy.value.policy,
                by: copy.value.by,
                at: copy.value.at,
            }));
        }
        Ok(versions)
    }

    /// Puts a whole policy into force, as an operator wrote it. With `expect`, only if the version
    /// is still that one (0: there is none). Writing what is there already changes nothing.
    pub async fn set_policy(
        &self,
        who: &Principal,
        agent: &AgentId,
        body: &Value,
        expect: Option<u64>,
    ) -> Result<PolicyView, Trouble> {
        let policy = mandate::whole(body).map_err(Trouble::InvalidRequest);
        let next = |_: Stood<'_>| policy.clone().map(Some);
        self.operators_word(who, agent, next, expect).await
    }

    /// A policy as it would be kept.
    pub fn check_policy(&self, who: &Principal, body: &Value) -> Result<Value, Trouble> {
        if !who.may(Right::Operate) {
            return Err(forbidden(who));
        }
        let policy = mandate::whole(body).map_err(Trouble::InvalidRequest)?;
        Ok(json!(policy))
    }

    /// Changes what `changes` name in an agent's policy, and nothing else of it. Where there is no
    /// policy yet, they have to be a whole one.
    pub async fn change_policy(
        &self,
        who: &Principal,
        agent: &AgentId,
        changes: &Value,
        expect: Option<u64>,
    ) -> Result<PolicyView, Trouble> {
        let next = |stood: Stood<'_>| {
            let before = match stood {
                Stood::Nothing => None,
                Stood::Policy(policy) => Some(policy),
                Stood::Unreadable => {
                    let text = "the policy in force does not read; replace it as a whole";
                    return Err(Trouble::InvalidRequest(text.to_owned()));
                }
            };
            let after = mandate::changed(before, changes);
            after.map(Some).map_err(Trouble::InvalidRequest)
        };
        self.operators_word(who, agent, next, expect).await
    }

    async fn operators_word(
        &self,
        who: &Principal,
        agent: &AgentId,
        next: impl Fn(Stood<'_>) -> Result<Option<Policy>, Trouble>,
        expect: Option<u64>,
    ) -> Result<PolicyView, Trouble> {
        if !who.may(Right::Operate) {
            return Err(forbidden(who));
        }
        let (policy, version) = self.write_policy(who, agent, next, expect).await?;
        Ok(PolicyView {
            agent: agent.clone(),
            policy: policy.ok_or(Trouble::NotFound("policy"))?,
            version,
        })
    }

    /// What an operator should know about a policy: that no key acts as its agent, or that a name it
    /// lists is no tool's, and what they may have meant. A policy for what is to come is a fine
    /// thing; one for a typo is none.
    pub async fn policy_warnings(
        &self,
        who: &Principal,
        view: &PolicyView,
    ) -> Result<Vec<String>, Trouble> {
        let here = self.tools.here(who, &Beside::default()).await?;
        let agent = Some(view.agent.as_str());
        Ok(here.unknown_to_policy(agent, &json!(view.policy)))
    }

    /// Takes an agent's policy away: from then on nothing of its is allowed, and what was allowed
    /// can no longer be committed.
    pub async fn delete_policy(&self, who: &Principal, agent: &AgentId) -> Result<(), Trouble> {
        if !who.may(Right::Operate) {
            return Err(forbidden(who));
        }
        self.policy(who, agent).await?;
        let none = |_: Stood<'_>| Ok(None);
        self.write_policy(who, agent, none, None).await.map(drop)
    }

    /// Gives sample agents a policy each, where they have none. Says which it gave.
    pub async fn seed_policies(&self, who: &Principal) -> Result<Vec<(PolicyView, bool)>, Trouble> {
        if !who.may(Right::Operate) {
            return Err(forbidden(who));
        }
        let mut seeded = Vec::new();
        for (agent, policy) in samples() {
            let given = self.give_policy(who, &agent, policy).await?;
            seeded.push((self.policy(who, &agent).await?, given));
        }
        Ok(seeded)
    }

    /// Gives the sandbox's agent a policy that lets a newcomer try everything, unless it ever had
    /// one.
    pub async fn seed_sandbox_policy(
        &self,
        who: &Principal,
        agent: &AgentId,
    ) -> Result<bool, Trouble> {
        if !who.may(Right::Operate) {
            return Err(forbidden(who));
        }
        self.give_policy(who, agent, sandbox_policy()).await
    }

    async fn give_policy(
        &self,
        who: &Principal,
        agent: &AgentId,
        policy: Policy,
    ) -> Result<bool, Trouble> {
        let next = |_: Stood<'_>| Ok(Some(policy.clone()));
        match self.write_policy(who, agent, next, Some(0)).await {
            Ok(_) => Ok(true),
            Err(Trouble::Changed) => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }

    /// The policy and the version that then stand.
    async fn write_policy(
        &self,
        who: &Principal,
        agent: &AgentId,
        next: impl Fn(Stood<'_>) -> Result<Option<Policy>, Trouble>,
        expect: Option<u64>,
    ) -> Result<(Option<Policy>, u64), Trouble> {
        let key = Option::<Policy>::key(&who.org, agent);
        for _ in 0..TRIES {
            // As it is stored, so that one in an earlier spelling is told and replaced as it was.
            let doc = self.ports().store.doc(&key).await?;
            let stored = doc.as_ref().map(read::<Option<Policy>>);
            let (before, version) = doc.map_or((Value::Null, 0), |doc| (doc.body, doc.version));
            if expect.is_some_and(|expect| expect != version) {
                return Err(Trouble::Changed);
            }
            let stood = match &stored {
                None => Stood::Nothing,
                Some(Err(_)) => Stood::Unreadable,
                Some(Ok(stored)) => stored.value.as_ref().map_or(Stood::Nothing, Stood::Policy),
            };
            let policy = match next(stood)? {
                Some(policy) => Some(self.fulfillable(who, policy).await?),
                None => None,
            };
            let after = json!(policy);
            if before == after && version > 0 {
                return Ok((policy, version));
            }
            let change = self.policy_change(who, agent, version, (&before, &policy));
            match self.ports().store.apply(change).await {
                Ok(_) => {
                    self.memory().forget_doc(&key);
                    return Ok((policy, version + 1));
                }
                Err(ApplyError::Conflict(Conflict::DocChanged(_))) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(Trouble::Changed)
    }

    fn policy_change(
        &self,
        who: &Principal,
        agent: &AgentId,
        version: u64,
        (before, after): (&Value, &Option<Policy>),
    ) -> Change {
        let now = self.ports().ambient.now();
        let next = version + 1;
        let id = VersionOf {
            agent: agent.clone(),
            version: next,
        };
        let copy = PastPolicy {
            policy: after.clone(),
            by: who.id.clone(),
            at: now,
        };
        let docs = vec![
            after.write(&who.org, agent, Some(version)),
            copy.write(&who.org, &id, Some(0)),
        ];
        let kind = if after.is_none() {
            RecordKind::PolicyDeleted
        } else {
            RecordKind::PolicySet
        };
        let mut record = Record::new(now, &who.org, kind, &who.id)
            .with(json!({"version": next, "before": before, "after": after}));
        record.agent = Some(agent.clone());
        Change::documents(docs, Vec::new(), vec![record], Vec::new())
    }
}

/// What stood before a write.
#[derive(Clone, Copy)]
enum Stood<'a> {
    /// No policy, or one that was taken away.
    Nothing,
    /// This one.
    Policy(&'a Policy),
    /// One that this version cannot read.
    Unreadable,
}

/// `None` where it was taken away.
fn view(stored: Stored<Option<Policy>>) -> Option<PolicyView> {
    Some(PolicyView {
        agent: stored.key.id.parse().ok()?,
        policy: stored.value?,
        version: stored.version,
    })
}

/// Generous, without a rate limit, and without a look at duplicates: for trying things out, again
/// and again, where no money moves.
fn sandbox_policy() -> Policy {
    Policy {
        // 10 crore rupees a day, so that a load test ends before it; ten lakh at once; above five a
        // person is asked. A newcomer meets both in the first minutes.
        daily_limit: Some(10_000_000_000),
        per_txn_limit: Some(100_000_000),
        require_approval_above: Some(50_000_000),
        allowed_tools: Some(vec!["*".to_owned()]),
        duplicates: Duplicates {
            then: Repeat::Off,
            ..Duplicates::default()
        },
        rate_limit: RateLimit {
            max: 0,
            window_secs: 60,
        },
        ..Policy::default()
    }
}

/// Four agents with four kinds of limits, to look at and to try.
fn samples() -> Vec<(AgentId, Policy)> {
    let list = |hosts: &[&str]| hosts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let limits = |daily, per_txn, above| Policy {
        daily_limit: Some(daily),
        per_txn_limit: Some(per_txn),
        require_approval_above: above,
        ..Policy::default()
    };
    let rows = [
        (
            "openclaw-agent-001",
            Policy {
                blocked_domains: list(&["evil.com", "malware.org", "phishing.net"]),
                ..limits(500_000, 100_000, Some(50_000))
            },
        ),
        (
            "openclaw-agent-002",
            Policy {
                allowed_domains: list(&["trusted-vendor.com", "example-vendor.com"]),
                ..limits(1_000_000, 250_000, Some(200_000))
            },
        ),
        ("cursor-finance-bot", limits(200_000, 50_000, None)),
        (
            "demo-agent-restricted",
            Policy {
                blocked_domains: list(&["*"]),
                ..limits(10_000, 5_000, Some(2_500))
            },
        ),
    ];
    rows.into_iter()
        .filter_map(|(agent, policy)| Some((agent.parse().ok()?, policy)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_a_policy_in_its_one_spelling() {
        assert_eq!(samples().len(), 4);
        let policies = samples().into_iter().map(|(_, policy)| policy);
        for policy in policies.chain([sandbox_policy()]) {
            assert_eq!(mandate::checked(policy.clone()), Ok(policy));
        }
    }
}
