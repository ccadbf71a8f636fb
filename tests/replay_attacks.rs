//! Attacks on the second step, by name. An attacker holds what an agent holds: its own key, genuine
//! tokens of its own, and texts made up at will. After each attack the bank's ledger has what was
//! committed honestly and nothing else, and the true token still works.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use hundi::broker::{CommitRequest, Committed};
use hundi::domain::policy::{Policy, RateLimit};
use hundi::domain::reason::Refusal;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::house::{House, agent_of};
use crate::support::server::{Server, TOKEN_KEY, Transfer};

/// The attack is refused for this reason, changes nothing, and the true token is still good.
async fn refused(server: &Server, forged: &Transfer, honest: &Transfer, reason: &str) {
    let (status, answer) = server.commit(forged).await.unwrap();
    assert_eq!(
        (status, &answer["reason"]),
        (409, &json!(reason)),
        "{answer}"
    );
    assert_eq!(
        server.bank.paid().await,
        Vec::<String>::new(),
        "nothing may be paid"
    );
    let (status, answer) = server.commit(honest).await.unwrap();
    assert_eq!(
        (status, &answer["status"]),
        (200, &json!("committed")),
        "{answer}"
    );
    assert_eq!(server.bank.paid().await, [honest.id.as_str()]);
}

async fn with_token(change: impl Fn(&str) -> String) {
    let server = Server::start().await;
    let honest = server.transfer(100).await;
    let forged = Transfer {
        token: change(&honest.token),
        ..honest.clone()
    };
    refused(&server, &forged, &honest, "bad_signature").await;
}

async fn with_arguments(arguments: Value) {
    let server = Server::start().await;
    let honest = server.transfer(100).await;
    let forged = Transfer {
        arguments,
        ..honest.clone()
    };
    refused(&server, &forged, &honest, "args_hash_mismatch").await;
}

#[tokio::test]
async fn one_bit_flipped_in_every_part() {
    let server = Server::start().await;
    let honest = server.transfer(100).await;
    for at in (0..honest.token.len()).step_by(7) {
        let mut bytes = honest.token.clone().into_bytes();
        bytes[at] ^= 1;
        let token = String::from_utf8(bytes).unwrap();
        let forged = Transfer {
            token,
            ..honest.clone()
        };
        let (status, answer) = server.commit(&forged).await.unwrap();
        assert_eq!(
            (status, &answer["reason"]),
            (409, &json!("bad_signature")),
            "byte {at}"
        );
    }
    let (status, _) = server.commit(&honest).await.unwrap();
    assert_eq!(
        status, 200,
        "the true token still works after all the damaged ones"
    );
    assert_eq!(server.bank.paid().await, [honest.id]);
}

#[tokio::test]
async fn truncated() {
    with_token(|token| token[..token.len() - 1].to_owned()).await;
}

#[tokio::test]
async fn padded() {
    with_token(|token| format!("{token}=")).await;
}

#[tokio::test]
async fn spelt_in_the_other_alphabet() {
    with_token(|token| format!("{}+/", &token[..token.len() - 2])).await;
}

#[tokio::test]
async fn trailing_text() {
    with_token(|token| format!("{token}AAAA")).await;
}

#[tokio::test]
async fn leading_space() {
    with_token(|token| format!(" {token}")).await;
}

#[tokio::test]
async fn trailing_bits_that_decode_to_the_same_bytes() {
    // The MAC's 32 bytes leave two unused bits in the last character: another spelling.
    with_token(|token| {
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let (rest, last) = token.split_at(token.len() - 1);
        let at = alphabet.find(last).unwrap();
        format!("{rest}{}", &alphabet[at + 1..=at + 1])
    })
    .await;
}

#[tokio::test]
async fn beyond_eight_kibibytes() {
    with_token(|token| format!("{token}{}", "A".repeat(8 * 1024))).await;
}

#[tokio::test]
async fn parts_of_two_tokens_glued_together() {
    let server = Server::start().await;
    let (cheap, dear) = (server.transfer(1).await, server.transfer(9_999).await);
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (a, b) = (parts(&cheap.token), parts(&dear.token));
    let token = format!("{}.{}.{}.{}", a[0], a[1], b[2], a[3]);
    let forged = Transfer {
        token,
        ..dear.clone()
    };
    refused(&server, &forged, &dear, "bad_signature").await;
}

#[tokio::test]
async fn the_token_of_another_proposal() {
    let server = Server::start().await;
    let (cheap, dear) = (server.transfer(1).await, server.transfer(9_999).await);
    let forged = Transfer {
        token: cheap.token.clone(),
        ..dear.clone()
    };
    refused(&server, &forged, &dear, "unknown_proposal").await;
}

