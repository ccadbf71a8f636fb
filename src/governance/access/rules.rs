//! The decision: may this caller use this tool now?
//!
//! - Any matching `deny` ends it.
//! - If enabled `allow` rules address the tool, one of them has to match. A rule addresses a tool by
//!   its `what` alone: one for other people or other hours, or one that has run out, still says that
//!   this tool is for those whom rules name. An `allow` rule without `what` addresses every tool.
//! - Else `access.default` decides.
//!
//! Neither the order of the rules nor one that is not enabled changes the decision. All rules that
//! decided are told, so that a record explains itself; the masks are those of every `allow` rule
//! that matched.
//!
//! A walk over all rules of an organisation: what a rule says was compiled when it was read, and a
//! thousand of them cost less than one look into a database.

use serde::{Deserialize, Serialize};

use super::masks;
use crate::domain::access::{Clock, Effect, Kind, Mask, Rule, RuleDef, What, Who};
use crate::domain::ids::AgentId;
use crate::domain::roles::Roles;
use crate::domain::time::Timestamp;
use crate::domain::tool::Risk;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// By whom.
    pub who: Caller<'a>,
    /// For which tool, without `_propose` or `_commit`.
    pub tool: &'a str,
    /// The source that it works on, if it works on one.
    pub source: Option<&'a str>,
    /// How it is carried out.
    pub kind: Kind,
    /// Straight through, or two steps.
    pub risk: Risk,
    /// When.
    pub at: Timestamp,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// What it may do at all.
    pub roles: Roles,
    /// The agent it acts as, if it is one.
    pub agent: Option<&'a AgentId>,
    /// The person it belongs to, if it belongs to one.
    pub person: Option<&'a str>,
    /// The same person, by the id that nobody else ever gets.
    pub person_id: Option<&'a str>,
    /// The server that its key opens; `None` for a key without a server.
    pub server: Option<Server<'a>>,
}

/// The server that a caller's key opens.
#[derive(Clone, Copy, Debug)]
pub struct Server<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether it offers the tool that is asked for.
    pub offers_tool: bool,
}

/// What happens where no rule says anything: `access.default`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ByDefault {
    /// A server's key may use what the server offers, a key without a server everything.
    #[default]
    Server,
    /// Nobody may use anything.
    Deny,
}

/// What was decided, by which rules.
#[derive(Clone, PartialEq, Debug)]
pub struct Decision<'r> {
    /// Why.
    pub why: Why,
    /// The rules that decided, in the order in which they were handed in: those that deny, else
    /// those that allow, else those that address the tool and do not match. None where the default
    /// decided.
    pub by: Vec<&'r Rule>,
}

/// Why a call may go on or not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// A rule denies it.
    Denied,
    /// A rule allows it, and none denies it.
    Allowed,
    /// Rules say who may use this tool, and the caller is none of those.
    NotAmongAllowed,
    /// No rule says anything, and it is allowed by default.
    AllowedByDefault,
    /// No rule says anything, and it is denied by default.
    DeniedByDefault,
}

impl Why {
    /// Whether the call may go on.
    pub fn allows(self) -> bool {
        match self {
            Why::Allowed | Why::AllowedByDefault => true,
            Why::Denied | Why::NotAmongAllowed | Why::DeniedByDefault => false,
        }
    }

    /// In one word. Never changes once released.
    pub fn code(self) -> &'static str {
        match self {
            Why::Denied => "denied",
            Why::Allowed => "allowed",
            Why::NotAmongAllowed => "not_among_allowed",
            Why::AllowedByDefault => "allowed_by_default",
            Why::DeniedByDefault => "denied_by_default",
        }
    }

    /// One sentence about it, which names no rule.
    pub fn text(self) -> &'static str {
        match self {
            Why::Denied => "an access rule denies this call",
            Why::Allowed => "an access rule allows this call",
            Why::NotAmongAllowed => {
                "access rules say who may use this tool and when, and none of them matches"
            }
            Why::AllowedByDefault => {
                "no access rule speaks of this tool, which is allowed by default"
            }
            Why::DeniedByDefault => {
                "no access rule allows this call, and the default is to deny it"
            }
        }
    }
}

