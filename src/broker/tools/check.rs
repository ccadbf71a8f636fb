//! Documents held against each other before any of them is written: what a folder of files would come
//! to. Each is read as it would be when it is saved, and told with everything that it left to defaults;
//! what it needs may be among the others instead of in the store.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Tools;
use super::registry::Registered;
use crate::broker::core::Trouble;
use crate::broker::core::kept::Kept;
use crate::domain::access::Server;
use crate::domain::principal::Principal;
use crate::domain::tools::Source;

/// What will be there by the time that a document is written.
#[derive(Default)]
pub struct Beside {
    pub(super) sources: BTreeMap<String, Source>,
    pub(super) tools: BTreeSet<String>,
    pub(super) servers: BTreeSet<String>,
}

impl Tools {
    /// A source as it would be kept, without its secrets.
    pub fn check_source(
        &self,
        who: &Principal,
        document: &Value,
        beside: &mut Beside,
    ) -> Result<Value, Trouble> {
        self.may_develop(who)?;
        let source = self.read(&who.org, document)?;
        let kept = source.document();
        beside.sources.insert(source.name.clone(), source);
        Ok(kept)
    }

    /// A tool as it would be kept.
    pub async fn check_tool(
        &self,
        who: &Principal,
        document: &Value,
        beside: &mut Beside,
    ) -> Result<Value, Trouble> {
        self.may_develop(who)?;
        let name = document.get("name").and_then(Value::as_str);
        let stored: Option<Kept<Registered>> =
            self.kept(&who.org, name.unwrap_or_default()).await?;
        let def = match stored {
            Some(stored) => {
                let before = Some(&stored.value.0);
                self.checked(who, before, document, beside).await?
            }
            None => self.may_be_made(who, document, beside).await?,
        };
        beside.tools.insert(def.name.clone());
        Ok(def.document())
    }

    /// A virtual server as it would be kept.
    pub fn check_server(
        &self,
        who: &Principal,
        document: &Value,
        beside: &mut Beside,
    ) -> Result<Value, Trouble> {
        self.may_develop(who)?;
        let server: Server = self.known_server(&who.org, document, beside)?;
        beside.servers.insert(server.name.clone());
        Ok(json!(server))
    }
}
