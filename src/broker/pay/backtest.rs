//! A changed policy, tried on what an agent proposed lately. Nothing is written and nobody is asked.
//!
//! The facts are those that each decision kept. What was spent, how often was asked and what was
//! paid before is added up anew out of the proposals where the changed policy asks it differently:
//! as it really was, not as it would have become under the changed policy.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Pay;
use crate::broker::core::Trouble;
use crate::broker::core::pages::visible_agent;
use crate::domain::audit::names::Decision;
use crate::domain::facts::{Earlier, Facts};
use crate::domain::ids::{AgentId, ProposalId, ToolName};
use crate::domain::money::{Currency, Effective};
use crate::domain::past::PastFacts;
use crate::domain::policy::{Per, Policy, RateLimit};
use crate::domain::principal::Principal;
use crate::domain::proposal::{Origin, Proposal, State};
use crate::domain::reason::{Finding, Reason, Verdict};
use crate::domain::time::{Day, Timestamp};
use crate::domain::tool::{Payee, Risk};
use crate::governance::replay::{self, Past, Unknown};
use crate::governance::{Request, mandate};
use crate::store::ProposalFilter;

/// Days where nobody says how many.
pub const DAYS: u32 = 30;
/// Most days.
pub const MOST_DAYS: u32 = 90;
/// Proposals of one read, and most reads.
const PAGE: u32 = 50;
const READS: usize = 400;
/// Proposals after which others get a turn.
const STRIDE: usize = 256;
/// Most differences that are told one by one.
const TOLD: usize = 200;
const DAY_SECS: i64 = 24 * 60 * 60;

/// What a changed policy would have done.
#[derive(Clone, PartialEq, Debug)]
pub struct Backtest {
    /// The version that was changed; `None` if there was none in force.
    pub policy_version: Option<u64>,
    /// Proposals from here on.
    pub since: Timestamp,
    /// How many there were.
    pub proposals: u32,
    /// Of those, how many were decided anew.
    pub replayed: u32,
    /// Those decided otherwise, newest first, as many as are told one by one.
    pub different: Vec<Difference>,
    /// All of those, by what was and would have been decided.
    pub changes: Vec<ChangeSum>,
    /// Those that cannot be replayed, by why.
    pub unknown: Vec<(Unknown, u32)>,
    /// There were more than are looked at.
    pub more: bool,
}

/// A proposal that would have been decided otherwise.
#[derive(Clone, PartialEq, Debug)]
pub struct Difference {
    /// Which.
    pub id: ProposalId,
    /// When it was proposed.
    pub at: Timestamp,
    /// The tool.
    pub tool: ToolName,
    /// What it moves.
    pub effective: Effective,
    /// What was decided.
    pub was: (Decision, Reason),
    /// What would have been.
    pub would: (Decision, Reason),
}

/// How many went from one decision to another, and the money they concern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChangeSum {
    /// What was decided.
    pub was: Decision,
    /// What would have been.
    pub would: Decision,
    /// How many.
    pub count: u32,
    /// Minor units by currency; what is unbounded is not in it.
    pub amounts: BTreeMap<Currency, i64>,
}

/// What is kept of a proposal while others are compared with it.
struct Seen {
    id: ProposalId,
    at: Timestamp,
    day: Day,
    tool: ToolName,
    digest: String,
    effective: Effective,
    payee: Payee,
    identity: Option<String>,
    facts: Option<PastFacts>,
    findings: Vec<Finding>,
    origin: Origin,
    state: State,
    /// When it was taken back, turned down or lapsed.
    undone: Option<Timestamp>,
}

impl Seen {
    fn of(proposal: &Proposal) -> Self {
        let fixed = &proposal.fixed;
        Self {
            id: fixed.id,
            at: fixed.created_at,
            day: fixed.day,
            tool: fixed.tool.clone(),
            digest: fixed.tool_digest.clone(),
            effective: fixed.effective,
            identity: fixed.payee.identity(),
            payee: fixed.payee.clone(),
            facts: fixed.facts.clone(),
            findings: fixed.findings.clone(),
            origin: fixed.origin,
            state: proposal.state,
            undone: proposal.moving.ending.as_ref().map(|ending| ending.at),
        }
    }