impl<'r> Decision<'r> {
    /// Whether the call may go on.
    pub fn allowed(&self) -> bool {
        self.why.allows()
    }

    /// Ids and versions of the rules that decided, for records.
    pub fn versions(&self) -> impl Iterator<Item = (&'r str, u64)> {
        self.by.iter().map(|rule| (rule.id.as_str(), rule.version))
    }

    /// What is hidden of the result: by the rules that allow, and by the tool itself.
    pub fn masks<'m>(&self, of_tool: &'m [Mask]) -> Vec<&'m Mask>
    where
        'r: 'm,
    {
        let allow = self.by.iter().filter(|_| self.why == Why::Allowed);
        let of_rules = allow.flat_map(|rule| &rule.says.masks);
        masks::united(of_rules.chain(of_tool))
    }
}

/// Decides about one call.
pub fn decide<'r>(rules: &'r [Rule], asked: &Asked<'_>, default: ByDefault) -> Decision<'r> {
    let mut clock = Clock::at(asked.at);
    let (mut deny, mut allow, mut missed) = (Vec::new(), Vec::new(), Vec::new());
    for rule in rules {
        let says = &rule.says;
        if !says.enabled || !addresses(&says.what, asked) {
            continue;
        }
        match (says.effect, matches(says, &asked.who, &mut clock)) {
            (Effect::Deny, true) => deny.push(rule),
            (Effect::Deny, false) => {}
            (Effect::Allow, true) => allow.push(rule),
            (Effect::Allow, false) => missed.push(rule),
        }
    }
    let (why, by) = match (deny.is_empty(), allow.is_empty(), missed.is_empty()) {
        (false, _, _) => (Why::Denied, deny),
        (true, false, _) => (Why::Allowed, allow),
        (true, true, false) => (Why::NotAmongAllowed, missed),
        (true, true, true) => (by_default(&asked.who, default), Vec::new()),
    };
    Decision { why, by }
}

fn by_default(who: &Caller<'_>, default: ByDefault) -> Why {
    let offered = who.server.is_none_or(|server| server.offers_tool);
    match default {
        ByDefault::Server if offered => Why::AllowedByDefault,
        ByDefault::Server | ByDefault::Deny => Why::DeniedByDefault,
    }
}

/// Whether a rule is about this tool, whoever asks.
fn addresses(what: &What, asked: &Asked<'_>) -> bool {
    let named = |names: &[String], name: &str| names.iter().any(|listed| listed == name);
    what.risk.is_none_or(|risk| risk == asked.risk)
        && (what.kinds.is_empty() || what.kinds.contains(&asked.kind))
        && (what.tools.is_empty() || what.tools.iter().any(|pattern| pattern.fits(asked.tool)))
        && (what.sources.is_empty() || asked.source.is_some_and(|name| named(&what.sources, name)))
}

/// Whether a rule that addresses the tool is about this caller, now. The clock is asked last.
fn matches<'r>(says: &'r RuleDef, who: &Caller<'_>, clock: &mut Clock<'r>) -> bool {
    covers(&says.who, who) && clock.within(&says.when)
}

fn covers(rule: &Who, who: &Caller<'_>) -> bool {
    let named = |names: &[String], name: &str| names.iter().any(|listed| listed == name);
    let anybody = rule.agents.is_empty() && rule.people.is_empty();
    let agent = || who.agent.is_some_and(|agent| rule.agents.contains(agent));
    let person = || {
        let mut known = who.person.into_iter().chain(who.person_id);
        known.any(|person| named(&rule.people, person))
    };
    (rule.roles.is_empty() || rule.roles.share(who.roles))
        && (rule.servers.is_empty()
            || who
                .server
                .is_some_and(|server| named(&rule.servers, server.name)))
        && (anybody || agent() || person())
}

#[cfg(test)]
mod tests;
