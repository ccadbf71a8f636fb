//! A changed policy tried on the past: over REST, on the command line, and on the page of the agent.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::admin;
use super::visitor::Visitor;
use crate::support::server::Server;

async fn proposed(server: &Server, amount: i64, to: &str) -> Value {
    let body = json!({"tool": "transfer_funds", "arguments": {"amount": amount, "to": to}});
    let answer = server.post(&server.agent_key, "/v1/proposals", &body).await;
    answer.unwrap().1
}

async fn tried(server: &Server, policy: Value) -> Value {
    admin(
        server,
        Method::POST,
        "/v1/agents/agent-1/policy/backtest",
        policy,
    )
    .await
}

#[tokio::test]
async fn a_changed_policy_is_tried_on_what_was_proposed_and_nothing_is_changed() {
    let server = Server::start().await;
    let path = "/v1/agents/agent-1/policy";
    let policy = json!({"daily_limit": null, "per_txn_limit": 100_000, "require_approval_above": 50_000,
        "rate_limit": {"max": 0}, "duplicates": {"then": "off"}});
    let policy = admin(&server, Method::PUT, path, policy).await;
    for (amount, expected) in [
        (1_000, "allowed"),
        (2_000, "allowed"),
        (60_000, "held"),
        (200_000, "blocked"),
    ] {
        let told = proposed(&server, amount, &format!("acct_{amount}")).await;
        assert_eq!(told["status"], expected, "{told}");
    }

    let same = tried(&server, json!({})).await;
    assert_eq!(same["proposals"], 4, "{same}");
    assert_eq!(
        (&same["replayed"], &same["different"]),
        (&json!(4), &json!(0)),
        "{same}"
    );
    assert_eq!(same["policy_version"], policy["version"]);

    // A lower threshold holds one that passed, a higher limit holds one that was refused.
    let other = json!({"require_approval_above": 1_500, "per_txn_limit": 500_000});
    let other = tried(&server, other).await;
    assert_eq!(other["different"], 2, "{other}");
    let changes = other["changes"].as_array().unwrap();
    let change = |was: &str, would: &str| {
        let mut found = changes
            .iter()
            .filter(|one| one["was"] == was && one["would"] == would);
        found.next().unwrap_or_else(|| panic!("{other}")).clone()
    };
    let held = change("APPROVED", "HELD");
    assert_eq!(
        held["amounts"],
        json!([{"minor": 2_000, "currency": "INR"}])
    );
    let freed = change("REJECTED", "HELD");
    assert_eq!(
        freed["amounts"],
        json!([{"minor": 200_000, "currency": "INR"}])
    );
    assert_eq!(other["examples"][0]["would"]["reason"], "APPROVAL_REQUIRED");

    // What was spent before each of them is counted as it was: 1,000 and 2,000 fit into 63,000 and
    // so does 60,000; the one that was refused never took any of it.
    let daily = tried(&server, json!({"daily_limit": 62_999})).await;
    assert_eq!(daily["different"], 1, "{daily}");
    assert_eq!(daily["examples"][0]["would"]["reason"], "LIMIT_EXCEEDED");
    let daily = tried(&server, json!({"daily_limit": 63_000})).await;
    assert_eq!(daily["different"], 0, "{daily}");

    // Two of one payee within a minute were no matter; under the changed policy they are.
    proposed(&server, 1_000, "acct_1000").await;
    let twice = tried(
        &server,
        json!({"duplicates": {"then": "hold", "window_secs": 3600}}),
    )
    .await;
    assert_eq!(
        twice["examples"][0]["would"]["reason"], "POSSIBLE_DUPLICATE",
        "{twice}"
    );
    assert_eq!(twice["different"], 1);

    // What nobody asked then is not guessed now.
    let register = tried(&server, json!({"require_verified_entity": true})).await;
    let missed = register["not_replayed"].as_array().unwrap();
    assert_eq!(missed[0]["code"], "register_not_asked", "{register}");
    assert_eq!(missed[0]["count"], 4, "all but the refused one: {register}");
    assert_eq!(register["replayed"], 1);

    let after = admin(&server, Method::GET, path, json!({})).await;
    assert_eq!(after["version"], policy["version"], "nothing is changed");
    let told = server.command(&[
        "policy",
        "backtest",
        "agent-1",
        "{\"require_approval_above\":1500}",
    ]);
    assert!(
        told.contains("5 proposals in 30 days, 5 decided anew, 1 of them otherwise"),
        "{told}"
    );
    assert!(told.contains("APPROVED -> HELD: 1,"), "{told}");

    // Another's proposals are nobody else's, and whoever may not write policies tries none.
    let stranger = server.other_agent("stranger").await;
    let (status, _) = server
        .post(&stranger, "/v1/agents/agent-1/policy/backtest", &json!({}))
        .await
        .unwrap();
    assert_eq!(status, 403);

    let visitor = Visitor::signed_in(&server).await;
    let page = "/console/agents/agent-1";
    let token = visitor.token(page).await;
    let fields = [
        ("token", token.as_str()),
        ("op", "set_policy"),
        ("agent", "agent-1"),
        ("version", "2"),
        ("daily_limit", ""),
        ("per_txn_limit", ""),
        ("require_approval_above", "1500"),
        ("rate_limit.max", "0"),
        ("duplicates.then", "off"),
        ("allowed_tools", ""),
        ("blocked_domains", ""),
        ("op", "backtest_policy"),
    ];
    let shown = visitor.post(page, &fields).await;
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.text);
    assert!(shown.text.contains("id=\"trial\""), "{}", shown.text);
    // No limit for one payment is no limit, not the one in force: 200,000 is held, not refused.
    assert!(
        shown.text.contains("₹\u{a0}2,000.00</bdi></strong>"),
        "{}",
        shown.text
    );
    assert!(
        shown
            .text
            .contains("name=\"require_approval_above\" inputmode=\"numeric\" value=\"1500\"")
    );
    assert!(
        !shown.text.contains("TOOL_NOT_ALLOWED"),
        "no list of tools is no empty list: {}",
        shown.text
    );
    let after = admin(&server, Method::GET, path, json!({})).await;
    assert_eq!(after["version"], policy["version"], "nothing is changed");
}
