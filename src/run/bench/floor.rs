//! The floor that `hundi bench` compares itself with: the bare store, writing what one propose
//! and one commit write, with nothing in front of it.
//!
//! A cycle is three changes (admit, claim, settle) that wait for each other, as they do in the
//! broker; callers run in parallel and share flushes. Every caller waits for every flush, so a
//! batch holds a change of each: with all of them on one thread, none is left out because another
//! thread was quicker to start the next batch. Changes are made while the clock stands, so that the
//! time measured is the store's. It is measured as a server that has been running is: on
//! one database, and only once its log has grown to its size, because a file that grows
//! takes longer to flush than one that is written over.
//!
//! The same without grouping is the *naive* broker: each step is a transaction of its own, and on
//! Postgres each caller has a connection of its own. It writes the same rows under the same
//! conditions, and numbers the audit the same way.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::json;
use tokio::time::Instant;

use crate::ambient::Ambient;
use crate::domain::access::Basis;
use crate::domain::audit::names::{Decision, RecordKind};
use crate::domain::call::{Call, Receipt};
use crate::domain::canonical::Canonical;
use crate::domain::change::{BudgetMove, Change, Intent, Pot, Record};
use crate::domain::ids::{AgentId, CommitId, Nonce, OrgId, ProposalId, TokenId, ToolName};
use crate::domain::money::{Currency, Effective, Money};
use crate::domain::proposal::{Fixed, LiveToken, Moving, Proposal, Score, Signals, State};
use crate::domain::reason::{Finding, Reason};
use crate::domain::time::{Day, Timestamp};
use crate::domain::token::Claims;
use crate::domain::tool::Payee;
use crate::store::{self, Address, Opening, Scratch, Store};

/// How long a token of the floor's proposals lives, as by default.
const TOKEN_TTL_SECS: i64 = 60;
/// Cycles made at once: few at first, so that a slow store is not asked for more than there is time
/// for, and never more than these, because their rows are held in memory.
const FIRST_ROUND: usize = 64;
const ROUND: usize = 4_000;
/// How long to write before the clock starts.
const WARM_UP: Duration = Duration::from_secs(2);

/// What the floor runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// Callers in parallel, at least 1.
    pub callers: usize,
    /// Cycles move money (and so reserve and post), or do nothing.
    pub money: bool,
    /// One transaction for each step, instead of one for all that wait.
    pub naive: bool,
}

/// What the floor took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Floor {
    /// Cycles done.
    pub cycles: usize,
    /// In this time.
    pub took: Duration,
}

/// Measures for so long in a place of its own beside the store, and removes it again.
pub async fn beside(
    address: &Address,
    load: Load,
    time: Duration,
    ambient: &Ambient,
) -> Result<Floor> {
    let place = Scratch::beside(address, ambient).await?;
    let measured = match open(&place.address, load, ambient).await {
        Ok(stores) => measure(&stores, load, time, ambient).await,
        Err(error) => Err(error),
    };
    place.remove().await?;
    measured
}

/// One node's store, or on a server one for each naive caller.
async fn open(address: &Address, load: Load, ambient: &Ambient) -> Result<Vec<Arc<dyn Store>>> {
    let how = Opening {
        grouped: !load.naive,
        ..Opening::default()
    };
    let nodes = match address {
        Address::Server(_) if load.naive => load.callers.max(1),
        Address::Server(_) | Address::File(_) => 1,
    };
    let mut stores = Vec::with_capacity(nodes);
    for _ in 0..nodes {
        stores.push(store::open(address, how, ambient).await?.store);
    }
    Ok(stores)
}

async fn measure(
    stores: &[Arc<dyn Store>],
    load: Load,
    time: Duration,
    ambient: &Ambient,
) -> Result<Floor> {
    // Small at first: nobody knows yet how fast it is.
    let mut cycles = FIRST_ROUND.max(load.callers).min(ROUND);
    let mut measured = Floor::default();
    for time in [WARM_UP.min(time), time] {
        measured = Floor::default();
        while measured.took < time {
            let round = round(stores, load, cycles, ambient).await?;
            measured.cycles += round.cycles;
            // A clock too coarse to see it must not make this endless.
            measured.took += round.took.max(Duration::from_micros(1));
            cycles = cycles.saturating_mul(2).min(ROUND);
        }
    }
    Ok(measured)
}

