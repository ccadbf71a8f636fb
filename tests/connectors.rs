//! Every recorded reply proves exactly what its fixture says, and no connector mistakes doubt for
//! an answer.
//!
//! One file per clear yes, clear no and kind of unclear in `tests/fixtures/<provider>/`. A new
//! connector adds its files, and this test walks them.

use std::fs;
use std::path::PathBuf;

use hundi::connector::registry::{connector_for, tools};
use hundi::connector::{Connector, razorpay};
use hundi::domain::call::{Order, Outcome, Reply, Sighting};
use hundi::domain::canonical::Canonical;
use hundi::domain::money::Effective;
use hundi::domain::schema;
use hundi::domain::tool::Tool;
use serde_json::{Value, json};

fn fixtures(provider: &str) -> Vec<(String, Value)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(provider);
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, serde_json::from_str(&text).unwrap())
        })
        .collect()
}

fn tool(name: &str) -> Tool {
    tools(true)
        .into_iter()
        .find(|tool| tool.name.as_str() == name)
        .unwrap()
}

fn order(tool: &Tool, fixture: &Value) -> Order {
    let args = &fixture["arguments"];
    assert_eq!(schema::validate(tool, args), Ok(()));
    Order {
        proposal: fixture["proposal"].as_str().unwrap().parse().unwrap(),
        tool: tool.name.clone(),
        args: Canonical::of(args),
        effective: tool.effective(args),
    }
}

fn reply(recorded: &Value) -> Reply {
    if let Some(content) = recorded.get("result") {
        return Reply::Result {
            content: content.clone(),
            is_error: recorded["is_error"].as_bool().unwrap(),
        };
    }
    if let Some(error) = recorded.get("rpc_error") {
        return Reply::RpcError {
            code: error["code"].as_i64().unwrap(),
            message: error["message"].as_str().unwrap().to_owned(),
        };
    }
    match recorded["not_sent"].as_str() {
        Some(why) => Reply::NotSent(why.to_owned()),
        None => Reply::Lost(recorded["lost"].as_str().unwrap().to_owned()),
    }
}

fn proved(connector: &dyn Connector, order: &Order, asked: &str, reply: &Reply) -> &'static str {
    if asked == "call" {
        return match connector.outcome(order, reply) {
            Outcome::Executed(receipt) if receipt.reversed => "executed_reversed",
            Outcome::Executed(_) => "executed",
            Outcome::Refused(_) => "refused",
            Outcome::NotSent(_) => "not_sent",
            Outcome::Unknown(_) => "unknown",
        };
    }
    match connector.sighting(order, reply) {
        Sighting::Found(receipt) if receipt.reversed => "found_reversed",
        Sighting::Found(_) => "found",
        Sighting::Absent => "absent",
        Sighting::Refused(_) => "refused",
        Sighting::Unclear(_) => "unclear",
    }
}

#[test]
fn every_recorded_reply_proves_what_its_fixture_says() {
    let fixtures = fixtures("razorpay");
    assert!(fixtures.len() > 80, "only {} fixtures", fixtures.len());
    for (name, fixture) in fixtures {
        let tool = tool(fixture["tool"].as_str().unwrap());
        let order = order(&tool, &fixture);
        let asked = fixture["asked"].as_str().unwrap();
        let told = proved(
            connector_for(&tool).as_ref(),
            &order,
            asked,
            &reply(&fixture["reply"]),
        );
        assert_eq!(told, fixture["proves"], "{name}: {}", fixture["why"]);
    }
}

/// Cutting any one field out of a clear yes must never leave a clear no, and never a yes without
/// what makes it ours.
#[test]
fn a_yes_with_a_hole_is_doubt() {
    let fixture = fixtures("razorpay")
        .into_iter()
        .find_map(|(name, fixture)| (name == "create_yes").then_some(fixture))
        .unwrap();
    let tool = tool("create_payout");
    let order = order(&tool, &fixture);
    let body = fixture["reply"]["result"]["body"].as_object().unwrap();
    for field in body.keys() {
        let mut holed = fixture["reply"].clone();
        let body = holed["result"]["body"].as_object_mut().unwrap();
        body.remove(field);
        let told = proved(
            connector_for(&tool).as_ref(),
            &order,
            "call",
            &reply(&holed),
        );
        let matters = [
            "id",
            "entity",
            "reference_id",
            "amount",
            "currency",
            "fund_account_id",
        ];
        let expected = if matters.contains(&field.as_str()) {
            "unknown"
        } else {
            "executed"
        };
        assert_eq!(told, expected, "without {field}");
    }
}

