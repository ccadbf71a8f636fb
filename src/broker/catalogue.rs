//! The tools that can be proposed or called, as one snapshot that is replaced whole.
//!
//! A tool of an upstream keeps its own name, after the operator's prefix if there is one. Where
//! that name is taken, by a tool of ours or of an upstream before it in the alphabet, it is called
//! `<upstream>.<name>`; where that is taken too, it is left out. So an upstream can never put its
//! tool in the place of another.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::domain::ids::ToolName;
use crate::domain::time::Timestamp;
use crate::domain::tool::{Executor, Risk, Standing, Tool};
use crate::domain::upstream::{Definition, Pin};

/// Names of the tools that every broker offers besides its catalogue.
const OUR_OWN: [&str; 16] = [
    "get_proposal",
    "await_proposal",
    "list_proposals",
    "cancel_proposal",
    "handle_razorpay_webhook",
    "poll_razorpay_payouts",
    "check_vendor_reputation",
    "verify_vendor_entity",
    "score_transaction_risk",
    "get_agent_risk_profile",
    "get_agent_budget",
    "set_agent_policy",
    "get_audit_log",
    "handle_slack_action",
    "health_check",
    "get_metrics",
];

type Tools = BTreeMap<String, Arc<Tool>>;

/// Every tool by name: built-in ones, and those of upstreams. Quarantined ones are in it, so that
/// they can be shown and refused by name.
#[derive(Default)]
pub struct Catalogue {
    tools: ArcSwap<Tools>,
    infos: ArcSwap<BTreeMap<String, ToolInfo>>,
    changed: tokio::sync::watch::Sender<u64>,
    shelves: Mutex<Shelves>,
}

#[derive(Default)]
struct Shelves {
    own: Tools,
    upstreams: BTreeMap<String, Vec<Judged>>,
}

/// One tool of an upstream, compared with what an operator accepted.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    /// The tool under the name it would like to have.
    pub tool: Tool,
    /// What the upstream says now, if it still offers the tool.
    pub offered: Option<Definition>,
    /// What was accepted, if anything was.
    pub pin: Option<Pin>,
    /// The operator said low, the upstream's hints say otherwise.
    pub raised: bool,
    /// Why it cannot be used even if it were accepted.
    pub problem: Option<String>,
}

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

impl Catalogue {
    /// The tools now.
    pub fn tools(&self) -> Arc<Tools> {
        self.tools.load_full()
    }

    /// One tool by name.
    pub fn get(&self, name: &str) -> Option<Arc<Tool>> {
        self.tools.load().get(name).cloned()
    }

    /// What operators may know about each tool.
    pub fn infos(&self) -> Arc<BTreeMap<String, ToolInfo>> {
        self.infos.load_full()
    }

    /// Replaces the built-in tools and wakes those who listen for changes.
    pub fn replace(&self, tools: Tools) {
        self.change(|shelves| shelves.own = tools);
    }

    /// Replaces the tools of one upstream, and wakes those who listen if anything changed.
    pub(super) fn shelve(&self, upstream: &str, judged: Vec<Judged>) {
        self.change(|shelves| {
            shelves.upstreams.insert(upstream.to_owned(), judged);
        });
    }

    /// Wakes after each change of the list.
    pub fn watch(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut Shelves)) {
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut shelves);
        let (mut tools, infos) = arranged(&shelves);
        let before = self.tools.load_full();
        for (name, tool) in &mut tools {
            // The same tool keeps its compiled schema.
            if let Some(same) = before.get(name).filter(|earlier| is_same(earlier, tool)) {
                *tool = same.clone();
            }
        }
        self.infos.store(Arc::new(infos));
        let unchanged = tools.len() == before.len()
            && tools
                .iter()
                .zip(before.iter())
                .all(|((_, now), (_, then))| Arc::ptr_eq(now, then));
        if !unchanged {
            self.tools.store(Arc::new(tools));
            self.changed.send_modify(|count| *count += 1);
        }
    }
}

/// Whether two tools behave the same: the digest covers definition and rule.
fn is_same(one: &Arc<Tool>, other: &Arc<Tool>) -> bool {
    Arc::ptr_eq(one, other)
        || (one.name == other.name
            && one.standing == other.standing
            && one.executor == other.executor
            && matches!(one.executor, Executor::Upstream { .. })
            && one.digest == other.digest)
}

/// Gives every tool its name.
fn arranged(shelves: &Shelves) -> (Tools, BTreeMap<String, ToolInfo>) {
    let mut tools = shelves.own.clone();
    let mut infos: BTreeMap<String, ToolInfo> = tools
        .iter()
        .map(|(name, tool)| (name.clone(), built_in(tool)))
        .collect();
    for (upstream, shelf) in &shelves.upstreams {
        for judged in shelf {
            let Some(name) = free_name(upstream, &judged.tool.name, &tools) else {
                let tool = &judged.tool.name;
                tracing::warn!(%upstream, %tool, "its name is taken; the tool is left out");
                continue;
            };
            let tool = Tool {
                name: name.clone(),
                ..judged.tool.clone()
            };
            infos.insert(name.to_string(), info(&tool, judged));
            tools.insert(name.to_string(), Arc::new(tool));
        }
    }
    (tools, infos)
}

