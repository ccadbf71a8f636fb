//! An API's own description as tools: made disabled, all of them in one write, so that a person looks
//! at each before anybody calls it.
//!
//! What is left out is told with the reason. A description that is fetched comes through the same
//! checks of addresses as the calls of its source, and without the source's credentials.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::Tools;
use super::check::Beside;
use super::registry::{Registered, ToolView, view};
use super::sources::StoredSource;
use crate::broker::core::Trouble;
use crate::broker::core::kept::Kept;
use crate::connector::openapi;
use crate::domain::principal::Principal;
use crate::domain::reason::Recovery;
use crate::domain::tools::{Invalid, SourceKind, valid_name};

// The doors tell what was left out in these words.
pub use crate::connector::openapi::LeftOut;

/// Longest that fetching a description may take.
const FETCH_DEADLINE: Duration = Duration::from_secs(15);

/// Where a description comes from.
pub enum Description {
    /// It is given: a document, or the text of one.
    Given(Value),
    /// It is fetched.
    At(String),
}

/// What was made of a description.
pub struct Imported {
    /// The tools, disabled.
    pub tools: Vec<ToolView>,
    /// What is not among them, and why.
    pub left_out: Vec<LeftOut>,
}

impl Tools {
    /// Makes disabled tools of a description, at a REST source.
    pub async fn import_tools(
        &self,
        who: &Principal,
        description: Description,
        source: &str,
        prefix: &str,
    ) -> Result<Imported, Trouble> {
        self.may_develop(who)?;
        let wrong = |at: &str, why: String| Err(Trouble::invalid(Invalid::tool(at, why)));
        if !prefix.is_empty()
            && let Err(why) = valid_name(&format!("{prefix}x"))
        {
            return wrong("/prefix", why);
        }
        let found: Option<Kept<StoredSource>> = self.kept(&who.org, source).await?;
        let kind = found.map(|kept| kept.value.source()).transpose()?;
        match kind.map(|source| source.kind()) {
            None => return wrong("/source", format!("there is no source named `{source}`")),
            Some(SourceKind::Rest) => {}
            Some(kind) => {
                let kind = kind.code();
                return wrong(
                    "/source",
                    format!("`{source}` is a {kind} source, not an API"),
                );
            }
        }
        let document = self.described(who, description, source).await?;
        let made = openapi::import(&document, source, prefix);
        let made = made.map_err(|why| Trouble::invalid(Invalid::tool("/openapi", why)))?;
        self.keep_imported(who, made).await
    }

    async fn described(
        &self,
        who: &Principal,
        description: Description,
        source: &str,
    ) -> Result<Value, Trouble> {
        let (text, at) = match description {
            Description::Given(Value::String(text)) => (text, "/openapi"),
            Description::Given(document) => return Ok(document),
            Description::At(url) => {
                let wire = self.source_wire()?;
                let fetched = wire.fetch(&who.org, source, &url, FETCH_DEADLINE).await;
                let text = fetched.map_err(|trouble| match trouble.refused {
                    true => Trouble::invalid(Invalid::tool("/url", trouble.why)),
                    false => Trouble::SourceFailed(trouble.why, Recovery::Wait),
                })?;
                (text, "/url")
            }
        };
        // JSON is YAML, too, and is read as what it is first: its mistakes are told better.
        let read = match text.trim_start().starts_with('{') {
            true => serde_json::from_str(&text).map_err(|error| error.to_string()),
            false => serde_yaml_ng::from_str(&text).map_err(|error| error.to_string()),
        };
        read.map_err(|why| {
            let detail = format!("is neither JSON nor YAML: {why}");
            Trouble::invalid(Invalid::tool(at, detail))
        })
    }

    async fn keep_imported(
        &self,
        who: &Principal,
        made: openapi::Imported,
    ) -> Result<Imported, Trouble> {
        let mut left_out = made.left_out;
        let taken = self.all_kept::<Registered>(Some(&who.org)).await?;
        let taken: BTreeSet<String> = taken.into_iter().map(|(key, _)| key.id).collect();
        let mut tools = Vec::new();
        for document in made.tools {
            let text = |at: &str| {
                let text = document.pointer(at).and_then(Value::as_str);
                text.unwrap_or_default().to_owned()
            };
            let name = text("/name");
            let checked = match taken.contains(&name) {
                true => Err(Trouble::NameTaken("tool", name.clone())),
                false => self.may_be_made(who, &document, &Beside::default()).await,
            };
            match checked {
                Ok(def) => tools.push((name, Registered(def.document()))),
                Err(trouble @ (Trouble::Invalid(_) | Trouble::NameTaken(..))) => {
                    left_out.push(LeftOut {
                        operation: format!("{} {}", text("/exec/method"), text("/exec/path")),
                        part: None,
                        why: trouble.to_string(),
                    });
                }
                Err(trouble) => return Err(trouble),
            }
        }
        let kept = self.make_all(who, tools).await?;
        self.reload().await?;
        Ok(Imported {
            tools: kept.into_iter().map(view).collect(),
            left_out,
        })
    }
}
