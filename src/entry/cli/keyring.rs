//! `hundi keyring`: the keys that sign commit tokens, and what is kept secret under a master key.
//! Where the former are kept is handed in; a change holds at once in every process that shares the
//! data folder. The latter is the server's work, and asked for like any other.

use std::io::Write;

use serde_json::{Map, Value, json};

use super::asks::{Around, Asks};
use super::documents::{self, How};
use super::door::Door;
use super::{Actor, Failure, Json, print};
use crate::domain::time::Timestamp;
use crate::domain::token::{KeyEntry, KeyState};

/// What to do with the keys that sign commit tokens.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Show every key, oldest first
    List(Json),
    /// Put a new key in front; the ones before verify until their last token has expired
    ///
    /// With --master: put everything that is kept secret under the first of the master keys
    /// (HUNDI_MASTER_KEY is a list, newest first; the file `master-key` has one a line), while
    /// serving. Give the new key before the old one to every process, restart it, rotate, and then
    /// take the old one away.
    Rotate(Rotate),
    /// End a key at once: no token it signed is honoured any more
    ///
    /// Use it when a key may have leaked. If it is the one that signs, a new one takes its place.
    Retire {
        /// The key's name, as `hundi keyring list` shows it
        kid: String,
        /// How to print.
        #[command(flatten)]
        json: Json,
    },
}

/// Which key to rotate.
#[derive(clap::Args, Debug)]
pub struct Rotate {
    /// The master key, not the one that signs commit tokens
    #[arg(long)]
    pub master: bool,
    /// As whom, where, and how to print; where only for --master
    #[command(flatten)]
    pub how: How,
}

/// Of the master key; that of the token keys needs no broker.
impl Asks for Rotate {
    fn actor(&self) -> Actor {
        self.how.actor.clone()
    }

    async fn ask(&self, door: &Door, around: &mut Around<'_>) -> Result<(), Failure> {
        rotate_master(&self.how, door, around.out).await
    }
}

/// Puts everything under the first of the master keys.
async fn rotate_master(how: &How, door: &Door, out: &mut dyn Write) -> Result<(), Failure> {
    let path = "/v1/keyring/master/rotate";
    let told = documents::ask(door, "post", path, None, Map::new()).await?;
    if how.json.json {
        print::json(out, &told)?;
        return Ok(out.flush()?);
    }
    let count = |pointer: &str| print::word(&told, pointer);
    writeln!(
        out,
        "everything is under {}; put there now: {} sources, {} providers, {} keys of organisations",
        count("/master"),
        count("/rewrapped/sources"),
        count("/rewrapped/providers"),
        count("/rewrapped/keys")
    )?;
    Ok(out.flush()?)
}

/// The keys, wherever they are kept.
pub trait Ring {
    /// Every key, oldest first.
    fn list(&self) -> Result<Vec<KeyEntry>, String>;
    /// A new key in front.
    fn rotate(&self) -> Result<KeyEntry, String>;
    /// Ends a key at once.
    fn retire(&self, kid: &str) -> Result<Vec<KeyEntry>, String>;
}

/// Runs the command.
pub fn run(
    command: &Command,
    ring: &dyn Ring,
    now: Timestamp,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    match command {
        Command::List(json) => {
            let keys = ring.list().map_err(Failure::Failed)?;
            keys_out(&keys, *json, now, out)
        }
        Command::Rotate(Rotate { how, .. }) => {
            let json = how.json;
            let key = ring.rotate().map_err(Failure::Failed)?;
            if json.json {
                print::json(out, &spell(&key))?;
            } else {
                writeln!(out, "{} signs from now on", key.kid)?;
            }
            Ok(out.flush()?)
        }
        Command::Retire { kid, json } => {
            let keys = ring.retire(kid).map_err(Failure::Failed)?;
            if !json.json {
                writeln!(
                    out,
                    "{kid} is retired; no token it signed is honoured any more\n"
                )?;
            }
            keys_out(&keys, *json, now, out)
        }
    }
}

fn keys_out(
    keys: &[KeyEntry],
    json: Json,
    now: Timestamp,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if json.json {
        print::json(
            out,
            &json!({"keys": keys.iter().map(spell).collect::<Vec<_>>()}),
        )?;
        return Ok(out.flush()?);
    }
    let rows = keys.iter().map(|key| {
        let made = key
            .created_at
            .map_or("given from outside".to_owned(), |at| at.to_string());
        vec![key.kid.clone(), state(key, now), made]
    });
    print::table(
        out,
        &["key", "state", "made"],
        rows.collect(),
        "there are no token keys",
    )?;
    Ok(out.flush()?)
}

fn state(key: &KeyEntry, now: Timestamp) -> String {
    match key.state {
        KeyState::Active if key.sealing => "signs and verifies".to_owned(),
        KeyState::Active => "verifies".to_owned(),
        KeyState::Rotated(until) if now.secs() < until => {
            format!("verifies until {}", Timestamp::from_secs(until))
        }
        KeyState::Rotated(until) => format!("expired {}", Timestamp::from_secs(until)),
        KeyState::Retired => "retired".to_owned(),
    }
}

fn spell(key: &KeyEntry) -> Value {
    let (state, until) = match key.state {
        KeyState::Active => ("active", None),
        KeyState::Rotated(until) => ("rotated", Some(Timestamp::from_secs(until).to_string())),
        KeyState::Retired => ("retired", None),
    };
    json!({
        "kid": key.kid,
        "state": state,
        "sealing": key.sealing,
        "verifies_until": until,
        "created_at": key.created_at.map(|at| at.to_string()),
    })
}
