//! The door as an MCP client uses it: list, propose, commit, replay; on every way in.

use std::sync::Arc;
use std::time::Duration;

use hundi::domain::principal::Role;
use hundi::entry::mcp;
use hundi::entry::operations::{Effect, table};
use jsonschema::Validator;
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientConfig, ErrorCode, ProtocolVersion, Tool,
};
use rmcp::service::{NotificationContext, RunningService, ServiceError};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt, RoleClient};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::house::House;
use super::raw_http::{Open, open};

/// A client that hears when the list of tools has changed.
#[derive(Clone, Default)]
struct Listener {
    heard: Arc<Notify>,
}

impl ClientHandler for Listener {
    fn get_info(&self) -> ClientConfig {
        ClientConfig::default()
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.heard.notify_one();
    }
}

type Client = RunningService<RoleClient, Listener>;

const LEGACY: ClientLifecycleMode = ClientLifecycleMode::Initialize;

fn modern() -> ClientLifecycleMode {
    ClientLifecycleMode::Discover {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
    }
}

async fn over_http(open: &Open, key: &str, mode: ClientLifecycleMode) -> Client {
    let config = StreamableHttpClientTransportConfig::with_uri(open.url.clone())
        .auth_header(key)
        .reinit_on_expired_session(false);
    let transport = StreamableHttpClientTransport::from_config(config);
    let client = Listener::default().serve_with_lifecycle(transport, mode);
    client.await.unwrap()
}

/// A client on a pipe to a server of its own, as `hundi mcp` is.
async fn over_pipe(house: &House, mode: ClientLifecycleMode) -> Client {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (read, write) = tokio::io::split(far);
    let serving = mcp::serve(house.broker.clone(), house.agent.who.clone(), read, write);
    tokio::spawn(async move { serving.await.unwrap() });
    let client = Listener::default().serve_with_lifecycle(near, mode);
    client.await.unwrap()
}

async fn call(client: &Client, name: &'static str, arguments: Value) -> CallToolResult {
    tried(client, name, arguments).await.unwrap()
}

async fn tried(
    client: &Client,
    name: &'static str,
    arguments: Value,
) -> Result<CallToolResult, ServiceError> {
    let arguments = arguments.as_object().unwrap().clone();
    let request = CallToolRequestParams::new(name).with_arguments(arguments);
    client.call_tool(request).await
}

/// The structured answer, which the text repeats.
fn said(result: &CallToolResult) -> &Value {
    let structured = result.structured_content.as_ref().unwrap();
    let text = &result.content[0].as_text().unwrap().text;
    assert_eq!(&serde_json::from_str::<Value>(text).unwrap(), structured);
    structured
}

async fn the_whole_story(client: &Client, house: &House) {
    let before = house.far.reached();
    let arguments = json!({"amount": 125_050, "note": "two chairs"});
    let proposed = call(client, "noop_propose", json!({"arguments": arguments})).await;
    let allowed = said(&proposed);
    assert_eq!(allowed["status"], "allowed", "{allowed}");
    assert_eq!(house.far.reached(), before, "propose has no effect");
    let commit = |arguments: &Value| {
        json!({
            "proposal_id": allowed["proposal_id"], "commit_token": allowed["commit_token"],
            "arguments": arguments,
        })
    };
    let other = json!({"amount": 125_051, "note": "two chairs"});
    let refused = call(client, "noop_commit", commit(&other)).await;
    assert_eq!(said(&refused)["reason"], "args_hash_mismatch");
    assert_eq!(refused.is_error, Some(false), "a refusal is an answer");
    assert_eq!(house.far.reached(), before);
    let committed = call(client, "noop_commit", commit(&arguments)).await;
    assert_eq!(
        said(&committed)["status"],
        "committed",
        "{:?}",
        said(&committed)
    );
    assert_eq!(house.far.reached(), before + 1);
    let replayed = call(client, "noop_commit", commit(&arguments)).await;
    assert_eq!(said(&replayed)["reason"], "nonce_replay");
    assert_eq!(said(&replayed)["recovery"], "read_outcome");
    assert_eq!(
        said(&replayed)["original"]["commit_id"],
        said(&committed)["commit_id"]
    );
    assert_eq!(house.far.reached(), before + 1, "once");
    let id = json!({"proposal_id": allowed["proposal_id"]});
    let read = call(client, "get_proposal", id).await;
    assert_eq!(said(&read)["state"], "executed");
    let listed = call(client, "list_proposals", json!({"state": "executed"})).await;
    let listed = said(&listed)["proposals"].as_array().unwrap();
    assert!(
        listed
            .iter()
            .any(|p| p["proposal_id"] == allowed["proposal_id"])
    );
}

