//! The floor that `hundi bench` compares itself with: the bare store, writing what one propose
//! and one commit write, with nothing in front of it.
//!
//! A cycle is three changes (admit, claim, settle) that wait for each other, as they do in the
//! broker; callers run in parallel and share flushes. Everything is made before the clock starts,
//! so that the time measured is the store's.
//!
//! The same without grouping is the *naive* broker: each step is a transaction of its own, and on
//! Postgres each caller has a connection of its own. It writes the same rows under the same
//! conditions, and numbers the audit the same way.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::group::MAX_BATCH;
use super::postgres::{self, Postgres};
use super::sqlite::{OpenError, Sqlite};
use super::{ApplyError, Store};
use crate::ambient::Ambient;
use crate::domain::audit::names::{Decision, RecordKind};
use crate::domain::call::{Call, Receipt};
use crate::domain::canonical::Canonical;
use crate::domain::change::{BudgetMove, Change, Intent, Pot, Record};
use crate::domain::ids::{AgentId, CommitId, Nonce, OrgId, ProposalId, TokenId, ToolName, hex};
use crate::domain::money::{Currency, Effective, Money};
use crate::domain::proposal::{Fixed, LiveToken, Moving, Proposal, Score, Signals, State};
use crate::domain::reason::{Finding, Reason};
use crate::domain::time::{Day, Timestamp};
use crate::domain::token::Claims;
use crate::domain::tool::Payee;

/// How long a token of the floor's proposals lives, as by default.
const TOKEN_TTL_SECS: i64 = 60;

/// What the floor runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// Callers in parallel, at least 1.
    pub concurrency: usize,
    /// Cycles in all.
    pub cycles: usize,
    /// Cycles move money (and so reserve and post), or do nothing.
    pub money: bool,
    /// One transaction for each step, instead of one for all that wait.
    pub naive: bool,
}

impl Load {
    /// Changes in one transaction.
    fn limit(&self) -> usize {
        if self.naive { 1 } else { MAX_BATCH }
    }
}

/// What the floor took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Floor {
    /// Cycles done.
    pub cycles: usize,
    /// In this time.
    pub elapsed: Duration,
}

/// Why there is no floor.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FloorError {
    /// The database for it could not be made.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The same on Postgres.
    #[error(transparent)]
    OpenPostgres(#[from] postgres::OpenError),
    /// A write failed.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A name or a step of the load is not what the domain accepts.
    #[error("the load cannot be made: {0}")]
    Load(String),
}

/// Measures a fresh SQLite database in `folder`, which ought to be on the disk of the store in
/// question, and removes it again.
pub async fn sqlite(folder: &Path, load: Load, ambient: &Ambient) -> Result<Floor, FloorError> {
    let name = format!("floor-{}.db", hex(&ambient.bytes::<8>()));
    let path = folder.join(name);
    let store = Sqlite::open_limited(&path, ambient, load.limit()).await?;
    let measured = run(&[Arc::new(store)], load, ambient).await;
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.clone().into_os_string();
        file.push(suffix);
        // What is left over is a file in a folder for such files.
        let _ = std::fs::remove_file(file);
    }
    measured
}

/// Measures a fresh schema in the database of `url`, and removes it again.
pub async fn postgres(url: &str, load: Load, ambient: &Ambient) -> Result<Floor, FloorError> {
    let schema = format!("hundi_floor_{}", hex(&ambient.bytes::<8>()));
    let measured = match scratch(url, &schema, load, ambient).await {
        Ok(stores) => run(&stores, load, ambient).await,
        Err(error) => Err(error.into()),
    };
    Postgres::drop_scratch(url, &schema).await?;
    measured
}

/// One node's store, or one for each caller.
async fn scratch(
    url: &str,
    schema: &str,
    load: Load,
    ambient: &Ambient,
) -> Result<Vec<Arc<dyn Store>>, postgres::OpenError> {
    Postgres::make_scratch(url, schema).await?;
    let count = if load.naive { load.concurrency } else { 1 };
    let mut stores: Vec<Arc<dyn Store>> = Vec::new();
    for _ in 0..count.max(1) {
        let store = Postgres::open_scratch(url, schema, ambient, load.limit()).await?;
        stores.push(Arc::new(store));
    }
    Ok(stores)
}

/// Measures stores that hold the same rows; callers take them in turns. Leaves the rows in them.
pub async fn run(
    stores: &[Arc<dyn Store>],
    load: Load,
    ambient: &Ambient,
) -> Result<Floor, FloorError> {
    let callers = load.concurrency.max(1);
    let each = load.cycles.div_ceil(callers);
    let mut work = Vec::with_capacity(callers);
    for _ in 0..callers {
        let cycles = (0..each).map(|_| cycle(load.money, ambient));
        work.push(cycles.collect::<Result<Vec<_>, _>>()?);
    }
    let started = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for (cycles, store) in work.into_iter().zip(stores.iter().cycle()) {
        let store = Arc::clone(store);
        running.spawn(async move {
            for changes in cycles {
                for change in changes {
                    store.apply(change).await?;
                }
            }
            Ok::<(), ApplyError>(())
        });
    }
    while let Some(done) = running.join_next().await {
        done.map_err(|error| FloorError::Load(error.to_string()))??;
    }
    Ok(Floor {
        cycles: each * callers,
        elapsed: started.elapsed(),
    })
}

/// Admit, claim and settle of one new proposal.
fn cycle(money: bool, ambient: &Ambient) -> Result<[Change; 3], FloorError> {
    let load = |error: &dyn std::fmt::Display| FloorError::Load(error.to_string());
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

    let Some(live) = proposal.moving.token.as_ref() else {
        return Err(FloorError::Load("a proposal without a token".to_owned()));
    };
    let verified = Claims::of(&proposal, live, "floor")
        .bind(&proposal, &fixed.tool, &fixed.args_hash)
        .map_err(|refusal| load(&refusal.text()))?;
    let order = proposal.order();
    let intent = Intent {
        commit_id: CommitId::at(now, ambient.bytes()),
        idempotency_key: order.idempotency_key(),
        call: Call::new("noop", "noop", &order.args.value()),
        at: now,
        lease_until: now.plus_secs(30),
    };
    let claimed = Change::claim(&proposal, &verified, intent, vec![], &fixed.proposer);
    let (claim, _) = claimed.map_err(|illegal| load(&illegal))?;
    let Some(claimed) = claim.rows().update.clone() else {
        return Err(FloorError::Load("a claim without a proposal".to_owned()));
    };

    let receipt = Receipt {
        provider_id: Some(fixed.id.to_string()),
        provider_state: Some("processed".to_owned()),
        reversed: false,
        settled_minor: money.then(|| fixed.effective.minor()),
        result: json!({"ok": true}),
        blocks: serde_json::Value::Null,
    };
    let settled = Change::confirm(&claimed, receipt, now, "hundi");
    let (settle, _) = settled.map_err(|illegal| load(&illegal))?;
    Ok([admit, claim, settle])
}

fn proposal(money: bool, now: Timestamp, ambient: &Ambient) -> Result<Proposal, FloorError> {
    let load = |error: &dyn std::fmt::Display| FloorError::Load(error.to_string());
    let agent: AgentId = "floor-agent-001".parse().map_err(|error| load(&error))?;
    let tool: ToolName = "noop".parse().map_err(|error| load(&error))?;
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
            execute_on_approval: false,
            origin: Default::default(),
            prompt_hash: None,
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
