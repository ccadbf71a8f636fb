//! Clients that can wait for people, from revision 2026-07-28 on: what each says it can do, and what
//! it is answered while a proposal is held.
//!
//! Of what a request declares, the first of these is used: a task, a page to open, a form that names
//! the page. A request that declares nothing is answered as ever, and one of an older revision, too.
//! The client comes back with the state that it was given; its answer waits for people, for a while,
//! so that nobody has to spin.
//!
//! Whatever a client says, nobody has agreed by it. `accept` means that the page was opened, "yes" in
//! a form that somebody was asked: agreeing is done on the page, by people who may.

use std::time::Duration;

use rmcp::model::{
    CallToolResponse, CallToolResult, ElicitRequest, ElicitRequestParams, ElicitationSchema,
    ErrorData, InputRequest, InputRequests, InputRequiredResult, TASKS_EXTENSION_ID,
};
use serde_json::{Value, json};

use super::answers::{misdirected, troubled};
use super::plain::REVISION;
use super::server::{Asked, Shared};
use super::surface::{Route, Surface};
use super::tasks::{self, Step, TaskId};
use crate::broker::core::places::Kind;
use crate::broker::{Proposed, Trouble};
use crate::domain::ids::{ArgsHash, ProposalId};
use crate::domain::money::Effective;
use crate::domain::principal::Principal;
use crate::domain::proposal::{Proposal, State};
use crate::domain::request_state;
use crate::domain::visible;
use crate::entry::shapes;

/// How long the answer to a client that came back waits for people.
const PATIENCE: Duration = Duration::from_secs(25);
/// The one question that is ever asked.
const KEY: &str = "approval";
/// Longest name of a payee in a question, in characters.
const MAX_NAME: usize = 200;

/// What a request says of how its client can wait, and what it comes back with.
#[derive(Clone, Default)]
pub struct Asking {
    /// Whether it is of the revision that knows any of this.
    pub modern: bool,
    /// Takes a task for an answer.
    pub tasks: bool,
    url: bool,
    form: bool,
    state: Option<String>,
    answered: bool,
    heard: Option<Heard>,
}

/// What a client says became of the question.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The page was opened, or the form was answered.
    Opened,
    /// Nobody wanted to.
    Declined,
}

impl Asking {
    /// Out of a request as the strict reader read it.
    pub fn of(document: &Value) -> Self {
        let Some(params) = document.get("params") else {
            return Self::default();
        };
        let meta = |name: &str| params.get("_meta")?.get(name);
        let revision = meta("io.modelcontextprotocol/protocolVersion");
        if revision.and_then(Value::as_str) != Some(REVISION) {
            return Self::default();
        }
        let able = meta("io.modelcontextprotocol/clientCapabilities");
        let able = |name: &str| able?.get(name)?.as_object();
        let tasks = able("extensions").is_some_and(|known| known.contains_key(TASKS_EXTENSION_ID));
        let elicits = able("elicitation");
        let mode = |name: &str| elicits.is_some_and(|modes| modes.contains_key(name));
        let responses = params.get("inputResponses");
        let action = responses.and_then(|given| given.get(KEY)?.get("action")?.as_str());
        Self {
            modern: true,
            tasks,
            url: mode("url"),
            // No mode at all is the form, which was there first.
            form: mode("form") || elicits.is_some_and(serde_json::Map::is_empty),
            state: params
                .get("requestState")
                .and_then(Value::as_str)
                .map(str::to_owned),
            answered: responses.is_some(),
            heard: action.and_then(|action| match action {
                "accept" => Some(Heard::Opened),
                "decline" | "cancel" => Some(Heard::Declined),
                _ => None,
            }),
        }
    }

    /// What the client says became of the question, if it says anything.
    pub fn heard(&self) -> Option<Heard> {
        self.heard
    }

    fn can_wait(&self) -> bool {
        self.tasks || self.url || self.form
    }

    /// Whether it comes back with what only an earlier answer of ours can have asked for.
    fn comes_back(&self, route: &Route) -> bool {
        let asked_of = matches!(route, Route::Propose(_));
        self.state.is_some() || (self.answered && asked_of)
    }

    /// What the client is asked to show, in a way that it declared.
    pub fn question(&self, proposal: &Proposal, page: Option<&str>) -> Option<InputRequests> {
        let params = match page {
            Some(page) if self.url => ElicitRequestParams::UrlElicitationParams {
                meta: None,
                message: page_words(proposal),
                url: page.to_owned(),
                elicitation_id: String::new(),
            },
            _ if self.form => ElicitRequestParams::FormElicitationParams {
                meta: None,
                message: form_words(proposal, page),
                requested_schema: form()?,
            },
            _ => return None,
        };
        let request = InputRequest::Elicitation(ElicitRequest::new(params));
        Some([(KEY.to_owned(), request)].into())
    }
}