    /// Whether its money counted at this moment.
    fn counted_at(&self, now: Timestamp) -> bool {
        let refused = matches!(self.state, State::Blocked | State::Failed);
        !refused && self.undone.is_none_or(|at| at > now)
    }
}

impl Pay {
    /// What of a decision's facts is kept with its proposal.
    pub(super) fn past_facts(&self, asked: &Request<'_>, facts: &Facts) -> PastFacts {
        let policy = facts.policy.known().and_then(Option::as_ref);
        let limit = policy.map_or_else(RateLimit::default, |policy| policy.rate_limit);
        let could_ask = self.ports().reputation.is_some() && asked.payee.url.is_some();
        PastFacts::of(facts, limit.window_secs, could_ask)
    }

    /// Tries changes of an agent's policy, as [`Pay::change_policy`] takes them, on what it proposed
    /// in so many days.
    pub async fn backtest(
        &self,
        who: &Principal,
        agent: &AgentId,
        changes: &Value,
        days: u32,
    ) -> Result<Backtest, Trouble> {
        let unknown = || Trouble::NotFound("agent");
        let visible = visible_agent(who, Some(agent)).ok_or_else(unknown)?;
        let view = match self.policy(who, agent).await {
            Ok(view) => Some(view),
            Err(Trouble::NotFound(_)) => None,
            Err(trouble) => return Err(trouble),
        };
        let before = view.as_ref().map(|view| &view.policy);
        let nothing = changes.as_object().is_some_and(Map::is_empty);
        let policy = match before.filter(|_| nothing) {
            Some(policy) => policy.clone(),
            None => mandate::changed(before, changes).map_err(Trouble::InvalidRequest)?,
        };
        let now = self.ports().ambient.now();
        let since = now.plus_secs(-i64::from(days.clamp(1, MOST_DAYS)) * DAY_SECS);
        // Further back, for what was paid before the first of them.
        let windows = policy.approval_above.iter().map(|sum| sum.window_secs);
        let longest = windows.chain([policy.duplicates.window_secs, policy.rate_limit.window_secs]);
        let longest = i64::from(longest.max().unwrap_or(0)).max(DAY_SECS);
        let turn = self.places().long_read(who).await?;
        let filter = ProposalFilter {
            org: Some(who.org.clone()),
            agent: visible,
            limit: PAGE,
            ..ProposalFilter::default()
        };
        let (seen, more) = self
            .past_proposals(filter, since.plus_secs(-longest))
            .await?;
        drop(turn);
        let mut told = Tally::default();
        for (index, one) in seen.iter().enumerate() {
            if one.at < since {
                continue;
            }
            if index % STRIDE == 0 {
                tokio::task::yield_now().await;
            }
            let tried = self.tried(who, agent, one, &seen[..index], &policy);
            told.add(one, tried);
        }
        Ok(Backtest {
            policy_version: view.map(|view| view.version),
            since,
            proposals: told.proposals,
            replayed: told.replayed,
            different: told.different.into_iter().rev().take(TOLD).collect(),
            changes: told.changes,
            unknown: told.unknown.into_iter().collect(),
            more,
        })
    }

    /// Oldest first, and whether there were more.
    async fn past_proposals(
        &self,
        mut filter: ProposalFilter,
        oldest: Timestamp,
    ) -> Result<(Vec<Seen>, bool), Trouble> {
        let mut seen: Vec<Seen> = Vec::new();
        for _ in 0..READS {
            let rows = self.ports().store.proposals(&filter).await?;
            let full = rows.len() == PAGE as usize;
            filter.before = rows.last().map(Proposal::id);
            let fresh = rows.iter().map(Seen::of);
            seen.extend(fresh.filter(|one| one.at >= oldest));
            let past = rows
                .last()
                .is_none_or(|last| last.fixed.created_at < oldest);
            if past || !full {
                seen.reverse();
                return Ok((seen, false));
            }
        }
        seen.reverse();
        Ok((seen, true))
    }

