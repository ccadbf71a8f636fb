//! The tools that can be proposed or called, as one snapshot that is replaced whole.
//!
//! A tool of an upstream is in it under the name that it was given for good (see
//! [`names`](crate::domain::names)), so an upstream can never put its tool in the place of another.
//! What was sent is read by the tool it was sent to, whatever is called like that now.

mod info;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

pub use info::{Source, ToolInfo};

use info::{built_in, info};

use super::offer::Offer;
use crate::connector::noop::UPSTREAM as NOOP;
use crate::connector::registry::bank;
use crate::domain::account::Holders;
use crate::domain::call::Call;
use crate::domain::ids::OrgId;
use crate::domain::tool::{Executor, Standing, Tool};
use crate::domain::upstream::Pin;

/// Names of the tools that every broker offers besides its catalogue and those about its bank.
pub(super) const OUR_OWN: [&str; 14] = [
    "get_proposal",
    "await_proposal",
    "list_proposals",
    "cancel_proposal",
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

/// Every tool by name: built-in ones, those of upstreams, and, for each organisation, those that it
/// registered. Quarantined ones are in it, so that they can be shown and refused by name.
#[derive(Default)]
pub struct Catalogue {
    holders: Holders,
    /// What the organisation has whose account the bank's is: everything.
    shared: ArcSwap<View>,
    /// What others have that may pay from it: all but decisions on its payouts.
    paying: ArcSwap<View>,
    /// What everybody else has: nothing of the bank.
    outside: ArcSwap<View>,
    /// What those have that registered tools of their own.
    own: ArcSwap<BTreeMap<OrgId, Arc<View>>>,
    complaints: ArcSwap<BTreeMap<String, Vec<String>>>,
    changed: tokio::sync::watch::Sender<u64>,
    shelves: Mutex<Shelves>,
}

/// What one organisation sees.
#[derive(Default)]
struct View {
    tools: Arc<Tools>,
    infos: Arc<BTreeMap<String, ToolInfo>>,
}

#[derive(Default)]
struct Shelves {
    built_in: Tools,
    upstreams: BTreeMap<String, Vec<Judged>>,
    registered: BTreeMap<OrgId, Vec<Arc<Tool>>>,
}

/// One tool of an upstream, compared with what an operator accepted.
#[derive(Clone)]
pub(super) struct Judged {
    /// The tool under its own name here.
    pub tool: Arc<Tool>,
    /// Its definition, read.
    pub offer: Arc<Offer>,
    /// Whether that is what the upstream offers; else it is what was accepted.
    pub is_offered: bool,
    /// What was accepted, if anything was.
    pub pin: Option<Pin>,
    /// Why it cannot be used even if it were accepted.
    pub problem: Option<String>,
}

impl Catalogue {
    /// An empty one, before an account that these hold.
    pub fn held_by(holders: Holders) -> Self {
        Self {
            holders,
            ..Self::default()
        }
    }

    fn view<T>(&self, org: &OrgId, of: impl FnOnce(&View) -> T) -> T {
        match self.own.load().get(org) {
            Some(view) => of(view),
            None => of(&self.common(org).load()),
        }
    }

    /// What an organisation has without registering anything.
    fn common(&self, org: &OrgId) -> &ArcSwap<View> {
        match (self.holders.owns(org), self.holders.pays(org)) {
            (true, _) => &self.shared,
            (false, true) => &self.paying,
            (false, false) => &self.outside,
        }
    }

    /// The tools of an organisation now.
    pub fn tools(&self, org: &OrgId) -> Arc<Tools> {
        self.view(org, |view| view.tools.clone())
    }

    /// One tool by name.
    pub fn get(&self, org: &OrgId, name: &str) -> Option<Arc<Tool>> {
        self.view(org, |view| view.tools.get(name).cloned())
    }

    /// One of the tools that no organisation registered.
    pub fn shared(&self, name: &str) -> Option<Arc<Tool>> {
        self.shared.load().tools.get(name).cloned()
    }

    /// What there is to know of each tool that no organisation registered.
    pub fn shared_infos(&self) -> Arc<BTreeMap<String, ToolInfo>> {
        self.shared.load().infos.clone()
    }

    /// The tool that this call goes to, whatever its name; `None` if there is none any more.
    pub(super) fn reached_by(&self, org: &OrgId, call: &Call) -> Option<Arc<Tool>> {
        let reached = |tool: &&Arc<Tool>| match &tool.executor {
            Executor::Upstream { .. } | Executor::Registered(_) => is_of(tool, call),
            Executor::Noop | Executor::Bank => false,
        };
        self.tools(org).values().find(reached).cloned()
    }

    /// The very tool, compiled schema and all, if it is in the catalogue as it would be now.
    pub(super) fn same(&self, tool: &Tool) -> Option<Arc<Tool>> {
        let known = self.shared(tool.name.as_str())?;
        is_same(&known, tool).then_some(known)
    }

    /// What is wrong with whole upstreams, by their names.
    pub fn complaints(&self) -> Arc<BTreeMap<String, Vec<String>>> {
        self.complaints.load_full()
    }

    /// What an organisation's operators may know about each tool.
    pub fn infos(&self, org: &OrgId) -> Arc<BTreeMap<String, ToolInfo>> {
        self.view(org, |view| view.infos.clone())
    }

    /// Replaces the built-in tools and wakes those who listen for changes.
    pub fn replace(&self, tools: Tools) {
        self.change(|shelves| shelves.built_in = tools);
    }

    /// Replaces the tools that organisations have registered.
    pub(super) fn register(&self, registered: BTreeMap<OrgId, Vec<Arc<Tool>>>) {
        self.change(|shelves| shelves.registered = registered);
    }

    /// Replaces the tools of one upstream, and wakes those who listen if anything changed.
    pub(super) fn shelve(&self, upstream: &str, judged: Vec<Judged>, complaints: Vec<String>) {
        self.change(|shelves| {
            shelves.upstreams.insert(upstream.to_owned(), judged);
        });
        let mut all = BTreeMap::clone(&self.complaints.load());
        all.remove(upstream);
        if !complaints.is_empty() {
            all.insert(upstream.to_owned(), complaints);
        }
        self.complaints.store(Arc::new(all));
    }

    /// Quarantines every tool of an upstream: what was accepted cannot be read.
    pub(super) fn doubt_upstreams(&self) {
        self.change(|shelves| {
            for judged in shelves.upstreams.values_mut().flatten() {
                judged.problem = Some("what was accepted cannot be read".to_owned());
                if judged.tool.standing != Standing::New {
                    judged.tool = Arc::new(Tool {
                        standing: Standing::Unusable,
                        ..Tool::clone(&judged.tool)
                    });
                }
            }
        });
    }

    /// Wakes after each change of the list.
    pub fn watch(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut Shelves)) {
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut shelves);
        let all = arranged(&shelves);
        let pays = |tool: &Tool| bank().decides(tool).is_none();
        let stays_out = |tool: &Tool| tool.executor != Executor::Bank;
        let paying = View::over(only(&all, pays), &self.paying.load());
        let outside = View::over(only(&all, stays_out), &self.outside.load());
        let shared = View::over(all, &self.shared.load());
        let unmoved = Arc::ptr_eq(&self.shared.load().tools, &shared.tools);
        self.paying.store(Arc::new(paying));
        self.outside.store(Arc::new(outside));
        self.shared.store(Arc::new(shared));
        let before = self.own.load();
        let none = Arc::new(View::default());
        let own: BTreeMap<OrgId, Arc<View>> = shelves
            .registered
            .iter()
            .map(|(org, tools)| {
                let earlier = before.get(org).unwrap_or(&none);
                (
                    org.clone(),
                    Arc::new(View::over(self.common(org).load().with(tools), earlier)),
                )
            })
            .collect();
        let same = |(org, view): (&OrgId, &Arc<View>)| {
            let earlier = before.get(org);
            earlier.is_some_and(|earlier| Arc::ptr_eq(&earlier.tools, &view.tools))
        };
        let unchanged = unmoved && before.len() == own.len() && own.iter().all(same);
        self.own.store(Arc::new(own));
        if !unchanged {
            self.changed.send_modify(|count| *count += 1);
        }
    }
}

