//! What models cost is held before it is spent, in the same books as payouts.

use futures_util::future::join_all;
use serde_json::json;

use super::town::{Town, said};

#[tokio::test]
async fn of_two_hundred_at_once_a_budget_for_ten_lets_ten_through() {
    let town = Town::new().await;
    let body = json!({"model": "sandbox", "max_tokens": 100, "messages": said("hello")});
    assert_eq!(town.chat(body.clone()).await.status, 200);
    let accepted = &town.records("request_accepted").await[0];
    let one: f64 = accepted["detail"]["estimate_usd"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let spent = &town.records("request_ended").await[0]["detail"]["cost_usd"];
    let spent: f64 = spent.as_str().unwrap().parse().unwrap();
    let nanos = ((one * 10.0 + spent) * 1e9).round() as u64;
    let daily = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    town.policy(json!({"llm": {"daily_usd": daily}})).await;
    // All of them are under way at once: none has settled before the last has asked.
    town.arm(json!({"kind": "slow", "operation": "model", "count": 200, "delay_ms": 4_000}))
        .await;
    let asked = (0..200).map(|_| town.chat(body.clone()));
    let told = join_all(asked).await;
    let through = told.iter().filter(|answer| answer.status == 200).count();
    let refused = told.iter().filter(|answer| answer.status == 402);
    for answer in refused.clone() {
        assert_eq!(answer.json()["error"]["code"], "budget_exceeded");
        assert_eq!(answer.header("x-should-retry"), "false");
    }
    assert_eq!((through, refused.count()), (10, 190));
    assert_eq!(town.calls().await.len(), 11);
}

#[tokio::test]
async fn one_request_may_not_cost_more_than_one_request_may() {
    let town = Town::new().await;
    let limit = json!({"llm": {"daily_usd": null, "per_request_usd": "0.00001"}});
    town.policy(limit).await;
    let body = |most: u64| json!({"model": "sandbox", "max_tokens": most, "messages": said("hi")});
    let refused = town.chat(body(100_000)).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["code"]),
        (402, &json!("budget_exceeded"))
    );
    assert_eq!(town.chat(body(10)).await.status, 200);
    assert_eq!(town.calls().await.len(), 1);
}