#[tokio::test]
async fn signed_with_another_key() {
    with_token(|token| resealed(token, &[99; 31], |_| {})).await;
}

#[tokio::test]
async fn signed_with_the_right_key_for_another_instance() {
    // Two brokers that share a key: a token of one is nothing to the other.
    with_token(|token| {
        resealed(token, &key(), |claims| {
            claims["audience"] = json!("elsewhere")
        })
    })
    .await;
}

#[tokio::test]
async fn signed_with_a_field_more() {
    with_token(|token| resealed(token, &key(), |claims| claims["admin"] = json!(true))).await;
}

#[tokio::test]
async fn signed_for_another_amount() {
    // Even who holds the key cannot bind a token to arguments that were not proposed.
    let server = Server::start().await;
    let honest = server.transfer(100).await;
    let hash = "0".repeat(64);
    let token = resealed(&honest.token, &key(), |claims| {
        claims["tool_args_hash"] = json!(hash)
    });
    let forged = Transfer {
        token,
        ..honest.clone()
    };
    refused(&server, &forged, &honest, "args_hash_mismatch").await;
}

#[tokio::test]
async fn signed_with_another_nonce() {
    let server = Server::start().await;
    let honest = server.transfer(100).await;
    let other = resealed(&honest.token, &key(), |claims| {
        claims["nonce"] = json!("0".repeat(32));
        claims["token_id"] = json!("0193f6a0-0000-7000-8000-000000000000");
    });
    let forged = Transfer {
        token: other,
        ..honest.clone()
    };
    refused(&server, &forged, &honest, "superseded_token").await;
}

#[tokio::test]
async fn another_tool() {
    let server = Server::start().await;
    let honest = server.transfer(100).await;
    let token = resealed(&honest.token, &key(), |claims| {
        claims["tool_name"] = json!("noop")
    });
    let forged = Transfer {
        token,
        ..honest.clone()
    };
    refused(&server, &forged, &honest, "args_hash_mismatch").await;
}

#[tokio::test]
async fn another_amount() {
    with_arguments(json!({"amount": 101, "to": "acct_123"})).await;
}

#[tokio::test]
async fn the_amount_as_text() {
    with_arguments(json!({"amount": "100", "to": "acct_123"})).await;
}

#[tokio::test]
async fn the_amount_as_a_fraction() {
    with_arguments(json!({"amount": 100.5, "to": "acct_123"})).await;
}

#[tokio::test]
async fn the_amount_as_truth() {
    with_arguments(json!({"amount": true, "to": "acct_123"})).await;
}

#[tokio::test]
async fn the_amount_in_a_list() {
    with_arguments(json!({"amount": [100], "to": "acct_123"})).await;
}

#[tokio::test]
async fn null_for_absent() {
    with_arguments(json!({"amount": 100, "to": "acct_123", "note": null})).await;
}

#[tokio::test]
async fn absent_for_present() {
    with_arguments(json!({"amount": 100})).await;
}

#[tokio::test]
async fn a_homoglyph_in_the_payee() {
    with_arguments(json!({"amount": 100, "to": "асct_123"})).await;
}

#[tokio::test]
async fn the_payee_in_another_case() {
    with_arguments(json!({"amount": 100, "to": "ACCT_123"})).await;
}

#[tokio::test]
async fn no_arguments_at_all() {
    with_arguments(json!({})).await;
}

#[tokio::test]
async fn composed_for_decomposed_text() {
    let server = Server::start().await;
    let arguments = json!({"note": "caf\u{e9}"});
    let body = json!({"tool": "noop", "arguments": arguments});
    let (_, answer) = server
        .post(&server.agent_key, "/v1/proposals", &body)
        .await
        .unwrap();
    let commit = json!({
        "commit_token": answer["commit_token"], "arguments": {"note": "cafe\u{301}"},
    });
    let path = format!(
        "/v1/proposals/{}/commit",
        answer["proposal_id"].as_str().unwrap()
    );
    let (status, refused) = server
        .post(&server.agent_key, &path, &commit)
        .await
        .unwrap();
    assert_eq!(
        (status, &refused["reason"]),
        (409, &json!("args_hash_mismatch"))
    );
}