#[tokio::test]
async fn propose_commit_replay_on_every_way_in() {
    let open = open().await;
    let key = &open.house.agent.key;
    for client in [
        over_http(&open, key, LEGACY).await,
        over_http(&open, key, modern()).await,
        over_pipe(&open.house, LEGACY).await,
        over_pipe(&open.house, modern()).await,
    ] {
        the_whole_story(&client, &open.house).await;
    }
}

#[tokio::test]
async fn each_role_sees_its_tools_and_every_tool_its_schemas() {
    let open = open().await;
    let house = &open.house;
    for holder in [&house.agent, &house.approver, &house.auditor, &house.admin] {
        let client = over_http(&open, &holder.key, modern()).await;
        let tools = client.list_all_tools().await.unwrap();
        let agent = holder.who.roles.has(Role::Agent);
        for (name, shown) in [
            ("noop", false),
            ("noop_propose", agent),
            ("noop_commit", agent),
            ("create_payout_commit", agent),
            ("look", true),
            ("get_proposal", true),
            ("await_proposal", true),
            ("list_proposals", true),
        ] {
            let seen = tools.iter().any(|tool| tool.name == name);
            assert_eq!(seen, shown, "{name} for {}", holder.who.roles);
        }
        for tool in &tools {
            assert!(input(tool).is_valid(&json!({})) || tool.input_schema.contains_key("required"));
            output(tool);
            assert!(
                tool.description
                    .as_ref()
                    .is_some_and(|text| !text.is_empty())
            );
        }
        if !agent {
            let refused = call(&client, "noop_propose", json!({"arguments": {}})).await;
            assert_eq!(refused.is_error, Some(true));
            assert_eq!(said(&refused)["code"], "forbidden");
        }
    }
}

#[tokio::test]
async fn every_operation_of_this_door_is_a_tool_to_whoever_may_and_says_what_it_does() {
    let open = open().await;
    let house = &open.house;
    for holder in [&house.agent, &house.approver, &house.auditor, &house.admin] {
        let client = over_http(&open, &holder.key, modern()).await;
        let tools = client.list_all_tools().await.unwrap();
        for operation in table() {
            let tool = tools.iter().find(|tool| tool.name == operation.name);
            let shown = operation.mcp && operation.permits(&holder.who);
            assert_eq!(
                tool.is_some(),
                shown,
                "{operation:?} for {}",
                holder.who.roles
            );
            let Some(tool) = tool else { continue };
            assert_eq!(tool.description.as_deref(), Some(operation.summary));
            assert_eq!(
                tool.input_schema["additionalProperties"], false,
                "{operation:?}"
            );
            let hints = tool.annotations.as_ref().unwrap();
            let reads = matches!(operation.effect, Effect::Reads | Effect::Waits);
            assert_eq!(hints.read_only_hint, Some(reads), "{operation:?}");
            let acts = operation.effect == Effect::Acts;
            assert_eq!(hints.destructive_hint, Some(acts), "{operation:?}");
        }
    }
}

fn schema(schema: &serde_json::Map<String, Value>) -> Validator {
    assert_eq!(schema["type"], "object");
    jsonschema::draft202012::new(&Value::Object(schema.clone())).unwrap()
}

fn input(tool: &Tool) -> Validator {
    schema(&tool.input_schema)
}

fn output(tool: &Tool) -> Validator {
    schema(tool.output_schema.as_ref().unwrap())
}

