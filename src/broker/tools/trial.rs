//! Trying a registered tool out, for those who make tools: before it is enabled, and without waiting
//! for an agent to find a mistake.
//!
//! A tool that reads is really called. One that does more is not carried out: its arguments are
//! checked, its call is made and thrown away, and its preview, where it has one, is read. Either is on
//! record before anybody sees what came of it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::invoke::told_by_source;
use super::{Tools, hide};
use crate::broker::core::measure::Timer;
use crate::broker::core::{Trouble, failed};
use crate::connector::registered;
use crate::domain::access::Mask;
use crate::domain::audit::names::{Decision, RecordKind};
use crate::domain::call::Order;
use crate::domain::canonical::Canonical;
use crate::domain::change::{Change, Record};
use crate::domain::ids::ProposalId;
use crate::domain::principal::Principal;
use crate::domain::schema;
use crate::domain::tool::{Executor, Risk, Tool};
use crate::domain::tools::work::Registered;

/// What came of a trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    /// What a tool that reads brought back, masked.
    pub data: Option<Value>,
    /// What was hidden of it.
    pub masked: Vec<String>,
    /// What a tool that does more would work on.
    pub effect: Option<Value>,
    /// Whether it was really carried out: only what reads is.
    pub executed: bool,
    /// The version that was tried.
    pub version: u64,
    /// How long it took.
    pub duration: Duration,
}

impl Tools {
    /// Tries a registered tool, enabled or not.
    pub async fn test_tool(
        &self,
        who: &Principal,
        name: &str,
        arguments: &Value,
    ) -> Result<Tried, Trouble> {
        self.may_develop(who)?;
        let timer = Timer::start();
        let tool = self.catalogue().get(&who.org, name);
        let tool = tool.ok_or(Trouble::NotFound("tool"))?;
        let Executor::Registered(of) = &tool.executor else {
            return Err(Trouble::NotFound("tool"));
        };
        let admitted = self.allowed(who, tool.clone()).await?;
        let hidden = admitted.basis.hidden();
        schema::validate(&tool, arguments).map_err(Trouble::InvalidArguments)?;
        self.not_frozen(who, &tool, arguments).await?;
        self.pace_registered(who, &tool).await?;
        // What cannot be put on record is not done.
        self.ports().store.ping().await?;
        let done = match tool.risk {
            Risk::Low => self.really_called(&tool, of, arguments, &hidden).await,
            Risk::High => self.only_made(&tool, arguments, &hidden).await,
        };
        let outcome = done.as_ref().map_or_else(Trouble::code, |_| "ok");
        self.record_trial(who, &tool, outcome).await?;
        let (data, masked, effect) = done?;
        Ok(Tried {
            data,
            masked,
            effect,
            executed: tool.risk == Risk::Low,
            version: of.version,
            duration: timer.elapsed(),
        })
    }

    async fn really_called(
        &self,
        tool: &Tool,
        of: &Registered,
        arguments: &Value,
        hidden: &[&Mask],
    ) -> Result<Parts, Trouble> {
        let call = registered::asked(of, arguments);
        let call = call.map_err(|error| Trouble::InvalidArguments(error.to_string()))?;
        let deadline = self.deadline_of(&call);
        let own = of.def.timeout_ms.map(Duration::from_millis);
        let reply = self.ports().wire.send(&call, own.unwrap_or(deadline)).await;
        let data = told_by_source(tool, registered::answered(of, reply), hidden)?;
        if let Some(schema) = &of.def.output_schema {
            schema::fits(&of.output, schema, &data)
                .map_err(|why| Trouble::OutputInvalid(tool.name.to_string(), why))?;
        }
        let key = self.mask_key(&of.org).await;
        let shown = hide::answer(data, Value::Null, false, hidden, &key);
        Ok((Some(shown.content), shown.masked.places, None))
    }

    async fn only_made(
        &self,
        tool: &Arc<Tool>,
        arguments: &Value,
        hidden: &[&Mask],
    ) -> Result<Parts, Trouble> {
        let ambient = &self.ports().ambient;
        let order = Order {
            proposal: ProposalId::at(ambient.now(), ambient.bytes()),
            tool: tool.name.clone(),
            args: Canonical::of(arguments),
            effective: tool.effective(arguments),
        };
        let made = self.connector(tool).call(&order);
        made.map_err(|error| Trouble::InvalidArguments(error.to_string()))?;
        let effect = self.effect_of(tool, arguments, hidden).await?;
        let effect = effect.map(|effect| effect.told());
        Ok((None, Vec::new(), effect))
    }

    async fn record_trial(
        &self,
        who: &Principal,
        tool: &Tool,
        outcome: &str,
    ) -> Result<(), Trouble> {
        let now = self.ports().ambient.now();
        let decision = match outcome {
            "ok" => Decision::Approved,
            _ => Decision::Rejected,
        };
        let mut record = Record::new(now, &who.org, RecordKind::ToolInvoked, &who.id)
            .deciding(decision, outcome)
            .with(json!({"source": tool.server(), "test": true}));
        record.tool = Some(tool.name.clone());
        let change = Change::documents(Vec::new(), Vec::new(), vec![record], Vec::new());
        self.ports().store.apply(change).await.map_err(failed)?;
        Ok(())
    }
}

/// The data and what was hidden of it, and the effect.
type Parts = (Option<Value>, Vec<String>, Option<Value>);
