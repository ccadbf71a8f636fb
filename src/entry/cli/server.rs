//! `hundi server`: virtual MCP servers, each with tools of its own choice, and their keys.

use std::io::Write;

use serde_json::{Map, Value, json};

use super::asks::{Around, Asks};
use super::documents::{self, Common, How, Kind, Named};
use super::door::Door;
use super::{Actor, Failure, print};

/// What to do with servers.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// What is done with every document.
    #[command(flatten)]
    Common(Common),
    /// Let clients in
    Enable(Named),
    /// Let no client in
    Disable(Named),
    /// Make a key of a server and show it, once
    CreateKey {
        /// The server
        server: String,
        /// What you call the key
        #[arg(long)]
        name: Option<String>,
        /// The agent that its holder acts as
        #[arg(long, value_name = "AGENT")]
        agent: Option<String>,
        /// When it ends, RFC 3339
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,
        /// As whom, where, and how to print.
        #[command(flatten)]
        how: How,
    },
    /// Make a new key in the place of one, and show it, once
    RotateKey {
        /// The server
        server: String,
        /// The key's id
        id: String,
        /// Seconds that the old one goes on working
        #[arg(long, default_value_t = 0, value_name = "SECS")]
        grace_secs: u64,
        /// As whom, where, and how to print.
        #[command(flatten)]
        how: How,
    },
    /// End a key of a server
    DeleteKey {
        /// The server
        server: String,
        /// The key's id
        id: String,
        /// As whom, where, and how to print.
        #[command(flatten)]
        how: How,
    },
}

impl Asks for Command {
    fn actor(&self) -> Actor {
        match self {
            Command::Common(common) => common.actor(),
            Command::Enable(named) | Command::Disable(named) => &named.how.actor,
            Command::CreateKey { how, .. }
            | Command::RotateKey { how, .. }
            | Command::DeleteKey { how, .. } => &how.actor,
        }
        .clone()
    }

    fn looks(&self) -> bool {
        false
    }

    async fn ask(&self, door: &Door, around: &mut Around<'_>) -> Result<(), Failure> {
        run(self, door, around.out).await
    }
}

/// Runs the command.
async fn run(command: &Command, door: &Door, out: &mut dyn Write) -> Result<(), Failure> {
    let one = documents::one(Kind::Server);
    let (told, json) = match command {
        Command::Common(common) => return documents::run(Kind::Server, common, door, out).await,
        Command::Enable(named) => (switch(named, "enable", door).await?, named.how.json),
        Command::Disable(named) => (switch(named, "disable", door).await?, named.how.json),
        Command::CreateKey {
            server,
            name,
            agent,
            expires_at,
            how,
        } => {
            let fields = [("name", name), ("agent", agent), ("expires_at", expires_at)];
            let fields = fields
                .into_iter()
                .filter_map(|(field, value)| Some((field.to_owned(), json!(value.as_deref()?))));
            let path = format!("{one}/keys");
            let input = fields.collect();
            let told = documents::ask(door, "post", &path, Some(server), input).await?;
            (told, how.json)
        }
        Command::RotateKey {
            server,
            id,
            grace_secs,
            how,
        } => {
            let input = Map::from_iter([
                ("server_key".to_owned(), json!(id)),
                ("grace_secs".to_owned(), json!(grace_secs)),
            ]);
            let path = format!("{one}/keys/{{}}/rotate");
            let told = documents::ask(door, "post", &path, Some(server), input).await?;
            (told, how.json)
        }
        Command::DeleteKey { server, id, how } => {
            let input = Map::from_iter([("server_key".to_owned(), json!(id))]);
            let path = format!("{one}/keys/{{}}");
            let told = documents::ask(door, "delete", &path, Some(server), input).await?;
            (told, how.json)
        }
    };
    documents::tell(&told, json, out)?;
    if told["key"].is_string() && !json.json {
        let once = "\nKeep the key now: it is stored hashed and never shown again.";
        writeln!(out, "{}", print::plain(once.trim_start()))?;
    }
    Ok(out.flush()?)
}

async fn switch(named: &Named, verb: &str, door: &Door) -> Result<Value, Failure> {
    let path = format!("{}/{verb}", documents::one(Kind::Server));
    documents::ask(door, "post", &path, Some(&named.name), Map::new()).await
}