#[tokio::test]
async fn every_answer_fits_the_schema_its_tool_declares() {
    let open = open().await;
    open.house.hold("transfer_funds");
    let client = over_http(&open, &open.house.agent.key, modern()).await;
    let tools = client.list_all_tools().await.unwrap();
    let fits = |name: &str, result: &CallToolResult| {
        let tool = tools.iter().find(|tool| tool.name == name).unwrap();
        let answer = said(result);
        if let Err(error) = output(tool).validate(answer) {
            panic!("{name}: {error}: {answer}");
        }
    };
    let transfer = json!({"arguments": {"amount": 100, "to": "acct_123"}});
    let held = call(&client, "transfer_funds_propose", transfer).await;
    assert_eq!(said(&held)["status"], "held", "{:?}", said(&held));
    fits("transfer_funds_propose", &held);
    let samples = json!({
        "arguments": {"amount": 5}, "prompt": "pay 5",
        "samples": ["yes, five rupees", "entirely other words here 900 times"],
        "idempotency_key": "k",
    });
    let blocked = call(&client, "noop_propose", samples.clone()).await;
    assert_eq!(said(&blocked)["status"], "blocked", "{:?}", said(&blocked));
    fits("noop_propose", &blocked);
    let again = call(&client, "noop_propose", samples).await;
    assert_eq!(said(&again)["replayed"], true);
    fits("noop_propose", &again);
    let allowed = call(&client, "noop_propose", json!({"arguments": {"note": "n"}})).await;
    fits("noop_propose", &allowed);
    let mut commit = json!({
        "proposal_id": said(&allowed)["proposal_id"], "commit_token": "v1.x.y.z",
        "arguments": {"note": "n"},
    });
    let refused = call(&client, "noop_commit", commit.clone()).await;
    assert_eq!(said(&refused)["reason"], "bad_signature");
    fits("noop_commit", &refused);
    commit["commit_token"] = said(&allowed)["commit_token"].clone();
    for _ in 0..2 {
        fits(
            "noop_commit",
            &call(&client, "noop_commit", commit.clone()).await,
        );
    }
    let id = |result: &CallToolResult| json!({"proposal_id": said(result)["proposal_id"]});
    for proposal in [&held, &blocked, &allowed] {
        fits(
            "get_proposal",
            &call(&client, "get_proposal", id(proposal)).await,
        );
    }
    let wait = json!({"proposal_id": said(&held)["proposal_id"], "timeout_secs": 0});
    fits(
        "await_proposal",
        &call(&client, "await_proposal", wait).await,
    );
    fits(
        "cancel_proposal",
        &call(&client, "cancel_proposal", id(&held)).await,
    );
    fits(
        "list_proposals",
        &call(&client, "list_proposals", json!({})).await,
    );
    for (name, wrong) in [
        ("noop_propose", json!({"arguments": {"amount": -1}})),
        ("noop_propose", json!({"arguments": {}, "amount": 1})),
        ("noop_commit", json!({"arguments": {}})),
        (
            "get_proposal",
            json!({"proposal_id": "0190a0a0-0000-7000-8000-000000000000"}),
        ),
        ("list_proposals", json!({"limit": 0})),
        (
            "await_proposal",
            json!({"proposal_id": "x", "timeout_secs": 56}),
        ),
        ("cancel_proposal", json!({})),
        ("look", json!({"id": 1})),
    ] {
        let trouble = call(&client, name, wrong).await;
        assert_eq!(trouble.is_error, Some(true), "{name}");
        let code = said(&trouble)["code"].as_str().unwrap();
        assert!(
            ["invalid_arguments", "not_found"].contains(&code),
            "{name} {code}"
        );
        fits(name, &trouble);
    }
}

#[tokio::test]
async fn what_passes_through_keeps_every_block_of_its_answer() {
    let open = open().await;
    let client = over_http(&open, &open.house.agent.key, modern()).await;
    let looked = call(&client, "look", json!({"id": "1"})).await;
    assert_eq!(looked.is_error, Some(false));
    let texts = looked
        .content
        .iter()
        .map(|block| block.as_text().map(|text| text.text.as_str()));
    assert_eq!(texts.collect::<Vec<_>>(), [Some("one"), None, Some("two")]);
    assert_eq!(looked.content[1].as_image().unwrap().mime_type, "image/png");
    let structured = looked.structured_content.unwrap();
    assert_eq!(structured, json!({"did": "look", "with": {"id": "1"}}));
    let tools = client.list_all_tools().await.unwrap();
    let look = tools.iter().find(|tool| tool.name == "look").unwrap();
    assert!(output(look).is_valid(&structured));
}

