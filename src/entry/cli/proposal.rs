//! `hundi proposal`: what was proposed, and the decisions of people. The store decides who comes
//! first; this prints what it answered.

use std::io::Write;

use serde_json::Value;

use super::{Actor, Failure, Json, print};
use crate::broker::{Broker, ListRequest, Proposed, Word};
use crate::domain::ids::{AgentId, ProposalId};
use crate::domain::money::Effective;
use crate::domain::principal::Principal;
use crate::domain::proposal::{Proposal, State};
use crate::entry::shapes;

/// What to do with proposals.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Show proposals, newest first
    List(List),
    /// Show one proposal in full
    Show(Named),
    /// Agree to a held proposal
    Approve(Named),
    /// Say no to a held proposal
    Reject(Reasoned),
    /// Take back a proposal that nobody has committed
    Cancel(Named),
    /// Settle an attempt in doubt by your word, when the bank cannot be asked
    ///
    /// Look at the bank first. `executed` means you saw the effect there, `failed` that there is
    /// none: then the budget is given back and the same request may be proposed again.
    #[command(verbatim_doc_comment)]
    Settle {
        /// The proposal's id
        id: String,
        /// What you saw at the bank
        #[arg(value_parser = word, value_name = "executed|failed")]
        word: Word,
        /// How you know; it is recorded
        #[arg(long)]
        reason: String,
        /// As whom.
        #[command(flatten)]
        actor: Actor,
        /// How to print.
        #[command(flatten)]
        json: Json,
    },
}

/// Which proposals.
#[derive(clap::Args, Debug)]
pub struct List {
    /// Only in this state
    #[arg(long, value_parser = state)]
    pub state: Option<State>,
    /// Only of this agent
    #[arg(long, value_parser = agent)]
    pub agent: Option<AgentId>,
    /// Only of this tool
    #[arg(long)]
    pub tool: Option<String>,
    /// At most so many, newest first; that there are more is said on stderr
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// As whom.
    #[command(flatten)]
    pub actor: Actor,
    /// How to print.
    #[command(flatten)]
    pub json: Json,
}

/// One proposal.
#[derive(clap::Args, Debug)]
pub struct Named {
    /// The proposal's id
    pub id: String,
    /// As whom.
    #[command(flatten)]
    pub actor: Actor,
    /// How to print.
    #[command(flatten)]
    pub json: Json,
}

/// One proposal, and why.
#[derive(clap::Args, Debug)]
pub struct Reasoned {
    /// The proposal's id
    pub id: String,
    /// Why; the proposer sees it
    #[arg(long, default_value = "")]
    pub reason: String,
    /// As whom.
    #[command(flatten)]
    pub actor: Actor,
    /// How to print.
    #[command(flatten)]
    pub json: Json,
}

/// Most proposals that are asked for at once.
const PAGE: u32 = 500;

fn state(name: &str) -> Result<State, String> {
    State::parse(name).ok_or_else(|| {
        let names: Vec<&str> = State::ALL.iter().map(|state| state.name()).collect();
        format!("the states are {}", names.join(", "))
    })
}

fn agent(name: &str) -> Result<AgentId, String> {
    let wrong = |_| "an agent's id is 1 to 128 letters, digits and any of ._:@-".to_owned();
    name.parse().map_err(wrong)
}

fn word(name: &str) -> Result<Word, String> {
    match name {
        "executed" => Ok(Word::Executed),
        "failed" => Ok(Word::Failed),
        _ => Err(
            "say executed, if you saw the effect at the bank, or failed, if there is none"
                .to_owned(),
        ),
    }
}

impl Command {
    /// Whether it names a proposal as proposals are named: that needs no store to tell.
    pub fn check(&self) -> Result<(), Failure> {
        let named = match self {
            Command::List(_) => return Ok(()),
            Command::Show(named) | Command::Approve(named) | Command::Cancel(named) => &named.id,
            Command::Reject(reasoned) => &reasoned.id,
            Command::Settle { id, .. } => id,
        };
        id(named).map(|_| ())
    }

    /// As whom to act.
    pub fn actor(&self) -> &Actor {
        match self {
            Command::List(list) => &list.actor,
            Command::Show(named) | Command::Approve(named) | Command::Cancel(named) => &named.actor,
            Command::Reject(reasoned) => &reasoned.actor,
            Command::Settle { actor, .. } => actor,
        }
    }
}

/// Runs the command.
pub async fn run(
    command: &Command,
    broker: &Broker,
    who: &Principal,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    match command {
        Command::List(args) => list(args, broker, who, out).await,
        Command::Show(named) => {
            let shown = broker.pay.proposal(who, id(&named.id)?).await?;
            one(&shown, named.json, out, None)
        }
        Command::Approve(named) => {
            let told = broker.pay.approve(who, id(&named.id)?).await?;
            let text = if told.proposal.state == State::Allowed {
                "approved; its agent can commit it now"
            } else {
                "your agreement is recorded"
            };
            one(&told, named.json, out, Some(text))
        }
        Command::Reject(args) => {
            let told = broker.pay.reject(who, id(&args.id)?, &args.reason).await?;
            one(
                &told,
                args.json,
                out,
                Some("rejected; its budget is free again"),
            )
        }
        Command::Cancel(named) => {
            let told = broker.pay.cancel(who, id(&named.id)?).await?;
            one(
                &told,
                named.json,
                out,
                Some("cancelled; its budget is free again"),
            )
        }
        Command::Settle {
            id: named,
            word,
            reason,
            json,
            ..
        } => {
            let told = broker.pay.settle(who, id(named)?, *word, reason).await?;
            one(&told, *json, out, Some("settled by your word"))
        }
    }
}