fn form() -> Option<ElicitationSchema> {
    let words = "Yes approves nothing: it says that you have told somebody who may decide.";
    let asked =
        |field: rmcp::model::BooleanSchema| field.title("I have asked them").description(words);
    ElicitationSchema::builder()
        .bool_property("asked", asked)
        .build()
        .ok()
}

/// What waits for people, in words: text of agents is shown as text.
fn subject(proposal: &Proposal) -> String {
    let fixed = &proposal.fixed;
    let amount = match &fixed.effective {
        Effective::Nothing => "no money".to_owned(),
        Effective::Amount(money) => money.to_string(),
        Effective::Unbounded(currency) => format!("all {currency} there is"),
    };
    let payee = &fixed.payee;
    let known = [&payee.name, &payee.account, &payee.url];
    let mut known = known.into_iter().flatten().map(|text| {
        let short: String = text.chars().take(MAX_NAME).collect();
        visible::seen(&short)
    });
    let payee = match (known.next(), known.next()) {
        (None, _) => "no payee named".to_owned(),
        (Some(one), None) => one,
        (Some(one), Some(other)) => format!("{one} ({other})"),
    };
    format!(
        "{tool}: {amount} to {payee}. Argument hash {hash}.",
        tool = fixed.tool,
        hash = fixed.args_hash,
    )
}

fn page_words(proposal: &Proposal) -> String {
    format!(
        "People have to agree before this is done. {} It is decided on the page alone; opening it \
         agrees to nothing.",
        subject(proposal)
    )
}

fn form_words(proposal: &Proposal, page: Option<&str>) -> String {
    let place = match page {
        Some(page) => format!("at {page}"),
        None => format!("with `hundi proposal approve {}`", proposal.fixed.id),
    };
    format!(
        "People have to agree before this is done. {} It is decided {place} and nowhere else: ask \
         somebody who may. Answering here agrees to nothing.",
        subject(proposal)
    )
}

/// The answer of a propose, whole.
pub fn complete(body: Value) -> CallToolResponse {
    CallToolResult::structured(body).into()
}

impl Shared {
    /// Answers a call in the way in which its client can wait.
    pub async fn respond(
        &self,
        asked: Asked,
        asking: &Asking,
    ) -> Result<CallToolResponse, ErrorData> {
        let asked = match self.direct(asked) {
            Ok(asked) => asked,
            Err(trouble) => return Ok(troubled(&trouble).into()),
        };
        if asking.comes_back(&asked.route) {
            return self.come_back(asked, asking).await;
        }
        let step = match &asked.route {
            Route::Propose(_) if asking.can_wait() => Step::Propose,
            Route::Commit(_) if asking.tasks => Step::Commit,
            Route::Propose(_)
            | Route::Commit(_)
            | Route::Through(_)
            | Route::Operation(_)
            | Route::Find(_) => return Ok(self.call(asked).await?.into()),
        };
        let (who, request) = (asked.who.clone(), request(&asked));
        let result = self.call(asked).await?;
        let Some(id) = waits(&result, step) else {
            return Ok(result.into());
        };
        let instead = match step {
            Step::Propose => self.ask(&who, id, request, asking, true).await,
            Step::Commit => self.doubted(&who, id).await,
        };
        match instead {
            Ok(Some(instead)) => Ok(instead),
            Ok(None) => Ok(result.into()),
            // It is held, or sent, all the same, and the plain answer says so.
            Err(trouble) => {
                tracing::warn!(%trouble, proposal = %id, "answered without a way to wait");
                Ok(result.into())
            }
        }
    }

    /// What a client is answered while `id` is held; `None` where it can do nothing but what it
    /// always could.
    async fn ask(
        &self,
        who: &Principal,
        id: ProposalId,
        request: ArgsHash,
        asking: &Asking,
        first: bool,
    ) -> Result<Option<CallToolResponse>, Trouble> {
        let pay = &self.broker().pay;
        let found = pay.proposal(who, id).await?;
        let proposal = &found.proposal;
        if proposal.state != State::Held {
            return Ok(Some(complete(shapes::proposed(&found))));
        }
        let page = pay.approval_page(id);
        let question = asking.question(proposal, page.as_deref());
        if first && asking.tasks {
            let task = TaskId::of(Step::Propose, id);
            let created = tasks::created(task, proposal, question.is_some());
            return Ok(Some(created.into()));
        }
        if first && question.is_none() {
            return Ok(None);
        }
        // Nobody is shown the page again and again.
        let opened = !first && pay.is_page_opened(proposal).await?;
        let question = question.filter(|_| !opened);
        let state = pay.state_for(who, proposal, request).await?;
        Ok(Some(InputRequiredResult::new(question, Some(state)).into()))
    }

