//! Whether an agent has lately read what somebody else wrote: marked with the call that brought it,
//! in the same write as its record, and looked at when the agent proposes.
//!
//! A mark is of an agent and, where the caller gave its conversation a name, of that conversation as
//! well. A call without a name marks every conversation of its agent: what was read there may have
//! come into any of them. A name is the caller's word, and whoever is hostile can choose another, so a
//! policy that goes by conversation trusts its agent that far.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Tools;
use crate::broker::core::Trouble;
use crate::domain::change::DocWrite;
use crate::domain::document::Document;
use crate::domain::facts::{Fact, TaintedRead};
use crate::domain::ids::{AgentId, OrgId, hex};
use crate::domain::policy::{Taint, TaintBy};
use crate::domain::principal::Principal;
use crate::domain::tool::Tool;

/// The latest such reading.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Mark(TaintedRead);

impl Document for Mark {
    const KIND: &'static str = "tainted_read";
    const CACHED: bool = false;
    type Id = str;
}

impl Tools {
    /// What has to be written with a call of this tool: nothing, where no policy minds. A policy that
    /// cannot be read minds everything.
    pub(super) async fn marks(
        &self,
        who: &Principal,
        tool: &Tool,
        conversation: Option<&str>,
    ) -> Result<Vec<DocWrite>, Trouble> {
        let Some(agent) = &who.agent else {
            return Ok(Vec::new());
        };
        let policy = self.local_facts(&who.org, agent).await?.policy;
        let minds = match &policy {
            Fact::Missing => true,
            Fact::Known(policy) => {
                let taint = policy.as_ref().and_then(|policy| policy.taint.as_ref());
                taint.is_some_and(|taint| taint.names(tool.name.as_str(), tool.server()))
            }
        };
        if !minds {
            return Ok(Vec::new());
        }
        let mark = Mark(TaintedRead {
            tool: tool.name.to_string(),
            at: self.ports().ambient.now(),
        });
        let places = [everywhere(agent), place(agent, conversation)];
        Ok(places
            .iter()
            .map(|place| mark.write(&who.org, place, None))
            .collect())
    }

    /// The latest reading that counts for this agent, or for this conversation of it.
    pub(in crate::broker) async fn tainted(
        &self,
        org: &OrgId,
        agent: &AgentId,
        taint: &Taint,
        conversation: Option<&str>,
    ) -> Fact<Option<TaintedRead>> {
        let places = match (taint.by, conversation) {
            // Without a name nobody knows which of the agent's conversations it is.
            (TaintBy::Agent, _) | (TaintBy::Conversation, None) => vec![everywhere(agent)],
            (TaintBy::Conversation, Some(_)) => {
                vec![place(agent, conversation), place(agent, None)]
            }
        };
        let mut latest: Option<TaintedRead> = None;
        for place in places {
            match self.find::<Mark>(org, &place).await {
                Ok(None) => {}
                Ok(Some(Ok(stored))) => {
                    let Mark(read) = stored.value;
                    if latest.as_ref().is_none_or(|known| known.at < read.at) {
                        latest = Some(read);
                    }
                }
                Ok(Some(Err(_))) | Err(_) => return Fact::Missing,
            }
        }
        Fact::Known(latest)
    }
}

/// The place of what an agent has read in whatever conversation.
fn everywhere(agent: &AgentId) -> String {
    agent.to_string()
}

/// The place of what it has read in this one, or in one without a name.
fn place(agent: &AgentId, conversation: Option<&str>) -> String {
    match conversation {
        None => format!("{agent}/-"),
        Some(name) => {
            let hash = hex(&Sha256::digest(name.as_bytes()));
            format!("{agent}/{}", hash.get(..32).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_a_conversation_is_another_ones_place() {
        let agent: AgentId = "payer".parse().unwrap();
        let places = [
            everywhere(&agent),
            place(&agent, None),
            place(&agent, Some("-")),
            place(&agent, Some("a")),
        ];
        for (index, one) in places.iter().enumerate() {
            assert!(!places.iter().skip(index + 1).any(|other| other == one));
        }
    }
}
