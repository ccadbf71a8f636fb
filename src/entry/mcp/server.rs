//! The MCP server proper: names the caller, finds the tool, runs the call, shapes the answer.
//!
//! A call runs in a task of its own, to its end. Whoever made it may cancel, disconnect or time
//! out: that ends the waiting for an answer, never the effect, and nothing is done twice.
//!
//! A refusal is an answer (`isError: false`). A request that could not be answered at all is a
//! tool error with `code`, `detail` and `recovery`. Only a tool that does not exist, or parameters
//! that are none, are errors of the protocol.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rmcp::model::{CallToolResult, ErrorData, MetaObject};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::answers::{passed_on, troubled};
use super::finder::{self, Finder};
use super::schemas::CURSOR;
use super::surface::{Route, Surface};
use crate::broker::core::places::Kind;
use crate::broker::{Broker, Trouble};
use crate::domain::ids::OrgId;
use crate::domain::principal::Principal;
use crate::domain::tool::Risk;
use crate::entry::operations::{self, Call, Effect};

/// Put into a request by whoever let it in.
#[derive(Clone)]
pub struct Admitted {
    /// Who asks.
    pub who: Arc<Principal>,
    /// The message as the strict reader read it.
    pub document: Arc<Value>,
}

/// One call of a tool, and who makes it.
pub struct Asked {
    /// What the tool's name leads to.
    pub route: Route,
    /// Who calls.
    pub who: Principal,
    /// With what.
    pub arguments: Option<Value>,
    /// Cancelled when nobody waits for the answer any more.
    pub gone: CancellationToken,
    /// What the client calls the conversation that it belongs to.
    pub conversation: Option<String>,
}

/// What the client calls the conversation that a call belongs to.
pub fn conversation(document: &Value) -> Option<String> {
    let name = document.pointer("/params/_meta/hundi~1conversation")?;
    name.as_str().map(str::to_owned)
}

/// What all connections of one door share.
pub struct Shared {
    broker: Broker,
    /// For each organisation that was asked about; those without tools of their own share one.
    surfaces: ArcSwap<HashMap<OrgId, Arc<Surface>>>,
    pub(super) tasks: TaskTracker,
    pub(super) closing: CancellationToken,
}