impl View {
    /// This view, in which whatever is as it was before is the very same.
    fn over((mut tools, infos): (Tools, BTreeMap<String, ToolInfo>), before: &View) -> Self {
        for (name, tool) in &mut tools {
            // The same tool keeps its compiled schema.
            let earlier = before.tools.get(name);
            if let Some(same) = earlier.filter(|earlier| is_same(earlier, tool)) {
                *tool = same.clone();
            }
        }
        let pairs = || tools.iter().zip(before.tools.iter());
        let unchanged = tools.len() == before.tools.len()
            && pairs().all(|((_, now), (_, then))| Arc::ptr_eq(now, then));
        Self {
            tools: match unchanged {
                true => before.tools.clone(),
                false => Arc::new(tools),
            },
            infos: Arc::new(infos),
        }
    }

    /// With an organisation's own tools beside those that all have. A name that has meanwhile
    /// become a shared tool's stays that tool's.
    fn with(&self, own: &[Arc<Tool>]) -> (Tools, BTreeMap<String, ToolInfo>) {
        let (mut tools, mut infos) = (Tools::clone(&self.tools), BTreeMap::clone(&self.infos));
        for tool in own {
            let name = tool.name.to_string();
            if tools.contains_key(&name) {
                tracing::error!(tool = %name, "its name is another's; the tool is left out");
                continue;
            }
            infos.insert(name.clone(), built_in(tool));
            tools.insert(name, tool.clone());
        }
        (tools, infos)
    }
}

