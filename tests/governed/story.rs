//! One payout from hold to reversal, told by people and by the bank, in order and in disorder; and
//! the log that proves it.

use std::process::Command;

use serde_json::{Value, json};

use super::town::{ASHA, Client, Town, payout, until};

/// Held, approved by a press, committed: the executed proposal, and the bank's id of its payout.
async fn executed(town: &Town, agent: &Client, amount: i64) -> (String, String) {
    let arguments = payout(amount, json!({"vendor_name": "Acme Ltd"}));
    let held = agent
        .ask("create_payout_propose", json!({"arguments": arguments}))
        .await;
    assert_eq!(
        (&held["status"], &held["reason"]),
        (&json!("held"), &json!("APPROVAL_REQUIRED"))
    );
    let id = held["proposal_id"].as_str().unwrap().to_owned();
    let press = town.press(ASHA, "approve", &held).await;
    assert_eq!(town.send_press(&press).await, 200);
    let waited = json!({"proposal_id": id, "timeout_secs": 20});
    let allowed = agent.ask("await_proposal", waited).await;
    assert_eq!(allowed["state"], "allowed", "{allowed}");
    let committed = agent
        .ask(
            "create_payout_commit",
            json!({
                "proposal_id": id, "commit_token": allowed["commit_token"], "arguments": arguments,
            }),
        )
        .await;
    assert_eq!(committed["outcome"], "executed", "{committed}");
    (id, committed["result"]["id"].as_str().unwrap().to_owned())
}

async fn in_state(agent: &Client, id: &str, state: &str) -> Value {
    until(state, async || {
        let seen = agent.ask("get_proposal", json!({"proposal_id": id})).await;
        (seen["state"] == state).then_some(seen)
    })
    .await
}

async fn has_arrived(agent: &Client, id: &str) {
    until("the news that it arrived", async || {
        let seen = agent.ask("get_proposal", json!({"proposal_id": id})).await;
        (seen["commit"]["result"]["status"] == "processed").then_some(())
    })
    .await;
}

async fn budget(agent: &Client) -> (i64, i64) {
    let view = agent.ask("get_agent_budget", json!({})).await;
    (
        view["reserved"].as_i64().unwrap(),
        view["posted"].as_i64().unwrap(),
    )
}

async fn reverse(town: &Town, payout: &str) {
    let path = format!("/sandbox/payouts/{payout}/state");
    town.bank(&path, &json!({"status": "reversed"})).await;
}

