//! `kill -9` between a webhook's 200 and its work loses nothing, and does nothing twice.

use serde_json::{Value, json};

use super::town::{Town, event, until};

async fn governed_once(town: &Town, payout: &str) {
    until("its approval at the bank", async || {
        (town.at_bank(payout).await != "pending").then_some(())
    })
    .await;
    until("the end of the story", async || {
        let path = "/v1/proposals?agent=external";
        let body = town.server.get(&town.server.admin_key, path).await;
        let all = body["proposals"].as_array().unwrap().clone();
        let ours = all.iter().filter(|p| p["arguments"]["payout_id"] == payout);
        let states: Vec<&Value> = ours.map(|proposal| &proposal["state"]).collect();
        (states == [&json!("executed")]).then_some(())
    })
    .await;
    let view = town
        .server
        .get(&town.server.admin_key, "/v1/agents/external/budget")
        .await;
    assert_eq!(
        (&view["reserved"], &view["posted"]),
        (&json!(0), &json!(4_000)),
        "{payout}"
    );
}

async fn silent_bank(town: &Town) -> Value {
    let silence = format!("{}/sandbox/webhook", town.server.bank.url);
    town.server.http.delete(silence).send().await.unwrap();
    town.bank("/sandbox/payouts", &json!({"amount": 4_000}))
        .await
}

#[tokio::test]
async fn at_every_step_of_the_work() {
    for step in ["w1", "w2", "w3", "c1", "c2", "s2.after", "s4.after"] {
        let mut town = Town::with(&[("HUNDI_KILL_AT", step)]).await;
        let made = silent_bank(&town).await;
        let status = town.webhook(&event("payout.pending", &made), "ev1").await;
        // Answered, or cut off while it was; then the bank would come again.
        assert!(matches!(status, 200 | 0), "{step}: {status}");
        let within = std::time::Duration::from_secs(20);
        assert!(
            town.server.process().ended(within),
            "{step} was never reached"
        );
        let next = town.again(&[]).await;
        if status == 0 {
            assert_eq!(
                next.webhook(&event("payout.pending", &made), "ev1").await,
                200
            );
        }
        governed_once(&next, made["id"].as_str().unwrap()).await;
    }
}

#[tokio::test]
async fn right_after_the_answer() {
    for _ in 0..3 {
        let mut town = Town::new().await;
        let made = silent_bank(&town).await;
        assert_eq!(
            town.webhook(&event("payout.pending", &made), "ev1").await,
            200
        );
        town.server.process().kill();
        let next = town.again(&[]).await;
        let again = next.webhook(&event("payout.pending", &made), "ev1").await;
        assert_eq!(again, 200, "a duplicate, and known as such");
        governed_once(&next, made["id"].as_str().unwrap()).await;
    }
}
