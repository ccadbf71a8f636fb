//! `hundi policy`: what agents may do, and trying a policy out on paper.

use std::io::{BufRead, Read, Write};

use serde_json::{Value, json};

use super::asks::{Around, Asks};
use super::door::Door;
use super::lines::{self, BadLine};
use super::{Actor, Failure, Json, JsonLines, print};
use crate::broker::Trouble;
use crate::domain::ids::AgentId;
use crate::domain::money::{Currency, Money};
use crate::domain::strict;

/// What to do with policies.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Show the policy of an agent
    Get(Named),
    /// Show every version of an agent's policy, newest first, and who wrote it
    History(Named),
    /// Change what is named in an agent's policy; the rest stays
    ///
    /// One JSON object, given or read from stdin:
    /// {"daily_limit":500000,"per_txn_limit":100000,"require_approval_above":50000}
    /// Amounts are in minor units (paise); null in one of these three is no limit, and in any other
    /// field what that field is where nobody sets it (rate_limit: 10 in 60 s, duplicates: held
    /// within 900 s). An agent's first policy has to name these three. With "version", only that
    /// version is changed.
    #[command(verbatim_doc_comment)]
    Set {
        /// The agent's id
        #[arg(value_parser = agent)]
        agent: AgentId,
        /// The changes as JSON; without them, stdin is read
        policy: Option<String>,
        /// As whom.
        #[command(flatten)]
        actor: Actor,
        /// How to print.
        #[command(flatten)]
        json: Json,
    },
    /// Try changes of a policy on what the agent proposed lately; nothing is changed
    ///
    /// One JSON object, given or read from stdin, as `set` takes it. Every proposal of the time is
    /// decided anew with the facts as they were; told is what would have been decided otherwise, the
    /// money it concerns, and what cannot be replayed.
    #[command(verbatim_doc_comment)]
    Backtest {
        /// The agent's id
        #[arg(value_parser = agent)]
        agent: AgentId,
        /// The changes as JSON; without them, stdin is read
        policy: Option<String>,
        /// How many days back
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=90))]
        days: u32,
        /// As whom.
        #[command(flatten)]
        actor: Actor,
        /// How to print.
        #[command(flatten)]
        json: Json,
    },
    /// Show every policy
    List(Plain),
    /// Take a policy away; the agent may then do nothing
    Delete(Named),
    /// Forget an agent's usual prompt for a tool
    ///
    /// The score counts it against a proposal that its prompt is not the one that was carried out
    /// first (prompt drift). After this, the prompt of the next one that is carried out counts.
    ResetBaseline {
        /// The agent's id
        #[arg(value_parser = agent)]
        agent: AgentId,
        /// The tool's name
        tool: String,
        /// As whom.
        #[command(flatten)]
        actor: Actor,
        /// How to print.
        #[command(flatten)]
        json: Json,
    },
    /// Give four sample agents a policy each, where they have none
    Seed(Plain),
    /// Decide on paper: JSON lines of {policy, request, facts} in, verdicts out; nothing is done
    ///
    /// Needs no store and no server. A fact left out is missing, not good.
    Simulate(JsonLines),
}

/// One agent's policy.
#[derive(clap::Args, Debug)]
pub struct Named {
    /// The agent's id
    #[arg(value_parser = agent)]
    pub agent: AgentId,
    /// As whom.
    #[command(flatten)]
    pub actor: Actor,
    /// How to print.
    #[command(flatten)]
    pub json: Json,
}

/// Nothing but who and how.
#[derive(clap::Args, Debug)]
pub struct Plain {
    /// As whom.
    #[command(flatten)]
    pub actor: Actor,
    /// How to print.
    #[command(flatten)]
    pub json: Json,
}

fn agent(name: &str) -> Result<AgentId, String> {
    let wrong = |_| "an agent's id is 1 to 128 letters, digits and any of ._:@-".to_owned();
    name.parse().map_err(wrong)
}

impl Asks for Command {
    fn actor(&self) -> Actor {
        match self {
            Command::Get(named) | Command::History(named) | Command::Delete(named) => &named.actor,
            Command::Set { actor, .. }
            | Command::ResetBaseline { actor, .. }
            | Command::Backtest { actor, .. } => actor,
            Command::List(plain) | Command::Seed(plain) => &plain.actor,
            Command::Simulate(_) => return Actor::default(),
        }
        .clone()
    }

