//! The usual prompt of an agent with a tool: what prompt drift is measured against.
//!
//! It is the prompt of the first proposal that was carried out, so nobody makes a prompt the usual
//! one by proposing what is then refused, rejected or never committed. It stays until an operator
//! resets it; a proposal made before that says nothing about what is usual afterwards.
//!
//! Learning comes after the outcome is on record and never stands in its way: what cannot be
//! written now is learnt from the next proposal that is carried out.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Pay;
use crate::broker::core::{Trouble, failed, forbidden};
use crate::domain::change::{Change, Conflict, Record};
use crate::domain::document::Document;
use crate::domain::ids::{AgentId, OrgId, ToolName};
use crate::domain::principal::{Principal, Right};
use crate::domain::proposal::{Proposal, State};
use crate::domain::time::Timestamp;
use crate::store::ApplyError;

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

impl Document for Baseline {
    const KIND: &'static str = "baseline";
    const CACHED: bool = true;
    type Id = Habit;
}

/// Names a baseline: an agent with a tool.
struct Habit {
    agent: AgentId,
    tool: ToolName,
}

impl fmt::Display for Habit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.agent, self.tool)
    }
}

impl Pay {
    /// Hash of the usual prompt, if there is one.
    pub(super) async fn usual_prompt(
        &self,
        org: &OrgId,
        agent: &AgentId,
        tool: &ToolName,
    ) -> Result<Option<String>, Trouble> {
        let habit = Habit {
            agent: agent.clone(),
            tool: tool.clone(),
        };
        let (_, baseline) = self.baseline(org, &habit).await?;
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
        let habit = Habit {
            agent: fixed.agent.clone(),
            tool: fixed.tool.clone(),
        };
        let Ok((version, before)) = self.baseline(&fixed.org, &habit).await else {
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
        let write = after.write(&fixed.org, &habit, Some(version));
        let key = write.key.clone();
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
        let habit = Habit {
            agent: agent.parse().map_err(|_| unknown())?,
            tool: tool.parse().map_err(|_| unknown())?,
        };
        let key = Baseline::key(&who.org, &habit);
        for _ in 0..TRIES {
            // What this process remembers is as old as it may be.
            self.memory().forget_doc(&key);
            let (version, before) = self.baseline(&who.org, &habit).await?;
            let hash = before.prompt_hash.ok_or_else(unknown)?;
            let now = self.ports().ambient.now();
            let after = Baseline {
                prompt_hash: None,
                reset_at: Some(now),
            };
            let write = after.write(&who.org, &habit, Some(version));
            let mut record = Record::new(now, &who.org, "baseline_reset", &who.id)
                .with(json!({"prompt_hash": hash}));
            record.agent = Some(habit.agent.clone());
            record.tool = Some(habit.tool.clone());
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
    async fn baseline(&self, org: &OrgId, habit: &Habit) -> Result<(u64, Baseline), Trouble> {
        let (found, guard) = self.remembered::<Baseline>(org, habit).await?;
        let baseline = found.and_then(Result::ok).map(|stored| stored.value);
        Ok((guard.version, baseline.unwrap_or_default()))
    }
}
