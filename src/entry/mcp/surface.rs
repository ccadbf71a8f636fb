//! Which tools a caller sees, and what each name leads to: the catalogue as MCP shows it.
//!
//! Built once per version of the catalogue and shared by every call. A high-risk tool appears as
//! its pair and never under its own name; a tool whose definition waits for an operator is not
//! listed, but its names lead to the refusal that says so.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rmcp::model::{Tool as Listed, ToolAnnotations};

use super::finder::Finder;
use super::schemas;
use crate::domain::principal::{Principal, Right, Role};
use crate::domain::roles::Roles;
use crate::domain::tool::{Risk, Standing, Tool};
use crate::entry::operations::{self, Effect, Operation};

/// Ending of the first step's name.
const PROPOSE: &str = "_propose";
/// Ending of the second step's name.
const COMMIT: &str = "_commit";

/// What a tool's name leads to.
#[derive(Clone)]
pub enum Route {
    /// The first step of a high-risk tool.
    Propose(Arc<Tool>),
    /// The second step of a high-risk tool.
    Commit(Arc<Tool>),
    /// A low-risk tool, straight to its upstream.
    Through(Arc<Tool>),
    /// An operation.
    Operation(&'static Operation),
    /// One of the three tools that stand for a whole list.
    Find(Finder),
}

impl Route {
    fn rights(&self) -> &'static [Right] {
        match self {
            Route::Propose(_) => operations::steps().propose.rights(),
            Route::Commit(_) => operations::steps().commit.rights(),
            Route::Through(_) | Route::Find(_) => &[Right::ReadOwn],
            Route::Operation(operation) => operation.rights,
        }
    }

    /// The tool of the catalogue that it leads to, if it leads to one.
    pub fn tool(&self) -> Option<&Arc<Tool>> {
        match self {
            Route::Propose(tool) | Route::Commit(tool) | Route::Through(tool) => Some(tool),
            Route::Operation(_) | Route::Find(_) => None,
        }
    }

    fn is_usable(&self) -> bool {
        let tool = self.tool();
        tool.is_none_or(|tool| tool.standing == Standing::Accepted)
    }
}

/// One version of the catalogue, as MCP shows it.
pub struct Surface {
    made_from: Arc<BTreeMap<String, Arc<Tool>>>,
    /// With the operations about the bank's account.
    bank: bool,
    routes: HashMap<String, Route>,
    /// What each role alone sees.
    lists: Vec<(Role, Arc<[Listed]>)>,
    shown: Vec<(Route, Listed)>,
}

impl Surface {
    /// Shows these tools, and with `bank` what there is about the bank's account. `token_ttl_secs`
    /// is told in descriptions.
    pub fn of(tools: Arc<BTreeMap<String, Arc<Tool>>>, bank: bool, token_ttl_secs: i64) -> Self {
        let mut shown: Vec<(Route, Listed)> = Vec::new();
        let mut routes = HashMap::new();
        // The door's own names come first and pairs before what passes through, so that no
        // upstream can take a name that stands for something safer or stricter.
        let own = operations::table().iter().filter(|operation| operation.mcp);
        let own = own.filter(|operation| bank || !operation.of_bank);
        let own = own.map(|it| (Route::Operation(it), operation(it)));
        let high = tools.values().filter(|tool| tool.risk == Risk::High);
        let pairs = high.flat_map(|tool| {
            [
                (Route::Propose(tool.clone()), propose(tool, token_ttl_secs)),
                (Route::Commit(tool.clone()), commit(tool)),
            ]
        });
        let low = tools.values().filter(|tool| tool.risk == Risk::Low);
        let through = low.map(|tool| (Route::Through(tool.clone()), through(tool)));
        for (route, listed) in own.chain(pairs).chain(through) {
            if routes.contains_key(listed.name.as_ref()) {
                tracing::warn!(tool = %listed.name, "a tool's name is taken; it is not offered");
                continue;
            }
            routes.insert(listed.name.to_string(), route.clone());
            shown.push((route, listed));
        }
        let lists = Role::ALL.map(|role| (role, seen(&shown, role.into())));
        Self {
            made_from: tools,
            bank,
            routes,
            lists: lists.into(),
            shown,
        }
    }

    /// Whether it shows exactly this version of the catalogue.
    pub fn shows(&self, tools: &Arc<BTreeMap<String, Arc<Tool>>>, bank: bool) -> bool {
        Arc::ptr_eq(&self.made_from, tools) && self.bank == bank
    }

    /// What a name leads to.
    pub fn route(&self, name: &str) -> Option<&Route> {
        self.routes.get(name)
    }

