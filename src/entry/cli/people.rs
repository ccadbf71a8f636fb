//! `hundi person`, `hundi org`, `hundi role`: who there is, in which organisation, and what each role
//! may do.

use std::io::Write;

use serde_json::{Map, json};

use super::asks::{Around, Asks};
use super::documents::{self, Common, How, Kind, Named};
use super::door::Door;
use super::{Actor, Failure, Json, print};

/// What to do with people.
#[derive(clap::Subcommand, Debug)]
pub enum Person {
    /// What is done with every document.
    #[command(flatten)]
    Common(Common),
    /// Make a link by which a person signs in to the console, once, within a quarter of an hour
    Link(Named),
}

/// What to do with organisations.
#[derive(clap::Subcommand, Debug)]
pub enum Org {
    /// Show all of them
    List(How),
    /// Make one, and show its admin's key, once
    Create {
        /// What it is called
        name: String,
        /// As whom, where, and how to print.
        #[command(flatten)]
        how: How,
    },
}

impl Asks for Person {
    fn actor(&self) -> Actor {
        match self {
            Person::Common(common) => common.actor(),
            Person::Link(named) => &named.how.actor,
        }
        .clone()
    }

    fn looks(&self) -> bool {
        false
    }

    async fn ask(&self, door: &Door, around: &mut Around<'_>) -> Result<(), Failure> {
        person(self, door, around.out).await
    }
}

impl Asks for Org {
    fn actor(&self) -> Actor {
        match self {
            Org::List(how) | Org::Create { how, .. } => &how.actor,
        }
        .clone()
    }

    fn looks(&self) -> bool {
        false
    }

    async fn ask(&self, door: &Door, around: &mut Around<'_>) -> Result<(), Failure> {
        org(self, door, around.out).await
    }
}

/// What each role may do.
#[derive(clap::Args, Debug)]
pub struct Roles {
    #[command(flatten)]
    how: How,
}

impl Asks for Roles {
    fn actor(&self) -> Actor {
        self.how.actor.clone()
    }

    fn looks(&self) -> bool {
        false
    }

    async fn ask(&self, door: &Door, around: &mut Around<'_>) -> Result<(), Failure> {
        roles(self.how.json, door, around.out).await
    }
}

/// Runs a command on people.
async fn person(command: &Person, door: &Door, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Person::Common(common) => documents::run(Kind::Person, common, door, out).await,
        Person::Link(named) => {
            let path = format!("{}/link", documents::one(Kind::Person));
            let name = Some(named.name.as_str());
            let told = documents::ask(door, "post", &path, name, Map::new()).await?;
            documents::tell(&told, named.how.json, out)
        }
    }
}

/// Runs a command on organisations.
async fn org(command: &Org, door: &Door, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Org::List(how) => {
            let told = documents::ask(door, "get", Kind::Org.path(), None, Map::new()).await?;
            if how.json.json {
                print::json(out, &told)?;
            } else {
                let rows = print::rows(&told, Kind::Org.list(), &["/org", "/name", "/created_at"]);
                print::table(out, &["org", "name", "made"], rows, "there are none yet")?;
            }
            Ok(out.flush()?)
        }
        Org::Create { name, how } => {
            let input = Map::from_iter([("name".to_owned(), json!(name))]);
            let told = documents::ask(door, "post", Kind::Org.path(), None, input).await?;
            documents::tell(&told, how.json, out)
        }
    }
}

/// Shows each role with its rights.
async fn roles(json: Json, door: &Door, out: &mut dyn Write) -> Result<(), Failure> {
    let told = documents::ask(door, "get", "/v1/roles", None, Map::new()).await?;
    if json.json {
        print::json(out, &told)?;
    } else {
        let rows = print::rows(&told, "roles", &["/name", "/rights", "/about"]);
        print::table(out, &["role", "rights", "for"], rows, "there are no roles")?;
    }
    Ok(out.flush()?)
}
