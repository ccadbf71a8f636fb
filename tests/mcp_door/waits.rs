//! Clients that can wait for people: by a page to open, by a form, as a task; and what a hostile one
//! makes of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hundi::broker::Broker;
use hundi::domain::facts::FreezeScope;
use hundi::domain::ids::ProposalId;
use hundi::domain::principal::Principal;
use hundi::domain::proposal::State;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ClientCapabilities, ClientConfig, ElicitRequestParams,
    ElicitResult, ElicitationAction, ErrorData, GetTaskParams, Implementation, ProtocolVersion,
    TaskPayload,
};
use rmcp::service::RequestContext;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt, RoleClient};
use serde_json::{Value, json};

use super::raw_http::{Open, open};

const ORIGIN: &str = "http://pay.example:8787";

fn pages() -> Value {
    json!({"elicitation": {"form": {}, "url": {}}})
}

fn forms() -> Value {
    json!({"elicitation": {}})
}

fn tasks() -> Value {
    json!({"extensions": {"io.modelcontextprotocol/tasks": {}}})
}

/// A door to a house in which every `noop` waits for people.
async fn held_house() -> Open {
    let open = open().await;
    open.house.hold("noop");
    open.house.broker.set_public_origin(ORIGIN);
    open
}

fn noop(amount: i64) -> Value {
    json!({"name": "noop_propose", "arguments": {"arguments": {"amount": amount, "note": "chairs"}}})
}

/// The same call, coming back.
fn again(mut call: Value, state: &Value, action: Option<&str>) -> Value {
    call["requestState"] = state.clone();
    if let Some(action) = action {
        let content = json!({"asked": true, "approved": true});
        let answer = json!({"action": action, "content": content});
        call["inputResponses"] = json!({"approval": answer, "unheard_of": {}});
    }
    call
}

/// The proposal that a question is about.
fn asked_about(answer: &Value) -> ProposalId {
    let message = answer["result"]["inputRequests"]["approval"]["params"].to_string();
    let (_, rest) = message.split_once("/console/approvals/").unwrap();
    rest[..36].parse().unwrap()
}

impl Open {
    async fn call(&self, able: &Value, params: Value) -> Value {
        let key = &self.house.agent.key;
        self.able(key, able, "tools/call", params).await
    }

    async fn about(&self, able: &Value, method: &str, task: &Value) -> Value {
        let key = &self.house.agent.key;
        self.able(key, able, method, json!({"taskId": task})).await
    }

    async fn state(&self, id: ProposalId) -> State {
        let found = self
            .house
            .broker
            .pay
            .proposal(&self.house.admin.who, id)
            .await;
        found.unwrap().proposal.state
    }

    async fn approve(&self, id: ProposalId) {
        let pay = &self.house.broker.pay;
        pay.approve(&self.house.approver.who, id).await.unwrap();
    }
}

fn refused_state(answer: &Value, why: &str) {
    let error = &answer["error"];
    assert_eq!(error["code"], -32602, "{why}: {answer}");
    assert_eq!(
        error["data"]["code"], "bad_request_state",
        "{why}: {answer}"
    );
}

