//! The twelve governance tools through a real MCP client: who sees them, and what they do.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::town::{ASHA, Client, Town, event, payout, signed, until};

const EVERYBODY: [&str; 5] = ["agent", "approver", "auditor", "operator", "admin"];
const READERS: &[&str] = &["approver", "auditor", "operator", "admin"];
const OPERATORS: &[&str] = &["operator", "admin"];

#[rustfmt::skip]
fn table() -> Vec<(&'static str, &'static [&'static str], Value)> {
    vec![
        ("handle_razorpay_webhook", OPERATORS,  json!({"payload": "{}", "signature": "0"})),
        ("poll_razorpay_payouts",   OPERATORS,  json!({})),
        ("check_vendor_reputation", &EVERYBODY, json!({"url": "https://acme.example"})),
        ("verify_vendor_entity",    &EVERYBODY, json!({"vendor_name": "Acme Ltd"})),
        ("score_transaction_risk",  &EVERYBODY, json!({"amount": 5_000, "agent_id": "agent-1"})),
        ("get_agent_risk_profile",  &EVERYBODY, json!({"agent_id": "agent-1"})),
        ("get_agent_budget",        &EVERYBODY, json!({"agent_id": "agent-1"})),
        ("set_agent_policy",        OPERATORS,  json!({"agent_id": "agent-1", "daily_limit": 5_000_000})),
        ("get_audit_log",           &EVERYBODY, json!({"limit": 5})),
        ("handle_slack_action",     OPERATORS,  json!({"body": "x", "timestamp": "1", "signature": "v0=0"})),
        ("health_check",            READERS,    json!({})),
        ("get_metrics",             READERS,    json!({})),
    ]
}

#[tokio::test]
async fn each_is_shown_to_and_called_by_the_roles_it_is_for_and_nobody_else() {
    let town = Town::new().await;
    for role in EVERYBODY {
        let key = match role {
            "agent" => town.server.agent_key.clone(),
            "admin" => town.server.admin_key.clone(),
            role => town.key(role).await,
        };
        let client = town.client(&key).await;
        let listed = client.tools().await;
        for (name, roles, arguments) in table() {
            let tool = listed.iter().find(|tool| tool.name == name);
            let may = roles.contains(&role);
            assert_eq!(tool.is_some(), may, "{name} shown to {role}");
            let (body, error) = client.call(name, arguments).await;
            if !may {
                assert!(error, "{name} by {role}: {body}");
                assert_eq!(body["code"], "forbidden", "{name} by {role}");
                continue;
            }
            assert!(!error, "{name} by {role}: {body}");
            let schema = tool.unwrap().output_schema.clone().unwrap();
            assert!(schema.len() > 1, "{name} says what it answers");
            let schema = jsonschema::draft202012::new(&json!(schema)).unwrap();
            assert!(schema.is_valid(&body), "{name}: {body}");
        }
    }
}

#[tokio::test]
async fn what_an_agent_may_ask_is_about_itself() {
    let town = Town::new().await;
    let other = town.server.other_agent("other").await;
    let client = town.client(&other).await;
    for tool in ["get_agent_budget", "get_agent_risk_profile"] {
        let (body, error) = client.call(tool, json!({"agent_id": "agent-1"})).await;
        assert!(error && body["code"] == "not_found", "{tool}: {body}");
    }
    let agent = town.client(&town.server.agent_key).await;
    agent
        .ask("noop_propose", json!({"arguments": {"amount": 5}}))
        .await;
    let log = async |client: &Client| {
        let told = client.ask("get_audit_log", json!({"limit": 100})).await;
        let records = told["records"].as_array().unwrap().clone();
        let of = records
            .iter()
            .map(|record| record["agent_id"].as_str().unwrap().to_owned());
        let kinds = records
            .iter()
            .map(|record| record["kind"].as_str().unwrap().to_owned());
        (of.collect::<BTreeSet<_>>(), kinds.collect::<BTreeSet<_>>())
    };
    let (about, kinds) = log(&agent).await;
    assert_eq!(about, BTreeSet::from(["agent-1".to_owned()]));
    assert!(kinds.contains("proposed"), "{kinds:?}");
    let (about, kinds) = log(&client).await;
    assert!(
        !about.contains("agent-1") && !kinds.contains("proposed"),
        "{about:?} {kinds:?}"
    );
}

#[tokio::test]
async fn policies_budgets_risk_and_reputation_are_told() {
    let town = Town::new().await;
    let operator = town.client(&town.key("operator").await).await;
    let agent = town.client(&town.server.agent_key).await;
    let policy = json!({
        "agent_id": "agent-1", "daily_limit": 100_000, "per_txn_limit": 50_000,
        "require_approval_above": null,
        "blocked_domains": ["evil.example"], "rate_limit": {"max": 0, "window_secs": 60},
    });
    let set = operator.ask("set_agent_policy", policy).await;
    assert_eq!(
        (&set["status"], &set["policy"]["daily_limit"]),
        (&json!("ok"), &json!(100_000))
    );
    let proposed = agent
        .ask("noop_propose", json!({"arguments": {"amount": 30_000}}))
        .await;
    let budget = agent.ask("get_agent_budget", json!({})).await;
    let part = |name: &str| budget[name].as_i64().unwrap();
    assert_eq!(
        (part("daily_limit"), part("reserved"), part("remaining")),
        (100_000, 30_000, 70_000)
    );
    let profile = agent.ask("get_agent_risk_profile", json!({})).await;
    assert_eq!(profile["total_transactions"], 0, "asking is no history");
    let commit = json!({
        "proposal_id": proposed["proposal_id"], "commit_token": proposed["commit_token"],
        "arguments": {"amount": 30_000},
    });
    agent.ask("noop_commit", commit).await;
    let profile = agent.ask("get_agent_risk_profile", json!({})).await;
    assert_eq!(profile["total_transactions"], 1);
    let risk = agent
        .ask("score_transaction_risk", json!({"amount": 30_000}))
        .await;
    assert_eq!(risk["is_anomalous"], false, "{risk}");

    for (url, safe) in [
        ("https://acme.example", json!(true)),
        ("http://malware.example/x", json!(false)),
        ("http://silent.example", Value::Null),
    ] {
        let told = agent
            .ask("check_vendor_reputation", json!({"url": url}))
            .await;
        assert_eq!(told["safe"], safe, "{told}");
    }
    for (name, verified) in [("Acme Ltd", true), ("Nobody Ltd", false)] {
        let told = agent
            .ask("verify_vendor_entity", json!({"vendor_name": name}))
            .await;
        assert_eq!(told["verified"], verified, "{told}");
    }

    let health = operator.ask("health_check", json!({})).await;
    let names: Vec<&str> = health["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["name"].as_str().unwrap())
        .collect();
    let expected = [
        "store",
        "keys",
        "upstream razorpay",
        "breaker bank",
        "breaker safe-browsing",
        "breaker gleif",
        "channel slack",
        "channel ntfy",
    ];
    assert_eq!(names, expected);
    let ready = town.server.get(&town.server.admin_key, "/readyz").await;
    assert_eq!(
        ready["checks"], health["checks"],
        "both doors tell the same"
    );

    let metrics = operator.ask("get_metrics", json!({})).await;
    let decided = &metrics["metrics"]["hundi_decisions_total"]["samples"];
    assert!(decided.to_string().contains("POLICY_OK"), "{decided}");
    assert!(
        metrics["prometheus_text"]
            .as_str()
            .unwrap()
            .contains("hundi_uptime_seconds")
    );
}

#[tokio::test]
async fn what_the_bank_signed_can_be_handed_on_and_the_bank_be_asked() {
    let town = Town::new().await;
    let operator = town.client(&town.key("operator").await).await;
    let silence = town
        .server
        .http
        .delete(format!("{}/sandbox/webhook", town.server.bank.url));
    silence.send().await.unwrap();
    let made = town
        .bank("/sandbox/payouts", &json!({"amount": 7_000}))
        .await;
    let body = event("payout.pending", &made);
    let hand_on = async |payload: &str, signature: &str, event_id: &str| {
        let arguments = json!({"payload": payload, "signature": signature, "event_id": event_id});
        let told = operator.ask("handle_razorpay_webhook", arguments).await;
        let part = |name: &str| told[name].as_str().unwrap().to_owned();
        (part("received"), part("decision"), part("reason"))
    };
    let told = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
    assert_eq!(
        hand_on(&body, &signed("x"), "e1").await,
        told("forged", "REJECTED", "INVALID_SIGNATURE")
    );
    assert_eq!(
        hand_on(&body, &signed(&body), "e1").await,
        told("accepted", "APPROVED", "POLICY_OK")
    );
    assert_eq!(
        hand_on(&body, &signed(&body), "e1").await,
        told("duplicate", "SKIPPED", "IDEMPOTENT_SKIP")
    );
    assert_eq!(
        hand_on(&body, &signed(&body), "e2").await,
        told("accepted", "SKIPPED", "IDEMPOTENT_SKIP")
    );
    assert_eq!(
        hand_on("{", &signed("{"), "e3").await,
        told("kept", "SKIPPED", "PARSE_ERROR")
    );
    let other = r#"{"event":"payment.captured"}"#;
    assert_eq!(
        hand_on(other, &signed(other), "e4").await,
        told("accepted", "SKIPPED", "UNSUPPORTED_EVENT")
    );
    let id = made["id"].as_str().unwrap();
    until("the approval at the bank", async || {
        (town.at_bank(id).await != "pending").then_some(())
    })
    .await;

    let second = town
        .bank(
            "/sandbox/payouts",
            &json!({"amount": 8_000, "status": "queued"}),
        )
        .await;
    let polled = operator.ask("poll_razorpay_payouts", json!({})).await;
    assert_eq!(polled["payouts_found"], 1, "{polled}");
    assert_eq!(polled["decisions_left_out"], 0, "{polled}");
    assert_eq!(polled["decisions"][0]["payout_id"], second["id"]);
    assert_eq!(polled["decisions"][0]["decision"], "APPROVED");
    assert_eq!(polled["poller_stats"]["running"], false);
}

#[tokio::test]
async fn a_press_that_slack_signed_can_be_handed_on() {
    let town = Town::new().await;
    let operator = town.client(&town.key("operator").await).await;
    let agent = town.client(&town.server.agent_key).await;
    town.policy("agent-1", &json!({"require_approval_above": 1_000}))
        .await;
    let held = json!({"arguments": payout(5_000, json!({}))});
    let held = agent.ask("create_payout_propose", held).await;
    assert_eq!(held["status"], "held", "{held}");
    let hand_on = async |press: &super::town::Press, signature: &str| {
        let arguments = json!({
            "body": press.body, "timestamp": press.timestamp, "signature": signature,
        });
        operator.call("handle_slack_action", arguments).await
    };
    let stranger = town.press("U0MALLORY", "approve", &held).await;
    let (refused, error) = hand_on(&stranger, &stranger.signature).await;
    assert!(error && refused["code"] == "unauthenticated", "{refused}");
    let press = town.press(ASHA, "approve", &held).await;
    let (forged, _) = hand_on(&press, &format!("v0={}", "0".repeat(64))).await;
    assert_eq!(
        (&forged["status"], &forged["reason"]),
        (&json!("refused"), &json!("INVALID_SIGNATURE"))
    );
    let id = json!({"proposal_id": held["proposal_id"]});
    assert_eq!(agent.ask("get_proposal", id.clone()).await["state"], "held");
    let (done, _) = hand_on(&press, &press.signature).await;
    assert_eq!(
        (&done["status"], &done["state"], &done["reviewer"]),
        (&json!("ok"), &json!("allowed"), &json!(ASHA))
    );
    assert!(
        done.get("commit_token").is_none(),
        "the token is the proposer's alone"
    );
    assert!(agent.ask("get_proposal", id).await["commit_token"].is_string());
    let (again, error) = hand_on(&press, &press.signature).await;
    assert!(error && again["code"] == "not_found", "{again}");
}