    async fn doubted(
        &self,
        who: &Principal,
        id: ProposalId,
    ) -> Result<Option<CallToolResponse>, Trouble> {
        let found = self.broker().pay.proposal(who, id).await?;
        let task = TaskId::of(Step::Commit, id);
        let waits = matches!(found.proposal.state, State::Committing | State::InDoubt);
        Ok(waits.then(|| tasks::created(task, &found.proposal, false).into()))
    }

    /// A client that was asked to come back does. Its state is used up first, whatever follows.
    async fn come_back(
        &self,
        asked: Asked,
        asking: &Asking,
    ) -> Result<CallToolResponse, ErrorData> {
        let (Route::Propose(_), Some(state)) = (&asked.route, &asking.state) else {
            return Err(misdirected(&Trouble::BadRequestState));
        };
        if !Surface::permits(&asked.route, &asked.who) {
            let roles = asked.who.roles;
            return Ok(troubled(&Trouble::Forbidden { roles }).into());
        }
        let request = request(&asked);
        let place = match self.broker().places().enter(&asked.who, Kind::Wait) {
            Ok(place) => place,
            Err(trouble) => return Ok(troubled(&trouble).into()),
        };
        let _answering = self.answering();
        let opened = asking.heard == Some(Heard::Opened);
        let pay = &self.broker().pay;
        let answer = async {
            let id = pay.take_state(&asked.who, state, request, opened).await?;
            let found = self.patiently(&asked, id, asking).await?;
            let declined = asking.heard == Some(Heard::Declined);
            if found.proposal.state != State::Held || declined {
                return Ok(complete(shapes::proposed(&found)));
            }
            let again = self.ask(&asked.who, id, request, asking, false).await?;
            Ok(again.unwrap_or_else(|| complete(shapes::proposed(&found))))
        };
        let answer: Result<CallToolResponse, Trouble> = answer.await;
        drop(place);
        match answer {
            Ok(response) => Ok(response),
            Err(Trouble::BadRequestState) => Err(misdirected(&Trouble::BadRequestState)),
            Err(trouble) => Ok(troubled(&trouble).into()),
        }
    }

    /// How the proposal stands once people have decided, or after a while. Whoever declined does not
    /// wait.
    async fn patiently(
        &self,
        asked: &Asked,
        id: ProposalId,
        asking: &Asking,
    ) -> Result<Proposed, Trouble> {
        let pay = &self.broker().pay;
        if asking.heard == Some(Heard::Declined) {
            return pay.proposal(&asked.who, id).await;
        }
        tokio::select! {
            found = pay.await_proposal(&asked.who, id, PATIENCE) => found,
            () = self.closing.cancelled() => pay.proposal(&asked.who, id).await,
            // Nobody would read the fresh token that this makes.
            () = asked.gone.cancelled() => {
                Err(Trouble::InvalidRequest("the call was cancelled".to_owned()))
            }
        }
    }
}

/// What binds a state to this very call.
fn request(asked: &Asked) -> ArgsHash {
    let tool = asked.route.tool().map_or("", |tool| tool.name.as_str());
    let nothing = json!({});
    request_state::request(tool, asked.arguments.as_ref().unwrap_or(&nothing))
}

/// The proposal whose answer says that somebody has to wait.
fn waits(result: &CallToolResult, step: Step) -> Option<ProposalId> {
    let body = result.structured_content.as_ref()?;
    let status = match step {
        Step::Propose => "held",
        Step::Commit => "in_doubt",
    };
    let waits = body.get("status").and_then(Value::as_str) == Some(status);
    let id = body.get("proposal_id").filter(|_| waits)?;
    id.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(able: &Value, revision: &str) -> Asking {
        Asking::of(&json!({"params": {"_meta": {
            "io.modelcontextprotocol/protocolVersion": revision,
            "io.modelcontextprotocol/clientCapabilities": able,
        }}}))
    }

    #[test]
    #[rustfmt::skip]
    fn what_is_declared_is_what_is_used() {
        let tasks = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
        //   capabilities                                   tasks  url    form
        let cases = [
            (json!({}),                                     false, false, false),
            (json!({"elicitation": {}}),                    false, false, true),
            (json!({"elicitation": {"form": {}}}),          false, false, true),
            (json!({"elicitation": {"url": {}}}),           false, true,  false),
            (json!({"elicitation": {"form": {}, "url": {}}}), false, true, true),
            (json!({"extensions": {"x/y": {}}}),            false, false, false),
            (tasks.clone(),                                 true,  false, false),
        ];
        for (able, tasks, url, form) in cases {
            let asking = asking(&able, REVISION);
            assert_eq!((asking.tasks, asking.url, asking.form), (tasks, url, form), "{able}");
        }
        let old = asking(&tasks, "2025-11-25");
        assert!(!old.modern && !old.can_wait(), "declared in an older revision");
    }
}
