//! `hundi key`: API keys of agents and people. A key's text is shown once, when it is made.

use std::io::Write;

use serde_json::{Value, json};

use super::asks::{Around, Asks};
use super::door::Door;
use super::{Actor, Failure, Json, print};
use crate::domain::principal::Role;

/// What to do with API keys.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Make a key and show it, once
    #[command(after_help = "Example:\n  hundi key create --role agent --name reconciler")]
    Create {
        /// What its holder may do; `hundi role` tells what each role may
        #[arg(
            long = "role",
            required = true,
            value_name = "ROLE",
            value_delimiter = ',',
            value_parser = role
        )]
        roles: Vec<Role>,
        /// What you call it; for an agent this becomes its id
        #[arg(long)]
        name: String,
        /// The Slack user who decides with this key's rights
        #[arg(long, value_name = "U...")]
        slack_user: Option<String>,
        /// The person whose program it is, by id or name: where several have to agree, people are
        /// counted and not keys
        #[arg(long, value_name = "NAME")]
        person: Option<String>,
        /// As whom, and where.
        #[command(flatten)]
        actor: Actor,
        /// How to print.
        #[command(flatten)]
        json: Json,
    },
    /// Show every key, without its secret
    List {
        /// As whom, and where.
        #[command(flatten)]
        actor: Actor,
        /// How to print.
        #[command(flatten)]
        json: Json,
    },
    /// End a key at once
    Revoke {
        /// The key's id: the part between hk_ and the next underscore
        id: String,
        /// As whom, and where.
        #[command(flatten)]
        actor: Actor,
        /// How to print.
        #[command(flatten)]
        json: Json,
    },
}

fn role(name: &str) -> Result<Role, String> {
    Role::parse(name).ok_or_else(|| {
        let names: Vec<&str> = Role::ALL.iter().map(|role| role.name()).collect();
        format!("the roles are {}", names.join(", "))
    })
}

impl Asks for Command {
    fn actor(&self) -> Actor {
        match self {
            Command::Create { actor, .. }
            | Command::List { actor, .. }
            | Command::Revoke { actor, .. } => actor,
        }
        .clone()
    }

    fn looks(&self) -> bool {
        !matches!(self, Command::Create { .. })
    }

    async fn ask(&self, door: &Door, around: &mut Around<'_>) -> Result<(), Failure> {
        run(self, door, around.out).await
    }
}

/// Runs the command.
async fn run(command: &Command, door: &Door, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Command::Create {
            roles,
            name,
            slack_user,
            person,
            json,
            ..
        } => {
            let mut asked = json!({"name": name});
            match roles.as_slice() {
                [role] => asked["role"] = json!(role),
                roles => asked["roles"] = json!(roles),
            }
            for (field, value) in [("slack_user", slack_user), ("person", person)] {
                if let Some(value) = value {
                    asked[field] = json!(value);
                }
            }
            let made = door.ask("create_key", asked).await?;
            created(&made, *json, out)?;
        }
        Command::List { json, .. } => {
            let keys = door.ask("list_keys", json!({})).await?;
            match json.json {
                true => print::json(out, &keys)?,
                false => list(&keys, out)?,
            }
        }
        Command::Revoke { id, json, .. } => {
            let key = door.ask("revoke_key", json!({"id": bare(id)})).await?;
            match json.json {
                true => print::json(out, &key)?,
                false => revoked(&key, door, out).await?,
            }
        }
    }
    Ok(out.flush()?)
}

/// A whole key pasted by mistake still names itself; its secret half goes no further.
fn bare(id: &str) -> &str {
    let id = id.strip_prefix("hk_").unwrap_or(id);
    id.split('_').next().unwrap_or(id)
}

fn created(made: &Value, json: Json, out: &mut dyn Write) -> std::io::Result<()> {
    if json.json {
        return print::json(out, made);
    }
    let told = [
        ("key", "/key"),
        ("id", "/id"),
        (
            "role",
            if made["roles"].is_array() {
                "/roles"
            } else {
                "/role"
            },
        ),
        ("name", "/name"),
        ("agent", "/agent_id"),
        ("slack user", "/slack_user"),
        ("person", "/person"),
    ];
    let told = told.map(|(name, place)| (name, print::word(made, place)));
    let told: Vec<_> = told
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .collect();
    print::pairs(out, &told)?;
    writeln!(
        out,
        "\nKeep the key now: it is stored hashed and never shown again."
    )
}

fn list(keys: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    let rows = keys["keys"].as_array().into_iter().flatten().map(|key| {
        let word = |place| print::word(key, place);
        let state = match word("/revoked_at") {
            at if at.is_empty() => "in use".to_owned(),
            at => format!("revoked {at}"),
        };
        let holder = [word("/agent_id"), word("/slack_user")];
        let holder = holder.into_iter().find(|text| !text.is_empty());
        let role = if key["roles"].is_array() {
            "/roles"
        } else {
            "/role"
        };
        vec![
            word("/id"),
            word(role),
            word("/name"),
            holder.unwrap_or_default(),
            word("/person"),
            word("/created_at"),
            state,
        ]
    });
    let heading = [
        "id",
        "role",
        "name",
        "agent or slack user",
        "person",
        "made",
        "state",
    ];
    print::table(
        out,
        &heading,
        rows.collect(),
        "there are no keys yet; `hundi key create` makes one",
    )
}

/// States of a proposal that its agent could still commit.
const OPEN: [&str; 2] = ["allowed", "held"];

/// Says that it is revoked, and what its agent has left open: that stays committable by any other
/// key of the same agent, and holds budget.
async fn revoked(key: &Value, door: &Door, out: &mut dyn Write) -> Result<(), Failure> {
    let id = print::plain(&print::word(key, "/id"));
    writeln!(out, "{id} is revoked; nothing accepts it any more")?;
    let Some(agent) = key["agent_id"].as_str() else {
        return Ok(());
    };
    let mut open = Vec::new();
    for state in OPEN {
        let asked = json!({"agent": agent, "state": state});
        // Whoever may end keys may read proposals; a failure here does not undo what was done.
        if let Ok(found) = door.ask("list_proposals", asked).await {
            open.extend(print::rows(
                &found,
                "proposals",
                &[
                    "/proposal_id",
                    "/state",
                    "/tool_name",
                    "/effective_amount/text",
                ],
            ));
        }
    }
    if !open.is_empty() {
        writeln!(
            out,
            "\nStill open of {agent}; `hundi proposal cancel ID` ends one:"
        )?;
        print::table(out, &["proposal", "state", "tool", "amount"], open, "")?;
    }
    Ok(())
}