#[tokio::test]
async fn a_client_that_opens_pages_is_given_the_page_and_its_answer_approves_nothing() {
    let open = held_house().await;
    let asked = open.call(&pages(), noop(70_000)).await;
    let (result, question) = (
        &asked["result"],
        &asked["result"]["inputRequests"]["approval"],
    );
    assert_eq!(result["resultType"], "input_required", "{asked}");
    assert_eq!(question["method"], "elicitation/create");
    let params = &question["params"];
    let id = asked_about(&asked);
    assert_eq!(params["mode"], "url");
    assert_eq!(params["url"], format!("{ORIGIN}/console/approvals/{id}"));
    assert!(params.get("elicitationId").is_none(), "{params}");
    let message = params["message"].as_str().unwrap();
    let stored = open
        .house
        .broker
        .pay
        .proposal(&open.house.admin.who, id)
        .await;
    let hash = stored.unwrap().proposal.fixed.args_hash.to_string();
    assert!(message.contains("700"), "{message}");
    assert!(message.contains(&hash), "{message}");

    // Nobody else's, and nothing else's.
    let state = &result["requestState"];
    let text = state.as_str().unwrap();
    for at in [0, 5, text.len() / 2, text.len() - 1] {
        let mut bytes = text.to_owned().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = json!(String::from_utf8(bytes).unwrap());
        let answer = open
            .call(&pages(), again(noop(70_000), &changed, Some("accept")))
            .await;
        refused_state(&answer, "changed");
    }
    let other = &open.house.other_agent.key;
    let foreign = again(noop(70_000), state, Some("accept"));
    let answer = open.able(other, &pages(), "tools/call", foreign).await;
    refused_state(&answer, "foreign");
    let answer = open
        .call(&pages(), again(noop(70_001), state, Some("accept")))
        .await;
    refused_state(&answer, "with other arguments");
    let read = json!({"name": "get_proposal", "arguments": {"proposal_id": id.to_string()}});
    let answer = open.call(&pages(), again(read, state, None)).await;
    refused_state(&answer, "of another tool");
    let token = json!(open.house.agent.key);
    let answer = open.call(&pages(), again(noop(70_000), &token, None)).await;
    refused_state(&answer, "no state at all");
    let mut stateless = again(noop(70_000), state, Some("accept"));
    stateless.as_object_mut().unwrap().remove("requestState");
    refused_state(
        &open.call(&pages(), stateless).await,
        "an answer without a state",
    );

    // The page is opened, and somebody agrees while the client waits.
    let able = pages();
    let coming = open.call(&able, again(noop(70_000), state, Some("accept")));
    let (answer, ()) = tokio::join!(coming, async {
        assert_eq!(
            open.state(id).await,
            State::Held,
            "opening agrees to nothing"
        );
        open.approve(id).await;
    });
    let allowed = &answer["result"]["structuredContent"];
    assert_eq!(
        (&allowed["status"], &allowed["proposal_id"]),
        (&json!("allowed"), &json!(id)),
        "{answer}"
    );
    let replayed = open
        .call(&pages(), again(noop(70_000), state, Some("accept")))
        .await;
    refused_state(&replayed, "replayed");
    let commit = json!({"name": "noop_commit", "arguments": {
        "proposal_id": id, "commit_token": allowed["commit_token"],
        "arguments": noop(70_000)["arguments"]["arguments"],
    }});
    let who = &open.house.admin.who;
    let pay = &open.house.broker.pay;
    pay.freeze(who, FreezeScope::All, None, "lunch")
        .await
        .unwrap();
    let frozen = open.call(&pages(), commit.clone()).await;
    assert_eq!(
        frozen["result"]["structuredContent"]["reason"], "frozen",
        "{frozen}"
    );
    pay.unfreeze(who, FreezeScope::All, None, "eaten")
        .await
        .unwrap();
    let done = open.call(&pages(), commit).await;
    assert_eq!(
        done["result"]["structuredContent"]["status"], "committed",
        "{done}"
    );
}

