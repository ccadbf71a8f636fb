//! Organisations before one account of the bank: whose it is, who else may pay from it, and what an
//! admin of another organisation can make of that with rules of its own.

use serde_json::{Value, json};

use super::{Place, get, http, live, post};
use crate::support::server::BankProcess;

/// Everything that an organisation can give its agents, and an agent's key in it.
async fn made(url: &str, boss: &str, org: &str) -> (String, String) {
    let (status, made) = post(&format!("{url}/v1/orgs"), boss, json!({"name": org})).await;
    assert_eq!(status, 201, "{made}");
    let admin = made["admin_key"].as_str().unwrap().to_owned();
    let new = json!({"role": "agent", "name": "robber"});
    let (_, agent) = post(&format!("{url}/v1/keys"), &admin, new).await;
    let wide = json!({"allowed_tools": ["*"], "daily_limit": 90_000_000_i64,
        "per_txn_limit": null, "require_approval_above": null});
    let policy = format!("{url}/v1/agents/robber/policy");
    let (status, set) = http(reqwest::Method::PUT, &policy, &admin, Some(wide)).await;
    assert_eq!(status, 200, "{set}");
    (admin, agent["key"].as_str().unwrap().to_owned())
}

fn arguments(tool: &str) -> Value {
    match tool {
        "create_payout" => json!({
            "fund_account_id": "fa_00000000000001", "amount": 50_000, "currency": "INR",
            "mode": "IMPS", "purpose": "vendor",
        }),
        _ => json!({"payout_id": "pout_00000000000001", "amount": 100,
            "fund_account_id": "fa_00000000000001", "remarks": "fine"}),
    }
}

/// Status and code of a propose.
async fn proposed(url: &str, key: &str, tool: &str) -> (u16, String) {
    let asked = json!({"tool": tool, "arguments": arguments(tool)});
    let (status, told) = post(&format!("{url}/v1/proposals"), key, asked).await;
    // A tool that is not there and one that never was are told alike.
    let (never, same) = post(
        &format!("{url}/v1/proposals"),
        key,
        json!({"tool": "never_was", "arguments": {}}),
    )
    .await;
    let alike = |value: &Value| value.to_string().replace("never_was", tool);
    if status == 404 {
        let strip = |mut value: Value| {
            value.as_object_mut().unwrap().remove("request_id");
            alike(&value)
        };
        assert_eq!((status, strip(told.clone())), (never, strip(same)));
    }
    let code = told["code"].as_str().or(told["status"].as_str());
    (status, code.unwrap_or_default().to_owned())
}

const DECIDING: [&str; 3] = ["approve_payout", "reject_payout", "cancel_payout"];

fn unknown() -> (u16, String) {
    (404, "unknown_tool".to_owned())
}

/// What this key's lists say of the bank.
async fn listed(url: &str, key: &str) -> Vec<String> {
    let (_, told) = get(&format!("{url}/v1/tools"), key).await;
    let tools = told["tools"].as_array().unwrap().iter();
    let names = tools.map(|tool| tool["name"].as_str().unwrap().to_owned());
    names.filter(|name| name.ends_with("_payout")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_rule_of_another_organisation_reaches_the_live_account() {
    let (place, bank) = (Place::new(), BankProcess::start());
    let env = live(&bank);
    let (mut server, url) = place.serve(&env).unwrap();
    let boss = place.boot()["admin_key"].as_str().unwrap().to_owned();
    let (admin, robber) = made(&url, &boss, "acme").await;
    for tool in ["create_payout"].iter().chain(&DECIDING) {
        assert_eq!(proposed(&url, &robber, tool).await, unknown(), "{tool}");
    }
    for key in [&admin, &robber] {
        assert_eq!(listed(&url, key).await, Vec::<String>::new());
    }
    assert_eq!(listed(&url, &boss).await.len(), 4);
    let freeze = json!({"scope": "tool", "id": "create_payout", "reason": "is it there?"});
    let (status, told) = post(&format!("{url}/v1/freeze"), &admin, freeze).await;
    assert_eq!(status, 404, "{told}");
    server.kill();

    // It may pay where the owner of the machine says so, and decides on nothing even then.
    let paying = [&env[..], &[("HUNDI_RAZORPAY_ORGS", "acme")]].concat();
    let (mut server, url) = place.serve(&paying).unwrap();
    let (status, _) = proposed(&url, &robber, "create_payout").await;
    assert_eq!(status, 200);
    for tool in DECIDING {
        assert_eq!(proposed(&url, &robber, tool).await, unknown(), "{tool}");
    }
    assert_eq!(listed(&url, &admin).await, ["create_payout"]);
    server.kill();

    // The account is acme's: then nobody else decides, the machine's own admins included.
    let owned = [&env[..], &[("HUNDI_RAZORPAY_ORG", "acme")]].concat();
    let (mut server, url) = place.serve(&owned).unwrap();
    assert_eq!(listed(&url, &admin).await.len(), 4);
    assert_eq!(listed(&url, &boss).await, Vec::<String>::new());
    server.kill();

    // Misspelt, every payout of others would be turned down for want of a policy.
    for (name, value) in [
        ("HUNDI_RAZORPAY_ORG", "acne"),
        ("HUNDI_RAZORPAY_ORGS", "acme,acne"),
    ] {
        let wrong = [&env[..], &[(name, value)]].concat();
        let said = place.serve(&wrong).err().expect("a start for nobody");
        assert!(said.contains("there is no such organisation"), "{said}");
    }
    assert_eq!(bank.ledger().await, Vec::<Value>::new());
}
