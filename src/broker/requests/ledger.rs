//! The money of attempts: reserved in the agent's own pot before anything is sent, settled by what
//! came of it. Totals derive from rows.

use super::Requests;
use crate::domain::change::{BudgetMove, Pot};
use crate::domain::ids::{AgentId, OrgId};
use crate::domain::money::Currency;
use crate::domain::requests::piece::Tokens;
use crate::domain::requests::request::{Attempt, Open, Request};
use crate::domain::requests::rows::Payer;
use crate::domain::requests::spent::LlmLimits;
use crate::domain::time::{Day, Timestamp};

/// What an attempt came to.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Outcome {
    pub tokens: Tokens,
    pub estimated: bool,
    pub first_ms: Option<u64>,
    pub why: Option<String>,
}

impl Requests {
    /// The pot of an agent for models, on the day of this instant.
    pub(super) fn pot(&self, org: &OrgId, agent: &AgentId, at: Timestamp) -> Pot {
        Pot {
            org: org.clone(),
            agent: agent.clone(),
            day: self.day(at),
            currency: Currency::NANO_USD,
        }
    }

    pub(super) fn day(&self, at: Timestamp) -> Day {
        at.day_in(&self.settings().zone)
    }

    /// Who pays for an attempt that was reserved at this instant.
    pub(super) fn payer<'a>(
        &self,
        org: &'a OrgId,
        request: &'a Request,
        at: Timestamp,
    ) -> Payer<'a> {
        Payer {
            org,
            request,
            day: self.day(at),
        }
    }

    /// Holds what an attempt may cost.
    pub(super) fn reserve(
        &self,
        org: &OrgId,
        agent: &AgentId,
        open: &Open,
        limits: &LlmLimits,
    ) -> BudgetMove {
        BudgetMove::Reserve {
            pot: self.pot(org, agent, open.held_at),
            amount: i64::try_from(open.reserved).unwrap_or(i64::MAX),
            limit: limits.daily_usd.map(|usd| usd.nanos()),
        }
    }
}

/// The attempt as it ended, at the price it was reserved at.
pub(super) fn ended(open: &Open, outcome: Outcome, now: Timestamp) -> Attempt {
    let used = outcome.tokens != Tokens::default();
    let cost = open.prices.cost(&outcome.tokens).map(|nanos| nanos.0);
    Attempt {
        id: open.id,
        provider: open.provider.clone(),
        model: open.model.clone(),
        started_at: open.at,
        ended_at: now,
        first_ms: outcome.first_ms,
        tokens: outcome.tokens,
        // What cannot be counted cost all that was held for it, and no answer that used nothing cost
        // anything, whatever a request costs besides.
        nanos: match used {
            true => cost.unwrap_or(open.reserved),
            false => 0,
        },
        estimated: outcome.estimated,
        why: outcome.why,
    }
}

/// What its reservation becomes.
pub(super) fn post(attempt: &Attempt) -> BudgetMove {
    BudgetMove::Post {
        settled: i64::try_from(attempt.nanos).unwrap_or(i64::MAX),
    }
}
