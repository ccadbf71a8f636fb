//! Exactly once, on real processes: a broker that is killed with -9 at every named step of the
//! commit and of recovery, and at arbitrary moments; a bank and a sidecar that fail in every known
//! way. Afterwards three accounts have to agree: what the caller heard, what the broker says, and
//! what the bank's ledger holds.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::server::{Server, Transfer};

/// Longest that anything may stay unsettled (invariant I6).
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// Asks until the proposal is neither committing nor in doubt.
async fn settled(server: &Server, transfer: &Transfer) -> String {
    let path = format!("/v1/proposals/{}", transfer.id);
    let asked = async {
        let mut turns = tokio::time::interval(Duration::from_millis(100));
        loop {
            turns.tick().await;
            let seen = server.get(&server.admin_key, &path).await;
            let state = seen["state"].as_str().unwrap().to_owned();
            if state != "committing" && state != "in_doubt" {
                return state;
            }
        }
    };
    let state = tokio::time::timeout(SETTLED_WITHIN, asked).await;
    state.unwrap_or_else(|_| panic!("{} is in doubt for a minute", transfer.id))
}

async fn payments(server: &Server, transfer: &Transfer) -> usize {
    let paid = server.bank.paid().await;
    paid.iter()
        .filter(|reference| **reference == transfer.id)
        .count()
}

/// The three accounts of one transfer.
async fn agree(server: &Server, transfer: &Transfer, heard: &Result<(u16, Value), String>) {
    let state = settled(server, transfer).await;
    let paid = payments(server, transfer).await;
    assert_eq!(
        paid,
        usize::from(state == "executed"),
        "{state} here, {paid} times at the bank"
    );
    if let Ok((_, answer)) = heard {
        match answer["status"].as_str() {
            Some("committed") => assert_eq!(state, "executed", "the caller heard committed"),
            Some("failed") => assert_eq!(state, "failed", "the caller heard failed"),
            _ => {}
        }
    }
    let (_, again) = server.commit(transfer).await.unwrap();
    assert_eq!(
        payments(server, transfer).await,
        paid,
        "presenting the token again paid again"
    );
    assert_eq!(again["reason"], "nonce_replay", "{again}");
    let original = if state == "executed" {
        "committed"
    } else {
        "failed"
    };
    assert_eq!(again["original"]["status"], original, "{again}");
}

/// Killed at a step before the claim is durable: nothing happened, and the caller just repeats.
async fn killed_before_the_claim(step: &str) {
    let mut server = Server::start_with(&[("HUNDI_KILL_AT", step)]).await;
    let transfer = server.transfer(100).await;
    let heard = server.commit(&transfer).await;
    assert!(
        heard.is_err(),
        "killed at {step}, and yet it answered {heard:?}"
    );
    server.process().kill();
    let server = server.again(&[]);
    assert_eq!(
        settled(&server, &transfer).await,
        "allowed",
        "no trace after {step}"
    );
    assert_eq!(payments(&server, &transfer).await, 0);
    let (status, answer) = server.commit(&transfer).await.unwrap();
    assert_eq!(
        (status, &answer["status"]),
        (200, &json!("committed")),
        "{answer}"
    );
    assert_eq!(payments(&server, &transfer).await, 1);
}

/// Killed once the claim is durable: recovery drives it to its end without the caller.
async fn killed_after_the_claim(step: &str) {
    let mut server = Server::start_with(&[("HUNDI_KILL_AT", step)]).await;
    let transfer = server.transfer(100).await;
    let heard = server.commit(&transfer).await;
    assert!(
        heard.is_err(),
        "killed at {step}, and yet it answered {heard:?}"
    );
    server.process().kill();
    let server = server.again(&[]);
    assert_eq!(
        settled(&server, &transfer).await,
        "executed",
        "after {step}"
    );
    agree(&server, &transfer, &heard).await;
}

/// Killed with the request unsent, and killed again during recovery.
async fn killed_again_in_recovery(step: &str) {
    let mut server = Server::start_with(&[("HUNDI_KILL_AT", "s4.before")]).await;
    let transfer = server.transfer(100).await;
    let heard = server.commit(&transfer).await;
    server.process().kill();
    let mut server = server.again(&[("HUNDI_KILL_AT", step)]);
    assert!(
        server.process().ended(SETTLED_WITHIN),
        "recovery never reached {step}"
    );
    let server = server.again(&[]);
    assert_eq!(
        settled(&server, &transfer).await,
        "executed",
        "after {step}"
    );
    agree(&server, &transfer, &heard).await;
}

macro_rules! steps {
    ($($name:ident: $how:ident($step:literal);)*) => {
        $(#[tokio::test]
        async fn $name() {
            $how($step).await;
        })*
    };
}

steps! {
    killed_at_s0_request_read: killed_before_the_claim("s0");
    killed_at_s1_verified: killed_before_the_claim("s1");
    killed_at_s2_before_the_claim: killed_before_the_claim("s2.before");
    killed_at_s2_after_the_claim: killed_after_the_claim("s2.after");
    killed_at_s4_before_sending: killed_after_the_claim("s4.before");
    killed_at_s4_after_sending: killed_after_the_claim("s4.after");
    killed_at_s6_answer_read: killed_after_the_claim("s6");
    killed_at_s7_before_settling: killed_after_the_claim("s7.before");
    killed_at_s7_after_settling: killed_after_the_claim("s7.after");
    killed_at_s8_before_answering: killed_after_the_claim("s8");
    killed_in_recovery_before_asking: killed_again_in_recovery("r1");
    killed_in_recovery_after_asking: killed_again_in_recovery("r2");
    killed_in_recovery_after_sending: killed_again_in_recovery("r3");
    killed_in_recovery_after_settling: killed_again_in_recovery("r4");
}