#[tokio::test]
async fn a_state_is_good_once_for_an_hour_and_whoever_declines_is_answered_plainly() {
    let open = held_house().await;
    // Two at once: one of them is the first.
    let asked = open.call(&pages(), noop(1)).await;
    let state = &asked["result"]["requestState"];
    let able = pages();
    let back = || open.call(&able, again(noop(1), state, Some("decline")));
    let (one, two) = tokio::join!(back(), back());
    let plain = |answer: &Value| answer["result"]["structuredContent"]["status"] == "held";
    assert_ne!(plain(&one), plain(&two), "{one} {two}");
    refused_state(
        if plain(&one) { &two } else { &one },
        "used at the same moment",
    );
    assert_eq!(open.state(asked_about(&asked)).await, State::Held);

    let asked = open.call(&pages(), noop(2)).await;
    open.house.later(59 * 60);
    let state = &asked["result"]["requestState"];
    open.approve(asked_about(&asked)).await;
    let answer = open.call(&pages(), again(noop(2), state, None)).await;
    assert_eq!(
        answer["result"]["structuredContent"]["status"], "allowed",
        "{answer}"
    );

    let asked = open.call(&pages(), noop(3)).await;
    open.house.later(60 * 60);
    let state = &asked["result"]["requestState"];
    let answer = open
        .call(&pages(), again(noop(3), state, Some("accept")))
        .await;
    refused_state(&answer, "expired");

    // Nobody decides, and the server goes down: the client keeps its place, and is not shown the
    // page again.
    let asked = open.call(&pages(), noop(4)).await;
    let state = &asked["result"]["requestState"];
    open.shutdown.cancel();
    let answer = open
        .call(&pages(), again(noop(4), state, Some("accept")))
        .await;
    let result = &answer["result"];
    assert_eq!(result["resultType"], "input_required", "{answer}");
    assert!(result.get("inputRequests").is_none(), "{answer}");
    let next = &result["requestState"];
    assert_ne!(next, state);
    let id = asked_about(&asked);
    let pay = &open.house.broker.pay;
    pay.reject(&open.house.approver.who, id, "no chairs")
        .await
        .unwrap();
    let answer = open.call(&pages(), again(noop(4), next, None)).await;
    assert_eq!(
        answer["result"]["structuredContent"]["status"], "rejected",
        "{answer}"
    );
}