/// So many cycles on stores that hold the same rows; callers take them in turns. Leaves the rows.
pub async fn round(
    stores: &[Arc<dyn Store>],
    load: Load,
    cycles: usize,
    ambient: &Ambient,
) -> Result<Floor> {
    let callers = load.callers.max(1);
    let each = cycles.div_ceil(callers);
    let mut work = Vec::with_capacity(callers);
    for _ in 0..callers {
        let cycles = (0..each).map(|_| cycle(load.money, ambient));
        work.push(cycles.collect::<Result<Vec<_>>>()?);
    }
    let started = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for (cycles, store) in work.into_iter().zip(stores.iter().cycle()) {
        let store = Arc::clone(store);
        running.spawn(async move {
            for change in cycles.into_iter().flatten() {
                store.apply(change).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(Floor {
        cycles: each * callers,
        took: started.elapsed(),
    })
}

/// Admit, claim and settle of one new proposal.
fn cycle(money: bool, ambient: &Ambient) -> Result<[Change; 3]> {
    let now = ambient.now();
    let proposal = proposal(money, now, ambient)?;
    let fixed = &proposal.fixed;
    let reserve = money.then(|| BudgetMove::Reserve {
        pot: Pot {
            org: fixed.org.clone(),
            agent: fixed.agent.clone(),
            day: fixed.day,
            currency: Currency::INR,
        },
        amount: fixed.effective.minor(),
        limit: Some(i64::MAX),
    });
    let record = Record::about(&proposal, now, RecordKind::Proposed, &fixed.proposer)
        .deciding(Decision::Approved, fixed.reason.code())
        .with(json!({
            "args_hash": fixed.args_hash,
            "arguments": fixed.args.value(),
            "payee": fixed.payee,
            "composite_score": fixed.score.composite,
            "policy_version": fixed.policy_version,
            "findings": fixed.findings,
        }));
    let admit = Change::admit(proposal.clone(), reserve, vec![], vec![], record, None);

    let live = proposal.moving.token.as_ref();
    let live = live.context("a proposal without a token")?;
    let verified = Claims::of(&proposal, live, "floor")
        .bind(&proposal, &fixed.tool, &fixed.args_hash)
        .map_err(|refusal| anyhow!(refusal.text()))?;
    let order = proposal.order();
    let intent = Intent {
        commit_id: CommitId::at(now, ambient.bytes()),
        idempotency_key: order.idempotency_key(),
        call: Call::new("noop", "noop", &order.args.value()),
        at: now,
        lease_until: now.plus_secs(30),
    };
    let claimed = Change::claim(&proposal, &verified, intent, vec![], &fixed.proposer);
    let (claim, _) = claimed?;
    let claimed = claim.rows().update.clone();
    let claimed = claimed.context("a claim without a proposal")?;

    let receipt = Receipt {
        provider_id: Some(fixed.id.to_string()),
        provider_state: Some("processed".to_owned()),
        reversed: false,
        settled_unreadable: false,
        settled_minor: money.then(|| fixed.effective.minor()),
        result: json!({"ok": true}),
        blocks: serde_json::Value::Null,
    };
    let settled = Change::confirm(&claimed, receipt, now, "hundi");
    let (settle, _) = settled?;
    Ok([admit, claim, settle])
}

fn proposal(money: bool, now: Timestamp, ambient: &Ambient) -> Result<Proposal> {
    let agent: AgentId = "floor-agent-001".parse()?;
    let tool: ToolName = "noop".parse()?;
    let args = Canonical::of(&json!({"amount": 100, "note": "one cycle of the floor"}));
    let effective = if money {
        Effective::Amount(Money {
            minor: 100,
            currency: Currency::INR,
        })
    } else {
        Effective::Nothing
    };
    let token = LiveToken {
        token_id: TokenId::at(now, ambient.bytes()),
        nonce: Nonce::at(now, ambient.bytes()),
        kid: "k1".to_owned(),
        issued_at: now.secs(),
        expires_at: now.secs() + TOKEN_TTL_SECS,
    };
    Ok(Proposal {
        fixed: Arc::new(Fixed {
            id: ProposalId::at(now, ambient.bytes()),
            org: OrgId::default(),
            agent,
            proposer: "floor".to_owned(),
            proposer_person: None,
            tool,
            tool_digest: args.hash().to_string(),
            args_hash: args.hash(),
            args,
            effective,
            payee: Payee::default(),
            idempotency_key: None,
            policy_version: None,
            score: Score {
                composite: Some(0.1679),
                signals: Signals {
                    output_instability: Some(0.2667),
                    numeric_variance: Some(0.0033),
                    prompt_drift: None,
                },
            },
            findings: vec![Finding::note(Reason::NewPayee, "a remark")],
            reason: Reason::PolicyOk,
            created_at: now,
            lapses_at: now.plus_secs(TOKEN_TTL_SECS),
            day: Day::from_number(20_260_101),
            approvals_needed: 0,
            approval: None,
            execute_on_approval: false,
            origin: Default::default(),
            access: Basis::default(),
            prompt_hash: None,
            effect: None,
            facts: None,
        }),
        state: State::Allowed,
        version: 1,
        moving: Moving {
            token: Some(token),
            ..Moving::default()
        },
        execution: None,
    })
}