fn free_name(upstream: &str, wanted: &ToolName, taken: &Tools) -> Option<ToolName> {
    let is_free =
        |name: &ToolName| !taken.contains_key(name.as_str()) && !OUR_OWN.contains(&name.as_str());
    if is_free(wanted) {
        return Some(wanted.clone());
    }
    let longer: ToolName = format!("{upstream}.{wanted}").parse().ok()?;
    is_free(&longer).then_some(longer)
}

fn built_in(tool: &Arc<Tool>) -> ToolInfo {
    ToolInfo {
        name: tool.name.clone(),
        description: tool.description.clone(),
        risk: tool.risk,
        raised: false,
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

fn info(tool: &Tool, judged: &Judged) -> ToolInfo {
    let accepted = judged.pin.as_ref().map(|pin| pin.definition.clone());
    let differs = match (&judged.offered, &accepted) {
        (Some(offered), Some(accepted)) => offered.differences(accepted),
        (_, _) => Vec::new(),
    };
    let shown = judged.offered.as_ref().or(accepted.as_ref());
    ToolInfo {
        upstream: match &tool.executor {
            Executor::Upstream { upstream, tool, .. } => Some((upstream.clone(), tool.clone())),
            Executor::Noop | Executor::Razorpay => None,
        },
        raised: judged.raised,
        differs,
        digest: shown.map(Definition::digest).unwrap_or_default(),
        accepted_by: judged
            .pin
            .as_ref()
            .map(|pin| (pin.accepted_by.clone(), pin.accepted_at)),
        offered: judged.offered.clone(),
        accepted,
        problem: judged.problem.clone(),
        ..built_in(&Arc::new(tool.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::upstream::UpstreamRules;
    use serde_json::json;

    fn judged(upstream: &str, name: &str) -> Judged {
        let definition = Definition {
            name: name.into(),
            description: String::new(),
            input_schema: json!({"type": "object"}),
            output_schema: None,
            annotations: json!(null),
        };
        let rules = UpstreamRules::default();
        let (tool, _) = definition.tool(upstream, &rules, Standing::New).unwrap();
        Judged {
            tool,
            offered: Some(definition),
            pin: None,
            raised: false,
            problem: None,
        }
    }

    fn names(catalogue: &Catalogue) -> Vec<String> {
        catalogue.tools().keys().cloned().collect()
    }

    #[test]
    fn no_upstream_takes_the_place_of_another_tool() {
        let catalogue = Catalogue::default();
        let own = Arc::new(judged("", "noop").tool);
        catalogue.replace([("noop".to_owned(), own.clone())].into());
        let shelf = |upstream| {
            let wanted = ["noop", "pay", "get_proposal"];
            wanted.map(|name| judged(upstream, name)).to_vec()
        };
        catalogue.shelve("b", shelf("b"));
        catalogue.shelve("a", shelf("a"));
        let expected = [
            "a.get_proposal",
            "a.noop",
            "b.get_proposal",
            "b.noop",
            "b.pay",
            "noop",
            "pay",
        ];
        assert_eq!(names(&catalogue), expected);
        assert!(Arc::ptr_eq(&catalogue.get("noop").unwrap(), &own));
        let pay = catalogue.infos()["pay"].clone();
        assert_eq!(pay.upstream, Some(("a".into(), "pay".into())));
        catalogue.shelve(
            "c",
            vec![judged("c", "x"), judged("c", "c.x"), judged("c", "x")],
        );
        assert_eq!(names(&catalogue).len(), 9, "the third has no name left");
    }

    #[test]
    fn listeners_wake_only_when_something_changed() {
        let catalogue = Catalogue::default();
        let mut watch = catalogue.watch();
        catalogue.shelve("a", vec![judged("a", "x")]);
        assert!(watch.has_changed().unwrap());
        watch.mark_unchanged();
        let before = catalogue.get("x").unwrap();
        catalogue.shelve("a", vec![judged("a", "x")]);
        assert!(!watch.has_changed().unwrap());
        assert!(Arc::ptr_eq(&before, &catalogue.get("x").unwrap()));
        let mut accepted = judged("a", "x");
        accepted.tool.standing = Standing::Accepted;
        catalogue.shelve("a", vec![accepted]);
        assert!(watch.has_changed().unwrap());
        catalogue.shelve("a", Vec::new());
        assert!(catalogue.get("x").is_none());
    }
}