#[tokio::test]
async fn killed_at_arbitrary_moments_of_fifty_commits() {
    let mut server = Server::start().await;
    for pause_ms in [5, 30, 90, 200] {
        let mut transfers = Vec::new();
        for _ in 0..50 {
            transfers.push(server.transfer(100).await);
        }
        let mut commits = JoinSet::new();
        for transfer in &transfers {
            let (http, url) = (server.http.clone(), server.url.clone());
            let (key, transfer) = (server.agent_key.clone(), transfer.clone());
            commits.spawn(async move {
                let path = format!("{url}/v1/proposals/{}/commit", transfer.id);
                let body = json!({
                    "commit_token": transfer.token, "arguments": transfer.arguments,
                });
                let sent = http.post(path).bearer_auth(key).json(&body).send().await;
                let answer: Value = sent.ok()?.json().await.ok()?;
                Some((transfer.id, answer["status"].as_str()?.to_owned()))
            });
        }
        let mut heard = Vec::new();
        let moment = Duration::from_millis(pause_ms);
        let _ = tokio::time::timeout(moment, async {
            while let Some(told) = commits.join_next().await {
                heard.extend(told.ok().flatten());
            }
        })
        .await;
        server.process().kill();
        while let Some(told) = commits.join_next().await {
            heard.extend(told.ok().flatten());
        }
        server = server.again(&[]);
        let mut executed = 0;
        for transfer in &transfers {
            let state = settled(&server, transfer).await;
            let paid = payments(&server, transfer).await;
            assert_eq!(
                paid,
                usize::from(state == "executed"),
                "{state}: {}",
                transfer.id
            );
            executed += paid;
        }
        for (id, status) in heard.iter().filter(|(_, status)| status == "committed") {
            assert!(
                server.bank.paid().await.contains(id),
                "{status} was heard for {id}"
            );
        }
        assert!(executed >= heard.iter().filter(|(_, s)| s == "committed").count());
    }
}

/// One bank fault, once. Whatever the caller heard, the three accounts agree in the end.
async fn bank_fault(fault: Value) {
    let server = Server::start().await;
    server.bank.arm(fault).await;
    let transfer = server.transfer(100).await;
    let heard = server.commit(&transfer).await;
    assert!(heard.is_ok(), "the caller is answered: {heard:?}");
    agree(&server, &transfer, &heard).await;
}

macro_rules! faults {
    ($($name:ident: $kind:literal, $when:literal;)*) => {
        $(#[tokio::test]
        async fn $name() {
            bank_fault(json!({"kind": $kind, "operation": "transfer", "when": $when})).await;
        })*
    };
}

faults! {
    bank_errs_before_creating: "5xx", "before";
    bank_errs_after_creating: "5xx", "after";
    bank_resets_before_creating: "reset", "before";
    bank_resets_after_creating: "reset", "after";
    bank_hangs_before_creating: "hang", "before";
    bank_hangs_after_creating: "hang", "after";
    bank_is_slow: "slow", "before";
    bank_answers_garbage_before_creating: "garbage", "before";
    bank_answers_garbage_after_creating: "garbage", "after";
    bank_answers_nothing_after_creating: "empty", "after";
    bank_answers_twice: "duplicate", "after";
    bank_answers_about_another: "wrong_id", "after";
    bank_redirects: "redirect", "before";
}

#[tokio::test]
async fn bank_forgets_keys_and_loses_an_answer() {
    let server = Server::start().await;
    server
        .bank
        .arm(json!({"kind": "reset", "operation": "transfer", "when": "after"}))
        .await;
    let transfer = server.transfer(100).await;
    let heard = server.commit(&transfer).await;
    server
        .bank
        .arm(json!({"kind": "forget_keys", "operation": "transfer", "count": 5}))
        .await;
    agree(&server, &transfer, &heard).await;
}

#[tokio::test]
async fn sidecar_dies_twenty_times_while_commits_go_on() {
    let server = Server::start().await;
    for round in 0..20 {
        let transfer = server.transfer(100 + round).await;
        let path = format!("/v1/proposals/{}/commit", transfer.id);
        let body = json!({"commit_token": transfer.token, "arguments": transfer.arguments});
        let commit = server.post(&server.agent_key, &path, &body);
        let (heard, ()) = tokio::join!(commit, kill_sidecar(&server));
        let state = settled(&server, &transfer).await;
        let paid = payments(&server, &transfer).await;
        assert_eq!(
            paid,
            usize::from(state == "executed"),
            "round {round}: {state}, {heard:?}"
        );
    }
}

async fn kill_sidecar(server: &Server) {
    let parent = server.pid().to_string();
    // Whether it ran at that moment or not is part of the test.
    let _ = Command::new("pkill").args(["-9", "-P", &parent]).status();
}
