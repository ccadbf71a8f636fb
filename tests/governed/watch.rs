//! What those who watch see: every metric from the first scrape on, each moving when it should;
//! and every dependency and breaker.

use std::collections::BTreeMap;

use hundi::telemetry::METRICS;
use serde_json::json;

use super::town::{ASHA, Town, payout, until};

/// Every sample of a scrape, by its series.
async fn scrape(town: &Town) -> BTreeMap<String, f64> {
    let url = format!("{}/metrics", town.server.url);
    let text = town
        .server
        .http
        .get(url)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (series, number) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), number.parse().unwrap())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_there_from_the_start_and_moves() {
    let poll = [
        ("HUNDI_AUTO_POLL", "true"),
        ("HUNDI_POLL_INTERVAL_SECS", "5"),
    ];
    let town = Town::with(&poll).await;
    let first = scrape(&town).await;
    // A source is told of once there is one.
    let from_the_start = METRICS
        .iter()
        .filter(|metric| metric.name != "hundi_source_up");
    for metric in from_the_start {
        let there = first.keys().any(|series| series.starts_with(metric.name));
        assert!(there, "{} is not in the first scrape", metric.name);
    }
    for name in ["safe-browsing", "gleif"] {
        let series = format!("hundi_breaker_state{{name=\"{name}\"}}");
        assert_eq!(first.get(&series), Some(&0.0), "{series}");
    }

    let policy = json!({
        "require_approval_above": 1_000, "daily_limit": 6_000,
        "rate_limit": {"max": 4, "window_secs": 600},
    });
    town.policy("agent-1", &policy).await;
    let agent = town.client(&town.server.agent_key).await;
    let notes = json!({"vendor_url": "https://acme.example"});
    let propose = async |amount| {
        let arguments = payout(amount, notes.clone());
        agent
            .ask("create_payout_propose", json!({"arguments": arguments}))
            .await
    };
    let held = propose(5_000).await;
    assert_eq!(held["status"], "held", "{held}");
    until("the hold among the gauges", async || {
        (scrape(&town).await["hundi_held"] > 0.0).then_some(())
    })
    .await;
    assert_eq!(propose(5_000).await["reason"], "LIMIT_EXCEEDED");
    assert_eq!(propose(900).await["status"], "allowed");
    propose(100).await;
    assert_eq!(propose(100).await["reason"], "RATE_LIMITED");
    let press = town.press(ASHA, "approve", &held).await;
    assert_eq!(town.send_press(&press).await, 200);
    let allowed = agent
        .ask("get_proposal", json!({"proposal_id": held["proposal_id"]}))
        .await;
    let committed = json!({
        "proposal_id": held["proposal_id"], "commit_token": allowed["commit_token"],
        "arguments": payout(5_000, notes.clone()),
    });
    agent.ask("create_payout_commit", committed.clone()).await;
    agent.ask("create_payout_commit", committed).await;
    town.webhook("{}", "no event at all").await;
    town.webhook("{}", "no event at all").await;
    // Held, so that it still waits whenever the bank is asked.
    town.policy("external", &json!({"require_approval_above": 100}))
        .await;
    town.bank("/sandbox/payouts", &json!({"amount": 500})).await;

    let moved = [
        "hundi_decisions_total{decision=\"HELD\",reason=\"APPROVAL_REQUIRED\"}",
        "hundi_decisions_total{decision=\"REJECTED\",reason=\"LIMIT_EXCEEDED\"}",
        "hundi_decisions_total{decision=\"REJECTED\",reason=\"RATE_LIMITED\"}",
        "hundi_commits_total{outcome=\"executed\",reason=\"\"}",
        "hundi_commits_total{outcome=\"refused\",reason=\"nonce_replay\"}",
        "hundi_amount_minor_total{decision=\"APPROVED\",currency=\"INR\"}",
        "hundi_decision_seconds_count",
        "hundi_commit_seconds_count{phase=\"provider\"}",
        "hundi_budget_checks_total{result=\"reserved\"}",
        "hundi_budget_checks_total{result=\"exceeded\"}",
        "hundi_rate_limit_checks_total{result=\"allowed\"}",
        "hundi_rate_limit_checks_total{result=\"limited\"}",
        "hundi_reputation_checks_total{result=\"safe\"}",
        "hundi_reputation_checks_total{result=\"cached\"}",
        "hundi_notifications_total{channel=\"slack\",result=\"sent\"}",
        "hundi_webhooks_total{result=\"accepted\"}",
        "hundi_webhooks_total{result=\"duplicate\"}",
        "hundi_webhooks_total{result=\"unusable\"}",
        "hundi_polls_total",
        "hundi_polled_payouts_total",
        "hundi_store_batch_size_count",
        "hundi_uptime_seconds",
    ];
    for series in moved {
        until(series, async || {
            let now = scrape(&town).await;
            let before = first.get(series).copied().unwrap_or(0.0);
            (now.get(series).copied().unwrap_or(0.0) > before).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_that_opens_and_a_channel_that_fails_are_seen() {
    // Nobody listens there.
    let gone = [("HUNDI_SLACK_API_BASE", "http://127.0.0.1:9")];
    let town = Town::with(&gone).await;
    town.policy("agent-1", &json!({"require_approval_above": 1}))
        .await;
    let agent = town.client(&town.server.agent_key).await;
    for turn in 0..6 {
        let url = format!("http://silent.example/{turn}");
        agent
            .ask("check_vendor_reputation", json!({"url": url}))
            .await;
    }
    let state = scrape(&town).await["hundi_breaker_state{name=\"safe-browsing\"}"];
    assert!(state > 1.5, "open: {state}");
    let arguments = payout(5_000, json!({}));
    agent
        .ask("create_payout_propose", json!({"arguments": arguments}))
        .await;
    until("the failing channel", async || {
        let ready = town.server.get(&town.server.admin_key, "/readyz").await;
        let checks = ready["checks"].as_array().unwrap().clone();
        let ok = |name: &str| {
            checks
                .iter()
                .any(|check| check["name"] == name && check["ok"] == true)
        };
        assert_eq!(ready["status"], "degraded", "{ready}");
        assert!(
            ok("store") && ok("upstream razorpay") && ok("breaker gleif") && ok("channel ntfy")
        );
        assert!(!ok("breaker safe-browsing"));
        (!ok("channel slack")).then_some(())
    })
    .await;
}
