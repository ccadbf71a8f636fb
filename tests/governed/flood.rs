//! A flood of forgeries, with the bank's own webhooks and agents' payments in between: everybody
//! who is genuine is answered in time, and nothing that was answered is lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use serde_json::json;

use super::town::{Town, event, until};

/// The bank waits so long for an answer.
const BANKS_PATIENCE: Duration = Duration::from_secs(5);
const GENUINE: usize = 400;
const FORGED: usize = 1_600;
const PAYMENTS: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn genuine_webhooks_and_payments_get_through_a_flood_of_forgeries() {
    let town = Arc::new(Town::new().await);
    let policy = json!({"rate_limit": {"max": 0, "window_secs": 60}});
    town.policy("agent-1", &policy).await;
    let forgeries = stream::iter(0..FORGED).for_each_concurrent(64, |n| {
        let town = town.clone();
        async move {
            let asked = town
                .server
                .http
                .post(format!("{}/webhooks/razorpay", town.server.url));
            let asked = asked
                .header("x-razorpay-signature", "0".repeat(64))
                .header("x-razorpay-event-id", format!("forged-{n}"))
                .body(format!("{{\"event\": \"payout.processed\", \"n\": {n}}}"));
            assert_eq!(asked.send().await.unwrap().status().as_u16(), 401);
        }
    });
    let genuine = stream::iter(0..GENUINE)
        .map(|n| {
            let town = town.clone();
            async move {
                let payout = json!({
                    "id": format!("pout_{n:014}"), "entity": "payout", "status": "processed",
                    "amount": 100, "currency": "INR", "notes": [], "reference_id": null,
                });
                let began = Instant::now();
                let status = town
                    .webhook(&event("payout.processed", &payout), &format!("genuine-{n}"))
                    .await;
                assert_eq!(status, 200, "{n}");
                began.elapsed()
            }
        })
        .buffer_unordered(16)
        .collect::<Vec<Duration>>();
    let payments = stream::iter(0..PAYMENTS).for_each_concurrent(4, |_| {
        let town = town.clone();
        async move {
            let transfer = town.server.transfer(100).await;
            let (status, answer) = town.server.commit(&transfer).await.unwrap();
            assert_eq!(
                (status, &answer["outcome"]),
                (200, &json!("executed")),
                "{answer}"
            );
        }
    });
    let (genuine, (), ()) = tokio::join!(genuine, forgeries, payments);
    let slowest = genuine.iter().max().unwrap();
    assert!(*slowest < BANKS_PATIENCE, "{slowest:?}");
    assert_eq!(town.server.bank.paid().await.len(), PAYMENTS);

    let worked_off = async || {
        let path = "/v1/audit?format=jsonl";
        let asked = town.server.http.get(format!("{}{path}", town.server.url));
        let log = asked
            .bearer_auth(&town.server.admin_key)
            .send()
            .await
            .unwrap();
        let log = log.text().await.unwrap();
        let records = log
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        records.collect::<Vec<_>>()
    };
    let records = until("the end of the work", async || {
        let records = worked_off().await;
        let done = records
            .iter()
            .filter(|record| record["kind"] == "webhook_skipped");
        let done: BTreeSet<&str> = done
            .filter_map(|r| r["detail"]["event_id"].as_str())
            .collect();
        (done.len() == GENUINE).then_some(records.clone())
    })
    .await;
    let of = |kind: &str| {
        records
            .iter()
            .filter(|record| record["kind"] == kind)
            .count()
    };
    assert_eq!(of("webhook"), GENUINE, "each is kept once");
    assert!(of("webhook_forged") < 60, "forgeries are recorded in sums");
}