#[tokio::test]
async fn a_held_proposal_is_awaited_approved_and_committed() {
    let open = open().await;
    let house = &open.house;
    house.hold("noop");
    let client = over_http(&open, &house.agent.key, LEGACY).await;
    let held = call(&client, "noop_propose", json!({"arguments": {"amount": 5}})).await;
    let id = said(&held)["proposal_id"].clone();
    assert_eq!(said(&held)["status"], "held");
    let waiting = call(
        &client,
        "await_proposal",
        json!({"proposal_id": id, "timeout_secs": 30}),
    );
    let agreeing = async {
        let id = id.as_str().unwrap().parse().unwrap();
        house
            .broker
            .pay
            .approve(&house.approver.who, id)
            .await
            .unwrap()
    };
    let (approved, _) = tokio::join!(waiting, agreeing);
    assert_eq!(said(&approved)["state"], "allowed");
    let commit = json!({
        "proposal_id": id, "commit_token": said(&approved)["commit_token"],
        "arguments": {"amount": 5},
    });
    let committed = call(&client, "noop_commit", commit).await;
    assert_eq!(said(&committed)["status"], "committed");
}

#[tokio::test]
async fn another_agents_proposal_is_as_unknown_as_none() {
    let open = open().await;
    let anna = over_http(&open, &open.house.agent.key, modern()).await;
    let bert = over_http(&open, &open.house.other_agent.key, modern()).await;
    let proposed = call(&anna, "noop_propose", json!({"arguments": {}})).await;
    let foreign = json!({"proposal_id": said(&proposed)["proposal_id"]});
    let never = json!({"proposal_id": "0190a0a0-0000-7000-8000-000000000000"});
    for name in ["get_proposal", "await_proposal", "cancel_proposal"] {
        let (foreign, never) = (
            call(&bert, name, foreign.clone()).await,
            call(&bert, name, never.clone()).await,
        );
        assert_eq!(said(&foreign)["code"], "not_found", "{name}");
        assert_eq!(said(&foreign), said(&never), "{name}");
    }
    let listed = call(&bert, "list_proposals", json!({})).await;
    assert_eq!(said(&listed)["proposals"], json!([]));
}

#[tokio::test]
async fn an_unknown_tool_is_an_error_of_the_protocol() {
    let open = open().await;
    for mode in [LEGACY, modern()] {
        let client = over_http(&open, &open.house.agent.key, mode).await;
        for name in ["noop", "nothing_propose", ""] {
            let refused = tried(&client, name, json!({})).await;
            let Err(ServiceError::McpError(error)) = refused else {
                panic!("{name}: {refused:?}");
            };
            assert_eq!(error.code, ErrorCode::INVALID_PARAMS, "{name}");
        }
    }
}

#[tokio::test]
async fn lists_go_on_page_by_page() {
    let open = open().await;
    let client = over_http(&open, &open.house.agent.key, modern()).await;
    for n in 0..5 {
        call(
            &client,
            "noop_propose",
            json!({"arguments": {"amount": n + 1}}),
        )
        .await;
    }
    let (mut seen, mut cursor) = (Vec::new(), Value::Null);
    loop {
        let page = call(
            &client,
            "list_proposals",
            json!({"limit": 2, "cursor": cursor}),
        )
        .await;
        let page = said(&page);
        for proposal in page["proposals"].as_array().unwrap() {
            seen.push(proposal["arguments"]["amount"].as_i64().unwrap());
        }
        match page.get("next_cursor") {
            Some(next) => cursor = next.clone(),
            None => break,
        }
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);
}