    /// Whether it is behind the door through which this caller came.
    pub fn is_behind(route: &Route, who: &Principal) -> bool {
        match (route, &who.server) {
            (Route::Operation(operation), _) => operation.is_served(who),
            (Route::Find(_), _) | (_, None) => true,
            (Route::Propose(tool) | Route::Commit(tool) | Route::Through(tool), Some(entrance)) => {
                entrance.server.offers(tool.name.as_str())
            }
        }
    }

    /// Where a name stands in the whole list, whoever sees how much of it.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.shown
            .iter()
            .position(|(_, listed)| listed.name == name)
    }

    /// Whether `who` may call what this route leads to.
    pub fn permits(route: &Route, who: &Principal) -> bool {
        route.rights().iter().any(|right| who.may(*right))
    }

    /// The tools that somebody with these roles sees, in a stable order.
    pub fn list(&self, roles: Roles) -> Arc<[Listed]> {
        let made = |role: Role| self.lists.iter().find(|(of, _)| *of == role);
        match roles.only().and_then(made) {
            Some((_, list)) => list.clone(),
            None => seen(&self.shown, roles),
        }
    }
}

fn seen(shown: &[(Route, Listed)], roles: Roles) -> Arc<[Listed]> {
    let may = |route: &Route| route.rights().iter().any(|right| roles.may(*right));
    let seen = shown
        .iter()
        .filter(|(route, _)| route.is_usable() && may(route));
    seen.map(|(_, listed)| listed.clone()).collect()
}

fn operation(operation: &Operation) -> Listed {
    let input = schemas::taken(operation.input(), operation.null_matters);
    let output = schemas::told(&operation.whole_output());
    Listed::new(operation.name, operation.summary, schemas::carried(input))
        .with_raw_output_schema(schemas::carried(output))
        .with_title(operation.title)
        .with_annotations(annotations(operation.title, operation.effect))
}

fn annotations(title: &str, effect: Effect) -> ToolAnnotations {
    ToolAnnotations::with_title(title)
        .read_only(matches!(effect, Effect::Reads | Effect::Waits))
        .destructive(effect == Effect::Acts)
        .idempotent(effect != Effect::Acts)
        .open_world(false)
}

fn propose(tool: &Tool, token_ttl_secs: i64) -> Listed {
    let name = format!("{}{PROPOSE}", tool.name);
    let title = format!("{}: propose", tool.name);
    let description = format!(
        "Step 1 of 2 for `{tool}`. Has no side effect: it checks the request and decides. \
         `allowed` comes with a commit token, good once and for {token_ttl_secs} s: call \
         `{tool}{COMMIT}` with the proposal's id, the token and the same arguments. `held` waits \
         for a person: call `await_proposal`. `blocked` says why, and what to do, in `recovery`. \
         What `{tool}` does: {words}",
        tool = tool.name,
        words = tool.description,
    );
    let annotations = ToolAnnotations::with_title(&title)
        .read_only(true)
        .destructive(false)
        .idempotent(false)
        .open_world(false);
    Listed::new(
        name,
        description,
        schemas::carried(schemas::propose_input(&tool.input_schema)),
    )
    .with_raw_output_schema(schemas::carried(schemas::propose_output()))
    .with_title(title)
    .with_annotations(annotations)
}

fn commit(tool: &Tool) -> Listed {
    let name = format!("{}{COMMIT}", tool.name);
    let title = format!("{}: commit", tool.name);
    let description = format!(
        "Step 2 of 2 for `{tool}`. Carries out, once, what `{tool}{PROPOSE}` allowed; it needs \
         that proposal's id, its commit token and the same arguments. The token is good once: \
         after `committed`, `failed` or `in_doubt`, never commit again; read the outcome with \
         `get_proposal`. What `{tool}` does: {words}",
        tool = tool.name,
        words = tool.description,
    );
    let annotations = ToolAnnotations::with_title(&title)
        .read_only(false)
        .destructive(true)
        .idempotent(false)
        .open_world(true);
    Listed::new(
        name,
        description,
        schemas::carried(schemas::commit_input(&tool.input_schema)),
    )
    .with_raw_output_schema(schemas::carried(schemas::commit_output()))
    .with_title(title)
    .with_annotations(annotations)
}

