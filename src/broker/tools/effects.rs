//! Effects: what a tool would work on is read and shown when it is proposed, compared before it is
//! committed, and what it brings back is held to what was promised of it.
//!
//! What cannot be shown cannot be proposed. The preview is read for proposals alone that are let
//! through or held: a refusal shows nothing of anybody's data. At commit it is read again, and one
//! that differs stops the commit before anything is claimed; where the source can compare it in the
//! same step that does the work, it does so besides, and that is what counts.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::Tools;
use super::invoke::told_by_source;
use crate::broker::core::Trouble;
use crate::connector::Connector;
use crate::connector::registered::{self, AtSource};
use crate::domain::access::Mask;
use crate::domain::call::{Outcome, Receipt};
use crate::domain::proposal::Proposal;
use crate::domain::schema;
use crate::domain::tool::{Executor, Tool};
use crate::domain::tools::effect::Effect;
use crate::domain::tools::work::Registered;
use crate::governance::access::masks::{self, HashKey};

impl Tools {
    /// What a proposal would work on, as its reader may see it.
    pub(in crate::broker) async fn effect_of(
        &self,
        tool: &Tool,
        args: &Value,
        hidden: &[&Mask],
    ) -> Result<Option<Effect>, Trouble> {
        let Executor::Registered(of) = &tool.executor else {
            return Ok(None);
        };
        match self.shown(tool, of, args, hidden).await? {
            None => Ok(None),
            Some(shown) => self.effect(of, shown, hidden).await.map(Some),
        }
    }

    /// Why a proposal is not what it was shown for any more, if it is not.
    pub(in crate::broker) async fn differs(
        &self,
        tool: &Tool,
        proposal: &Proposal,
    ) -> Result<Option<&'static str>, Trouble> {
        let fixed = &proposal.fixed;
        let (Executor::Registered(of), Some(effect)) = (&tool.executor, &fixed.effect) else {
            return Ok(None);
        };
        let hidden = fixed.access.hidden();
        let now = self.shown(tool, of, &fixed.args.value(), &hidden).await?;
        let is_same = now.is_some_and(|now| now.basis == effect.basis);
        Ok((!is_same).then_some(
            "what the proposal was shown for has changed; nothing was done, so propose again",
        ))
    }

    /// The connector that carries a proposal out, held to what it was shown for.
    pub(in crate::broker) fn bound(&self, tool: &Tool, proposal: &Proposal) -> Arc<dyn Connector> {
        match &tool.executor {
            Executor::Registered(of) => {
                let effect = proposal.fixed.effect.as_ref();
                Arc::new(AtSource::of(of).shown_for(effect))
            }
            Executor::Upstream { .. } | Executor::Noop | Executor::Bank => self.connector(tool),
        }
    }

    /// An outcome whose result is held to the tool's schema. What was done stays done; a result that
    /// breaks its promise is not passed on.
    pub(in crate::broker) fn promised(&self, proposal: &Proposal, outcome: Outcome) -> Outcome {
        let Outcome::Executed(receipt) = outcome else {
            return outcome;
        };
        let fixed = &proposal.fixed;
        let tool = self.catalogue().get(&fixed.org, fixed.tool.as_str());
        let tool = tool.filter(|tool| tool.digest == fixed.tool_digest);
        if let Some(Executor::Registered(of)) = tool.as_ref().map(|tool| &tool.executor)
            && let Some(schema) = &of.def.output_schema
            && let Err(why) = schema::fits(&of.output, schema, &receipt.result)
        {
            return Outcome::Executed(Receipt {
                result: json!({"withheld": "output_invalid", "detail": why}),
                blocks: Value::Null,
                ..receipt
            });
        }
        Outcome::Executed(receipt)
    }

    /// What the tool would work on now; `None` where it cannot tell.
    async fn shown(
        &self,
        tool: &Tool,
        of: &Registered,
        args: &Value,
        hidden: &[&Mask],
    ) -> Result<Option<registered::Shown>, Trouble> {
        let Some(call) = registered::preview(of, args) else {
            return Ok(None);
        };
        let call = call.map_err(|error| Trouble::InvalidArguments(error.to_string()))?;
        let usual = self.settings().call_deadline;
        let own = of.def.timeout_ms.map(Duration::from_millis);
        let deadline = own.map_or(usual, |own| own.min(usual));
        let reply = self.ports().wire.send(&call, deadline).await;
        match registered::shown(of, reply) {
            Ok(shown) => Ok(Some(shown)),
            Err(reply) => {
                let why = told_by_source(tool, reply, hidden).err();
                Err(why.unwrap_or_else(|| Trouble::SourceUnavailable(tool.name.to_string())))
            }
        }
    }

    async fn effect(
        &self,
        of: &Registered,
        shown: registered::Shown,
        hidden: &[&Mask],
    ) -> Result<Effect, Trouble> {
        let secret = self.mask_secret(&of.org).await?;
        let state = Effect::state_of(&secret, &of.org, &shown.basis);
        let mut before = shown.document;
        masks::apply(&mut before, hidden, &HashKey::of(&secret, &of.org));
        Ok(Effect {
            summary: shown.summary,
            before,
            after: None,
            rows: shown.rows,
            state: state.ok_or(Trouble::StoreUnavailable)?,
            basis: shown.basis,
            version: shown.version,
        })
    }
}
