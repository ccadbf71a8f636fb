//! The one gate to every tool: who asks, whether there is such a tool and it may be used, and what
//! the access rules say. Every call of a low-risk tool and every proposal comes through here,
//! whatever door it came in by, and what a door lists is what this gate would let through.
//!
//! A tool that rules keep from a caller is not in its lists; called by its name, the answer says that
//! rules stand in the way, and which one only to those who may read them. Who is refused on and on
//! fills nobody's log: the first of a minute are recorded, the others counted.

use std::sync::Arc;

use serde_json::{Value, json};

use super::addressed::whole;
use super::catalogue::OUR_OWN;
use super::{Tools, hide};
use crate::broker::access::rules::{Say, Somebody, Told, kind, may_read_rules};
use crate::broker::audit::refusals::Kept;
use crate::broker::core::Trouble;
use crate::domain::access::{Basis, Kind, Mask, RuleVersion};
use crate::domain::audit::names::{Decision, RecordKind};
use crate::domain::change::Record;
use crate::domain::principal::{Principal, Right};
use crate::domain::tool::{Risk, Standing, Tool};
use crate::governance::access::masks::{self, HashKey};
use crate::governance::access::rules::Why;
use crate::telemetry;

/// Longest name that an answer repeats, in characters.
const MAX_SAID: usize = 80;

/// A tool that this caller may use now, and what that rests on.
#[derive(Clone, Debug)]
pub(in crate::broker) struct Admitted {
    /// The tool.
    pub(in crate::broker) tool: Arc<Tool>,
    /// Why it may, in one word.
    pub(in crate::broker) why: Why,
    /// The rules that said so, and what is hidden of results.
    pub(in crate::broker) basis: Basis,
}

/// What rules would say, for people who keep them.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// Whether the call could go on.
    pub allowed: bool,
    /// Why, in one word.
    pub why: Why,
    /// The rules that decide, in order: id, version, name.
    pub by: Vec<(String, u64, String)>,
    /// The sample as its reader would see it; `None` without one, and where nothing is shown.
    pub masked_sample: Option<Value>,
    /// What was hidden of the sample.
    pub masked: Vec<String>,
}

/// Which tools one caller may use at one moment.
pub struct Usable<'w> {
    say: Say<'w>,
    who: &'w Principal,
}

impl Usable<'_> {
    /// Whether rules and state let this caller use it.
    pub fn has(&self, tool: &Tool) -> bool {
        let offered = offers(self.who, tool);
        tool.standing == Standing::Accepted && offered && self.say.allows(tool)
    }

    /// Whether rules say nothing at all, so that whatever stands is usable.
    pub fn is_all(&self) -> bool {
        self.say.is_silent() && self.who.server.is_none()
    }
}

impl Tools {
    /// The tool of this name and risk, if this caller may use it now.
    pub(in crate::broker) async fn admit(
        &self,
        who: &Principal,
        name: &str,
        risk: Risk,
    ) -> Result<Admitted, Trouble> {
        let right = match risk {
            Risk::Low => Right::ReadOwn,
            Risk::High => Right::Propose,
        };
        if !who.may(right) {
            return Err(Trouble::Forbidden { roles: who.roles });
        }
        let tool = self.standing(who, name, risk)?;
        self.allowed(who, tool).await
    }

    /// How risky the tool of this name is, if this caller may know of one.
    pub fn risk_of(&self, who: &Principal, name: &str) -> Option<Risk> {
        let found = self.catalogue().get(&who.org, name);
        Some(found.filter(|tool| offers(who, tool))?.risk)
    }

    /// The tool of this name and risk, if it stands; whatever rules say.
    pub(in crate::broker) fn standing(
        &self,
        who: &Principal,
        name: &str,
        risk: Risk,
    ) -> Result<Arc<Tool>, Trouble> {
        let found = self.catalogue().get(&who.org, name);
        let found = found.filter(|tool| offers(who, tool));
        let unknown = || {
            let plain = name.chars().filter(|c| !c.is_control());
            Trouble::UnknownTool(plain.take(MAX_SAID).collect())
        };
        let Some(tool) = found else {
            return Err(self.step_of_own(who, name).unwrap_or_else(unknown));
        };
        if tool.risk != risk {
            let how = match tool.risk {
                Risk::Low => "is of low risk and is not proposed: call it",
                Risk::High => "is of high risk and is not called straight: propose it",
            };
            let path = match tool.risk {
                Risk::Low => format!("`POST /v1/tools/{}/invoke`", tool.name),
                Risk::High => "`POST /v1/proposals`".to_owned(),
            };
            let words = format!("the tool {:?} {how} ({path})", tool.name.as_str());
            return Err(Trouble::NotCalledSo(words));
        }
        self.usable(&tool)?;
        Ok(tool)
    }