#[tokio::test]
async fn the_same_number_in_another_spelling_is_the_same_request() {
    // Not an attack: RFC 8785 says that 100.0 and 100 are one number.
    let server = Server::start().await;
    let honest = server.transfer(100).await;
    let text = format!(
        r#"{{"commit_token":"{}","arguments":{{"to":"acct_123","amount":1.0e2}}}}"#,
        honest.token
    );
    let request = server
        .http
        .post(format!("{}/v1/proposals/{}/commit", server.url, honest.id))
        .bearer_auth(&server.agent_key)
        .header("content-type", "application/json")
        .body(text);
    assert_eq!(request.send().await.unwrap().status().as_u16(), 200);
}

#[tokio::test]
async fn presented_by_another_agent() {
    let server = Server::start().await;
    let honest = server.transfer(100).await;
    let thief = server.other_agent("thief").await;
    let (status, answer) = server.commit_as(&thief, &honest).await.unwrap();
    assert_eq!(
        (status, &answer["reason"]),
        (409, &json!("unknown_proposal"))
    );
    assert_eq!(server.commit(&honest).await.unwrap().0, 200);
}

#[tokio::test]
async fn presented_by_an_admin() {
    let server = Server::start().await;
    let honest = server.transfer(100).await;
    let (status, _) = server.commit_as(&server.admin_key, &honest).await.unwrap();
    assert_eq!(status, 403);
    assert_eq!(server.bank.paid().await, Vec::<String>::new());
}

#[tokio::test]
async fn presented_without_a_key() {
    let server = Server::start().await;
    let honest = server.transfer(100).await;
    let (status, _) = server.commit_as("hk_none_none", &honest).await.unwrap();
    assert_eq!(status, 401);
    assert_eq!(server.bank.paid().await, Vec::<String>::new());
}

#[tokio::test]
async fn two_hundred_at_once() {
    let server = Arc::new(Server::start().await);
    let honest = server.transfer(100).await;
    let outcomes = at_once(std::slice::from_ref(&server), &honest, 200).await;
    assert_eq!(
        outcomes
            .iter()
            .filter(|status| *status == "committed")
            .count(),
        1
    );
    assert!(
        outcomes
            .iter()
            .all(|s| s == "committed" || s == "nonce_replay"),
        "{outcomes:?}"
    );
    assert_eq!(server.bank.paid().await, [honest.id]);
}

#[tokio::test]
async fn at_once_from_two_processes() {
    let one = Server::start().await;
    let two = Arc::new(one.again(&[]));
    let one = Arc::new(one);
    for _ in 0..10 {
        let before = one.bank.paid().await.len();
        let honest = one.transfer(100).await;
        let outcomes = at_once(&[one.clone(), two.clone()], &honest, 8).await;
        let committed = outcomes
            .iter()
            .filter(|status| *status == "committed")
            .count();
        assert_eq!(committed, 1, "{outcomes:?}");
        assert_eq!(one.bank.paid().await.len(), before + 1);
    }
}

#[tokio::test]
async fn again_after_a_restart() {
    let mut server = Server::start().await;
    let honest = server.transfer(100).await;
    assert_eq!(server.commit(&honest).await.unwrap().0, 200);
    server.process().kill();
    let next = server.again(&[]);
    let (status, answer) = next.commit(&honest).await.unwrap();
    assert_eq!((status, &answer["reason"]), (409, &json!("nonce_replay")));
    assert_eq!(
        answer["original"]["status"], "committed",
        "the outcome comes with the refusal"
    );
    assert_eq!(next.bank.paid().await, [honest.id]);
}

#[tokio::test]
async fn signed_with_a_key_that_was_rotated_and_then_retired() {
    // A ring of its own in the data folder, changed by another process while the server runs.
    let server = Server::start_with(&[("HUNDI_TOKEN_KEY", "")]).await;
    let rotated_away = server.transfer(100).await;
    let kid = rotated_away.token.split('.').nth(1).unwrap().to_owned();
    server.command(&["keyring", "rotate"]);
    let fresh = server.transfer(200).await;
    assert_ne!(
        fresh.token.split('.').nth(1).unwrap(),
        kid,
        "the new key seals"
    );
    assert_eq!(
        server.commit(&rotated_away).await.unwrap().0,
        200,
        "the old one still verifies"
    );
    let doomed = server.transfer(300).await;
    let kid = doomed.token.split('.').nth(1).unwrap().to_owned();
    server.command(&["keyring", "rotate"]);
    server.command(&["keyring", "retire", &kid]);
    let (status, answer) = server.commit(&doomed).await.unwrap();
    assert_eq!(
        (status, &answer["reason"]),
        (409, &json!("bad_signature")),
        "retired: at once"
    );
}