#[tokio::test]
async fn a_changed_catalogue_is_told_to_those_who_listen() {
    let open = open().await;
    let with = (*open
        .house
        .broker
        .tools
        .catalogue()
        .tools(&Default::default()))
    .clone();
    let mut without = with.clone();
    without.remove("look");
    for client in [
        over_http(&open, &open.house.agent.key, LEGACY).await,
        over_pipe(&open.house, LEGACY).await,
    ] {
        let heard = client.service().heard.clone();
        let told = async {
            // The server begins to listen once it has read `initialized`; say it until it hears.
            for tools in [&without, &with].into_iter().cycle() {
                open.house.broker.tools.catalogue().replace(tools.clone());
                let waited = tokio::time::timeout(Duration::from_millis(100), heard.notified());
                if waited.await.is_ok() {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), told)
            .await
            .unwrap();
    }
    let mut tools = (*open
        .house
        .broker
        .tools
        .catalogue()
        .tools(&Default::default()))
    .clone();
    tools.remove("noop");
    open.house.broker.tools.catalogue().replace(tools);
    let client = over_http(&open, &open.house.agent.key, modern()).await;
    let tools = client.list_all_tools().await.unwrap();
    assert!(!tools.iter().any(|tool| tool.name == "noop_propose"));
}

#[tokio::test]
async fn a_caller_who_leaves_neither_undoes_nor_repeats_the_effect() {
    let open = open().await;
    let house = &open.house;
    for mode in [LEGACY, modern()] {
        let client = over_http(&open, &house.agent.key, mode).await;
        let proposed = call(&client, "noop_propose", json!({"arguments": {}})).await;
        let id = said(&proposed)["proposal_id"].clone();
        let commit = json!({
            "proposal_id": id, "commit_token": said(&proposed)["commit_token"], "arguments": {},
        });
        let before = house.far.reached();
        house.far.hold();
        let committing = tokio::spawn({
            let request = CallToolRequestParams::new("noop_commit")
                .with_arguments(commit.as_object().unwrap().clone());
            let peer = client.peer().clone();
            async move { peer.call_tool(request).await }
        });
        while house.far.reached() == before {
            tokio::task::yield_now().await;
        }
        // The client is gone, with its session and its connections, in the middle of the call.
        committing.abort();
        drop(client);
        house.far.answer();
        let other = over_http(&open, &house.agent.key, modern()).await;
        let wait = json!({"proposal_id": id, "timeout_secs": 30});
        let settled = call(&other, "await_proposal", wait).await;
        assert_eq!(said(&settled)["state"], "executed");
        assert_eq!(house.far.reached(), before + 1);
        let replayed = call(&other, "noop_commit", commit).await;
        assert_eq!(said(&replayed)["reason"], "nonce_replay");
        assert_eq!(house.far.reached(), before + 1);
        house.far.release();
    }
}

#[tokio::test]
async fn a_server_that_goes_down_answers_the_commit_under_way() {
    for mode in [LEGACY, modern()] {
        let open = open().await;
        let house = &open.house;
        let client = over_http(&open, &house.agent.key, mode).await;
        let proposed = call(&client, "noop_propose", json!({"arguments": {}})).await;
        house.hold("transfer_funds");
        let transfer = json!({"arguments": {"amount": 100, "to": "acct_123"}});
        let held = call(&client, "transfer_funds_propose", transfer).await;
        let commit = json!({
            "proposal_id": said(&proposed)["proposal_id"],
            "commit_token": said(&proposed)["commit_token"], "arguments": {},
        });
        house.far.hold();
        let committing = call(&client, "noop_commit", commit);
        let waiting = call(
            &client,
            "await_proposal",
            json!({"proposal_id": said(&held)["proposal_id"], "timeout_secs": 55}),
        );
        let going_down = async {
            while house.far.reached() == 0 {
                tokio::task::yield_now().await;
            }
            open.shutdown.cancel();
            tokio::task::yield_now().await;
            house.far.answer();
        };
        let all = async { tokio::join!(committing, waiting, going_down) };
        let soon = tokio::time::timeout(Duration::from_secs(20), all);
        let (committed, waited, ()) = soon.await.expect("nobody is kept waiting");
        assert_eq!(said(&committed)["status"], "committed");
        assert_eq!(said(&waited)["state"], "held");
    }
}
