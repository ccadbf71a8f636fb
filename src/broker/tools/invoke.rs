//! Low-risk tools pass through: read-only by the operator's word, checked against their schema and
//! against freezes, counted, and otherwise left alone.

use std::time::Duration;

use serde_json::Value;

use super::Tools;
use crate::broker::core::Trouble;
use crate::domain::call::{Call, Reply};
use crate::domain::ids::AgentId;
use crate::domain::principal::{Principal, Right};
use crate::domain::schema;
use crate::domain::tool::{Executor, Risk, Tool};
use crate::governance;

/// What an upstream answered to a pass-through call.
#[derive(Clone, Debug, PartialEq)]
pub struct Invoked {
    /// Its structured content, or what its first text says.
    pub content: Value,
    /// Its content blocks as they came; null where there are none.
    pub blocks: Value,
    /// It called it an error.
    pub is_error: bool,
}

impl Tools {
    /// Calls a low-risk tool at its upstream.
    pub async fn invoke(
        &self,
        who: &Principal,
        tool: &str,
        arguments: &Value,
    ) -> Result<Invoked, Trouble> {
        if !who.may(Right::ReadOwn) {
            return Err(Trouble::Forbidden {
                role: who.role.name(),
            });
        }
        let found = self
            .catalogue()
            .get(&who.org, tool)
            .filter(|tool| tool.risk == Risk::Low);
        let tool = found.ok_or_else(|| Trouble::UnknownTool(tool.to_owned()))?;
        self.usable(&tool)?;
        schema::validate(&tool, arguments).map_err(Trouble::InvalidArguments)?;
        let Executor::Upstream {
            upstream,
            tool: name,
            ..
        } = &tool.executor
        else {
            return Err(Trouble::UnknownTool(tool.name.to_string()));
        };
        self.not_frozen(who, &tool, arguments).await?;
        self.pace_through(&who.org, &tool.name).await?;
        let call = Call::new(upstream, name, arguments);
        let deadline = self.deadline_of(upstream);
        let heard = self.ports().wire.relay(&call, deadline).await;
        match heard.reply {
            Reply::Result { content, is_error } => Ok(Invoked {
                content,
                blocks: heard.blocks,
                is_error,
            }),
            Reply::TooLarge { limit } => Err(Trouble::ResultTooLarge { limit }),
            Reply::RpcError { .. }
            | Reply::TurnedAway { .. }
            | Reply::NotSent(_)
            | Reply::Lost(_) => Err(Trouble::Upstream(heard.reply.why())),
        }
    }

    /// Fails if the caller, this tool or its server is frozen: for calls that pass through and are
    /// decided by nobody else.
    async fn not_frozen(
        &self,
        who: &Principal,
        tool: &Tool,
        args: &serde_json::Value,
    ) -> Result<(), Trouble> {
        let nobody = AgentId::external();
        let agent = who.agent.as_ref().unwrap_or(&nobody);
        let payee = tool.payee(args);
        let request = governance::Request {
            agent,
            tool,
            args,
            effective: tool.effective(args),
            payee: &payee,
        };
        let mut facts = crate::domain::facts::Facts::missing(self.ports().ambient.now());
        facts.freezes = self.local_facts(&who.org, agent).await?.freezes;
        match governance::freeze::frozen(&request, &facts) {
            None => Ok(()),
            Some(finding) => Err(Trouble::Frozen(finding.detail)),
        }
    }

    /// The longest that one call to this upstream may take.
    pub(in crate::broker) fn deadline_of(&self, upstream: &str) -> Duration {
        let own = self.settings().call_deadlines.get(upstream).copied();
        own.unwrap_or(self.settings().call_deadline)
    }
}