/// Whether a call is one that this tool's connector makes.
pub(super) fn is_of(tool: &Tool, call: &Call) -> bool {
    match &tool.executor {
        Executor::Noop => call.upstream == NOOP,
        Executor::Bank => call.upstream == bank().name(),
        Executor::Upstream { upstream, tool, .. } => {
            *upstream == call.upstream && *tool == call.tool
        }
        Executor::Registered(of) => of.upstream() == call.upstream && of.def.name == call.tool,
    }
}

/// Whether two tools behave the same: the digest covers upstream, definition and rule.
fn is_same(one: &Tool, other: &Tool) -> bool {
    one.name == other.name
        && one.standing == other.standing
        && one.executor == other.executor
        && matches!(
            one.executor,
            Executor::Upstream { .. } | Executor::Registered(_)
        )
        && one.digest == other.digest
}

/// Those of the tools that are these.
fn only(
    (tools, infos): &(Tools, BTreeMap<String, ToolInfo>),
    is: impl Fn(&Tool) -> bool,
) -> (Tools, BTreeMap<String, ToolInfo>) {
    let mut kept = (tools.clone(), infos.clone());
    kept.0.retain(|_, tool| is(tool));
    kept.1.retain(|name, _| kept.0.contains_key(name));
    kept
}

/// Every tool by its name.
fn arranged(shelves: &Shelves) -> (Tools, BTreeMap<String, ToolInfo>) {
    let mut tools = shelves.built_in.clone();
    let mut infos: BTreeMap<String, ToolInfo> = tools
        .iter()
        .map(|(name, tool)| (name.clone(), built_in(tool)))
        .collect();
    for (upstream, shelf) in &shelves.upstreams {
        for judged in shelf {
            let name = judged.tool.name.to_string();
            if tools.contains_key(&name) {
                tracing::error!(%upstream, tool = %name, "its name is another's; the tool is left out");
                continue;
            }
            infos.insert(name.clone(), info(judged));
            tools.insert(name, judged.tool.clone());
        }
    }
    (tools, infos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::upstream::{Definition, UpstreamRules};
    use serde_json::json;

    fn judged(upstream: &str, name: &str, standing: Standing) -> Judged {
        let definition = Definition {
            name: name.into(),
            description: String::new(),
            input_schema: json!({"type": "object"}),
            output_schema: None,
            annotations: json!(null),
        };
        let rules = UpstreamRules::default();
        let offer = Offer::read(upstream, definition, &rules, None).unwrap();
        let tool = Tool {
            standing,
            ..offer.tool.clone()
        };
        Judged {
            tool: Arc::new(tool),
            offer: Arc::new(offer),
            is_offered: true,
            pin: None,
            problem: None,
        }
    }

    #[test]
    fn a_call_is_read_by_the_tool_it_went_to() {
        let catalogue = Catalogue::default();
        catalogue.shelve("a", vec![judged("a", "send", Standing::New)], Vec::new());
        catalogue.shelve("b", vec![judged("b", "pay", Standing::New)], Vec::new());
        let call = |upstream, tool| Call::new(upstream, tool, &json!({}));
        let send = catalogue.shared("send").unwrap();
        assert!(is_of(&send, &call("a", "send")) && !is_of(&send, &call("b", "send")));
        let reached = catalogue
            .reached_by(&OrgId::default(), &call("b", "pay"))
            .unwrap();
        assert_eq!(reached.name.as_str(), "pay");
        assert!(
            catalogue
                .reached_by(&OrgId::default(), &call("c", "pay"))
                .is_none()
        );
    }

    #[test]
    fn listeners_wake_only_when_something_changed() {
        let catalogue = Catalogue::default();
        let mut watch = catalogue.watch();
        let shelve = |standing| catalogue.shelve("a", vec![judged("a", "x", standing)], Vec::new());
        shelve(Standing::New);
        assert!(watch.has_changed().unwrap());
        watch.mark_unchanged();
        let before = catalogue.shared("x").unwrap();
        shelve(Standing::New);
        assert!(!watch.has_changed().unwrap());
        assert!(Arc::ptr_eq(&before, &catalogue.shared("x").unwrap()));
        shelve(Standing::Accepted);
        assert!(watch.has_changed().unwrap());
        catalogue.shelve("a", Vec::new(), vec!["down".to_owned()]);
        assert!(catalogue.shared("x").is_none());
        assert_eq!(catalogue.complaints()["a"], ["down"]);
    }
}
