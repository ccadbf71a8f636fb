//! What operators may know of a tool: whose word each of its rules is, what its upstream offers, and
//! what was accepted of it.

use std::sync::Arc;

use super::Judged;
use crate::domain::ids::ToolName;
use crate::domain::time::Timestamp;
use crate::domain::tool::{Executor, MoneyRule, PayeeRule, Risk, Standing, Tool};
use crate::domain::upstream::{Definition, MoneyWord};

/// A tool and all there is to know about it, for operators.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolInfo {
    /// Its name here.
    pub name: ToolName,
    /// What it does, in its upstream's words.
    pub description: String,
    /// Two steps, or straight through.
    pub risk: Risk,
    /// The operator said low, and the upstream's own hints raised it to high.
    pub raised: bool,
    /// What it moves, by whose word.
    pub money: MoneyRule,
    /// Whom it pays.
    pub payee: PayeeRule,
    /// Who says so.
    pub source: Source,
    /// Every proposal waits for a person.
    pub hold: bool,
    /// Whether it may be used.
    pub standing: Standing,
    /// The upstream and its own name for the tool; `None` for built-in ones.
    pub upstream: Option<(String, String)>,
    /// What it offers now.
    pub offered: Option<Definition>,
    /// What was accepted.
    pub accepted: Option<Definition>,
    /// Which parts of the two differ: `description`, `input_schema`, `output_schema`,
    /// `annotations`.
    pub differs: Vec<&'static str>,
    /// Digest of what it offers now: what accepting it would pin.
    pub digest: String,
    /// Who accepted it, and when.
    pub accepted_by: Option<(String, Timestamp)>,
    /// Why it cannot be used even if it were accepted.
    pub problem: Option<String>,
}

/// Whose word each of a tool's rules is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Source {
    /// `built_in`, `operator`, `hints` (they raised it), `nobody` (so it is high), or `developer`:
    /// whoever registered it, with an operator's word where one is needed.
    pub risk: &'static str,
    /// `built_in`, `operator`, `operator_says_none`, or `nobody`.
    pub money: &'static str,
    /// `built_in`, `operator`, or `nobody`.
    pub payee: &'static str,
}

impl Source {
    const BUILT_IN: Source = Source {
        risk: "built_in",
        money: "built_in",
        payee: "built_in",
    };

    fn of(tool: &Tool, raised: bool) -> Self {
        let rule = match &tool.executor {
            Executor::Upstream { rule, .. } => rule,
            Executor::Registered(of) => {
                let said = |said| if said { "developer" } else { "nobody" };
                return Self {
                    risk: "developer",
                    money: said(of.def.money.is_some()),
                    payee: said(of.def.payee.is_some()),
                };
            }
            Executor::Noop | Executor::Bank => return Source::BUILT_IN,
        };
        Self {
            risk: match rule.risk {
                Some(_) if raised => "hints",
                Some(_) => "operator",
                None => "nobody",
            },
            money: match rule.money {
                MoneyWord::Unsaid => "nobody",
                MoneyWord::Nothing => "operator_says_none",
                MoneyWord::Moves(_) => "operator",
            },
            payee: match rule.payee == PayeeRule::default() {
                true => "nobody",
                false => "operator",
            },
        }
    }
}

pub(super) fn built_in(tool: &Arc<Tool>) -> ToolInfo {
    ToolInfo {
        name: tool.name.clone(),
        description: tool.description.clone(),
        risk: tool.risk,
        raised: false,
        money: tool.money.clone(),
        payee: tool.payee.clone(),
        source: Source::of(tool, false),
        hold: tool.hold,
        standing: tool.standing,
        upstream: None,
        offered: None,
        accepted: None,
        differs: Vec::new(),
        digest: tool.digest.clone(),
        accepted_by: None,
        problem: None,
    }
}

pub(super) fn info(judged: &Judged) -> ToolInfo {
    let (tool, offer) = (&judged.tool, &judged.offer);
    let accepted = judged.pin.as_ref().map(|pin| pin.definition.clone());
    let offered = judged.is_offered.then(|| offer.definition.clone());
    let differs = match (&offered, &accepted) {
        (Some(offered), Some(accepted)) => offered.differences(accepted),
        (_, _) => Vec::new(),
    };
    ToolInfo {
        upstream: match &tool.executor {
            Executor::Upstream { upstream, tool, .. } => Some((upstream.clone(), tool.clone())),
            Executor::Noop | Executor::Bank | Executor::Registered(_) => None,
        },
        raised: offer.raised,
        source: Source::of(tool, offer.raised),
        differs,
        digest: offer.digest.clone(),
        accepted_by: judged
            .pin
            .as_ref()
            .map(|pin| (pin.accepted_by.clone(), pin.accepted_at)),
        offered,
        accepted,
        problem: judged.problem.clone(),
        ..built_in(tool)
    }
}