#[tokio::test]
async fn two_tokens_for_one_proposal() {
    let server = Server::start().await;
    let (agent, admin) = (&server.agent_key, &server.admin_key);
    let policy = json!({
        "daily_limit": null, "per_txn_limit": null, "require_approval_above": 50,
        "rate_limit": {"max": 0, "window_secs": 1},
    });
    put_policy(&server, policy).await;
    let body = json!({"tool": "transfer_funds", "arguments": {"amount": 100, "to": "acct_123"}});
    let (_, held) = server.post(agent, "/v1/proposals", &body).await.unwrap();
    let id = held["proposal_id"].as_str().unwrap().to_owned();
    let path = format!("/v1/proposals/{id}");
    let (status, _) = server
        .post(admin, &format!("{path}/approve"), &json!({}))
        .await
        .unwrap();
    assert_eq!(status, 200);
    let token = async || {
        let seen = server.get(agent, &path).await;
        seen["commit_token"].as_str().unwrap().to_owned()
    };
    let (old, new) = (token().await, token().await);
    assert_ne!(
        old, new,
        "each read of an approved proposal puts out a fresh token"
    );
    let arguments = body["arguments"].clone();
    let old = Transfer {
        id: id.clone(),
        token: old,
        arguments: arguments.clone(),
    };
    let new = Transfer {
        id,
        token: new,
        arguments,
    };
    refused(&server, &old, &new, "superseded_token").await;
}

#[tokio::test]
async fn late_early_and_after_the_clock_jumped() {
    let house = House::new().await;
    let rate_limit = RateLimit {
        max: 0,
        window_secs: 1,
    };
    let policy = Policy {
        rate_limit,
        ..Policy::default()
    };
    house.policy("agent-1", &policy).await;
    let allowed = house.transfer("agent-1", 100).await;
    let request = CommitRequest {
        proposal_id: allowed.proposal.fixed.id.to_string(),
        commit_token: allowed.token.unwrap().text,
        tool: None,
        arguments: json!({"amount": 100, "to": "acct_123"}),
    };
    let refusal = async || match house
        .broker
        .pay
        .commit(&agent_of("agent-1"), request.clone())
        .await
    {
        Ok(Committed::Refused { refusal, .. }) => Some(refusal),
        _ => None,
    };
    house.clock.forward(60);
    assert_eq!(
        refusal().await,
        Some(Refusal::Expired),
        "expired means expires_at <= now"
    );
    house.clock.forward(-86_400);
    assert_eq!(
        refusal().await,
        Some(Refusal::Expired),
        "issued a day in the future"
    );
    house.clock.forward(86_400);
    assert_eq!(
        refusal().await,
        Some(Refusal::Expired),
        "the jump back did not revive it"
    );
    house.clock.forward(-1);
    assert_eq!(refusal().await, None, "within its minute it is good");
}

async fn at_once(servers: &[Arc<Server>], honest: &Transfer, callers: usize) -> Vec<String> {
    let barrier = Arc::new(tokio::sync::Barrier::new(callers));
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..callers {
        let server = servers[caller % servers.len()].clone();
        let (honest, barrier) = (honest.clone(), barrier.clone());
        tasks.spawn(async move {
            barrier.wait().await;
            let (_, answer) = server.commit(&honest).await.unwrap();
            let told = answer["reason"].as_str().or(answer["status"].as_str());
            told.unwrap().to_owned()
        });
    }
    tasks.join_all().await
}

async fn put_policy(server: &Server, policy: Value) {
    let request = server
        .http
        .put(format!("{}/v1/agents/agent-1/policy", server.url))
        .bearer_auth(&server.admin_key)
        .json(&policy);
    let answer = request.send().await.unwrap();
    assert!(
        answer.status().is_success(),
        "{}",
        answer.text().await.unwrap()
    );
}

fn key() -> Vec<u8> {
    hundi::domain::ids::unhex::<32>(TOKEN_KEY).unwrap().to_vec()
}

/// The same token with other claims, signed by whoever holds `key`.
fn resealed(token: &str, key: &[u8], change: impl Fn(&mut Value)) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let mut claims: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[2]).unwrap()).unwrap();
    change(&mut claims);
    let payload = serde_jcs::to_string(&claims).unwrap();
    let signed = format!("v1.{}.{}", parts[1], URL_SAFE_NO_PAD.encode(payload));
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(b"hundi/commit-token/v1\0");
    mac.update(signed.as_bytes());
    format!(
        "{signed}.{}",
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    )
}
