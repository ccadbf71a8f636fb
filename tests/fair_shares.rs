//! No caller, with or without a key, keeps others from their share, nor an operator from the brake.
//!
//! Real processes and sockets: what a hostile caller does from outside, and what an honest one gets
//! meanwhile. The long form of this, with everything at once, is `tests/chaos/abuse`.

mod brake;
mod crowd;
mod refusals;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::server::Server;
use crowd::Crowd;

/// A wide policy, so that nothing but shares limits the agent.
async fn wide(server: &Server, agent: &str) {
    let policy = json!({"daily_limit": null, "per_txn_limit": null, "require_approval_above": 50_000,
        "allowed_tools": ["*"], "rate_limit": {"max": 0, "window_secs": 60}});
    let path = format!("/v1/agents/{agent}/policy");
    let put = server.http.put(format!("{}{path}", server.url));
    let put = put.bearer_auth(&server.admin_key).json(&policy).send();
    assert_eq!(put.await.unwrap().status(), 200);
}

/// An agent other than the first one, with a wide policy: its key.
async fn other(server: &Server) -> String {
    let body = json!({"role": "agent", "name": "hostile"});
    let (_, made) = server
        .post(&server.admin_key, "/v1/keys", &body)
        .await
        .unwrap();
    wide(server, made["agent_id"].as_str().unwrap()).await;
    made["key"].as_str().unwrap().to_owned()
}

/// An honest agent pays, and an operator freezes and lifts it, each within a second.
async fn all_is_well(server: &Server, what: &str) {
    let began = Instant::now();
    let transfer = server.transfer(100).await;
    let (status, answer) = server.commit(&transfer).await.unwrap();
    assert_eq!(
        (status, &answer["status"]),
        (200, &json!("committed")),
        "{what}: {answer}"
    );
    let body = json!({"scope": "vendor", "id": "acct_999", "reason": "drill"});
    for path in ["/v1/freeze", "/v1/unfreeze"] {
        let asked = Instant::now();
        let answer = server.post(&server.admin_key, path, &body).await.unwrap();
        assert_eq!(answer.0, 200, "{what}: {}", answer.1);
        let took = asked.elapsed();
        assert!(
            took < Duration::from_secs(1),
            "{what}: {path} took {took:?}"
        );
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(4), "{what}: {took:?}");
}

#[tokio::test]
async fn unfinished_webhook_posts_keep_nobody_out() {
    let server = Server::start().await;
    let crowd = Crowd::at(&server.url);
    let head = "POST /webhooks/razorpay HTTP/1.1\r\nHost: localhost\r\n\
                Content-Length: 100000\r\n\r\n{";
    let held: Vec<_> = (0..1_100).map(|_| crowd.says(head)).collect();
    all_is_well(&server, "1,100 unfinished webhook posts").await;
    // A genuine callback, and so any that is sent in one piece, still gets an answer.
    let forged = server
        .http
        .post(format!("{}/webhooks/razorpay", server.url));
    assert_eq!(forged.body("{}").send().await.unwrap().status(), 401);
    drop(held);
}

#[tokio::test]
async fn unfinished_heads_and_idle_connections_keep_nobody_out() {
    let server = Server::start().await;
    let crowd = Crowd::at(&server.url);
    let held: Vec<_> = (0..2_500)
        .map(|n| crowd.says(["", "GET /v1/tools HTTP/1.1\r\nHost:"][n % 2]))
        .collect();
    all_is_well(&server, "2,500 connections that say nothing").await;
    drop(held);
}