fn through(tool: &Tool) -> Listed {
    let output = schemas::through_output(tool.output_schema.as_ref());
    let annotations = ToolAnnotations::new()
        .read_only(true)
        .destructive(false)
        .open_world(true);
    Listed::new(
        tool.name.to_string(),
        tool.description.clone(),
        schemas::carried(tool.input_schema.clone()),
    )
    .with_raw_output_schema(schemas::carried(output))
    .with_annotations(annotations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::Checker;
    use crate::domain::tool::{Executor, MoneyRule, PayeeRule};
    use serde_json::json;

    fn tool(name: &str, risk: Risk, standing: Standing) -> (String, Arc<Tool>) {
        let tool = Tool {
            name: name.parse().unwrap(),
            description: "moves it".into(),
            input_schema: json!({"type": "object"}),
            output_schema: None,
            risk,
            executor: Executor::Noop,
            money: MoneyRule::default(),
            payee: PayeeRule::default(),
            patterns: Vec::new(),
            hold: false,
            standing,
            digest: String::new(),
            checker: Checker::default(),
        };
        (name.to_owned(), Arc::new(tool))
    }

    fn surface(tools: impl IntoIterator<Item = (String, Arc<Tool>)>) -> Surface {
        Surface::of(Arc::new(tools.into_iter().collect()), true, 60)
    }

    fn names(surface: &Surface, role: Role) -> Vec<String> {
        let list = surface.list(role.into());
        list.iter().map(|tool| tool.name.to_string()).collect()
    }

    #[test]
    fn a_high_risk_tool_is_a_pair_and_a_low_risk_one_is_itself() {
        let surface = surface([
            tool("pay", Risk::High, Standing::Accepted),
            tool("look", Risk::Low, Standing::Accepted),
            tool("new", Risk::High, Standing::New),
        ]);
        let seen = names(&surface, Role::Agent);
        let pairs = ["pay_propose", "pay_commit", "look"];
        assert!(
            pairs.iter().all(|name| seen.iter().any(|s| s == name)),
            "{seen:?}"
        );
        for hidden in ["pay", "new", "new_propose", "new_commit", "look_propose"] {
            assert!(!seen.iter().any(|name| name == hidden), "{hidden}");
        }
        assert!(surface.route("pay").is_none());
        assert!(matches!(
            surface.route("new_propose"),
            Some(Route::Propose(_))
        ));
    }

    #[test]
    fn a_role_sees_what_it_may_call() {
        let surface = surface([tool("pay", Risk::High, Standing::Accepted)]);
        for role in Role::ALL {
            let seen = names(&surface, role);
            let has = |name: &str| seen.iter().any(|seen| seen == name);
            assert_eq!(has("pay_propose"), role == Role::Agent, "{role:?}");
            assert_eq!(has("pay_commit"), role == Role::Agent, "{role:?}");
            assert!(has("get_proposal") && has("await_proposal") && has("list_proposals"));
            let cancels = matches!(role, Role::Agent | Role::Operator | Role::Admin);
            assert_eq!(has("cancel_proposal"), cancels, "{role:?}");
        }
        let several = surface.list(Roles::from_iter([Role::Agent, Role::Auditor]));
        let has = |name: &str| several.iter().any(|seen| seen.name == name);
        assert!(
            has("pay_commit") && has("get_metrics"),
            "what any of them may"
        );
    }

    #[test]
    fn no_upstream_takes_a_name_that_stands_for_something_stricter() {
        let surface = surface([
            tool("pay", Risk::High, Standing::Accepted),
            tool("pay_commit", Risk::Low, Standing::Accepted),
            tool("get_proposal", Risk::Low, Standing::Accepted),
        ]);
        assert!(matches!(
            surface.route("pay_commit"),
            Some(Route::Commit(_))
        ));
        assert!(matches!(
            surface.route("get_proposal"),
            Some(Route::Operation(_))
        ));
        let seen = names(&surface, Role::Agent);
        let mut unique = seen.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(seen.len(), unique.len());
    }

    #[test]
    fn annotations_say_which_step_has_the_effect() {
        let surface = surface([tool("pay", Risk::High, Standing::Accepted)]);
        let list = surface.list(Role::Agent.into());
        let hints = |name: &str| {
            let tool = list.iter().find(|tool| tool.name == name).unwrap();
            let hints = tool.annotations.clone().unwrap();
            (
                hints.read_only_hint,
                hints.destructive_hint,
                hints.idempotent_hint,
            )
        };
        assert_eq!(hints("pay_propose"), (Some(true), Some(false), Some(false)));
        assert_eq!(hints("pay_commit"), (Some(false), Some(true), Some(false)));
        for tool in list.iter() {
            assert_eq!(tool.input_schema["type"], "object", "{}", tool.name);
            let output = tool.output_schema.as_ref().unwrap();
            assert_eq!(output["type"], "object", "{}", tool.name);
        }
    }
}
