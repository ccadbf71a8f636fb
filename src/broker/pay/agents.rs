//! Agents, as those who watch over them see them: who there is, what is left of today's budget,
//! and how risky a payout would look.
//!
//! Reading only: nothing here counts against an agent or teaches the statistics anything.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Pay;
use super::policy::PolicyView;
use crate::broker::core::Trouble;
use crate::broker::core::memory::HISTORY_LENGTH;
use crate::domain::change::Pot;
use crate::domain::facts::PastPayout;
use crate::domain::ids::AgentId;
use crate::domain::money::Currency;
use crate::domain::policy::Policy;
use crate::domain::principal::{Principal, Right};
use crate::domain::strict::MAX_SAFE_INTEGER;
use crate::domain::time::Day;
use crate::domain::tool::Payee;
use crate::governance::{anomaly, risk};
use crate::store::Budget;

/// Days of budgets that are told.
const DAYS: u32 = 14;

/// One day's budget of one agent, in minor units.
#[derive(Clone, PartialEq, Debug)]
pub struct BudgetView {
    /// Whose.
    pub agent: AgentId,
    /// `None` is no limit, or no policy.
    pub daily_limit: Option<i64>,
    /// Held for what is held, allowed, on its way or in doubt.
    pub reserved: i64,
    /// Spent.
    pub posted: i64,
    /// What still fits; `None` where there is no limit, 0 where no policy allows anything.
    pub remaining: Option<i64>,
    /// The version of the policy; `None` if there is none.
    pub policy_version: Option<u64>,
    /// The day, in the budget time zone.
    pub day: Day,
    /// The policy's currency.
    pub currency: Currency,
}

/// An agent that has a key, a policy or a past.
#[derive(Clone, PartialEq, Debug)]
pub struct AgentView {
    /// Its id.
    pub agent: AgentId,
    /// The version of its policy; `None` if it has none.
    pub policy_version: Option<u64>,
}

impl Pay {
    /// Every agent of the caller's organisation; to an agent, itself.
    pub async fn agents(&self, who: &Principal) -> Result<Vec<AgentView>, Trouble> {
        let policies = self.policies(who).await?;
        let mut names: BTreeSet<AgentId> = policies.iter().map(|view| view.agent.clone()).collect();
        if who.may(Right::ReadSetup) {
            names.extend(self.ports().store.agents(&who.org).await?);
            let keys = self.access.keys(who).await?;
            let live = keys.into_iter().filter(|key| key.revoked_at.is_none());
            names.extend(live.filter_map(|key| key.agent_id));
        } else {
            names.extend(who.agent.clone());
        }
        let version = |agent: &AgentId| {
            let found = policies.iter().find(|view| view.agent == *agent);
            found.map(|view| view.version)
        };
        Ok(names
            .into_iter()
            .map(|agent| AgentView {
                policy_version: version(&agent),
                agent,
            })
            .collect())
    }

    /// What an agent reserved and spent on each of the last days, the oldest first.
    pub async fn budget_days(
        &self,
        who: &Principal,
        agent: &AgentId,
    ) -> Result<(Currency, Vec<(Day, Budget)>), Trouble> {
        let view = self.policy_if_any(who, agent).await?;
        let currency = view.map_or(Currency::INR, |view| view.policy.currency());
        let (now, zone) = (self.ports().ambient.now(), &self.settings().zone);
        let mut days = Vec::with_capacity(DAYS as usize);
        for back in (0..i64::from(DAYS)).rev() {
            let day = now.plus_secs(-back * 24 * 60 * 60).day_in(zone);
            // Twice, where a day of the zone is longer than twenty-four hours.
            if days.last().is_some_and(|(last, _)| *last == day) {
                continue;
            }
            let pot = Pot {
                org: who.org.clone(),
                agent: agent.clone(),
                day,
                currency,
            };
            days.push((day, self.ports().store.budget(&pot).await?));
        }
        Ok((currency, days))
    }

    /// Today's budget of an agent.
    pub async fn budget(&self, who: &Principal, agent: &AgentId) -> Result<BudgetView, Trouble> {
        let view = self.policy_if_any(who, agent).await?;
        let policy_version = view.as_ref().map(|view| view.version);
        let policy = view.map(|view| view.policy);
        let currency = policy.as_ref().map_or(Currency::INR, Policy::currency);
        let day = self.ports().ambient.now().day_in(&self.settings().zone);
        let pot = Pot {
            org: who.org.clone(),
            agent: agent.clone(),
            day,
            currency,
        };
        let budget = self.ports().store.budget(&pot).await?;
        let taken = budget.pending.saturating_add(budget.posted);
        let left = |limit: i64| limit.saturating_sub(taken).max(0);
        let (daily_limit, remaining) = match policy {
            Some(policy) => (policy.daily_limit, policy.daily_limit.map(left)),
            None => (None, Some(0)),
        };
        Ok(BudgetView {
            agent: agent.clone(),
            daily_limit,
            reserved: budget.pending,
            posted: budget.posted,
            remaining,
            policy_version,
            day,
            currency,
        })
    }

    /// What an agent's history says, in the fields of `get_agent_risk_profile`.
    pub async fn risk_profile(&self, who: &Principal, agent: &AgentId) -> Result<Value, Trouble> {
        let (history, hours) = self.readable_history(who, agent).await?;
        Ok(risk::profile(agent, &history, &hours))
    }

    /// How a payout would look against an agent's history, in the fields of
    /// `score_transaction_risk`. Nothing is counted or remembered.
    pub async fn score_risk(
        &self,
        who: &Principal,
        agent: &AgentId,
        minor: i64,
        payee: &Payee,
    ) -> Result<Value, Trouble> {
        if !(1..=MAX_SAFE_INTEGER).contains(&minor) {
            let text = "`amount` is a positive integer of minor units, up to 2^53-1";
            return Err(Trouble::InvalidRequest(text.to_owned()));
        }
        let (history, hours) = self.readable_history(who, agent).await?;
        let view = self.policy_if_any(who, agent).await?;
        let policy = view.map(|view| view.policy);
        let now = self.ports().ambient.now();
        Ok(risk::risk(&anomaly::Look {
            minor,
            currency: policy.map_or(Currency::INR, |policy| policy.currency()),
            now,
            hour_of_week: now.hour_of_week(&self.settings().zone),
            payee,
            history: &history,
            hours: &hours,
        }))
    }

    async fn policy_if_any(
        &self,
        who: &Principal,
        agent: &AgentId,
    ) -> Result<Option<PolicyView>, Trouble> {
        if !who.may_read(&who.org, agent) {
            return Err(Trouble::NotFound("agent"));
        }
        match self.policy(who, agent).await {
            Ok(view) => Ok(Some(view)),
            Err(Trouble::NotFound(_)) => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// The latest payouts, newest first, and their hours of the week.
    async fn readable_history(
        &self,
        who: &Principal,
        agent: &AgentId,
    ) -> Result<(Vec<PastPayout>, Vec<u8>), Trouble> {
        if !who.may_read(&who.org, agent) {
            return Err(Trouble::NotFound("agent"));
        }
        let store = &self.ports().store;
        let history = store.history(&who.org, agent, HISTORY_LENGTH).await?;
        let zone = &self.settings().zone;
        let hours = history
            .iter()
            .map(|past| past.at.hour_of_week(zone))
            .collect();
        Ok((history, hours))
    }
}