#[tokio::test]
async fn one_agents_waits_keep_nobody_out() {
    let server = Server::start().await;
    let key = other(&server).await;
    let crowd = Crowd::at(&server.url);
    let body = json!({"tool": "noop", "arguments": {"amount": 60_000}});
    let (_, held) = server.post(&key, "/v1/proposals", &body).await.unwrap();
    assert_eq!(held["status"], "held", "{held}");
    let id = &held["proposal_id"];
    let waits: Vec<_> = (0..1_100)
        .map(|n| match n % 2 {
            0 => crowd.says(&crowd.calls(&key, "await_proposal", &json!({"proposal_id": id}))),
            _ => crowd.says(&crowd.asks(
                &key,
                "GET",
                &format!("/v1/proposals/{}/events", id.as_str().unwrap()),
                "",
            )),
        })
        .collect();
    all_is_well(&server, "1,100 waits of one agent").await;
    let refused = crowd::answers(&waits[64..]).filter(|text| text.contains("overloaded"));
    assert!(
        refused.count() > 500,
        "beyond its share it is told to come back"
    );
    // Waiting is counted apart: it can still work.
    let path = format!("/v1/proposals/{}", id.as_str().unwrap());
    assert_eq!(server.get(&key, &path).await["state"], "held");
}

#[tokio::test]
async fn unfinished_bodies_of_a_key_holder_keep_nobody_else_out() {
    let server = Server::start().await;
    let key = other(&server).await;
    let crowd = Crowd::at(&server.url);
    let head = crowd.begins(&key, "/v1/proposals", 900_000);
    let long = format!("{head}{{\"tool\":\"{}", "x".repeat(200_000));
    let held: Vec<_> = (0..400)
        .map(|n| crowd.says(if n % 10 == 0 { &long } else { &head }))
        .collect();
    all_is_well(&server, "400 unfinished proposals").await;
    let crowded = crowd::answers(&held).filter(|text| text.contains("overloaded"));
    assert!(
        crowded.count() > 30,
        "long bodies beyond its share are refused"
    );
}

/// Sixteen listings of 500 proposals with large arguments, by one agent, again and again.
#[tokio::test]
async fn listings_are_bounded_in_bytes_and_starve_nobody() {
    let server = Server::start().await;
    let key = other(&server).await;
    for n in 0..60 {
        let notes: serde_json::Map<String, Value> = (0..15)
            .map(|note| {
                (
                    format!("{note:02}{}", "🪙".repeat(250)),
                    json!("🪙".repeat(256)),
                )
            })
            .collect();
        let body = json!({"tool": "create_payout", "arguments": {
            "fund_account_id": "fa_00000000000001", "amount": 100 + n, "currency": "INR",
            "mode": "IMPS", "purpose": "payout", "notes": notes,
        }});
        let (status, answer) = server.post(&key, "/v1/proposals", &body).await.unwrap();
        assert_eq!(status, 200, "{answer}");
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/proposals?limit=500{cursor}");
        let answer = server.http.get(format!("{}{path}", server.url));
        let text = answer
            .bearer_auth(&key)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert!(text.len() < 2 * 1024 * 1024, "{} bytes", text.len());
        let page: Value = serde_json::from_str(&text).unwrap();
        let ids = page["proposals"].as_array().unwrap().iter();
        seen.extend(ids.map(|one| one["proposal_id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 60, "page by page, everything");
    seen.dedup();
    assert_eq!(seen.len(), 60);
    let mut audited = 0;
    let mut before = String::new();
    loop {
        let page = server
            .get(&key, &format!("/v1/audit?limit=500{before}"))
            .await;
        audited += page["records"].as_array().unwrap().len();
        match page["next_before"].as_i64() {
            Some(next) => before = format!("&before={next}"),
            None => break,
        }
    }
    assert!(audited >= 60, "{audited}");
    let crowd = Crowd::at(&server.url);
    let path = "/v1/proposals?limit=500";
    let held: Vec<_> = (0..16)
        .map(|_| crowd.says(&crowd.asks(&key, "GET", path, "")))
        .collect();
    // Nobody reads the answers.
    all_is_well(&server, "16 large listings").await;
    let audits: Vec<_> = (0..24)
        .map(|_| crowd.says(&crowd.asks(&key, "GET", "/v1/audit?decision=HELD", "")))
        .collect();
    all_is_well(&server, "24 audit queries").await;
    drop((held, audits));
}