fn id(text: &str) -> Result<ProposalId, Failure> {
    text.parse().map_err(|_| {
        Failure::Usage("that is not a proposal's id; `hundi proposal list` shows them".to_owned())
    })
}

async fn list(
    args: &List,
    broker: &Broker,
    who: &Principal,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut found: Vec<Proposed> = Vec::new();
    // One more than is shown tells whether there are more.
    let mut left = args.limit.saturating_add(1);
    while left > 0 {
        let page = left.min(PAGE);
        let request = ListRequest {
            state: args.state,
            agent: args.agent.clone(),
            tool: args.tool.clone(),
            cursor: found.last().map(|last| last.proposal.id()),
            limit: Some(page),
        };
        let answered = broker.pay.proposals(who, &request).await?;
        let count = u32::try_from(answered.rows.len()).unwrap_or(u32::MAX);
        found.extend(answered.rows);
        left = if answered.more {
            left.saturating_sub(count)
        } else {
            0
        };
    }
    let shown = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let more = found.len() > shown;
    found.truncate(shown);
    if args.json.json {
        let all = found.iter().map(shapes::proposal).collect();
        print::json(out, &Value::Array(all))?;
    } else {
        let rows = found.iter().map(|found| row(&found.proposal)).collect();
        let heading = [
            "proposal", "state", "agent", "tool", "amount", "payee", "reason", "made",
        ];
        print::table(out, &heading, rows, "there are no such proposals")?;
    }
    out.flush()?;
    if more {
        let said = format!("hundi: there are more; `--limit N` shows more than {shown}");
        writeln!(std::io::stderr(), "{said}")?;
    }
    Ok(())
}

/// Longest text of others in a table's cell, in characters.
const CELL: usize = 32;

fn row(proposal: &Proposal) -> Vec<String> {
    let fixed = &proposal.fixed;
    vec![
        fixed.id.to_string(),
        proposal.state.name().to_owned(),
        print::short(fixed.agent.as_str(), CELL),
        print::short(fixed.tool.as_str(), CELL),
        amount(&fixed.effective),
        print::short(&payee(proposal), CELL),
        fixed.reason.code().to_owned(),
        fixed.created_at.to_string(),
    ]
}

fn amount(effective: &Effective) -> String {
    match effective {
        Effective::Nothing => "-".to_owned(),
        Effective::Amount(money) => money.to_string(),
        Effective::Unbounded(currency) => format!("everything there is, in {currency}"),
    }
}

fn payee(proposal: &Proposal) -> String {
    let payee = &proposal.fixed.payee;
    let known = [&payee.account, &payee.name, &payee.url];
    known
        .into_iter()
        .flatten()
        .next()
        .cloned()
        .unwrap_or("-".to_owned())
}

fn one(
    told: &Proposed,
    json: Json,
    out: &mut dyn Write,
    done: Option<&str>,
) -> Result<(), Failure> {
    if json.json {
        print::json(out, &shapes::proposal(told))?;
        return Ok(out.flush()?);
    }
    if let Some(done) = done {
        writeln!(out, "{done}\n")?;
    }
    print::pairs(out, &details(&told.proposal))?;
    Ok(out.flush()?)
}

fn details(proposal: &Proposal) -> Vec<(&'static str, String)> {
    let fixed = &proposal.fixed;
    let mut pairs = vec![
        ("proposal", fixed.id.to_string()),
        ("state", proposal.state.name().to_owned()),
        ("agent", fixed.agent.to_string()),
        ("tool", fixed.tool.to_string()),
        ("arguments", fixed.args.to_string()),
        ("arguments hash", fixed.args_hash.to_string()),
        ("moves", amount(&fixed.effective)),
        ("payee", payee(proposal)),
        (
            "reason",
            format!("{}: {}", fixed.reason.code(), fixed.reason.text()),
        ),
        (
            "score",
            fixed
                .score
                .composite
                .map_or_else(|| "none".to_owned(), |score| format!("{score:.4}")),
        ),
        ("made", fixed.created_at.to_string()),
        ("lapses", fixed.lapses_at.to_string()),
    ];
    for finding in &fixed.findings {
        pairs.push((
            "finding",
            format!("{}: {}", finding.reason.code(), finding.detail),
        ));
    }
    if fixed.approvals_needed > 0 {
        let by: Vec<&str> = proposal
            .moving
            .approvals
            .iter()
            .map(|a| a.by.as_str())
            .collect();
        let given = format!("{} of {}", by.len(), fixed.approvals_needed);
        let by = if by.is_empty() {
            String::new()
        } else {
            format!(" ({})", by.join(", "))
        };
        pairs.push(("approvals", format!("{given}{by}")));
    }
    if let Some(ending) = &proposal.moving.ending {
        pairs.push((
            "ended",
            format!("{} by {}: {}", ending.at, ending.by, ending.reason),
        ));
    }
    if let Some(execution) = &proposal.execution {
        pairs.push(("commit", execution.commit_id.to_string()));
        pairs.push(("idempotency key", execution.idempotency_key.clone()));
        if let Some(doubt) = &execution.doubt {
            pairs.push(("in doubt because", doubt.clone()));
        }
        if execution.outcome.is_some() {
            pairs.push(("outcome", shapes::outcome(proposal).to_string()));
        }
    }
    pairs
}
