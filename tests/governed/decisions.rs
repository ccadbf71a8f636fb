//! The decision table of contract section 10, walked by an MCP client and by `hundi webhook
//! simulate`, against real processes.

use serde_json::{Value, json};

use super::town::{Client, Town, payout};

fn unhurried(mut policy: Value) -> Value {
    if policy.is_object() && policy.get("rate_limit").is_none() {
        policy["rate_limit"] = json!({"max": 0, "window_secs": 60});
    }
    policy
}

async fn proposed(agent: &Client, arguments: Value, more: Value) -> (String, String, Value) {
    let mut request = json!({"arguments": arguments});
    for (name, value) in more.as_object().into_iter().flatten() {
        request[name] = value.clone();
    }
    let answer = agent.ask("create_payout_propose", request).await;
    let status = answer["status"].as_str().unwrap().to_owned();
    let reason = answer["reason"].as_str().unwrap_or("POLICY_OK").to_owned();
    (status, reason, answer)
}

#[tokio::test(flavor = "multi_thread")]
#[rustfmt::skip]
async fn an_mcp_client_walks_the_whole_table() {
    let town = Town::new().await;
    let agent = town.client(&town.server.agent_key).await;
    let vendor = |url: &str| json!({"vendor_url": url, "vendor_name": "Acme Ltd"});
    let fine = vendor("https://acme.example");
    let none = json!({});
    let block = json!({"blocked_domains": ["evil.example"]});
    let allow = json!({"allowed_domains": ["acme.example"]});
    let entity = json!({"require_verified_entity": true});
    let samples = json!({"samples": ["yes, pay 5000", "certainly not under any circumstances"]});
    let cases: Vec<(Value, i64, Value, Value, &str, &str)> = vec![
        // policy                                 amount  notes                                     more          status     reason
        (Value::Null,                               5_000, fine.clone(),                             none.clone(), "blocked", "NO_POLICY"),
        (json!({"valid_until": "2020-01-01T00:00:00Z"}), 5_000, fine.clone(),                        none.clone(), "blocked", "NO_POLICY"),
        (json!({"currency": "USD"}),                5_000, fine.clone(),                             none.clone(), "blocked", "CURRENCY_NOT_ALLOWED"),
        (json!({"per_txn_limit": 5_000}),           5_000, fine.clone(),                             none.clone(), "allowed", "POLICY_OK"),
        (json!({"per_txn_limit": 5_000}),           5_001, fine.clone(),                             none.clone(), "blocked", "TXN_LIMIT_EXCEEDED"),
        (json!({"daily_limit": 5_000}),             5_001, fine.clone(),                             none.clone(), "blocked", "LIMIT_EXCEEDED"),
        (block.clone(),                             5_000, vendor("https://evil.example/x"),         none.clone(), "blocked", "DOMAIN_BLOCKED"),
        (block.clone(),                             5_000, vendor("https://u@PAY.Evil.example.:443/"), none.clone(), "blocked", "DOMAIN_BLOCKED"),
        (block,                                     5_000, fine.clone(),                             none.clone(), "allowed", "POLICY_OK"),
        (allow.clone(),                             5_000, none.clone(),                             none.clone(), "blocked", "DOMAIN_BLOCKED"),
        (allow.clone(),                             5_000, vendor("https://other.example"),          none.clone(), "blocked", "DOMAIN_BLOCKED"),
        (allow,                                     5_000, fine.clone(),                             none.clone(), "allowed", "POLICY_OK"),
        (json!({}),                                 5_000, vendor("http://malware.example"),         none.clone(), "blocked", "RISK_HIGH"),
        (json!({}),                                 5_000, vendor("http://silent.example"),          none.clone(), "held",    "REPUTATION_UNAVAILABLE"),
        (entity.clone(),                            5_000, json!({"vendor_name": "Nobody Ltd"}),     none.clone(), "blocked", "ENTITY_UNVERIFIED"),
        (entity,                                    5_000, fine.clone(),                             none.clone(), "allowed", "POLICY_OK"),
        (json!({}),                                 5_000, fine.clone(),                             samples,      "blocked", "low_integrity"),
        (json!({}),                                 5_000, fine.clone(), json!({"prompt": "Pay Acme Rs 100"}),     "held",    "PROMPT_CONTRADICTED"),
        (json!({"require_approval_above": 5_000}),  5_000, fine.clone(),                             none.clone(), "allowed", "POLICY_OK"),
        (json!({"require_approval_above": 5_000}),  5_001, fine.clone(),                             none.clone(), "held",    "APPROVAL_REQUIRED"),
        (json!({"rate_limit": {"max": 1, "window_secs": 600}}), 5_000, fine.clone(),                 none.clone(), "blocked", "RATE_LIMITED"),
    ];
    for (policy, amount, notes, more, status, reason) in cases {
        town.policy("agent-1", &unhurried(policy.clone())).await;
        if reason == "RATE_LIMITED" {
            proposed(&agent, payout(amount, notes.clone()), json!({})).await;
        }
        let (got_status, got_reason, answer) = proposed(&agent, payout(amount, notes), more).await;
        assert_eq!((got_status.as_str(), got_reason.as_str()), (status, reason), "{policy}: {answer}");
        let threats = answer.to_string().contains("MALWARE");
        assert_eq!(threats, reason == "RISK_HIGH", "{answer}");
        assert_eq!(answer.get("commit_token").is_some(), status == "allowed", "{answer}");
    }
    town.policy("agent-1", &unhurried(json!({}))).await;
    let moves_none = json!({"arguments": {
        "payout_id": "pout_00000000000001", "amount": 5_000, "fund_account_id": "fa_00000000000001",
    }});
    let listed = agent.ask("cancel_payout_propose", moves_none).await;
    assert_eq!(listed["reason"], "TOOL_NOT_ALLOWED");
    town.freeze(true).await;
    assert_eq!(proposed(&agent, payout(5_000, fine.clone()), json!({})).await.1, "frozen");
    town.freeze(false).await;
    assert_eq!(proposed(&agent, payout(5_000, fine), json!({})).await.1, "POLICY_OK");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_thirty_usual_payouts_an_enormous_one_waits_for_people() {
    let town = Town::new().await;
    let agent = town.client(&town.server.agent_key).await;
    town.policy("agent-1", &unhurried(json!({}))).await;
    let notes = json!({"vendor_name": "Acme Ltd"});
    for turn in 0..30 {
        let arguments = payout(9_900 + turn * 10, notes.clone());
        let usual = proposed(&agent, arguments.clone(), json!({})).await;
        assert_eq!(usual.0, "allowed", "{}", usual.2);
        let commit = json!({
            "proposal_id": usual.2["proposal_id"], "commit_token": usual.2["commit_token"],
            "arguments": arguments,
        });
        let paid = agent.ask("create_payout_commit", commit).await;
        assert_eq!(paid["status"], "committed", "{paid}");
    }
    let odd = proposed(&agent, payout(10_000_000, notes.clone()), json!({})).await;
    assert_eq!(
        (odd.0.as_str(), odd.1.as_str()),
        ("held", "ANOMALY_DETECTED"),
        "{}",
        odd.2
    );
    let usual = proposed(&agent, payout(10_500, notes), json!({})).await;
    assert_eq!(usual.0, "allowed", "{}", usual.2);
}

#[tokio::test(flavor = "multi_thread")]
#[rustfmt::skip]
async fn signed_sample_events_walk_the_same_table() {
    let town = Town::new().await;
    let auditor = town.key("auditor").await;
    let cases: Vec<(Value, &str, &[&str], &str, &str)> = vec![
        (json!({}),                               "5000", &[],                                        "APPROVED", "POLICY_OK"),
        (Value::Null,                             "5000", &[],                                        "REJECTED", "NO_POLICY"),
        (json!({"per_txn_limit": 5_000}),         "5001", &[],                                        "REJECTED", "TXN_LIMIT_EXCEEDED"),
        (json!({"daily_limit": 5_000}),           "5001", &[],                                        "REJECTED", "LIMIT_EXCEEDED"),
        (json!({"blocked_domains": ["evil.example"]}), "5000", &["--vendor-url", "http://www.evil.example"], "REJECTED", "DOMAIN_BLOCKED"),
        (json!({"allowed_domains": ["acme.example"]}), "5000", &[],                                   "REJECTED", "DOMAIN_BLOCKED"),
        (json!({}),                               "5000", &["--vendor-url", "http://malware.example"], "REJECTED", "RISK_HIGH"),
        (json!({}),                               "5000", &["--vendor-url", "http://silent.example"], "HELD",     "REPUTATION_UNAVAILABLE"),
        (json!({"require_verified_entity": true}), "5000", &["--vendor-name", "Nobody Ltd"],          "REJECTED", "ENTITY_UNVERIFIED"),
        (json!({"require_approval_above": 5_000}), "5001", &[],                                       "HELD",     "APPROVAL_REQUIRED"),
    ];
    for (policy, amount, more, decision, reason) in cases {
        town.policy("external", &unhurried(policy.clone())).await;
        let mut args = vec!["webhook", "simulate", "--json", "--only", "payout.pending",
                            "--url", &town.server.url, "--key", &auditor, "--amount", amount];
        args.extend(more);
        let told: Value = serde_json::from_str(&town.server.command(&args)).unwrap();
        let first = &told["events"][0];
        assert_eq!((&first["decision"], &first["reason"]), (&json!(decision), &json!(reason)), "{policy}: {first}");
    }
    town.freeze(true).await;
    let args = ["webhook", "simulate", "--json", "--only", "payout.queued", "--url", &town.server.url, "--key", &auditor];
    let told: Value = serde_json::from_str(&town.server.command(&args)).unwrap();
    assert_eq!((&told["events"][0]["decision"], &told["events"][0]["reason"]), (&json!("REJECTED"), &json!("frozen")));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_event_is_answered_and_decided() {
    let town = Town::new().await;
    town.policy("external", &unhurried(json!({}))).await;
    let key = town.server.admin_key.clone();
    let args = [
        "webhook",
        "simulate",
        "--json",
        "--url",
        &town.server.url,
        "--key",
        &key,
    ];
    let told: Value = serde_json::from_str(&town.server.command(&args)).unwrap();
    let rows: Vec<(&str, u64, &str)> = told["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().unwrap_or("nothing");
            (text("case"), row["http"].as_u64().unwrap(), text("reason"))
        })
        .collect();
    let expected = [
        ("waits for approval", 200, "POLICY_OK"),
        ("the same event again", 200, "IDEMPOTENT_SKIP"),
        ("the same payout, another event", 200, "IDEMPOTENT_SKIP"),
        ("waits for balance", 200, "POLICY_OK"),
        ("without notes (`notes: []`)", 200, "POLICY_OK"),
        ("under way", 200, "NOT_WAITING"),
        ("arrived", 200, "NOT_WAITING"),
        ("changed", 200, "NOT_WAITING"),
        ("came back", 200, "NOT_WAITING"),
        ("failed", 200, "NOT_WAITING"),
        ("turned down at the bank", 200, "NOT_WAITING"),
        ("out of order: arrived", 200, "NOT_WAITING"),
        ("out of order: began", 200, "NOT_WAITING"),
        ("the bank is down", 200, "DOWNTIME"),
        ("the bank is up again", 200, "DOWNTIME"),
        ("an event of no concern", 200, "UNSUPPORTED_EVENT"),
        ("not JSON", 200, "PARSE_ERROR"),
        ("forged", 401, "INVALID_SIGNATURE"),
    ];
    assert_eq!(rows, expected);
}
