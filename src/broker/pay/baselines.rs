//! The usual prompt of an agent with a tool: what prompt drift is measured against.
//!
//! It is the prompt of the first proposal that was carried out, so nobody makes a prompt the usual
//! one by proposing what is then refused, rejected or never committed. It stays until an operator
//! resets it; a proposal made before that says nothing about what is usual afterwards.
//!
//! Learning comes after the outcome is on record and never stands in its way: what cannot be
//! written now is learnt from the next proposal that is carried out.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Pay;
use crate::broker::core::Trouble;
use crate::broker::core::{failed, forbidden};
use crate::domain::change::{Change, Conflict, DocKey, DocWrite, Record};
use crate::domain::ids::{AgentId, OrgId, ToolName};
use crate::domain::principal::{Principal, Right};
use crate::domain::proposal::{Proposal, State};
use crate::domain::time::Timestamp;
use crate::store::ApplyError;

/// Document kind of baselines; a document's id is `agent/tool`.
const KIND: &str = "baseline";
/// How often a reset is tried when others write at the same moment.
const TRIES: u32 = 8;

/// What is kept of an agent with a tool.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
struct Baseline {
    /// Of the usual prompt; `None` where there is none (any more).
    #[serde(default)]
    prompt_hash: Option<String>,
    /// Proposals made before this set nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reset_at: Option<Timestamp>,
}

impl Pay {
    /// Hash of the usual prompt, if there is one.
    pub(super) async fn usual_prompt(
        &self,
        org: &OrgId,
        agent: &AgentId,
        tool: &ToolName,
    ) -> Result<Option<String>, Trouble> {
        let (_, baseline) = self.baseline(&key(org, agent, tool.as_str())).await?;
        Ok(baseline.prompt_hash)
    }

    /// Takes the prompt of a proposal for the usual one, if it was carried out and none is known.
    pub(super) async fn learn_prompt(&self, proposal: &Proposal) {
        let fixed = &proposal.fixed;
        let Some(hash) = fixed.prompt_hash.as_ref() else {
            return;
        };
        if proposal.state != State::Executed {
            return;
        }
        let key = key(&fixed.org, &fixed.agent, fixed.tool.as_str());
        let Ok((version, before)) = self.baseline(&key).await else {
            return;
        };
        let is_older = |reset: Timestamp| fixed.created_at <= reset;
        if before.prompt_hash.is_some() || before.reset_at.is_some_and(is_older) {
            return;
        }
        let after = Baseline {
            prompt_hash: Some(hash.clone()),
            ..before
        };
        let write = DocWrite {
            key: key.clone(),
            expect: Some(version),
            body: Some(json!(after)),
        };
        let change = Change::documents(vec![write], Vec::new(), Vec::new(), Vec::new());
        // Whoever wrote at the same moment had as good a prompt, or reset it.
        if let Err(ApplyError::Store(error)) = self.ports().store.apply(change).await {
            tracing::warn!(proposal = %fixed.id, %error, "its prompt was not kept as the usual one");
        }
        self.memory().forget_doc(&key);
    }

    /// Forgets the usual prompt of an agent with a tool: the next proposal that is carried out sets
    /// it anew. Gives back the hash it had.
    pub async fn reset_baseline(
        &self,
        who: &Principal,
        agent: &str,
        tool: &str,
    ) -> Result<String, Trouble> {
        if !who.may(Right::Operate) {
            return Err(forbidden(who));
        }
        let unknown = || Trouble::NotFound("baseline");
        let agent: AgentId = agent.parse().map_err(|_| unknown())?;
        let tool: ToolName = tool.parse().map_err(|_| unknown())?;
        let key = key(&who.org, &agent, tool.as_str());
        for _ in 0..TRIES {
            // What this process remembers is as old as it may be.
            self.memory().forget_doc(&key);
            let (version, before) = self.baseline(&key).await?;
            let hash = before.prompt_hash.ok_or_else(unknown)?;
            let now = self.ports().ambient.now();
            let write = DocWrite {
                key: key.clone(),
                expect: Some(version),
                body: Some(json!(Baseline {
                    prompt_hash: None,
                    reset_at: Some(now),
                })),
            };
            let mut record = Record::new(now, &who.org, "baseline_reset", &who.id)
                .with(json!({"prompt_hash": hash}));
            record.agent = Some(agent.clone());
            record.tool = Some(tool.clone());
            let change = Change::documents(vec![write], Vec::new(), vec![record], Vec::new());
            match self.ports().store.apply(change).await {
                Ok(_) => {
                    self.memory().forget_doc(&key);
                    return Ok(hash);
                }
                Err(ApplyError::Conflict(Conflict::DocChanged(_))) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(Trouble::Changed)
    }

    /// The version to write against, and what it says. One that does not read is as good as none.
    async fn baseline(&self, key: &DocKey) -> Result<(u64, Baseline), Trouble> {
        let store = self.ports().store.as_ref();
        let (doc, guard) = self.memory().doc(store, key.clone()).await?;
        let baseline = doc.map(|doc| Baseline::deserialize(&doc.body).unwrap_or_default());
        Ok((guard.version, baseline.unwrap_or_default()))
    }
}

fn key(org: &OrgId, agent: &AgentId, tool: &str) -> DocKey {
    DocKey::new(KIND, org, format!("{agent}/{tool}"))
}