async fn policies(town: &Town) {
    let policy = json!({
        "require_approval_above": 1_000, "daily_limit": 1_000_000,
        "rate_limit": {"max": 0, "window_secs": 60},
    });
    town.policy("agent-1", &policy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn held_approved_by_a_press_executed_processed_reversed_and_provable() {
    let town = Town::new().await;
    policies(&town).await;
    let agent = town.client(&town.server.agent_key).await;
    let (id, payout) = executed(&town, &agent, 5_000).await;
    assert!(town.told_in_slack().contains("approved by Asha"));
    assert_eq!(budget(&agent).await, (0, 5_000));
    has_arrived(&agent, &id).await;
    reverse(&town, &payout).await;
    in_state(&agent, &id, "reversed").await;
    assert_eq!(
        budget(&agent).await,
        (0, 0),
        "the money is back, and so is the budget"
    );

    let kinds: Vec<String> = town
        .records(&format!("proposal={id}"))
        .await
        .iter()
        .map(|record| record["kind"].as_str().unwrap().to_owned())
        .collect();
    let story = [
        "proposed", "approved", "renewed", "claimed", "executed", "arrived", "reversed",
    ];
    for kind in story {
        assert!(kinds.iter().any(|seen| seen == kind), "{kind} in {kinds:?}");
    }
    verifies_until_a_byte_is_changed(&town).await;
}

/// The log of the whole town: it verifies offline, and one changed byte is found and named.
async fn verifies_until_a_byte_is_changed(town: &Town) {
    let file = town.server.dir.path().join("export.jsonl");
    let path = file.to_str().unwrap();
    let verify = || {
        let ran = Command::new(env!("CARGO_BIN_EXE_hundi"))
            .args(["audit", "verify", path])
            .env_clear()
            .output()
            .unwrap();
        let told = [ran.stdout, ran.stderr].concat();
        (
            ran.status.success(),
            String::from_utf8_lossy(&told).into_owned(),
        )
    };
    // Sealed within a second.
    until("a sealed log", async || {
        let export = town.server.command(&["audit", "export"]);
        std::fs::write(&file, export).unwrap();
        verify().0.then_some(())
    })
    .await;
    let text = std::fs::read_to_string(&file).unwrap();
    let (at, _) = text.match_indices("APPROVAL_REQUIRED").next().unwrap();
    let line = text[..at].lines().count();
    let mut bytes = text.into_bytes();
    bytes[at] = b'B';
    std::fs::write(&file, bytes).unwrap();
    let (ok, told) = verify();
    assert!(!ok, "{told}");
    assert!(
        told.contains(&line.to_string()),
        "line or record {line} is named: {told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_when_the_bank_repeats_itself_and_is_late() {
    let town = Town::new().await;
    policies(&town).await;
    let slow = |delay_ms: u64, probability: f64| {
        json!({"kind": "slow", "operation": "webhook", "delay_ms": delay_ms,
               "probability": probability})
    };
    let twice = json!({"kind": "duplicate", "operation": "webhook", "probability": 0.7});
    town.server
        .bank
        .arm(json!([twice, slow(400, 0.5), slow(150, 0.5)]))
        .await;
    let agent = town.client(&town.server.agent_key).await;
    let mut paid = Vec::new();
    for amount in [2_000, 3_000, 4_000] {
        paid.push(executed(&town, &agent, amount).await);
    }
    for (id, _) in &paid {
        has_arrived(&agent, id).await;
    }
    for (_, payout) in &paid[1..] {
        reverse(&town, payout).await;
    }
    for (id, payout) in &paid[1..] {
        in_state(&agent, id, "reversed").await;
        let records = town.records(&format!("proposal={id}")).await;
        let count = |kind: &str| {
            records
                .iter()
                .filter(|record| record["kind"] == kind)
                .count()
        };
        assert_eq!(
            (count("executed"), count("arrived"), count("reversed")),
            (1, 1, 1),
            "{payout}"
        );
    }
    assert_eq!(budget(&agent).await, (0, 2_000));
    let ledger = town.server.bank.paid().await;
    assert_eq!(
        ledger.len(),
        3,
        "three payouts, whatever was told how often"
    );
    let external = town
        .server
        .get(&town.server.admin_key, "/v1/proposals?agent=external")
        .await;
    assert_eq!(
        external["proposals"],
        json!([]),
        "our own are not governed as foreign"
    );
    verifies_until_a_byte_is_changed(&town).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn payouts_made_at_the_bank_are_decided_there_and_asked_in_slack_when_held() {
    let town = Town::new().await;
    let policy = json!({
        "require_approval_above": 5_000, "per_txn_limit": 10_000,
        "rate_limit": {"max": 0, "window_secs": 60},
    });
    town.policy("external", &policy).await;
    let make = async |amount: i64, status: &str| {
        let made = town
            .bank(
                "/sandbox/payouts",
                &json!({"amount": amount, "status": status}),
            )
            .await;
        made["id"].as_str().unwrap().to_owned()
    };
    let becomes = async |id: &str, states: &[&str]| {
        until("its state at the bank", async || {
            states
                .contains(&town.at_bank(id).await.as_str())
                .then_some(())
        })
        .await;
    };
    let under_way = ["processing", "processed"];
    becomes(&make(4_000, "pending").await, &under_way).await;
    becomes(&make(10_001, "pending").await, &["rejected"]).await;
    becomes(&make(10_001, "queued").await, &["cancelled"]).await;
    let held = make(6_000, "pending").await;
    let asked = until("the hold", async || {
        let path = "/v1/proposals?agent=external&state=held";
        let body = town.server.get(&town.server.admin_key, path).await;
        body["proposals"].as_array().unwrap().first().cloned()
    })
    .await;
    let press = town.press(ASHA, "approve", &asked).await;
    assert_eq!(town.at_bank(&held).await, "pending");
    assert_eq!(town.send_press(&press).await, 200);
    becomes(&held, &under_way).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_has_gone_home_is_paid_out_when_people_agree() {
    let town = Town::new().await;
    let policy = json!({"require_approval_above": 1_000, "execute_on_approval": true});
    town.policy("agent-1", &policy).await;
    let agent = town.client(&town.server.agent_key).await;
    let arguments = json!({"arguments": payout(5_000, json!({}))});
    let held = agent.ask("create_payout_propose", arguments).await;
    let press = town.press(ASHA, "approve", &held).await;
    assert_eq!(town.send_press(&press).await, 200);
    let id = held["proposal_id"].as_str().unwrap();
    in_state(&agent, id, "executed").await;
    assert_eq!(town.server.bank.paid().await, [id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_webhooks_the_bank_is_asked() {
    let poll = [
        ("HUNDI_AUTO_POLL", "true"),
        ("HUNDI_POLL_INTERVAL_SECS", "5"),
    ];
    let town = Town::with(&poll).await;
    let silence = format!("{}/sandbox/webhook", town.server.bank.url);
    town.server.http.delete(silence).send().await.unwrap();
    for status in ["pending", "queued"] {
        let made = town
            .bank(
                "/sandbox/payouts",
                &json!({"amount": 700, "status": status}),
            )
            .await;
        let id = made["id"].as_str().unwrap();
        until("its decision", async || {
            let records = town.records(&format!("payout={id}")).await;
            let decided = records
                .iter()
                .find(|record| record["kind"] == "external_payout");
            decided.map(|record| assert_eq!(record["detail"]["heard"], "poll", "{record}"))
        })
        .await;
    }
}