    fn looks(&self) -> bool {
        match self {
            Command::Get(_)
            | Command::History(_)
            | Command::List(_)
            | Command::Backtest { .. }
            | Command::Delete(_) => true,
            Command::Set { .. }
            | Command::ResetBaseline { .. }
            | Command::Seed(_)
            | Command::Simulate(_) => false,
        }
    }

    async fn ask(&self, door: &Door, around: &mut Around<'_>) -> Result<(), Failure> {
        run(self, door, around).await
    }
}

/// Answers each line of `input` with what `decide` says of it.
pub fn simulate(
    input: &mut dyn BufRead,
    out: &mut dyn Write,
    decide: impl Fn(&[u8]) -> Value,
) -> Result<(), Failure> {
    let answer = |line: &[u8], told: &mut Vec<u8>| {
        serde_json::to_writer(told, &decide(line))
            .map_err(|error| BadLine::request(error.to_string()))
    };
    Ok(lines::each(input, out, answer)?)
}

/// Runs a command.
async fn run(command: &Command, door: &Door, around: &mut Around<'_>) -> Result<(), Failure> {
    let Around { input, out, .. } = around;
    match command {
        Command::Get(named) => {
            let told = door
                .ask("get_policy", json!({"agent": named.agent}))
                .await?;
            show(out, named.json, told)?;
        }
        Command::History(named) => {
            let asked = json!({"agent": named.agent});
            let told = door.ask("policy_versions", asked).await?;
            if named.json.json {
                print::json(out, &told)?;
            } else {
                let places = ["/version", "/at", "/by", "/policy"];
                let rows = print::rows(&told, "versions", &places);
                print::table(out, &["version", "at", "by", "policy"], rows, "no versions")?;
            }
        }
        Command::Set {
            agent,
            policy,
            json,
            ..
        } => {
            let changes = body(policy.as_deref(), input)?;
            let told = door
                .ask("change_policy", for_agent(agent, changes)?)
                .await?;
            show(out, *json, told)?;
        }
        Command::Backtest {
            agent,
            policy,
            days,
            json,
            ..
        } => {
            let mut asked = for_agent(agent, body(policy.as_deref(), input)?)?;
            asked["days"] = json!(days);
            let told = door.ask("backtest_policy", asked).await?;
            if json.json {
                print::json(out, &told)?;
            } else {
                tried(out, &told)?;
            }
        }
        Command::List(plain) => {
            list(
                out,
                plain.json,
                &door.ask("list_policies", json!({})).await?,
            )?;
        }
        Command::Delete(named) => {
            let asked = json!({"agent": named.agent});
            let told = door.ask("delete_policy", asked).await?;
            if named.json.json {
                print::json(out, &told)?;
            } else {
                let agent = &named.agent;
                writeln!(out, "{agent} has no policy any more and may do nothing")?;
            }
        }
        Command::ResetBaseline {
            agent, tool, json, ..
        } => {
            let asked = json!({"agent": agent, "tool": tool});
            let told = door.ask("reset_baseline", asked).await?;
            if json.json {
                print::json(out, &told)?;
            } else {
                let tool = print::plain(tool);
                writeln!(out, "{agent} has no usual prompt for {tool} any more")?;
            }
        }
        Command::Seed(plain) => {
            list(
                out,
                plain.json,
                &door.ask("seed_policies", json!({})).await?,
            )?;
        }
        Command::Simulate(_) => {}
    }
    Ok(out.flush()?)
}

fn for_agent(agent: &AgentId, changes: Value) -> Result<Value, Trouble> {
    match changes {
        Value::Object(mut fields) if !fields.contains_key("agent") => {
            fields.insert("agent".to_owned(), json!(agent));
            Ok(Value::Object(fields))
        }
        Value::Object(_) => Err(invalid("`agent` is no field of a policy")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(invalid("a policy is a JSON object"))
        }
    }
}

fn invalid(detail: &str) -> Trouble {
    Trouble::InvalidRequest(detail.to_owned())
}