#[tokio::test]
async fn a_form_names_what_waits_and_yes_approves_nothing() {
    let open = held_house().await;
    let asked = open.call(&forms(), noop(70_000)).await;
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let params = &asked["result"]["inputRequests"]["approval"]["params"];
    let id = asked_about(&asked);
    assert_eq!(
        (&params["mode"], params.get("url")),
        (&json!("form"), None),
        "{params}"
    );
    let fields = params["requestedSchema"]["properties"].as_object().unwrap();
    let fields: Vec<_> = fields.keys().collect();
    assert_eq!(fields, ["asked"], "nothing that could be an approval");
    let stored = open
        .house
        .broker
        .pay
        .proposal(&open.house.admin.who, id)
        .await;
    let hash = stored.unwrap().proposal.fixed.args_hash.to_string();
    let message = params["message"].as_str().unwrap();
    let page = format!("{ORIGIN}/console/approvals/{id}");
    for part in [hash.as_str(), page.as_str(), "700", "payee"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let state = &asked["result"]["requestState"];
    open.shutdown.cancel();
    let answer = open
        .call(&forms(), again(noop(70_000), state, Some("accept")))
        .await;
    assert_eq!(answer["result"]["resultType"], "input_required", "{answer}");
    assert_eq!(open.state(id).await, State::Held);
}

#[tokio::test]
async fn who_declares_nothing_is_answered_as_ever() {
    let open = held_house().await;
    let agent = &open.house.agent.key;
    let plain = open.call(&json!({}), noop(1)).await;
    let result = &plain["result"];
    assert_eq!(result["structuredContent"]["status"], "held", "{plain}");
    assert_ne!(result["resultType"], "input_required");
    let session = open.session(agent).await;
    let mut params = noop(1);
    params["_meta"] = json!({"io.modelcontextprotocol/clientCapabilities": pages()});
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
    let old = open.in_session(agent, &session, body).await.event();
    assert_eq!(
        old["result"]["structuredContent"]["status"], "held",
        "{old}"
    );
    // What needs nobody is answered at once, whatever the client can do.
    let all = json!({"elicitation": {"url": {}}, "extensions": tasks()["extensions"]});
    let list = json!({"name": "list_proposals", "arguments": {}});
    let listed = open.call(&all, list).await;
    assert!(
        listed["result"]["structuredContent"]["proposals"].is_array(),
        "{listed}"
    );
}

#[tokio::test]
async fn a_task_stands_for_a_held_proposal_until_people_have_decided() {
    let open = held_house().await;
    let (agent, tasks) = (&open.house.agent.key, tasks());
    let discover = open
        .modern(agent, "server/discover", json!({}))
        .await
        .json();
    let told = &discover["result"]["capabilities"]["extensions"];
    assert_eq!(
        told["io.modelcontextprotocol/tasks"],
        json!({}),
        "{discover}"
    );

    let made = open.call(&tasks, noop(70_000)).await;
    let made = &made["result"];
    assert_eq!(
        (&made["resultType"], &made["status"]),
        (&json!("task"), &json!("working")),
        "{made}"
    );
    assert!(made.get("ttlMs").is_some_and(Value::is_null), "{made}");
    let task = &made["taskId"];
    let (_, id) = task.as_str().unwrap().split_once('.').unwrap();
    let id: ProposalId = id.parse().unwrap();
    let seen = open.about(&tasks, "tasks/get", task).await;
    assert_eq!(
        (&seen["result"]["status"], &seen["result"]["resultType"]),
        (&json!("working"), &json!("complete")),
        "{seen}"
    );

    // Only its proposer's, only in the one spelling, and only for who declares it.
    let other = &open.house.other_agent.key;
    for method in ["tasks/get", "tasks/cancel"] {
        let answer = open
            .able(other, &tasks, method, json!({"taskId": task}))
            .await;
        assert_eq!(answer["error"]["code"], -32602, "{method}: {answer}");
    }
    for unknown in ["x", &format!("commit.{id}"), &id.to_string()] {
        let answer = open.about(&tasks, "tasks/get", &json!(unknown)).await;
        assert_eq!(answer["error"]["code"], -32602, "{unknown}: {answer}");
    }
    let answer = open.about(&json!({}), "tasks/get", task).await;
    assert_eq!(answer["error"]["code"], -32021, "{answer}");

    open.approve(id).await;
    let seen = open.about(&tasks, "tasks/get", task).await;
    assert_eq!(seen["result"]["status"], "completed", "{seen}");
    let got = seen["result"]["result"]["structuredContent"].clone();
    let awaited = json!({"name": "await_proposal", "arguments": {"proposal_id": id}});
    let awaited = open.call(&json!({}), awaited).await;
    let awaited = &awaited["result"]["structuredContent"];
    let fields = |body: &Value| {
        body.as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(fields(&got), fields(awaited));
    assert_eq!(
        (&got["state"], &got["proposal_id"]),
        (&json!("allowed"), &json!(id))
    );
    assert!(got["commit_token"].is_string());
    // It is over, so there is nothing to cancel.
    let cancelled = open.about(&tasks, "tasks/cancel", task).await;
    assert_eq!(cancelled["result"]["resultType"], "complete", "{cancelled}");
    assert_eq!(open.state(id).await, State::Allowed);

    // One that is cancelled takes its proposal back.
    let made = open.call(&tasks, noop(70_001)).await;
    let task = &made["result"]["taskId"];
    open.about(&tasks, "tasks/cancel", task).await;
    let seen = open.about(&tasks, "tasks/get", task).await;
    assert_eq!(seen["result"]["status"], "cancelled", "{seen}");
    let pay = &open.house.broker.pay;
    let (_, id) = task.as_str().unwrap().split_once('.').unwrap();
    let late = pay
        .approve(&open.house.approver.who, id.parse().unwrap())
        .await;
    assert_eq!(late.unwrap_err().code(), "wrong_state");
}

#[tokio::test]
async fn a_task_asks_for_the_page_once_and_no_answer_to_it_approves() {
    let open = held_house().await;
    let able = json!({"elicitation": {"url": {}}, "extensions": tasks()["extensions"]});
    let made = open.call(&able, noop(70_000)).await;
    let made = &made["result"];
    assert_eq!(made["status"], "input_required", "{made}");
    let task = &made["taskId"];
    let seen = open.about(&able, "tasks/get", task).await;
    assert_eq!(seen["result"]["status"], "input_required", "{seen}");
    let id = asked_about(&seen);
    let bare = open.about(&tasks(), "tasks/get", task).await;
    assert_eq!(
        bare["result"]["status"], "working",
        "never asks what was not declared: {bare}"
    );
    let agent = &open.house.agent.key;
    for (action, then) in [
        ("decline", "input_required"),
        ("accept", "working"),
        ("accept", "working"),
    ] {
        let answers =
            json!({"approval": {"action": action, "content": {"approved": true}}, "x": {}});
        let update = json!({"taskId": task, "inputResponses": answers});
        let told = open.able(agent, &able, "tasks/update", update).await;
        assert_eq!(told["result"]["resultType"], "complete", "{told}");
        let seen = open.about(&able, "tasks/get", task).await;
        assert_eq!(seen["result"]["status"], then, "{action}: {seen}");
        assert_eq!(open.state(id).await, State::Held);
    }
    let pay = &open.house.broker.pay;
    pay.reject(&open.house.approver.who, id, "no chairs")
        .await
        .unwrap();
    let seen = open.about(&able, "tasks/get", task).await;
    let result = &seen["result"];
    assert_eq!(result["status"], "completed", "{seen}");
    assert_eq!(
        result["result"]["structuredContent"]["state"], "rejected",
        "{seen}"
    );
}

/// A person's client: it opens the page, on which somebody agrees.
#[derive(Clone)]
struct Opener {
    able: ClientCapabilities,
    broker: Broker,
    approver: Principal,
    opened: Arc<AtomicUsize>,
}

impl ClientHandler for Opener {
    fn get_info(&self) -> ClientConfig {
        ClientConfig::new(self.able.clone(), Implementation::new("opener", "0"))
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let ElicitRequestParams::UrlElicitationParams { url, .. } = request else {
            panic!("a page was declared, and a form is asked");
        };
        self.opened.fetch_add(1, Ordering::SeqCst);
        let (_, id) = url.rsplit_once('/').unwrap();
        let approved = self
            .broker
            .pay
            .approve(&self.approver, id.parse().unwrap())
            .await;
        approved.unwrap();
        Ok(ElicitResult::new(ElicitationAction::Accept))
    }
}

#[tokio::test]
async fn a_client_of_the_library_waits_by_page_and_by_task() {
    let open = held_house().await;
    let opened = Arc::new(AtomicUsize::new(0));
    let connect = async |able: Value| {
        let opener = Opener {
            able: serde_json::from_value(able).unwrap(),
            broker: open.house.broker.clone(),
            approver: open.house.approver.who.clone(),
            opened: opened.clone(),
        };
        let config = StreamableHttpClientTransportConfig::with_uri(open.url.clone())
            .auth_header(&open.house.agent.key)
            .reinit_on_expired_session(false);
        let mode = ClientLifecycleMode::Discover {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        };
        let transport = StreamableHttpClientTransport::from_config(config);
        opener.serve_with_lifecycle(transport, mode).await.unwrap()
    };
    let request = |amount| {
        let arguments = noop(amount)["arguments"].as_object().unwrap().clone();
        CallToolRequestParams::new("noop_propose").with_arguments(arguments)
    };
    let client = connect(pages()).await;
    let answer = client.call_tool(request(70_000)).await.unwrap();
    let allowed = answer.structured_content.unwrap();
    assert_eq!(allowed["status"], "allowed", "{allowed}");
    assert!(allowed["commit_token"].is_string());
    assert_eq!(opened.load(Ordering::SeqCst), 1, "shown once");

    let client = connect(tasks()).await;
    let made = client.call_tool_once(request(70_001)).await.unwrap();
    let CallToolResponse::Task(made) = made else {
        panic!("no task: {made:?}");
    };
    let (_, id) = made.task.task_id.split_once('.').unwrap();
    open.approve(id.parse().unwrap()).await;
    let seen = client
        .get_task(GetTaskParams::new(&made.task.task_id))
        .await
        .unwrap();
    let TaskPayload::Completed { result } = seen.task.payload else {
        panic!("not completed: {seen:?}");
    };
    assert_eq!(result["structuredContent"]["state"], "allowed");
}
