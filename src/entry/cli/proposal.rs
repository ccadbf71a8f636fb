//! `hundi proposal`: what was proposed, and the decisions of people. The store decides who comes
//! first; this prints what it answered.

use std::io::Write;

use serde_json::{Value, json};

use super::asks::{Around, Asks};
use super::door::Door;
use super::{Actor, Failure, Json, print};
use crate::domain::ids::{AgentId, ProposalId};
use crate::domain::proposal::State;
use crate::domain::reason::Reason;

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
        #[arg(value_parser = ["executed", "failed"], value_name = "executed|failed")]
        word: String,
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

impl Asks for Command {
    fn actor(&self) -> Actor {
        match self {
            Command::List(list) => &list.actor,
            Command::Show(named) | Command::Approve(named) | Command::Cancel(named) => &named.actor,
            Command::Reject(reasoned) => &reasoned.actor,
            Command::Settle { actor, .. } => actor,
        }
        .clone()
    }

    /// Whether it names a proposal as proposals are named.
    fn check(&self) -> Result<(), Failure> {
        let named = match self {
            Command::List(_) => return Ok(()),
            Command::Show(named) | Command::Approve(named) | Command::Cancel(named) => &named.id,
            Command::Reject(reasoned) => &reasoned.id,
            Command::Settle { id, .. } => id,
        };
        id(named).map(|_| ())
    }

    async fn ask(&self, door: &Door, around: &mut Around<'_>) -> Result<(), Failure> {
        run(self, door, around.out).await
    }
}

/// Runs the command.
async fn run(command: &Command, door: &Door, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Command::List(args) => list(args, door, out).await,
        Command::Show(named) => {
            let asked = json!({"proposal_id": id(&named.id)?});
            one(
                &door.ask("get_proposal", asked).await?,
                named.json,
                out,
                None,
            )
        }
        Command::Approve(named) => {
            let asked = json!({"proposal_id": id(&named.id)?});
            let told = door.ask("approve_proposal", asked).await?;
            let text = match told["state"].as_str() == Some(State::Allowed.name()) {
                true => "approved; its agent can commit it now",
                false => "your agreement is recorded",
            };
            one(&told, named.json, out, Some(text))
        }
        Command::Reject(args) => {
            let asked = json!({"proposal_id": id(&args.id)?, "reason": args.reason});
            let told = door.ask("reject_proposal", asked).await?;
            let text = "rejected; its budget is free again";
            one(&told, args.json, out, Some(text))
        }
        Command::Cancel(named) => {
            let asked = json!({"proposal_id": id(&named.id)?});
            let told = door.ask("cancel_proposal", asked).await?;
            let text = "cancelled; its budget is free again";
            one(&told, named.json, out, Some(text))
        }
        Command::Settle {
            id: named,
            word,
            reason,
            json,
            ..
        } => {
            let asked = json!({"proposal_id": id(named)?, "outcome": word, "reason": reason});
            let told = door.ask("settle_proposal", asked).await?;
            one(&told, *json, out, Some("settled by your word"))
        }
    }
}

fn id(text: &str) -> Result<String, Failure> {
    let id: Result<ProposalId, _> = text.parse();
    let wrong = "that is not a proposal's id; `hundi proposal list` shows them";
    id.map(|id| id.to_string())
        .map_err(|_| Failure::Usage(wrong.to_owned()))
}

async fn list(args: &List, door: &Door, out: &mut dyn Write) -> Result<(), Failure> {
    let shown = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let (mut found, mut cursor) = (Vec::new(), Value::Null);
    loop {
        let asked = json!({
            "state": args.state.map(State::name),
            "agent": args.agent,
            "tool": args.tool,
            "limit": PAGE,
            "cursor": cursor,
        });
        let mut page = door.ask("list_proposals", without_nulls(asked)).await?;
        if let Some(rows) = page["proposals"].as_array_mut() {
            found.append(rows);
        }
        cursor = page["next_cursor"].take();
        if cursor.is_null() || found.len() > shown {
            break;
        }
    }
    let more = found.len() > shown || !cursor.is_null();
    found.truncate(shown);
    if args.json.json {
        print::json(out, &json!({"proposals": found}))?;
    } else {
        let rows = found.iter().map(row).collect();
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

fn without_nulls(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    value
}

/// Longest text of others in a table's cell, in characters.
const CELL: usize = 32;

fn row(told: &Value) -> Vec<String> {
    let word = |place| print::word(told, place);
    let cell = |place| print::short(&word(place), CELL);
    vec![
        word("/proposal_id"),
        word("/state"),
        cell("/agent_id"),
        cell("/tool_name"),
        amount(told),
        print::short(&payee(told), CELL),
        word("/reason"),
        word("/created_at"),
    ]
}

fn amount(told: &Value) -> String {
    match print::word(told, "/effective_amount/text") {
        text if text.is_empty() => "-".to_owned(),
        text => text,
    }
}

fn payee(told: &Value) -> String {
    let known = ["/payee/name", "/payee/account", "/payee/url"];
    let mut known = known.into_iter().map(|place| print::word(told, place));
    known
        .find(|text| !text.is_empty())
        .unwrap_or("-".to_owned())
}

fn one(told: &Value, json: Json, out: &mut dyn Write, done: Option<&str>) -> Result<(), Failure> {
    if json.json {
        print::json(out, told)?;
        return Ok(out.flush()?);
    }
    if let Some(done) = done {
        writeln!(out, "{done}\n")?;
    }
    print::pairs(out, &details(told))?;
    Ok(out.flush()?)
}

fn details(told: &Value) -> Vec<(&'static str, String)> {
    let word = |place| print::word(told, place);
    let mut pairs = vec![
        ("proposal", word("/proposal_id")),
        ("state", word("/state")),
        ("agent", word("/agent_id")),
        ("tool", word("/tool_name")),
        ("arguments", word("/arguments")),
        ("arguments hash", word("/tool_args_hash")),
        ("moves", amount(told)),
        ("payee", payee(told)),
        ("reason", reason(&word("/reason"))),
        ("score", word("/composite_score")),
        ("made", word("/created_at")),
        ("lapses", word("/lapses_at")),
    ];
    for finding in told["findings"].as_array().into_iter().flatten() {
        let said = ["/reason", "/detail"].map(|place| print::word(finding, place));
        pairs.push(("finding", said.join(": ")));
    }
    if told["approval"].is_object() {
        let by = match word("/approval/by") {
            by if by.is_empty() => by,
            by => format!(" ({by})"),
        };
        let [given, needed] = ["/approval/given", "/approval/needed"].map(word);
        pairs.push(("approvals", format!("{given} of {needed}{by}")));
    }
    if told["ending"].is_object() {
        let [at, by, reason] = ["/ending/at", "/ending/by", "/ending/reason"].map(word);
        pairs.push(("ended", format!("{at} by {by}: {reason}")));
    }
    let commit = [
        ("commit", "/commit/commit_id"),
        ("idempotency key", "/commit/idempotency_key"),
        ("in doubt because", "/commit/doubt"),
        ("outcome", "/commit/status"),
        ("because", "/commit/reason"),
        ("provider says", "/commit/provider/description"),
        ("result", "/commit/result"),
    ];
    pairs.extend(commit.map(|(name, place)| (name, word(place))));
    pairs.retain(|(_, text)| !text.is_empty());
    pairs
}

/// A reason's code with its words.
fn reason(code: &str) -> String {
    let known = Reason::ALL.iter().find(|reason| reason.code() == code);
    known.map_or(code.to_owned(), |reason| {
        format!("{code}: {}", reason.text())
    })
}