fn body(given: Option<&str>, input: &mut dyn BufRead) -> Result<Value, Failure> {
    let mut text = Vec::new();
    match given {
        Some(given) => text.extend_from_slice(given.as_bytes()),
        None => {
            let most = u64::try_from(strict::MAX_BYTES).unwrap_or(u64::MAX);
            input.take(most.saturating_add(1)).read_to_end(&mut text)?;
        }
    }
    strict::parse(&text).map_err(|error| {
        let text = format!("the policy is no JSON: {error}");
        Failure::from(Trouble::InvalidRequest(text))
    })
}

fn show(out: &mut dyn Write, json: Json, mut body: Value) -> Result<(), Failure> {
    if json.json {
        return Ok(print::json(out, &body)?);
    }
    let warnings = print::take_warnings(&mut body);
    let fields = body.as_object().into_iter().flatten();
    let fields: Vec<(&str, String)> = fields
        .map(|(name, value)| (name.as_str(), value.to_string().replace('"', "")))
        .collect();
    print::pairs(out, &fields)?;
    for warning in warnings {
        writeln!(out, "\n{warning}")?;
    }
    Ok(())
}

/// What a changed policy would have done, in figures first.
fn tried(out: &mut dyn Write, told: &Value) -> Result<(), Failure> {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    writeln!(
        out,
        "{} proposals in {} days, {} decided anew, {} of them otherwise",
        number(&told["proposals"]),
        number(&told["days"]),
        number(&told["replayed"]),
        number(&told["different"]),
    )?;
    for change in told["changes"].as_array().into_iter().flatten() {
        let amounts = change["amounts"].as_array().into_iter().flatten();
        let amounts = amounts.map(money).collect::<Vec<_>>().join(", ");
        let (was, would) = (print::word(change, "/was"), print::word(change, "/would"));
        let count = number(&change["count"]);
        writeln!(out, "  {was} -> {would}: {count}, {amounts}")?;
    }
    for why in told["not_replayed"].as_array().into_iter().flatten() {
        let (count, why) = (number(&why["count"]), print::word(why, "/why"));
        writeln!(out, "  not replayed: {count}, {why}")?;
    }
    if told["more"] == true {
        writeln!(out, "  there was more than is looked at; take fewer days")?;
    }
    let examples = told["examples"].as_array().into_iter().flatten();
    let rows = examples.map(|one| {
        vec![
            print::word(one, "/proposal_id"),
            print::word(one, "/created_at"),
            money(&one["amount"]),
            print::word(one, "/was/reason"),
            print::word(one, "/would/reason"),
        ]
    });
    let heading = ["proposal", "at", "amount", "was", "would be"];
    writeln!(out)?;
    Ok(print::table(
        out,
        &heading,
        rows.collect(),
        "nothing would differ",
    )?)
}

/// An amount of an answer.
fn money(told: &Value) -> String {
    let currency = Currency::parse(told["currency"].as_str().unwrap_or_default());
    match (told["minor"].as_i64(), currency) {
        (Some(minor), Some(currency)) => Money { minor, currency }.to_string(),
        (None, Some(currency)) => format!("everything ({currency})"),
        (_, None) => "nothing".to_owned(),
    }
}

fn list(out: &mut dyn Write, json: Json, told: &Value) -> Result<(), Failure> {
    if json.json {
        return Ok(print::json(out, told)?);
    }
    let policies = told["policies"].as_array().into_iter().flatten();
    let rows = policies.map(|policy| {
        let currency = Currency::parse(policy["currency"].as_str().unwrap_or("INR"));
        let currency = currency.unwrap_or(Currency::INR);
        let limit = |place| match policy[place].as_i64() {
            Some(minor) => Money { minor, currency }.to_string(),
            None => "none".to_owned(),
        };
        vec![
            print::word(policy, "/agent_id"),
            print::word(policy, "/version"),
            limit("daily_limit"),
            limit("per_txn_limit"),
            limit("require_approval_above"),
        ]
    });
    let heading = ["agent", "version", "daily", "per txn", "approval above"];
    let empty = "no policies; `hundi policy seed` makes samples";
    Ok(print::table(out, &heading, rows.collect(), empty)?)
}