impl Shared {
    /// A door to this broker. Once `closing` is cancelled, nobody waits for people any longer.
    pub fn new(broker: Broker, closing: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            closing,
            broker,
            surfaces: ArcSwap::default(),
            tasks: TaskTracker::new(),
        })
    }

    /// Held while an answer is on its way to its reader, so that [`Shared::drained`] waits for it.
    pub fn answering(&self) -> TaskTrackerToken {
        self.tasks.token()
    }

    /// Resolves once every call under way has ended, and every answer is out.
    pub async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(super) fn surface(&self, org: &OrgId) -> Arc<Surface> {
        let tools = self.broker.tools.catalogue().tools(org);
        let known = self.surfaces.load();
        let bank = self.broker.settings().bank.holders.owns(org);
        let shows = |surface: &&Arc<Surface>| surface.shows(&tools, bank);
        if let Some(surface) = known.get(org).filter(shows) {
            return surface.clone();
        }
        // Two calls may build it at once; both build the same.
        let surface = known.values().find(shows).cloned().unwrap_or_else(|| {
            let ttl = self.broker.settings().token_ttl_secs;
            Arc::new(Surface::of(tools.clone(), bank, ttl))
        });
        self.surfaces.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.insert(org.clone(), surface.clone());
            known
        });
        surface
    }

    /// The broker behind this door.
    pub(super) fn broker(&self) -> &Broker {
        &self.broker
    }

    /// What a tool's name leads to now, for this caller.
    pub fn route(&self, who: &Principal, name: &str) -> Option<Route> {
        let finder = Finder::named(name, who).map(Route::Find);
        finder.or_else(|| self.tool(who, name))
    }

    /// The same, but for the tools that stand for a list.
    fn tool(&self, who: &Principal, name: &str) -> Option<Route> {
        let surface = self.surface(&who.org);
        let route = surface.route(name)?;
        Surface::is_behind(route, who).then(|| route.clone())
    }

    /// What a call leads to once the tool that stands for a list is seen through, with its own
    /// arguments.
    pub(super) fn direct(&self, asked: Asked) -> Result<Asked, Trouble> {
        let Route::Find(Finder::Call) = asked.route else {
            return Ok(asked);
        };
        let meant: finder::Named = finder::read(asked.arguments)?;
        let (route, arguments) = match self.tool(&asked.who, &meant.name) {
            Some(route) => (route, meant.arguments),
            // By its own name, and so with nothing but its own arguments.
            None => match self.proposed(&asked.who, &meant.name) {
                Some(route) => (route, Some(json!({"arguments": meant.arguments}))),
                None => {
                    let unknown = finder::unknown(&meant.name);
                    let tools = &self.broker.tools;
                    return Err(tools.traced(&asked.who, &meant.name, unknown));
                }
            },
        };
        Ok(Asked {
            route,
            arguments,
            ..asked
        })
    }

    /// The first step of the high-risk tool of this very name.
    fn proposed(&self, who: &Principal, name: &str) -> Option<Route> {
        let high = self.broker.tools.risk_of(who, name) == Some(Risk::High);
        let tool = self.broker.tools.catalogue().get(&who.org, name);
        tool.filter(|_| high).map(Route::Propose)
    }

    async fn looked_up(
        &self,
        finder: Finder,
        who: &Principal,
        arguments: Option<Value>,
    ) -> Result<CallToolResult, Trouble> {
        let all = self.all(who).await?;
        let told = match finder {
            Finder::Search => finder::search(&all, &finder::read(arguments)?)?,
            Finder::Describe | Finder::Call => {
                let asked: finder::Named = finder::read(arguments)?;
                let found = all.iter().find(|tool| tool.name == asked.name.as_str());
                finder::describe(found.ok_or_else(|| finder::unknown(&asked.name))?)
            }
        };
        Ok(CallToolResult::structured(told))
    }

    /// Runs one direct call to its end, whoever stops waiting for it.
    pub(super) async fn call(&self, asked: Asked) -> Result<CallToolResult, ErrorData> {
        let Asked {
            route,
            who,
            arguments,
            gone,
            conversation,
        } = asked;
        if let Route::Find(finder) = route {
            let told = self.looked_up(finder, &who, arguments).await;
            return Ok(told.unwrap_or_else(|trouble| troubled(&trouble)));
        }
        if !Surface::permits(&route, &who) {
            let refused = Trouble::Forbidden { roles: who.roles };
            let refused = match &route {
                Route::Propose(tool) | Route::Through(tool) => {
                    self.broker.tools.traced(&who, tool.name.as_str(), refused)
                }
                Route::Commit(_) | Route::Operation(_) | Route::Find(_) => refused,
            };
            return Ok(troubled(&refused));
        }
        // Counted apart, so that whoever waits for people can still commit; and for each caller.
        let kind = match &route {
            Route::Operation(operation) if operation.effect == Effect::Waits => Some(Kind::Wait),
            Route::Operation(_) | Route::Propose(_) | Route::Through(_) | Route::Find(_) => {
                Some(Kind::Call)
            }
            // The broker counts it.
            Route::Commit(_) => None,
        };
        let place = kind.map(|kind| self.broker.places().enter(&who, kind));
        let place = match place.transpose() {
            Ok(place) => place,
            Err(trouble) => return Ok(troubled(&trouble)),
        };
        let call = Call {
            broker: self.broker.clone(),
            who,
            conversation,
            names: None,
            gone,
            closing: self.closing.clone(),
        };
        let task = self.tasks.spawn(async move {
            let _place = place;
            run(route, call, arguments).await
        });
        match task.await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(trouble)) => Ok(troubled(&trouble)),
            Err(error) => {
                tracing::error!(%error, "a tool call ended abnormally");
                let text = "the call ended abnormally; if it was a commit, read the proposal";
                Err(ErrorData::internal_error(text, None))
            }
        }
    }
}

async fn run(
    route: Route,
    call: Call,
    arguments: Option<Value>,
) -> Result<CallToolResult, Trouble> {
    let input = arguments.unwrap_or_else(|| json!({}));
    let (steps, unfit) = (operations::steps(), Trouble::InvalidArguments);
    // What a provider answered to a commit is somebody else's text, too.
    let untrusted = matches!(route, Route::Commit(_));
    let answer = match route {
        Route::Propose(tool) => {
            let (tools, who) = (call.broker.tools.clone(), call.who.clone());
            let name = tool.name.as_str();
            let answer = steps.propose.answer(call, name, input, unfit).await;
            answer.map_err(|trouble| tools.traced(&who, name, trouble))
        }
        Route::Commit(tool) => {
            steps
                .commit
                .answer(call, tool.name.as_str(), input, unfit)
                .await
        }
        Route::Operation(operation) => operation.answer(call, input, unfit).await,
        Route::Find(_) => return Err(Trouble::NotFound("tool")),
        Route::Through(tool) => {
            let (tools, within) = (&call.broker.tools, call.conversation.as_deref());
            let called = tools.call(&call.who, tool.name.as_str(), &input, within);
            return Ok(passed_on(called.await?));
        }
    };
    let mut body = answer?.body.into_value();
    if let Some(fields) = body.as_object_mut()
        && fields.get(CURSOR).is_some_and(Value::is_null)
    {
        fields.remove(CURSOR);
    }
    let mut result = CallToolResult::structured(body);
    if untrusted {
        let meta = json!({"untrusted": true});
        result.meta = meta.as_object().cloned().map(MetaObject);
    }
    Ok(result)
}
