//! Gives the tools of upstreams their public names, for good, and keeps the register of them in
//! the store. A name that could not be written down is nobody's yet.

use super::Tools;
use super::catalogue::OUR_OWN;
use super::registry::Registered;
use crate::broker::core::Trouble;
use crate::broker::core::kept::Kept;
use crate::connector::registry;
use crate::domain::change::{Change, DocKey};
use crate::domain::document::Single;
use crate::domain::ids::OrgId;
use crate::domain::names::{Names, Wish};
use crate::domain::nearest::nearest;
use crate::store::ApplyError;

/// How often a register that another node has changed meanwhile is read again.
const TRIES: u32 = 8;

impl Tools {
    /// The register with a name in it for each of these, the earlier before the later.
    pub(super) async fn named(&self, wishes: &[Wish]) -> Result<Names, Trouble> {
        let org = OrgId::default();
        // Those of both modes: what a name stands for does not depend on who pays.
        let built_in = registry::tools(true);
        let built_in = built_in.iter().map(|tool| tool.name.as_str());
        let of_bank = registry::bank().tools().iter().copied();
        // What an organisation registered under a name stays under it, whoever offers one later.
        let registered = self.documents::<Kept<Registered>>(None).await?;
        let registered: Vec<DocKey> = registered
            .into_iter()
            .filter_map(|read| Some(read.ok()?.key))
            .collect();
        let registered = registered.iter().map(|key| key.id.as_str());
        let ours = OUR_OWN.into_iter().chain(of_bank).chain(built_in);
        let ours: Vec<&str> = ours.chain(registered).collect();
        for _ in 0..TRIES {
            let (version, mut names) = match self.find::<Names>(&org, Names::ID).await? {
                None => (0, Names::default()),
                Some(Ok(stored)) => (stored.version, stored.value),
                Some(Err(_)) => {
                    let what = "the register of tool names does not read, so no tool of an \
                                upstream has one";
                    return Err(Trouble::Off(what.to_owned()));
                }
            };
            if !names.give(wishes, ours.iter().copied()) {
                return Ok(names);
            }
            let write = names.write_only(&org, Some(version));
            let change = Change::documents(vec![write], Vec::new(), Vec::new(), Vec::new());
            match self.ports().store.apply(change).await {
                Ok(_) => return Ok(names),
                Err(ApplyError::Conflict(_)) => {}
                Err(ApplyError::Store(error)) => return Err(error.into()),
            }
        }
        Err(Trouble::Changed)
    }

    /// The `[tools.NAME]` of the configuration that name no tool, as sentences. A tool is known if
    /// it is built in, or if an upstream ever offered it: names stay given. Ask after the upstreams
    /// were listed.
    pub async fn unknown_tool_rules(&self) -> Result<Vec<String>, Trouble> {
        let rules = &self.settings().tool_rules;
        if rules.is_empty() {
            return Ok(Vec::new());
        }
        let names = self.named(&[]).await?;
        let built_in = registry::tools(true);
        let built_in = built_in.iter().map(|tool| tool.name.as_str());
        let known: Vec<&str> = built_in.chain(names.all()).collect();
        let unknown = rules.iter().filter(|rule| !known.contains(&rule.as_str()));
        let told = unknown.map(|rule| {
            let near = nearest(rule, known.iter().copied());
            let hint = near.map_or_else(
                || {
                    "; if it is a tool of an upstream that was never reached, start without \
                     this rule until it has been"
                        .to_owned()
                },
                |near| format!("; did you mean `{near}`?"),
            );
            format!("`[tools.{rule}]` names no known tool, so it would limit nothing{hint}")
        });
        Ok(told.collect())
    }
}