    /// What a name means that is no tool's: the step of a pair, or one of the broker's own.
    fn step_of_own(&self, who: &Principal, name: &str) -> Option<Trouble> {
        let tools = self.catalogue().tools(&who.org);
        let tool = whole(name).and_then(|tool| tools.get(tool));
        let tool = tool.filter(|tool| offers(who, tool));
        let words = match tool {
            Some(tool) => format!(
                "{name:?} is a step of the tool {:?} on MCP: name the tool itself here",
                tool.name.as_str()
            ),
            None if OUR_OWN.contains(&name) => {
                format!(
                    "{name:?} is one of hundi's own: on MCP under this name, over REST by its path"
                )
            }
            None => return None,
        };
        Some(Trouble::NotCalledSo(words))
    }

    /// What the access rules say of a tool that is known to be there.
    pub(in crate::broker) async fn allowed(
        &self,
        who: &Principal,
        tool: Arc<Tool>,
    ) -> Result<Admitted, Trouble> {
        // A commit comes here without having looked the tool up for this caller.
        if !offers(who, &tool) {
            return Err(Trouble::UnknownTool(tool.name.to_string()));
        }
        let told = self.access.say(who).await?.of(&tool);
        telemetry::access(told.why.allows());
        let why = told.why;
        if !why.allows() {
            self.note_denied(who, &tool, &told).await;
            let by: Vec<RuleVersion> = told.by.into_iter().map(|(rule, _)| rule).collect();
            let first = by.first().map(|rule| rule.id.to_string());
            return Err(Trouble::AccessDenied {
                why,
                rule: first.filter(|_| may_read_rules(who)),
                by,
            });
        }
        Ok(Admitted {
            tool,
            why,
            basis: told.basis(who),
        })
    }

    /// On record, as far as the refusals of one minute are.
    async fn note_denied(&self, who: &Principal, tool: &Tool, told: &Told) {
        let now = self.ports().ambient.now();
        let reason = RecordKind::AccessDenied.name();
        if self.audit.refusals().count(who, reason, now) == Kept::Summed {
            return;
        }
        let rules: Vec<_> = told.by.iter().map(|(rule, _)| rule).collect();
        let mut record = Record::new(now, &who.org, RecordKind::AccessDenied, &who.id)
            .deciding(Decision::Rejected, reason)
            .with(json!({"access": {"why": told.why, "rules": rules}}));
        record.agent.clone_from(&who.agent);
        record.tool = Some(tool.name.clone());
        if let Err(error) = self.audit.note(record).await {
            // It is refused all the same.
            tracing::error!(%error, tool = %tool.name, "a refusal is not on record");
        }
    }

    /// What this caller may use now, for lists.
    pub async fn usable_by<'w>(&self, who: &'w Principal) -> Result<Usable<'w>, Trouble> {
        let say = self.access.say(who).await?;
        Ok(Usable { say, who })
    }

    /// What the rules would say of a call, and make of a sample of its data.
    pub async fn check_access(
        &self,
        who: &Principal,
        somebody: &Somebody,
        tool: &str,
        sample: Option<Value>,
    ) -> Result<Checked, Trouble> {
        let unknown = || Trouble::UnknownTool(tool.chars().take(MAX_SAID).collect());
        let found = self.catalogue().get(&who.org, tool);
        // Whoever may not read rules is refused before it learns whether there is such a tool.
        if !may_read_rules(who) {
            return Err(crate::broker::core::forbidden(who));
        }
        let tool = found.ok_or_else(unknown)?;
        let told = self.access.say_of(who, somebody, &tool).await?;
        let allowed = told.why.allows();
        let hidden: Vec<_> = told.masks.iter().collect();
        let key = self.mask_key(&who.org).await;
        let mut masked = Vec::new();
        let masked_sample = sample.filter(|_| allowed).map(|mut sample| {
            masked = masks::apply(&mut sample, &hidden, &key).places;
            sample
        });
        let by = told.by.into_iter();
        Ok(Checked {
            allowed,
            why: told.why,
            by: by
                .map(|(rule, name)| (rule.id.to_string(), rule.version, name))
                .collect(),
            masked_sample,
            masked,
        })
    }

    /// An answer with what the masks hide of it hidden: its data and its blocks of content.
    pub(in crate::broker) fn hidden(
        &self,
        content: Value,
        blocks: Value,
        hidden: &[&Mask],
        key: &HashKey,
    ) -> (Value, Value) {
        let shown = hide::answer(content, blocks, false, hidden, key);
        telemetry::masked(shown.masked.values);
        (shown.content, shown.blocks)
    }
}

/// Whether the server through which the caller came in offers a tool, if it came through one.
fn offers(who: &Principal, tool: &Tool) -> bool {
    let server = who.server.as_ref().map(|entrance| &entrance.server);
    server.is_none_or(|server| server.offers(tool.name.as_str()))
}

/// How a tool is carried out, as metrics call it.
pub(super) fn kind_label(tool: &Tool) -> &'static str {
    match kind(tool) {
        Kind::Builtin => "builtin",
        Kind::Sql => "sql",
        Kind::Rest => "rest",
        Kind::Program => "program",
        Kind::Mcp => "mcp",
    }
}
