//! `hundi policy`: what agents may do, and trying a policy out on paper.

use std::io::{BufRead, Read, Write};

use serde_json::{Value, json};

use super::lines::{self, BadLine};
use super::{Actor, Failure, Json, JsonLines, print};
use crate::broker::pay::policy::PolicyView;
use crate::broker::{Broker, Trouble};
use crate::domain::ids::AgentId;
use crate::domain::principal::Principal;
use crate::domain::strict;
use crate::entry::operations;
use crate::entry::operations::agents::BaselineReset;
use crate::entry::operations::policies::{Policy, PolicyVersions};

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

impl Command {
    /// As whom to act; `None` for what needs no store.
    pub fn actor(&self) -> Option<&Actor> {
        match self {
            Command::Get(named) | Command::History(named) | Command::Delete(named) => {
                Some(&named.actor)
            }
            Command::Set { actor, .. } | Command::ResetBaseline { actor, .. } => Some(actor),
            Command::List(plain) | Command::Seed(plain) => Some(&plain.actor),
            Command::Simulate(_) => None,
        }
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

/// Runs a command on the store.
pub async fn run(
    command: &Command,
    broker: &Broker,
    who: &Principal,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    match command {
        Command::Get(named) => {
            let view = broker.pay.policy(who, &named.agent).await?;
            show(out, named.json, json!(Policy::from(view)))?;
        }
        Command::History(named) => {
            let versions = broker.pay.policy_versions(who, &named.agent).await?;
            let versions = json!(PolicyVersions::from(versions));
            if named.json.json {
                print::json(out, &versions)?;
            } else {
                let row = |version: &Value| {
                    let text = |name: &str| version[name].to_string().replace('"', "");
                    vec![
                        text("version"),
                        text("at"),
                        text("by"),
                        version["policy"].to_string(),
                    ]
                };
                let versions = versions["versions"].as_array().into_iter().flatten();
                let rows = versions.map(row).collect();
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
            let input = for_agent(agent, changes)?;
            let told = operations::ask(broker, who, "change_policy", input).await?;
            show(out, *json, told)?;
        }
        Command::List(plain) => list(out, plain.json, &broker.pay.policies(who).await?)?,
        Command::Delete(named) => {
            broker.pay.delete_policy(who, &named.agent).await?;
            if named.json.json {
                print::json(out, &json!({"agent_id": named.agent, "deleted": true}))?;
            } else {
                writeln!(
                    out,
                    "{} has no policy any more and may do nothing",
                    named.agent
                )?;
            }
        }
        Command::ResetBaseline {
            agent, tool, json, ..
        } => {
            let hash = broker.pay.reset_baseline(who, agent.as_str(), tool).await?;
            if json.json {
                let told = BaselineReset::of(agent.as_str(), tool, hash);
                print::json(out, &json!(told))?;
            } else {
                let tool = print::plain(tool);
                writeln!(out, "{agent} has no usual prompt for {tool} any more")?;
            }
        }
        Command::Seed(plain) => {
            let seeded = broker.pay.seed_policies(who).await?;
            let views: Vec<PolicyView> = seeded.iter().map(|(view, _)| view.clone()).collect();
            list(out, plain.json, &views)?;
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
    let warnings = body["warnings"].take();
    let warnings = warnings.as_array().into_iter().flatten();
    let warnings: Vec<&str> = warnings.filter_map(Value::as_str).collect();
    if let Some(map) = body.as_object_mut() {
        map.remove("warnings");
    }
    let fields = body.as_object().into_iter().flatten();
    let fields: Vec<(&str, String)> = fields
        .map(|(name, value)| (name.as_str(), value.to_string().replace('"', "")))
        .collect();
    print::pairs(out, &fields)?;
    for warning in warnings {
        writeln!(out, "\nWarning: {warning}")?;
    }
    Ok(())
}

fn list(out: &mut dyn Write, json: Json, views: &[PolicyView]) -> Result<(), Failure> {
    if json.json {
        let policies: Vec<Policy> = views.iter().cloned().map(Policy::from).collect();
        return Ok(print::json(out, &json!({"policies": policies}))?);
    }
    let limit = |limit: Option<i64>| limit.map_or("none".to_owned(), |limit| limit.to_string());
    let row = |view: &PolicyView| {
        vec![
            view.agent.to_string(),
            view.version.to_string(),
            limit(view.policy.daily_limit),
            limit(view.policy.per_txn_limit),
            limit(view.policy.require_approval_above),
            view.policy.currency().to_string(),
        ]
    };
    let heading = [
        "agent",
        "version",
        "daily",
        "per txn",
        "approval above",
        "currency",
    ];
    let rows = views.iter().map(row).collect();
    Ok(print::table(
        out,
        &heading,
        rows,
        "no policies; `hundi policy seed` makes samples",
    )?)
}