    fn tried(
        &self,
        who: &Principal,
        agent: &AgentId,
        one: &Seen,
        before: &[Seen],
        policy: &Policy,
    ) -> Result<Verdict, Unknown> {
        if one.origin != Origin::Agent {
            return Err(Unknown::NotAsked);
        }
        let facts = one.facts.as_ref().ok_or(Unknown::NoFacts)?;
        let tool = self.tools.standing(who, one.tool.as_str(), Risk::High);
        let tool = tool.ok().filter(|tool| tool.digest == one.digest);
        let tool = tool.ok_or(Unknown::NoTool)?;
        let request = Request {
            agent,
            tool: &tool,
            // No check that is replayed looks at them: amount and payee were read out of them.
            args: &Value::Null,
            effective: one.effective,
            payee: &one.payee,
            server: None,
        };
        let past = Past {
            request,
            at: one.at,
            facts,
            found: &one.findings,
            spent_today: spent(one, before),
            recent: recent(one, before, policy),
            earlier: earlier(one, before, policy),
            sums: sums(one, before, policy),
        };
        replay::replay(&past, policy)
    }
}

#[derive(Default)]
struct Tally {
    proposals: u32,
    replayed: u32,
    different: Vec<Difference>,
    changes: Vec<ChangeSum>,
    unknown: BTreeMap<Unknown, u32>,
}

impl Tally {
    fn add(&mut self, one: &Seen, tried: Result<Verdict, Unknown>) {
        self.proposals += 1;
        let would = match tried {
            Ok(would) => would,
            Err(why) => {
                *self.unknown.entry(why).or_default() += 1;
                return;
            }
        };
        self.replayed += 1;
        let was = Verdict::of(one.findings.clone());
        if was.decision() == would.decision() {
            return;
        }
        self.different.push(Difference {
            id: one.id,
            at: one.at,
            tool: one.tool.clone(),
            effective: one.effective,
            was: (was.decision(), was.headline()),
            would: (would.decision(), would.headline()),
        });
        let (was, would) = (was.decision(), would.decision());
        let place = self
            .changes
            .iter()
            .position(|sum| (sum.was, sum.would) == (was, would));
        let place = place.unwrap_or_else(|| {
            self.changes.push(ChangeSum {
                was,
                would,
                count: 0,
                amounts: BTreeMap::new(),
            });
            self.changes.len() - 1
        });
        if let Some(sum) = self.changes.get_mut(place) {
            sum.count += 1;
            if let Some(currency) = one.effective.currency() {
                let amount = sum.amounts.entry(currency).or_default();
                *amount = amount.saturating_add(one.effective.minor());
            }
        }
    }
}

fn within<'a>(one: &'a Seen, before: &'a [Seen], secs: u32) -> impl Iterator<Item = &'a Seen> {
    let from = one.at.plus_secs(-i64::from(secs));
    before.iter().rev().take_while(move |past| past.at >= from)
}

fn spent(one: &Seen, before: &[Seen]) -> i64 {
    let same =
        |past: &&Seen| past.day == one.day && past.effective.currency() == one.effective.currency();
    let day = before.iter().rev().take_while(|past| past.day == one.day);
    let counted = day.filter(same).filter(|past| past.counted_at(one.at));
    counted.fold(0, |sum, past| sum.saturating_add(past.effective.minor()))
}

fn recent(one: &Seen, before: &[Seen], policy: &Policy) -> u32 {
    let count = within(one, before, policy.rate_limit.window_secs).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn earlier(one: &Seen, before: &[Seen], policy: &Policy) -> Option<Earlier> {
    let same = |past: &&Seen| {
        past.effective == one.effective
            && past.identity == one.identity
            && (one.identity.is_some() || past.tool == one.tool)
            && past.counted_at(one.at)
    };
    let found = within(one, before, policy.duplicates.window_secs).filter(same);
    found.last().map(|past| Earlier {
        proposal: Some(past.id),
        at: past.at,
        state: past.state,
    })
}

fn sums(one: &Seen, before: &[Seen], policy: &Policy) -> Vec<i64> {
    let each = policy.approval_above.iter().map(|sum| {
        let theirs = |past: &&Seen| {
            let same = match (sum.per, &one.identity) {
                (Per::Agent, _) | (Per::Payee, None) => true,
                (Per::Payee, Some(_)) => past.identity == one.identity,
            };
            same && past.effective.currency() == one.effective.currency() && past.counted_at(one.at)
        };
        let counted = within(one, before, sum.window_secs).filter(theirs);
        counted.fold(0, |sum: i64, past| {
            sum.saturating_add(past.effective.minor())
        })
    });
    each.collect()
}
