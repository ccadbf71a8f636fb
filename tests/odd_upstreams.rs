//! Upstreams that answer as oddly as real ones do: whatever path an answer takes, it is read alike;
//! what proves nothing gives no money back; what cannot be read is told at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hundi::broker::{Broker, CommitRequest, Committed, ProposeRequest, Settings};
use hundi::domain::call::{Call, Reply};
use hundi::domain::policy::Policy;
use hundi::domain::proposal::{Settled, State};
use hundi::domain::upstream::UpstreamRules;
use hundi::wire::Wire;
use hundi::wire::mcp::{UpstreamSpec, Upstreams};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::support::house::{House, Plan, agent_of};
use crate::support::odd::{LIMIT, Odd, PATIENT, Path, call, receipt};

/// Less than any deadline: what is told within this was not waited out.
const AT_ONCE: Duration = Duration::from_secs(8);

/// What a call is expected to be told.
enum Told {
    Says(Value),
    /// The same, and all these blocks.
    Blocks(Value, Value),
    IsError(Value),
    Rpc(i64),
    TooLarge,
    Lost(&'static str),
}

use Told::{Blocks, IsError, Lost, Rpc, Says, TooLarge};

#[rustfmt::skip]
fn answers() -> Vec<(&'static str, Told)> {
    let text = |text: &str| json!({"type": "text", "text": text});
    let paid = text(r#"{"id": "x1", "amount": 500}"#);
    let image = json!({"type": "image", "data": "AAAA", "mimeType": "image/png"});
    let mixed = json!([text("see"), image, text("and more")]);
    let objects = json!([text(r#"{"id":"x1"}"#), text(r#"{"id":"x2"}"#)]);
    let widget = json!([{"type": "widget", "foo": 1}]);
    vec![
        ("plain",               Says(receipt())),
        ("two_texts",           Blocks(receipt(), json!([text("Payment sent."), paid]))),
        ("two_objects",         Blocks(objects.clone(), objects)),
        ("mixed",               Blocks(mixed.clone(), mixed)),
        ("unknown_block",       Blocks(widget.clone(), widget)),
        ("structured_and_text", Blocks(json!({"id": "x1"}), json!([text("ok")]))),
        ("structured_only",     Says(json!({"id": "x1"}))),
        ("content_null",        Says(json!({"id": "x1"}))),
        ("is_error",            IsError(json!("boom"))),
        ("id_as_text",          Says(receipt())),
        ("id_as_float",         Says(receipt())),
        ("error_null",          Says(receipt())),
        ("result_null",         Rpc(-32000)),
        ("result_and_error",    Lost("a result and an error")),
        ("neither",             Lost("neither a result nor an error")),
        ("no_content",          Lost("no tool result")),
        ("asks_first",          Lost("input_required")),
        ("extra_member",        Says(receipt())),
        ("no_jsonrpc",          Says(receipt())),
        ("half_surrogate",      Says(json!("bad \u{fffd} end"))),
        ("long_integer",        Says(json!({"id": "12345678901234567890123", "n": 9_007_199_254_740_993_i64}))),
        ("huge_number",         Says(json!({"p": "1e400"}))),
        ("not_a_number",        Lost("cannot be read|can be read")),
        ("error_without_id",    Lost("without an id")),
        ("error_of_nobody",     Lost("without an id")),
        ("worded_code",       Rpc(0)),
        ("no_words",            Rpc(-32000)),
        ("batch",               Says(receipt())),
        ("byte_order_mark",     Says(receipt())),
        ("several_lines",       Says(receipt())),
        ("noise",               Says(receipt())),
        ("large",               Says(json!("x".repeat(200_000)))),
        ("too_large",           TooLarge),
        ("too_large_id_last",   TooLarge),
        // Our own refusal of a question in mid-call, which the server hands back as its error.
        ("question_passed_on",  Rpc(-32601)),
        ("code_m32602",         Rpc(-32602)),
        ("code_m32601",         Rpc(-32601)),
    ]
}

#[tokio::test]
async fn every_answer_is_read_alike_on_every_path_and_at_once() {
    let odd = Odd::new();
    let mut wrong = Vec::new();
    for path in Path::ALL {
        let child = (path == Path::Stdio).then(|| Upstreams::new(vec![odd.spec(path)]));
        for (tool, told) in answers() {
            let begun;
            let heard = match &child {
                Some(child) => {
                    begun = Instant::now();
                    call(child, tool).await
                }
                None => {
                    let wire = odd.wire(path).await;
                    begun = Instant::now();
                    call(&wire, tool).await
                }
            };
            let took = begun.elapsed();
            let result = |content: &Value, is_error| Reply::Result {
                content: content.clone(),
                is_error,
            };
            let right = match &told {
                Says(content) => heard.reply == result(content, false) && heard.unsaid().is_null(),
                Blocks(content, blocks) => {
                    heard.reply == result(content, false) && heard.blocks == *blocks
                }
                IsError(content) => heard.reply == result(content, true),
                Rpc(expected) => {
                    matches!(&heard.reply, Reply::RpcError { code, .. } if code == expected)
                }
                TooLarge => heard.reply == Reply::TooLarge { limit: LIMIT },
                Lost(words) => {
                    let why = heard.reply.why();
                    matches!(heard.reply, Reply::Lost(_))
                        && words.split('|').any(|words| why.contains(words))
                }
            };
            if !right || took > AT_ONCE {
                let shown: String = format!("{:?}", heard.reply).chars().take(200).collect();
                wrong.push(format!("{path:?} {tool} after {took:?}: {shown}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let times = |tool: &str| odd.effects().iter().filter(|name| *name == tool).count();
    for (tool, _) in answers().into_iter().filter(|(tool, _)| *tool != "plain") {
        assert_eq!(
            times(tool),
            Path::ALL.len(),
            "{tool} was sent once on each path"
        );
    }
}

#[tokio::test]
#[rustfmt::skip]
async fn a_status_proves_that_nothing_was_done_or_proves_nothing() {
    let odd = Odd::new();
    for path in Path::HTTP {
        for status in [400, 401, 403, 404, 405, 413, 415, 402, 408, 409, 410, 422, 425, 429, 500, 502, 503, 504] {
            let wire = odd.wire(path).await;
            let begun = Instant::now();
            let reply = call(&wire, &format!("status_{status}")).await.reply;
            let proves = matches!(status, 400 | 401 | 403 | 404 | 405 | 413 | 415);
            match &reply {
                Reply::TurnedAway { status: told, words } if proves => {
                    assert_eq!((*told, words.as_str()), (status, "<html>sorry</html>"), "{path:?}");
                }
                Reply::Lost(why) if !proves => assert!(why.contains(&status.to_string()), "{path:?} {why}"),
                _ => panic!("{path:?} {status}: {reply:?}"),
            }
            assert!(begun.elapsed() < AT_ONCE, "{path:?} {status}");
        }
    }
    assert!(odd.effects().iter().all(|tool| tool == "plain"));
}

#[tokio::test]
async fn what_http_alone_can_say_is_read_or_told_at_once() {
    let odd = Odd::new();
    for path in [Path::JsonByLibrary, Path::JsonDirect] {
        for tool in ["gzip", "deflate", "upper_case", "as_text", "no_type"] {
            let reply = call(&odd.wire(path).await, tool).await.reply;
            let content = receipt();
            let is_error = false;
            assert_eq!(
                reply,
                Reply::Result { content, is_error },
                "{path:?} {tool}"
            );
        }
        for tool in ["page", "empty", "no_content_204", "accepted", "broken_off"] {
            let wire = odd.wire(path).await;
            // Lists are asked for first, as in use: by then it is known whether it has a stream.
            wire.offered("odd", PATIENT).await.unwrap();
            let begun = Instant::now();
            let reply = call(&wire, tool).await.reply;
            assert!(
                matches!(reply, Reply::Lost(_)),
                "{path:?} {tool}: {reply:?}"
            );
            assert!(begun.elapsed() < AT_ONCE, "{path:?} {tool}");
        }
    }
}

#[tokio::test]
async fn a_forgotten_session_is_begun_anew_and_the_call_is_made_once() {
    let dialects = [
        "404",
        "404_text_id",
        "404_no_id",
        "400_no_id",
        "400_text_id",
        "400_words",
        "404_words",
        "404_empty",
        "410",
    ];
    for path in [Path::JsonByLibrary, Path::JsonDirect] {
        let odd = Odd::new();
        for dialect in dialects {
            let wire = odd.wire(path).await;
            let tool = format!("forgotten_{dialect}");
            let reply = call(&wire, &tool).await.reply;
            let content = receipt();
            let is_error = false;
            assert_eq!(
                reply,
                Reply::Result { content, is_error },
                "{path:?} {dialect}"
            );
            let effects = odd.effects();
            let effects = effects.iter().filter(|name| **name == tool);
            assert_eq!(effects.count(), 1, "{path:?} {dialect}");
        }
    }
}

#[tokio::test]
async fn a_late_answer_goes_to_whoever_minds() {
    let odd = Odd::new();
    for path in Path::ALL {
        let wire = odd.wire(path).await;
        if path == Path::Stdio {
            call(&wire, "plain").await;
        }
        let arguments = json!({"amount": 500, "seconds": 1});
        let (late, heard) = oneshot::channel();
        let slow = Call::new("odd", "late", &arguments);
        let reply = wire
            .send_and_mind(&slow, Duration::from_millis(300), late)
            .await;
        assert!(matches!(reply.reply, Reply::Lost(_)), "{path:?}: {reply:?}");
        // Others are served meanwhile, in this conversation or a new one.
        assert_eq!(call(&wire, "plain").await.reply.why(), "", "{path:?}");
        let heard = tokio::time::timeout(PATIENT, heard).await.unwrap().unwrap();
        let content = receipt();
        let is_error = false;
        assert_eq!(heard.reply, Reply::Result { content, is_error }, "{path:?}");
    }
}

#[tokio::test]
async fn headers_and_a_query_reach_the_server_and_are_not_told() {
    let odd = Odd::new();
    let header = |value: &str| vec![("x-tenant".to_owned(), value.to_owned())];
    let ways = [
        ("json/headers/mcp", header("t1"), true),
        ("json/headers/mcp", header("t2"), false),
        ("json/query/mcp?key=k1", Vec::new(), true),
        ("json/query/mcp?key=sekrit-k2", Vec::new(), false),
    ];
    for (rest, headers, let_in) in ways {
        let wire = Upstreams::new(vec![odd.http(rest, headers)]);
        let called = Call::new("odd", "plain", &json!({}));
        let reply = wire.send(&called, Duration::from_secs(2)).await;
        assert_eq!(
            matches!(reply, Reply::Result { .. }),
            let_in,
            "{rest}: {reply:?}"
        );
        assert!(
            !format!("{reply:?}{:?}", wire.health()).contains("sekrit"),
            "{reply:?}"
        );
    }
}

#[tokio::test]
async fn a_start_outlives_the_caller_that_gave_up_on_it() {
    let odd = Odd::new();
    let mut env = odd.env();
    env.push(("ODD_SLOW".to_owned(), "1.5".to_owned()));
    let slow = UpstreamSpec::stdio(
        "odd",
        "python3",
        [
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/odd_upstream.py"),
            "stdio",
        ],
        env,
    );
    let wire = Upstreams::new(vec![slow]);
    let plain = Call::new("odd", "plain", &json!({"amount": 500}));
    for _ in 0..2 {
        let reply = wire.send(&plain, Duration::from_millis(300)).await;
        assert!(matches!(reply, Reply::NotSent(_)), "{reply:?}");
        // Somebody who does not even wait for that.
        let dropped = tokio::time::timeout(Duration::from_millis(50), wire.send(&plain, PATIENT));
        assert!(dropped.await.is_err());
    }
    assert_eq!(call(&wire, "plain").await.reply.why(), "");
    assert_eq!(odd.starts(), 1, "one start served them all");
    assert!(wire.health()[0].ok);
}

/// A broker with this upstream, whose tools are all accepted and move money.
async fn house(spec: UpstreamSpec, rule: &Value, settings: Settings) -> House {
    let tools = Upstreams::new(vec![spec.clone()]);
    let tools = tools.offered("odd", PATIENT).await.unwrap();
    let rule = |tool: String| {
        let mut rule = rule.clone();
        rule["money"] = json!({"amounts": ["amount"], "always": true});
        (tool, rule)
    };
    let rules: serde_json::Map<String, Value> =
        tools.into_iter().map(|tool| rule(tool.name)).collect();
    let rules = json!({"trust_on_first_use": true, "tools": rules});
    let rules: UpstreamRules = serde_json::from_value(rules).unwrap();
    let plan = Plan {
        wire: Some(Arc::new(Upstreams::new(vec![spec]))),
        settings: Settings {
            upstreams: BTreeMap::from([("odd".to_owned(), rules)]),
            ..settings
        },
        ..Plan::default()
    };
    let house = House::with(plan).await;
    house.broker.tools.tend_tools().await.unwrap();
    house
}

/// Gives the agent a daily limit of 500 and every tool.
async fn allow(house: &House, agent: &str) {
    let policy = json!({"daily_limit": 500, "allowed_tools": ["*"]});
    let policy: Policy = serde_json::from_value(policy).unwrap();
    house.policy(agent, &policy).await;
}

async fn pay(broker: &Broker, agent: &str, tool: &str, more: Value) -> Committed {
    let mut arguments = json!({"amount": 500});
    if let Value::Object(more) = more {
        arguments.as_object_mut().unwrap().extend(more);
    }
    let request = ProposeRequest {
        tool: tool.to_owned(),
        arguments: arguments.clone(),
        ..ProposeRequest::default()
    };
    let who = agent_of(agent);
    let proposed = broker.pay.propose(&who, request).await.unwrap();
    let token = proposed
        .token
        .unwrap_or_else(|| panic!("{tool}: {:?}", proposed.proposal.fixed));
    let request = CommitRequest {
        tool: None,
        proposal_id: proposed.proposal.fixed.id.to_string(),
        commit_token: token.text,
        arguments,
    };
    broker.pay.commit(&who, request).await.unwrap()
}

/// The state and, where it failed, the provider's code.
fn ended(committed: &Committed) -> (State, Option<String>) {
    match committed {
        Committed::Settled(proposal) | Committed::InDoubt(proposal) => {
            let code = match proposal.outcome() {
                Some(Settled::Refused(error)) => Some(error.code.clone()),
                Some(Settled::Undone { cause, .. }) => Some(cause.code().to_owned()),
                Some(Settled::Executed(_)) | None => None,
            };
            (proposal.state, code)
        }
        Committed::Refused { refusal, .. } => panic!("{refusal:?}"),
    }
}

#[tokio::test]
#[rustfmt::skip]
async fn no_error_code_gives_the_budget_back_unless_the_operator_says_so() {
    let odd = Odd::new();
    let codes = ["m32700", "m32603", "m32602", "m32601", "m32600", "m32042", "m32002", "m32001", "m32000", "0", "500"];
    let tools = codes.map(|code| format!("code_{code}"));
    let tools = tools.iter().map(String::as_str).chain(["question_passed_on", "too_large", "status_502"]);
    let tools: Vec<&str> = tools.collect();
    for path in [Path::Stdio, Path::JsonDirect, Path::StreamDirect] {
        let house = house(odd.spec(path), &json!({}), Settings::default()).await;
        for tool in tools.iter().filter(|tool| path != Path::Stdio || **tool != "status_502") {
            let agent = tool.replace('_', "-");
            allow(&house, &agent).await;
            let committed = pay(&house.broker, &agent, tool, json!({})).await;
            assert_eq!(ended(&committed), (State::InDoubt, None), "{path:?} {tool}");
            let budget = house.broker.pay.budget(&agent_of(&agent), &agent.parse().unwrap()).await.unwrap();
            assert_eq!(budget.remaining, Some(0), "{path:?} {tool}");
        }
        // A request that was turned away before anything began gives it back.
        if path != Path::Stdio {
            for (tool, code) in [("status_401", "http_401"), ("status_404", "http_404")] {
                let agent = tool.replace('_', "-");
                allow(&house, &agent).await;
                let committed = pay(&house.broker, &agent, tool, json!({})).await;
                assert_eq!(ended(&committed), (State::Failed, Some(code.to_owned())), "{path:?}");
                let budget = house.broker.pay.budget(&agent_of(&agent), &agent.parse().unwrap()).await.unwrap();
                assert_eq!(budget.remaining, Some(500), "{path:?} {tool}");
            }
        }
    }
    let rule = json!({"errors_are_final": true});
    let house = house(odd.spec(Path::Stdio), &rule, Settings::default()).await;
    for tool in ["code_m32602", "code_500"] {
        let agent = tool.replace('_', "-");
        allow(&house, &agent).await;
        let committed = pay(&house.broker, &agent, tool, json!({})).await;
        assert_eq!(ended(&committed), (State::Failed, Some("upstream_error".to_owned())), "{tool}");
    }
}

#[tokio::test]
async fn all_that_an_upstream_said_is_kept_with_the_commit() {
    let odd = Odd::new();
    let house = house(odd.spec(Path::Stdio), &json!({}), Settings::default()).await;
    allow(&house, "a").await;
    let committed = pay(&house.broker, "a", "two_texts", json!({})).await;
    let told = hundi::entry::shapes::committed(&committed);
    assert_eq!(told["result"], receipt());
    assert_eq!(told["content"][0]["text"], "Payment sent.");
    assert_eq!(told["content"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_late_answer_ends_the_doubt() {
    let odd = Odd::new();
    let settings = || Settings {
        call_deadline: Duration::from_millis(400),
        ..Settings::default()
    };
    let rule = json!({"error_final": "no such account"});
    for path in [Path::Stdio, Path::JsonDirect] {
        let house = house(odd.spec(path), &rule, settings()).await;
        for (tool, state) in [("late", State::Executed), ("late_no", State::Failed)] {
            let agent = tool.replace('_', "-");
            allow(&house, &agent).await;
            let slow = json!({"seconds": 1});
            let Committed::InDoubt(proposal) = pay(&house.broker, &agent, tool, slow).await else {
                panic!("{path:?} {tool}: its deadline passed");
            };
            let (who, id) = (agent_of(&agent), proposal.fixed.id);
            let until = Instant::now() + PATIENT;
            let mut seen = State::InDoubt;
            while seen == State::InDoubt && Instant::now() < until {
                tokio::task::yield_now().await;
                seen = house.store.proposal(id).await.unwrap().unwrap().state;
            }
            assert_eq!(seen, state, "{path:?} {tool} {who:?}");
        }
    }
}

#[tokio::test]
async fn an_upstream_may_be_given_longer_than_a_lease_lasts() {
    let odd = Odd::new();
    let settings = Settings {
        call_deadline: Duration::from_millis(400),
        call_deadlines: BTreeMap::from([("odd".to_owned(), PATIENT)]),
        ..Settings::default()
    };
    let house = house(odd.spec(Path::Stdio), &json!({}), settings).await;
    allow(&house, "a").await;
    let committed = pay(&house.broker, "a", "late", json!({"seconds": 2})).await;
    assert_eq!(ended(&committed).0, State::Executed);
    let Committed::Settled(proposal) = committed else {
        panic!("not settled");
    };
    assert!(
        proposal.execution.unwrap().attempts <= 1,
        "kept, not taken over"
    );
}
