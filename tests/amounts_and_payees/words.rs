//! Amounts in words against amounts in numbers, as a caller of a running server meets them.

use serde_json::{Value, json};

use crate::support::server::Server;

/// What a proposal was answered: `allowed`, or the reason.
async fn answered(server: &Server, body: &Value) -> String {
    let (status, answer) = server
        .post(&server.agent_key, "/v1/proposals", body)
        .await
        .unwrap();
    assert_eq!(status, 200, "{answer}");
    match answer["status"].as_str().unwrap() {
        "allowed" => "allowed".to_owned(),
        _ => answer["reason"].as_str().unwrap().to_owned(),
    }
}

fn payout(account: usize, amount: i64) -> Value {
    json!({
        "fund_account_id": format!("fa_{account:014}"), "amount": amount, "currency": "INR",
        "mode": "IMPS", "purpose": "payout",
    })
}

#[tokio::test(flavor = "multi_thread")]
#[rustfmt::skip]
async fn an_amount_that_the_prompt_does_not_name_waits_for_people() {
    let server = Server::start().await;
    let held = "PROMPT_CONTRADICTED";
    let cases = [
        ("Pay 500 paise to the caterer",         50_000,     held),
        ("Pay 500 paise to the caterer",         500,        "allowed"),
        ("Pay 500 rupees to the caterer",        500,        held),
        ("Pay 500 rupees to the caterer",        50_000,     "allowed"),
        ("Pay five hundred rupees, please",      9_900_000,  held),
        ("Pay five hundred rupees, please",      50_000,     "allowed"),
        ("Pay ₹500 to the caterer",              5_000_000,  held),
        ("Pay Rs. 500/- to the caterer",         500,        held),
        ("Pay two lakh rupees to the caterer",   200_000,    held),
        ("Pay two lakh rupees to the caterer",   20_000_000, "allowed"),
        ("Pay 1.5 crore to the caterer",         15_000_000, held),
        // The payout is in rupees, whatever the number.
        ("Pay BHD 12 to the caterer",            1_200,      held),
        ("Pay BHD 12 to the caterer",            12_000,     held),
        ("Pay the caterer as agreed",            4_711,      "allowed"),
    ];
    for (n, (prompt, amount, expected)) in cases.into_iter().enumerate() {
        // Each to an account of its own, so that nothing is the same payment again.
        let tools = [
            ("create_payout", payout(n, amount)),
            ("transfer_funds", json!({"amount": amount, "to": format!("acct_{n}")})),
        ];
        for (tool, arguments) in tools {
            let body = json!({"tool": tool, "arguments": arguments, "prompt": prompt});
            assert_eq!(answered(&server, &body).await, expected, "{tool} {prompt:?} {amount}");
        }
    }
}

/// No built-in tool pays in dinars, so their three decimals are tried on paper.
#[tokio::test(flavor = "multi_thread")]
#[rustfmt::skip]
async fn every_currency_has_its_own_decimals() {
    let server = Server::start().await;
    let cases = [
        ("BHD", "Pay BHD 12",   1_200,  "HELD"),
        ("BHD", "Pay BHD 12",   12_000, "APPROVED"),
        ("JPY", "Pay 1200 yen", 120_000, "HELD"),
        ("JPY", "Pay 1200 yen", 1_200,  "APPROVED"),
        ("USD", "Pay $12",      12,     "HELD"),
        ("USD", "Pay $12",      1_200,  "APPROVED"),
    ];
    for (currency, prompt, amount, decision) in cases {
        let line = json!({
            "policy": {"daily_limit": null, "per_txn_limit": null, "require_approval_above": null,
                       "currency": currency},
            "request": {"agent": "a", "tool": "pay", "prompt": prompt,
                        "arguments": {"amount": amount, "currency": currency}},
            "facts": {"frozen": false, "spent_today": 0, "recent_requests": 0,
                      "integrity": {"composite_score": 0}},
        });
        let told = server.fed(&["policy", "simulate"], line.to_string().as_bytes());
        let told: Value = serde_json::from_slice(&told.stdout).unwrap();
        assert_eq!(told["decision"], decision, "{prompt} {amount}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_has_to_be_there_and_is_not_waits_for_people() {
    let required = [("HUNDI_INTEGRITY_REQUIRE_PROMPT", "true")];
    let server = Server::start_with(&required).await;
    let cases = [
        (None, "INTEGRITY_UNKNOWN"),
        (Some(""), "INTEGRITY_UNKNOWN"),
        (Some(" \n..."), "INTEGRITY_UNKNOWN"),
        (Some("Pay the caterer"), "allowed"),
    ];
    for (n, (prompt, expected)) in cases.into_iter().enumerate() {
        let mut body = json!({"tool": "create_payout", "arguments": payout(n, 10_000)});
        if let Some(prompt) = prompt {
            body["prompt"] = json!(prompt);
        }
        assert_eq!(answered(&server, &body).await, expected, "{prompt:?}");
    }
}