#[test]
fn a_call_names_the_proposal_and_nothing_the_caller_could_choose() {
    let tool = tool("create_payout");
    let fixture = json!({
        "proposal": "01939c6f-4a00-7000-8000-00000000002a",
        "arguments": {
            "fund_account_id": "fa_00000000000001", "amount": 10_000, "currency": "INR",
            "mode": "IMPS", "purpose": "vendor bill", "narration": "Invoice 42",
        },
    });
    let order = order(&tool, &fixture);
    let connector = connector_for(&tool);
    let call = connector.call(&order).unwrap();
    assert_eq!(
        (&*call.upstream, &*call.tool),
        ("razorpay", "create_payout")
    );
    assert_eq!(
        call.arguments,
        "{\"amount\":10000,\"currency\":\"INR\",\"fund_account_id\":\"fa_00000000000001\",\
         \"idempotency_key\":\"01939c6f-4a00-7000-8000-00000000002a\",\"mode\":\"IMPS\",\
         \"narration\":\"Invoice 42\",\"purpose\":\"vendor bill\",\
         \"reference_id\":\"01939c6f-4a00-7000-8000-00000000002a\"}"
    );
    assert_eq!(
        connector.call(&order).unwrap(),
        call,
        "same bytes every time"
    );
    let enquiry = connector.enquiry(&order).unwrap();
    assert_eq!(enquiry.tool, "find_payouts");
    assert_eq!(
        enquiry.arguments,
        "{\"reference_id\":\"01939c6f-4a00-7000-8000-00000000002a\"}"
    );
}

/// The schema refuses these already; the connector does so again, because an id ends up in a URL.
#[test]
fn an_id_that_could_bend_a_url_makes_no_call() {
    for bad in [
        "../payments/pay_9/capture?x=",
        "pout_0000000000000/",
        "pout_%2e%2e%2f0000000",
        "",
    ] {
        for name in ["approve_payout", "reject_payout", "cancel_payout"] {
            let tool = tool(name);
            let order = Order {
                proposal: "01939c6f-4a00-7000-8000-00000000002a".parse().unwrap(),
                tool: tool.name.clone(),
                args: Canonical::of(&json!({"payout_id": bad, "remarks": "x"})),
                effective: Effective::Nothing,
            };
            let connector = connector_for(&tool);
            assert!(connector.call(&order).is_err(), "{name} {bad}");
            assert_eq!(connector.enquiry(&order), None, "{name} {bad}");
        }
    }
}

#[test]
fn what_may_be_done_about_a_doubt_is_declared() {
    for tool in tools(true) {
        let contract = connector_for(&tool).recovery();
        let asks = tool.name.as_str() != "noop";
        assert_eq!(contract.lookup, asks, "{}", tool.name);
        let expected = if asks {
            Some(7 * 24 * 60 * 60)
        } else {
            contract.replay_secs.filter(|secs| *secs > 0)
        };
        assert_eq!(contract.replay_secs, expected, "{}", tool.name);
    }
}

#[test]
fn news_of_a_payout_is_read_with_empty_notes_and_without_a_reference() {
    let entity = json!({
        "id": "pout_00000000000001", "entity": "payout", "status": "reversed", "amount": 10_000,
        "currency": "INR", "fund_account_id": "fa_00000000000001", "notes": [],
        "reference_id": "01939c6f-4a00-7000-8000-00000000002a",
    });
    let told = razorpay::evidence(&entity).unwrap();
    assert_eq!(
        told.reference.as_deref(),
        Some("01939c6f-4a00-7000-8000-00000000002a")
    );
    assert!(told.receipt.reversed);
    assert_eq!(told.receipt.settled_minor, Some(10_000));
    assert_eq!(
        told.receipt.provider_id.as_deref(),
        Some("pout_00000000000001")
    );

    let mut foreign = entity.clone();
    foreign["reference_id"] = Value::Null;
    assert_eq!(razorpay::evidence(&foreign).unwrap().reference, None);
    for bad in [
        json!(null),
        json!({}),
        json!({"id": "pout_1", "entity": "payout"}),
    ] {
        assert!(razorpay::evidence(&bad).is_err(), "{bad}");
    }
}
