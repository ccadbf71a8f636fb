//! `hundi key`: API keys of agents and people. A key's text is shown once, when it is made.

use std::io::Write;

use serde_json::json;

use super::{Actor, Failure, Json, print};
use crate::broker::Broker;
use crate::broker::access::keys::KeyInfo;
use crate::domain::principal::{Principal, Role};
use crate::entry::operations::access::{Key, MadeKey};

/// What to do with API keys.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Make a key and show it, once
    #[command(after_help = "Example:\n  hundi key create --role agent --name reconciler")]
    Create {
        /// What its holder may do; several with commas
        #[arg(
            long,
            value_parser = role,
            value_delimiter = ',',
            required = true,
            value_name = "agent|approver|auditor|operator|developer|steward|admin"
        )]
        role: Vec<Role>,
        /// What you call it; for an agent this becomes its id
        #[arg(long)]
        name: String,
        /// The Slack user who decides with this key's rights
        #[arg(long, value_name = "U...")]
        slack_user: Option<String>,
        /// Whose key it is: where several have to agree, persons are counted and not keys
        #[arg(long, value_name = "NAME")]
        person: Option<String>,
        /// As whom.
        #[command(flatten)]
        actor: Actor,
        /// How to print.
        #[command(flatten)]
        json: Json,
    },
    /// Show every key, without its secret
    List {
        /// As whom.
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
        /// As whom.
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

impl Command {
    /// As whom to act.
    pub fn actor(&self) -> &Actor {
        match self {
            Command::Create { actor, .. }
            | Command::List { actor, .. }
            | Command::Revoke { actor, .. } => actor,
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
        Command::Create {
            role,
            name,
            slack_user,
            person,
            json,
            ..
        } => {
            let made = broker
                .access
                .create_key_for(
                    who,
                    role.iter().copied().collect(),
                    name,
                    slack_user.as_deref(),
                    person.as_deref(),
                )
                .await?;
            created(made, *json, out)?;
        }
        Command::List { json, .. } => {
            let keys = broker.access.keys(who).await?;
            if json.json {
                let keys: Vec<Key> = keys.into_iter().map(Key::from).collect();
                print::json(out, &json!(keys))?;
            } else {
                list(&keys, out)?;
            }
        }
        Command::Revoke { id, json, .. } => {
            let key = broker.access.revoke_key(who, bare(id)).await?;
            if json.json {
                print::json(out, &json!(Key::from(key)))?;
            } else {
                writeln!(out, "{} is revoked; nothing accepts it any more", key.id)?;
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

fn created(made: (KeyInfo, String), json: Json, out: &mut dyn Write) -> std::io::Result<()> {
    let (info, text) = made;
    if json.json {
        return print::json(out, &json!(MadeKey::of(info, text)));
    }
    let mut pairs = vec![
        ("key", text),
        ("id", info.id),
        ("roles", info.roles.to_string()),
        ("name", info.name),
    ];
    if let Some(agent) = info.agent_id {
        pairs.push(("agent", agent.to_string()));
    }
    if let Some(user) = info.slack_user {
        pairs.push(("slack user", user));
    }
    if let Some(person) = info.person {
        pairs.push(("person", person));
    }
    print::pairs(out, &pairs)?;
    writeln!(
        out,
        "\nKeep the key now: it is stored hashed and never shown again."
    )
}

fn list(keys: &[KeyInfo], out: &mut dyn Write) -> std::io::Result<()> {
    let rows = keys.iter().map(|key| {
        let state = key
            .revoked_at
            .map_or("in use".to_owned(), |at| format!("revoked {at}"));
        let holder = key.agent_id.as_ref().map(ToString::to_string);
        vec![
            key.id.clone(),
            key.roles.to_string(),
            key.name.clone(),
            holder
                .or_else(|| key.slack_user.clone())
                .unwrap_or_default(),
            key.person.clone().unwrap_or_default(),
            key.created_at.to_string(),
            state,
        ]
    });
    let heading = [
        "id",
        "roles",
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
